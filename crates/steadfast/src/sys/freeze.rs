//! Memory that nobody stores to for a moment, although other threads would.
//!
//! The pages are made read-only; a thread that stores to them faults, and waits in a SIGSEGV handler until they may be stored to again,
//! or are something else. Then its store is made.
//!
//! A child that is forked meanwhile has a copy of the memory, read-only as it is, and nobody there who would make it writable again: the
//! first store of the child does so, and its first freeze.
//!
//! Functions of the program's that the library calls may store anywhere, and wait for threads that do. So nobody freezes while one of
//! them is at work, and none is called while memory is frozen ([`call_out`]): whoever has something to say then says it behind the thaw.
//!
//! # Safety
//!
//! This file is trusted with a SIGSEGV handler, which touches atomics and sleeps, and with the protection of memory that its caller
//! names.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use rustix::mm::MprotectFlags;

use super::address;
use super::fork::Birth;

/// Memory, and what a program may do with it.
type Access = (Range<usize>, c_int);

/// The process that freezes: one thread of it at a time. 0: nobody does. A child finds its parent's number here, and takes the place over.
static FREEZER: AtomicU64 = AtomicU64::new(0);
/// What is frozen; null while nothing is. Stored and freed by the freezer, and looked into by children only, which never free it.
static FROZEN: AtomicPtr<Vec<Access>> = AtomicPtr::new(ptr::null_mut());
/// What is frozen, or was last.
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
/// A thread may have faulted while it was frozen and come to the handler later: until then it just looks again.
static LATE_UNTIL_MS: AtomicU64 = AtomicU64::new(0);
const LATE_MS: u64 = 1_000;

/// Threads that are in a function of the program's, and, above [`COUNT`], whose they are: a child has none of its parent's.
static OUTSIDE: AtomicU64 = AtomicU64::new(0);
const COUNT: u64 = u32::MAX as u64;
const PROCESS_SHIFT: u32 = 32;

thread_local! {
    /// Is this thread the freezer?
    static FREEZES: Cell<bool> = const { Cell::new(false) };
}

/// Is called behind each thaw.
static AFTER_THAW: OnceLock<fn()> = OnceLock::new();

/// Whoever was asked before, as the kernel told. Written by the freezer, before the handler can be called.
static mut BEFORE: libc::sigaction = EMPTY;
// SAFETY: a structure of numbers, of which all zeros are a value (`SIG_DFL`, no flags).
const EMPTY: libc::sigaction = unsafe { std::mem::zeroed() };

/// Memory that is frozen until this is dropped. The handler stays, for those who are late; it hands on what is not its own.
pub(crate) struct Frozen {
    /// The signals that the thread let through before: a handler of the program's that stores there would wait for itself.
    signals: libc::sigset_t,
}

/// Freezes the memory. What a program may do there is what a child that is forked meanwhile may do to its copy.
///
/// # Safety
///
/// It is mapped and readable, and whoever stores to it can wait.
pub(crate) unsafe fn freeze(memory: &[Access]) -> io::Result<Frozen> {
    let list = Box::new(memory.to_vec());
    let birth = Birth::here();
    let signals = set_signals(None)?;
    become_freezer(birth.token());
    FREEZES.set(true);
    let frozen = Frozen { signals };
    wait_for_those_outside(birth);
    install()?;
    // Whatever lies between them does not fault.
    START.store(memory.iter().map(|(part, _)| part.start).min().unwrap_or(0), Ordering::SeqCst);
    END.store(memory.iter().map(|(part, _)| part.end).max().unwrap_or(0), Ordering::SeqCst);
    FROZEN.store(Box::into_raw(list), Ordering::SeqCst);
    for (part, _) in memory {
        // SAFETY: passed on; a store that comes from here on waits.
        if let Err(error) = unsafe { address::mprotect(part, libc::PROT_READ) } {
            // What is called behind the thaw may store there.
            restore(memory);
            return Err(error);
        }
    }
    Ok(frozen)
}

/// Gives memory the access back that the program asked for, where it is still mapped. Async-signal-safe.
fn restore(memory: &[Access]) {
    for (part, access) in memory {
        let access = MprotectFlags::from_bits_retain(*access as u32);
        // By the kernel's own call: that of the C library may be another's who stands before it, and takes locks.
        // SAFETY: the program's own memory, with the access that it asked for. Where it has unmapped some of it, that stays as it is.
        let _ = unsafe { rustix::mm::mprotect(part.start as *mut c_void, part.len(), access) };
    }
}

/// This process, as it stands in [`OUTSIDE`].
fn process(birth: Birth) -> u64 {
    birth.token() << PROCESS_SHIFT
}

/// By the freezer, before it freezes anything. Those that come from here on find it, and are not let through.
fn wait_for_those_outside(birth: Birth) {
    let here = process(birth);
    while (here + 1..=here + COUNT).contains(&OUTSIDE.load(Ordering::SeqCst)) {
        nap();
    }
}

/// A thread that is in a function of the program's.
struct Outside {
    process: u64,
}

impl Outside {
    fn enter() -> Outside {
        let process = process(Birth::here());
        let one_more = |now: u64| if now & !COUNT == process { now + 1 } else { process + 1 };
        let _ = OUTSIDE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some(one_more(now)));
        Outside { process }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // In a child that the function has forked nobody counts for its parent.
        let one_less = |now: u64| (now & !COUNT == self.process && now & COUNT != 0).then(|| now - 1);
        let _ = OUTSIDE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
    }
}

/// Calls a function of the program's, unless memory is frozen, or about to be: then `None`, and it was not called. Nothing is frozen before
/// it returns.
pub(crate) fn call_out<T>(call: impl FnOnce() -> T) -> Option<T> {
    let _outside = Outside::enter();
    let freezer = FREEZER.load(Ordering::SeqCst);
    if freezer != 0 && Birth::is_another(freezer) {
        // Nobody of this process freezes before this thread is back.
        thaw(freezer);
    } else if freezer != 0 {
        return None;
    }
    Some(call())
}

/// Has a function called behind each thaw, by the thread that thawed. The first that is given stays.
pub(crate) fn after_thaw(function: fn()) {
    let _ = AFTER_THAW.set(function);
}

/// Ends the process, with a last line. If this thread has frozen memory it is thawed before: what the line goes to may store there.
pub(crate) fn give_up(why: fmt::Arguments<'_>) -> ! {
    if FREEZES.get() {
        LATE_UNTIL_MS.store(now_ms() + LATE_MS, Ordering::SeqCst);
        thaw(FREEZER.load(Ordering::SeqCst));
    }
    log::error!("{why}: giving up");
    log::logger().flush();
    std::process::abort();
}

/// Once no other thread of this process is. With every signal blocked: a handler of this thread's would wait for itself.
fn become_freezer(me: u64) {
    loop {
        let freezer = FREEZER.load(Ordering::SeqCst);
        if freezer != 0 && Birth::is_another(freezer) {
            thaw(freezer);
        } else if freezer != 0 {
            nap();
        } else if FREEZER.compare_exchange(0, me, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            return;
        }
    }
}

/// What was frozen is to be stored to: in a child what its parent had frozen when it was forked, or at the end of the process, by the
/// freezer. Async-signal-safe.
fn thaw(freezer: u64) {
    let list = FROZEN.load(Ordering::SeqCst);
    // SAFETY: null, or a list of the parent's or of this thread's, which nobody frees meanwhile in this process.
    if let Some(frozen) = unsafe { list.as_ref() } {
        restore(frozen);
    }
    // Another thread of the child may be done before. The list goes with the process.
    let _ = FROZEN.compare_exchange(list, ptr::null_mut(), Ordering::SeqCst, Ordering::SeqCst);
    let _ = FREEZER.compare_exchange(freezer, 0, Ordering::SeqCst, Ordering::SeqCst);
}

/// Async-signal-safe.
fn nap() {
    let _woken = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 50_000 });
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

/// Sees to it that the handler is asked first. By the freezer.
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
    // SAFETY: there is one freezer, and the handler that reads it is not installed.
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
        let list = FROZEN.swap(ptr::null_mut(), Ordering::SeqCst);
        if !list.is_null() {
            // SAFETY: of `freeze`, in this process, where nobody else looks into it.
            drop(unsafe { Box::from_raw(list) });
        }
        FREEZES.set(false);
        FREEZER.store(0, Ordering::SeqCst);
        if let Err(error) = set_signals(Some(&self.signals)) {
            log::error!("signals stay blocked: {error}");
        }
        if let Some(after_thaw) = AFTER_THAW.get() {
            after_thaw();
        }
    }
}

/// Async-signal-safe.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

fn is_frozen() -> bool {
    !FROZEN.load(Ordering::SeqCst).is_null()
}

extern "C" fn wait(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a whole structure.
    let what = unsafe { *info };
    // SAFETY: a SIGSEGV that the kernel raised carries an address; of one that was sent this is some number.
    let at = unsafe { what.si_addr() } as usize;
    let is_ours = what.si_code > 0 && START.load(Ordering::SeqCst) <= at && at < END.load(Ordering::SeqCst);
    if is_ours && is_frozen() {
        let freezer = FREEZER.load(Ordering::SeqCst);
        if freezer != 0 && Birth::is_another(freezer) {
            thaw(freezer);
            return;
        }
        while is_frozen() {
            nap();
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
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// What the tests freeze is nothing to each other.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    static MEMORY: AtomicUsize = AtomicUsize::new(0);
    static CALLS: AtomicUsize = AtomicUsize::new(0);

    /// A program's handler that stores. Where that would wait for the very thread that it interrupted, it only says that it was called.
    extern "C" fn store(_signal: c_int) {
        CALLS.fetch_add(1, Ordering::SeqCst);
        if !is_frozen() {
            let at = MEMORY.load(Ordering::SeqCst) as *mut u8;
            // SAFETY: mapped by the test, and not frozen.
            unsafe { at.write_volatile(1) };
        }
    }

    #[test]
    fn a_signal_to_the_freezing_thread_waits_until_memory_can_be_stored_to_again() {
        let _alone = alone();
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
        let frozen = unsafe { freeze(&[(memory.clone(), both)]) }.unwrap();
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

    /// The status of a child that is forked by another thread, whose signals come through.
    fn forked(child: impl FnOnce() -> bool + Send) -> c_int {
        std::thread::scope(|scope| {
            let forker = scope.spawn(|| {
                // SAFETY: what the child does is this file's, and at most it allocates, which the C library keeps possible.
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    // The thread was made with the freezer's own signals blocked.
                    // SAFETY: a structure of numbers, of which all zeros are a value: no signal.
                    let none = unsafe { std::mem::zeroed::<libc::sigset_t>() };
                    drop(set_signals(Some(&none)));
                    // SAFETY: one that hangs ends itself.
                    unsafe { libc::alarm(20) };
                    let status = if child() { 0 } else { 1 };
                    // SAFETY: the child's end.
                    unsafe { libc::_exit(status) };
                }
                let mut status = 0;
                // SAFETY: this thread's own child, and a number of this frame.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                status
            });
            forker.join().unwrap()
        })
    }

    const BOTH: c_int = libc::PROT_READ | libc::PROT_WRITE;

    fn mapped() -> Range<usize> {
        let (len, flags) = (super::super::page_size(), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: anywhere.
        let at = unsafe { address::mmap(0, len, BOTH, flags, -1, 0) }.unwrap();
        at..at + len
    }

    /// The status of a child that is forked while this is frozen.
    fn forked_from_frozen(memory: &Range<usize>, child: impl FnOnce() -> bool + Send) -> c_int {
        // SAFETY: of `mapped`; nobody in this process stores to it.
        let frozen = unsafe { freeze(&[(memory.clone(), BOTH)]) }.unwrap();
        let status = forked(child);
        // SAFETY: the test's own.
        unsafe { address::mprotect(memory, BOTH) }.unwrap();
        drop(frozen);
        status
    }

    #[test]
    fn a_child_that_is_forked_while_memory_is_frozen_stores_to_its_copy() {
        let _alone = alone();
        let memory = mapped();
        let status = forked_from_frozen(&memory, || {
            // SAFETY: of `mapped`.
            unsafe { (memory.start as *mut u8).write_volatile(1) };
            true
        });
        assert_eq!(status, 0, "it was copied with nobody to thaw it");
    }

    #[test]
    fn nobody_is_called_while_memory_is_frozen_and_nothing_is_frozen_while_somebody_is() {
        static THAWS: AtomicUsize = AtomicUsize::new(0);
        after_thaw(|| {
            THAWS.fetch_add(1, Ordering::SeqCst);
        });
        let _alone = alone();
        let memory = mapped();
        let (is_in, left) = (std::sync::Barrier::new(2), std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let called = call_out(|| {
                    is_in.wait();
                    while FREEZER.load(Ordering::SeqCst) == 0 {
                        nap();
                    }
                    // Time to freeze what is stored to now.
                    (0..100).for_each(|_| nap());
                    let frozen = is_frozen();
                    left.store(true, Ordering::SeqCst);
                    frozen
                });
                assert_eq!(called, Some(false), "frozen while the program was called");
            });
            is_in.wait();
            // SAFETY: of `mapped`; nobody stores to it.
            let frozen = unsafe { freeze(&[(memory.clone(), BOTH)]) }.unwrap();
            assert!(left.load(Ordering::SeqCst), "nobody waited for who was called");
            assert_eq!(call_out(|| ()), None, "called while memory is frozen");
            let thaws = THAWS.load(Ordering::SeqCst);
            // SAFETY: the test's own.
            unsafe { address::mprotect(&memory, BOTH) }.unwrap();
            drop(frozen);
            assert!(THAWS.load(Ordering::SeqCst) > thaws, "nobody was told of the thaw");
        });
    }

    #[test]
    fn a_child_that_is_forked_while_memory_is_frozen_or_the_program_is_called_calls_and_freezes() {
        let _alone = alone();
        let (memory, own) = (mapped(), mapped());
        let status = forked_from_frozen(&memory, || call_out(|| true) == Some(true));
        assert_eq!(status, 0, "a thread of its parent's holds what was copied");
        let status = call_out(|| {
            forked(|| {
                // SAFETY: of `mapped`, and the child has one thread.
                let Ok(_frozen) = (unsafe { freeze(&[(own.clone(), BOTH)]) }) else { return false };
                call_out(|| ()).is_none()
            })
        });
        assert_eq!(status, Some(0), "it waits for a thread of its parent's");
    }

    #[test]
    fn a_child_that_is_forked_while_memory_is_frozen_freezes_its_own() {
        let _alone = alone();
        let (memory, own) = (mapped(), mapped());
        let status = forked_from_frozen(&memory, || {
            // SAFETY: of `mapped`, and the child has one thread.
            let Ok(_frozen) = (unsafe { freeze(&[(own.clone(), BOTH)]) }) else { return false };
            // SAFETY: of `mapped`, and not what is frozen here.
            unsafe { (memory.start as *mut u8).write_volatile(1) };
            true
        });
        assert_eq!(status, 0, "a thread of its parent's holds what was copied");
    }
}
