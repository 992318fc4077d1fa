//! Asynchronous write protection: the kernel notes which pages were written, and nobody handles a fault.
//!
//! userfaultfd(2) with `UFFD_FEATURE_WP_ASYNC` (Linux 6.7), read back by the ioctl `PAGEMAP_SCAN`, which returns the written pages
//! and protects them again in one step (linux: Documentation/admin-guide/mm/userfaultfd.rst and pagemap.rst).
//!
//! # Safety
//!
//! This file is trusted with four ioctls and one system call. Their structures are those of linux/userfaultfd.h and linux/fs.h; the
//! kernel reads and writes nothing but them and the vector that one of them names, both of which live across the call. Protecting
//! a page and noting a store to it changes no byte of it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use crate::descriptors::opened;

const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_API: u64 = 0xAA;
const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
const FEATURE_WP_ASYNC: u64 = 1 << 15;
const REGISTER_MODE_WP: u64 = 1 << 1;
const WRITEPROTECT_MODE_WP: u64 = 1 << 0;

// _IOWR(type, number, structure): the same on x86-64 and aarch64.
const UFFDIO_API: libc::c_ulong = 0xC018_AA3F;
const UFFDIO_REGISTER: libc::c_ulong = 0xC020_AA00;
const UFFDIO_WRITEPROTECT: libc::c_ulong = 0xC018_AA06;
const PAGEMAP_SCAN: libc::c_ulong = 0xC060_6610;

const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct Protect {
    start: u64,
    len: u64,
    mode: u64,
}

#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// A run of pages with the same properties, as addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// So many runs are fetched with one call; a vector that fills up is continued.
const RUNS: usize = 4096;

/// What this process asked the kernel to watch. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct WriteProtection {
    uffd: OwnedFd,
    pagemap: File,
    /// Where the kernel puts what it finds: one for each thread that asked at the same time, kept.
    buffers: Mutex<Vec<Vec<PageRegion>>>,
    buffer_len: usize,
}

/// Why there is none: which call failed.
#[derive(Debug)]
pub(crate) struct Unavailable {
    pub(crate) call: &'static str,
    pub(crate) source: io::Error,
}

impl WriteProtection {
    /// Asks the kernel whether it can.
    pub(crate) fn new() -> Result<WriteProtection, Unavailable> {
        let failed = |call| move |source| Unavailable { call, source };
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY;
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        if fd < 0 {
            return Err(failed("userfaultfd(2)")(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let uffd = opened(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        let features = FEATURE_WP_ASYNC | FEATURE_WP_HUGETLBFS_SHMEM;
        let mut api = Api { api: UFFD_API, features, ioctls: 0 };
        // SAFETY: the kernel reads and writes an `Api`, which lives across the call.
        let result = unsafe { libc::ioctl(uffd.as_raw_fd(), UFFDIO_API as _, &raw mut api) };
        check(result).map_err(failed("UFFDIO_API with WP_ASYNC (Linux 6.7)"))?;
        let pagemap =
            File::open("/proc/self/pagemap").map(opened).map_err(failed("open /proc/self/pagemap"))?;
        Ok(WriteProtection { uffd, pagemap, buffers: Mutex::default(), buffer_len: RUNS })
    }

    /// Watches a range of this process's memory from now on. To be called again for memory that was mapped there anew.
    ///
    /// Nothing is protected yet: pages that are there by now, and those that are first read later, are found once as written. So
    /// it costs the same for any size, holes included.
    pub(crate) fn watch(&self, memory: Range<usize>) -> io::Result<()> {
        if memory.is_empty() {
            return Ok(());
        }
        let (start, len) = (memory.start as u64, memory.len() as u64);
        let mut register = Register { start, len, mode: REGISTER_MODE_WP, ioctls: 0 };
        // SAFETY: the kernel reads and writes a `Register`, which lives across the call.
        let result = unsafe { libc::ioctl(self.uffd.as_raw_fd(), UFFDIO_REGISTER as _, &raw mut register) };
        check(result)
    }

    /// Forgets which pages of a watched range were written, and knows every page from then on, also those that are not there. That
    /// takes page tables for all of it: measured 188 ms and 128 MiB for 64 GiB of holes.
    pub(crate) fn protect_all(&self, memory: Range<usize>) -> io::Result<()> {
        if memory.is_empty() {
            return Ok(());
        }
        let mut protect =
            Protect { start: memory.start as u64, len: memory.len() as u64, mode: WRITEPROTECT_MODE_WP };
        // SAFETY: the kernel reads a `Protect`, which lives across the call.
        let result =
            unsafe { libc::ioctl(self.uffd.as_raw_fd(), UFFDIO_WRITEPROTECT as _, &raw mut protect) };
        check(result)
    }

    /// Calls `found` with every run of pages that was written since it was last asked, and forgets it: in order, as addresses.
    /// Pages that were swapped out meanwhile count too. With `all_known` every page of the range is
    /// [protected](WriteProtection::protect_all), or was found written since; without, there may be others among them, once: see
    /// [`watch`](WriteProtection::watch).
    ///
    /// After an error some may have been found and forgotten: all of the range is then to be taken for written.
    pub(crate) fn take_written(
        &self,
        memory: Range<usize>,
        all_known: bool,
        found: impl FnMut(Range<usize>),
    ) -> io::Result<()> {
        let what = Scan {
            flags: PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
            category_mask: PAGE_IS_WRITTEN,
            // Asked for just what was written, the kernel takes a short cut, in less than half the time; but then a page that is
            // not there counts as written, unless it is protected.
            category_anyof_mask: if all_known { 0 } else { PAGE_IS_PRESENT | PAGE_IS_SWAPPED },
            return_mask: PAGE_IS_WRITTEN,
            ..Scan::default()
        };
        self.scan(what, memory, found)
    }

    fn scan(&self, what: Scan, memory: Range<usize>, found: impl FnMut(Range<usize>)) -> io::Result<()> {
        // A buffer that is lost with a panic is made anew.
        let buffers = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = buffers().pop();
        let mut runs = kept.unwrap_or_else(|| vec![PageRegion::default(); self.buffer_len]);
        let scanned = scan(&self.pagemap, what, memory, &mut runs, found);
        buffers().push(runs);
        scanned
    }

    /// How many bytes of the range are mapped just now.
    pub(crate) fn present_bytes(&self, memory: Range<usize>) -> io::Result<usize> {
        let what = Scan { category_mask: PAGE_IS_PRESENT, return_mask: PAGE_IS_PRESENT, ..Scan::default() };
        let mut bytes = 0;
        self.scan(what, memory, |run| bytes += run.len())?;
        Ok(bytes)
    }

    /// As the function of that name.
    pub(crate) fn private_pages(
        &self,
        memory: Range<usize>,
        found: impl FnMut(Range<usize>),
    ) -> io::Result<()> {
        self.scan(Scan::private(), memory, found)
    }
}

/// Calls `found` with every run of pages in a private mapping that is a copy of this process's own: present and not of a file, or
/// swapped out. Of the pages of anonymous memory, also those that were only read.
///
/// An error says that the kernel (before 6.7) cannot tell.
pub(crate) fn private_pages(
    pagemap: &File,
    memory: Range<usize>,
    found: impl FnMut(Range<usize>),
) -> io::Result<()> {
    // Present and swapped runs that touch may come one by one.
    scan(pagemap, Scan::private(), memory, &mut vec![PageRegion::default(); RUNS], found)
}

impl Scan {
    /// Present or swapped out, and not of a file.
    fn private() -> Scan {
        Scan {
            category_inverted: PAGE_IS_FILE,
            category_mask: PAGE_IS_FILE,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_PRESENT,
            ..Scan::default()
        }
    }
}

fn scan(
    pagemap: &File,
    mut what: Scan,
    memory: Range<usize>,
    runs: &mut [PageRegion],
    mut found: impl FnMut(Range<usize>),
) -> io::Result<()> {
    let mut at = memory.start;
    while at < memory.end {
        what.size = size_of::<Scan>() as u64;
        what.start = at as u64;
        what.end = memory.end as u64;
        what.walk_end = 0;
        what.vec = runs.as_mut_ptr() as u64;
        what.vec_len = runs.len() as u64;
        // SAFETY: the kernel reads and writes a `Scan`, and at most `vec_len` entries of the vector that it names; both live
        // across the call, and `PageRegion` is what it writes there.
        let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN as _, &raw mut what) };
        if count < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        for run in &runs[..count as usize] {
            found(run.start as usize..run.end as usize);
        }
        let walked = what.walk_end as usize;
        if walked <= at {
            return Err(io::Error::other("PAGEMAP_SCAN made no headway"));
        }
        at = walked;
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::region::Region;
    use rustix::mm::{MapFlags, ProtFlags};
    use std::os::fd::AsFd;

    const STORES: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

    /// Memory of so many pages, watched; `None` where the kernel cannot.
    fn watched(pages: usize, file: bool) -> Option<(WriteProtection, Region)> {
        let page = crate::sys::page_size();
        let watched = WriteProtection::new()
            .inspect_err(|why| {
                println!("not tested: no write protection here ({}: {})", why.call, why.source)
            })
            .ok()?;
        let mut region = Region::reserve(pages * page).unwrap();
        if file {
            let memory = File::from(crate::sys::memfd::create("test").unwrap());
            memory.set_len((pages * page) as u64).unwrap();
            region.place_file(0..pages * page, memory.as_fd(), 0, STORES, MapFlags::PRIVATE).unwrap();
        } else {
            region.place_anonymous(0..pages * page, STORES, MapFlags::PRIVATE).unwrap();
        }
        let start = region.as_ptr() as usize;
        watched.watch(start..start + pages * page).unwrap();
        Some((watched, region))
    }

    fn store(region: &Region, pages: impl IntoIterator<Item = usize>) {
        for page in pages {
            // SAFETY: the test placed writable memory there and holds no reference to it.
            unsafe { region.as_ptr().wrapping_add(page * crate::sys::page_size()).write_volatile(1) };
        }
    }

    fn load(region: &Region, pages: impl IntoIterator<Item = usize>) {
        for page in pages {
            // SAFETY: the test placed readable memory there.
            unsafe { region.as_ptr().wrapping_add(page * crate::sys::page_size()).read_volatile() };
        }
    }

    fn take(watched: &mut WriteProtection, region: &Region, all_known: bool) -> Vec<usize> {
        let (page, start) = (crate::sys::page_size(), region.as_ptr() as usize);
        let mut found = Vec::new();
        watched
            .take_written(start..start + region.len(), all_known, |run| {
                found.extend((run.start - start) / page..(run.end - start) / page);
            })
            .unwrap();
        found
    }

    fn protect_all(watched: &WriteProtection, region: &Region) {
        let start = region.as_ptr() as usize;
        watched.protect_all(start..start + region.len()).unwrap();
    }

    const NONE: [usize; 0] = [];

    #[test]
    fn a_result_vector_that_fills_up_is_continued() {
        for (vector_len, all_known) in [(1, false), (3, true), (7, false)] {
            let Some((mut watched, region)) = watched(64, true) else { return };
            watched.buffer_len = vector_len;
            protect_all(&watched, &region);
            store(&region, (0..64).step_by(2));
            let want: Vec<_> = (0..64).step_by(2).collect();
            assert_eq!(take(&mut watched, &region, all_known), want, "{vector_len} at a time");
        }
    }

    #[test]
    fn stores_are_found_wherever_they_go_and_once() {
        for (file, all_known) in [(true, false), (true, true), (false, false), (false, true)] {
            let Some((mut watched, region)) = watched(2048, file) else { return };
            if all_known {
                protect_all(&watched, &region);
                assert_eq!(take(&mut watched, &region, all_known), NONE);
            }
            // The page tables of the first half come into being.
            load(&region, 0..1024);
            store(&region, [5]);
            let found = take(&mut watched, &region, all_known);
            assert!(found.contains(&5) && found.iter().all(|&page| page < 1024), "{found:?}");
            // To a page that was found before, to one that was read, to one that nobody touched.
            load(&region, [1500, 1700]);
            store(&region, [5, 700, 1500, 2047]);
            let mut found = take(&mut watched, &region, all_known);
            found.retain(|page| all_known || *page != 1700);
            assert_eq!(found, [5, 700, 1500, 2047]);
            assert_eq!(take(&mut watched, &region, all_known), NONE, "found twice");
            store(&region, [5, 1501]);
            assert_eq!(take(&mut watched, &region, all_known), [5, 1501]);
        }
    }

    #[test]
    fn pages_that_were_dropped_are_watched_still() {
        let page = crate::sys::page_size();
        for all_known in [false, true] {
            let Some((mut watched, mut region)) = watched(64, true) else { return };
            protect_all(&watched, &region);
            store(&region, [3, 9, 11]);
            assert_eq!(take(&mut watched, &region, all_known), [3, 9, 11]);
            region.drop_private(std::slice::from_ref(&(0..64 * page))).unwrap();
            assert_eq!(take(&mut watched, &region, all_known), NONE);
            store(&region, [9, 20]);
            load(&region, [11]);
            assert_eq!(take(&mut watched, &region, all_known), [9, 20]);
        }
    }

    #[test]
    fn pages_that_were_swapped_out_are_found() {
        let page = crate::sys::page_size();
        let Some((mut watched, region)) = watched(64, true) else { return };
        store(&region, 0..64);
        take(&mut watched, &region, false);
        store(&region, [3, 9]);
        // SAFETY: paging out changes no byte (madvise(2)).
        unsafe { rustix::mm::madvise(region.as_ptr().cast(), 64 * page, rustix::mm::Advice::LinuxPageOut) }
            .unwrap();
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let mut word = [0; 8];
        let at = (region.as_ptr() as usize / page + 3) as u64 * 8;
        std::os::unix::fs::FileExt::read_exact_at(&pagemap, &mut word, at).unwrap();
        if u64::from_ne_bytes(word) & (1 << 62) == 0 {
            println!("not tested with swap: this machine has none");
        }
        assert_eq!(take(&mut watched, &region, true), [3, 9]);
    }
}
