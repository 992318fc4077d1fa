//! Locks and threads of everything that works in the background.
//!
//! Built with `--cfg shuttle` they are those of a model checker, which runs the same code under thousands of schedules:
//! see `tests/interleavings.rs`.

#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicU64},
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::atomic::{AtomicBool, AtomicU64},
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};
