//! What lies between the two steps of an unmapping.

use std::fs;
use std::os::fd::AsRawFd;

use super::*;
use crate::atomic::AtomicMapping;

/// A store that comes behind the commit of the unmapping is not lost: where it cannot be committed, the memory is the program's still.
#[test]
fn a_window_whose_file_cannot_be_closed_stays_mapped() {
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let path = folder.path().join("data");
    let len = 2 * page_size();
    fs::write(&path, vec![7; len]).unwrap();
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let options = AtomicMapping::options();
    // SAFETY: nobody else writes the file.
    let at = unsafe { mmap_atomic(len, READ_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0, &options) };
    let at = at.unwrap().cast::<u8>();
    let memory = pages(at as usize, len).unwrap();
    let [(_, Some(Place::Atomic(window)))] = &table::parts(&memory)[..] else { panic!("no window") };

    drop(table::remove(&memory));
    // SAFETY: the map's own, and nobody else uses it.
    unsafe { at.write_volatile(1) };
    // No commit goes over a page that is gone. SAFETY: what the kernel says then (`BUS_MCEERR_AR`); the page is this test's own.
    assert!(unsafe { crate::fault::answer(at as usize + page_size(), 4) });
    let error = unmap_window(&memory, window).unwrap_err();
    assert_eq!(error.bytes(), Some(page_size() as u64..len as u64), "{error}");
    assert!(matches!(&table::parts(&memory)[..], [(_, Some(Place::Atomic(_)))]), "{error}");
    // SAFETY: still mapped.
    assert_eq!(unsafe { at.read_volatile() }, 1);
}
