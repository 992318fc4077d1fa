//! Work in pieces, shared with a second thread where one has time for it.
//!
//! Looking for stores in a large map is bound by memory, not by computing, and a commit waits for it. One more thread for the whole
//! process does pieces of that: it sleeps otherwise, is offered work by one map at a time, and whoever offers never waits for it to
//! begin. Measured here: waking it takes 4 to 5 µs, once it has begun the work takes half the time.
//!
//! # Safety
//!
//! This file is trusted to lend work to the other thread that borrows from the caller's stack. The invariant: `Slot::Taken` is set by
//! the second thread before it touches the work and left when it is done with it, both under the mutex of the slot; and the caller
//! does not return, nor unwind, before it has seen the slot in any other state and emptied it.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use crate::sys::fork::Birth;

/// Pieces, and which is next.
struct Work<'a> {
    piece: &'a (dyn Fn(usize) + Sync),
    next: AtomicUsize,
    count: usize,
}

impl Work<'_> {
    fn run(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.count {
                return;
            }
            (self.piece)(index);
        }
    }
}

enum Slot {
    Empty,
    Offered(&'static Work<'static>),
    Taken,
    Done { panicked: bool },
}

struct Second {
    /// Held by the map that offers.
    turn: Mutex<()>,
    slot: Mutex<Slot>,
    offered: Condvar,
    done: Condvar,
    birth: Birth,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The other thread, if the machine has room for one. A forked child has none.
fn second() -> Option<&'static Second> {
    static SECOND: OnceLock<Option<Second>> = OnceLock::new();
    let second = SECOND.get_or_init(|| {
        if !thread::available_parallelism().is_ok_and(|count| count.get() > 1) {
            return None;
        }
        let started = thread::Builder::new().name("steadfast-search".into()).spawn(|| {
            // It may run before the cell is filled, and is not to find it empty then.
            if let Some(second) = SECOND.wait() {
                second.serve();
            }
        });
        if let Err(error) = &started {
            log::debug!("no second thread for searches: {error}");
        }
        started.ok().map(|_| Second {
            turn: Mutex::new(()),
            slot: Mutex::new(Slot::Empty),
            offered: Condvar::new(),
            done: Condvar::new(),
            birth: Birth::here(),
        })
    });
    second.as_ref().filter(|second| !second.birth.is_elsewhere())
}

impl Second {
    fn serve(&self) {
        let mut slot = lock(&self.slot);
        loop {
            if let Slot::Offered(work) = *slot {
                *slot = Slot::Taken;
                drop(slot);
                let panicked = catch_unwind(AssertUnwindSafe(|| work.run())).is_err();
                slot = lock(&self.slot);
                *slot = Slot::Done { panicked };
                self.done.notify_all();
            } else {
                slot = self.offered.wait(slot).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Takes the offer back, or waits until the other thread is done with it. Says whether it panicked.
    fn settle(&self) -> bool {
        let mut slot = lock(&self.slot);
        loop {
            match *slot {
                Slot::Taken => slot = self.done.wait(slot).unwrap_or_else(PoisonError::into_inner),
                Slot::Done { panicked } => {
                    *slot = Slot::Empty;
                    return panicked;
                }
                Slot::Empty | Slot::Offered(_) => {
                    *slot = Slot::Empty;
                    return false;
                }
            }
        }
    }
}

/// Settles also when the caller's own share panics.
struct Offer<'a>(&'a Second);

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// Calls `piece` with every number below `count`, each once, in any order, on this thread and perhaps on another one. Returns
/// when all are done.
pub(super) fn in_pieces(count: usize, piece: &(dyn Fn(usize) + Sync)) {
    let work = Work { piece, next: AtomicUsize::new(0), count };
    let turn = second().filter(|_| count > 1).and_then(|second| Some((second, second.turn.try_lock().ok()?)));
    let Some((second, _turn)) = turn else { return work.run() };
    // SAFETY: the other thread uses the work only in `Slot::Taken`, and `settle`, which is called below in any case, returns
    // only when it is not, and leaves the slot empty; `work` lives longer than that (invariant above).
    let lent: &'static Work<'static> =
        unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(&work) };
    *lock(&second.slot) = Slot::Offered(lent);
    let offer = Offer(second);
    second.offered.notify_one();
    work.run();
    std::mem::forget(offer);
    assert!(!second.settle(), "a piece of a search panicked on the other thread");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn every_piece_is_done_once_whoever_does_it() {
        let elsewhere = AtomicU64::new(0);
        for round in 0..2_000 {
            let done: Vec<AtomicUsize> = (0..round % 40).map(|_| AtomicUsize::new(0)).collect();
            let here = thread::current().id();
            in_pieces(done.len(), &|index| {
                done[index].fetch_add(1, Ordering::Relaxed);
                if thread::current().id() != here {
                    elsewhere.fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
        println!("{} pieces were done by the second thread", elsewhere.load(Ordering::Relaxed));
    }

    #[test]
    fn several_at_once_do_not_wait_for_each_other() {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let sum = AtomicUsize::new(0);
                        in_pieces(10, &|index| {
                            sum.fetch_add(index, Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 45);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_comes_out_wherever_it_was_and_the_next_call_works() {
        for bad in 0..8 {
            let called = catch_unwind(|| in_pieces(8, &|index| assert_ne!(index, bad, "on purpose")));
            assert!(called.is_err());
        }
        let count = AtomicUsize::new(0);
        in_pieces(8, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 8);
    }
}
