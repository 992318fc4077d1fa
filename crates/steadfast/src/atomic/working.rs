//! The working image: what the program stores into.
//!
//! For `load` it starts as *one memory* with the committed image, in huge pages where they are to be had: declared edits go straight
//! into it, what they replace is kept for a rollback, and a commit has nothing to copy. As soon as stores must be found, or
//! kept apart in larger numbers, it is *split*: the committed image moves into a file in memory, and over it lie private copies
//! of the pages that are stored to. For `view` they lie over the data file, from the start.
//!
//! # Safety
//!
//! This file is trusted to hand out slices of the memory that it placed in its [`Region`]. The invariants:
//!
//! - the first `mapped` bytes of the region are readable and writable memory;
//! - it does not change under a reference. For `load` it is anonymous, or lies over a memfd that nobody else has, written only while
//!   `&mut self` is held; for `view` it is private over the data file's page cache, which the caller of the unsafe `view` promised that nobody
//!   else writes, and which this library writes only where the working image has its own copy of the page (a checkpoint
//!   writes committed bytes, and a committed page was stored to here).
//!
//! A page that was stored to after the split is a private copy. Where the committed image has no bytes to offer (growth of a
//! `view`, or growth after a cut in the same transaction) the pages are anonymous zeros.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::mm::{MapFlags, ProtFlags};

use super::behind::Behind;
use super::committed::{self, Committed};
use super::declared::Declared;
use super::tracker::{self, Tracker, Tracking};
use super::undo::Undo;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::range::{self, PageSet};
use crate::store::Store;
use crate::sys;
use crate::sys::region::Region;

const FILL_BYTES: usize = 1 << 20;
/// So much stands in memory twice while the images are split.
const MOVED_BYTES: usize = 4 << 20;
/// Runs of zeros of this size stay holes in the committed image.
const HOLE_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Working {
    region: Region,
    pub(super) committed: Committed,
    /// Bytes placed, whole pages.
    mapped: usize,
    /// From here on the pages are anonymous: nothing of the committed image shows through. Equal to `mapped` where there are none.
    anonymous_from: usize,
    /// What declared edits replaced, for as long as working and committed image are one memory.
    undo: Option<Undo>,
    tracker: Tracker,
    /// Nothing, before anybody borrowed the whole slice.
    tracking: Option<Tracking>,
    /// Pages that were found to be stored to, and are not committed yet: asking the kernel makes it forget.
    pub(super) changed: Vec<Range<usize>>,
    /// Pages known to be private copies of what is committed.
    copies: PageSet,
    /// For a view in which stores are found.
    pub(super) behind: Behind,
    /// How many commits there were since copies were given back.
    commits: usize,
}

/// Reserving swap for every page would refuse maps larger than memory, of which only the changed pages cost any.
const PRIVATE: MapFlags = MapFlags::PRIVATE.union(MapFlags::NORESERVE);
const STORES: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

pub(super) fn pages(len: usize) -> io::Result<usize> {
    Ok(range::page_ceil(len, sys::page_size()).ok_or(rustix::io::Errno::NOMEM)?)
}

/// Does most of the store's last commit have blocks?
fn is_dense(store: &dyn Store) -> bool {
    let stat = store.page_cache().and_then(|fd| rustix::fs::fstat(fd).ok());
    stat.is_some_and(|stat| stat.st_blocks as u64 * 512 > store.committed_len() / 5 * 4)
}

/// Reads the last commit, and hands the pieces of it out that are not zeros.
fn fill(store: &dyn Store, put: &mut dyn FnMut(&[u8], usize) -> Result<()>) -> Result<()> {
    let len = store.committed_len() as usize;
    let mut chunk = vec![0; FILL_BYTES.min(len)];
    let mut at = 0;
    while at < len {
        let count = FILL_BYTES.min(len - at);
        store.read_committed(&mut chunk[..count], at as u64)?;
        for (index, piece) in chunk[..count].chunks(HOLE_BYTES).enumerate() {
            if piece.iter().any(|&byte| byte != 0) {
                put(piece, at + index * HOLE_BYTES)?;
            }
        }
        at += count;
    }
    Ok(())
}

impl Working {
    /// The whole of the store's last commit in private memory, which is split at once if `split`.
    pub(super) fn load(store: &dyn Store, reserve: usize, tracker: Tracker, split: bool) -> Result<Working> {
        let failed = |error: io::Error| {
            Error::from_io("load", error)
                .path(store.path())
                .advice("`load` needs as much memory as the file has data; `view` needs only what is changed")
        };
        let len = store.committed_len() as usize;
        // Addresses first: where there are not enough of them, nothing need be read.
        let region = Region::reserve(pages(len).map_err(failed)?.max(reserve)).map_err(failed)?;
        let committed = if split {
            let memory = File::from(sys::memfd::create("steadfast").map_err(|error| failed(error.into()))?);
            committed::lengthen(&memory, pages(len).map_err(failed)?).map_err(failed)?;
            fill(store, &mut |piece, at| memory.write_all_at(piece, at as u64).map_err(failed))?;
            Committed::in_memory(memory)
        } else {
            Committed::in_working_image()
        };
        let mut working = Working::begin(committed, store, len, region, tracker).map_err(failed)?;
        if working.is_one_memory() {
            let bytes = working.bytes_mut(len);
            if is_dense(store) {
                store.read_committed(bytes, 0)?;
            } else {
                fill(store, &mut |piece, at| {
                    bytes[at..at + piece.len()].copy_from_slice(piece);
                    Ok(())
                })?;
            }
        }
        Ok(working)
    }

    /// The page cache of the store's file, which holds its last commit.
    pub(super) fn view(store: &dyn Store, reserve: usize, tracker: Tracker) -> Result<Working> {
        let failed = |error| Error::from_io("view", error).path(store.path());
        let len = store.committed_len() as usize;
        let begin = || {
            let region = Region::reserve(pages(len)?.max(reserve))?;
            Working::begin(Committed::in_page_cache(), store, len, region, tracker)
        };
        begin().map_err(failed)
    }

    fn begin(
        committed: Committed,
        store: &dyn Store,
        len: usize,
        region: Region,
        tracker: Tracker,
    ) -> io::Result<Working> {
        let is_one_memory = committed.memory().is_none() && !committed.is_page_cache();
        let mapped = pages(len)?;
        let mut working = Working {
            region,
            committed,
            mapped: 0,
            anonymous_from: 0,
            undo: is_one_memory.then(Undo::default),
            tracker,
            tracking: None,
            changed: Vec::new(),
            copies: PageSet::default(),
            behind: Behind::default(),
            commits: 0,
        };
        if is_one_memory {
            working.region.place_anonymous(0..mapped, STORES, PRIVATE)?;
            working.region.keep_from_children(0..mapped)?;
            if is_dense(store) {
                working.region.allow_huge_pages(0..mapped);
            } else {
                // A huge page for some bytes would be memory for what the file does not have.
                working.region.refuse_huge_pages(0..mapped);
            }
        } else {
            working.place_committed(store, 0..mapped)?;
        }
        working.mapped = mapped;
        working.anonymous_from = mapped;
        Ok(working)
    }

    fn addresses(&self, bytes: Range<usize>) -> Range<usize> {
        let start = self.region.as_ptr() as usize;
        start + bytes.start..start + bytes.end
    }

    fn cover(&mut self, bytes: Range<usize>) {
        let is_all = bytes == (0..self.mapped);
        let memory = self.addresses(bytes);
        match &mut self.tracking {
            Some(tracking) if is_all => tracking.cover_all(memory),
            Some(tracking) => tracking.cover(memory),
            None => {}
        }
    }

    /// Maps the committed image over `bytes`: whatever was private there is gone.
    fn place_committed(&mut self, store: &dyn Store, bytes: Range<usize>) -> io::Result<()> {
        let fd = self.committed.descriptor(store)?.try_clone_to_owned()?;
        self.region.place_file(bytes.clone(), fd.as_fd(), bytes.start as u64, STORES, PRIVATE)?;
        self.region.keep_from_children(bytes.clone())?;
        let page = sys::page_size();
        self.copies.remove(bytes.start / page..bytes.end / page);
        self.cover(bytes);
        Ok(())
    }

    fn place_zeros(&mut self, bytes: Range<usize>) -> io::Result<()> {
        self.region.place_anonymous(bytes.clone(), STORES, PRIVATE)?;
        self.region.keep_from_children(bytes.clone())?;
        // A huge page that is tracked is split at its first store, for good, and at several times the cost.
        self.region.refuse_huge_pages(bytes.clone());
        self.cover(bytes);
        Ok(())
    }

    pub(super) fn is_view(&self) -> bool {
        self.committed.is_page_cache()
    }

    /// The one that is at work, or that was chosen to be.
    pub(super) fn tracker(&self) -> Tracker {
        self.tracking.as_ref().map_or(self.tracker, Tracking::kind)
    }

    /// Does the committed image lie under all of it?
    pub(super) fn is_all_over_committed(&self) -> bool {
        self.anonymous_from == self.mapped
    }

    /// May pages be found that were not stored to since the last commit?
    pub(super) fn finds_pages_again(&self) -> bool {
        !matches!(self.tracking, Some(Tracking::WriteProtect(_)))
    }

    /// Is every page found, whether it is there or not?
    pub(super) fn looks_everywhere(&self) -> bool {
        matches!(self.tracking, None | Some(Tracking::Declared))
    }

    /// Memory for pages that the committed image may show by itself.
    pub(super) fn copies_bytes(&self) -> usize {
        self.copies.count() * sys::page_size() + self.behind.bytes()
    }

    /// Do working and committed image still share their memory?
    pub(super) fn is_one_memory(&self) -> bool {
        self.undo.is_some()
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

    /// Makes ready for changes to `range`, which the commit will be told of.
    pub(super) fn expect_edit(&mut self, range: Range<usize>) -> io::Result<()> {
        if self.undo.as_ref().is_some_and(|undo| !undo.takes(range.len())) {
            self.split()?;
        }
        // Not `bytes`, which would borrow all of `self`; the same slice, and the same proof.
        if let Some(mut undo) = self.undo.take() {
            undo.keep(self.bytes(range.end), range);
            self.undo = Some(undo);
        }
        Ok(())
    }

    /// Makes ready for stores anywhere, which the commit has to find.
    pub(super) fn expect_stores(&mut self) -> io::Result<()> {
        if self.tracking.is_some() {
            return Ok(());
        }
        self.split()?;
        if self.committed.is_dense(self.mapped) {
            self.region.map_pages(std::slice::from_ref(&(0..self.mapped)));
        }
        // What was edited so far was declared.
        self.tracking = Some(Tracking::begin(self.tracker, self.addresses(0..self.mapped)));
        Ok(())
    }

    /// From one memory to private copies over the committed image: what was edited and is not committed becomes such copies. On an
    /// error every byte is as it was.
    fn split(&mut self) -> io::Result<()> {
        if self.undo.is_none() {
            return Ok(());
        }
        let memory = File::from(sys::memfd::create("steadfast")?);
        committed::lengthen(&memory, self.mapped)?;
        // Where the kernel refuses such a mapping (overcommitted memory), it is to do so before the present one is gone.
        Region::reserve(self.mapped)?.place_file(0..self.mapped, memory.as_fd(), 0, STORES, PRIVATE)?;

        let Some(undo) = self.undo.take() else { return Ok(()) };
        let edited: Vec<(usize, Vec<u8>)> =
            undo.ranges().map(|range| (range.start, self.bytes(self.mapped)[range].to_vec())).collect();
        undo.apply(self.bytes_mut(self.mapped));
        let moved = self.move_into(&memory);
        for (start, bytes) in edited {
            self.bytes_mut(self.mapped)[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        match moved {
            Ok(()) => self.committed = Committed::in_memory(memory),
            // Some of it is anonymous and some lies over a file that nobody changes: still one memory.
            Err(_) => self.undo = Some(undo),
        }
        moved
    }

    /// Moves all bytes into a file, piece by piece, and maps that instead.
    fn move_into(&mut self, memory: &File) -> io::Result<()> {
        let mut at = 0;
        while at < self.mapped {
            let end = self.mapped.min(at + MOVED_BYTES);
            for (index, piece) in self.bytes(end)[at..].chunks(HOLE_BYTES).enumerate() {
                if piece.iter().any(|&byte| byte != 0) {
                    memory.write_all_at(piece, (at + index * HOLE_BYTES) as u64)?;
                }
            }
            self.region.place_file(at..end, memory.as_fd(), at as u64, STORES, PRIVATE)?;
            self.region.keep_from_children(at..end)?;
            at = end;
        }
        Ok(())
    }

    /// Adds the pages that were stored to since they were last asked for to `changed`.
    /// `at_rest` says that no store can come meanwhile.
    pub(super) fn find_changes(&mut self, len: usize, at_rest: bool) {
        let Ok(end) = pages(len) else { return };
        let memory = self.addresses(0..end.min(self.mapped));
        if let Some(tracking) = &mut self.tracking
            && !memory.is_empty()
        {
            tracking.take_changed(memory, at_rest, &mut self.changed);
            tracker::normalise(&mut self.changed);
        }
    }

    /// Makes room from `from` to `to` bytes, all zeros; `was_cut` says that it was shorter than the last commit meanwhile. On an
    /// error nothing visible has changed.
    pub(super) fn grow(
        &mut self,
        store: &dyn Store,
        from: usize,
        to: usize,
        was_cut: bool,
    ) -> io::Result<()> {
        let page = sys::page_size();
        if was_cut {
            // What a rollback brings back is not to be covered with zeros.
            self.split()?;
        }
        let (first, end) = (pages(from)?, pages(to)?);
        if end > self.region.len() {
            self.move_to(store, end.max(self.region.len().saturating_mul(2)), end)?;
        }
        if end > first && self.is_one_memory() {
            // Over edits from before a cut in the same transaction, too.
            self.place_zeros(first..end.max(self.mapped))?;
            self.mapped = self.mapped.max(end);
            self.anonymous_from = self.mapped;
        } else if end > first {
            // Only a committed image in memory that has nothing there can lie under the new pages.
            let over_committed = match self.committed.memory() {
                Some(memory)
                    if self.anonymous_from == self.mapped
                        && first >= pages(store.committed_len() as usize)? =>
                {
                    if memory.metadata()?.len() < end as u64 {
                        committed::lengthen(memory, end)?;
                    }
                    true
                }
                _ => false,
            };
            if over_committed {
                self.place_committed(store, first..end)?;
                self.anonymous_from = end.max(self.mapped);
            } else {
                // Up to the end of what is mapped: behind the first anonymous page nothing of the committed image shows through.
                self.place_zeros(first..end.max(self.mapped))?;
                self.anonymous_from = self.anonymous_from.min(first);
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

    /// Moves to a larger region: the committed image is mapped there again, and what is private is copied.
    fn move_to(&mut self, store: &dyn Store, reserve: usize, least: usize) -> io::Result<()> {
        // Memory that is mapped anew counts as not stored to.
        self.find_changes(self.mapped, false);
        // Twice the size is a wish; where addresses are scarce, what is needed must do.
        let mut region = Region::reserve(reserve).or_else(|_| Region::reserve(least))?;
        if self.is_one_memory() {
            region.place_anonymous(0..self.mapped, STORES, PRIVATE)?;
            region.keep_from_children(0..self.mapped)?;
            self.move_memory(&mut region, 0..self.mapped);
            self.region = region;
            return Ok(());
        }
        let based = self.anonymous_from;
        region.place_file(0..based, self.committed.descriptor(store)?, 0, STORES, PRIVATE)?;
        region.place_anonymous(based..self.mapped, STORES, PRIVATE)?;
        region.refuse_huge_pages(based..self.mapped);
        region.keep_from_children(0..self.mapped)?;
        for run in tracker::private_pages(self.addresses(0..self.mapped)) {
            self.copy_memory(&mut region, run);
        }
        self.region = region;
        self.cover(0..self.mapped);
        Ok(())
    }

    /// Before a commit: what it replaces is kept wherever a view's page cache will be behind.
    pub(super) fn keep_committed(&mut self, store: &dyn Store, batch: &Batch<'_>) -> Result<()> {
        if !self.is_view() || self.tracking.is_none() || self.behind.is_full() {
            return Ok(());
        }
        let page = sys::page_size();
        let len = store.committed_len() as usize;
        for extent in batch.extents {
            let end = extent.end().div_ceil(page as u64) as usize;
            for number in extent.offset as usize / page..end {
                let bytes = number * page..((number + 1) * page).min(len).max(number * page);
                let shown = match self.behind.get(bytes.clone()) {
                    Some(_) => continue,
                    None if bytes.is_empty() => Some(&[][..]),
                    None if store.is_behind(bytes.start as u64..bytes.end as u64)? => None,
                    None => self.committed.bytes(bytes),
                };
                self.behind.keep(store, number, shown)?;
            }
        }
        Ok(())
    }

    /// Moves pages without copying them, if the kernel can: before Linux 6.17 not across borders between mappings.
    fn move_memory(&mut self, region: &mut Region, bytes: Range<usize>) {
        let page = sys::page_size();
        if bytes.is_empty() || region.take_over(&mut self.region, bytes.clone()).is_ok() {
            return;
        }
        if bytes.len() <= page {
            return self.copy_memory(region, bytes);
        }
        let middle = bytes.start + (bytes.len() / 2).next_multiple_of(page);
        self.move_memory(region, bytes.start..middle);
        self.move_memory(region, middle..bytes.end);
    }

    fn copy_memory(&self, region: &mut Region, bytes: Range<usize>) {
        let source = &self.bytes(self.mapped)[bytes.clone()];
        let target = region.as_ptr().wrapping_add(bytes.start);
        assert!(bytes.end <= region.len());
        // SAFETY: the callers placed writable memory in the first `mapped` bytes of the new region, which nobody else knows yet, and
        // `bytes` lies within; the old region is another mapping, so the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target, source.len()) };
    }

    /// After a successful commit: the committed image takes the changes over. `copies` are the pages that the commit looked at
    /// besides those that it recorded.
    /// With `keep_copies` stores may go on meanwhile: no copy is taken away.
    pub(super) fn fold(
        &mut self,
        store: &dyn Store,
        batch: &Batch<'_>,
        committed_before: usize,
        copies: &[Range<usize>],
        keep_copies: bool,
    ) -> io::Result<()> {
        let page = sys::page_size();
        let end = pages(batch.len as usize)?;
        match &mut self.undo {
            Some(undo) => undo.clear(),
            None => self.committed.fold(store, batch, committed_before)?,
        }
        self.behind.fold(batch);
        self.commits += 1;
        self.changed.clear();
        if self.mapped > end {
            self.region.clear(end..self.mapped)?;
            self.copies.remove(end / page..self.mapped / page);
            self.mapped = end;
            self.anonymous_from = self.anonymous_from.min(end);
        }
        if self.is_one_memory() {
            return Ok(());
        }
        for extent in batch.extents {
            self.copies.insert(extent.offset as usize / page..extent.end().div_ceil(page as u64) as usize);
        }
        for run in copies {
            self.copies.insert(run.start / page..run.end.min(end).div_ceil(page));
        }
        if keep_copies || self.is_view() {
            // A view's data file may be behind: the private copies are what shows the commit.
            return Ok(());
        }
        if self.anonymous_from < self.mapped {
            // The committed image has bytes for these pages now.
            let bytes = self.anonymous_from..self.mapped;
            self.place_committed(store, bytes)?;
            self.anonymous_from = self.mapped;
        }
        if matches!(self.tracking, Some(Tracking::PrivateCopies(_))) {
            // Otherwise the next commit would look at them again.
            self.drop_copies(|_| true);
        }
        Ok(())
    }

    /// Lets go of the private copies of committed pages that `fit`: the committed image shows the same. The caller knows that
    /// nothing was stored to them since.
    pub(super) fn drop_copies(&mut self, fit: impl Fn(Range<usize>) -> bool) {
        let page = sys::page_size();
        let end = self.anonymous_from;
        let runs: Vec<_> = self
            .copies
            .runs()
            .map(|run| run.start * page..(run.end * page).min(end))
            .filter(|run| !run.is_empty() && fit(run.clone()))
            .collect();
        if let Err(error) = self.region.drop_private(&runs) {
            // Locked memory cannot be dropped (madvise(2)). The copies are what is committed: they only cost memory.
            log::debug!("private copies stay: {error}");
        }
        let commits = std::mem::take(&mut self.commits);
        let dropped: usize = runs.iter().map(|run| run.len() / page).sum();
        if let Some(Tracking::WriteProtect(watch)) = &self.tracking
            && watch.wants_pages_mapped(self.mapped / page, dropped, commits)
        {
            self.region.map_pages(&runs);
        }
        for run in runs {
            self.copies.remove(run.start / page..run.end / page);
        }
    }

    /// Maps everything from the committed image again. It must hold the last commit, and nothing else may have been stored.
    pub(super) fn refresh(&mut self, store: &dyn Store) -> io::Result<()> {
        let end = pages(store.committed_len() as usize)?;
        if end > self.mapped {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.unmap_beyond(end)?;
        self.place_committed(store, 0..end)?;
        self.anonymous_from = end;
        self.changed.clear();
        Ok(())
    }

    fn unmap_beyond(&mut self, end: usize) -> io::Result<()> {
        if self.mapped > end {
            self.region.clear(end..self.mapped)?;
            let page = sys::page_size();
            self.copies.remove(end / page..self.mapped / page);
            self.mapped = end;
            self.anonymous_from = self.anonymous_from.min(end);
        }
        Ok(())
    }

    /// Lets go of the private copies of pages that changed since the last commit, if it is known which, and that is all that changed.
    fn drop_changes(&mut self, store: &dyn Store, declared: &Declared) -> bool {
        let page = sys::page_size();
        let len = store.committed_len() as usize;
        let is_known = matches!(self.tracking, Some(Tracking::WriteProtect(_)));
        if !is_known || !self.is_all_over_committed() || len.next_multiple_of(page) != self.mapped {
            return false;
        }
        self.find_changes(self.mapped, false);
        let mut runs = std::mem::take(&mut self.changed);
        let whole_pages = |range: Range<usize>| range.start / page * page..range.end.next_multiple_of(page);
        // Those that were cut off again lie in no page that is mapped.
        runs.extend(declared.ranges().map(whole_pages).filter(|run| run.end <= self.mapped));
        tracker::normalise(&mut runs);
        // Locked memory cannot be dropped (madvise(2)).
        if let Err(error) = self.region.drop_private(&runs) {
            log::debug!("private copies stay: {error}");
            return false;
        }
        for run in runs {
            self.copies.remove(run.start / page..run.end / page);
        }
        true
    }

    /// Makes the working image the last commit again. `declared` is what was edited since.
    pub(super) fn roll_back(&mut self, store: &dyn Store, declared: &Declared) -> Result<()> {
        let failed = |error| Error::from_io("roll back", error).path(store.path());
        if let Some(undo) = self.undo.take() {
            undo.apply(self.bytes_mut(self.mapped));
            self.undo = Some(Undo::default());
            let end = pages(store.committed_len() as usize).map_err(failed)?;
            return self.unmap_beyond(end).map_err(failed);
        }
        if !self.is_view() {
            return if self.drop_changes(store, declared) {
                Ok(())
            } else {
                self.refresh(store).map_err(failed)
            };
        }
        // The data file may be behind the last commit; but a page that differs from it is a private copy here (it was
        // committed by storing to it), so only pages that were changed need their committed bytes put back, and those pages
        // that lie over nothing.
        let len = store.committed_len() as usize;
        let end = pages(len).map_err(failed)?;
        self.find_changes(self.mapped, false);
        let mut runs = std::mem::take(&mut self.changed);
        runs.extend(declared.ranges());
        runs.push(self.anonymous_from..len.max(self.anonymous_from));
        tracker::normalise(&mut runs);
        let mut committed = vec![0; FILL_BYTES.min(len)];
        for run in runs {
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
        self.unmap_beyond(end).map_err(failed)?;
        // What was put back is no change.
        self.find_changes(self.mapped, false);
        self.changed.clear();
        Ok(())
    }
}
