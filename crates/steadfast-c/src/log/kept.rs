//! Lines that wait until they may be said.
//!
//! Without a lock: a child of fork(2) may log although another thread of its parent's was just keeping a line.
//!
//! # Safety
//!
//! This file is trusted with a list that is pushed to by one exchange and taken as a whole by another: who took it alone has it.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// More than one file that goes back has to say; a bound for what no program should need.
const LINES_MAX: usize = 64;

pub(super) struct Kept<T> {
    /// The youngest; null where there is none.
    last: AtomicPtr<Node<T>>,
    count: AtomicUsize,
    /// Those that found no room.
    dropped: AtomicUsize,
    /// The process that says them: one thread of it at a time. 0: nobody does, and neither does somebody of another process.
    speaker: AtomicU32,
}

struct Node<T> {
    line: T,
    /// A child has its parent's lines, which the parent says.
    process: u32,
    before: *mut Node<T>,
}

impl<T> Kept<T> {
    pub(super) const fn new() -> Kept<T> {
        Kept {
            last: AtomicPtr::new(ptr::null_mut()),
            count: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            speaker: AtomicU32::new(0),
        }
    }

    /// Is there anything to say?
    pub(super) fn is_waiting(&self) -> bool {
        !self.last.load(Ordering::SeqCst).is_null() || self.dropped.load(Ordering::SeqCst) != 0
    }

    /// Is there nothing, and is nothing just being said?
    pub(super) fn is_empty(&self) -> bool {
        !self.is_waiting() && self.speaker.load(Ordering::SeqCst) != std::process::id()
    }

    /// The last one.
    pub(super) fn push(&self, line: T) {
        if self.count.fetch_add(1, Ordering::SeqCst) >= LINES_MAX {
            self.count.fetch_sub(1, Ordering::SeqCst);
            self.dropped.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let mut before = self.last.load(Ordering::SeqCst);
        let node = Box::into_raw(Box::new(Node { line, process: std::process::id(), before }));
        while let Err(other) = self.last.compare_exchange(before, node, Ordering::SeqCst, Ordering::SeqCst) {
            before = other;
            // SAFETY: made above, and not in the list yet: nobody else knows it.
            unsafe { (*node).before = before };
        }
    }

    /// Takes all lines, and calls `say` with each, the oldest first; then with one that tells how many were dropped. `false`: another thread
    /// is at it. Who pushed meanwhile was told so, too: look again.
    pub(super) fn each(&self, mut say: impl FnMut(&T), dropped: impl FnOnce(usize) -> T) -> bool {
        let (me, now) = (std::process::id(), self.speaker.load(Ordering::SeqCst));
        if now == me || self.speaker.compare_exchange(now, me, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return false;
        }
        let mut node = self.last.swap(ptr::null_mut(), Ordering::SeqCst);
        let mut lines = Vec::new();
        while !node.is_null() {
            // SAFETY: of `push`, and taken out of the list, as a whole, by this thread.
            let one = unsafe { Box::from_raw(node) };
            self.count.fetch_sub(1, Ordering::SeqCst);
            node = one.before;
            lines.push(one);
        }
        lines.iter().rev().filter(|one| one.process == me).for_each(|one| say(&one.line));
        match self.dropped.swap(0, Ordering::SeqCst) {
            0 => {}
            count => say(&dropped(count)),
        }
        // A child that was forked by `say` has a copy of this thread, and its own speakers.
        let _ = self.speaker.compare_exchange(me, 0, Ordering::SeqCst, Ordering::SeqCst);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn said(kept: &Kept<String>) -> Vec<String> {
        let said = RefCell::new(Vec::new());
        assert!(kept.each(|line| said.borrow_mut().push(line.clone()), |count| format!("{count} dropped")));
        said.into_inner()
    }

    #[test]
    fn lines_are_said_once_in_their_order_and_those_that_found_no_room_are_counted() {
        let kept = Kept::new();
        assert_eq!(said(&kept), [""; 0]);
        for _ in 0..2 {
            (0..LINES_MAX + 3).for_each(|number| kept.push(number.to_string()));
            let all: Vec<_> =
                (0..LINES_MAX).map(|number| number.to_string()).chain(["3 dropped".into()]).collect();
            assert!(!kept.is_empty());
            assert_eq!(said(&kept), all);
            assert!(kept.is_empty());
        }
    }

    #[test]
    fn who_comes_while_lines_are_said_leaves_its_own_to_the_speaker() {
        let kept = Kept::new();
        kept.push("one".to_owned());
        assert!(kept.each(
            |_| {
                assert!(!kept.is_empty());
                kept.push("two".to_owned());
                assert!(!kept.each(|_| panic!("out of turn"), |_| String::new()));
            },
            |_| String::new()
        ));
        assert_eq!(said(&kept), ["two"]);
    }

    #[test]
    fn no_line_of_many_threads_is_lost() {
        const THREADS: usize = 4;
        let kept = Kept::new();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let kept = &kept;
                scope.spawn(move || {
                    (0..LINES_MAX / THREADS).for_each(|number| kept.push(format!("{thread} {number:02}")))
                });
            }
        });
        let said = said(&kept);
        for thread in 0..THREADS {
            let of_it: Vec<_> = said.iter().filter(|line| line.starts_with(&format!("{thread} "))).collect();
            assert!(of_it.len() == LINES_MAX / THREADS && of_it.is_sorted(), "{of_it:?}");
        }
    }
}
