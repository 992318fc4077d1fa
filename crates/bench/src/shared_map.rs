//! `mmap(MAP_SHARED)` and `msync(MS_SYNC)`, as plainly as the kernel has them.
//!
//! # Safety
//!
//! This file is trusted with the address and the length of one mapping, which it makes and unmaps. The file behind it is
//! in a folder of the benchmark's own: nothing else writes or truncates it.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::path::Path;
use std::ptr;

use rustix::mm::{Advice, MapFlags, MsyncFlags, ProtFlags, madvise, mmap, msync, munmap};

use crate::Result;
use crate::data::PAGE_BYTES;

/// A whole file, mapped shared.
pub(crate) struct SharedMap {
    start: *mut c_void,
    len: usize,
}

impl SharedMap {
    pub(crate) fn open(path: &Path) -> Result<SharedMap> {
        let file = File::options().read(true).write(true).open(path)?;
        let len = usize::try_from(file.metadata()?.len())?;
        // SAFETY: the kernel chooses addresses that nothing uses.
        let start = unsafe {
            mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)?
        };
        Ok(SharedMap { start, len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is readable, `len` bytes long, and nothing changes it while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable and writable, `len` bytes long, and borrowed for this slice alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.len) }
    }

    /// Pages come one by one from here on, not with their neighbours in one large folio.
    pub(crate) fn expect_random(&self) -> Result<()> {
        // SAFETY: `start` and `len` are the whole mapping; the advice changes no byte of it.
        unsafe { madvise(self.start, self.len, Advice::Random)? };
        Ok(())
    }

    /// How many of its pages are in memory, as vmtouch asks.
    pub(crate) fn resident_pages(&self) -> Result<u64> {
        let mut pages = vec![0; self.len.div_ceil(PAGE_BYTES)];
        // SAFETY: `start` and `len` are the whole mapping, and there is a byte for each of its pages.
        if unsafe { libc::mincore(self.start, self.len, pages.as_mut_ptr()) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(pages.iter().filter(|page| **page & 1 != 0).count() as u64)
    }

    /// Durable on return.
    pub(crate) fn sync(&self) -> Result<()> {
        // SAFETY: `start` and `len` are the whole mapping, which lives as long as `self`.
        unsafe { msync(self.start, self.len, MsyncFlags::SYNC)? };
        Ok(())
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and no slice of it outlives `self`.
        let unmapped = unsafe { munmap(self.start, self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
}
