//! A commit that finds a page that its disk cannot read any more.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crashlab::block::device::{DeviceFault, Operation};
use crashlab::block::file_system::{FileSystem, Rig};
use crashlab::outcome::Failure;
use rustix::fs::Advice;
use steadfast::{AtomicMapping, ErrorKind, Tracker};

const PAGE: usize = 4096;
const PAGES: usize = 8;
/// What cannot be read.
const GONE: Range<usize> = 3 * PAGE..PAGES * PAGE;

/// Stores through a raw pointer may come at any time, so a commit copies with a call of the kernel's, which says only that something of
/// what it was to copy cannot be had.
#[test]
fn a_commit_of_raw_stores_names_the_page_that_cannot_be_read() {
    for file_system in FileSystem::ALL {
        let mut rig = match Rig::new(file_system) {
            Ok(rig) => rig,
            Err(failure @ Failure::Lacking(_)) => {
                println!("{failure}");
                continue;
            }
            Err(failure) => panic!("{failure}"),
        };
        rig.mount().unwrap();
        let path = rig.root().join("data");
        fs::write(&path, [7; PAGES * PAGE]).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        // A commit that compares all pages, also those that nobody has touched.
        let options = AtomicMapping::options().tracker(Tracker::Declared).journal_bytes(64 << 10);
        // SAFETY: nobody else writes the file.
        let mut map = unsafe { options.view(&path) }.unwrap();
        // SAFETY: the map's first page, which nobody else uses.
        unsafe { map.as_mut_ptr().write_volatile(1) };
        // The first pages are in memory, and from here on nothing is read from the disk.
        let file = File::open(&path).unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::Random).unwrap();
        file.read_exact_at(&mut [0; GONE.start], 0).unwrap();
        let fault =
            DeviceFault { operation: Operation::Read, os_error: 5, after: 0, lasting: true, short: false };
        rig.device.fail(Some(fault));
        let error = map.commit().unwrap_err();
        println!("{file_system}: {error}");
        assert_eq!(error.kind(), ErrorKind::NotCommitted, "{file_system}: {error}");
        assert_eq!(error.file(), Some(&*path), "{file_system}: {error}");
        assert_eq!(error.bytes(), Some(GONE.start as u64..GONE.end as u64), "{file_system}: {error}");
        rig.device.fail(None);
        drop((map, file));
        rig.unmount().unwrap();
    }
}
