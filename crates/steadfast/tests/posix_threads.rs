//! The calls by address from many threads, while others map and unmap.
//!
//! # Safety
//!
//! Each thread stores only into pages that it alone knows, of files in a folder of the test's own.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use libc::{MAP_SHARED, MS_ASYNC, MS_SYNC, PROT_READ, PROT_WRITE};
use steadfast::posix::{self, Rules};
use steadfast::{AtomicMapping, AtomicOptions};

const THREADS: usize = 8;
const READ_WRITE: i32 = PROT_READ | PROT_WRITE;

fn page() -> usize {
    rustix::param::page_size()
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn file(folder: &Path, name: &str, pages: usize) -> File {
    let path = folder.join(name);
    std::fs::write(&path, vec![0; pages * page()]).unwrap();
    OpenOptions::new().read(true).write(true).open(&path).unwrap()
}

fn options() -> AtomicOptions {
    AtomicMapping::options().publish(true).guard(false)
}

fn map(file: &File, pages: usize, is_atomic: bool) -> *mut c_void {
    if is_atomic {
        return map_atomic(file, pages, &options());
    }
    // SAFETY: anywhere.
    unsafe { posix::mmap(ptr::null_mut(), pages * page(), READ_WRITE, MAP_SHARED, file.as_raw_fd(), 0) }
        .unwrap()
}

fn map_atomic(file: &File, pages: usize, options: &AtomicOptions) -> *mut c_void {
    let (len, fd) = (pages * page(), file.as_raw_fd());
    // SAFETY: anywhere; nobody else writes the file.
    unsafe { posix::mmap_atomic(ptr::null_mut(), len, READ_WRITE, MAP_SHARED, fd, 0, options) }.unwrap()
}

fn word(at: *mut c_void, page_number: usize) -> &'static AtomicU64 {
    let word = at.cast::<u8>().wrapping_add(page_number * page()).cast();
    // SAFETY: aligned, mapped for as long as the tests use it, and only ever used as this atomic.
    unsafe { AtomicU64::from_ptr(word) }
}

/// What the plain file holds.
fn stands(file: &File, page_number: usize) -> u64 {
    let mut bytes = [0; 8];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, (page_number * page()) as u64).unwrap();
    u64::from_ne_bytes(bytes)
}

#[test]
fn no_sync_is_lost_while_others_map_and_unmap() {
    let folder = folder();
    let rounds = if cfg!(debug_assertions) { 150 } else { 600 };
    let shared = [file(folder.path(), "atomic", THREADS), file(folder.path(), "kernel", THREADS)];
    let maps = [map(&shared[0], THREADS, true) as usize, map(&shared[1], THREADS, false) as usize];
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (shared, folder) = (&shared, folder.path());
                scope.spawn(move || {
                    for round in 1..=rounds {
                        for (kind, &at) in maps.iter().enumerate() {
                            let at = at as *mut c_void;
                            word(at, number).store(round, Ordering::Relaxed);
                            let mine = at.cast::<u8>().wrapping_add(number * page()).cast();
                            if round % 3 == 0 {
                                posix::msync(mine, page(), MS_ASYNC, Rules::Posix).unwrap();
                            }
                            posix::msync(mine, page(), MS_SYNC, Rules::Posix).unwrap();
                            assert_eq!(stands(&shared[kind], number), round, "thread {number}, kind {kind}");
                        }
                        if round % 10 == 0 {
                            // A file of its own comes and goes.
                            let own = file(folder, &format!("own-{number}"), 3);
                            let at = map(&own, 3, round % 20 == 0);
                            word(at, 1).store(round, Ordering::Relaxed);
                            posix::file::write_at(own.as_fd(), b"x", 2 * page() as u64);
                            // SAFETY: nobody uses it any more.
                            unsafe { posix::munmap(at.cast::<u8>().wrapping_add(2 * page()).cast(), page()) }
                                .unwrap();
                            // SAFETY: nobody uses it any more.
                            unsafe { posix::munmap(at, 2 * page()) }.unwrap();
                            assert_eq!(stands(&own, 1), round);
                        }
                    }
                })
            })
            .collect();
        // Over everything, all the time.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for &at in &maps {
                    posix::msync(at as *mut c_void, THREADS * page(), MS_SYNC, Rules::Posix).unwrap();
                }
                posix::commit_all().unwrap();
            }
        });
        let ended: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|worker| worker.unwrap());
    });
    for at in maps {
        // SAFETY: nobody uses it any more.
        unsafe { posix::munmap(at as *mut c_void, THREADS * page()) }.unwrap();
    }
    for (file, kind) in shared.iter().zip(["atomic", "kernel"]) {
        assert!((0..THREADS).all(|number| stands(file, number) == rounds), "{kind}");
    }
}

/// A second mapping of the same bytes comes while others store: both are the kernel's then, and nothing is lost on the way.
#[test]
fn no_store_is_lost_while_a_file_is_given_back_to_the_kernel() {
    for _ in 0..if cfg!(debug_assertions) { 20 } else { 100 } {
        let folder = folder();
        let file = file(folder.path(), "data", THREADS);
        let at = map(&file, THREADS, true) as usize;
        let done = AtomicBool::new(false);
        let last: Vec<u64> = thread::scope(|scope| {
            let storing: Vec<_> = (0..THREADS - 1)
                .map(|number| {
                    let done = &done;
                    scope.spawn(move || {
                        let mut count = 0;
                        while !done.load(Ordering::Relaxed) {
                            count += 1;
                            let before = word(at as *mut c_void, number).swap(count, Ordering::Relaxed);
                            assert_eq!(before + 1, count, "a store was lost");
                        }
                        count
                    })
                })
                .collect();
            while (0..THREADS - 1).any(|number| word(at as *mut c_void, number).load(Ordering::Relaxed) == 0)
            {
                thread::yield_now();
            }
            let again = std::panic::catch_unwind(|| map(&file, THREADS, false));
            done.store(true, Ordering::Relaxed);
            let again = again.unwrap();
            assert_eq!(word(again, THREADS - 1).load(Ordering::Relaxed), 0);
            let last = storing.into_iter().map(|thread| thread.join().unwrap()).collect();
            // SAFETY: nobody uses it any more.
            unsafe { posix::munmap(again, THREADS * page()) }.unwrap();
            last
        });
        posix::msync(at as *mut c_void, THREADS * page(), MS_SYNC, Rules::Posix).unwrap();
        // SAFETY: nobody uses it any more.
        unsafe { posix::munmap(at as *mut c_void, THREADS * page()) }.unwrap();
        assert_eq!((0..THREADS - 1).map(|number| stands(&file, number)).collect::<Vec<_>>(), last);
    }
}

/// How often this process has the file open.
fn descriptors(path: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|name| name == path)).count()
}

/// Does a thread of this process sleep?
fn sleeps(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

/// Not behind it: the next commit would find a stranger's hand on the file.
#[test]
fn who_writes_to_a_file_while_it_is_opened_waits_and_writes_into_the_image() {
    let folder = folder();
    let file = file(folder.path(), "data", 1);
    let path = folder.path().join("data");
    // SAFETY: nobody else writes the file.
    let holder = unsafe { AtomicMapping::options().view(&path) }.unwrap();
    let before = descriptors(&path);
    let writer = AtomicI32::new(0);
    let at = thread::scope(|scope| {
        let opening =
            scope.spawn(|| map_atomic(&file, 1, &options().lock_timeout(Duration::from_secs(600))) as usize);
        // It is in the middle of it, and waits for the lock.
        while descriptors(&path) == before {
            assert!(!opening.is_finished());
            thread::yield_now();
        }
        let writing = scope.spawn(|| {
            writer.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::SeqCst);
            posix::file::write_at(file.as_fd(), &77_u64.to_ne_bytes(), 0).map(Result::unwrap)
        });
        while !writing.is_finished() && !sleeps(writer.load(Ordering::SeqCst)) {
            thread::yield_now();
        }
        holder.close().unwrap();
        let at = opening.join().unwrap() as *mut c_void;
        assert_eq!(writing.join().unwrap(), Some(8), "it was the image's, and not the kernel's");
        at as usize
    }) as *mut c_void;
    assert_eq!(word(at, 0).load(Ordering::Relaxed), 77);
    posix::msync(at, page(), MS_SYNC, Rules::Posix).unwrap();
    // SAFETY: nobody uses it any more.
    unsafe { posix::munmap(at, page()) }.unwrap();
    assert_eq!(stands(&file, 0), 77);
}
