//! The calls by address.
//!
//! # Safety
//!
//! This file is trusted with passing on what mmap(2) and its like ask of a program in C, to the functions that ask it in Rust;
//! and with names that C finds functions by.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use steadfast_rs::posix;

use crate::failure::{call, done};
use crate::given;
use crate::options::AtomicChoice;

/// As mmap(2). A shared mapping of a regular file is known to the other calls by address from here on; everything else is the
/// kernel's.
///
/// The address; or MAP_FAILED with the errors of mmap(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mmap(
    address: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    let mapped = call(|| {
        // SAFETY: as mmap(2) asks of its caller.
        unsafe { posix::mmap(address, len, prot, flags, fd, offset) }
    });
    mapped.unwrap_or(libc::MAP_FAILED)
}

/// As mmap(2) of a file with MAP_SHARED, as memory that commits: nothing reaches the file before sf_msync(), sf_munmap() or
/// sf_commit_all(), and each of those is one commit, through any crash. `options` may be NULL.
///
/// All such mappings of one file in the process are one image. An address that is asked for without MAP_FIXED is not honoured.
/// While it is mapped nobody else may write the file: another process that opens it through this library is refused; who does
/// not use it is noticed at the next commit.
///
/// The address; or MAP_FAILED with the errors of mmap(2) and of sf_atomic_view(), and with
/// EOPNOTSUPP: the file cannot be mapped so (it has no name, lies on tmpfs; flags that a private image cannot keep). sf_mmap()
/// may do.
/// EBUSY: this process maps the file already, in another way.
/// EAGAIN: another process commits to the file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mmap_atomic(
    address: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
    options: *const AtomicChoice,
) -> *mut c_void {
    let mapped = call(|| {
        // SAFETY: NULL, or as many bytes as the struct says.
        let options = unsafe { given::options(options, AtomicChoice::DEFAULT, "mmap") }?.taken()?;
        // SAFETY: as mmap(2) asks of its caller; that nobody else writes the file is asked for above.
        unsafe { posix::mmap_atomic(address, len, prot, flags, fd, offset, &options) }
    });
    mapped.unwrap_or(libc::MAP_FAILED)
}

/// As munmap(2), of any part of any number of mappings. Of an atomic one, what was stored to that part and is not committed is
/// committed first. The memory of a handle is refused (EINVAL): that is for its close.
///
/// 0; or -1 with the errors of munmap(2). Where a commit fails, its errno, and nothing was unmapped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_munmap(address: *mut c_void, len: usize) -> c_int {
    done(|| {
        // SAFETY: as munmap(2) asks of its caller.
        unsafe { posix::munmap(address, len) }
    })
}

/// As mremap(2), in place or moving. `new_address` counts with MREMAP_FIXED only, and is always given. The memory of a handle is
/// refused (EINVAL): that is for its resize.
///
/// The address; or MAP_FAILED with the errors of mremap(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mremap(
    old_address: *mut c_void,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new_address: *mut c_void,
) -> *mut c_void {
    let mapped = call(|| {
        // SAFETY: as mremap(2) asks of its caller.
        unsafe { posix::mremap(old_address, old_len, new_len, flags, new_address) }
    });
    mapped.unwrap_or(libc::MAP_FAILED)
}

/// As mprotect(2).
///
/// 0; or -1 with the errors of mprotect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mprotect(address: *mut c_void, len: usize, prot: c_int) -> c_int {
    done(|| {
        // SAFETY: as mprotect(2) asks of its caller.
        unsafe { posix::mprotect(address, len, prot) }
    })
}

/// As msync(3p), with what it promises; see sf_msync(3). `flags` is exactly one of MS_SYNC and MS_ASYNC, with or without
/// MS_INVALIDATE.
///
/// MS_SYNC: on return the bytes of a kernel mapping are on disk, with the file's length and name; the changed pages of an atomic
/// one are one commit. MS_ASYNC: returns at once, write-out has begun, a later MS_SYNC waits for it and reports what went wrong.
/// MS_INVALIDATE: cached copies are dropped as well, so that the next access reads the disk.
///
/// The range may span any number of mappings, of this library or not. `len` is rounded up to whole pages.
///
/// 0; or -1 with
/// EINVAL: flags that exclude each other or do not exist; an address that is not on a page boundary.
/// ENOMEM: a part is not mapped (every mapped part was synced first), or the end overflows.
/// EBUSY: MS_INVALIDATE, and pages are locked.
/// EIO, ENOSPC, EDQUOT: write-out failed, and is reported again until the data is safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_msync(address: *mut c_void, len: usize, flags: c_int) -> c_int {
    done(|| posix::msync(address, len, flags, posix::Rules::Posix))
}

/// As madvise(2), every advice. Advice that would throw stored bytes away (MADV_DONTNEED on an atomic mapping) keeps what is not
/// committed.
///
/// 0; or -1 with the errors of madvise(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_madvise(address: *mut c_void, len: usize, advice: c_int) -> c_int {
    done(|| {
        // SAFETY: as madvise(2) asks of its caller.
        unsafe { posix::madvise(address, len, advice) }
    })
}

/// Commits what is left in every atomic mapping that was made by address: before exec(3) and _exit(2).
///
/// 0; or -1 with the first error. Every mapping was tried.
#[unsafe(no_mangle)]
pub extern "C" fn sf_commit_all() -> c_int {
    done(posix::commit_all)
}

/// As sf_commit_all(), and leaves plain files, with no journal beside them: at the end of a program, in a function for atexit(3). The memory
/// stays where it is, since other threads may use it still; what is stored there from now on reaches no file.
///
/// 0; or -1 with the first error. Every mapping was tried; a file that could not be committed is left to the next open, with its journal.
#[unsafe(no_mangle)]
pub extern "C" fn sf_close_all() -> c_int {
    done(posix::close_all)
}
