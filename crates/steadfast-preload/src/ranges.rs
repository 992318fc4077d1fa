//! Which addresses may belong to mappings that [`steadfast::posix`] knows: asked before every call that names addresses.
//!
//! An allocator that calls `munmap` with its lock held must not be led into code that allocates. So this is a table of fixed size
//! that is read without a lock, and only a call that touches a known range goes further. It errs in one direction: what is known too
//! much of costs a look into the library's own table, which passes on what is not there either.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// So many mappings at once; with more, every call asks the library.
const SLOTS: usize = 1024;

struct Slot {
    start: AtomicUsize,
    /// 0 while the slot is free. Stored last, and taken away first.
    end: AtomicUsize,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; SLOTS];
/// Slots from here on were never used.
static USED: AtomicUsize = AtomicUsize::new(0);
static OVERFLOW: AtomicBool = AtomicBool::new(false);
static CHANGING: AtomicBool = AtomicBool::new(false);

/// Might a mapping that is known lie there?
pub(crate) fn touches(address: usize, len: usize) -> bool {
    let used = USED.load(Ordering::Acquire);
    if used == 0 {
        return false;
    }
    let asked = range(address, len);
    OVERFLOW.load(Ordering::Relaxed)
        || TABLE[..used.min(SLOTS)].iter().any(|slot| {
            let end = slot.end.load(Ordering::Acquire);
            end != 0 && asked.start < end && slot.start.load(Ordering::Acquire) < asked.end
        })
}

/// A mapping was made.
pub(crate) fn add(address: usize, len: usize) {
    change(|| put(range(address, len)));
}

/// What was known there is gone.
pub(crate) fn remove(address: usize, len: usize) {
    let gone = range(address, len);
    change(|| {
        for slot in &TABLE[..USED.load(Ordering::Relaxed).min(SLOTS)] {
            let (start, end) = (slot.start.load(Ordering::Relaxed), slot.end.load(Ordering::Relaxed));
            if end == 0 || end <= gone.start || gone.end <= start {
                continue;
            }
            // What stays is known elsewhere before it is forgotten here.
            for rest in [start..gone.start, gone.end..end] {
                if !rest.is_empty() {
                    put(rest);
                }
            }
            slot.end.store(0, Ordering::Release);
        }
    });
}

fn put(new: Range<usize>) {
    match TABLE.iter().position(|slot| slot.end.load(Ordering::Relaxed) == 0) {
        Some(free) => {
            TABLE[free].start.store(new.start, Ordering::Release);
            TABLE[free].end.store(new.end, Ordering::Release);
            USED.fetch_max(free + 1, Ordering::AcqRel);
        }
        None => OVERFLOW.store(true, Ordering::Relaxed),
    }
}

/// One at a time. A child that was forked while another thread was here would wait for ever: after a while it gives up, and every call
/// asks the library.
fn change(work: impl FnOnce()) {
    for _ in 0..10_000 {
        if !CHANGING.swap(true, Ordering::Acquire) {
            work();
            CHANGING.store(false, Ordering::Release);
            return;
        }
        std::thread::yield_now();
    }
    OVERFLOW.store(true, Ordering::Relaxed);
    USED.fetch_max(1, Ordering::AcqRel);
}

/// Whole pages, as the kernel takes them.
fn range(address: usize, len: usize) -> Range<usize> {
    let page = rustix::param::page_size();
    address & !(page - 1)..page_end(address.saturating_add(len))
}

/// Where the page ends that an address lies in, or at the end of which it is.
pub(crate) fn page_end(address: usize) -> usize {
    address.checked_next_multiple_of(rustix::param::page_size()).unwrap_or(usize::MAX)
}
