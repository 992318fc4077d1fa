//! The calls by address beside msync: what they do to a mapping that commits, and to one that is the kernel's.
//!
//! # Safety
//!
//! The mappings are the tests' own, of files in folders of their own.
#![allow(unsafe_code)]

mod process;

use std::ffi::c_void;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, MS_SYNC, PROT_NONE, PROT_READ, PROT_WRITE};
use steadfast::posix::{self, Rules, file};
use steadfast::{AtomicMapping, AtomicOptions, ErrorKind};

const PAGES: usize = 8;
const READ_WRITE: i32 = PROT_READ | PROT_WRITE;

fn page() -> usize {
    rustix::param::page_size()
}

fn options() -> AtomicOptions {
    AtomicMapping::options().publish(true).guard(false)
}

/// One test speaks of all that the process has mapped: the others come before it, or after.
static EVERYTHING: RwLock<()> = RwLock::new(());

/// A file of eight pages of sevens, and what is mapped of it.
struct Stage {
    _folder: tempfile::TempDir,
    path: PathBuf,
    file: File,
    _beside_others: Option<RwLockReadGuard<'static, ()>>,
}

impl Stage {
    fn new() -> Stage {
        let beside_others = EVERYTHING.read().unwrap_or_else(PoisonError::into_inner);
        Stage { _beside_others: Some(beside_others), ..Stage::alone() }
    }

    fn alone() -> Stage {
        let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("data.bin");
        fs::write(&path, vec![7; PAGES * page()]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        Stage { _folder: folder, path, file, _beside_others: None }
    }

    fn atomic(&self, pages: std::ops::Range<usize>) -> Result<Memory, steadfast::Error> {
        let (len, fd, offset) = (pages.len() * page(), self.file.as_raw_fd(), (pages.start * page()) as i64);
        // SAFETY: anywhere; nobody else writes the file.
        let at = unsafe {
            posix::mmap_atomic(ptr::null_mut(), len, READ_WRITE, MAP_SHARED, fd, offset, &options())
        }?;
        Ok(Memory { at: at.cast(), len })
    }

    fn kernel(&self, pages: std::ops::Range<usize>) -> Memory {
        let (len, fd, offset) = (pages.len() * page(), self.file.as_raw_fd(), (pages.start * page()) as i64);
        // SAFETY: anywhere.
        let at = unsafe { posix::mmap(ptr::null_mut(), len, READ_WRITE, MAP_SHARED, fd, offset) }.unwrap();
        Memory { at: at.cast(), len }
    }

    fn byte(&self, at: usize) -> u8 {
        fs::read(&self.path).unwrap()[at]
    }

    fn is_plain(&self) -> bool {
        fs::read_dir(self.path.parent().unwrap_or(Path::new("/"))).unwrap().count() == 1
    }
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

    fn address(self, at: usize) -> *mut c_void {
        self.at.wrapping_add(at).cast()
    }

    fn sync(self) {
        posix::msync(self.address(0), self.len, MS_SYNC, Rules::Posix).unwrap();
    }

    fn unmap(self, pages: std::ops::Range<usize>) {
        // SAFETY: nobody uses it any more.
        unsafe { posix::munmap(self.address(pages.start * page()), pages.len() * page()) }.unwrap();
    }

    fn unmap_all(self) {
        self.unmap(0..self.len / page());
    }

    fn protect(self, pages: std::ops::Range<usize>, prot: i32) {
        // SAFETY: nobody relies on what is taken away.
        unsafe { posix::mprotect(self.address(pages.start * page()), pages.len() * page(), prot) }.unwrap();
    }
}

#[test]
fn munmap_of_a_part_commits_and_leaves_its_addresses_to_the_program() {
    let stage = Stage::new();
    let map = stage.atomic(0..PAGES).unwrap();
    map.put(2 * page(), 1);
    map.put(5 * page(), 2);
    map.unmap(2..3);
    assert_eq!(
        (stage.byte(2 * page()), stage.byte(5 * page())),
        (1, 2),
        "all as it stood: what belongs together"
    );
    // What is mapped there next is the program's own.
    let own = map.address(2 * page());
    // SAFETY: free since a moment ago.
    let at = unsafe { libc::mmap(own, page(), READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) };
    assert_eq!(at, own);
    map.put(2 * page(), 99);
    map.sync_all_but(2);
    map.unmap(0..2);
    map.unmap(3..PAGES);
    assert_eq!((stage.byte(2 * page()), stage.byte(5 * page()), map.get(2 * page())), (1, 2, 99));
    assert!(stage.is_plain());
    // SAFETY: the test's own.
    assert_eq!(unsafe { libc::munmap(own, page()) }, 0);
}

impl Memory {
    fn sync_all_but(self, number: usize) {
        for pages in [0..number, number + 1..PAGES] {
            let (at, len) = (self.address(pages.start * page()), pages.len() * page());
            posix::msync(at, len, MS_SYNC, Rules::Posix).unwrap();
        }
    }
}

#[test]
fn a_part_that_is_mapped_again_shows_what_was_committed_and_what_was_written_since() {
    let stage = Stage::new();
    let map = stage.atomic(0..PAGES).unwrap();
    map.put(6 * page(), 1);
    map.unmap(6..8);
    let again = stage.atomic(6..8).unwrap();
    assert_eq!((again.get(0), again.get(1)), (1, 7));
    again.put(1, 2);
    again.sync();
    assert_eq!(stage.byte(6 * page() + 1), 2);
    map.unmap(0..6);
    again.unmap_all();
    assert!(stage.is_plain());
}

#[test]
fn windows_of_one_file_are_one_image() {
    let stage = Stage::new();
    let (low, high) = (stage.atomic(0..2).unwrap(), stage.atomic(4..6).unwrap());
    low.put(0, 1);
    high.put(0, 2);
    let fd = stage.file.as_fd();
    let mut bytes = [0; 1];
    assert_eq!(file::read_at(fd, &mut bytes, 4 * page() as u64).unwrap().unwrap(), 1);
    assert_eq!(bytes, [2]);
    low.unmap_all();
    assert_eq!((stage.byte(0), stage.byte(4 * page())), (1, 2));
    high.unmap_all();
    assert_eq!(stage.byte(4 * page()), 2);
    assert!(stage.is_plain());
}

#[test]
fn a_second_mapping_of_the_same_bytes_makes_both_the_kernels_and_loses_nothing() {
    for second_is_atomic in [true, false] {
        let stage = Stage::new();
        let map = stage.atomic(0..PAGES).unwrap();
        map.put(5, 5);
        if second_is_atomic {
            assert_eq!(stage.atomic(0..1).unwrap_err().kind(), ErrorKind::Busy);
        }
        let second = stage.kernel(0..2);
        map.put(6, 6);
        assert_eq!((second.get(5), second.get(6)), (5, 6));
        assert!(stage.is_plain());
        assert!(!file::is_atomic(stage.file.as_fd()));
        map.sync();
        map.unmap_all();
        second.unmap_all();
        assert_eq!((stage.byte(5), stage.byte(6)), (5, 6));
    }
}

#[test]
fn what_a_descriptor_writes_is_a_store_and_what_it_cuts_is_a_commit() {
    let stage = Stage::new();
    let fd = stage.file.as_fd();
    let map = stage.atomic(0..PAGES).unwrap();
    map.put(0, 1);
    assert_eq!(file::write_at(fd, b"hello", 10).unwrap().unwrap(), 5);
    assert_eq!((map.get(10), map.get(14), stage.byte(10)), (b'h', b'o', 7));
    file::sync(fd).unwrap().unwrap();
    assert_eq!((stage.byte(0), stage.byte(10)), (1, b'h'));
    // Down and up: zeros, in memory and in the file, and in the rest of the page at once.
    map.put(3 * page() + 200, 9);
    file::set_len(fd, 3 * page() as u64 + 100).unwrap().unwrap();
    assert_eq!(fs::metadata(&stage.path).unwrap().len(), 3 * page() as u64 + 100);
    assert_eq!(map.get(3 * page() + 200), 0);
    file::set_len(fd, (PAGES * page()) as u64).unwrap().unwrap();
    assert_eq!((map.get(3 * page() + 99), map.get(3 * page() + 200), map.get(6 * page())), (7, 0, 0));
    assert_eq!(stage.byte(6 * page()), 0);
    file::allocate(fd, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 0, page() as u64)
        .unwrap()
        .unwrap();
    assert_eq!((map.get(10), stage.byte(10)), (0, 0));
    let error = file::allocate(fd, libc::FALLOC_FL_COLLAPSE_RANGE, 0, page() as u64).unwrap().unwrap_err();
    assert_eq!(posix::errno(&error), libc::EOPNOTSUPP);
    // Longer than it was mapped.
    assert_eq!(file::write_at(fd, b"end", (PAGES * page()) as u64).unwrap().unwrap(), 3);
    assert_eq!(file::len(fd), Some((PAGES * page() + 3) as u64));
    map.unmap_all();
    assert_eq!(fs::metadata(&stage.path).unwrap().len(), (PAGES * page() + 3) as u64);
    assert!(file::sync(fd).is_none());
}

#[test]
fn access_that_is_taken_away_stands_in_no_commits_way() {
    let stage = Stage::new();
    let map = stage.atomic(0..PAGES).unwrap();
    map.put(0, 1);
    map.put(page(), 2);
    map.protect(0..1, PROT_NONE);
    map.protect(1..2, PROT_READ);
    file::write_at(stage.file.as_fd(), b"x", 5).unwrap().unwrap();
    map.sync();
    assert_eq!((stage.byte(0), stage.byte(5), stage.byte(page()), map.get(page())), (1, b'x', 2, 2));
    map.protect(0..2, READ_WRITE);
    map.put(1, 3);
    map.unmap_all();
    assert_eq!(stage.byte(1), 3);
}

#[test]
fn mremap_grows_and_cuts_in_place_and_moves_what_is_the_kernels() {
    let stage = Stage::new();
    let map = stage.atomic(0..PAGES).unwrap();
    map.put(7 * page(), 1);
    // SAFETY: nobody uses what is cut off.
    let cut = unsafe { posix::mremap(map.address(0), map.len, 2 * page(), 0, ptr::null_mut()) }.unwrap();
    assert_eq!((cut, stage.byte(7 * page())), (map.address(0), 1), "cut off, and committed");
    file::set_len(stage.file.as_fd(), (2 * PAGES * page()) as u64).unwrap().unwrap();
    let len = 2 * PAGES * page();
    // SAFETY: it stays where it is.
    let grown = unsafe { posix::mremap(cut, 2 * page(), len, 0, ptr::null_mut()) };
    // What was cut off is free for others; where they have not come it is the image's again.
    let grown = Memory { at: grown.unwrap().cast(), len };
    assert_eq!((grown.get(7 * page()), grown.get(15 * page())), (1, 0));
    grown.put(15 * page(), 2);
    grown.unmap_all();
    assert_eq!(stage.byte(15 * page()), 2);

    let map = stage.kernel(0..1);
    // SAFETY: nobody uses the old addresses.
    let moved = unsafe {
        posix::mremap(map.address(0), page(), PAGES * page(), libc::MREMAP_MAYMOVE, ptr::null_mut())
    };
    let moved = Memory { at: moved.unwrap().cast(), len: PAGES * page() };
    moved.put(0, 33);
    moved.sync();
    moved.unmap_all();
    assert_eq!(stage.byte(0), 33);
}

#[test]
fn advice_that_would_drop_private_pages_drops_nothing() {
    let stage = Stage::new();
    let map = stage.atomic(0..PAGES).unwrap();
    map.put(0, 1);
    let all = [
        libc::MADV_NORMAL,
        libc::MADV_RANDOM,
        libc::MADV_SEQUENTIAL,
        libc::MADV_WILLNEED,
        libc::MADV_DONTNEED,
        libc::MADV_COLD,
        libc::MADV_PAGEOUT,
        libc::MADV_POPULATE_READ,
    ];
    for advice in all {
        // SAFETY: as of a shared mapping, none of it loses anything.
        unsafe { posix::madvise(map.address(0), map.len, advice) }.unwrap();
        assert_eq!(map.get(0), 1, "advice {advice}");
    }
    for advice in [libc::MADV_FREE, 9999] {
        // SAFETY: refused.
        let error = unsafe { posix::madvise(map.address(0), map.len, advice) }.unwrap_err();
        assert_eq!(posix::errno(&error), libc::EINVAL, "advice {advice}");
    }
    // SAFETY: the bytes may go.
    unsafe { posix::madvise(map.address(page()), page(), libc::MADV_REMOVE) }.unwrap();
    assert_eq!((map.get(0), map.get(page())), (1, 0));
    map.unmap_all();
    assert_eq!((stage.byte(0), stage.byte(page())), (1, 0));
}

#[test]
fn a_process_that_exits_leaves_plain_files() {
    let _everything = EVERYTHING.write().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::alone();
    let map = stage.atomic(0..PAGES).unwrap();
    map.put(0, 1);
    posix::commit_all().unwrap();
    assert!(stage.byte(0) == 1 && !stage.is_plain());
    map.put(1, 2);
    posix::close_all().unwrap();
    assert!(stage.byte(1) == 2 && stage.is_plain());
    map.put(2, 3);
    assert_eq!(stage.byte(2), 7, "the memory stays, and reaches no file");
}

#[test]
fn a_fixed_mapping_that_fails_takes_nothing_away() {
    let stage = Stage::new();
    let map = stage.atomic(0..PAGES).unwrap();
    map.put(0, 1);
    let (at, fixed) = (map.address(page()), MAP_SHARED | MAP_FIXED);
    let fails = [
        (at, -1, 0),
        (at, 9999, 0),
        (at, stage.file.as_raw_fd(), 1),
        (map.address(1), stage.file.as_raw_fd(), 0),
    ];
    for (address, fd, offset) in fails {
        // SAFETY: refused.
        unsafe { posix::mmap(address, page(), READ_WRITE, fixed, fd, offset) }.unwrap_err();
        assert!(file::is_atomic(stage.file.as_fd()), "{fd} {offset}");
    }
    map.unmap_all();
    assert_eq!(stage.byte(0), 1);
}

#[test]
fn what_a_window_grows_by_has_the_windows_protection() {
    let stage = Stage::new();
    let map = stage.atomic(0..PAGES).unwrap();
    let fd = stage.file.as_fd();
    file::set_len(fd, 2 * page() as u64).unwrap().unwrap();
    map.protect(0..PAGES, PROT_READ);
    file::set_len(fd, (PAGES * page()) as u64).unwrap().unwrap();
    assert_eq!(map.get(7 * page()), 0);
    for number in [0, 7] {
        // SAFETY: the kernel looks whether the page may be written.
        let read = unsafe { libc::pread(stage.file.as_raw_fd(), map.address(number * page()), 1, 0) };
        assert_eq!(
            (read, std::io::Error::last_os_error().raw_os_error()),
            (-1, Some(libc::EFAULT)),
            "{number}"
        );
    }
    map.unmap_all();
}

#[test]
fn a_write_to_what_was_unmapped_is_the_kernels_and_so_is_the_file_then() {
    let stage = Stage::new();
    let map = stage.atomic(0..PAGES).unwrap();
    map.put(0, 1);
    map.unmap(2..3);
    let fd = stage.file.as_fd();
    assert!(file::write_at(fd, b"x", 2 * page() as u64).is_none());
    assert!(!file::is_atomic(fd) && stage.is_plain());
    assert_eq!(stage.byte(0), 1);
    map.put(1, 2);
    assert_eq!(stage.byte(1), 2, "shared");
    map.unmap(0..2);
    map.unmap(3..PAGES);
}

/// How a child ends that loads from this page: it has the same addresses.
fn end_of_load(map: Memory, number: usize, before: fn()) -> i32 {
    let child = process::fork();
    if child == 0 {
        before();
        process::load(map.address(number * page()).cast());
        process::leave(0);
    }
    process::wait(child)
}

/// The signals of loads from these pages, or none.
fn signals(map: Memory, pages: impl IntoIterator<Item = usize>) -> Vec<Option<i32>> {
    let of = |number| process::signal_of(end_of_load(map, number, process::die_of_faults));
    pages.into_iter().map(of).collect()
}

const BUS: Option<i32> = Some(libc::SIGBUS);

/// The largest size that a file of this process may have.
fn limit_files(bytes: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills in one structure.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) }, 0);
    limit.rlim_cur = bytes.min(limit.rlim_max);
    // SAFETY: reads one structure; the other tests wait.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
}

#[test]
fn an_access_behind_a_cut_is_sigbus_once_the_cut_is_committed_that_could_not_be_at_first() {
    let _alone = EVERYTHING.write().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::alone();
    let (fd, len) = (stage.file.as_fd(), |pages: usize| (pages * page()) as u64);
    let map = stage.atomic(0..256).unwrap();
    file::set_len(fd, len(256)).unwrap().unwrap();
    // In a hole: it gets a block with its commit, or does not.
    map.put(140 * page(), 1);
    limit_files(len(128));
    let cut = file::set_len(fd, len(150)).unwrap();
    limit_files(libc::RLIM_INFINITY);
    assert_eq!(cut.unwrap_err().kind(), ErrorKind::NotCommitted);
    map.sync();
    assert_eq!(signals(map, [149, 150, 255]), [None, BUS, BUS]);
}

/// As in the kernel's own mapping, whatever happens to the file meanwhile.
#[test]
fn an_access_past_the_end_of_the_file_is_sigbus() {
    let stage = Stage::new();
    let fd = stage.file.as_fd();
    let len = |pages: usize| (pages * page()) as u64;
    let map = stage.atomic(0..4 * PAGES).unwrap();
    assert_eq!(signals(map, [7, 8, 31]), [None, BUS, BUS]);
    // What is behind the window is nobody's.
    assert_eq!(signals(map, [32]), [Some(libc::SIGSEGV)]);

    file::write_at(fd, b"x", len(9)).unwrap().unwrap();
    assert_eq!(signals(map, [8, 9, 10]), [None, None, BUS], "it grows into the window");
    map.put(8 * page(), 8);
    map.sync();
    assert_eq!((stage.byte(8 * page()), stage.byte(9 * page())), (8, b'x'));

    file::set_len(fd, len(2) + 1).unwrap().unwrap();
    assert_eq!(signals(map, [2, 3, 9, 31]), [None, BUS, BUS, BUS], "it is cut");
    file::set_len(fd, len(4)).unwrap().unwrap();
    assert_eq!(signals(map, [3, 4]), [None, BUS]);
    assert_eq!(map.get(3 * page()), 0);

    map.protect(0..4 * PAGES, PROT_READ);
    file::write_at(fd, b"y", 0).unwrap().unwrap();
    assert_eq!(signals(map, [3, 4]), [None, BUS], "whatever the access");
    map.protect(0..4 * PAGES, READ_WRITE);

    map.unmap(8..16);
    assert_eq!(signals(map, [7, 8, 16]), [BUS, Some(libc::SIGSEGV), BUS]);
    // SAFETY: a window of this test's own.
    let at = unsafe { posix::mremap(map.address(16 * page()), 16 * page(), 40 * page(), 0, ptr::null_mut()) };
    assert_eq!(at.unwrap(), map.address(16 * page()));
    assert_eq!(signals(map, [31, 32, 55]), [BUS, BUS, BUS], "the window is longer");

    let again = stage.kernel(0..1);
    assert!(!file::is_atomic(fd), "given back to the kernel");
    assert_eq!(signals(map, [0, 3, 4, 16, 55]), [None, None, BUS, BUS, BUS]);
    assert_eq!(map.get(0), b'y');
    again.unmap_all();
    map.unmap(0..8);
    map.unmap(16..56);
    assert_eq!(fs::read(&stage.path).unwrap().len(), 4 * page());
}

/// A window that begins behind the end, and a guard that answers what is the file's.
#[test]
fn a_guarded_image_answers_nothing_behind_its_end() {
    let stage = Stage::new();
    let options = options().guard(true);
    let (len, fd, offset) = (4 * page(), stage.file.as_raw_fd(), (PAGES * page()) as i64);
    // SAFETY: anywhere; nobody else writes the file.
    let at = unsafe { posix::mmap_atomic(ptr::null_mut(), len, PROT_READ, MAP_SHARED, fd, offset, &options) };
    let map = Memory { at: at.unwrap().cast(), len };
    let survives = |number| end_of_load(map, number, || {}) == 0;
    assert_eq!([0, 3].map(survives), [false; 2]);
    assert_eq!(signals(map, 0..4), [BUS; 4]);
    file::set_len(stage.file.as_fd(), ((PAGES + 1) * page()) as u64).unwrap().unwrap();
    assert_eq!([0, 1, 3].map(survives), [true, false, false]);
    assert_eq!(signals(map, 0..4), [None, BUS, BUS, BUS]);
    map.unmap_all();
    assert!(stage.is_plain());
}
