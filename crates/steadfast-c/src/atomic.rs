//! Atomic maps.
//!
//! # Safety
//!
//! This file is trusted with names that C finds functions by, and with passing on what `view` asks of its caller; what C gives
//! is read and written by [`given`](crate::given).
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use steadfast_rs::AtomicMapping;
use steadfast_rs::posix::{self, Held};

use crate::failure::{call, done, made};
use crate::given;
use crate::options::AtomicChoice;
use crate::ticket::Ticket;

/// Memory that commits: private until a commit, durable after it, all or nothing through any crash.
#[derive(Debug)]
pub struct AtomicHandle {
    pub(crate) held: Held<AtomicMapping>,
}

/// Opens the file at `path` for commits, with the whole of it in private memory. Costs as much memory as the file has data.
/// `options` may be NULL. A journal that waits is recovered first.
///
/// A handle for sf_atomic_close(); or NULL with
/// ENOENT, EEXIST, EACCES, EROFS: about the file itself.
/// EOPNOTSUPP: not a regular file, or one on tmpfs or a network file system, where nothing is durable.
/// ENOMEM: the file is shorter than `len` and may not be created; no addresses or memory left.
/// ENOSPC: no space for the journal.
/// EAGAIN: another handle or process holds the file; the message names it.
/// EIO: SF_ERROR_IDENTITY, SF_ERROR_CORRUPT: a journal that does not belong to the file, or is damaged. The device fails.
/// EINVAL: options that contradict each other, a path that is NULL or empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_open(
    path: *const c_char,
    options: *const AtomicChoice,
) -> *mut AtomicHandle {
    made(|| {
        // SAFETY: NULL, or a string of the caller's.
        let path = unsafe { given::path(path, "open") }?;
        // SAFETY: NULL, or as many bytes as the struct says.
        let options = unsafe { given::options(options, AtomicChoice::DEFAULT, "open") }?.taken()?;
        let map = options.load(path)?;
        Ok(AtomicHandle { held: posix::hold(map) })
    })
}

/// As sf_atomic_open(), with the file's page cache under the memory: in no time and at any size; only what is changed costs
/// memory.
///
/// While it is open nothing else may write the file or change its length, no other process and no other handle of this one: a
/// store from elsewhere shows in the memory.
///
/// As sf_atomic_open().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_view(
    path: *const c_char,
    options: *const AtomicChoice,
) -> *mut AtomicHandle {
    made(|| {
        // SAFETY: NULL, or a string of the caller's.
        let path = unsafe { given::path(path, "open") }?;
        // SAFETY: NULL, or as many bytes as the struct says.
        let options = unsafe { given::options(options, AtomicChoice::DEFAULT, "open") }?.taken()?;
        // SAFETY: the header asks that nothing else writes the file while the map is open.
        let map = unsafe { options.view(path) }?;
        Ok(AtomicHandle { held: posix::hold(map) })
    })
}

/// As sf_atomic_open(), of a file that is open already and has a name, since the journal stands beside it. The descriptor stays
/// the caller's.
///
/// As sf_atomic_open(); NULL with EBADF for a descriptor that is not open, ENOENT for a file without a name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_open_fd(fd: c_int, options: *const AtomicChoice) -> *mut AtomicHandle {
    made(|| {
        // SAFETY: the header asks that nobody closes it during the call.
        let fd = unsafe { given::file(fd, "open") }?;
        // SAFETY: NULL, or as many bytes as the struct says.
        let options = unsafe { given::options(options, AtomicChoice::DEFAULT, "open") }?.taken()?;
        let map = options.load_fd(fd)?;
        Ok(AtomicHandle { held: posix::hold(map) })
    })
}

/// As sf_atomic_view(), of a file that is open already and has a name. The descriptor stays the caller's.
///
/// As sf_atomic_open_fd().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_view_fd(fd: c_int, options: *const AtomicChoice) -> *mut AtomicHandle {
    made(|| {
        // SAFETY: the header asks that nobody closes it during the call.
        let fd = unsafe { given::file(fd, "open") }?;
        // SAFETY: NULL, or as many bytes as the struct says.
        let options = unsafe { given::options(options, AtomicChoice::DEFAULT, "open") }?.taken()?;
        // SAFETY: the header asks that nothing else writes the file while the map is open.
        let map = unsafe { options.view_fd(fd) }?;
        Ok(AtomicHandle { held: posix::hold(map) })
    })
}

/// Where the memory is, for loads, until the map is resized beyond what was reserved, refreshed or closed. To store there, ask
/// for sf_atomic_data_mut(), or declare what will change by sf_atomic_edit().
///
/// The address; or NULL with EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_data(map: *const AtomicHandle) -> *const c_void {
    let data = call(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "data") }?;
        Ok(map.held.read().as_ptr().cast())
    });
    data.unwrap_or(ptr::null())
}

/// Where the memory is, for stores: from here on every commit looks for what changed.
///
/// A store that races with a commit is in that commit, in the next, or in both; it is not lost. No store may race with another
/// call on the map: a rollback, a resize, a read or a write.
///
/// The address; or NULL with EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_data_mut(map: *mut AtomicHandle) -> *mut c_void {
    let data = call(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "data") }?;
        Ok(map.held.write().as_mut_ptr().cast())
    });
    data.unwrap_or(ptr::null_mut())
}

/// Length of the memory in bytes. 0 for an empty map; and for NULL, with EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_len(map: *const AtomicHandle) -> usize {
    let len = call(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "len") }?;
        Ok(map.held.read().len())
    });
    len.unwrap_or(0)
}

/// Copies `len` bytes at `offset` into `to`: what was stored last, committed or not.
///
/// 0; or -1 with ENOMEM for a range that leaves the map, EIO for bytes that cannot be had, EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_read(
    map: *const AtomicHandle,
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

/// Copies `len` bytes from `from` to `offset`: a declared edit, and the cheapest one, as the next commit need not search for it.
///
/// 0; or -1 as sf_atomic_read().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_write(
    map: *mut AtomicHandle,
    offset: usize,
    from: *const c_void,
    len: usize,
) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "write") }?;
        // SAFETY: `len` bytes of the caller's, or NULL.
        let from = unsafe { given::bytes(from, len, "write") }?;
        map.held.write().write_at(offset, from)
    })
}

/// Declares that the bytes `offset .. offset + len` will change, and returns where they are: the next commit records them
/// without searching. Store there before the next call on the map; for later stores declare them again.
///
/// The address of byte `offset`; or NULL with the errors of sf_atomic_read().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_edit(map: *mut AtomicHandle, offset: usize, len: usize) -> *mut c_void {
    let data = call(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "edit") }?;
        let range = given::range(offset, len, "edit")?;
        Ok(map.held.write().edit(range)?.as_mut_ptr().cast())
    });
    data.unwrap_or(ptr::null_mut())
}

/// Makes everything since the last commit durable, all or nothing. `commit`, which may be NULL, gets the commit's number. With
/// nothing changed it writes nothing, and the number is the last commit's.
///
/// 0; or -1. What to do is said by sf_last_error_kind():
/// SF_ERROR_NOT_COMMITTED: nothing happened (ENOSPC, mostly); memory is as it was, and the same call may succeed later.
/// SF_ERROR_IN_DOUBT: the disk failed; the next open decides.
/// SF_ERROR_LATCHED, SF_ERROR_FOREIGN_CHANGE: refused, until the file is opened again, or sf_atomic_refresh().
/// SF_ERROR_NOT_SCRUBBED: the commit counts; what it cut off may still be in the journal.
/// SF_ERROR_READ_ONLY: the map was opened for reading.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_commit(map: *mut AtomicHandle, commit: *mut u64) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "commit") }?;
        let id = map.held.write().commit()?;
        // SAFETY: NULL, or the caller's.
        unsafe { given::put(commit, id.get()) };
        Ok(())
    })
}

/// As sf_atomic_commit(), for the pages that the bytes `offset .. offset + len` touch and no others: what changed elsewhere
/// waits for another commit or a rollback. A change of length that waits takes everything with it.
///
/// As sf_atomic_commit(); and ENOMEM for a range that leaves the map.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_commit_range(
    map: *mut AtomicHandle,
    offset: usize,
    len: usize,
    commit: *mut u64,
) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "commit_range") }?;
        let range = given::range(offset, len, "commit_range")?;
        let id = map.held.write().commit_range(range)?;
        // SAFETY: NULL, or the caller's.
        unsafe { given::put(commit, id.get()) };
        Ok(())
    })
}

/// As sf_atomic_commit(), and leaves the flush to the next commit that flushes, checkpoint or close: a crash before that takes
/// this commit, and all after it, away as a whole.
///
/// As sf_atomic_commit().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_commit_relaxed(map: *mut AtomicHandle, commit: *mut u64) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "commit") }?;
        let id = map.held.write().commit_relaxed()?;
        // SAFETY: NULL, or the caller's.
        unsafe { given::put(commit, id.get()) };
        Ok(())
    })
}

/// Captures everything since the last commit and returns before it is durable. The program may store again at once. Tickets
/// complete in order.
///
/// A ticket for sf_ticket_wait() and sf_ticket_free(); or NULL as sf_atomic_commit(), except what only the flush can tell: that
/// is the ticket's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_commit_async(map: *mut AtomicHandle) -> *mut Ticket {
    made(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "commit") }?;
        map.held.write().commit_async().map(Ticket::Commit)
    })
}

/// As sf_atomic_commit_range(), and returns before it is durable.
///
/// As sf_atomic_commit_async(); and NULL with ENOMEM for a range that leaves the map.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_commit_range_async(
    map: *mut AtomicHandle,
    offset: usize,
    len: usize,
) -> *mut Ticket {
    made(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "commit_range") }?;
        let range = given::range(offset, len, "commit_range")?;
        map.held.write().commit_range_async(range).map(Ticket::Commit)
    })
}

/// Throws everything since the last commit away.
///
/// 0; or -1 with EIO: SF_ERROR_LATCHED where it is not known what the last commit is; SF_ERROR_IO or SF_ERROR_TRUNCATED where
/// bytes of it cannot be had.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_rollback(map: *mut AtomicHandle) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "rollback") }?;
        map.held.write().rollback()
    })
}

/// Sets the length: part of the next commit, or of the rollback. New bytes are zeros. Beyond what was reserved the memory moves:
/// ask for its address again.
///
/// 0; or -1 with EINVAL for a length beyond the address space, ENOMEM where the kernel has no room. The length is then as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_resize(map: *mut AtomicHandle, len: usize) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "resize") }?;
        map.held.write().resize(len)
    })
}

/// Brings the last commit into the plain file and empties the journal. What is not committed stays as it is.
///
/// 0; or -1 with what the disk reports. The commits are safe in the journal, and the next checkpoint tries again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_checkpoint(map: *mut AtomicHandle) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "checkpoint") }?;
        map.held.write().checkpoint()
    })
}

/// Writes a plain file that holds the last commit to `path`: a file that stands there is replaced as a whole or not at all.
///
/// 0; or -1 with EINVAL where `path` is the data file itself or no regular file, EIO (SF_ERROR_RECOVERY_NEEDED) where a journal
/// stands beside it, and what the file system reports.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_copy_to(map: *const AtomicHandle, path: *const c_char) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "copy") }?;
        // SAFETY: NULL, or a string of the caller's.
        let path = unsafe { given::path(path, "copy") }?;
        map.held.read().copy_to(path)
    })
}

/// Takes the data file as another program left it, with the commits that it lacks made again over it; and puts the file's bytes
/// back where pages could not be had. The memory may move.
///
/// 0; or -1 with EINVAL where edits that are not committed would be lost: roll back first. EIO, and what the file system reports.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_refresh(map: *mut AtomicHandle) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "refresh") }?;
        map.held.write().refresh()
    })
}

/// Is every byte what was stored or committed, as far as anybody touched it? Where a page could not be had, loads found zeros.
///
/// 0; or -1 with EIO: SF_ERROR_TRUNCATED for bytes past the end of the file, SF_ERROR_IO otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_check(map: *const AtomicHandle) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "check") }?;
        map.held.read().check()
    })
}

/// Checkpoints, removes the journal, and lets go of the file: a plain file is left that holds the last commit. What was not
/// committed is lost. The handle is gone, also after an error.
///
/// 0; or -1 with EIO for a map that refuses commits, and what the disk reports: nothing was removed then, and the next open
/// recovers. EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_close(map: *mut AtomicHandle) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::taken(map, "close") }?;
        map.held.close()
    })
}
