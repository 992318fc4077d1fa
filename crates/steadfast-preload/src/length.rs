//! Calls that change a file's length or its blocks, those that tell it, and those that make it durable.
//!
//! # Safety
//!
//! This file is trusted with the exported names, whose signatures are those of the C library's headers, and with their arguments, which
//! it hands on; and with one field of the `struct stat` that the program gives a call to fill.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::os::fd::BorrowedFd;

use libc::off_t;
use rustix::fs::OFlags;
use steadfast::posix;

use crate::memory::failed;
use crate::open::{Ready, prepare};
use crate::plain::{self, holding, refused};
use crate::{atomic, inside, real, settings};

exported! { [ftruncate, ftruncate64] (fd: c_int, len: off_t) -> c_int = {
    shortened(fd, len)
} }

exported! { [truncate, truncate64] (path: *const c_char, len: off_t) -> c_int = {
    if settings::has_patterns() && !inside::is_here() {
        match inside::answer(|| prepare(libc::AT_FDCWD, path, true, true)) {
            None | Some(Ok(Ready::Plain(None))) => {}
            // SAFETY: the program's arguments, as they came.
            Some(Ok(Ready::Plain(Some(cut)))) => return holding(cut, || unsafe { real::truncate(path, len) }),
            Some(Err(_)) => return -1,
            Some(Ok(Ready::Mapped)) => return cut_by_path(path, len),
        }
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::truncate(path, len) }
} }

exported! { [fallocate, fallocate64] (fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int = {
    let image = || changed(fd, libc::EBADF, |fd| allocate(fd, mode, offset, len)).map(status);
    // SAFETY: numbers, as they came.
    plain::write(fd, image, refused, || unsafe { real::fallocate(fd, mode, offset, len) })
} }

// Returns what others leave in errno.
exported! { [posix_fallocate, posix_fallocate64] (fd: c_int, offset: off_t, len: off_t) -> c_int = {
    let before = inside::errno();
    let refused = |errno| {
        inside::set_errno(before);
        errno
    };
    let image = || {
        let done = changed(fd, libc::EBADF, |fd| allocate(fd, 0, offset, len))?;
        Some(refused(done.err().unwrap_or(0)))
    };
    // SAFETY: numbers, as they came.
    plain::write(fd, image, refused, || unsafe { real::posix_fallocate(fd, offset, len) })
} }

// Until the next commit an image that a write made longer is longer than its plain file.

exported! { [fstat, fstat64] (fd: c_int, stat: *mut libc::stat) -> c_int = {
    // SAFETY: the program's arguments, as they came.
    let done = unsafe { real::fstat(fd, stat) };
    // SAFETY: it was filled if `done` says so.
    unsafe { with_length(done, fd, stat) }
} }

exported! { [__fxstat, __fxstat64] (version: c_int, fd: c_int, stat: *mut libc::stat) -> c_int = {
    // SAFETY: the program's arguments, as they came.
    let done = unsafe { real::__fxstat(version, fd, stat) };
    // SAFETY: it was filled if `done` says so.
    unsafe { with_length(done, fd, stat) }
} }

exported! { [lseek, lseek64] (fd: c_int, offset: off_t, whence: c_int) -> off_t = {
    if whence == libc::SEEK_END && let Some(len) = length(fd) {
        // What overflows is refused by the kernel, as a negative offset.
        // SAFETY: numbers.
        return unsafe { real::lseek(fd, len.checked_add(offset).unwrap_or(-1), libc::SEEK_SET) };
    }
    // SAFETY: numbers, as they came.
    unsafe { real::lseek(fd, offset, whence) }
} }

exported! { [fsync] (fd: c_int) -> c_int = {
    match synced(fd, "fsync") {
        Some(done) => status(done),
        // SAFETY: a number, as it came.
        None => unsafe { real::fsync(fd) },
    }
} }

exported! { [fdatasync] (fd: c_int) -> c_int = {
    match synced(fd, "fdatasync") {
        Some(done) => status(done),
        // SAFETY: a number, as it came.
        None => unsafe { real::fdatasync(fd) },
    }
} }

/// Of the image, if there is one.
fn length(fd: c_int) -> Option<off_t> {
    if !atomic::concerns_us() {
        return None;
    }
    let len = inside::answer(|| posix::file::len(atomic::file(fd)?).map(Ok));
    len.and_then(Result::ok).and_then(|len| off_t::try_from(len).ok())
}

/// # Safety
///
/// Where `done` is 0, `stat` is a structure that the program gave and fstat(2) has filled.
unsafe fn with_length(done: c_int, fd: c_int, stat: *mut libc::stat) -> c_int {
    if done == 0
        && let Some(len) = length(fd)
    {
        // SAFETY: the caller's promise.
        unsafe { (*stat).st_size = len };
    }
    done
}

fn status(done: Result<(), c_int>) -> c_int {
    if done.is_ok() { 0 } else { -1 }
}

/// As ftruncate(2).
fn shortened(fd: c_int, len: off_t) -> c_int {
    let image = || changed(fd, libc::EINVAL, |fd| cut(fd, len)).map(status);
    // SAFETY: numbers, as they came.
    plain::write(fd, image, refused, || unsafe { real::ftruncate(fd, len) })
}

/// Does `work` to a file that is mapped atomically, if the descriptor allows writing; else `not_for_writing` is the error.
fn changed(
    fd: c_int,
    not_for_writing: c_int,
    work: impl FnOnce(BorrowedFd<'_>) -> Option<Result<(), c_int>>,
) -> Option<Result<(), c_int>> {
    if !atomic::concerns_us() {
        return None;
    }
    inside::answer(|| {
        let fd = atomic::file(fd)?;
        match rustix::fs::fcntl_getfl(fd) {
            Ok(flags) if flags.contains(OFlags::PATH) => Some(Err(libc::EBADF)),
            Ok(flags) if flags & OFlags::RWMODE == OFlags::RDONLY => Some(Err(not_for_writing)),
            _ => work(fd),
        }
    })
}

fn cut(fd: BorrowedFd<'_>, len: off_t) -> Option<Result<(), c_int>> {
    let Ok(len) = u64::try_from(len) else { return Some(Err(libc::EINVAL)) };
    Some(posix::file::set_len(fd, len)?.map_err(|error| failed(&error)))
}

/// A descriptor for writing is asked of the kernel, which knows who may.
fn cut_by_path(path: *const c_char, len: off_t) -> c_int {
    // SAFETY: the program's path, as it came.
    let fd = unsafe { real::open(path, libc::O_WRONLY | libc::O_CLOEXEC, 0) };
    if fd < 0 {
        return -1;
    }
    let done = shortened(fd, len);
    let errno = inside::errno();
    // SAFETY: it was opened here, and nobody else knows it.
    unsafe { real::close(fd) };
    inside::set_errno(errno);
    done
}

fn allocate(fd: BorrowedFd<'_>, mode: c_int, offset: off_t, len: off_t) -> Option<Result<(), c_int>> {
    let (Ok(offset), Ok(len)) = (u64::try_from(offset), u64::try_from(len)) else {
        return Some(Err(libc::EINVAL));
    };
    if len == 0 {
        return Some(Err(libc::EINVAL));
    }
    Some(posix::file::allocate(fd, mode, offset, len)?.map_err(|error| failed(&error)))
}

fn synced(fd: c_int, call: &str) -> Option<Result<(), c_int>> {
    if !atomic::concerns_us() {
        return None;
    }
    inside::answer(|| {
        let done = posix::file::sync(atomic::file(fd)?)?;
        Some(match done {
            Ok(()) => {
                log::debug!("{call} of descriptor {fd}: committed");
                Ok(())
            }
            Err(error) => Err(failed(&error)),
        })
    })
}
