//! Mappings.
//!
//! # Safety
//!
//! This file is trusted with names that C finds functions by; what C gives is read and written by [`given`](crate::given).
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use steadfast_rs::posix::{self, Held};
use steadfast_rs::{Advice, Mapping, Protection, Result};

use crate::failure::{call, done, made};
use crate::given::{self, nonsense};
use crate::options::MappingChoice;
use crate::ticket::Ticket;

/// One kernel mapping of one file: every process that maps the file sees every store at once.
#[derive(Debug)]
pub struct MappingHandle {
    pub(crate) held: Held<Mapping>,
}

/// Opens and maps the regular file at `path`. `options` may be NULL: an existing file, all of it, for reading.
///
/// A handle for sf_mapping_close(); or NULL with
/// ENOENT, EEXIST, EACCES, EROFS: about the file itself.
/// EOPNOTSUPP: not a regular file, or a file system that cannot map.
/// ENOMEM: the file ends before the mapping would, and may not grow; or no addresses are left.
/// ENOSPC: it may grow, but there is no space.
/// EAGAIN: another handle has the file open for commits; the message names the process.
/// EIO: a journal waits beside the file (SF_ERROR_RECOVERY_NEEDED), or the device fails.
/// EINVAL: options that contradict each other, a path that is NULL or empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_open(
    path: *const c_char,
    options: *const MappingChoice,
) -> *mut MappingHandle {
    made(|| {
        // SAFETY: NULL, or a string of the caller's.
        let path = unsafe { given::path(path, "open") }?;
        // SAFETY: NULL, or as many bytes as the struct says.
        let options = unsafe { given::options(options, MappingChoice::DEFAULT, "open") }?.taken()?;
        Ok(MappingHandle { held: posix::hold(options.open(path)?) })
    })
}

/// As sf_mapping_open(), of an open file. The descriptor stays the caller's, and may be closed.
///
/// As sf_mapping_open(); NULL with EBADF for a descriptor that is not open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_open_fd(fd: c_int, options: *const MappingChoice) -> *mut MappingHandle {
    made(|| {
        // SAFETY: the header asks that nobody closes it during the call.
        let fd = unsafe { given::file(fd, "open") }?;
        // SAFETY: NULL, or as many bytes as the struct says.
        let options = unsafe { given::options(options, MappingChoice::DEFAULT, "open") }?.taken()?;
        Ok(MappingHandle { held: posix::hold(options.open_fd(fd)?) })
    })
}

/// Copies `len` bytes at `offset` of the mapping into `to`. A file that was cut is an error, not a signal.
///
/// 0; or -1 with ENOMEM for a range that leaves the mapping, EIO for pages that cannot be had (SF_ERROR_TRUNCATED: the file
/// became shorter), EACCES for pages that are protected against it, EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_read(
    map: *const MappingHandle,
    offset: usize,
    to: *mut c_void,
    len: usize,
) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "read") }?;
        // SAFETY: `len` bytes of the caller's, or NULL.
        let to = unsafe { given::bytes_mut(to, len, "read") }?;
        map.held.read().read_at(offset, to)
    })
}

/// Copies `len` bytes from `from` to `offset` of the mapping. Durable with the next sync.
///
/// 0; or -1 as sf_mapping_read(), with EROFS for pages or a mapping that may only be read, and ENOSPC for a hole that gets no
/// block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_write(
    map: *mut MappingHandle,
    offset: usize,
    from: *const c_void,
    len: usize,
) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "write") }?;
        // SAFETY: `len` bytes of the caller's, or NULL.
        let from = unsafe { given::bytes(from, len, "write") }?;
        map.held.read().write_at(offset, from)
    })
}

/// Makes the pages of the bytes `offset .. offset + len` durable before it returns, and with them the file's length and, if this
/// mapping created the file, its name. A crash during the call leaves any mix of old and new pages.
///
/// 0; or -1 with EIO, ENOSPC or EDQUOT: the device did not take everything (SF_ERROR_WRITE_BACK). That is said again until the
/// bytes are safe: see sf_mapping_redirty(). EIO (SF_ERROR_TRUNCATED): the file became shorter. ENOMEM for a range that leaves
/// the mapping. EINVAL for a private mapping.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_sync(map: *const MappingHandle, offset: usize, len: usize) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "sync") }?;
        let range = given::range(offset, len, "sync")?;
        map.held.read().sync(range)
    })
}

/// Starts writing the pages of the bytes `offset .. offset + len` out, and returns at once.
///
/// A ticket for sf_ticket_wait() and sf_ticket_free(); or NULL with the errors of sf_mapping_sync() that are known by then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_start_sync(
    map: *const MappingHandle,
    offset: usize,
    len: usize,
) -> *mut Ticket {
    made(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "sync") }?;
        let range = given::range(offset, len, "sync")?;
        map.held.read().start_sync(range).map(Ticket::Sync)
    })
}

/// Makes the pages of the bytes `offset .. offset + len` dirty again without changing a byte, so that the next sync writes them:
/// the way on after SF_ERROR_WRITE_BACK. What must be kept is best stored once more.
///
/// 0; or -1 as sf_mapping_sync(), and EROFS for a mapping for reading.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_redirty(map: *const MappingHandle, offset: usize, len: usize) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "redirty") }?;
        let range = given::range(offset, len, "redirty")?;
        map.held.read().redirty(range)
    })
}

/// Writes the pages of the bytes `offset .. offset + len` back and drops them from memory: the next access reads what is on disk.
///
/// 0; or -1 with EBUSY: pages are still in memory, because another process maps or locks them. EOPNOTSUPP: the kernel does not
/// tell whether they are gone. Otherwise as sf_mapping_sync(); then nothing was dropped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_invalidate(map: *mut MappingHandle, offset: usize, len: usize) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "invalidate") }?;
        let range = given::range(offset, len, "invalidate")?;
        map.held.write().invalidate(range)
    })
}

/// Makes the mapping `len` bytes long; the file follows where it is the mapping's to change. Within what was reserved every
/// address stays, beyond it the mapping moves: ask sf_mapping_data() again.
///
/// 0; or -1 with ENOSPC; ENOMEM (the file is too short and may not grow, no addresses); EIO for a damaged mapping; EINVAL for a
/// length that no file can have. Nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_resize(map: *mut MappingHandle, len: usize) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "resize") }?;
        map.held.write().resize(len)
    })
}

/// Limits what this process may do with the pages of the bytes `offset .. offset + len`. `prot` is PROT_NONE, PROT_READ, or
/// PROT_READ | PROT_WRITE. Reads and writes through this library know, and are errors instead of signals.
///
/// 0; or -1 with EROFS: stores into a mapping for reading. ENOMEM for a range that leaves the mapping. EINVAL for any other
/// `prot`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_protect(
    map: *mut MappingHandle,
    offset: usize,
    len: usize,
    prot: c_int,
) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "protect") }?;
        let range = given::range(offset, len, "protect")?;
        map.held.write().protect(range, protection(prot)?)
    })
}

/// Gives advice about the pages of the bytes `offset .. offset + len`: MADV_ of madvise(2), as far as it changes no byte.
///
/// 0; or -1 with ENOMEM for a range that leaves the mapping. EINVAL: advice that takes content away (MADV_REMOVE, MADV_FREE and
/// their like: sf_madvise() has it), or that the kernel does not know or does not have for this kind of mapping.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_advise(
    map: *const MappingHandle,
    offset: usize,
    len: usize,
    advice: c_int,
) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "advise") }?;
        let range = given::range(offset, len, "advise")?;
        map.held.read().advise(range, advised(advice)?)
    })
}

/// Keeps the pages of the bytes `offset .. offset + len` in memory: mlock(2).
///
/// 0; or -1 with ENOMEM: the process may not lock as much (the message names the limit), or the range leaves the mapping.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_lock(map: *const MappingHandle, offset: usize, len: usize) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "lock") }?;
        let range = given::range(offset, len, "lock")?;
        map.held.read().lock(range)
    })
}

/// Lets the kernel reclaim the pages of the bytes `offset .. offset + len` again: munlock(2).
///
/// 0; or -1 with ENOMEM for a range that leaves the mapping.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_unlock(map: *const MappingHandle, offset: usize, len: usize) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "unlock") }?;
        let range = given::range(offset, len, "unlock")?;
        map.held.read().unlock(range)
    })
}

/// Where the first byte is, until the mapping is resized, refreshed or closed. Stores through it are everybody's at once, and
/// durable with the next sync. Of an empty mapping it may not be used. A page that cannot be had reads as zeros, and
/// sf_mapping_check() says so.
///
/// The address; or NULL with EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_data(map: *const MappingHandle) -> *mut c_void {
    let data = call(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "data") }?;
        Ok(map.held.read().as_ptr().cast())
    });
    data.unwrap_or(ptr::null_mut())
}

/// Length in bytes. 0 for an empty mapping; and for NULL, with EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_len(map: *const MappingHandle) -> usize {
    let len = call(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "len") }?;
        Ok(map.held.read().len())
    });
    len.unwrap_or(0)
}

/// Is every byte what the file holds, as far as anybody touched it? To be asked after work through sf_mapping_data(), which
/// cannot return an error: where a page could not be had, it found zeros.
///
/// 0; or -1 with EIO: SF_ERROR_TRUNCATED for bytes past the end of the file, SF_ERROR_IO otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_check(map: *const MappingHandle) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "check") }?;
        map.held.read().check()
    })
}

/// Takes the file as it is now: damaged pages become the file's own again, and a mapping that reached to the file's end reaches
/// to the new one. It may become shorter; it may move where it becomes longer than what was reserved.
///
/// 0; or -1 with ENOMEM: no memory or addresses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_refresh(map: *mut MappingHandle) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "refresh") }?;
        map.held.write().refresh()
    })
}

/// Unmaps and unlocks, and reports what went wrong and no sync has made good since. It does not sync. The handle is gone, also
/// after an error.
///
/// 0; or -1 with EIO, ENOSPC or EDQUOT (SF_ERROR_WRITE_BACK, SF_ERROR_TRUNCATED); EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_close(map: *mut MappingHandle) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::taken(map, "close") }?;
        map.held.close()
    })
}

fn protection(prot: c_int) -> Result<Protection> {
    match prot {
        libc::PROT_NONE => Ok(Protection::NONE),
        libc::PROT_READ => Ok(Protection::READ),
        both if both == libc::PROT_READ | libc::PROT_WRITE => Ok(Protection::READ_WRITE),
        _ => Err(nonsense("protect", "there is no such protection")
            .advice("give PROT_NONE, PROT_READ, or PROT_READ | PROT_WRITE")),
    }
}

/// Advice that changes no byte.
const ADVICE: [(c_int, Advice); 18] = [
    (libc::MADV_NORMAL, Advice::Normal),
    (libc::MADV_RANDOM, Advice::Random),
    (libc::MADV_SEQUENTIAL, Advice::Sequential),
    (libc::MADV_WILLNEED, Advice::WillNeed),
    (libc::MADV_DONTNEED, Advice::DontNeed),
    (libc::MADV_COLD, Advice::Cold),
    (libc::MADV_PAGEOUT, Advice::PageOut),
    (libc::MADV_POPULATE_READ, Advice::PopulateRead),
    (libc::MADV_POPULATE_WRITE, Advice::PopulateWrite),
    (libc::MADV_COLLAPSE, Advice::Collapse),
    (libc::MADV_HUGEPAGE, Advice::HugePage),
    (libc::MADV_NOHUGEPAGE, Advice::NoHugePage),
    (libc::MADV_MERGEABLE, Advice::Mergeable),
    (libc::MADV_UNMERGEABLE, Advice::Unmergeable),
    (libc::MADV_DONTDUMP, Advice::DontDump),
    (libc::MADV_DODUMP, Advice::DoDump),
    (libc::MADV_DONTFORK, Advice::DontFork),
    (libc::MADV_DOFORK, Advice::DoFork),
];

fn advised(advice: c_int) -> Result<Advice> {
    let found = ADVICE.iter().find(|(number, _)| *number == advice);
    found.map(|(_, advice)| *advice).ok_or_else(|| {
        nonsense("advise", "there is no such advice, or it takes content away")
            .advice("what takes content away is for sf_madvise()")
    })
}
