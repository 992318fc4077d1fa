//! Writes to plain files while they are under way: whoever makes an image of a file waits for those that go to it.
//!
//! # Safety
//!
//! This file is trusted with pages of anonymous memory that hold nothing but atomics: each is mapped once and never unmapped, zeros are a
//! valid value of all that lies there, and only shared references to it exist.
//!
//! A write looks whether its file has an image, finds none, and goes to the kernel. If the file gets an image in between, the bytes land
//! behind it, and its next commit takes them for another program's. So a write is published before it looks, and an image is listed
//! before its opener looks at what is published:
//!
//! | the write | the opener of an image |
//! |---|---|
//! | publishes its descriptor | lists the image (`atomic.rs`) |
//! | fence | fence |
//! | looks for an image: there is one, it takes its word back and goes there | waits for each write that is published and leads to the file |
//! | else the kernel's call, then it takes its word back | opens the file |
//!
//! One of the two sees the other. A write that comes to stand in a slot once the opener has looked at that slot has seen the image, so each slot
//! is waited for once, and nobody starves. Nothing is held up by writes to other files, pipes and sockets, nor by the opener's own write,
//! which it interrupted in a signal handler.
//!
//! Publishing takes no lock, allocates nothing, and may be done in a signal handler. A child of fork(2) finds zeros: the writes of its
//! parent's threads are none of its own (`MADV_WIPEONFORK`, as in `sys/fork.rs`).
//!
//! Reads need none of this: opening an image changes no byte of the plain file, so a read that is under way meanwhile brings what was there
//! before any store to the image, as if it had been made then.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
use std::{ptr, slice};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use rustix::thread::futex;

use super::atomic::Identity;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::page_size;

/// A write is under way.
const WRITING: u32 = 1;
/// Its descriptor was closed meanwhile; `device` and `inode` say where it led.
const CLOSED: u32 = 1 << 1;
/// Somebody sleeps until it is done.
const AWAITED: u32 = 1 << 2;
/// The bits above count the writes of a slot.
const NEXT: u32 = 1 << 3;

/// A place to publish one write at a time.
#[repr(align(64))]
#[derive(Debug)]
struct Slot {
    /// The thread, by an address of its own; 0 while the slot is free.
    owner: AtomicUsize,
    fd: AtomicI32,
    /// Which write it is, and the flags above.
    turn: AtomicU32,
    device: AtomicU64,
    inode: AtomicU64,
}

/// A page of slots. The first one's place is taken by this.
#[repr(align(64))]
struct Head {
    next: AtomicPtr<Head>,
    /// One closer at a time.
    closing: AtomicBool,
}

static FIRST: AtomicPtr<Head> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    // `const`, and nothing to drop: no allocation. Its address is the thread's name.
    static LAST: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    /// Writes of this thread that are published.
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

/// The calling thread, and the slot that it had last.
fn thread() -> (usize, Option<&'static Slot>) {
    LAST.with(|last| (ptr::from_ref(last) as usize, last.get()))
}

fn chunk(place: &AtomicPtr<Head>) -> Option<&'static Head> {
    // SAFETY: null, or mapped for ever by `grow`.
    unsafe { place.load(Ordering::Acquire).as_ref() }
}

fn chunks() -> impl Iterator<Item = &'static Head> {
    std::iter::successors(chunk(&FIRST), |head| chunk(&head.next))
}

fn slots(head: &'static Head) -> &'static [Slot] {
    let count = page_size() / size_of::<Slot>() - 1;
    let first = ptr::from_ref(head).wrapping_add(1).cast::<Slot>();
    // SAFETY: the rest of the head's page, which is as `grow` says; a head is as large as a slot.
    unsafe { slice::from_raw_parts(first, count) }
}

const _: () = assert!(size_of::<Head>() == size_of::<Slot>());

/// One more page, behind the last one. `false` where it cannot be had.
fn grow() -> bool {
    let len = page_size();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let Ok(page) = (unsafe { mm::mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE) }) else {
        return false;
    };
    // SAFETY: mapped just now, ours alone, and zero: wiping it in a child keeps it zero.
    let wiped = unsafe { mm::madvise(page, len, Advice::LinuxWipeOnFork) };
    if wiped.is_err() {
        // SAFETY: as above.
        let _ = unsafe { mm::munmap(page, len) };
        return false;
    }
    let mut place = &FIRST;
    loop {
        match place.compare_exchange(ptr::null_mut(), page.cast(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return true,
            Err(_) => match chunk(place) {
                Some(head) => place = &head.next,
                None => continue,
            },
        }
    }
}

/// A write to a plain file: from [`plain_write`](super::file::plain_write) on until it is dropped. Then it must have returned.
#[derive(Debug)]
#[must_use = "the write is under way for as long as this is there"]
pub struct PlainWrite<'fd> {
    /// `None`: it leads to no regular file.
    slot: Option<&'static Slot>,
    /// It ends in the thread in which it began.
    marker: PhantomData<(BorrowedFd<'fd>, *const ())>,
}

impl<'fd> PlainWrite<'fd> {
    /// Publishes it. Who does so looks for an image next.
    pub(super) fn publish(fd: BorrowedFd<'fd>) -> Result<PlainWrite<'fd>> {
        let slot = claim();
        if let Some(slot) = slot {
            slot.fd.store(fd.as_raw_fd(), Ordering::Relaxed);
            let turn = slot.turn.load(Ordering::Relaxed);
            slot.turn.store((turn / NEXT).wrapping_add(1).wrapping_mul(NEXT) | WRITING, Ordering::Release);
            // Before the look, as the opener's stands between its list and its look.
            fence(Ordering::SeqCst);
        } else if rustix::fs::fstat(fd)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file())
        {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "write",
                "no page of memory is left to note in that a write is under way, so that no mapping is made over it",
            )
            .source_io(std::io::Error::from_raw_os_error(libc::ENOMEM))
            .advice("let the process have more memory, or more mappings (vm.max_map_count)"));
        }
        COUNT.set(COUNT.get().wrapping_add(1));
        Ok(PlainWrite { slot, marker: PhantomData })
    }
}

impl Drop for PlainWrite<'_> {
    fn drop(&mut self) {
        COUNT.set(COUNT.get().wrapping_sub(1));
        let Some(slot) = self.slot else { return };
        // A child that was forked by a signal handler in the midst of the write finds the slot wiped, and perhaps another's.
        if slot.owner.load(Ordering::Relaxed) != thread().0 {
            return;
        }
        let turn = slot.turn.fetch_and(!(NEXT - 1), Ordering::AcqRel);
        if turn & AWAITED != 0 {
            let _ = futex::wake(&slot.turn, futex::Flags::PRIVATE, i32::MAX as u32);
        }
        slot.owner.store(0, Ordering::Release);
    }
}

/// Has the calling thread a write under way? Then it is in a signal handler that interrupted it.
pub(super) fn is_under_way_here() -> bool {
    COUNT.get() != 0
}

/// A free slot, this thread's from here on. A signal handler in the midst of this takes another one.
fn claim() -> Option<&'static Slot> {
    let (me, last) = thread();
    let take = |slot: &&'static Slot| {
        slot.owner.load(Ordering::Relaxed) == 0
            && slot.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    if let Some(slot) = last.filter(take) {
        return Some(slot);
    }
    loop {
        if let Some(slot) = chunks().flat_map(slots).find(take) {
            LAST.set(Some(slot));
            return Some(slot);
        }
        if !grow() {
            return None;
        }
    }
}

/// Waits until every write is done that leads to the file and may not have seen its image, which is listed.
pub(super) fn wait_for_writes_to(file: Identity) {
    fence(Ordering::SeqCst);
    chunks().flat_map(slots).for_each(|slot| slot.wait(file));
}

/// These descriptors are about to be closed: what is being written through them is known by its file from here on, since the next file may
/// get the same number.
pub(super) fn closing(descriptors: &RangeInclusive<RawFd>) {
    for head in chunks() {
        let is_meant = |slot: &&Slot| {
            slot.turn.load(Ordering::Acquire) & (WRITING | CLOSED) == WRITING
                && descriptors.contains(&slot.fd.load(Ordering::Relaxed))
        };
        if !slots(head).iter().any(|slot| is_meant(&slot)) {
            continue;
        }
        while head.closing.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        slots(head).iter().filter(is_meant).for_each(Slot::note_file);
        head.closing.store(false, Ordering::Release);
    }
}

fn identity(fd: RawFd) -> Option<Identity> {
    if fd < 0 {
        return None;
    }
    // SAFETY: not -1; it is only asked about, and where nothing is open under it the kernel says so.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::fs::fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

impl Slot {
    /// While no other closer does so.
    fn note_file(&self) {
        let mut turn = self.turn.load(Ordering::Acquire);
        let Some((device, inode)) = identity(self.fd.load(Ordering::Relaxed)) else { return };
        self.device.store(device, Ordering::Relaxed);
        self.inode.store(inode, Ordering::Relaxed);
        // Unless the write is done meanwhile.
        let write = turn / NEXT;
        while turn & WRITING != 0 && turn / NEXT == write {
            match self.turn.compare_exchange(turn, turn | CLOSED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => turn = now,
            }
        }
    }

    fn wait(&self, file: Identity) {
        let turn = self.turn.load(Ordering::Acquire);
        let is_same = |now: u32| now & WRITING != 0 && now / NEXT == turn / NEXT;
        if !is_same(turn) || self.owner.load(Ordering::Relaxed) == thread().0 {
            return;
        }
        // Where it leads, by a note that holds or by a descriptor that was not closed while it was asked about.
        let mut now = turn;
        let leads_to = loop {
            let found = if now & CLOSED != 0 {
                Some((self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed)))
            } else {
                identity(self.fd.load(Ordering::Relaxed))
            };
            fence(Ordering::Acquire);
            let then = std::mem::replace(&mut now, self.turn.load(Ordering::Acquire));
            if !is_same(now) {
                return;
            }
            if then & CLOSED == now & CLOSED {
                break found;
            }
        };
        if leads_to != Some(file) {
            return;
        }
        while is_same(now) {
            let awaited = now | AWAITED;
            match self.turn.compare_exchange(now, awaited, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // Woken, interrupted, or changed before: the next round looks.
                    let _ = futex::wait(&self.turn, futex::Flags::PRIVATE, awaited, None);
                    now = self.turn.load(Ordering::Acquire);
                }
                Err(other) => now = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn slots_are_taken_again_and_there_are_always_more() {
        let file = tempfile::tempfile().unwrap();
        let first = PlainWrite::publish(file.as_fd()).unwrap();
        let slot = first.slot.unwrap();
        drop(first);
        assert!(ptr::eq(PlainWrite::publish(file.as_fd()).unwrap().slot.unwrap(), slot));
        let many: Vec<_> = (0..500).map(|_| PlainWrite::publish(file.as_fd()).unwrap()).collect();
        let mut addresses: Vec<_> =
            many.iter().map(|one| ptr::from_ref(one.slot.unwrap()) as usize).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 500);
    }

    #[test]
    fn a_write_is_known_by_its_file_once_its_descriptor_is_closed() {
        let file = tempfile::tempfile().unwrap();
        let fd = file.as_raw_fd();
        let write = PlainWrite::publish(file.as_fd()).unwrap();
        let slot = write.slot.unwrap();
        closing(&(fd + 1..=RawFd::MAX));
        assert_eq!(slot.turn.load(Ordering::Relaxed) & CLOSED, 0);
        closing(&(fd..=fd));
        assert_eq!(slot.turn.load(Ordering::Relaxed) & CLOSED, CLOSED);
        let noted = (slot.device.load(Ordering::Relaxed), slot.inode.load(Ordering::Relaxed));
        assert_eq!(Some(noted), identity(fd));
        drop(write);
        let next = PlainWrite::publish(file.as_fd()).unwrap();
        assert_eq!(next.slot.unwrap().turn.load(Ordering::Relaxed) & CLOSED, 0);
    }
}
