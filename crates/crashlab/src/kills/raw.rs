//! What safe code cannot do: fork.
//!
//! # Safety
//!
//! This file is trusted with `fork` in a process of several threads, whose child must get along with what fork leaves it.
#![allow(unsafe_code)]

use std::io;

/// A forked child ends after so many seconds, whatever it hangs on.
const SECONDS_MAX: u32 = 60;

/// Runs `work` in a forked child, and tells the parent its process id.
///
/// Only the thread that forks lives on in the child, and a lock that another thread held stays locked there: `work` keeps to
/// the library, to raw reads and writes, and to memory, whose locks glibc sees to.
pub(super) fn fork(work: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: the child runs `work` only, which keeps to what is said above, and leaves by `_exit`, which runs no code of
    // the parent's.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: asks for a signal that ends this process.
            unsafe { libc::alarm(SECONDS_MAX) };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        pid => Ok(pid),
    }
}
