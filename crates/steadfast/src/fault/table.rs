//! Which spans of addresses are guarded: a table that a signal handler can read at any moment.
//!
//! Slots stand in chunks that are never given back, so a reader needs no lock and no allocation. A slot is taken and let go
//! by a compare-and-swap; its `turn` is odd while its span is guarded. A handler that finds its address in a slot counts
//! itself among the slot's users and looks at the turn once more; whoever ends the guard makes the turn even first and then
//! waits for the users to leave. So nobody works on a span that is not guarded any more, and what a handler looks at is not
//! taken from under it.
//!
//! # Safety
//!
//! This file is trusted with the addresses of chunks, which are leaked and so valid for ever, and of protections: made by a
//! guard from a box, and dropped by it only after they were replaced and all users have left.
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use super::damage::Damage;

const SLOTS: usize = 32;

/// Parts of a span that may be accessed otherwise than the rest: bytes of the span, `PROT_*`.
pub(super) type Protections = Vec<(Range<usize>, i32)>;

/// A guarded span. Ranges in it are bytes from its first address on.
#[derive(Debug)]
pub(super) struct Slot {
    taken: AtomicBool,
    /// Odd while the span is guarded.
    turn: AtomicU64,
    /// Handlers at work on it.
    users: AtomicUsize,
    start: AtomicUsize,
    len: AtomicUsize,
    /// The process whose span it is; the children of others do not have it, if `hidden` says so.
    pub(super) born: AtomicU64,
    /// What the pages that are put there get besides: see [`Hidden`](crate::sys::region::Hidden).
    pub(super) hidden: AtomicU8,
    /// The file that lies there from the first address on; -1 if it is not known (any more).
    pub(super) fd: AtomicI32,
    /// The byte of the file at the first address.
    pub(super) file_start: AtomicU64,
    /// Up to here it lies there.
    pub(super) file_end: AtomicUsize,
    /// `PROT_*` where `protections` say nothing else.
    pub(super) access: AtomicI32,
    protections: AtomicPtr<Protections>,
    /// So many single pages were covered since nothing was damaged.
    pub(super) pieces: AtomicUsize,
    pub(super) damage: Damage,
}

#[derive(Debug)]
struct Chunk {
    slots: [Slot; SLOTS],
    next: AtomicPtr<Chunk>,
}

static FIRST: Chunk = Chunk::empty();

impl Chunk {
    const fn empty() -> Chunk {
        Chunk { slots: [const { Slot::empty() }; SLOTS], next: AtomicPtr::new(ptr::null_mut()) }
    }

    fn next(&self) -> Option<&'static Chunk> {
        // SAFETY: null, or a chunk that was leaked before its address was stored here.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }
}

fn chunks() -> impl Iterator<Item = &'static Chunk> {
    std::iter::successors(Some(&FIRST), |chunk| chunk.next())
}

/// A slot for a new span, which is guarded from [`Slot::begin`] on.
pub(super) fn take() -> &'static Slot {
    loop {
        let mut last = &FIRST;
        for chunk in chunks() {
            for slot in &chunk.slots {
                if slot.taken.swap(true, Ordering::AcqRel) {
                    continue;
                }
                if slot.users.load(Ordering::SeqCst) == 0 {
                    return slot;
                }
                // A handler that came too late is about to leave; or, in a child that was forked meanwhile, never will: whoever
                // ended a guard here would wait for it for ever.
                slot.taken.store(false, Ordering::Release);
            }
            last = chunk;
        }
        let new: *mut Chunk = Box::leak(Box::new(Chunk::empty()));
        if last.next.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: made from a box just now, and nobody was told of it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}

/// Runs `work` with the slot that guards `address`, if one does: what it answers. Async-signal-safe if `work` is.
pub(super) fn at(address: usize, mut work: impl FnMut(&'static Slot, usize) -> bool) -> bool {
    for slot in chunks().flat_map(|chunk| &chunk.slots) {
        let turn = slot.turn.load(Ordering::SeqCst);
        if turn.is_multiple_of(2) || slot.offset_of(address).is_none() {
            continue;
        }
        slot.users.fetch_add(1, Ordering::SeqCst);
        // Looked at once more: the span may have ended, and another begun, since.
        let found = match slot.offset_of(address) {
            Some(offset) if slot.turn.load(Ordering::SeqCst) == turn => Some(offset),
            _ => None,
        };
        let answered = found.is_some_and(|offset| work(slot, offset));
        slot.users.fetch_sub(1, Ordering::SeqCst);
        if answered {
            return true;
        }
        // In a child this may be the slot of a span that only its parent has, and another one that of the child's own.
    }
    false
}

impl Slot {
    const fn empty() -> Slot {
        Slot {
            taken: AtomicBool::new(false),
            turn: AtomicU64::new(0),
            users: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            born: AtomicU64::new(0),
            hidden: AtomicU8::new(0),
            fd: AtomicI32::new(-1),
            file_start: AtomicU64::new(0),
            file_end: AtomicUsize::new(0),
            access: AtomicI32::new(libc::PROT_NONE),
            protections: AtomicPtr::new(ptr::null_mut()),
            pieces: AtomicUsize::new(0),
            damage: Damage::none(),
        }
    }

    fn offset_of(&self, address: usize) -> Option<usize> {
        let offset = address.checked_sub(self.start.load(Ordering::SeqCst))?;
        (offset < self.len.load(Ordering::SeqCst)).then_some(offset)
    }

    pub(super) fn start(&self) -> usize {
        self.start.load(Ordering::SeqCst)
    }

    /// From here on the span is guarded. Everything else in the slot is set.
    pub(super) fn begin(&self, start: usize, len: usize) {
        self.start.store(start, Ordering::SeqCst);
        self.len.store(len, Ordering::SeqCst);
        self.turn.fetch_add(1, Ordering::SeqCst);
    }

    /// The guard ends: nobody works on the span when this returns, and the slot may be taken by others.
    pub(super) fn end(&self) {
        self.turn.fetch_add(1, Ordering::SeqCst);
        self.wait_for_users();
        drop(self.swap_protections(None));
        self.damage.reset();
        super::cover::give_back(self);
        self.fd.store(-1, Ordering::SeqCst);
        self.file_end.store(0, Ordering::SeqCst);
        self.access.store(libc::PROT_NONE, Ordering::SeqCst);
        self.hidden.store(0, Ordering::SeqCst);
        self.taken.store(false, Ordering::Release);
    }

    /// In a forked child that does not have the span: nobody looks at the slot again, and it stays as it is. (A handler
    /// that was at work in the parent is counted here for ever.)
    pub(super) fn abandon(&self) {
        self.turn.fetch_add(1, Ordering::SeqCst);
    }

    fn wait_for_users(&self) {
        // A handler makes a handful of system calls, and no new one comes.
        while self.users.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
    }

    /// Says how parts of the span may be accessed. In a forked child, `in_child`, handlers that were at work in the parent
    /// are counted for ever: what they may have seen is leaked.
    pub(super) fn set_protections(&self, new: Option<Protections>, in_child: bool) {
        let old = self.swap_protections(new);
        if in_child {
            std::mem::forget(old);
        } else if old.is_some() {
            // A handler that came before the swap may still read them. Others may come and go meanwhile, but each of them
            // sees the new ones.
            self.wait_for_users();
        }
    }

    fn swap_protections(&self, new: Option<Protections>) -> Option<Box<Protections>> {
        let new = new.map_or(ptr::null_mut(), |new| Box::into_raw(Box::new(new)));
        let old = self.protections.swap(new, Ordering::SeqCst);
        // SAFETY: null, or made from a box by an earlier call and taken out of the slot just now, once.
        (!old.is_null()).then(|| unsafe { Box::from_raw(old) })
    }

    /// To be called by a user of the slot. Async-signal-safe.
    pub(super) fn protections(&self) -> Option<&Protections> {
        // SAFETY: null, or a box that is dropped only after all users that may have seen it have left.
        unsafe { self.protections.load(Ordering::SeqCst).as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn spans_come_and_go_while_others_look() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        // Addresses that no map can have: the end of the address space.
                        for number in 0..100_usize {
                            let base = usize::MAX - (number + 1) * 4096;
                            at(base + 5, |slot, offset| {
                                assert_eq!((slot.start(), offset), (base, 5));
                                if let Some(protections) = slot.protections() {
                                    assert_eq!(protections[0].0, number..number + 1);
                                }
                                true
                            });
                        }
                    }
                });
            }
            for _ in 0..50 {
                let taken: Vec<_> = (0..100_usize)
                    .map(|number| {
                        let slot = take();
                        slot.damage.begin(1);
                        slot.set_protections(Some(vec![(number..number + 1, 0)]), false);
                        slot.begin(usize::MAX - (number + 1) * 4096, 4096);
                        slot.set_protections(Some(vec![(number..number + 1, 1)]), false);
                        slot
                    })
                    .collect();
                for (number, slot) in taken.into_iter().enumerate() {
                    let base = usize::MAX - (number + 1) * 4096;
                    assert!(at(base, |found, offset| ptr::eq(found, slot) && offset == 0));
                    slot.end();
                    assert!(!at(base, |_, _| true));
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
