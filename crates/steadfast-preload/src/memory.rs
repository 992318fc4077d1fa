//! `mmap` and its kin.
//!
//! # Safety
//!
//! This file is trusted with the exported names, whose signatures are those of the C library's headers, and with handing their arguments
//! on. What a call does to the program's memory is what the program asked for: [`steadfast::posix`] has the contracts of the manual
//! pages, and [`posix::mmap_atomic`] one more, that nobody else writes the file. That one is the promise of who names the file in
//! `STEADFAST_ATOMIC`, or that of its writers, who are refused where they use this library.
//!
//! What is not a shared mapping of a file, and touches none, goes to the kernel before anything else happens: allocators come here.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use libc::{MAP_FAILED, off_t, size_t};
use steadfast::posix::{self, Rules};
use steadfast::{Error, ErrorKind};

use crate::atomic::{self, Found};
use crate::{inside, ranges, real, start};

exported! { [mmap, mmap64] (
    address: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t
) -> *mut c_void = {
    let request = Request { address, len, prot, flags, fd, offset };
    if request.concerns_us() && let Some(mapped) = inside::answer(|| request.map()) {
        return mapped.unwrap_or(MAP_FAILED);
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::mmap(address, len, prot, flags, fd, offset) }
} }

exported! { [munmap] (address: *mut c_void, len: size_t) -> c_int = {
    if is_known(address, len) && let Some(done) = inside::answer(|| Some(unmap(address, len))) {
        return status(done);
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::munmap(address, len) }
} }

exported! { [mremap] (
    old: *mut c_void, old_len: size_t, new_len: size_t, flags: c_int, new: *mut c_void
) -> *mut c_void = {
    let replaces = flags & libc::MREMAP_FIXED != 0 && is_known(new, new_len);
    if (replaces || is_known(old, old_len))
        && let Some(moved) = inside::answer(|| Some(remap(old, old_len, new_len, flags, new)))
    {
        return moved.unwrap_or(MAP_FAILED);
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::mremap(old, old_len, new_len, flags, new) }
} }

exported! { [mprotect] (address: *mut c_void, len: size_t, prot: c_int) -> c_int = {
    if is_known(address, len) {
        let done = inside::answer(|| {
            // SAFETY: the program's arguments, as they came.
            let done = unsafe { posix::mprotect(address, len, prot) };
            Some(done.map_err(|error| failed(&error)))
        });
        if let Some(done) = done {
            return status(done);
        }
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::mprotect(address, len, prot) }
} }

exported! { [msync] (address: *mut c_void, len: size_t, flags: c_int) -> c_int = {
    if is_known(address, len) && let Some(done) = inside::answer(|| Some(sync(address, len, flags))) {
        return status(done);
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::msync(address, len, flags) }
} }

exported! { [madvise] (address: *mut c_void, len: size_t, advice: c_int) -> c_int = {
    if is_known(address, len) && let Some(done) = inside::answer(|| Some(advise(address, len, advice))) {
        return status(done);
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::madvise(address, len, advice) }
} }

// Returns what others leave in errno. POSIX_MADV_DONTNEED is advice that loses nothing, and does nothing on Linux.
exported! { [posix_madvise] (address: *mut c_void, len: size_t, advice: c_int) -> c_int = {
    if advice != libc::POSIX_MADV_DONTNEED && is_known(address, len) {
        let before = inside::errno();
        if let Some(done) = inside::answer(|| Some(advise(address, len, advice))) {
            inside::set_errno(before);
            return done.err().unwrap_or(0);
        }
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::posix_madvise(address, len, advice) }
} }

/// Asked before each call, by allocators too: takes no lock, and allocates nothing.
fn is_known(address: *mut c_void, len: usize) -> bool {
    ranges::touches(address.addr(), len) && !inside::is_here()
}

fn status(done: Result<(), c_int>) -> c_int {
    if done.is_ok() { 0 } else { -1 }
}

/// What mmap(2) is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) address: *mut c_void,
    pub(crate) len: usize,
    pub(crate) prot: c_int,
    pub(crate) flags: c_int,
    pub(crate) fd: c_int,
    pub(crate) offset: i64,
}

impl Request {
    fn concerns_us(&self) -> bool {
        (self.shares_a_file() && !self.interrupts_a_write() || self.replaces_known()) && !inside::is_here()
    }

    /// In a signal handler that interrupted a write of this thread: what no pattern matches is the kernel's.
    fn interrupts_a_write(&self) -> bool {
        posix::file::is_writing_here() && atomic::descriptor(self.fd).is_some_and(|fd| !atomic::may_match(fd))
    }

    fn shares_a_file(&self) -> bool {
        let kind = self.flags & libc::MAP_TYPE;
        self.flags & libc::MAP_ANONYMOUS == 0
            && (kind == libc::MAP_SHARED || kind == libc::MAP_SHARED_VALIDATE)
            && self.fd >= 0
    }

    fn replaces_known(&self) -> bool {
        self.flags & libc::MAP_FIXED != 0 && ranges::touches(self.address.addr(), self.len)
    }

    fn map(&self) -> Option<Result<*mut c_void, c_int>> {
        let is_known = self.shares_a_file() && atomic::is_regular(self.fd);
        if !is_known && !self.replaces_known() {
            return None;
        }
        start::ensure();
        if is_known {
            match atomic::map(self) {
                Found::Mapped(at) => return Some(Ok(self.made(at, true))),
                Found::Refused(errno) => return Some(Err(errno)),
                Found::Passed => {}
            }
        }
        // SAFETY: the program's arguments, as they came.
        let mapped =
            unsafe { posix::mmap(self.address, self.len, self.prot, self.flags, self.fd, self.offset) };
        Some(mapped.map(|at| self.made(at, is_known)).map_err(|error| failed(&error)))
    }

    fn made(&self, at: *mut c_void, is_known: bool) -> *mut c_void {
        ranges::remove(at.addr(), self.len);
        if is_known {
            ranges::add(at.addr(), self.len);
        }
        at
    }
}

fn unmap(address: *mut c_void, len: usize) -> Result<(), c_int> {
    // First: once it is unmapped, another thread's mapping may come to lie there.
    ranges::remove(address.addr(), len);
    // SAFETY: the program's arguments, as they came.
    let done = unsafe { posix::munmap(address, len) };
    done.map_err(|error| {
        ranges::add(address.addr(), len);
        failed(&error)
    })
}

fn remap(
    old: *mut c_void,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new: *mut c_void,
) -> Result<*mut c_void, c_int> {
    // SAFETY: the program's arguments, as they came.
    let moved = unsafe { posix::mremap(old, old_len, new_len, flags, new) };
    let moved = moved.map_err(|error| failed(&error))?;
    // With MREMAP_DONTUNMAP, or an old length of 0, the old one stays, and is known still.
    let stays = old_len == 0 || flags & libc::MREMAP_DONTUNMAP != 0;
    // Known throughout: a call in between that took it for the kernel's would sync nothing.
    if moved != old {
        ranges::add(moved.addr(), new_len);
        if !stays {
            ranges::remove(old.addr(), old_len);
        }
    } else if new_len < old_len {
        // The page that it ends in stays.
        let end = ranges::page_end(old.addr().wrapping_add(new_len));
        ranges::remove(end, old.addr().wrapping_add(old_len).saturating_sub(end));
    } else if new_len > old_len {
        ranges::add(old.addr().wrapping_add(old_len), new_len - old_len);
    }
    Ok(moved)
}

fn sync(address: *mut c_void, len: usize, flags: c_int) -> Result<(), c_int> {
    posix::msync(address, len, flags, Rules::Linux).map_err(|error| failed(&error))?;
    log::debug!(
        "msync of {len} bytes at {address:p}: committed, or written out where it is the kernel's mapping"
    );
    Ok(())
}

fn advise(address: *mut c_void, len: usize, advice: c_int) -> Result<(), c_int> {
    // SAFETY: the program's arguments, as they came.
    let done = unsafe { posix::madvise(address, len, advice) };
    done.map_err(|error| failed(&error))
}

/// What the program is told. What it cannot be told in an errno is said in a line.
pub(crate) fn failed(error: &Error) -> c_int {
    match error.kind() {
        ErrorKind::InvalidInput
        | ErrorKind::OutOfRange
        | ErrorKind::PermissionDenied
        | ErrorKind::NotFound => {
            log::debug!("{error}");
        }
        _ => log::warn!("{error}"),
    }
    posix::errno(error)
}
