//! What lies between two steps of a call.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, and what they have in common")]

use std::fs;
use std::os::fd::AsRawFd;

use super::*;
use crate::atomic::AtomicMapping;

/// A file of sevens, mapped whole and committed.
fn mapped(folder: &Path) -> (std::path::PathBuf, fs::File, Range<usize>, Window) {
    let path = folder.join("data");
    let len = 2 * page_size();
    fs::write(&path, vec![7; len]).unwrap();
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    // SAFETY: nobody else writes the file.
    let at = unsafe {
        mmap_atomic(len, READ_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0, &AtomicMapping::options())
    };
    let memory = pages(at.unwrap() as usize, len).unwrap();
    let [(_, Some(Place::Atomic(window)))] = &table::parts(&memory)[..] else { panic!("no window") };
    // SAFETY: mapped, and nobody else uses it.
    unsafe { (memory.start as *mut u8).write_volatile(1) };
    window.file.image().unwrap().commit_all().unwrap();
    (path, file, memory.clone(), window.clone())
}

/// Another process renames the file behind the look at its name.
#[test]
fn a_file_that_is_renamed_while_it_is_closed_is_plain_by_its_new_name() {
    type Close = fn(&Range<usize>, &Window) -> Result<()>;
    let closes: [(&str, Close); 3] = [
        ("munmap", |memory, window| {
            drop(table::remove(memory));
            unmap_window(memory, window)
        }),
        ("exit", |_, window| window.file.image().unwrap().leave_named(Name::Kept)),
        ("giving back", |_, window| window.file.image().unwrap().close_frozen(Name::Kept, Name::Kept)),
    ];
    for (name, close) in closes {
        let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
        let (path, file, memory, window) = mapped(folder.path());
        let moved = folder.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        close(&memory, &window).unwrap();
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["moved"], "{name}");
        assert!(rustix::fs::fgetxattr(&file, "user.steadfast", &mut [0_u8; 256]).is_err(), "{name}");
        assert_eq!(fs::read(&moved).unwrap()[..2], [1, 7], "{name}");
    }
}

/// Another process renames the file while it is opened, and its journal stands beside the old name.
#[test]
fn a_name_that_is_lost_while_the_file_is_opened_is_noticed() {
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let path = folder.path().join("data");
    let file = fs::File::create(&path).unwrap();
    let identity = atomic::identity_of(file.as_fd()).unwrap().unwrap();
    let place = crate::posix::name::Place::of(file.as_fd(), identity).unwrap();
    assert_eq!(place.name(), Name::Kept);
    fs::rename(&path, folder.path().join("moved")).unwrap();
    assert_eq!(place.name(), Name::Elsewhere);
    // Renamed just before, it was opened by the new name.
    assert_eq!(place.opened_by(&folder.path().join("moved")).name(), Name::Kept);
    let place = crate::posix::name::Place::of(file.as_fd(), identity).unwrap();
    assert_eq!(place.opened_by(&path).name(), Name::Elsewhere);
}

/// A store that comes behind the commit of the unmapping is not lost: where it cannot be committed, the memory is the program's still.
#[test]
fn a_window_whose_file_cannot_be_closed_stays_mapped() {
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let (_, _file, memory, window) = mapped(folder.path());
    let (at, len) = (memory.start as *mut u8, memory.len());

    drop(table::remove(&memory));
    // SAFETY: the map's own, and nobody else uses it.
    unsafe { at.write_volatile(2) };
    // No commit goes over a page that is gone. SAFETY: what the kernel says then (`BUS_MCEERR_AR`); the page is this test's own.
    assert!(unsafe { crate::fault::answer(at as usize + page_size(), 4) });
    let error = unmap_window(&memory, &window).unwrap_err();
    assert_eq!(error.bytes(), Some(page_size() as u64..len as u64), "{error}");
    assert!(matches!(&table::parts(&memory)[..], [(_, Some(Place::Atomic(_)))]), "{error}");
    // SAFETY: still mapped.
    assert_eq!(unsafe { at.read_volatile() }, 2);
}
