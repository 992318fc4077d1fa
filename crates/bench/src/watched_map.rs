//! A private mapping whose stores the kernel notes, with nothing around it: the least that finding stores costs.
//!
//! # Safety
//!
//! This file is trusted with one mapping, which it makes and unmaps, and with the ioctls of userfaultfd(2) and
//! `/proc/self/pagemap` over it, whose structures are those of linux/userfaultfd.h and linux/fs.h. The file behind the mapping is
//! in a folder of the benchmark's own: nothing else writes or truncates it.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use crate::Result;

const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_API: u64 = 0xAA;
/// `UFFD_FEATURE_WP_ASYNC`, and what it stands on for files in memory.
const FEATURES: u64 = 1 << 15 | 1 << 12;
const UFFDIO_API: libc::c_ulong = 0xC018_AA3F;
const UFFDIO_REGISTER: libc::c_ulong = 0xC020_AA00;
const UFFDIO_WRITEPROTECT: libc::c_ulong = 0xC018_AA06;
const PAGEMAP_SCAN: libc::c_ulong = 0xC060_6610;
/// Get what was written, and protect it again.
const WRITTEN_AND_PROTECT: [u64; 2] = [3, 2];
const RUNS: usize = 4096;

/// A whole file, mapped privately, every page of it mapped and protected.
pub(crate) struct WatchedMap {
    start: *mut c_void,
    len: usize,
    // Watches for as long as it is open.
    _uffd: OwnedFd,
    pagemap: File,
    runs: Vec<[u64; 3]>,
}

impl WatchedMap {
    /// An error where the kernel does not have it (before Linux 6.7) or forbids it.
    pub(crate) fn open(path: &Path) -> Result<WatchedMap> {
        let file = File::open(path)?;
        let len = usize::try_from(file.metadata()?.len())?;
        // SAFETY: takes numbers only.
        let fd = unsafe {
            libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let uffd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) };
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses addresses that nothing uses.
        let start =
            unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags, &file, 0)? };
        let pagemap = File::open("/proc/self/pagemap")?;
        let map = WatchedMap { start, len, _uffd: uffd, pagemap, runs: vec![[0; 3]; RUNS] };
        // SAFETY: `start` and `len` are the whole mapping; mapping its pages changes no byte.
        unsafe { madvise(start, len, Advice::LinuxPopulateRead)? };
        ioctl(&map._uffd, UFFDIO_API, &mut [UFFD_API, FEATURES, 0])?;
        ioctl(&map._uffd, UFFDIO_REGISTER, &mut [start as u64, len as u64, 2, 0])?;
        ioctl(&map._uffd, UFFDIO_WRITEPROTECT, &mut [start as u64, len as u64, 1])?;
        Ok(map)
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable and writable, `len` bytes long, and borrowed for this slice alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.len) }
    }

    /// The offsets of the pages that were stored to since the last call, as runs.
    pub(crate) fn take_written(&mut self, found: &mut Vec<std::ops::Range<usize>>) -> Result<()> {
        let (start, end) = (self.start as u64, self.start as u64 + self.len as u64);
        let mut at = start;
        while at < end {
            let [flags, written] = WRITTEN_AND_PROTECT;
            let runs = self.runs.as_mut_ptr() as u64;
            let mut scan = [96, flags | 1, at, end, 0, runs, RUNS as u64, 0, 0, written, 0, written];
            let count = ioctl(&self.pagemap, PAGEMAP_SCAN, &mut scan)?;
            let runs = &self.runs[..count];
            found.extend(runs.iter().map(|run| (run[0] - start) as usize..(run[1] - start) as usize));
            at = scan[4];
        }
        Ok(())
    }
}

/// One whose structure is so many words.
fn ioctl<const WORDS: usize>(
    fd: &impl AsRawFd,
    request: libc::c_ulong,
    words: &mut [u64; WORDS],
) -> Result<usize> {
    // SAFETY: each request above names a structure of as many words as its caller gives; a vector that it names lives across the
    // call and is as long as it says.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, words.as_mut_ptr()) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error().into())
}

impl Drop for WatchedMap {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and no slice of it outlives `self`.
        let unmapped = unsafe { munmap(self.start, self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
}
