//! The committed image: what plain stores are compared with, and what a commit is folded into.
//!
//! # Safety
//!
//! This file is trusted to hand out slices of a second, shared mapping of the image, its *window*. The invariants:
//!
//! - the first `window_bytes` bytes of the window's region map the image from its start on, and nobody else knows the region;
//! - an image in memory is as long as its window and never cut, so every byte of the window can be touched; it is written here
//!   only, under `&mut self`, by stores into the window, by `write_all_at` or by punching holes;
//! - the image of a view is the data file: the caller of the unsafe `view` promised that nobody else writes or cuts it, and this
//!   library writes only pages that `Store::is_behind` names, which are never looked at here.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::FallocateFlags;
use rustix::mm::{MapFlags, ProtFlags};

use crate::batch::Batch;
use crate::fault::{Damaged, writing};
use crate::store::Store;
use crate::sys;
use crate::sys::region::{Region, RegionOptions};

/// Mapping the pages of so much memory takes some 50 ms; for more nobody would want to wait at a first store.
const MAPPED_AHEAD_BYTES_MAX: usize = 1 << 30;

#[derive(Debug)]
enum Source {
    /// The working image itself, as long as the two are one memory.
    Working,
    /// The last commit, in a file in memory.
    Memory(File),
    /// The data file's page cache, and the store's journal over it.
    PageCache,
}

#[derive(Debug)]
pub(super) struct Committed {
    source: Source,
    window: Option<Region>,
    window_bytes: usize,
}

/// A memfd is a file, also to the limit of file sizes.
pub(super) fn lengthen(memory: &File, len: usize) -> io::Result<()> {
    sys::check_file_size(len as u64)?;
    writing(|| memory.set_len(len as u64))
}

impl Committed {
    pub(super) fn in_working_image() -> Committed {
        Committed { source: Source::Working, window: None, window_bytes: 0 }
    }

    pub(super) fn in_memory(memory: File) -> Committed {
        Committed { source: Source::Memory(memory), window: None, window_bytes: 0 }
    }

    pub(super) fn in_page_cache() -> Committed {
        Committed { source: Source::PageCache, window: None, window_bytes: 0 }
    }

    pub(super) fn is_page_cache(&self) -> bool {
        matches!(self.source, Source::PageCache)
    }

    /// The file in memory that holds the image, if one does.
    pub(super) fn memory(&self) -> Option<&File> {
        match &self.source {
            Source::Memory(memory) => Some(memory),
            Source::Working | Source::PageCache => None,
        }
    }

    /// Is most of an image in memory really there, so that mapping its pages ahead of time costs no memory to speak of?
    pub(super) fn is_dense(&self, bytes: usize) -> bool {
        let allocated =
            self.memory().and_then(|memory| memory.metadata().ok()).map_or(0, |found| found.blocks() * 512);
        bytes <= MAPPED_AHEAD_BYTES_MAX && allocated as usize > bytes / 5 * 4
    }

    /// What a mapping of the image maps.
    pub(super) fn descriptor<'a>(&'a self, store: &'a dyn Store) -> io::Result<BorrowedFd<'a>> {
        match &self.source {
            Source::Memory(memory) => Ok(memory.as_fd()),
            Source::PageCache => store.page_cache().ok_or_else(|| io::ErrorKind::Unsupported.into()),
            Source::Working => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sees to it that the window shows the first `bytes` bytes (whole pages) of the image. A new one is kept as `options` say.
    pub(super) fn open_window(
        &mut self,
        store: &dyn Store,
        bytes: usize,
        options: RegionOptions,
    ) -> io::Result<()> {
        if bytes <= self.window_bytes {
            return Ok(());
        }
        let protection = match &self.source {
            Source::Memory(memory) => {
                if memory.metadata()?.len() < bytes as u64 {
                    lengthen(memory, bytes)?;
                }
                ProtFlags::READ | ProtFlags::WRITE
            }
            Source::PageCache => ProtFlags::READ,
            Source::Working => return Err(io::ErrorKind::Unsupported.into()),
        };
        let mut window = match self.window.take() {
            Some(window) if window.len() >= bytes => window,
            // With room to grow: addresses cost nothing.
            _ => Region::reserve_as(bytes.saturating_mul(2), options)
                .or_else(|_| Region::reserve_as(bytes, options))?,
        };
        self.window_bytes = 0;
        window.place_file(0..bytes, self.descriptor(store)?, 0, protection, MapFlags::SHARED)?;
        if self.is_dense(bytes) {
            window.map_pages(std::slice::from_ref(&(0..bytes)));
        }
        self.window = Some(window);
        self.window_bytes = bytes;
        Ok(())
    }

    /// These bytes of the image, where the window shows them. Those of a view may be behind: the caller asks the store.
    pub(super) fn bytes(&self, range: Range<usize>) -> Option<&[u8]> {
        let window =
            self.window.as_ref().filter(|_| range.start <= range.end && range.end <= self.window_bytes)?;
        let start = window.as_ptr().wrapping_add(range.start);
        // SAFETY: the range lies within the window (checked above), which is readable memory that nobody changes under a shared
        // reference (invariants above).
        Some(unsafe { std::slice::from_raw_parts(start, range.len()) })
    }

    /// The first bytes in `range` that the window shows as zeros because it could not have them.
    pub(super) fn first_damaged(&self, range: &Range<usize>) -> Option<Damaged> {
        self.window.as_ref()?.first_damaged(range)
    }

    #[cfg(all(test, feature = "guard"))]
    pub(super) fn window_address(&self) -> Option<usize> {
        self.window.as_ref().map(|window| window.as_ptr() as usize)
    }

    /// The next look at the image is through a new window.
    pub(super) fn close_window(&mut self) {
        self.window = None;
        self.window_bytes = 0;
    }

    /// Lays a commit over an image in memory; one of a view is the store's affair.
    pub(super) fn fold(
        &mut self,
        store: &dyn Store,
        batch: &Batch<'_>,
        committed_before: usize,
        options: RegionOptions,
    ) -> io::Result<()> {
        self.fold_length(batch, committed_before)?;
        if self.memory().is_none() || batch.extents.is_empty() {
            return Ok(());
        }
        let page = sys::page_size();
        let opened = self.open_window(store, (batch.len as usize).next_multiple_of(page), options);
        if let Err(error) = &opened {
            log::debug!("the committed image is written by calls: {error}");
        }
        let mut bytes = batch.bytes;
        for extent in batch.extents {
            let (these, rest) = bytes.split_at(extent.len as usize);
            self.write(extent.offset as usize, these)?;
            bytes = rest;
        }
        // What was stored where the window has no page reached no image.
        match self.first_damaged(&(0..self.window_bytes)) {
            Some(_) => Err(io::Error::from_raw_os_error(libc::EIO)),
            None => Ok(()),
        }
    }

    /// What was cut off becomes zeros, and the image is never shorter than the last commit.
    fn fold_length(&mut self, batch: &Batch<'_>, committed_before: usize) -> io::Result<()> {
        let Some(memory) = self.memory() else { return Ok(()) };
        let (page, cut, len) = (sys::page_size(), batch.len_min as usize, batch.len as usize);
        if cut < committed_before {
            // A hole, not a truncation: that would take private pages of the working image with it (mmap(2), ftruncate(2)).
            rustix::fs::fallocate(
                memory,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                cut as u64,
                (committed_before.next_multiple_of(page) - cut) as u64,
            )?;
        }
        if len > committed_before && memory.metadata()?.len() < len.next_multiple_of(page) as u64 {
            lengthen(memory, len.next_multiple_of(page))?;
        }
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let Source::Memory(memory) = &self.source else { return Ok(()) };
        match &self.window {
            Some(window) if offset + bytes.len() <= self.window_bytes => {
                let target = window.as_ptr().wrapping_add(offset);
                // SAFETY: the target lies within the window (checked above), which is writable for an image in memory; `&mut self`
                // says that no slice of it lives, and `bytes`, a record's, lie elsewhere.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
                Ok(())
            }
            _ => writing(|| memory.write_all_at(bytes, offset as u64)),
        }
    }
}
