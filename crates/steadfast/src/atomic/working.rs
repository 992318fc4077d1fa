//! The working image: what the program stores into.
//!
//! # Safety
//!
//! This file is trusted to hand out slices of the memory that it placed in its [`Region`]. The invariants:
//!
//! - the first `mapped` bytes of the region are readable and writable memory, private to this process;
//! - what backs them does not change under a reference: for `load` it is a memfd that nobody else has, written only
//!   while `&mut self` is held; for `view` it is the data file's page cache, which the caller of the unsafe `view`
//!   promised that nobody else writes, and which this library writes only where the working image has its own copy
//!   of the page (a checkpoint writes committed bytes, and a committed page was stored to here).
//!
//! Clean pages come from the base (memfd or page cache); a page that was stored to is a private copy. Where the base has
//! no bytes to offer (growth of a `view`, or growth after a cut in the same transaction) the pages are anonymous zeros.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;
use rustix::mm::{MapFlags, ProtFlags};

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::range;
use crate::store::Store;
use crate::sys;
use crate::sys::pagemap::Pagemap;
use crate::sys::region::Region;

/// Private copies of committed pages may take this much before they are given back.
const PRIVATE_BYTES_MAX: usize = 64 << 20;
const FILL_BYTES: usize = 1 << 20;
/// Runs of zeros of this size stay holes in the committed image.
const HOLE_BYTES: usize = 64 << 10;

#[derive(Debug)]
enum Base {
    /// The committed image in private memory.
    Memory(File),
    /// The data file's page cache, and the store's journal over it.
    PageCache,
}

#[derive(Debug)]
pub(super) struct Working {
    region: Region,
    base: Base,
    /// Bytes placed, whole pages.
    mapped: usize,
    /// From here on the pages are anonymous: nothing of the base shows through. Equal to `mapped` where there are none.
    anonymous_from: usize,
    /// Private copies of pages that are committed, estimated from above.
    private_bytes: usize,
    pagemap: Option<Pagemap>,
}

/// Reserving swap for every page would refuse maps larger than memory, of which only the changed pages cost any.
const PRIVATE: MapFlags = MapFlags::PRIVATE.union(MapFlags::NORESERVE);
const STORES: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

fn pages(len: usize) -> io::Result<usize> {
    Ok(range::page_ceil(len, sys::page_size()).ok_or(rustix::io::Errno::NOMEM)?)
}

/// A memfd is a file, also to the limit of file sizes.
fn lengthen(memory: &File, len: usize) -> io::Result<()> {
    sys::check_file_size(len as u64)?;
    memory.set_len(len as u64)
}

impl Working {
    /// The whole of the store's last commit in private memory.
    pub(super) fn load(store: &dyn Store, reserve: usize) -> Result<Working> {
        let failed = |error: io::Error| {
            Error::from_io("load", error)
                .path(store.path())
                .advice("`load` needs as much memory as the file has data; `view` needs only what is changed")
        };
        let len = store.committed_len() as usize;
        // Addresses first: where there are not enough of them, nothing need be read.
        let region = Region::reserve(pages(len).map_err(failed)?.max(reserve)).map_err(failed)?;
        let memory = File::from(sys::memfd::create("steadfast").map_err(|error| failed(error.into()))?);
        lengthen(&memory, pages(len).map_err(failed)?).map_err(failed)?;
        let mut chunk = vec![0; FILL_BYTES.min(len)];
        let mut at = 0;
        while at < len {
            let count = FILL_BYTES.min(len - at);
            store.read_committed(&mut chunk[..count], at as u64)?;
            for (index, piece) in chunk[..count].chunks(HOLE_BYTES).enumerate() {
                if piece.iter().any(|&byte| byte != 0) {
                    memory.write_all_at(piece, (at + index * HOLE_BYTES) as u64).map_err(failed)?;
                }
            }
            at += count;
        }
        Working::place(Base::Memory(memory), store, len, region).map_err(failed)
    }

    /// The page cache of the store's file, which holds its last commit.
    pub(super) fn view(store: &dyn Store, reserve: usize) -> Result<Working> {
        let failed = |error| Error::from_io("view", error).path(store.path());
        let len = store.committed_len() as usize;
        let place =
            || Working::place(Base::PageCache, store, len, Region::reserve(pages(len)?.max(reserve))?);
        place().map_err(failed)
    }

    fn place(base: Base, store: &dyn Store, len: usize, region: Region) -> io::Result<Working> {
        let mapped = pages(len)?;
        let pagemap = Pagemap::open()
            .inspect_err(|error| log::warn!("no /proc/self/pagemap ({error}): commits compare all pages"))
            .ok();
        let mut working = Working { region, base, mapped: 0, anonymous_from: 0, private_bytes: 0, pagemap };
        working.place_base(store, 0..mapped)?;
        working.mapped = mapped;
        working.anonymous_from = mapped;
        Ok(working)
    }

    fn base_fd<'a>(&'a self, store: &'a dyn Store) -> io::Result<BorrowedFd<'a>> {
        match &self.base {
            Base::Memory(memory) => Ok(memory.as_fd()),
            Base::PageCache => store.page_cache().ok_or_else(|| io::ErrorKind::Unsupported.into()),
        }
    }

    /// Maps the base over `bytes`: whatever was private there is gone.
    fn place_base(&mut self, store: &dyn Store, bytes: Range<usize>) -> io::Result<()> {
        let fd = self.base_fd(store)?.try_clone_to_owned()?;
        self.region.place_file(bytes.clone(), fd.as_fd(), bytes.start as u64, STORES, PRIVATE)?;
        self.region.keep_from_children(bytes)
    }

    fn place_zeros(&mut self, bytes: Range<usize>) -> io::Result<()> {
        self.region.place_anonymous(bytes.clone(), STORES, PRIVATE)?;
        self.region.keep_from_children(bytes)
    }

    pub(super) fn is_view(&self) -> bool {
        matches!(self.base, Base::PageCache)
    }

    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.region.as_ptr()
    }

    pub(super) fn bytes(&self, len: usize) -> &[u8] {
        assert!(len <= self.mapped, "{len} bytes of {} mapped", self.mapped);
        // SAFETY: the first `mapped` bytes are readable memory that nobody changes under a shared reference (invariants
        // above); `len` is within them, and the pointer is aligned for bytes and not null.
        unsafe { std::slice::from_raw_parts(self.region.as_ptr(), len) }
    }

    pub(super) fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.mapped, "{len} bytes of {} mapped", self.mapped);
        // SAFETY: as in `bytes`, and writable; `&mut self` says that this is the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.region.as_ptr(), len) }
    }

    /// The runs of pages below `len` that may differ from the base: private copies.
    pub(super) fn private_pages(&self, len: usize) -> Vec<Range<usize>> {
        if len == 0 {
            return Vec::new();
        }
        // A map that cannot be read is no reason to lose a store: every page is then a candidate.
        let all = || std::iter::once(0..self.mapped).collect();
        let Some(pagemap) = &self.pagemap else { return all() };
        pagemap.private_pages(self.region.as_ptr() as usize, len).unwrap_or_else(|error| {
            log::warn!("/proc/self/pagemap: {error}");
            all()
        })
    }

    /// Bytes of the last commit.
    pub(super) fn read_committed(&self, store: &dyn Store, buf: &mut [u8], offset: usize) -> Result<()> {
        match &self.base {
            Base::Memory(memory) => memory
                .read_exact_at(buf, offset as u64)
                .map_err(|error| Error::from_io("read the committed image", error).path(store.path())),
            Base::PageCache => store.read_committed(buf, offset as u64),
        }
    }

    /// Counts declared edits as private copies: each touches its pages and at most one more.
    pub(super) fn note_private(&mut self, bytes: usize, ranges: usize) {
        self.private_bytes =
            self.private_bytes.saturating_add(bytes).saturating_add(ranges * sys::page_size());
    }

    pub(super) fn wants_memory_back(&self) -> bool {
        self.private_bytes > PRIVATE_BYTES_MAX
    }

    /// Makes room from `from` to `to` bytes, all zeros. On an error nothing visible has changed.
    pub(super) fn grow(&mut self, store: &dyn Store, from: usize, to: usize) -> io::Result<()> {
        let page = sys::page_size();
        let (first, end) = (pages(from)?, pages(to)?);
        if end > self.region.len() {
            self.move_to(store, end.max(self.region.len().saturating_mul(2)), end)?;
        }
        if end > first {
            // Only a committed image in memory that has nothing there can lie under the new pages.
            let over_base = match &self.base {
                Base::Memory(memory)
                    if self.anonymous_from == self.mapped
                        && first >= pages(store.committed_len() as usize)? =>
                {
                    if memory.metadata()?.len() < end as u64 {
                        lengthen(memory, end)?;
                    }
                    Some(memory.try_clone()?)
                }
                _ => None,
            };
            match over_base {
                Some(memory) => {
                    self.region.place_file(first..end, memory.as_fd(), first as u64, STORES, PRIVATE)?;
                    self.region.keep_from_children(first..end)?;
                    self.anonymous_from = end.max(self.mapped);
                }
                None => {
                    // Up to the end of what is mapped: behind the first anonymous page nothing of the base shows through.
                    self.place_zeros(first..end.max(self.mapped))?;
                    self.anonymous_from = self.anonymous_from.min(first);
                }
            }
            self.mapped = self.mapped.max(end);
        }
        // The rest of the last page may still hold what was there before a cut.
        let tail = from..to.min(from.next_multiple_of(page));
        let tail = &mut self.bytes_mut(tail.end)[tail.start..];
        if tail.iter().any(|&byte| byte != 0) {
            tail.fill(0);
        }
        Ok(())
    }

    /// Moves to a larger region: the base is mapped there again, and what is private is copied.
    fn move_to(&mut self, store: &dyn Store, reserve: usize, least: usize) -> io::Result<()> {
        // Twice the size is a wish; where addresses are scarce, what is needed must do.
        let mut region = Region::reserve(reserve).or_else(|_| Region::reserve(least))?;
        let based = self.anonymous_from;
        region.place_file(0..based, self.base_fd(store)?, 0, STORES, PRIVATE)?;
        region.place_anonymous(based..self.mapped, STORES, PRIVATE)?;
        region.keep_from_children(0..self.mapped)?;
        for run in self.private_pages(self.mapped) {
            let source = &self.bytes(self.mapped)[run.clone()];
            let target = region.as_ptr().wrapping_add(run.start);
            // SAFETY: the new region's first `mapped` bytes were placed writable above, nobody else knows them yet, and
            // `run` lies within; the old region is another mapping, so the two do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target, source.len()) };
        }
        self.region = region;
        Ok(())
    }

    /// After a successful commit: the committed image takes the changes over, and their private copies are let go.
    pub(super) fn fold(
        &mut self,
        batch: &Batch<'_>,
        committed_before: usize,
        private: &[Range<usize>],
        keep_private: bool,
    ) -> io::Result<()> {
        let len = batch.len as usize;
        let end = pages(len)?;
        if let Base::Memory(memory) = &self.base {
            let cut = batch.len_min as usize;
            if cut < committed_before {
                // A hole, not a truncation: that would take private pages of the working image with it (mmap(2), ftruncate(2)).
                rustix::fs::fallocate(
                    memory,
                    FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                    cut as u64,
                    (pages(committed_before)? - cut) as u64,
                )?;
            }
            // It is never shorter than the last commit.
            if len > committed_before && memory.metadata()?.len() < end as u64 {
                lengthen(memory, end)?;
            }
            let mut bytes = batch.bytes;
            for extent in batch.extents {
                let (these, rest) = bytes.split_at(extent.len as usize);
                memory.write_all_at(these, extent.offset)?;
                bytes = rest;
            }
        }
        if self.mapped > end {
            self.region.clear(end..self.mapped)?;
            self.mapped = end;
            self.anonymous_from = self.anonymous_from.min(end);
        }
        if keep_private || self.is_view() {
            // A view's data file may be behind: the private copies are what shows the commit.
            let found = private.iter().map(Range::len).sum();
            self.private_bytes = self.private_bytes.max(found);
            return Ok(());
        }
        if let Base::Memory(memory) = &self.base
            && self.anonymous_from < self.mapped
        {
            // The committed image has bytes for these pages now.
            let memory = memory.try_clone()?;
            let bytes = self.anonymous_from..self.mapped;
            self.region.place_file(bytes.clone(), memory.as_fd(), bytes.start as u64, STORES, PRIVATE)?;
            self.region.keep_from_children(bytes)?;
            self.anonymous_from = self.mapped;
        }
        for run in private {
            let run = run.start..run.end.min(self.mapped).max(run.start);
            if let Err(error) = self.region.drop_private(run) {
                // Locked memory cannot be dropped (madvise(2)). The copies are what is committed: they only cost memory.
                log::debug!("private copies stay: {error}");
            }
        }
        Ok(())
    }

    /// Maps everything from the base again. The base must hold the last commit, and nothing else may have been stored.
    pub(super) fn refresh(&mut self, store: &dyn Store) -> io::Result<()> {
        let end = pages(store.committed_len() as usize)?;
        if end > self.mapped {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.place_base(store, 0..end)?;
        if self.mapped > end {
            self.region.clear(end..self.mapped)?;
        }
        self.mapped = end;
        self.anonymous_from = end;
        self.private_bytes = 0;
        Ok(())
    }

    /// Makes the working image the last commit again.
    pub(super) fn roll_back(&mut self, store: &dyn Store) -> Result<()> {
        let failed = |error| Error::from_io("roll back", error).path(store.path());
        if !self.is_view() {
            return self.refresh(store).map_err(failed);
        }
        // The data file may be behind the last commit; but a page that differs from it is a private copy here (it was
        // committed by storing to it), so only private pages need their committed bytes put back, and those pages that
        // lie over nothing.
        let len = store.committed_len() as usize;
        let end = pages(len).map_err(failed)?;
        let over_nothing = self.anonymous_from..len.max(self.anonymous_from);
        let runs = self.private_pages(len);
        let mut committed = vec![0; FILL_BYTES.min(len)];
        for run in runs.into_iter().chain([over_nothing]) {
            let stop = run.end.min(len);
            let mut at = run.start;
            while at < stop {
                let piece = at..stop.min(at + committed.len());
                let bytes = &mut committed[..piece.len()];
                store.read_committed(bytes, piece.start as u64)?;
                let target = &mut self.bytes_mut(len)[piece.clone()];
                if target != bytes {
                    target.copy_from_slice(bytes);
                }
                at = piece.end;
            }
        }
        if self.mapped > end {
            self.region.clear(end..self.mapped).map_err(failed)?;
            self.mapped = end;
            self.anonymous_from = self.anonymous_from.min(end);
        }
        Ok(())
    }
}
