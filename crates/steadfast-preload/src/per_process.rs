//! A lock that each process has for itself. A child that is forked while another thread holds its parent's would wait for it for ever.
//!
//! # Safety
//!
//! This file is trusted with one pointer to what is never freed.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::owned;

struct Own<T> {
    process: i32,
    value: Mutex<T>,
}

/// To be locked where the process is one of its own: a child of vfork(2) shares its parent's memory, and would take this from it.
pub(crate) struct PerProcess<T: 'static> {
    last: AtomicPtr<Own<T>>,
}

impl<T: Default + Send> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { last: AtomicPtr::new(ptr::null_mut()) }
    }

    /// A child begins with the default, whatever its parent had.
    pub(crate) fn lock(&self) -> MutexGuard<'static, T> {
        loop {
            let known = self.last.load(Ordering::Acquire);
            // SAFETY: null, or leaked below, and only shared since.
            if let Some(own) = unsafe { known.as_ref() }.filter(|own| own.process == owned::pid()) {
                return own.value.lock().unwrap_or_else(PoisonError::into_inner);
            }
            let new = Box::into_raw(Box::new(Own { process: owned::pid(), value: Mutex::default() }));
            if self.last.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: made just now, and nobody has seen it.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_does_not_wait_for_a_lock_that_its_parent_held_when_it_was_forked() {
        static LOCK: PerProcess<u8> = PerProcess::new();
        let mut held = LOCK.lock();
        *held = 1;
        // SAFETY: the child takes the lock, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: one that hangs ends itself.
            unsafe { libc::alarm(20) };
            let found = *LOCK.lock();
            // SAFETY: the child's end.
            unsafe { libc::_exit(found.into()) };
        }
        let mut status = 0;
        // SAFETY: this process's own child, and a number of this frame.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        drop(held);
        assert_eq!(*LOCK.lock(), 1);
    }
}
