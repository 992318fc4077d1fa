//! The owner's side of a guarded span.

use std::ops::Range;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

use super::table::{self, Slot};
use super::{Damaged, cover, handler};
use crate::sys;
use crate::sys::fork::Birth;
use crate::sys::region::Hidden;

/// Guards a span of addresses until it is dropped, which comes before the span is unmapped and before the file is closed.
#[derive(Debug)]
pub(crate) struct Guard {
    slot: &'static Slot,
    birth: Birth,
    uneven: bool,
}

impl Guard {
    /// Guards `len` bytes from `start` on, whole pages, in which nothing lies yet. Pages that are put there are `hidden` as well.
    pub(crate) fn over(start: usize, len: usize, hidden: Hidden) -> Option<Guard> {
        handler::install();
        let birth = Birth::here();
        let slot = table::take();
        slot.born.store(birth.token(), Ordering::SeqCst);
        slot.hidden.store(hidden.bits(), Ordering::SeqCst);
        slot.damage.begin(len / sys::page_size());
        slot.begin(start, len);
        Some(Guard { slot, birth, uneven: false })
    }

    /// A file was placed over `bytes`, with its byte `offset` at their start; they are sound now. The span is the file's
    /// from its first address on: what is placed later lies where it lies in the file.
    pub(crate) fn file_placed(&self, bytes: &Range<usize>, fd: RawFd, offset: u64, access: i32) {
        let slot = self.slot;
        slot.file_start.store(offset.wrapping_sub(bytes.start as u64), Ordering::SeqCst);
        slot.fd.store(fd, Ordering::SeqCst);
        slot.access.store(access, Ordering::SeqCst);
        slot.file_end.fetch_max(bytes.end, Ordering::SeqCst);
    }

    /// Memory of our own, or none, was placed over `bytes`, up to the end of what is the file's or beyond it.
    pub(crate) fn memory_placed(&self, bytes: &Range<usize>, access: i32) {
        if access != libc::PROT_NONE {
            self.slot.access.store(access, Ordering::SeqCst);
        }
        if bytes.end >= self.slot.file_end.load(Ordering::SeqCst) {
            self.slot.file_end.fetch_min(bytes.start, Ordering::SeqCst);
        }
    }

    /// Something is about to be placed over `bytes`: what was damaged there, and counts as sound from here on.
    pub(crate) fn forget(&self, bytes: &Range<usize>) -> Vec<Damaged> {
        if self.slot.damage.is_none() {
            return Vec::new();
        }
        let page = sys::page_size();
        let mut damaged = Vec::new();
        let mut at = bytes.start;
        while let Some(next) = self.slot.damage.first_in(&(at..bytes.end), page) {
            at = next.bytes.end;
            damaged.push(next);
        }
        self.slot.damage.forget(bytes, page);
        if self.slot.damage.is_none() {
            cover::give_back(self.slot);
        }
        damaged
    }

    /// It is damaged still.
    pub(crate) fn note(&self, damaged: &[Damaged]) {
        let page = sys::page_size();
        for Damaged { bytes, cause } in damaged {
            if !self.slot.damage.note_pages(bytes.start / page..bytes.end.div_ceil(page), *cause) {
                self.slot.damage.note_tail(bytes);
            }
        }
    }

    /// What pages that are put there from now on get besides.
    pub(crate) fn hide(&self, hidden: Hidden) {
        self.slot.hidden.store(hidden.bits(), Ordering::SeqCst);
    }

    /// How parts of the span may be accessed; `None`: all of it as it was placed.
    pub(crate) fn protections(&mut self, parts: Option<Vec<(Range<usize>, i32)>>) {
        if parts.is_some() || self.uneven {
            self.uneven = parts.is_some();
            self.slot.set_protections(parts, self.birth.is_elsewhere());
        }
    }

    /// The first damaged bytes in `bytes`.
    #[inline]
    pub(crate) fn first_damaged(&self, bytes: &Range<usize>) -> Option<Damaged> {
        if self.slot.damage.is_none() {
            return None;
        }
        self.slot.damage.first_in(bytes, sys::page_size())
    }

    /// All that is damaged, in order.
    pub(crate) fn damaged(&self) -> Vec<Damaged> {
        self.slot.damage.all(sys::page_size())
    }

    /// The file is about to be closed while its pages stay: in a forked child that lets go of its parent's map.
    pub(crate) fn descriptor_gone(&self) {
        self.slot.fd.store(-1, Ordering::SeqCst);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.birth.is_elsewhere() {
            self.slot.end();
        } else if Hidden::from_bits(self.slot.hidden.load(Ordering::SeqCst)).from_children {
            self.slot.abandon();
        } else {
            // A child keeps its parent's pages, and their guard.
            self.descriptor_gone();
        }
    }
}
