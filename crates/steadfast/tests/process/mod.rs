//! Forked children, signals and single loads, for tests of what the kernel does to a process.
//!
//! # Safety
//!
//! A forked child here does what tests tell it to and then leaves without unwinding; the tests tell it to keep to what a child of a
//! process with threads may do. Loads are from memory that is mapped, or whose faults the test is about.
#![allow(unsafe_code, dead_code)]

use std::mem::MaybeUninit;

/// 0 in the child.
pub(crate) fn fork() -> libc::pid_t {
    // SAFETY: see the head of this file.
    unsafe { libc::fork() }
}

/// Ends this process at once.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: runs no code of this program any more.
    unsafe { libc::_exit(code) }
}

/// How a child ended, as waitpid(2) says it.
pub(crate) fn wait(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: writes one number, which lives across the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

/// The signal that ended it.
pub(crate) fn signal_of(status: i32) -> Option<i32> {
    libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status))
}

/// Loads a byte, whatever comes of it.
pub(crate) fn load(from: *const u8) -> u8 {
    // SAFETY: see the head of this file.
    unsafe { from.read_volatile() }
}

pub(crate) fn raise(signal: i32) {
    // SAFETY: touches no memory.
    unsafe { libc::raise(signal) };
}

pub(crate) type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Installs a handler for SIGBUS, and returns the address of the one that was there.
pub(crate) fn handle_sigbus(handler: Handler, flags: i32, blocks: &[i32]) -> usize {
    // SAFETY: all zeros is a valid `struct sigaction`.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
    for &signal in blocks {
        // SAFETY: changes one set of our own.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, signal) };
    }
    // SAFETY: as above.
    let mut found: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: both structures live across the call; the handlers of these tests keep to what handlers may do.
    assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut found) }, 0);
    found.sa_sigaction
}

/// Calls the handler that [`handle_sigbus`] found.
pub(crate) fn hand_on(found: usize, signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: sigaction(2) returned it as the address of a handler of this kind.
    let found = unsafe { std::mem::transmute::<usize, Handler>(found) };
    found(signal, info, context);
}

pub(crate) fn ignore_sigbus() {
    // SAFETY: takes numbers only.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_IGN) };
}

/// Whoever handles them, a sanitizer among others, does so no more: a fault ends the process.
pub(crate) fn die_of_faults() {
    for signal in [libc::SIGBUS, libc::SIGSEGV] {
        // SAFETY: takes numbers only.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Where a fault was, and its code.
pub(crate) fn fault_of(info: *const libc::siginfo_t) -> (usize, i32) {
    // SAFETY: the kernel handed it to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: the tests only ask about faults, or do not look at the address.
    (unsafe { info.si_addr() } as usize, info.si_code)
}

/// Does this thread block the signal?
pub(crate) fn blocks(signal: i32) -> bool {
    let mut blocked = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: only asks; writes one set, which lives across the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), blocked.as_mut_ptr()) };
    // SAFETY: the set was written by the call above.
    unsafe { libc::sigismember(blocked.as_ptr(), signal) == 1 }
}

/// A plain mapping for reading, of a file or of zeros. `at` other than 0 is where it must lie.
pub(crate) fn map(at: usize, len: usize, flags: i32, fd: i32) -> Option<*const u8> {
    // SAFETY: where an address is named, it is a page of the test's own, or nothing lies there (MAP_FIXED_NOREPLACE).
    let mapped = unsafe { libc::mmap(at as *mut libc::c_void, len, libc::PROT_READ, flags, fd, 0) };
    (mapped != libc::MAP_FAILED).then(|| mapped.cast_const().cast())
}
