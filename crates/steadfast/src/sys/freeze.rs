//! Memory that nobody stores to for a moment, although other threads would.
//!
//! The pages are made read-only; a thread that stores to them faults, and waits in a SIGSEGV handler until they may be stored to again,
//! or are something else. Then its store is made.
//!
//! # Safety
//!
//! This file is trusted with a SIGSEGV handler, which touches atomics and sleeps, and with the protection of memory that its caller
//! names.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::address;

/// One at a time.
static ONE: Mutex<()> = Mutex::new(());
static IS_FROZEN: AtomicBool = AtomicBool::new(false);
/// What is frozen, or was last.
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
/// A thread may have faulted while it was frozen and come to the handler later: until then it just looks again.
static LATE_UNTIL_MS: AtomicU64 = AtomicU64::new(0);
const LATE_MS: u64 = 1_000;

/// Whoever was asked before, as the kernel told. Written under `ONE`, before the handler can be called.
static mut BEFORE: libc::sigaction = EMPTY;
// SAFETY: a structure of numbers, of which all zeros are a value (`SIG_DFL`, no flags).
const EMPTY: libc::sigaction = unsafe { std::mem::zeroed() };

/// Memory that is frozen until this is dropped. The handler stays, for those who are late; it hands on what is not its own.
pub(crate) struct Frozen {
    /// The signals that the thread let through before: a handler of the program's that stores there would wait for itself.
    signals: libc::sigset_t,
    _one: MutexGuard<'static, ()>,
}

/// Freezes the memory.
///
/// # Safety
///
/// It is mapped and readable, and whoever stores to it can wait.
pub(crate) unsafe fn freeze(memory: &[Range<usize>]) -> io::Result<Frozen> {
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    install()?;
    let signals = set_signals(None)?;
    // Whatever lies between them does not fault.
    START.store(memory.iter().map(|part| part.start).min().unwrap_or(0), Ordering::SeqCst);
    END.store(memory.iter().map(|part| part.end).max().unwrap_or(0), Ordering::SeqCst);
    IS_FROZEN.store(true, Ordering::SeqCst);
    let frozen = Frozen { signals, _one: one };
    for part in memory {
        // SAFETY: passed on; a store that comes from here on waits.
        unsafe { address::mprotect(part, libc::PROT_READ)? };
    }
    Ok(frozen)
}

/// Which signals wait in this thread: all, or these. Which did before.
fn set_signals(only: Option<&libc::sigset_t>) -> io::Result<libc::sigset_t> {
    // SAFETY: a structure of numbers, of which all zeros are a value.
    let (mut all, mut before) = unsafe { std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>() };
    // SAFETY: the set lives across the call.
    unsafe { libc::sigfillset(&raw mut all) };
    let set = only.map_or(&raw const all, std::ptr::from_ref);
    // SAFETY: both sets live across the call. Faults of this thread's own come all the same, and none is expected.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, &raw mut before) } {
        0 => Ok(before),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Sees to it that the handler is asked first. Under `ONE`.
fn install() -> io::Result<()> {
    let mut action = EMPTY;
    action.sa_sigaction = wait as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    let mut now = EMPTY;
    // SAFETY: the structure lives across the call, which changes nothing else.
    let asked = unsafe { libc::sigaction(libc::SIGSEGV, std::ptr::null(), &raw mut now) };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    if now.sa_sigaction == action.sa_sigaction {
        return Ok(());
    }
    // SAFETY: `ONE` is held, and the handler that reads it is not installed.
    unsafe { BEFORE = now };
    // SAFETY: the structure lives across the call; the handler keeps to what one may do.
    match unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        LATE_UNTIL_MS.store(now_ms() + LATE_MS, Ordering::SeqCst);
        IS_FROZEN.store(false, Ordering::SeqCst);
        if let Err(error) = set_signals(Some(&self.signals)) {
            log::error!("signals stay blocked: {error}");
        }
    }
}

/// Async-signal-safe.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

extern "C" fn wait(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a whole structure.
    let what = unsafe { *info };
    // SAFETY: a SIGSEGV that the kernel raised carries an address; of one that was sent this is some number.
    let at = unsafe { what.si_addr() } as usize;
    let is_ours = what.si_code > 0 && START.load(Ordering::SeqCst) <= at && at < END.load(Ordering::SeqCst);
    if is_ours && IS_FROZEN.load(Ordering::SeqCst) {
        while IS_FROZEN.load(Ordering::SeqCst) {
            let _woken = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 50_000 });
        }
        return;
    }
    if is_ours && now_ms() < LATE_UNTIL_MS.load(Ordering::SeqCst) {
        return;
    }
    // SAFETY: written before this handler was installed, and changed by nobody while it is.
    let before = unsafe { BEFORE };
    let handler = before.sa_sigaction;
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // The fault comes again, and ends the process as it would have.
        let default = EMPTY;
        // SAFETY: the structure lives across the call.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    } else if before.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: whoever installed it with SA_SIGINFO gave a function of this type.
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
            unsafe { std::mem::transmute(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: whoever installed it without SA_SIGINFO gave a function of this type.
        let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
        handler(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static MEMORY: AtomicUsize = AtomicUsize::new(0);
    static CALLS: AtomicUsize = AtomicUsize::new(0);

    /// A program's handler that stores. Where that would wait for the very thread that it interrupted, it only says that it was called.
    extern "C" fn store(_signal: c_int) {
        CALLS.fetch_add(1, Ordering::SeqCst);
        if !IS_FROZEN.load(Ordering::SeqCst) {
            let at = MEMORY.load(Ordering::SeqCst) as *mut u8;
            // SAFETY: mapped by the test, and not frozen.
            unsafe { at.write_volatile(1) };
        }
    }

    #[test]
    fn a_signal_to_the_freezing_thread_waits_until_memory_can_be_stored_to_again() {
        let (len, both) = (super::super::page_size(), libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: anywhere.
        let at =
            unsafe { address::mmap(0, len, both, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) }.unwrap();
        MEMORY.store(at, Ordering::SeqCst);
        let memory = at..at + len;
        let mut action = EMPTY;
        action.sa_sigaction = store as *const () as usize;
        // SAFETY: the structure lives across the call; no other test uses the signal.
        assert_eq!(unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()) }, 0);

        // SAFETY: mapped above, and nobody stores to it but the handler.
        let frozen = unsafe { freeze(std::slice::from_ref(&memory)) }.unwrap();
        // SAFETY: to this thread.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
        assert_eq!(CALLS.load(Ordering::SeqCst), 0, "it would wait for itself");
        // SAFETY: the test's own.
        unsafe { address::mprotect(&memory, both) }.unwrap();
        drop(frozen);
        assert_eq!(CALLS.load(Ordering::SeqCst), 1, "it comes behind");
        // SAFETY: mapped above.
        assert_eq!(unsafe { (at as *const u8).read_volatile() }, 1);
        // SAFETY: nobody uses it any more.
        unsafe { address::munmap(&memory) }.unwrap();
    }
}
