//! What the kernel tells about the page cache.
//!
//! # Safety
//!
//! This file is trusted with two calls that write into buffers given to them: `cachestat` fills one C structure,
//! `mincore` one byte a page.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::region::Region;

/// Pages of a file by their state, as cachestat(2) counts them. The layout is the kernel's `struct cachestat`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheCounts {
    pub(crate) cached: u64,
    pub(crate) dirty: u64,
    pub(crate) write_back: u64,
    pub(crate) evicted: u64,
    pub(crate) recently_evicted: u64,
}

/// `struct cachestat_range`.
#[repr(C)]
struct CacheRange {
    offset: u64,
    len: u64,
}

/// The same number on every architecture (Linux 6.5).
const SYS_CACHESTAT: libc::c_long = 451;

/// Counts the cached pages of the file in `range`, which is not empty: to the kernel that means "to the end".
pub(crate) fn cache_counts(fd: BorrowedFd<'_>, range: Range<u64>) -> io::Result<CacheCounts> {
    debug_assert!(!range.is_empty());
    let range = CacheRange { offset: range.start, len: range.end - range.start };
    let mut counts = CacheCounts::default();
    // SAFETY: the kernel reads one `struct cachestat_range` and writes one `struct cachestat`; both live across the call
    // and have its layout.
    let result =
        unsafe { libc::syscall(SYS_CACHESTAT, fd.as_raw_fd(), &raw const range, &raw mut counts, 0) };
    if result == 0 { Ok(counts) } else { Err(io::Error::last_os_error()) }
}

impl Region {
    /// For each page at `bytes`: whether it is in memory. mincore(2): of a file that the caller neither owns nor may
    /// write, the kernel claims that all of it is.
    pub(crate) fn pages_in_memory(&self, bytes: Range<usize>) -> io::Result<Vec<bool>> {
        self.check(&bytes);
        let mut states = vec![0_u8; bytes.len() / super::page_size()];
        if states.is_empty() {
            return Ok(Vec::new());
        }
        // SAFETY: the kernel writes one byte a page of `bytes`, for which `states` has the room; the pages are this region's.
        let result =
            unsafe { libc::mincore(self.address(bytes.start).cast(), bytes.len(), states.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // The other bits are reserved.
        Ok(states.into_iter().map(|state| state & 1 != 0).collect())
    }
}
