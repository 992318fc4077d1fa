//! Files that lose their name while they are mapped atomically: removed, renamed, or with another file in their place. The kernel's mmap
//! goes on then, and so must this one, without a harm to whoever has the name next.
//!
//! # Safety
//!
//! The mappings are the tests' own, of files in folders of their own.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::{self, File};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use libc::{MAP_SHARED, MS_ASYNC, MS_SYNC, PROT_NONE, PROT_READ, PROT_WRITE};
use steadfast::posix::file::NameChange;
use steadfast::posix::{self, Rules, file};
use steadfast::{AtomicMapping, AtomicOptions, ErrorKind, Resolution};

const PAGES: usize = 8;
const READ_WRITE: i32 = PROT_READ | PROT_WRITE;

fn page() -> usize {
    rustix::param::page_size()
}

fn options() -> AtomicOptions {
    AtomicMapping::options().publish(true).guard(false)
}

/// What is asked of all files of the process, or limits it, is asked while no other test is at work.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file of eight pages of sevens, of which the first four are mapped, or all.
struct Stage {
    _alone: MutexGuard<'static, ()>,
    folder: tempfile::TempDir,
    path: PathBuf,
    file: File,
}

impl Stage {
    fn new() -> Stage {
        let alone = alone();
        let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("data.bin");
        fs::write(&path, vec![7; PAGES * page()]).unwrap();
        let file = open(&path);
        Stage { _alone: alone, folder, path, file }
    }

    fn map(&self, pages: Range<usize>) -> Memory {
        map(&self.file, pages).unwrap()
    }

    fn other(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What stands in the folder.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A byte of the file that the descriptor leads to, as the kernel has it.
    fn byte(&self, at: usize) -> u8 {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, at as u64).unwrap();
        byte[0]
    }

    fn is_atomic(&self) -> bool {
        file::is_atomic(self.file.as_fd())
    }
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

fn map(file: &File, pages: Range<usize>) -> Result<Memory, steadfast::Error> {
    let (len, fd, offset) = (pages.len() * page(), file.as_raw_fd(), (pages.start * page()) as i64);
    // SAFETY: anywhere; nobody else writes the file.
    let at =
        unsafe { posix::mmap_atomic(ptr::null_mut(), len, READ_WRITE, MAP_SHARED, fd, offset, &options()) }?;
    Ok(Memory { at: at.cast(), len })
}

fn mark_of(path: &Path) -> Option<usize> {
    rustix::fs::getxattr(path, "user.steadfast", &mut [0_u8; 256]).ok()
}

/// What a program has of it.
#[derive(Debug, Clone, Copy)]
struct Memory {
    at: *mut u8,
    len: usize,
}

impl Memory {
    fn put(self, at: usize, byte: u8) {
        // SAFETY: mapped, as the tests see to.
        unsafe { self.at.wrapping_add(at).write_volatile(byte) };
    }

    fn get(self, at: usize) -> u8 {
        // SAFETY: mapped, as the tests see to.
        unsafe { self.at.wrapping_add(at).read_volatile() }
    }

    fn word(self, at: usize) -> &'static AtomicU64 {
        // SAFETY: mapped until the end of the test, and whole words at a time.
        unsafe { &*self.at.wrapping_add(at).cast::<AtomicU64>() }
    }

    fn address(self, at: usize) -> *mut c_void {
        self.at.wrapping_add(at).cast()
    }

    fn msync(self, flags: i32) -> steadfast::Result<()> {
        posix::msync(self.address(0), self.len, flags, Rules::Linux)
    }

    fn munmap(self) -> steadfast::Result<()> {
        // SAFETY: nobody uses it any more.
        unsafe { posix::munmap(self.address(0), self.len) }
    }

    /// The largest number of a page that is the kernel's own shared mapping of the file: all, or none.
    fn is_kernels(self, of: &File) -> bool {
        let inode = of.metadata().unwrap().ino().to_string();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (start, end) = words[0].split_once('-').unwrap();
            let at = |word| usize::from_str_radix(word, 16).unwrap();
            (at(start)..at(end)).contains(&(self.at as usize)) && words[1].ends_with('s') && words[4] == inode
        })
    }
}

type Lose = fn(&Stage);

/// Each way in which a file has no name any more.
const GONE: [Lose; 2] = [
    |stage| fs::remove_file(&stage.path).unwrap(),
    |stage| {
        fs::write(stage.other("new"), b"another").unwrap();
        fs::rename(stage.other("new"), &stage.path).unwrap();
    },
];

#[test]
fn a_file_without_a_name_goes_back_to_the_kernel_with_all_that_was_stored() {
    for lose in GONE {
        let stage = Stage::new();
        let (map, far) = (stage.map(0..4), stage.map(6..8));
        map.put(0, 1);
        map.msync(MS_SYNC).unwrap();
        map.put(1, 2);
        far.put(0, 3);
        lose(&stage);
        let left = fs::read(&stage.path).ok();
        map.msync(MS_SYNC).unwrap();
        assert!(!stage.is_atomic());
        assert!(map.is_kernels(&stage.file) && far.is_kernels(&stage.file));
        assert_eq!((map.get(0), map.get(1), far.get(0), map.get(2)), (1, 2, 3, 7));
        assert_eq!((stage.byte(0), stage.byte(1), stage.byte(6 * page())), (1, 2, 3));
        map.put(2, 4);
        assert_eq!(stage.byte(2), 4, "stores show at once, as the kernel's do");
        map.msync(MS_SYNC).unwrap();
        map.msync(MS_ASYNC).unwrap();
        assert_eq!(fs::read(&stage.path).ok(), left, "what has the name now is not touched");
        assert!(stage.names().iter().all(|name| name == "data.bin"), "{:?}", stage.names());
        map.munmap().unwrap();
        far.put(0, 5);
        far.munmap().unwrap();
        assert_eq!((stage.byte(2), stage.byte(6 * page())), (4, 5));
    }
}

/// Each of these is the first call behind the loss.
#[test]
fn whatever_call_comes_next_finds_that_the_name_is_lost() {
    type Call = (&'static str, fn(&Stage, Memory));
    let calls: [Call; 12] = [
        ("msync of MS_SYNC", |_, map| map.msync(MS_SYNC).unwrap()),
        ("msync of MS_ASYNC", |_, map| map.msync(MS_ASYNC).unwrap()),
        ("fsync", |stage, _| assert!(file::sync(stage.file.as_fd()).is_none())),
        ("pwrite", |stage, _| assert!(file::write_at(stage.file.as_fd(), b"x", 9).is_none())),
        ("ftruncate", |stage, _| assert!(file::set_len(stage.file.as_fd(), 9).is_none())),
        ("fallocate", |stage, _| assert!(file::allocate(stage.file.as_fd(), 0, 0, 9).is_none())),
        ("mremap", |_, map| {
            let cut = map.len - page();
            // SAFETY: nobody uses what is cut off.
            let at = unsafe { posix::mremap(map.address(0), map.len, cut, 0, ptr::null_mut()) };
            assert_eq!(at.unwrap(), map.address(0));
        }),
        // SAFETY: nobody uses it any more.
        ("munmap of a part", |_, map| unsafe { posix::munmap(map.address(3 * page()), page()) }.unwrap()),
        ("mmap", |stage, map| {
            assert!(self::map(&stage.file, 6..8).is_err());
            // SAFETY: anywhere.
            let at = unsafe {
                posix::mmap(ptr::null_mut(), page(), READ_WRITE, MAP_SHARED, stage.file.as_raw_fd(), 0)
            };
            let again = Memory { at: at.unwrap().cast(), len: page() };
            again.put(9, 9);
            assert_eq!(map.get(9), 9);
            again.munmap().unwrap();
        }),
        ("commit_all", |_, _| posix::commit_all().unwrap()),
        ("notice_lost_names", |_, _| file::notice_lost_names().unwrap()),
        ("give_back", |stage, _| file::give_back(stage.file.as_fd()).unwrap().unwrap()),
    ];
    for lose in GONE {
        for (name, call) in calls {
            let stage = Stage::new();
            let map = stage.map(0..4);
            map.put(5, 1);
            lose(&stage);
            call(&stage, map);
            assert!(!stage.is_atomic() && map.is_kernels(&stage.file), "{name}");
            assert_eq!((map.get(5), stage.byte(5)), (1, 1), "{name}");
            assert!(!stage.names().contains(&"data.bin.steadfast".into()), "{name}: {:?}", stage.names());
            map.munmap().unwrap();
        }
    }
}

#[test]
fn munmap_of_all_that_is_left_writes_what_was_stored() {
    for hidden in [false, true] {
        let stage = Stage::new();
        let (map, far) = (stage.map(0..4), stage.map(6..8));
        map.put(0, 1);
        map.msync(MS_SYNC).unwrap();
        map.put(1, 2);
        far.put(0, 3);
        if hidden {
            // SAFETY: nobody relies on what is taken away.
            unsafe { posix::mprotect(map.address(0), map.len, PROT_NONE) }.unwrap();
        }
        fs::remove_file(&stage.path).unwrap();
        // SAFETY: nobody uses either, nor what lies between them.
        unsafe { posix::munmap(map.address(0), 8 * page()) }.unwrap();
        assert_eq!((stage.byte(0), stage.byte(1), stage.byte(6 * page())), (1, 2, 3));
        assert!(!stage.is_atomic() && stage.names().is_empty(), "{:?}", stage.names());
    }
}

#[test]
fn the_end_of_the_process_writes_what_was_stored() {
    let stage = Stage::new();
    let map = stage.map(0..4);
    map.put(1, 2);
    fs::remove_file(&stage.path).unwrap();
    posix::close_all().unwrap();
    assert!(stage.byte(1) == 2 && stage.names().is_empty());
    map.put(2, 3);
    assert_eq!(stage.byte(2), 7, "the memory stays, and reaches no file");
}

#[test]
fn a_length_and_a_ticket_under_way_go_along() {
    let stage = Stage::new();
    let map = stage.map(0..4);
    map.put(0, 1);
    map.msync(MS_ASYNC).unwrap();
    let long = (PAGES * page() + 10) as u64;
    assert_eq!(file::write_at(stage.file.as_fd(), b"end", long).unwrap().unwrap(), 3);
    map.put(1, 2);
    fs::remove_file(&stage.path).unwrap();
    map.msync(MS_SYNC).unwrap();
    assert_eq!(stage.file.metadata().unwrap().len(), long + 3);
    assert_eq!((stage.byte(0), stage.byte(1), stage.byte(long as usize + 1)), (1, 2, b'n'));
    map.munmap().unwrap();
}

#[test]
fn a_file_that_was_renamed_is_plain_by_its_new_name() {
    let stage = Stage::new();
    let map = stage.map(0..4);
    map.put(0, 1);
    map.msync(MS_SYNC).unwrap();
    map.put(1, 2);
    fs::rename(&stage.path, stage.other("moved")).unwrap();
    map.msync(MS_SYNC).unwrap();
    assert_eq!(stage.names(), ["moved"]);
    assert_eq!(mark_of(&stage.other("moved")), None);
    assert_eq!((stage.byte(0), stage.byte(1), map.get(1)), (1, 2, 2));
    assert!(!stage.is_atomic() && map.is_kernels(&stage.file));
    map.munmap().unwrap();
    steadfast::recover(stage.other("moved"), Resolution::Replay).unwrap();
}

#[test]
fn refused_to_the_kernel_a_renamed_file_is_busy_and_keeps_what_it_has_until_it_is_back() {
    let stage = Stage::new();
    let map = stage.map(0..4);
    map.put(0, 1);
    map.msync(MS_SYNC).unwrap();
    map.put(1, 2);
    posix::refuse_to_give_back(true);
    fs::rename(&stage.path, stage.other("moved")).unwrap();
    let failed = [
        map.msync(MS_SYNC),
        posix::commit_all(),
        posix::close_all(),
        file::sync(stage.file.as_fd()).unwrap(),
        file::notice_lost_names(),
        map.munmap(),
    ];
    fs::rename(stage.other("moved"), &stage.path).unwrap();
    // What has no name at all is let go of all the same.
    fs::remove_file(&stage.path).unwrap();
    let gone = map.msync(MS_SYNC);
    posix::refuse_to_give_back(false);
    for failed in failed {
        let error = failed.unwrap_err();
        assert_eq!((error.kind(), posix::errno(&error)), (ErrorKind::Busy, libc::EBUSY), "{error}");
        assert!(error.to_string().contains("lost its name"), "{error}");
    }
    gone.unwrap();
    assert_eq!((stage.byte(0), stage.byte(1), map.get(1)), (1, 2, 2));
    assert!(!stage.is_atomic() && stage.names().is_empty());
    map.munmap().unwrap();
}

#[test]
fn a_file_that_is_renamed_and_back_before_the_next_commit_has_lost_nothing() {
    let stage = Stage::new();
    let map = stage.map(0..4);
    map.put(0, 1);
    map.msync(MS_SYNC).unwrap();
    map.put(1, 2);
    fs::rename(&stage.path, stage.other("moved")).unwrap();
    fs::rename(stage.other("moved"), &stage.path).unwrap();
    map.msync(MS_SYNC).unwrap();
    assert!(stage.is_atomic() && mark_of(&stage.path).is_some());
    map.put(2, 3);
    map.munmap().unwrap();
    assert_eq!(stage.names(), ["data.bin"]);
    assert_eq!((stage.byte(0), stage.byte(1), stage.byte(2)), (1, 2, 3));
}

#[test]
fn a_folder_that_is_renamed_takes_the_journal_along_and_changes_nothing() {
    let stage = Stage::new();
    fs::create_dir(stage.other("a")).unwrap();
    let path = stage.other("a/data");
    fs::write(&path, vec![7; PAGES * page()]).unwrap();
    let opened = open(&path);
    let map = map(&opened, 0..4).unwrap();
    fs::rename(stage.other("a"), stage.other("b")).unwrap();
    map.put(0, 1);
    map.msync(MS_SYNC).unwrap();
    assert!(file::is_atomic(opened.as_fd()) && stage.other("b/data.steadfast").exists());
    map.munmap().unwrap();
    steadfast::recover(stage.other("b/data"), Resolution::Replay).unwrap();
    assert_eq!(fs::read(stage.other("b/data")).unwrap()[0], 1);
}

/// Another process has opened a new file of that name, and commits to it.
#[test]
fn another_file_of_the_name_and_its_journal_stay_as_they_are() {
    let stage = Stage::new();
    let map = stage.map(0..4);
    map.put(1, 2);
    fs::remove_file(&stage.path).unwrap();
    // The old journal holds nothing, and is no harm to it.
    let mut new = AtomicMapping::options().create(true).len(page()).load(&stage.path).unwrap();
    new.edit(0..3).unwrap().copy_from_slice(b"new");
    new.commit().unwrap();
    let journal = stage.other("data.bin.steadfast");
    let before = (fs::metadata(&journal).unwrap().ino(), fs::read(&journal).unwrap());
    map.msync(MS_SYNC).unwrap();
    assert!(!stage.is_atomic());
    assert_eq!((fs::metadata(&journal).unwrap().ino(), fs::read(&journal).unwrap()), before);
    assert!(mark_of(&stage.path).is_some());
    new.edit(3..6).unwrap().copy_from_slice(b"er!");
    new.commit().unwrap();
    // As a kill leaves it.
    std::mem::forget(new);
    let copied = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = copied.path().join("data.bin");
    let done = std::process::Command::new("cp")
        .args(["-a"])
        .arg(&stage.path)
        .arg(&journal)
        .arg(copied.path())
        .status();
    assert!(done.unwrap().success());
    assert_eq!(steadfast::recover(&copy, Resolution::Replay).unwrap().replayed_commits, 3);
    assert_eq!(&fs::read(&copy).unwrap()[..6], b"newer!");
    assert_eq!((stage.byte(1), map.get(1)), (2, 2));
    map.munmap().unwrap();
}

/// This process itself opens a new file of that name, and the journal that stands there is the old one's, with commits in it.
#[test]
fn a_new_file_of_the_name_is_mapped_while_the_old_one_is() {
    let stage = Stage::new();
    let old = stage.map(0..4);
    old.put(0, 1);
    old.msync(MS_SYNC).unwrap();
    old.put(1, 2);
    fs::remove_file(&stage.path).unwrap();
    fs::write(&stage.path, vec![9; PAGES * page()]).unwrap();
    let file = open(&stage.path);
    let new = map(&file, 0..4).unwrap();
    assert!(file::is_atomic(file.as_fd()) && !stage.is_atomic());
    new.put(0, 3);
    old.put(2, 4);
    new.msync(MS_SYNC).unwrap();
    old.msync(MS_SYNC).unwrap();
    assert_eq!((stage.byte(0), stage.byte(1), stage.byte(2)), (1, 2, 4));
    assert_eq!((new.get(0), new.get(1), old.get(0)), (3, 9, 1));
    old.munmap().unwrap();
    assert!(file::is_atomic(file.as_fd()) && stage.names().len() == 2);
    new.munmap().unwrap();
    assert_eq!(stage.names(), ["data.bin"]);
    assert_eq!(fs::read(&stage.path).unwrap()[..2], [3, 9]);
}

/// The largest size that a file of this process may have, in bytes.
fn limit_files(bytes: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills in one structure.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) }, 0);
    limit.rlim_cur = bytes.min(limit.rlim_max);
    // SAFETY: reads one structure; the other tests wait.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
}

#[test]
fn where_there_is_no_room_for_the_rest_it_is_an_error_and_the_next_call_tries_again() {
    let stage = Stage::new();
    // A hole gets its blocks then, or does not.
    stage.file.set_len(1 << 20).unwrap();
    let map = stage.map(0..PAGES);
    let end = (1 << 20) / page();
    let last = stage.map(end - 1..end);
    map.put(0, 1);
    last.put(0, 2);
    fs::remove_file(&stage.path).unwrap();
    limit_files(512 << 10);
    let failed = [map.msync(MS_SYNC), last.munmap(), posix::commit_all()];
    limit_files(libc::RLIM_INFINITY);
    for failed in failed {
        let error = failed.unwrap_err();
        assert!([libc::ENOSPC, libc::EFBIG].contains(&posix::errno(&error)), "{error}");
    }
    assert!(stage.is_atomic());
    map.put(1, 3);
    last.put(1, 4);
    assert_eq!((map.get(0), last.get(0), stage.byte(0)), (1, 2, 7));
    map.msync(MS_SYNC).unwrap();
    let at = (1 << 20) - page();
    assert_eq!((stage.byte(0), stage.byte(1), stage.byte(at), stage.byte(at + 1)), (1, 3, 2, 4));
    map.munmap().unwrap();
    last.munmap().unwrap();
}

#[test]
fn a_child_has_no_part_in_it() {
    let stage = Stage::new();
    let map = stage.map(0..4);
    map.put(0, 1);
    fs::remove_file(&stage.path).unwrap();
    // SAFETY: the child makes some calls of this library, and ends.
    match unsafe { libc::fork() } {
        0 => {
            let refused = map.msync(MS_SYNC).is_err_and(|error| error.kind() == ErrorKind::Forked);
            let nothing = file::notice_lost_names().is_ok() && file::give_back(stage.file.as_fd()).is_none();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!(refused && nothing))) };
        }
        child => {
            let mut status = 0;
            // SAFETY: the child of a moment ago.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
    assert!(stage.is_atomic() && stage.names() == ["data.bin.steadfast"] && stage.byte(0) == 7);
    map.msync(MS_SYNC).unwrap();
    assert!(stage.byte(0) == 1 && stage.names().is_empty());
    map.munmap().unwrap();
}

#[test]
fn no_store_is_lost_while_a_file_without_a_name_goes_back_to_the_kernel() {
    const THREADS: usize = 3;
    for _ in 0..if cfg!(debug_assertions) { 20 } else { 100 } {
        let stage = Stage::new();
        let map = stage.map(0..THREADS);
        (0..THREADS).for_each(|number| map.word(number * page()).store(0, Ordering::Relaxed));
        let words: Vec<_> = (0..THREADS).map(|number| map.word(number * page())).collect();
        let done = AtomicBool::new(false);
        let last: Vec<u64> = thread::scope(|scope| {
            let storing: Vec<_> = words
                .iter()
                .map(|word| {
                    let done = &done;
                    scope.spawn(move || {
                        let mut count = 0;
                        while !done.load(Ordering::Relaxed) {
                            count += 1;
                            assert_eq!(word.swap(count, Ordering::Relaxed) + 1, count, "a store was lost");
                        }
                        count
                    })
                })
                .collect();
            while words.iter().any(|word| word.load(Ordering::Relaxed) == 0) {
                thread::yield_now();
            }
            let removed = fs::remove_file(&stage.path);
            let synced = map.msync(MS_SYNC);
            done.store(true, Ordering::Relaxed);
            removed.unwrap();
            synced.unwrap();
            storing.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (number, &last) in last.iter().enumerate() {
            let mut bytes = [0; 8];
            stage.file.read_exact_at(&mut bytes, (number * page()) as u64).unwrap();
            assert_eq!(u64::from_ne_bytes(bytes), last);
        }
        map.munmap().unwrap();
    }
}

/// By the device and the inode alone, before anything happens to the name.
#[test]
fn a_file_that_is_about_to_be_removed_is_given_back_before_whatever_is_refused() {
    for change in [NameChange::Removed, NameChange::Renamed] {
        let stage = Stage::new();
        let map = stage.map(0..4);
        map.put(0, 1);
        let stat = stage.file.metadata().unwrap();
        posix::refuse_to_give_back(true);
        let given = file::give_back_before(change, stat.dev(), stat.ino());
        posix::refuse_to_give_back(false);
        match change {
            NameChange::Removed => {
                given.unwrap().unwrap();
                assert_eq!(stage.byte(0), 1);
            }
            NameChange::Renamed => {
                assert_eq!(given.unwrap().unwrap_err().kind(), ErrorKind::Busy);
                assert!(stage.is_atomic());
                file::give_back_before(change, stat.dev(), stat.ino()).unwrap().unwrap();
            }
        }
        assert!(stage.names() == ["data.bin"] && mark_of(&stage.path).is_none() && !stage.is_atomic());
        assert!(file::give_back_before(change, stat.dev(), stat.ino()).is_none());
        map.munmap().unwrap();
    }
}

/// What was said of a file is not taken for said of another one that has its inode number by now.
#[test]
fn what_was_said_of_a_file_goes_with_its_last_name() {
    for by_itself in [false, true] {
        let stage = Stage::new();
        let map = stage.map(0..4);
        if !by_itself {
            // It is told of, as one that goes on by another name.
            file::give_back(stage.file.as_fd()).unwrap().unwrap();
            assert!(file::was_given_back(stage.file.as_fd()));
        }
        let (dev, ino) = stage.file.metadata().map(|stat| (stat.dev(), stat.ino())).unwrap();
        fs::hard_link(&stage.path, stage.other("other")).unwrap();
        fs::remove_file(&stage.path).unwrap();
        if by_itself {
            fs::remove_file(stage.other("other")).unwrap();
            map.msync(MS_SYNC).unwrap();
            assert!(!stage.is_atomic());
        } else {
            file::removed(dev, ino);
            assert!(!file::was_given_back(stage.file.as_fd()));
        }
        map.munmap().unwrap();
        if by_itself {
            // Linux gives the number out again, on most file systems at once.
            let path = stage.path.clone();
            drop(stage.file);
            let reused = (0..64).find_map(|number| {
                let new = fs::File::create(path.with_extension(number.to_string())).unwrap();
                (new.metadata().unwrap().ino() == ino).then_some(new)
            });
            match reused {
                Some(new) => assert!(!file::was_given_back(new.as_fd())),
                None => println!("lacking: an inode number that is used again; not tested"),
            }
        }
    }
}

/// Nobody tries again.
#[test]
fn at_the_end_without_room_for_the_rest_the_commits_are_in_the_plain_file() {
    let stage = Stage::new();
    stage.file.set_len(1 << 20).unwrap();
    let end = (1 << 20) / page();
    let (map, last) = (stage.map(0..PAGES), stage.map(end - 1..end));
    map.put(0, 1);
    map.msync(MS_SYNC).unwrap();
    last.put(0, 2);
    fs::rename(&stage.path, stage.other("moved")).unwrap();
    limit_files(512 << 10);
    let closed = posix::close_all();
    limit_files(libc::RLIM_INFINITY);
    let error = closed.unwrap_err();
    assert!([libc::ENOSPC, libc::EFBIG].contains(&posix::errno(&error)), "{error}");
    assert!(stage.names() == ["moved"] && mark_of(&stage.other("moved")).is_none(), "{:?}", stage.names());
    assert_eq!((stage.byte(0), stage.byte((1 << 20) - page())), (1, 0));
    assert!(!stage.is_atomic());
}

/// The first call behind it, whichever it is, finds file and journal where they are.
#[test]
fn a_file_whose_folder_was_renamed_is_closed_there() {
    type Call = (&'static str, fn(&Stage, &File, Memory));
    let calls: [Call; 6] = [
        ("munmap", |_, _, map| map.munmap().unwrap()),
        ("exit", |_, _, _| posix::close_all().unwrap()),
        ("second mmap", |_, file, _| {
            assert_eq!(self::map(file, 0..4).unwrap_err().kind(), ErrorKind::Busy);
        }),
        ("rename", |_, file, _| file::give_back(file.as_fd()).unwrap().unwrap()),
        ("removal", |stage, file, map| {
            let stat = file.metadata().unwrap();
            file::give_back_before(NameChange::Removed, stat.dev(), stat.ino()).unwrap().unwrap();
            assert!(map.is_kernels(file) && stage.other("b/data").exists());
        }),
        ("removal by others", |stage, _, map| {
            let bytes = fs::read(stage.other("b/data")).unwrap();
            fs::remove_file(stage.other("b/data")).unwrap();
            map.msync(MS_SYNC).unwrap();
            assert!(!stage.other("b/data.steadfast").exists());
            fs::write(stage.other("b/data"), [&[1, 2, 3], &bytes[3..]].concat()).unwrap();
        }),
    ];
    for begun_anew in [false, true] {
        for (name, call) in calls {
            let stage = Stage::new();
            fs::create_dir(stage.other("a")).unwrap();
            fs::write(stage.other("a/data"), vec![7; PAGES * page()]).unwrap();
            let opened = open(&stage.other("a/data"));
            let map = map(&opened, 0..4).unwrap();
            map.put(0, 1);
            map.msync(MS_SYNC).unwrap();
            map.put(1, 2);
            fs::rename(stage.other("a"), stage.other("b")).unwrap();
            if begun_anew {
                // What has the old path is another's.
                fs::create_dir(stage.other("a")).unwrap();
                fs::write(stage.other("a/data"), b"another").unwrap();
                fs::write(stage.other("a/data.steadfast"), b"another's journal").unwrap();
            } else {
                map.msync(MS_SYNC).unwrap();
            }
            map.put(2, 3);
            call(&stage, &opened, map);
            assert!(!file::is_atomic(opened.as_fd()), "{name}");
            assert_eq!(fs::read_dir(stage.other("b")).unwrap().count(), 1, "{name}");
            assert_eq!(mark_of(&stage.other("b/data")), None, "{name}");
            assert_eq!(fs::read(stage.other("b/data")).unwrap()[..4], [1, 2, 3, 7], "{name}");
            if begun_anew {
                assert_eq!(fs::read(stage.other("a/data")).unwrap(), b"another", "{name}");
                assert_eq!(
                    fs::read(stage.other("a/data.steadfast")).unwrap(),
                    b"another's journal",
                    "{name}"
                );
            }
        }
    }
}

/// A larger journal is one by a new name for a moment.
#[test]
fn commits_that_need_a_larger_journal_find_the_folder_where_it_is() {
    let stage = Stage::new();
    fs::create_dir(stage.other("a")).unwrap();
    let len = 4 << 20;
    fs::write(stage.other("a/data"), vec![7; len]).unwrap();
    let opened = open(&stage.other("a/data"));
    let (fd, options) = (opened.as_raw_fd(), options().journal_bytes(1 << 20));
    // SAFETY: anywhere; nobody else writes the file.
    let at = unsafe { posix::mmap_atomic(ptr::null_mut(), len, READ_WRITE, MAP_SHARED, fd, 0, &options) };
    let map = Memory { at: at.unwrap().cast(), len };
    fs::rename(stage.other("a"), stage.other("b")).unwrap();
    let before = fs::metadata(stage.other("b/data.steadfast")).unwrap().ino();
    (0..len).for_each(|at| map.put(at, 1));
    map.msync(MS_SYNC).unwrap();
    assert_ne!(fs::metadata(stage.other("b/data.steadfast")).unwrap().ino(), before, "not a larger one");
    map.munmap().unwrap();
    assert_eq!(fs::read_dir(stage.other("b")).unwrap().count(), 1);
}
