//! The border between the program's calls and ours.
//!
//! # Safety
//!
//! This file is trusted with `errno`, the calling thread's own.
//!
//! A call of the program that needs this library's attention enters here ([`answer`]): what it calls meanwhile in the same thread, an
//! allocator's `mmap` included, is none of ours and passes straight through ([`is_here`]). So no lock of ours is taken twice by one
//! thread, nor by a signal handler that interrupts it. No panic leaves, and `errno` is what it was unless the call failed.
//!
//! Nothing here is held while the C library's own call runs: a thread may be cancelled in it, and is then unwound through our frames. (What
//! must be is held by a frame in C: `plain.rs`.)
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::c_int;
use std::panic::{self, AssertUnwindSafe};

thread_local! {
    // `const`, and nothing to drop: usable at any time in a thread's life, without an allocation.
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// Is this thread in a call of ours already?
pub(crate) fn is_here() -> bool {
    HERE.get()
}

/// Does `work` as this library. `None`: the call is the kernel's. An error is an errno, which is set.
pub(crate) fn answer<T>(work: impl FnOnce() -> Option<Result<T, c_int>>) -> Option<Result<T, c_int>> {
    if HERE.replace(true) {
        return None;
    }
    let before = errno();
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    HERE.set(false);
    // What a panic was about is said by the hook (`log.rs`).
    let answer = done.unwrap_or(Some(Err(libc::EIO)));
    set_errno(match &answer {
        Some(Err(code)) => *code,
        _ => before,
    });
    answer
}

/// Does `work`, whose outcome is nobody's, as this library.
pub(crate) fn quietly(work: impl FnOnce()) {
    let _ = answer(|| {
        work();
        Some(Ok(()))
    });
}

/// The errno of this thread.
pub(crate) fn errno() -> c_int {
    // SAFETY: it has no preconditions.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the address of this thread's errno, which lives as long as the thread.
    unsafe { *place }
}

/// Sets it.
pub(crate) fn set_errno(code: c_int) {
    // SAFETY: it has no preconditions.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the address of this thread's errno, which nobody else stores to.
    unsafe { *place = code };
}
