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
            self.split()?;
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
            self.region = region;
            return Ok(());
        }
        let based = self.anonymous_from;
        region.place_file(0..based, self.committed.descriptor(store)?, 0, STORES, PRIVATE)?;
        region.place_anonymous(based..self.mapped, STORES, PRIVATE)?;
        region.refuse_huge_pages(based..self.mapped);
        for run in tracker::private_pages(self.addresses(0..self.mapped)) {
            self.copy_memory(&mut region, run);
        }
        self.region = region;
        self.cover(0..self.mapped);
        Ok(())
    }

    /// Moves pages without copying them, if the kernel can: before Linux 6.17 not across borders between mappings.
    fn move_memory(&mut self, region: &mut Region, bytes: Range<usize>) {
        let page = sys::page_size();
        if bytes.is_empty() || region.take_over(&mut self.region, bytes.clone()).is_ok() {
            return;
        }
        if bytes.len() <= page {
            // Zeros are there already; or the page moved before the call failed, and left them here.
            if self.bytes(bytes.end)[bytes.start..].iter().any(|&byte| byte != 0) {
                self.copy_memory(region, bytes);
            }
            return;
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
}
