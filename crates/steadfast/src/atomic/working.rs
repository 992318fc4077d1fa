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
//!   writes committed bytes, and a committed page was stored to here). Stores through a pointer from `as_mut_ptr` may come while
//!   a commit is under way: then no reference is made, and the kernel copies (`copy_to`). Who stores so during any other call
//!   on the map, or while a slice of it lives, answers for it.
//!
//! A page that was stored to after the split is a private copy. Where the committed image has no bytes to offer (growth of a
//! `view`, or growth after a cut in the same transaction) the pages are anonymous zeros.
#![allow(unsafe_code)]

mod damage;
mod open;
mod resize;
mod rollback;
mod split;

use std::io;
use std::ops::Range;

use rustix::mm::{MapFlags, ProtFlags};

use super::behind::Behind;
use super::committed::Committed;
use super::tracker::{self, Tracker, Tracking};
use super::undo::Undo;
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::left::LeftMemory;
use crate::range::{self, PageSet};
use crate::store::Store;
use crate::sys;
use crate::sys::advise::Advice;
use crate::sys::copy::Route;
use crate::sys::region::{Region, RegionOptions};

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

impl Working {
    fn addresses(&self, bytes: Range<usize>) -> Range<usize> {
        let start = self.region.as_ptr() as usize;
        start + bytes.start..start + bytes.end
    }

    fn cover(&mut self, bytes: Range<usize>) {
        let is_all = bytes == (0..self.mapped);
        let held = self.region.held(&bytes);
        let memory: Vec<_> = held.iter().map(|part| self.addresses(part.clone())).collect();
        let Some(tracking) = &mut self.tracking else { return };
        match <[Range<usize>; 1]>::try_from(memory) {
            Ok([memory]) if is_all => tracking.cover_all(memory),
            Ok([memory]) => tracking.cover(memory),
            Err(parts) => parts.into_iter().for_each(|memory| tracking.cover(memory)),
        }
    }

    /// Maps the committed image over `bytes`: whatever was private there is gone.
    fn place_committed(&mut self, store: &dyn Store, bytes: Range<usize>) -> io::Result<()> {
        let fd = self.committed.descriptor(store)?;
        self.region.place_file(bytes.clone(), fd, bytes.start as u64, STORES, PRIVATE)?;
        let page = sys::page_size();
        self.copies.remove(bytes.start / page..bytes.end / page);
        self.cover(bytes);
        Ok(())
    }

    fn place_zeros(&mut self, bytes: Range<usize>) -> io::Result<()> {
        self.region.place_anonymous(bytes.clone(), STORES, PRIVATE)?;
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

    /// The tracker that was chosen at open.
    pub(super) fn wanted_tracker(&self) -> Tracker {
        self.tracker
    }

    /// Are working and committed image two?
    pub(super) fn is_split(&self) -> bool {
        self.committed.memory().is_some()
    }

    /// The data file is about to be closed.
    pub(super) fn forget_descriptor(&mut self) {
        self.region.forget_descriptor();
        self.committed.close_window();
    }

    pub(super) fn region_options(&self) -> RegionOptions {
        self.region.options()
    }

    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.region.as_ptr()
    }

    /// The memory, for those who may still have pointers into it. A file that lies there is about to be closed.
    pub(super) fn into_left(mut self) -> LeftMemory {
        self.forget_descriptor();
        LeftMemory::of(&mut self.region, 0..self.mapped)
    }

    /// Advice about pages of the region.
    pub(super) fn advise(&self, pages: Range<usize>, advice: Advice) -> io::Result<()> {
        self.region.advise(pages, advice)
    }

    /// Addresses within which the memory never moves.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.region.len()
    }

    pub(super) fn mapped_bytes(&self) -> usize {
        self.mapped
    }

    /// These pages are the caller's from here on. Nothing in them may wait for a commit.
    pub(super) fn give_up(&mut self, bytes: &Range<usize>) {
        self.region.give_up(bytes);
        let page = sys::page_size();
        self.copies.remove(bytes.start / page..bytes.end / page);
    }

    pub(super) fn is_given_up(&self, bytes: &Range<usize>) -> bool {
        self.region.is_given_up(bytes)
    }

    /// Pages that were given up, and are free, show the last commit again.
    pub(super) fn take_back(&mut self, store: &dyn Store, bytes: &Range<usize>) -> Result<()> {
        let gone = self.region.given_up(bytes);
        let lost = gone
            .iter()
            .map(|run| run.start..run.end.min(self.mapped).max(run.start))
            .filter(|run| !run.is_empty())
            .map(|run| self.lost(store, run))
            .collect::<Result<_>>()?;
        self.region.take_back(bytes).map_err(|error| {
            Error::from_io("mmap", error).become_kind(
                ErrorKind::Busy,
                "mmap",
                "something else lies there by now",
            )
        })?;
        self.put_back(store, lost)
    }

    pub(super) fn bytes(&self, len: usize) -> &[u8] {
        assert!(len <= self.mapped, "{len} bytes of {} mapped", self.mapped);
        // SAFETY: the first `mapped` bytes are readable memory that nobody changes under a shared reference (invariants
        // above); `len` is within them, and the pointer is aligned for bytes and not null.
        unsafe { std::slice::from_raw_parts(self.region.as_ptr(), len) }
    }

    /// Copies what is there now, although others may store at the same time: the kernel does it.
    pub(super) fn copy_to(&self, offset: usize, to: &mut [u8]) -> io::Result<()> {
        self.region.read(offset, to, Route::Fastest)
    }

    /// The same for several parts, one behind the other.
    pub(super) fn copy_parts(&self, parts: &[Range<usize>], to: &mut [u8]) -> io::Result<()> {
        self.region.read_parts(parts, to)
    }

    /// Copies `from` to `offset`, although others may look and store at the same time: the kernel does it.
    pub(super) fn copy_from(&mut self, offset: usize, from: &[u8]) -> io::Result<()> {
        self.region.write(offset, from, Route::Fastest)
    }

    pub(super) fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.mapped, "{len} bytes of {} mapped", self.mapped);
        // SAFETY: as in `bytes`, and writable; `&mut self` says that this is the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.region.as_ptr(), len) }
    }

    /// Adds the pages that were stored to since they were last asked for to `changed`.
    /// `at_rest` says that no store can come meanwhile.
    pub(super) fn find_changes(&mut self, len: usize, at_rest: bool) {
        let Ok(end) = pages(len) else { return };
        for part in self.region.held(&(0..end.min(self.mapped))) {
            let memory = self.addresses(part.clone());
            let is_all = part == (0..self.mapped);
            if let Some(tracking) = &mut self.tracking {
                let at = self.changed.len();
                tracking.take_changed(memory, at_rest && is_all, &mut self.changed);
                for run in &mut self.changed[at..] {
                    *run = part.start + run.start..part.start + run.end;
                }
            }
        }
        tracker::normalise(&mut self.changed);
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
                    None => self.committed.bytes(bytes.clone()),
                };
                self.behind.keep(store, number, shown)?;
                if shown.is_some()
                    && let Some(damaged) = self.committed.first_damaged(&bytes)
                {
                    // What was kept may be zeros that the file does not have.
                    self.behind.forget(number);
                    return Err(self.damaged_error(store, "commit", &damaged));
                }
            }
        }
        Ok(())
    }

    /// After a successful commit: the committed image takes the changes over. `copies` are the pages that the commit looked at
    /// besides those that it recorded, `left` those that still wait for another.
    /// With `keep_copies` stores may go on meanwhile: no copy is taken away.
    pub(super) fn fold(
        &mut self,
        store: &dyn Store,
        batch: &Batch<'_>,
        committed_before: usize,
        copies: &[Range<usize>],
        left: Vec<Range<usize>>,
        keep_copies: bool,
    ) -> io::Result<()> {
        let page = sys::page_size();
        let end = pages(batch.len as usize)?;
        match &mut self.undo {
            Some(undo) => {
                undo.clear();
                // Behind the end of a committed image there are zeros, also when it moves into a file later.
                let len = batch.len as usize;
                self.bytes_mut(end)[len..].fill(0);
            }
            None => self.committed.fold(store, batch, committed_before, self.region.options())?,
        }
        self.behind.fold(batch);
        self.commits += 1;
        for run in &left {
            // Not what is committed, whatever they were before.
            self.copies.remove(run.start / page..run.end / page);
        }
        self.changed = left;
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
            let last = extent.end().div_ceil(page as u64).min((self.anonymous_from / page) as u64);
            self.copies.insert(extent.offset as usize / page..last as usize);
        }
        for run in copies {
            self.copies.insert(run.start / page..run.end.min(end).min(self.anonymous_from).div_ceil(page));
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
}
