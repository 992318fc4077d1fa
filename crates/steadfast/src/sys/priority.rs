//! How urgent this thread's input and output is: ioprio_set(2).
//!
//! # Safety
//!
//! This file is trusted with one system call that takes numbers only.
#![allow(unsafe_code)]

/// linux/ioprio.h.
const WHO_PROCESS: libc::c_int = 1;
const CLASS_SHIFT: libc::c_int = 13;
const CLASS_NONE: libc::c_int = 0;
const CLASS_IDLE: libc::c_int = 3;

/// Lets this thread's input and output wait for everybody else's, or gives it its usual place again. Schedulers that know no
/// classes take no notice, and so does this call of errors: it is a courtesy.
pub(crate) fn yield_disk(idle: bool) {
    let class = if idle { CLASS_IDLE } else { CLASS_NONE };
    // SAFETY: the call takes no pointer; process 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << CLASS_SHIFT) };
    if result != 0 {
        log::debug!("ioprio_set: {}", std::io::Error::last_os_error());
    }
}
