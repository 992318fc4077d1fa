//! msync(3p), sentence by sentence: each test is named after what it says, and asks it of memory that the kernel maps and of
//! memory that commits.
//!
//! # Safety
//!
//! This file is trusted with mappings of files in folders of its own, with stores into them, and with a gap between them that
//! nobody else fills: its tests run one after the other.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, MS_ASYNC, MS_INVALIDATE, MS_SYNC};
use steadfast::posix::{self, Rules};
use steadfast::{AtomicMapping, AtomicOptions, CommitId, ErrorKind, Mapping, PageState, Result};
use tempfile::TempDir;

const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;
const NAME: &str = "data.bin";
/// Long enough for a slow disk; the kernel by itself begins to write after 30 seconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// One test at a time: what one has unmapped is not to become another's memory.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn page() -> usize {
    rustix::param::page_size()
}

fn folder() -> TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn options() -> AtomicOptions {
    AtomicMapping::options().journal_bytes(64 << 10)
}

fn call(address: *mut c_void, len: usize, flags: c_int) -> Result<()> {
    posix::msync(address, len, flags, Rules::Posix)
}

#[track_caller]
fn refused(result: Result<()>, errno: c_int) {
    let error = result.unwrap_err();
    assert_eq!(posix::errno(&error), errno, "{error}");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kernel,
    Atomic,
}

const BOTH: [Kind; 2] = [Kind::Kernel, Kind::Atomic];

/// A file of its own, mapped by address.
struct Mapped {
    kind: Kind,
    address: *mut c_void,
    len: usize,
    /// Pages that are still its own.
    own: Vec<usize>,
    path: PathBuf,
    file: File,
    _folder: TempDir,
}

impl Mapped {
    fn anywhere(kind: Kind, pages: usize) -> Mapped {
        Mapped::with(kind, pages, ptr::null_mut(), 0)
    }

    /// Another file's page in the place of one of this file's.
    fn replaced_by(&mut self, index: usize) -> Mapped {
        self.own.retain(|own| *own != index);
        Mapped::with(self.kind, 1, self.page(index).cast(), MAP_FIXED)
    }

    /// A gap, until somebody maps something there.
    fn unmap(&mut self, index: usize) {
        self.own.retain(|own| *own != index);
        // SAFETY: a page of the mapping, which nobody uses.
        unsafe { posix::munmap(self.page(index).cast(), page()) }.unwrap();
    }

    fn with(kind: Kind, pages: usize, place: *mut c_void, flags: c_int) -> Mapped {
        let folder = folder();
        fs::write(folder.path().join(NAME), vec![0; pages * page()]).unwrap();
        Mapped::of(kind, folder, place, flags)
    }

    /// The file in a folder.
    fn of(kind: Kind, folder: TempDir, place: *mut c_void, flags: c_int) -> Mapped {
        let path = folder.path().join(NAME);
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        file.sync_all().unwrap();
        let len = file.metadata().unwrap().len() as usize;
        let pages = len / page();
        let (fd, flags) = (file.as_raw_fd(), MAP_SHARED | flags);
        let address = match kind {
            // SAFETY: anywhere that is free, or in a place of the test's own.
            Kind::Kernel => unsafe { posix::mmap(place, len, READ_WRITE, flags, fd, 0) },
            // SAFETY: as above; nobody else knows the file.
            Kind::Atomic => unsafe { posix::mmap_atomic(place, len, READ_WRITE, flags, fd, 0, &options()) },
        };
        Mapped {
            kind,
            address: address.unwrap(),
            len,
            own: (0..pages).collect(),
            path,
            file,
            _folder: folder,
        }
    }

    fn page(&self, index: usize) -> *mut u8 {
        assert!(index * page() < self.len);
        self.address.cast::<u8>().wrapping_add(index * page())
    }

    fn store(&self, index: usize, byte: u8) {
        // SAFETY: within the mapping, which is writable; the test has one thread.
        unsafe { self.page(index).write_volatile(byte) };
    }

    fn msync(&self, pages: Range<usize>, flags: c_int) -> Result<()> {
        call(self.page(pages.start).cast(), pages.len() * page(), flags)
    }

    /// What is in memory is on disk, or part of a commit.
    fn is_synced(&self, index: usize) -> bool {
        let at = index * page();
        match self.kind {
            Kind::Kernel => {
                let looking = Mapping::options().open(&self.path).unwrap();
                let residency = looking.residency(at..at + page()).unwrap();
                residency.spans().iter().all(|span| {
                    assert_ne!(span.state, PageState::Unknown, "the kernel does not tell");
                    !matches!(span.state, PageState::Dirty | PageState::WriteBack)
                })
            }
            Kind::Atomic => {
                let committed = AtomicMapping::options().read_only(true).load(&self.path).unwrap();
                // SAFETY: within the mapping; the test has one thread.
                committed[at] == unsafe { self.page(index).read_volatile() }
            }
        }
    }

    fn last(&self) -> CommitId {
        AtomicMapping::options().read_only(true).load(&self.path).unwrap().status().last
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        for &index in &self.own {
            // SAFETY: nobody uses the memory any more.
            let gone = unsafe { posix::munmap(self.page(index).cast(), page()) };
            assert!(gone.is_ok() || std::thread::panicking(), "{gone:?}");
        }
    }
}

#[test]
fn exactly_one_of_ms_async_and_ms_sync_is_given_and_0_is_success() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 2);
        for flags in [MS_SYNC, MS_ASYNC] {
            map.store(0, 1);
            map.msync(0..2, flags).unwrap();
            map.msync(0..2, flags).unwrap();
        }
    }
}

#[test]
fn ms_invalidate_may_join_either() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 1);
        for flags in [MS_SYNC | MS_INVALIDATE, MS_ASYNC | MS_INVALIDATE] {
            map.store(0, 7);
            map.msync(0..1, flags).unwrap();
            // SAFETY: the mapping is there; the test has one thread.
            assert_eq!(unsafe { map.page(0).read_volatile() }, 7);
        }
    }
}

#[test]
fn both_ms_async_and_ms_sync_are_einval() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 1);
        map.store(0, 1);
        refused(map.msync(0..1, MS_ASYNC | MS_SYNC), libc::EINVAL);
        refused(map.msync(0..1, MS_ASYNC | MS_SYNC | MS_INVALIDATE), libc::EINVAL);
        assert!(!map.is_synced(0), "{kind:?}: nothing was done");
    }
}

#[test]
fn neither_ms_async_nor_ms_sync_is_einval() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 1);
        refused(map.msync(0..1, 0), libc::EINVAL);
        refused(map.msync(0..1, MS_INVALIDATE), libc::EINVAL);
    }
}

#[test]
fn under_the_rules_of_linux_neither_is_success_and_nothing_is_written() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 1);
        map.store(0, 1);
        posix::msync(map.address, page(), 0, Rules::Linux).unwrap();
        assert!(!map.is_synced(0), "{kind:?}");
        refused(posix::msync(map.address, page(), MS_ASYNC | MS_SYNC, Rules::Linux), libc::EINVAL);
    }
}

#[test]
fn any_other_bit_is_einval() {
    let _alone = alone();
    let map = Mapped::anywhere(Kind::Kernel, 1);
    for bit in 0..31 {
        let other = 1 << bit;
        if other & (MS_SYNC | MS_ASYNC | MS_INVALIDATE) == 0 {
            refused(map.msync(0..1, MS_SYNC | other), libc::EINVAL);
            refused(map.msync(0..1, other), libc::EINVAL);
        }
    }
    refused(map.msync(0..1, c_int::MIN | MS_SYNC), libc::EINVAL);
    refused(map.msync(0..1, -1), libc::EINVAL);
}

#[test]
fn an_address_that_is_not_on_a_page_boundary_is_einval() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 2);
        map.store(0, 1);
        for offset in [1, 8, page() - 1] {
            refused(call(map.page(0).wrapping_add(offset).cast(), page(), MS_SYNC), libc::EINVAL);
            refused(call(map.page(0).wrapping_add(offset).cast(), 0, MS_SYNC), libc::EINVAL);
        }
        assert!(!map.is_synced(0), "{kind:?}: nothing was done");
    }
}

#[test]
fn len_is_rounded_up_to_whole_pages() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 3);
        (0..3).for_each(|index| map.store(index, 1));
        call(map.address, page() + 1, MS_SYNC).unwrap();
        assert!(map.is_synced(0) && map.is_synced(1), "{kind:?}");
        // The kernel may write more than it is asked for; a commit does not.
        assert!(kind == Kind::Kernel || !map.is_synced(2), "no further than that");
    }
}

#[test]
fn a_len_of_0_is_success_and_touches_nothing() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 1);
        map.store(0, 1);
        call(map.address, 0, MS_SYNC).unwrap();
        assert!(!map.is_synced(0), "{kind:?}");
    }
}

#[test]
fn an_end_that_overflows_is_enomem() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 1);
        for len in [usize::MAX, usize::MAX - page(), usize::MAX - map.address.addr() + 1] {
            refused(call(map.address, len, MS_SYNC), libc::ENOMEM);
        }
        refused(
            call(ptr::without_provenance_mut(usize::MAX - page() + 1), 2 * page(), MS_ASYNC),
            libc::ENOMEM,
        );
    }
}

#[test]
fn a_range_may_span_several_mappings() {
    let _alone = alone();
    let mut outer = Mapped::anywhere(Kind::Kernel, 5);
    let inner = [outer.replaced_by(1), outer.replaced_by(3)];
    [0, 2, 4].into_iter().for_each(|index| outer.store(index, 1));
    inner.iter().for_each(|map| map.store(0, 1));
    outer.msync(0..5, MS_SYNC).unwrap();
    assert!([0, 2, 4].into_iter().all(|index| outer.is_synced(index)));
    assert!(inner.iter().all(|map| map.is_synced(0)));
}

#[test]
fn a_range_may_span_several_mappings_of_one_file() {
    let _alone = alone();
    let mut map = Mapped::anywhere(Kind::Atomic, 4);
    // The second half goes, and comes back as a mapping of its own.
    map.unmap(2);
    map.unmap(3);
    let (fd, offset) = (map.file.as_raw_fd(), 2 * page());
    // SAFETY: anywhere; nobody else knows the file.
    let half = unsafe {
        posix::mmap_atomic(ptr::null_mut(), 2 * page(), READ_WRITE, MAP_SHARED, fd, offset as i64, &options())
    };
    assert_eq!(half.unwrap(), map.page(2).cast(), "one image");
    map.own.extend([2, 3]);
    let before = map.last();
    (0..4).for_each(|index| map.store(index, 1));
    map.msync(1..3, MS_SYNC).unwrap();
    assert_eq!([0, 1, 2, 3].map(|index| map.is_synced(index)), [false, true, true, false]);
    assert_eq!(map.last().get(), before.get() + 1, "one commit");
}

#[test]
fn a_range_may_span_mappings_that_are_not_ours() {
    let _alone = alone();
    for kind in BOTH {
        let mut ours = Mapped::anywhere(kind, 5);
        // The program's own: anonymous memory, and a file that it maps by itself.
        let folder = folder();
        let path = folder.path().join("own.bin");
        fs::write(&path, vec![0; page()]).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        file.sync_all().unwrap();
        let sources = [(1, MAP_PRIVATE | MAP_ANONYMOUS, -1), (3, MAP_SHARED, file.as_raw_fd())];
        for (index, flags, fd) in sources {
            ours.unmap(index);
            let place = ours.page(index).cast();
            // SAFETY: in a gap that was made a moment ago.
            let own = unsafe { libc::mmap(place, page(), READ_WRITE, flags | MAP_FIXED, fd, 0) };
            assert_eq!(own, place);
        }
        (0..5).for_each(|index| ours.store(index, 1));
        ours.msync(0..5, MS_SYNC).unwrap();
        assert!([0, 2, 4].into_iter().all(|index| ours.is_synced(index)), "{kind:?}");
        let looking = Mapping::options().open(&path).unwrap();
        assert_eq!(looking.residency(..).unwrap().dirty(), Some(0), "it is the kernel's to write");
        posix::commit_all().unwrap();
        let bytes = fs::read(&ours.path).unwrap();
        assert_eq!([1, 3].map(|index| bytes[index * page()]), [0, 0], "{kind:?}: theirs is not in our file");
        for index in [1, 3] {
            // SAFETY: the program's own pages, which nobody uses.
            assert_eq!(unsafe { libc::munmap(ours.page(index).cast(), page()) }, 0);
        }
    }
}

#[test]
fn what_is_mapped_where_a_part_was_unmapped_is_the_programs_own() {
    let _alone = alone();
    for kind in BOTH {
        let mut map = Mapped::anywhere(kind, 4);
        map.unmap(1);
        let (place, flags) = (map.page(1).cast(), MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
        // SAFETY: in a gap that was made a moment ago.
        let own = unsafe { posix::mmap(place, page(), READ_WRITE, flags, -1, 0) }.unwrap();
        assert_eq!(own, place);
        map.store(1, 77);
        [0, 2, 3].into_iter().for_each(|index| map.unmap(index));
        assert_eq!(fs::read(&map.path).unwrap()[page()], 0, "{kind:?}: it is no part of the file");
        // SAFETY: changes nothing; where nothing is mapped it says so.
        assert_eq!(unsafe { libc::msync(own, page(), MS_ASYNC) }, 0, "{kind:?}: it is still there");
        // SAFETY: nobody uses it any more.
        unsafe { posix::munmap(own, page()) }.unwrap();
    }
}

#[test]
fn a_part_that_is_not_mapped_is_enomem_once_every_mapped_part_is_synced() {
    let _alone = alone();
    for kind in BOTH {
        for flags in [MS_SYNC, MS_SYNC | MS_INVALIDATE] {
            let mut map = Mapped::anywhere(kind, 5);
            [1, 3].into_iter().for_each(|index| map.unmap(index));
            let before = map.last();
            [0, 2, 4].into_iter().for_each(|index| map.store(index, 1));
            let error = map.msync(0..5, flags).unwrap_err();
            assert_eq!(
                (error.kind(), posix::errno(&error)),
                (ErrorKind::OutOfRange, libc::ENOMEM),
                "{error}"
            );
            assert!([0, 2, 4].into_iter().all(|index| map.is_synced(index)), "{kind:?}");
            assert!(kind == Kind::Kernel || map.last() > before);
        }
    }
}

#[test]
fn a_range_over_everything_between_two_mappings_syncs_both() {
    let _alone = alone();
    let maps = [Kind::Kernel, Kind::Atomic, Kind::Kernel, Kind::Atomic].map(|kind| Mapped::anywhere(kind, 2));
    let before = maps.each_ref().map(Mapped::last);
    maps.iter().for_each(|map| map.store(1, 1));
    let start = maps.iter().map(|map| map.address).min().unwrap();
    let end = maps.iter().map(|map| map.address.addr() + map.len).max().unwrap();
    refused(call(start, end - start.addr(), MS_SYNC), libc::ENOMEM);
    for (map, before) in maps.iter().zip(before) {
        assert!(map.is_synced(1), "{:?}", map.kind);
        assert!(map.kind == Kind::Kernel || map.last() > before);
    }
}

#[test]
fn a_range_without_any_mapping_is_enomem() {
    let _alone = alone();
    let mut map = Mapped::anywhere(Kind::Kernel, 3);
    (0..3).for_each(|index| map.unmap(index));
    refused(map.msync(0..3, MS_SYNC), libc::ENOMEM);
    refused(map.msync(0..3, MS_ASYNC), libc::ENOMEM);
    // Without a page nothing is missing.
    map.msync(0..0, MS_SYNC).unwrap();
}

#[test]
fn ms_sync_of_a_kernel_mapping_is_on_disk_on_return() {
    let _alone = alone();
    let map = Mapped::anywhere(Kind::Kernel, 64);
    (0..64).for_each(|index| map.store(index, 9));
    assert!((0..64).any(|index| !map.is_synced(index)));
    map.msync(0..64, MS_SYNC).unwrap();
    assert!((0..64).all(|index| map.is_synced(index)));
}

#[test]
fn ms_sync_of_an_atomic_mapping_is_one_commit_of_the_dirty_pages_in_the_range() {
    let _alone = alone();
    let map = Mapped::anywhere(Kind::Atomic, 64);
    let before = map.last();
    (0..64).for_each(|index| map.store(index, 9));
    assert!((0..64).all(|index| !map.is_synced(index)), "nothing reaches the file before msync");
    map.msync(16..32, MS_SYNC).unwrap();
    assert_eq!(map.last().get(), before.get() + 1, "one commit: all or nothing");
    for index in 0..64 {
        assert_eq!(map.is_synced(index), (16..32).contains(&index), "page {index}");
    }
    map.msync(16..32, MS_SYNC).unwrap();
    assert_eq!(map.last().get(), before.get() + 1, "nothing changed, nothing is committed");
}

#[test]
fn ms_async_starts_the_write_out() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 16);
        (0..16).for_each(|index| map.store(index, 3));
        map.msync(0..16, MS_ASYNC).unwrap();
        let begun = Instant::now();
        while !(0..16).all(|index| map.is_synced(index)) {
            assert!(begun.elapsed() < DEADLINE, "{kind:?}: nobody writes");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_later_ms_sync_waits_for_ms_async() {
    let _alone = alone();
    for kind in BOTH {
        let map = Mapped::anywhere(kind, 256);
        (0..256).for_each(|index| map.store(index, 3));
        map.msync(0..256, MS_ASYNC).unwrap();
        map.msync(0..256, MS_SYNC).unwrap();
        assert!((0..256).all(|index| map.is_synced(index)), "{kind:?}");
    }
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
fn a_commit_that_finds_no_space_is_told_each_time_and_nothing_is_lost() {
    let _alone = alone();
    // Nothing but a hole: a page of it gets a block with its commit, or does not.
    let folder = folder();
    File::create(folder.path().join(NAME)).unwrap().set_len(1 << 20).unwrap();
    let map = Mapped::of(Kind::Atomic, folder, ptr::null_mut(), 0);
    let last = map.len / page() - 1;
    map.store(last, 1);
    limit_files(512 << 10);
    let failures =
        [MS_SYNC, MS_ASYNC, MS_SYNC | MS_INVALIDATE, MS_SYNC].map(|flags| map.msync(0..last + 1, flags));
    limit_files(libc::RLIM_INFINITY);
    let [first, begun, second, third] = failures;
    for failure in
        [Some(first), Some(second), Some(third), begun.is_err().then_some(begun)].into_iter().flatten()
    {
        let error = failure.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotCommitted, "{error}");
        assert!([libc::ENOSPC, libc::EFBIG].contains(&posix::errno(&error)), "{error}");
    }
    assert!(!map.is_synced(last));
    map.msync(0..last + 1, MS_SYNC).unwrap();
    assert!(map.is_synced(last));
    // SAFETY: the mapping is there; the test has one thread.
    assert_eq!(unsafe { map.page(last).read_volatile() }, 1);
}

#[test]
fn ms_invalidate_drops_cached_pages_so_that_the_next_access_reads_the_disk() {
    let _alone = alone();
    let map = Mapped::anywhere(Kind::Kernel, 4);
    (0..4).for_each(|index| map.store(index, 5));
    map.msync(0..4, MS_SYNC | MS_INVALIDATE).unwrap();
    let looking = Mapping::options().open(&map.path).unwrap();
    assert_eq!(looking.residency(..).unwrap().resident(), Some(0));
    drop(looking);
    for index in 0..4 {
        // SAFETY: the mapping is there; the test has one thread.
        assert_eq!(unsafe { map.page(index).read_volatile() }, 5);
    }
}

#[test]
fn ms_invalidate_of_locked_pages_is_ebusy() {
    let _alone = alone();
    let map = Mapped::anywhere(Kind::Kernel, 2);
    map.store(0, 1);
    // SAFETY: changes and shows no byte.
    unsafe { rustix::mm::mlock(map.address, page()) }.unwrap();
    let error = map.msync(0..2, MS_SYNC | MS_INVALIDATE).unwrap_err();
    assert_eq!((error.kind(), posix::errno(&error)), (ErrorKind::Busy, libc::EBUSY), "{error}");
    // Without it, locked pages are synced like others.
    map.msync(0..2, MS_SYNC).unwrap();
    assert!(map.is_synced(0));
    // SAFETY: as above.
    unsafe { rustix::mm::munlock(map.address, page()) }.unwrap();
    map.msync(0..2, MS_SYNC | MS_INVALIDATE).unwrap();
}

#[test]
fn memory_of_a_handle_is_reached_by_address() {
    let _alone = alone();
    let folder = folder();
    let path = folder.path().join("atomic.bin");
    let atomic = posix::hold(options().create(true).len(4 * page()).load(&path).unwrap());
    let before = atomic.read().status().last;
    let address = atomic.write().as_mut_ptr();
    for index in [0, 3] {
        // SAFETY: within the map, which nobody else uses.
        unsafe { address.wrapping_add(index * page()).write_volatile(1) };
    }
    call(address.cast(), page(), MS_SYNC).unwrap();
    let status = atomic.read().status();
    assert_eq!((status.last.get(), status.durable), (before.get() + 1, status.last));
    atomic.write().rollback().unwrap();
    assert_eq!((atomic.read()[0], atomic.read()[3 * page()]), (1, 0));
    atomic.close().unwrap();

    let path = folder.path().join("kernel.bin");
    let kernel =
        posix::hold(Mapping::options().write(true).create(true).len(2 * page()).open(&path).unwrap());
    kernel.read().sync(..).unwrap();
    kernel.read().write_at(0, b"hello").unwrap();
    assert_eq!(kernel.read().residency(..).unwrap().dirty(), Some(1));
    let address = kernel.read().as_ptr();
    call(address.cast(), page(), MS_SYNC).unwrap();
    assert_eq!(kernel.read().residency(..).unwrap().dirty(), Some(0));
    kernel.close().unwrap();
}

#[test]
fn memory_of_a_handle_that_moved_is_found_where_it_is_now() {
    let _alone = alone();
    let folder = folder();
    let path = folder.path().join("atomic.bin");
    let atomic = posix::hold(options().create(true).len(page()).load(&path).unwrap());
    atomic.write().resize(64 << 20).unwrap();
    let before = atomic.read().status().last;
    let address = atomic.write().as_mut_ptr();
    // SAFETY: within the map, which nobody else uses.
    unsafe { address.write_volatile(1) };
    call(address.cast(), page(), MS_SYNC).unwrap();
    assert!(atomic.read().status().last > before);
    atomic.close().unwrap();
}

/// Between the move of a map and the end of the call that moved it, its old addresses are anybody's.
#[test]
fn a_handle_that_moved_takes_nothing_with_it_that_has_come_to_lie_there() {
    let _alone = alone();
    let folder = folder();
    let atomic =
        posix::hold(options().create(true).len(page()).load(folder.path().join("atomic.bin")).unwrap());
    let mut moved = atomic.write();
    let old = moved.as_ptr();
    moved.resize(64 << 20).unwrap();
    assert_ne!(moved.as_ptr(), old);
    let came = Mapped::with(Kind::Kernel, 1, old.cast_mut().cast(), libc::MAP_FIXED_NOREPLACE);
    drop(moved);
    came.store(0, 3);
    // The kernel's own would not begin.
    came.msync(0..1, MS_ASYNC).unwrap();
    let begun = Instant::now();
    while !came.is_synced(0) {
        assert!(begun.elapsed() < DEADLINE, "nobody writes");
        std::thread::sleep(Duration::from_millis(5));
    }
    atomic.close().unwrap();
}
