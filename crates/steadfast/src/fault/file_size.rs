//! SIGXFSZ becomes an error as well.
//!
//! A write beyond the limit on file sizes (`ulimit -f`, `RLIMIT_FSIZE`) fails with `EFBIG`, and besides the kernel sends
//! SIGXFSZ to the thread that made it, which ends the process (setrlimit(2)). The library asks for the limit before a file
//! grows; but the limit may be lowered while files are open. So the first write installs a handler, if nobody else has one,
//! that ignores the signal in a thread which is in a write of this library, and otherwise lets the process end as it would
//! have.
//!
//! # Safety
//!
//! This file is trusted with `sigaction` for SIGXFSZ. Its handler reads one thread-local flag and makes two calls, both
//! async-signal-safe.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::handler;

thread_local! {
    // Without a destructor and known at compile time: reading it runs no code.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

static ASKED: AtomicBool = AtomicBool::new(false);

/// Runs `work`, which writes to files or makes them longer: beyond the limit it fails, and no signal comes of it.
pub(crate) fn writing<T>(work: impl FnOnce() -> T) -> T {
    /// Back to what it was, also when `work` panics.
    struct Was(bool);

    impl Drop for Was {
        fn drop(&mut self) {
            WRITING.set(self.0);
        }
    }

    if !ASKED.swap(true, Ordering::SeqCst) {
        install();
    }
    let _was = Was(WRITING.replace(true));
    work()
}

fn install() {
    if handler::is_declined() {
        return;
    }
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; the kernel writes one structure, which lives across the call.
    unsafe { libc::sigaction(libc::SIGXFSZ, ptr::null(), before.as_mut_ptr()) };
    // SAFETY: written by the call; were it to fail, all zeros is the default action.
    let before = unsafe { before.assume_init() };
    if before.sa_sigaction != libc::SIG_DFL {
        // Ignored already (Python does that), or the program's own affair.
        return;
    }
    // SAFETY: all zeros is a valid `struct sigaction`: no flags, an empty mask.
    let mut ours: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    ours.sa_sigaction = on_file_size as *const () as usize;
    ours.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the handler keeps to what a handler may do, and the structure lives across the call.
    unsafe { libc::sigaction(libc::SIGXFSZ, &raw const ours, ptr::null_mut()) };
}

extern "C" fn on_file_size(_: libc::c_int) {
    if WRITING.get() {
        return;
    }
    // SAFETY: all zeros is the default action: no handler, no flags, an empty mask.
    let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the structure lives across the call.
    unsafe { libc::sigaction(libc::SIGXFSZ, &raw const default, ptr::null_mut()) };
    // SAFETY: sends this thread a signal, for when the handler returns; touches no memory.
    unsafe { libc::raise(libc::SIGXFSZ) };
}
