//! The answer to a fault: zeros where the pages were, and a note of it.
//!
//! Everything here runs in a signal handler: no lock, no allocation, no panic; the calls are `fstat`, `mmap` and `madvise`.
//!
//! # Safety
//!
//! This file is trusted with `mmap(MAP_FIXED)` over pages of a guarded span for which the kernel has just said that it has
//! none. Others that it covers with them lie past the end of the file, or, when the process has run out of mappings, near
//! by; each is noted as damaged before it is covered, so nobody takes the zeros for the file's bytes.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Cause;
use super::table::Slot;
use crate::sys::fork::Birth;
use crate::sys::region::Hidden;

/// `si_code` of SIGBUS (sigaction(2)): an address that is not aligned; one that means nothing in the file; memory that is
/// damaged and that somebody needs.
const BUS_ADRALN: i32 = 1;
const BUS_ADRERR: i32 = 2;
const BUS_MCEERR_AR: i32 = 4;

/// Where single pages cannot be covered any more, blocks of so many are, and then larger ones.
const BLOCK_PAGES: usize = 512;
const BLOCK_GROWS: usize = 8;

/// So many single pages are covered in all spans together, and then blocks at once. Each takes two of the mappings that a process
/// may have (65,530 by default, vm.max_map_count), and once there is one too many the kernel makes none at all, not even one that
/// replaces thousands.
const PIECES_MAX: usize = 8192;

/// Single pages that are covered now.
static PIECES: AtomicUsize = AtomicUsize::new(0);

/// Nothing is damaged any more in a span that had so many.
pub(super) fn give_back(slot: &Slot) {
    PIECES.fetch_sub(slot.pieces.swap(0, Ordering::SeqCst), Ordering::SeqCst);
}

/// The page's size, asked for before the first handler is installed.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

pub(super) fn learn_page_size() {
    PAGE_BYTES.store(crate::sys::page_size(), Ordering::SeqCst);
}

/// May a fault with this code be one of ours?
pub(super) fn is_fault_of_a_page(code: i32) -> bool {
    code == BUS_ADRERR || code == BUS_MCEERR_AR
}

/// Does the instruction that caused it cause it again?
pub(super) fn is_fault(code: i32) -> bool {
    matches!(code, BUS_ADRALN | BUS_ADRERR | BUS_MCEERR_AR)
}

/// Puts memory where byte `offset` of the span lies; `false` if that is not to be done or cannot be.
///
/// # Safety
///
/// The kernel said that it has no page there, and the caller is among the users of the slot.
pub(super) unsafe fn answer(slot: &Slot, offset: usize, code: i32) -> bool {
    let hidden = Hidden::from_bits(slot.hidden.load(Ordering::SeqCst));
    if hidden.from_children && Birth::is_another(slot.born.load(Ordering::SeqCst)) {
        // This child does not have the span: something else lies there.
        return false;
    }
    let page = PAGE_BYTES.load(Ordering::SeqCst);
    let here = offset & !(page - 1);
    let file_end = slot.file_end.load(Ordering::SeqCst);
    if code == BUS_MCEERR_AR {
        // SAFETY: passed on.
        return unsafe { cover_pages(slot, here, file_end, page, Cause::Poisoned) };
    }
    if here >= file_end {
        return false;
    }
    let file_start = slot.file_start.load(Ordering::SeqCst);
    let tail = len_of(slot.fd.load(Ordering::SeqCst)).map(|len| {
        let end = usize::try_from(len.saturating_sub(file_start)).unwrap_or(usize::MAX);
        // The page that the file ends in is there.
        end.checked_add(page - 1).map_or(usize::MAX, |end| end & !(page - 1))
    });
    match tail {
        Some(tail) if tail <= here => {
            let lost = tail..file_end;
            slot.damage.note_tail(&lost);
            // SAFETY: none of these pages is in the file any more, and the note says so.
            let covered = unsafe { cover(slot, &lost, hidden) };
            // SAFETY: as above, of this page alone: the whole may be more than the system wants to promise.
            let covered = covered || unsafe { cover(slot, &(here..here + page), hidden) };
            // Whoever put the file's pages back meanwhile has forgotten the note, and now there are zeros again.
            slot.damage.note_tail(&lost);
            covered
        }
        // SAFETY: passed on.
        _ => unsafe { cover_pages(slot, here, file_end, page, Cause::Unreadable) },
    }
}

/// Covers one page, or as many around it as it takes to get by with the mappings that a process may have (`vm.max_map_count`).
///
/// # Safety
///
/// As for [`answer`].
unsafe fn cover_pages(slot: &Slot, here: usize, file_end: usize, page: usize, cause: Cause) -> bool {
    let hidden = Hidden::from_bits(slot.hidden.load(Ordering::SeqCst));
    let mut block = BLOCK_PAGES.saturating_mul(page);
    let around = |block: usize| here / block * block..(here / block + 1).saturating_mul(block).min(file_end);
    let is_piece = PIECES.load(Ordering::SeqCst) < PIECES_MAX || here >= file_end;
    if is_piece {
        slot.pieces.fetch_add(1, Ordering::SeqCst);
        PIECES.fetch_add(1, Ordering::SeqCst);
    }
    let mut bytes = if is_piece { here..here + page } else { around(block) };
    loop {
        let pages = bytes.start / page..bytes.end.div_ceil(page);
        if !slot.damage.note_pages(pages.clone(), cause) {
            return false;
        }
        // SAFETY: the kernel has no page `here` (contract); all that is covered with it was noted as damaged.
        if unsafe { cover(slot, &bytes, hidden) } {
            // As for a tail.
            return slot.damage.note_pages(pages, cause);
        }
        if !is_piece || bytes.len() > page {
            block = block.saturating_mul(BLOCK_GROWS);
        }
        let wider = around(block);
        if here >= file_end || (bytes.start <= wider.start && wider.end <= bytes.end) {
            return false;
        }
        bytes = wider;
    }
}

/// Puts zeros over `bytes`, with the access that the pages had.
///
/// # Safety
///
/// `bytes` are whole pages of the span, and noted as damaged.
unsafe fn cover(slot: &Slot, bytes: &Range<usize>, hidden: Hidden) -> bool {
    let access = slot.access.load(Ordering::SeqCst);
    let Some(parts) = slot.protections() else {
        // SAFETY: passed on.
        return unsafe { place(slot, bytes.clone(), access, hidden) };
    };
    let mut at = bytes.start;
    for (part, access) in parts {
        let part = part.start.max(at)..part.end.min(bytes.end);
        if !part.is_empty() {
            at = part.end;
            // SAFETY: a part of `bytes`.
            if !unsafe { place(slot, part, *access, hidden) } {
                return false;
            }
        }
    }
    // SAFETY: the rest of `bytes`, if protections do not reach that far.
    at >= bytes.end || unsafe { place(slot, at..bytes.end, access, hidden) }
}

/// # Safety
///
/// As for [`cover`].
unsafe fn place(slot: &Slot, bytes: Range<usize>, access: i32, hidden: Hidden) -> bool {
    let (address, len) = (slot.start().wrapping_add(bytes.start), bytes.len());
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: the pages lie in a span that is guarded, so nobody else has mapped anything there, and are noted as damaged
    // (contract).
    let placed = unsafe { libc::mmap(ptr::without_provenance_mut(address), len, access, flags, -1, 0) };
    if placed == libc::MAP_FAILED {
        return false;
    }
    for advice in hidden.advice() {
        // SAFETY: changes no byte of pages that were placed just now. Should it fail, a child or a core dump shows zeros.
        unsafe { libc::madvise(placed, len, advice) };
    }
    true
}

fn len_of(fd: i32) -> Option<u64> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes one `struct stat`, which lives across the call.
    if fd < 0 || unsafe { libc::fstat(fd, stat.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so the structure is filled.
    let stat = unsafe { stat.assume_init() };
    u64::try_from(stat.st_size).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::region::{Region, RegionOptions};
    use rustix::mm::{MapFlags, ProtFlags};
    use std::os::fd::AsFd;

    #[test]
    fn past_so_many_single_pages_blocks_are_covered() {
        let page = crate::sys::page_size();
        // Every other one of them, one by one, is more than a process may have mappings for.
        let pages = 80_000;
        let file = tempfile::tempfile_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        file.set_len((pages * page) as u64).unwrap();
        let options = RegionOptions { guarded: true, ..RegionOptions::default() };
        let mut region = Region::reserve_as(pages * page, options).unwrap();
        region.place_file(0..pages * page, file.as_fd(), 0, ProtFlags::READ, MapFlags::SHARED).unwrap();
        for number in (0..pages).step_by(2) {
            let bytes = number * page..(number + 1) * page;
            if region.first_damaged(&bytes).is_some() {
                continue;
            }
            // SAFETY: as if the kernel had no page there: the mapping is this test's own, and nobody looks at it.
            let answered =
                unsafe { crate::fault::answer(region.as_ptr() as usize + bytes.start, BUS_ADRERR) };
            assert!(answered, "page {number}");
            assert!(region.first_damaged(&bytes).is_some());
        }
        assert!(region.first_damaged(&(page..2 * page)).is_none(), "as long as there are few, single pages");
        let mappings = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        assert!(mappings < 30_000, "{mappings} mappings");
    }
}
