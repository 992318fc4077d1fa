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
        unmap(at as *mut c_void, THREADS);
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
            unmap(again, THREADS);
            last
        });
        posix::msync(at as *mut c_void, THREADS * page(), MS_SYNC, Rules::Posix).unwrap();
        unmap(at as *mut c_void, THREADS);
        assert_eq!((0..THREADS - 1).map(|number| stands(&file, number)).collect::<Vec<_>>(), last);
    }
}

/// Until the thread that maps the file sleeps on a futex, twice in a row, or has `done` so. Before the image is listed it may wait for
/// others that map something.
fn until_it_waits(thread: &AtomicU64, file: &File, done: &AtomicBool) {
    let mut seen = 0;
    while !posix::file::is_atomic(file.as_fd()) {
        thread::yield_now();
    }
    while seen < 2 && !done.load(Ordering::SeqCst) {
        let call = format!("/proc/self/task/{}/syscall", thread.load(Ordering::SeqCst));
        let call = std::fs::read_to_string(call).unwrap_or_default();
        let sleeps = call.split(' ').next() == Some(&libc::SYS_futex.to_string());
        seen = if sleeps { seen + 1 } else { 0 };
        thread::yield_now();
    }
}

fn name_of_this_thread() -> u64 {
    rustix::thread::gettid().as_raw_nonzero().get() as u64
}

fn unmap(at: *mut c_void, pages: usize) {
    // SAFETY: nobody uses it any more.
    unsafe { posix::munmap(at, pages * page()) }.unwrap();
}

#[test]
fn a_mapping_waits_for_the_plain_writes_that_looked_before_it() {
    let folder = folder();
    let file = file(folder.path(), "data", 2);
    let (mapper, is_mapped) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let write = posix::file::plain_write(file.as_fd()).unwrap().expect("nothing maps it");
        let maps = scope.spawn(|| {
            mapper.store(name_of_this_thread(), Ordering::SeqCst);
            let at = map(&file, 2, true);
            is_mapped.store(true, Ordering::SeqCst);
            at as usize
        });
        until_it_waits(&mapper, &file, &is_mapped);
        assert!(!is_mapped.load(Ordering::SeqCst), "it was mapped under a write");
        assert!(posix::file::plain_write(file.as_fd()).unwrap().is_none(), "who looks now goes to the image");
        std::os::unix::fs::FileExt::write_all_at(&file, &7_u64.to_ne_bytes(), page() as u64).unwrap();
        drop(write);
        let at = maps.join().unwrap() as *mut c_void;
        assert_eq!(word(at, 1).load(Ordering::Relaxed), 7, "what it wrote is in the image");
        word(at, 0).store(8, Ordering::Relaxed);
        posix::msync(at, 2 * page(), MS_SYNC, Rules::Posix).unwrap();
        unmap(at, 2);
    });
    assert_eq!((stands(&file, 0), stands(&file, 1)), (8, 7));
}

#[test]
fn a_mapping_waits_for_no_write_to_anything_else_and_for_none_of_its_own_thread() {
    let folder = folder();
    let (one, other) = (file(folder.path(), "one", 1), file(folder.path(), "other", 1));
    let (_reads, writes) = std::io::pipe().unwrap();
    let (begun, end) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let _writes =
                [other.as_fd(), writes.as_fd()].map(|fd| posix::file::plain_write(fd).unwrap().unwrap());
            begun.wait();
            end.wait();
        });
        begun.wait();
        // As where a signal handler maps what the thread was writing to.
        let own = posix::file::plain_write(one.as_fd()).unwrap().unwrap();
        let at = map(&one, 1, true);
        drop(own);
        unmap(at, 1);
        end.wait();
    });
}

/// Some go to the plain file and some to the image, as it comes.
#[test]
fn no_record_is_lost_that_is_written_while_the_file_is_mapped_again_and_again() {
    const RECORDS: u64 = 500;
    const WRITERS: u64 = 3;
    let rounds = if cfg!(debug_assertions) { 50 } else { 200 };
    let folder = folder();
    let pages = (8 * RECORDS * WRITERS) as usize / page() + 2;
    let file = file(folder.path(), "data", pages);
    let write = |value: u64, record: u64| loop {
        let (bytes, at) = (value.to_ne_bytes(), 8 * record);
        if let Some(_under_way) = posix::file::plain_write(file.as_fd()).unwrap() {
            return std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at).unwrap();
        }
        if let Some(written) = posix::file::write_at(file.as_fd(), &bytes, at) {
            assert_eq!(written.unwrap(), 8);
            return;
        }
    };
    let done = AtomicBool::new(false);
    // What it wrote last to every record of its own.
    let work = |number: u64| {
        let mut pass = 0;
        while !done.load(Ordering::Relaxed) {
            pass += 1;
            (0..RECORDS).for_each(|record| write(pass, number * RECORDS + record));
        }
        pass
    };
    let last: Vec<u64> = thread::scope(|scope| {
        let work = &work;
        let writers: Vec<_> = (0..WRITERS).map(|number| scope.spawn(move || work(number))).collect();
        let mapped = std::panic::catch_unwind(|| {
            for _ in 0..rounds {
                let at = map(&file, pages, true);
                word(at, pages - 1).fetch_add(1, Ordering::Relaxed);
                posix::msync(at, pages * page(), MS_SYNC, Rules::Posix).unwrap();
                unmap(at, pages);
            }
        });
        done.store(true, Ordering::Relaxed);
        mapped.unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for (number, last) in last.into_iter().enumerate() {
        for record in 0..RECORDS {
            let mut found = [0; 8];
            let at = 8 * (number as u64 * RECORDS + record);
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, at).unwrap();
            assert_eq!(u64::from_ne_bytes(found), last, "writer {number}, record {record}");
        }
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
