//! The SIGBUS handler: where it stands among others, and whom it asks next.
//!
//! Each time it is put in front it is another entry of the same code, with a memory of its own of what was there before. So a handler
//! that a program installed later, and that itself calls what it found, never leads back to itself:
//!
//! ```text
//! kernel -> entry 1 -> the program's -> entry 0 -> what the process began with
//! ```
//!
//! # Safety
//!
//! This file is trusted with `sigaction` for SIGBUS, with calling the handlers that it returned, and with what the kernel hands to a handler.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{cover, table};

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// So often the guard goes in front again. Who is in front after that stays there.
const ENTRIES: usize = 8;

static ENTRY: [Handler; ENTRIES] =
    [entry::<0>, entry::<1>, entry::<2>, entry::<3>, entry::<4>, entry::<5>, entry::<6>, entry::<7>];

/// What was there before an entry was installed.
struct Before {
    action: UnsafeCell<MaybeUninit<libc::sigaction>>,
    known: AtomicBool,
}

// SAFETY: the action is written once, by the one thread that holds `INSTALLING`, before `known` is set; read only after that.
unsafe impl Sync for Before {}

static BEFORE: [Before; ENTRIES] =
    [const { Before { action: UnsafeCell::new(MaybeUninit::uninit()), known: AtomicBool::new(false) } };
        ENTRIES];

static INSTALLED: AtomicUsize = AtomicUsize::new(0);
static INSTALLING: AtomicBool = AtomicBool::new(false);
static DECLINED: AtomicBool = AtomicBool::new(false);

/// How often it is looked whether another thread is done. A forked child may have inherited one that never is.
const TRIES: usize = 10_000;

pub(super) fn decline() {
    DECLINED.store(true, Ordering::SeqCst);
}

pub(super) fn is_installed() -> bool {
    is_ours(&current())
}

pub(super) fn install() {
    cover::learn_page_size();
    if DECLINED.load(Ordering::SeqCst) || is_installed() {
        return;
    }
    for _ in 0..TRIES {
        if !INSTALLING.swap(true, Ordering::Acquire) {
            go_in_front();
            INSTALLING.store(false, Ordering::Release);
            return;
        }
        std::thread::yield_now();
    }
}

/// Puts the next entry in front. One thread at a time.
fn go_in_front() {
    let before = current();
    let next = INSTALLED.load(Ordering::SeqCst);
    let (Some(entry), Some(place)) = (ENTRY.get(next), BEFORE.get(next)) else {
        log::warn!(
            "the SIGBUS guard was displaced {ENTRIES} times, and stays behind the handler that is there now"
        );
        return;
    };
    if is_ours(&before) {
        // Another thread was faster.
        return;
    }
    // SAFETY: this entry was never installed, so nobody reads it yet; one thread at a time comes here.
    unsafe { (*place.action.get()).write(before) };
    place.known.store(true, Ordering::SeqCst);
    INSTALLED.store(next + 1, Ordering::SeqCst);

    // SAFETY: all zeros is a valid `struct sigaction`: no flags, an empty mask.
    let mut ours: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    ours.sa_sigaction = *entry as usize;
    // On the alternate stack, where the thread has one: the fault may be at the end of the stack. Calls that a SIGBUS from elsewhere interrupts go on,
    // or not, as they did before.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | (before.sa_flags & libc::SA_RESTART);
    // SAFETY: the handler keeps to what a handler may do, and the structure lives across the call.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) } != 0 {
        log::warn!("no SIGBUS guard: {}", std::io::Error::last_os_error());
    }
}

fn current() -> libc::sigaction {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; the kernel writes one structure, which lives across the call.
    unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: written by the call; were it to fail, all zeros is the default action.
    unsafe { action.assume_init() }
}

fn is_ours(action: &libc::sigaction) -> bool {
    ENTRY.iter().any(|&entry| entry as usize == action.sa_sigaction)
}

/// See [`answer`](super::answer).
///
/// # Safety
///
/// As there.
pub(super) unsafe fn answer(address: usize, code: i32) -> bool {
    if !cover::is_fault_of_a_page(code) {
        return false;
    }
    // SAFETY: the kernel has no page there (contract), and `at` makes us a user of the slot.
    table::at(address, |slot, offset| unsafe { cover::answer(slot, offset, code) })
}

extern "C" fn entry<const NUMBER: usize>(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the address of this thread's errno, which the interrupted code may be about to look at.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let errno_before = unsafe { *errno };
    // SAFETY: the kernel hands a handler with SA_SIGINFO one `siginfo_t`.
    let code = unsafe { (*info).si_code };
    // SAFETY: as above; for a SIGBUS that is no fault the bytes mean something else, and are not looked at.
    let told = unsafe { &*info };
    // SAFETY: as above.
    let address = unsafe { told.si_addr() } as usize;
    // SAFETY: this is a SIGBUS handler, and that is what the kernel told it.
    let answered = unsafe { answer(address, code) };
    // SAFETY: as above.
    unsafe { *errno = errno_before };
    if !answered {
        ask_before(NUMBER, signal, info, context);
    }
}

/// Hands the signal to whoever was there before this entry.
fn ask_before(number: usize, signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.get(number).filter(|before| before.known.load(Ordering::SeqCst));
    let Some(before) = before else { return end(info) };
    // SAFETY: it was written before `known` was set, and is never written again.
    let action = unsafe { &*before.action.get() };
    // SAFETY: as above.
    let action = unsafe { action.assume_init_ref() };
    // SAFETY: the kernel hands a handler with SA_SIGINFO one `siginfo_t`.
    let is_fault = unsafe { (*info).si_code } > 0;
    match action.sa_sigaction {
        libc::SIG_DFL => end(info),
        // A fault cannot be ignored: the kernel ends the process (signal(7)).
        libc::SIG_IGN if is_fault => end(info),
        libc::SIG_IGN => {}
        handler => {
            if action.sa_flags & libc::SA_RESETHAND != 0 {
                // It wanted to be called once; the next one finds the default action.
                before.known.store(false, Ordering::SeqCst);
            }
            call(action, handler, signal, info, context);
        }
    }
}

/// As the kernel would call it: its mask, its flags.
fn call(
    action: &libc::sigaction,
    handler: usize,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let mut mask = action.sa_mask;
    if action.sa_flags & libc::SA_NODEFER == 0 {
        // SAFETY: changes one set of our own.
        unsafe { libc::sigaddset(&raw mut mask, signal) };
    }
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: reads one set, writes another; both live across the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, before.as_mut_ptr()) };
    if action.sa_flags & libc::SA_NODEFER != 0 {
        let mut this = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: makes a set of our own empty.
        unsafe { libc::sigemptyset(this.as_mut_ptr()) };
        // SAFETY: changes a set of our own.
        unsafe { libc::sigaddset(this.as_mut_ptr(), signal) };
        // SAFETY: reads one set, which lives across the call.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, this.as_ptr(), ptr::null_mut()) };
    }
    if action.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: sigaction(2) returned it as the address of a handler of this kind.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: as above, of the plain kind.
        let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler) };
        handler(signal);
    }
    // SAFETY: the set was written above; it is the one that this handler began with.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
}

/// Nobody wants the signal: the process ends as it would without any handler.
fn end(info: *mut libc::siginfo_t) {
    set_default();
    // SAFETY: the kernel hands a handler with SA_SIGINFO one `siginfo_t`.
    let code = unsafe { (*info).si_code };
    if !cover::is_fault(code) {
        // Somebody sent it: once more, for when this handler returns. A fault comes again by itself, with all that a core dump wants to know.
        // SAFETY: sends this thread a signal, and touches no memory.
        unsafe { libc::raise(libc::SIGBUS) };
    }
}

fn set_default() {
    // SAFETY: all zeros is the default action: no handler, no flags, an empty mask.
    let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the structure lives across the call.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const default, ptr::null_mut()) };
}
