//! Growth, in place or into a larger region.
//!
//! # Safety
//!
//! This file is trusted to copy bytes from one region of the working image into the one that takes its place.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;

use super::super::committed;
use super::super::tracker;
use super::split::MOVED_BYTES;
use super::{PRIVATE, STORES, Working, pages};
use crate::store::Store;
use crate::sys;
use crate::sys::region::Region;

impl Working {
    /// Makes room from `from` to `to` bytes, all zeros; `was_cut` says that it was shorter than the last commit meanwhile. On an
    /// error nothing visible has changed.
    pub(in crate::atomic) fn grow(
        &mut self,
        store: &dyn Store,
        from: usize,
        to: usize,
        was_cut: bool,
    ) -> io::Result<()> {
        let page = sys::page_size();
        if was_cut {
            // What a rollback brings back is not to be covered with zeros.
            self.split(store)?;
        }
        let (first, end) = (pages(from)?, pages(to)?);
        if end > self.region.len() {
            self.move_to(store, end.max(self.region.len().saturating_mul(2)), end)?;
        }
        if end > first && self.is_one_memory() {
            sys::check_file_size(end as u64)?;
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
            // Nobody declared that, and perhaps nobody looks for it.
            let page_start = from / page * page;
            self.changed.push(page_start..page_start + page);
        }
        Ok(())
    }

    /// Moves to a larger region: the committed image is mapped there again, and what is private is copied.
    fn move_to(&mut self, store: &dyn Store, reserve: usize, least: usize) -> io::Result<()> {
        // Memory that is mapped anew counts as not stored to.
        self.find_changes(self.mapped, false);
        // Twice the size is a wish; where addresses are scarce, what is needed must do.
        let options = self.region.options();
        let mut region =
            Region::reserve_as(reserve, options).or_else(|_| Region::reserve_as(least, options))?;
        if self.is_one_memory() {
            region.place_anonymous(0..self.mapped, STORES, PRIVATE)?;
            self.move_memory(&mut region, 0..self.mapped);
            self.move_to_region(region);
            return Ok(());
        }
        let based = self.anonymous_from;
        region.place_file(0..based, self.committed.descriptor(store)?, 0, STORES, PRIVATE)?;
        region.place_anonymous(based..self.mapped, STORES, PRIVATE)?;
        region.refuse_huge_pages(based..self.mapped);
        for run in tracker::private_pages(self.addresses(0..self.mapped)) {
            self.copy_memory(&mut region, run);
        }
        self.move_to_region(region);
        self.cover(0..self.mapped);
        Ok(())
    }

    /// The memory is another region's from here on, and so is what could not be had on the way.
    fn move_to_region(&mut self, region: Region) {
        region.note_damaged(&self.region.damaged());
        self.region = region;
    }

    /// Moves pages without copying them where the kernel can.
    fn move_memory(&mut self, region: &mut Region, bytes: Range<usize>) {
        let start = self.region.as_ptr() as usize;
        // One mapping at a time: see `take_over`.
        let mappings = sys::maps::mappings(&self.addresses(bytes.clone())).unwrap_or_else(|error| {
            log::debug!("/proc/self/maps: {error}; memory is copied");
            Vec::new()
        });
        let mut at = bytes.start;
        for mapping in mappings {
            let mapping = mapping.start - start..mapping.end - start;
            self.copy_pages(region, at..mapping.start);
            at = mapping.end;
            if region.take_over(&mut self.region, mapping.clone()).is_err() {
                self.copy_pages(region, mapping);
            }
        }
        self.copy_pages(region, at..bytes.end);
    }

    /// Copies what is not zeros, piece by piece, and lets go of it here.
    fn copy_pages(&mut self, region: &mut Region, bytes: Range<usize>) {
        let page = sys::page_size();
        if let Err(error) = region.place_anonymous(bytes.clone(), STORES, PRIVATE) {
            // They were mapped just now: the kernel has no memory left. Some of the bytes may have moved already, and to go on with the
            // rest would be to lose them silently; what is committed is in the journal.
            let len = bytes.len();
            sys::freeze::give_up(format_args!("no memory for {len} bytes that were there before ({error})"));
        }
        for start in bytes.clone().step_by(MOVED_BYTES) {
            let piece = start..bytes.end.min(start + MOVED_BYTES);
            for at in piece.clone().step_by(page) {
                let page = at..piece.end.min(at + page);
                if self.bytes(page.end)[page.start..].iter().any(|&byte| byte != 0) {
                    self.copy_memory(region, page);
                }
            }
            if let Err(error) = self.region.drop_private(std::slice::from_ref(&piece)) {
                log::debug!("memory that was copied stays for a while: {error}");
            }
        }
    }

    fn copy_memory(&self, region: &mut Region, bytes: Range<usize>) {
        let source = &self.bytes(self.mapped)[bytes.clone()];
        let target = region.as_ptr().wrapping_add(bytes.start);
        assert!(bytes.end <= region.len());
        // SAFETY: the callers placed writable memory in the first `mapped` bytes of the new region, which nobody else knows yet, and
        // `bytes` lies within; the old region is another mapping, so the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target, source.len()) };
    }
}
