//! The calls on memory by address, as the kernel has them.
//!
//! # Safety
//!
//! This file is trusted to hand addresses and flags to the kernel as they came. What that does to memory is for the callers to answer
//! for: each of these functions is unsafe where the call can take memory away or change what it holds.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::ops::Range;

fn done(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn mapped(address: *mut c_void) -> io::Result<usize> {
    if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address as usize) }
}

/// mmap(2).
///
/// # Safety
///
/// With `MAP_FIXED`, nobody uses what lies there.
pub(crate) unsafe fn mmap(
    address: usize,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> io::Result<usize> {
    // SAFETY: passed on.
    mapped(unsafe { libc::mmap(address as *mut c_void, len, prot, flags, fd, offset) })
}

/// munmap(2).
///
/// # Safety
///
/// Nobody uses the memory any more.
pub(crate) unsafe fn munmap(memory: &Range<usize>) -> io::Result<()> {
    // SAFETY: passed on.
    done(unsafe { libc::munmap(memory.start as *mut c_void, memory.len()) })
}

/// mremap(2).
///
/// # Safety
///
/// Nobody uses the old addresses any more, and with `MREMAP_FIXED` nobody uses what lies at the new ones.
pub(crate) unsafe fn mremap(
    old: usize,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new: usize,
) -> io::Result<usize> {
    // SAFETY: passed on.
    mapped(unsafe { libc::mremap(old as *mut c_void, old_len, new_len, flags, new as *mut c_void) })
}

/// mprotect(2).
///
/// # Safety
///
/// Nobody relies on an access that is taken away.
pub(crate) unsafe fn mprotect(memory: &Range<usize>, prot: c_int) -> io::Result<()> {
    // SAFETY: passed on.
    done(unsafe { libc::mprotect(memory.start as *mut c_void, memory.len(), prot) })
}

/// madvise(2).
///
/// # Safety
///
/// Nobody relies on bytes that the advice throws away.
pub(crate) unsafe fn madvise(memory: &Range<usize>, advice: c_int) -> io::Result<()> {
    // SAFETY: passed on.
    done(unsafe { libc::madvise(memory.start as *mut c_void, memory.len(), advice) })
}

/// Lets go of the page table entries of a shared mapping of a file: the page cache keeps what was stored (madvise(2)).
pub(crate) fn forget_pages(memory: &Range<usize>) -> io::Result<()> {
    // SAFETY: the callers know these addresses to be a shared mapping of a file, of which this loses nothing.
    unsafe { madvise(memory, libc::MADV_DONTNEED) }
}

/// msync(2): changes no byte.
pub(crate) fn msync(memory: &Range<usize>, flags: c_int) -> io::Result<()> {
    // SAFETY: the kernel looks at the range itself, and changes nothing in it.
    done(unsafe { libc::msync(memory.start as *mut c_void, memory.len(), flags) })
}
