//! The calls as POSIX and Linux have them, by address: over mappings of this library, of the program itself, and both at once.
//!
//! A table knows which addresses belong to what ([`mmap`], [`mmap_atomic`] and [`hold`] put them there), and each call does for
//! every part of its range what that part is owed. What the table does not know goes to the kernel as it came. So a program
//! that maps, unmaps, moves and syncs by address keeps doing that, and these are kept:
//!
//! | what | of a kernel mapping | of an atomic one |
//! |---|---|---|
//! | `MS_SYNC` | bytes, length and name of the file are on disk on return | the changed pages of the range are one commit |
//! | `MS_ASYNC` | returns at once, write-out has begun, a later `MS_SYNC` waits for it and reports what went wrong | the same, for the commit |
//! | `MS_INVALIDATE` | cached copies are dropped: the next access reads the disk | nothing to drop: memory and the last commit agree |
//! | EIO, ENOSPC, EDQUOT | reported, and again until the data is safe | reported, and the data is still here |
//!
//! Errors are this crate's [`Error`]; [`errno`] is what a C program is told. Functions that change what lies at an address are
//! unsafe, as the system calls are.
//!
//! # A file that loses its name
//!
//! The kernel's mapping of a file goes on when the file is removed, renamed or replaced by another. So does an atomic one: the next call
//! that would commit to it, or write to it, brings everything into the file and leaves it to the kernel, as [`mmap`] of it would have; its
//! journal goes. See [`file::notice_lost_names`].
//!
//! # A process that forks
//!
//! A child begins with an empty table: what the parent mapped is the kernel's affair there, and a child commits nothing of it. `msync` over
//! the copy of an atomic mapping is an error of kind [`Forked`](crate::ErrorKind::Forked).
//!
//! # Safety
//!
//! This file is trusted to declare the calls that are unsafe, and to pass them on as they came.
#![allow(unsafe_code)]

mod atomic;
pub mod file;
mod held;
mod in_flight;
mod kernel;
mod map;
mod name;
mod process;
mod protect;
mod sync;
mod table;
mod tail;

use std::ffi::{c_int, c_void};

pub use held::{Held, HeldMut, HeldRef, hold};

use crate::atomic::AtomicOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::freeze;

/// As mmap(2). A shared mapping of a regular file is known to the other calls from here on; everything else is the kernel's.
///
/// A mapping over the same file, or with `MAP_FIXED` over the addresses, of one that commits ends that: everything is committed, and the
/// file is the kernel's from then on, with a warning in the log.
///
/// # Safety
///
/// As mmap(2): with `MAP_FIXED`, whatever lies there goes.
///
/// # Errors
///
/// Those of mmap(2).
pub unsafe fn mmap(
    address: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> Result<*mut c_void> {
    // SAFETY: passed on to the caller.
    unsafe { map::mmap(address as usize, len, prot, flags, fd, offset) }
}

/// As [`mmap`] of a file with `MAP_SHARED`, as memory that commits: nothing reaches the file before `msync` (or [`file::sync`],
/// `munmap`, [`commit_all`]), and each of those is one commit, through any crash.
///
/// All such mappings of one file in the process are one image, as long as no byte is asked for twice. The whole file lies in memory (on
/// demand), whatever part of it is asked for; what is unmapped of it stays reserved until the last part is. An address that is wished for is
/// not honoured, and one that is demanded (`MAP_FIXED`) is `Unsupported`.
///
/// # Safety
///
/// As [`mmap`], and as [`AtomicOptions::view`]: nobody else writes the file. (Another process that opens it through this library is
/// refused; who does not use it is noticed at the next commit.)
///
/// # Errors
///
/// - [`Unsupported`](ErrorKind::Unsupported): the file cannot be mapped so: it has no name, lies on tmpfs, or the flags ask for what
///   a private image cannot do. Nothing happened; [`mmap`] may be used instead.
/// - [`Busy`](ErrorKind::Busy): this process maps the file already, through the kernel, or in a way that one image cannot serve.
/// - [`Locked`](ErrorKind::Locked): another process commits to the file.
/// - Those of [`AtomicOptions::view`] and of mmap(2).
pub unsafe fn mmap_atomic(
    address: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
    options: &AtomicOptions,
) -> Result<*mut c_void> {
    let _wish = address;
    // SAFETY: passed on to the caller.
    unsafe { map::mmap_atomic(len, prot, flags, fd, offset, options) }
}

/// As munmap(2), of any part of any number of mappings. Of an atomic one, all that was stored in its file and is not committed is
/// committed first. With the last part of it the file is closed: where that fails, its commits are in the journal, for the next open.
///
/// # Safety
///
/// Nobody uses the memory any more.
///
/// # Errors
///
/// Those of munmap(2); where a commit fails, its own, and nothing was unmapped.
pub unsafe fn munmap(address: *mut c_void, len: usize) -> Result<()> {
    // SAFETY: passed on to the caller.
    unsafe { map::munmap(address as usize, len) }
}

/// As mremap(2), in place or moving.
///
/// # Safety
///
/// As mremap(2): nobody uses the old addresses, and with `MREMAP_FIXED` whatever lies at the new ones goes.
///
/// # Errors
///
/// Those of mremap(2).
pub unsafe fn mremap(
    old_address: *mut c_void,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new_address: *mut c_void,
) -> Result<*mut c_void> {
    // SAFETY: passed on to the caller.
    unsafe { map::mremap(old_address as usize, old_len, new_len, flags, new_address as usize) }
}

/// As mprotect(2).
///
/// # Safety
///
/// As mprotect(2): references into the range stay valid for what is still allowed only.
///
/// # Errors
///
/// Those of mprotect(2).
pub unsafe fn mprotect(address: *mut c_void, len: usize, prot: c_int) -> Result<()> {
    // SAFETY: passed on to the caller.
    unsafe { protect::mprotect(address as usize, len, prot) }
}

/// As madvise(2), every advice. Advice that would throw stored bytes away (`MADV_DONTNEED` on an atomic mapping) keeps what is not
/// committed.
///
/// # Safety
///
/// As madvise(2), for advice that changes what memory holds.
///
/// # Errors
///
/// Those of madvise(2).
pub unsafe fn madvise(address: *mut c_void, len: usize, advice: c_int) -> Result<()> {
    // SAFETY: passed on to the caller.
    unsafe { protect::madvise(address as usize, len, advice) }
}

/// How [`msync`] is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// POSIX: exactly one of `MS_SYNC` and `MS_ASYNC`.
    Posix,
    /// As a program means it that was written for Linux and knows nothing of commits. Neither flag is accepted too, and then nothing
    /// is written. And whatever part of an image is named, all of it is the commit: some programs sync less than what belongs together
    /// (lmdb-js 3.5 leaves the last page out), which the kernel forgives them until the power fails.
    Linux,
}

/// As msync(2) and msync(3p), with what they promise: see the [table](self) above.
///
/// The range may span any number of mappings, of this library or not. Where a part of it is not mapped, every mapped part is synced
/// first. Of several errors the first is told.
///
/// # Errors
///
/// - [`InvalidInput`](ErrorKind::InvalidInput) (EINVAL): flags that exclude each other or do not exist, an address that is not on a
///   page boundary.
/// - [`OutOfRange`](ErrorKind::OutOfRange) (ENOMEM): a part is not mapped, and is named; or the end overflows.
/// - [`Busy`](ErrorKind::Busy) (EBUSY): `MS_INVALIDATE`, and pages are locked.
/// - Those of [`Mapping::sync`](crate::Mapping::sync) and [`AtomicMapping::commit`](crate::AtomicMapping::commit).
pub fn msync(address: *mut c_void, len: usize, flags: c_int, rules: Rules) -> Result<()> {
    sync::msync(address as usize, len, flags, rules)
}

/// Commits what is left in every mapping of [`mmap_atomic`] in this process: for `exit` and `exec`. What the kernel maps needs nothing,
/// and what is [held](hold) is its handle's affair.
///
/// # Errors
///
/// The first error; every mapping was tried.
pub fn commit_all() -> Result<()> {
    let mut first = Ok(());
    for file in atomic::all() {
        first = first.and(name::committing(&file, |image| image.commit_all()).map(drop));
    }
    first
}

/// As [`commit_all`], and leaves plain files, with no journal beside them: for `exit`. The memory stays where it is, since other threads
/// may use it still; what is stored there from now on reaches no file.
///
/// # Errors
///
/// The first error; every mapping was tried. A file that could not be committed is left to the next open, with its journal; one that has lost
/// its name, and has no room for what was not committed, is left plain with its commits.
pub fn close_all() -> Result<()> {
    let mut first = Ok(());
    for file in atomic::all() {
        if let Some(image) = file.image() {
            first = first.and(image.leave());
        }
    }
    first
}

/// Refuse what would give a file back to the kernel (a second mapping of the same bytes, `MAP_FIXED` over them, a `pwrite` to what was
/// unmapped, a file that is found by another name than before) with [`Busy`](ErrorKind::Busy), for the whole process. Default: no, the file is given back.
pub fn refuse_to_give_back(refuse: bool) {
    map::refuse_to_give_back(refuse);
}

/// Calls a function that may store to mapped memory, or wait for a thread that does: a logger's. While a file goes back to the kernel such
/// stores wait, and the library may wait for whoever logs: then the function is not called, and this is `None`. What was to be said is to be
/// kept then, and said by [`after_thaw`].
///
/// Until the function returns no file goes back: so it calls nothing of this library.
pub fn call_out<T>(call: impl FnOnce() -> T) -> Option<T> {
    freeze::call_out(call)
}

/// Has a function called each time that a file went back to the kernel, or could not: by the thread that did it, in the midst of its call,
/// when every thread may store again. There is one function; the first that is given stays.
pub fn after_thaw(function: fn()) {
    freeze::after_thaw(function);
}

/// The errno that stands for an error in C.
#[must_use]
pub fn errno(error: &Error) -> c_int {
    if error.kind() == ErrorKind::Busy {
        // The kernel has other numbers for it, which say something else to a program.
        return libc::EBUSY;
    }
    error.raw_os_error().unwrap_or(match error.kind() {
        ErrorKind::InvalidInput => libc::EINVAL,
        ErrorKind::OutOfRange => libc::ENOMEM,
        ErrorKind::NotFound => libc::ENOENT,
        ErrorKind::AlreadyExists => libc::EEXIST,
        ErrorKind::PermissionDenied => libc::EACCES,
        ErrorKind::ReadOnly => libc::EROFS,
        ErrorKind::NoSpace => libc::ENOSPC,
        ErrorKind::Locked => libc::EAGAIN,
        ErrorKind::Busy => libc::EBUSY,
        ErrorKind::LimitExceeded => libc::ENOMEM,
        ErrorKind::Unsupported => libc::EOPNOTSUPP,
        _ => libc::EIO,
    })
}

/// What the kernel answered.
fn os_error(operation: &'static str, error: std::io::Error) -> Error {
    Error::from_io(operation, error)
}
