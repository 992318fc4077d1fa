//! Advice about the memory of another process: process_madvise(2).
//!
//! # Safety
//!
//! This file is trusted with one system call that reads a list of ranges. They are addresses of another process, and the advice that can be
//! given here changes no byte.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// At most so many ranges a call (`UIO_MAXIOV`).
const RANGES_MAX: usize = 1024;

/// Gives `advice` (`MADV_*`, of those that change nothing) about ranges of the process behind `pidfd`. How many bytes it reached.
pub(crate) fn advise(pidfd: BorrowedFd<'_>, ranges: &[Range<usize>], advice: libc::c_int) -> io::Result<u64> {
    let mut reached = 0;
    for ranges in ranges.chunks(RANGES_MAX) {
        let list: Vec<_> = ranges
            .iter()
            .map(|range| libc::iovec { iov_base: range.start as *mut libc::c_void, iov_len: range.len() })
            .collect();
        // SAFETY: the kernel reads `list`, which lives across the call; the addresses in it are not this process's to be touched.
        let done = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                pidfd.as_raw_fd(),
                list.as_ptr(),
                list.len(),
                advice,
                0_u32,
            )
        };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        reached += done as u64;
    }
    Ok(reached)
}
