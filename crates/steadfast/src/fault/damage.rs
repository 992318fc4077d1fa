//! Which bytes of a guarded span were replaced by zeros, and why.
//!
//! Written by the signal handler, so: atomics only, and memory straight from the kernel. Two kinds of damage are told
//! apart. What lies past the end of the file is one range, the *tail*, however long. Single pages are bits, one a page, in
//! memory that is taken with the first of them; most of it is never touched.
//!
//! # Safety
//!
//! This file is trusted with one anonymous mapping for the bits: made by whoever notes the first page, read and written as
//! atomic words only, given back when nobody looks at the span any more ([`Damage::reset`]).
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use super::{Cause, Damaged};

const TRUNCATED: u8 = 1;
const UNREADABLE: u8 = 2;
const POISONED: u8 = 4;

const WORD_BITS: usize = u64::BITS as usize;

/// Ranges are bytes of the span, whole pages.
#[derive(Debug)]
pub(super) struct Damage {
    /// What happened so far. 0: nothing, and nothing else need be looked at.
    causes: AtomicU8,
    /// Notes that were begun, and that were done: whoever forgets sees whether one came between.
    begun: AtomicU64,
    done: AtomicU64,
    tail_start: AtomicUsize,
    tail_end: AtomicUsize,
    /// A bit a page.
    bits: AtomicPtr<AtomicU64>,
    /// Pages of the span, and so bits.
    pages: AtomicUsize,
    /// The words that may have bits set lie between these two, which only ever move apart.
    first_word: AtomicUsize,
    last_word: AtomicUsize,
}

impl Damage {
    pub(super) const fn none() -> Damage {
        Damage {
            causes: AtomicU8::new(0),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            tail_start: AtomicUsize::new(usize::MAX),
            tail_end: AtomicUsize::new(0),
            bits: AtomicPtr::new(ptr::null_mut()),
            pages: AtomicUsize::new(0),
            first_word: AtomicUsize::new(usize::MAX),
            last_word: AtomicUsize::new(0),
        }
    }

    /// Ready for a span of so many pages. Nobody else looks at it yet.
    pub(super) fn begin(&self, pages: usize) {
        self.pages.store(pages, Ordering::Relaxed);
    }

    /// As new. Nobody else looks at it any more.
    pub(super) fn reset(&self) {
        let bits = self.bits.swap(ptr::null_mut(), Ordering::AcqRel);
        if !bits.is_null() {
            // SAFETY: this mapping was made by `words` with this length, and nobody looks at it any more (contract of this
            // function).
            unsafe { libc::munmap(bits.cast(), self.bits_bytes()) };
        }
        self.causes.store(0, Ordering::Relaxed);
        self.tail_start.store(usize::MAX, Ordering::Relaxed);
        self.tail_end.store(0, Ordering::Relaxed);
        self.first_word.store(usize::MAX, Ordering::Relaxed);
        self.last_word.store(0, Ordering::Relaxed);
    }

    fn bits_bytes(&self) -> usize {
        self.pages.load(Ordering::Relaxed).div_ceil(WORD_BITS) * size_of::<u64>()
    }

    /// The bits, made if there are none. Async-signal-safe.
    fn words(&self) -> Option<*const AtomicU64> {
        let known = self.bits.load(Ordering::Acquire);
        if !known.is_null() {
            return Some(known);
        }
        let len = self.bits_bytes();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let made = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
        if made == libc::MAP_FAILED {
            return None;
        }
        let made = made.cast::<AtomicU64>();
        match self.bits.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(made),
            Err(others) => {
                // SAFETY: our own mapping, which nobody was told of.
                unsafe { libc::munmap(made.cast(), len) };
                Some(others)
            }
        }
    }

    fn word(&self, bits: *const AtomicU64, index: usize) -> &AtomicU64 {
        debug_assert!(index < self.pages.load(Ordering::Relaxed).div_ceil(WORD_BITS));
        // SAFETY: `index` lies within the mapping (the callers clip to `pages`), which is aligned, zeros at first, lives
        // for as long as the span is guarded, and is only used through atomics.
        unsafe { &*bits.wrapping_add(index) }
    }

    /// Notes that everything in `bytes` lay past the end of the file. Async-signal-safe.
    pub(super) fn note_tail(&self, bytes: &Range<usize>) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.set_tail(bytes, TRUNCATED);
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    fn set_tail(&self, bytes: &Range<usize>, causes: u8) {
        self.tail_start.fetch_min(bytes.start, Ordering::SeqCst);
        self.tail_end.fetch_max(bytes.end, Ordering::SeqCst);
        self.causes.fetch_or(causes, Ordering::SeqCst);
    }

    /// Notes damaged pages; `false` if there is no memory for the note. Async-signal-safe.
    pub(super) fn note_pages(&self, pages: Range<usize>, cause: Cause) -> bool {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let noted = self.set_pages(pages, cause);
        self.done.fetch_add(1, Ordering::SeqCst);
        noted
    }

    fn set_pages(&self, pages: Range<usize>, cause: Cause) -> bool {
        let pages = pages.start..pages.end.min(self.pages.load(Ordering::Relaxed));
        if pages.is_empty() {
            return true;
        }
        let Some(bits) = self.words() else { return false };
        for (index, mask) in words_of(&pages) {
            self.word(bits, index).fetch_or(mask, Ordering::SeqCst);
        }
        self.first_word.fetch_min(pages.start / WORD_BITS, Ordering::SeqCst);
        self.last_word.fetch_max((pages.end - 1) / WORD_BITS, Ordering::SeqCst);
        let cause = match cause {
            Cause::Truncated => TRUNCATED,
            Cause::Unreadable => UNREADABLE,
            Cause::Poisoned => POISONED,
        };
        self.causes.fetch_or(cause, Ordering::SeqCst);
        true
    }

    /// Is nothing damaged at all? The one question that every access asks.
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.causes.load(Ordering::Acquire) == 0
    }

    fn tail(&self) -> Range<usize> {
        self.tail_start.load(Ordering::SeqCst)..self.tail_end.load(Ordering::SeqCst)
    }

    fn cause_of_pages(&self) -> Cause {
        let causes = self.causes.load(Ordering::SeqCst);
        // One for all of them: it is only told.
        if causes & UNREADABLE != 0 {
            Cause::Unreadable
        } else if causes & POISONED != 0 {
            Cause::Poisoned
        } else {
            Cause::Truncated
        }
    }

    /// The first damaged run that touches `bytes`, clipped to it.
    pub(super) fn first_in(&self, bytes: &Range<usize>, page: usize) -> Option<Damaged> {
        if self.is_none() || bytes.is_empty() {
            return None;
        }
        let tail = self.tail();
        let in_tail = tail.start.max(bytes.start)..tail.end.min(bytes.end);
        let pages = bytes.start / page..bytes.end.div_ceil(page);
        let single = self
            .first_bits(&pages)
            .map(|run| (run.start * page).max(bytes.start)..(run.end * page).min(bytes.end));
        match single {
            Some(run) if in_tail.is_empty() || run.start < in_tail.start => {
                Some(Damaged { bytes: run, cause: self.cause_of_pages() })
            }
            _ if !in_tail.is_empty() => Some(Damaged { bytes: in_tail, cause: Cause::Truncated }),
            _ => None,
        }
    }

    /// The first run of set bits within `pages`.
    fn first_bits(&self, pages: &Range<usize>) -> Option<Range<usize>> {
        let bits = self.bits.load(Ordering::Acquire);
        let pages = pages.start..pages.end.min(self.pages.load(Ordering::Relaxed));
        let known = self.first_word.load(Ordering::SeqCst)..=self.last_word.load(Ordering::SeqCst);
        if bits.is_null() || pages.is_empty() || known.is_empty() {
            return None;
        }
        let mut at = pages.start.max(known.start() * WORD_BITS);
        let end = pages.end.min((known.end() + 1) * WORD_BITS);
        let mut start = None;
        while at < end {
            let word = self.word(bits, at / WORD_BITS).load(Ordering::SeqCst) >> (at % WORD_BITS);
            let left = WORD_BITS - at % WORD_BITS;
            match start {
                None if word == 0 => at += left,
                None => {
                    at += word.trailing_zeros() as usize;
                    start = Some(at);
                }
                Some(_) => {
                    let ones = (word.trailing_ones() as usize).min(left);
                    at += ones;
                    if ones < left {
                        break;
                    }
                }
            }
        }
        start.filter(|&start| start < end).map(|start| start..at.min(end))
    }

    /// All of it, in order; runs may touch.
    pub(super) fn all(&self, page: usize) -> Vec<Damaged> {
        let mut found = Vec::new();
        let mut at = 0;
        let end = self.pages.load(Ordering::Relaxed) * page;
        while let Some(damaged) = self.first_in(&(at..end), page) {
            at = damaged.bytes.end;
            found.push(damaged);
        }
        found
    }

    /// Other pages were put there, or are about to be: `bytes` count as sound from now on.
    ///
    /// Handlers may note at the same time, but only one owner forgets, and asks behind it. A note that comes between is never lost: bits are
    /// taken back one by one; what is not a bit stays as it was, too much rather than too little, if anything was noted meanwhile.
    pub(super) fn forget(&self, bytes: &Range<usize>, page: usize) {
        let done = self.done.load(Ordering::SeqCst);
        let causes = self.causes.load(Ordering::SeqCst);
        if causes == 0 || bytes.is_empty() {
            return;
        }
        let bits = self.bits.load(Ordering::Acquire);
        if !bits.is_null() {
            let pages = bytes.start / page..bytes.end.div_ceil(page).min(self.pages.load(Ordering::Relaxed));
            let known = self.first_word.load(Ordering::SeqCst)..=self.last_word.load(Ordering::SeqCst);
            for (index, mask) in words_of(&pages).filter(|(index, _)| known.contains(index)) {
                self.word(bits, index).fetch_and(!mask, Ordering::SeqCst);
            }
        }
        let tail = self.tail();
        self.forget_of_tail(&tail, bytes, page);
        let all = 0..self.pages.load(Ordering::Relaxed);
        if self.tail().is_empty() && self.first_bits(&all).is_none() {
            self.causes.store(0, Ordering::SeqCst);
        }
        if self.begun.load(Ordering::SeqCst) != done {
            self.set_tail(&tail, causes);
        }
    }

    fn forget_of_tail(&self, tail: &Range<usize>, bytes: &Range<usize>, page: usize) {
        if tail.is_empty() || bytes.start >= tail.end || tail.start >= bytes.end {
            return;
        }
        let (mut left, mut cut) = (tail.clone(), false);
        if bytes.start <= tail.start && bytes.end >= tail.end {
            (left.start, left.end) = (usize::MAX, 0);
        } else if bytes.start > tail.start && bytes.end >= tail.end {
            left.end = bytes.start;
        } else {
            left.start = bytes.end;
            cut = bytes.start > tail.start;
        }
        // What stays before it becomes single pages; there is always memory for them where there was some for a map, but
        // should there be none, they stay part of a tail that is too long.
        if cut && !self.set_pages(tail.start / page..bytes.start / page, Cause::Unreadable) {
            return;
        }
        // Not where a handler has made it longer meanwhile.
        let _ = self.tail_start.compare_exchange(tail.start, left.start, Ordering::SeqCst, Ordering::SeqCst);
        let _ = self.tail_end.compare_exchange(tail.end, left.end, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// The words that hold the bits of `pages`, and which of their bits.
fn words_of(pages: &Range<usize>) -> impl Iterator<Item = (usize, u64)> + use<> {
    let pages = pages.clone();
    let words = if pages.is_empty() { 0..0 } else { pages.start / WORD_BITS..pages.end.div_ceil(WORD_BITS) };
    words.map(move |index| {
        let from = pages.start.saturating_sub(index * WORD_BITS);
        let to = (pages.end - index * WORD_BITS).min(WORD_BITS);
        // 0 < to <= 64, and from < to.
        (index, (u64::MAX >> (WORD_BITS - to)) & (u64::MAX << from))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: usize = 4096;
    const PAGES: usize = 300;

    proptest! {
        /// Against one flag a page.
        #[test]
        fn damage_is_one_flag_a_page(
            steps in prop::collection::vec((0u8..4, 0..PAGES, 0..PAGES), 0..40),
            probe in (0..PAGES * PAGE, 0..PAGES * PAGE),
        ) {
            let damage = Damage::none();
            damage.begin(PAGES);
            let mut model = [false; PAGES];
            for (step, a, b) in steps {
                let pages = a.min(b)..a.max(b) + 1;
                match step {
                    0 => {
                        prop_assert!(damage.note_pages(pages.clone(), Cause::Unreadable));
                        model[pages].fill(true);
                    }
                    1 => {
                        // A tail reaches to the end of what is mapped.
                        damage.note_tail(&(pages.start * PAGE..PAGES * PAGE));
                        model[pages.start..].fill(true);
                    }
                    2 => {
                        damage.forget(&(pages.start * PAGE..pages.end * PAGE), PAGE);
                        model[pages].fill(false);
                    }
                    _ => {
                        damage.forget(&(pages.start * PAGE..PAGES * PAGE), PAGE);
                        model[pages.start..].fill(false);
                    }
                }
                let mut found = [false; PAGES];
                for damaged in damage.all(PAGE) {
                    found[damaged.bytes.start / PAGE..damaged.bytes.end / PAGE].fill(true);
                }
                // A tail that ends early and begins anew covers what lies between: more damage than there is, never less.
                for (page, (&found, &damaged)) in found.iter().zip(&model).enumerate() {
                    prop_assert!(found || !damaged, "page {page} is damaged and not found");
                }
                prop_assert_eq!(damage.is_none(), damage.all(PAGE).is_empty());
            }
            let probe = probe.0.min(probe.1)..probe.0.max(probe.1);
            let all = damage.all(PAGE);
            let first = all.iter().find(|damaged| {
                damaged.bytes.start < probe.end && probe.start < damaged.bytes.end
            });
            let found = damage.first_in(&probe, PAGE);
            prop_assert_eq!(found.is_some(), first.is_some() && !probe.is_empty());
            if let (Some(found), Some(first)) = (found, first) {
                prop_assert_eq!(found.bytes.start, first.bytes.start.max(probe.start));
            }
            damage.reset();
            prop_assert!(damage.is_none());
        }

        #[test]
        fn without_a_tail_it_is_exact(
            steps in prop::collection::vec((any::<bool>(), 0..PAGES, 0..PAGES), 0..40),
        ) {
            let damage = Damage::none();
            damage.begin(PAGES);
            let mut model = [false; PAGES];
            for (note, a, b) in steps {
                let pages = a.min(b)..a.max(b) + 1;
                if note {
                    prop_assert!(damage.note_pages(pages.clone(), Cause::Unreadable));
                } else {
                    damage.forget(&(pages.start * PAGE..pages.end * PAGE), PAGE);
                }
                model[pages].fill(note);
            }
            let mut found = [false; PAGES];
            for damaged in damage.all(PAGE) {
                found[damaged.bytes.start / PAGE..damaged.bytes.end / PAGE].fill(true);
            }
            prop_assert_eq!(found, model);
            damage.reset();
        }
    }

    /// What a handler notes while the owner forgets something else is not forgotten with it.
    #[test]
    fn a_note_beside_what_is_forgotten_stays() {
        use std::sync::atomic::AtomicBool;

        let damage = Damage::none();
        damage.begin(PAGES);
        let (stop, look) = (AtomicBool::new(false), AtomicBool::new(false));
        let lost = std::thread::scope(|scope| {
            // The one owner, who forgets, and who asks.
            let owner = scope.spawn(|| {
                let is_noted =
                    |page: usize| damage.first_in(&(page * PAGE..(page + 1) * PAGE), PAGE).is_some();
                let mut lost = 0;
                while !stop.load(Ordering::Relaxed) {
                    damage.note_pages(5..6, Cause::Unreadable);
                    damage.forget(&(5 * PAGE..6 * PAGE), PAGE);
                    damage.forget(&(20 * PAGE..25 * PAGE), PAGE);
                    if look.load(Ordering::Acquire) {
                        lost += usize::from(!is_noted(9) && !is_noted(PAGES - 1));
                        damage.forget(&(0..PAGES * PAGE), PAGE);
                        look.store(false, Ordering::Release);
                    }
                }
                lost
            });
            for number in 0..50_000 {
                if number % 2 == 0 {
                    damage.note_pages(9..10, Cause::Unreadable);
                } else {
                    damage.note_tail(&(20 * PAGE..25 * PAGE));
                    damage.note_tail(&(20 * PAGE..PAGES * PAGE));
                }
                look.store(true, Ordering::Release);
                while look.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
            }
            stop.store(true, Ordering::Relaxed);
            owner.join().unwrap()
        });
        assert_eq!(lost, 0, "notes were lost");
        damage.reset();
    }
}
