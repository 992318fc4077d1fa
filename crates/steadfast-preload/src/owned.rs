//! The descriptors that this library and `steadfast` hold in the program's process: which they are, and when they may be closed.
//!
//! # Safety
//!
//! This file is trusted with descriptors by their numbers, all of which it was told of by who opened them, and with one function pointer
//! of `shim.c`, which is stored to once, atomically on both sides, and called with a number.
//!
//! `steadfast` tells each descriptor that it opens ([`steadfast::descriptors`]) and closes each with the C library's `close`, which in
//! this library's own objects is `__wrap_close`. So the table is exact in every thread, unless the program closes one of them by a system
//! call of its own.
//!
//! Closing any descriptor of a file gives back every record lock that the process has on it (fcntl(2)). The program knows nothing of
//! ours, so where it has locks on the file, ours is closed [later](settle): once the program has given them back by closing a
//! descriptor of its own.
//!
//! A child that was forked has copies of all of them, which it may close as it likes.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{FileType, Stat};

use crate::per_process::PerProcess;

/// The most that a process can have by default (`fs.nr_open`). What lies above is not guarded.
const DESCRIPTORS: usize = 1 << 20;
/// Most programs never get so far, and most limits do.
const NUMBER_MIN: c_int = 512;
const WORD_BITS: usize = u64::BITS as usize;

static TABLE: [AtomicU64; DESCRIPTORS / WORD_BITS] = [const { AtomicU64::new(0) }; DESCRIPTORS / WORD_BITS];
/// The process that they belong to; 0 while there are none.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Descriptors that are to be closed.
static LATE: PerProcess<Vec<c_int>> = PerProcess::new();
static LATE_COUNT: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    static steadfast_may_close: AtomicPtr<()>;
}

/// From here on they are known. `false` if somebody else watches `steadfast` already.
pub(crate) fn start() -> bool {
    // SAFETY: a pointer to a function of C, as large and aligned as this; both sides use it as an atomic.
    let place = unsafe { &steadfast_may_close };
    place.store(may_close as extern "C" fn(c_int) -> c_int as *mut (), Ordering::Release);
    steadfast::descriptors::watch(kept)
}

/// One more, to be known and to be far from the numbers that programs count on: what is written to a standard output that was closed must
/// not come to stand in a journal.
pub(crate) fn kept(fd: OwnedFd) -> OwnedFd {
    note(fd.as_raw_fd());
    if fd.as_raw_fd() >= NUMBER_MIN {
        return fd;
    }
    // Where the limit does not reach so far, at least those of the standard streams are left free.
    let moved = [NUMBER_MIN, libc::STDERR_FILENO + 1]
        .into_iter()
        .find_map(|least| rustix::io::fcntl_dupfd_cloexec(&fd, least).ok());
    match moved {
        Some(moved) => {
            note(moved.as_raw_fd());
            moved
        }
        None => fd,
    }
}

fn note(fd: c_int) {
    let me = pid();
    if PROCESS.swap(me, Ordering::AcqRel) != me {
        // The first of this process: a child has no use for its parent's.
        for word in &TABLE {
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        }
        LATE_COUNT.store(0, Ordering::Relaxed);
    }
    if let Some((word, bit)) = place(fd) {
        word.fetch_or(bit, Ordering::Release);
    }
}

/// Does the library hold any, in this process?
pub(crate) fn any() -> bool {
    let process = PROCESS.load(Ordering::Acquire);
    process != 0 && process == pid()
}

/// Is it one of the library's? To be asked where there are [any].
pub(crate) fn is_ours(fd: c_int) -> bool {
    place(fd).is_some_and(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
}

/// Those at or above `first`, in order.
pub(crate) fn from(first: u32) -> impl Iterator<Item = u32> {
    let start = (first as usize).min(DESCRIPTORS);
    let words = TABLE.iter().enumerate().skip(start / WORD_BITS);
    words
        .flat_map(|(index, word)| {
            let word = word.load(Ordering::Acquire);
            (0..WORD_BITS).filter(move |bit| word >> bit & 1 != 0).map(move |bit| index * WORD_BITS + bit)
        })
        .filter(move |&fd| fd >= start)
        .map(|fd| fd as u32)
}

/// Writes to one of ours.
pub(crate) fn write(fd: c_int, bytes: &[u8]) {
    // SAFETY: it stays open for as long as the process lives, since the program cannot close it.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = rustix::io::write(fd, bytes);
}

/// Does any wait to be closed?
pub(crate) fn has_late() -> bool {
    LATE_COUNT.load(Ordering::Acquire) != 0
}

/// The program has closed some of its own: whatever it has no record locks on any more may go now.
pub(crate) fn settle() {
    let mut late = LATE.lock();
    late.retain(|&fd| {
        if stat(fd).is_some_and(|stat| has_record_locks(&stat)) {
            return true;
        }
        forget(fd);
        // SAFETY: it was kept open by `may_close`, and whoever owned it has dropped it.
        unsafe { libc::syscall(libc::SYS_close, libc::c_long::from(fd)) };
        LATE_COUNT.fetch_sub(1, Ordering::AcqRel);
        false
    });
}

/// `shim.c` asks before it closes what this library drops.
extern "C" fn may_close(fd: c_int) -> c_int {
    if !any() || !is_ours(fd) {
        return 1;
    }
    let Some(stat) = stat(fd).filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    else {
        forget(fd);
        return 1;
    };
    if !has_record_locks(&stat) {
        forget(fd);
        return 1;
    }
    LATE.lock().push(fd);
    LATE_COUNT.fetch_add(1, Ordering::AcqRel);
    0
}

/// Has this process record locks on the file? proc_locks(5): `1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`.
fn has_record_locks(stat: &Stat) -> bool {
    let Ok(locks) = fs::read_to_string("/proc/locks") else { return false };
    let (me, inode) = (pid().to_string(), stat.st_ino.to_string());
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [_, "POSIX", _, _, pid, file, ..] if pid == me && file.rsplit(':').next() == Some(&inode))
    })
}

fn forget(fd: c_int) {
    if let Some((word, bit)) = place(fd) {
        word.fetch_and(!bit, Ordering::AcqRel);
    }
}

fn place(fd: c_int) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok()?;
    TABLE.get(fd / WORD_BITS).map(|word| (word, 1 << (fd % WORD_BITS)))
}

fn stat(fd: c_int) -> Option<Stat> {
    if fd < 0 {
        return None;
    }
    // SAFETY: not -1; where nothing is open under the number the kernel says so, and nothing else is done with it.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::fs::fstat(fd).ok()
}

/// Of this process: a child of vfork(2) shares the memory, so memory cannot tell it from its parent.
pub(crate) fn pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
