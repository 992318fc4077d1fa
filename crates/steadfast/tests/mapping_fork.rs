//! What a forked child can do with its parent's mapping.
//!
//! # Safety
//!
//! This file is trusted with `fork` and `_exit`. The child runs with the one thread that forked; it may find any lock of
//! the parent taken, which is what is tested, and leaves without running the parent's destructors.
#![allow(unsafe_code)]

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use steadfast::{ErrorKind, Mapping};

fn page() -> usize {
    rustix::param::page_size()
}

/// Each test alone: a child of one would hold copies of the other's descriptors, and with them its lock.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `role` in a forked child; `true` if it returned `true` before the deadline.
fn in_a_child(role: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child calls what is tested and then `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(role)).unwrap_or(false);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!passed)) };
    }
    let started = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: `status` lives across the call.
        let done = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        if done == pid {
            return status == 0;
        }
        if started.elapsed() > Duration::from_secs(20) {
            // SAFETY: the child is ours and not yet waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            return false;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_forked_child_shares_the_pages_and_never_hangs() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("data.bin");
    let mut map = Mapping::options().write(true).create(true).len(16 << 20).open(&path).unwrap();
    map.write_at(0, &vec![7; 16 << 20]).unwrap();
    // The thread of the mapping is at work, locks and all, while the child is made.
    let ticket = map.start_sync(..).unwrap();
    let passed = in_a_child(|| {
        let forked =
            |result: steadfast::Result<()>| result.is_err_and(|error| error.kind() == ErrorKind::Forked);
        let mut bytes = [0; 4];
        let works = map.read_at(0, &mut bytes).is_ok()
            && bytes == [7; 4]
            && map.write_at(page(), b"from the child").is_ok()
            && map.protect(2 * page()..3 * page(), steadfast::Protection::READ).is_ok();
        let refused = forked(map.sync(..))
            && forked(map.start_sync(..).map(drop))
            && forked(map.redirty(..))
            && forked(map.invalidate(..))
            && forked(map.resize(5))
            && forked(ticket.wait())
            && ticket.is_done();
        let again = Mapping::options().write(true).open(&path).is_ok_and(|map| {
            map.sync(..).is_ok() && map.start_sync(..).is_ok_and(|ticket| ticket.wait().is_ok())
        });
        // The parent's mapping is dropped here, too.
        let inherited = std::mem::replace(&mut map, Mapping::options().anonymous().unwrap());
        drop(inherited);
        works && refused && again
    });
    assert!(passed);
    let mut bytes = [0; 14];
    map.read_at(page(), &mut bytes).unwrap();
    assert_eq!(&bytes, b"from the child");
    map.write_at(2 * page(), b"not protected here").unwrap();
    ticket.wait().unwrap();
    map.sync(..).unwrap();
    // The child's end has not unlocked the file.
    use steadfast::disk::{Access, Disk, Lock, RealDisk};
    let file = RealDisk.open(&path, Access::ReadWrite).unwrap();
    assert!(!file.try_lock(Lock::Exclusive).unwrap());
    map.close().unwrap();
    assert!(file.try_lock(Lock::Exclusive).unwrap());
}

#[test]
fn a_child_that_finds_the_note_of_atomics_taken_does_not_hang() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    let map = Mapping::options().len(page()).anonymous().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                map.atomic::<AtomicU32>(0).unwrap();
            }
        });
        let passed = (0..40).all(|_| {
            in_a_child(|| match map.atomic::<AtomicU32>(0) {
                Ok(value) => value.load(Ordering::Relaxed) == 0,
                Err(error) => error.kind() == ErrorKind::Forked,
            })
        });
        stop.store(true, Ordering::Relaxed);
        assert!(passed);
    });
}

#[test]
fn a_child_that_was_given_no_pages_touches_nothing_at_their_addresses() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    use steadfast::{Advice, Protection, UncheckedAdvice};
    let len = 4 * page();
    let file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut map = Mapping::options().write(true).grow(true).len(len).open_fd(&file).unwrap();
    map.write_at(0, &vec![7; len]).unwrap();
    // One page is enough, and no later advice makes it undone.
    map.advise(..1, Advice::DontFork).unwrap();
    let passed = in_a_child(|| {
        // What an allocator of the child might do with the addresses, which are free.
        let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: a new mapping where there is none.
        let own = unsafe { libc::mmap(map.as_ptr().cast(), page(), write, flags, -1, 0) };
        // SAFETY: the page was mapped just now, and nobody else knows it.
        unsafe { own.cast::<u8>().write(9) };
        let forked =
            |result: steadfast::Result<()>| result.is_err_and(|error| error.kind() == ErrorKind::Forked);
        // SAFETY: nothing refers to the pages.
        let dropped = unsafe { map.advise_unchecked(.., UncheckedAdvice::DontNeed) };
        let refused = forked(map.write_at(0, b"over it"))
            && forked(map.read_at(0, &mut [0]))
            && forked(map.atomic::<std::sync::atomic::AtomicU8>(0).map(drop))
            && forked(map.advise(.., Advice::DontNeed))
            && forked(map.advise(.., Advice::DoFork))
            && forked(dropped)
            && forked(map.protect(.., Protection::READ))
            && forked(map.lock(..))
            && forked(map.unlock(..));
        // SAFETY: as above; it is still mapped.
        let kept = unsafe { own.cast::<u8>().read() } == 9;
        // SAFETY: as above, and still for stores.
        unsafe { own.cast::<u8>().write(10) };
        // SAFETY: of its own page.
        let readable = unsafe { libc::mprotect(own, page(), read) } == 0;
        own == map.as_ptr().cast() && refused && kept && readable
    });
    assert!(passed);
    // Here nothing is different.
    let mut byte = [0];
    map.read_at(0, &mut byte).unwrap();
    assert_eq!(byte, [7]);
    map.advise(.., Advice::DoFork).unwrap();
    // A child cannot keep pages from its own children: they would not be told.
    map = Mapping::options().len(len).anonymous().unwrap();
    assert!(in_a_child(|| {
        let refused = map.advise(.., Advice::DontFork).unwrap_err().kind() == ErrorKind::Forked;
        refused && map.write_at(0, b"x").is_ok()
    }));
}
