//! A first look.
#![allow(unsafe_code)]
use std::fs::File;
use std::os::fd::AsRawFd;
use steadfast::{AtomicMapping, posix};

#[test]
fn a_window_commits_with_msync() {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("data.bin");
    std::fs::write(&path, vec![7; 8 * 4096]).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let options = AtomicMapping::options().publish(true).guard(false);
    let (rw, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    let at = unsafe {
        posix::mmap_atomic(std::ptr::null_mut(), 8 * 4096, rw, shared, file.as_raw_fd(), 0, &options)
    }
    .unwrap();
    let bytes = unsafe { std::slice::from_raw_parts_mut(at.cast::<u8>(), 8 * 4096) };
    bytes[0] = 1;
    bytes[5 * 4096] = 2;
    assert_eq!(std::fs::read(&path).unwrap()[0], 7);
    posix::msync(at, 4096, libc::MS_SYNC, posix::Rules::Posix).unwrap();
    let found = std::fs::read(&path).unwrap();
    assert_eq!((found[0], found[5 * 4096]), (1, 7));
    posix::file::write_at(std::os::fd::AsFd::as_fd(&file), b"abc", 5 * 4096 + 1).unwrap().unwrap();
    assert_eq!(&bytes[5 * 4096..][..4], b"\x02abc");
    // A second mapping of the same bytes.
    let again =
        unsafe { posix::mmap_atomic(std::ptr::null_mut(), 4096, rw, shared, file.as_raw_fd(), 0, &options) };
    assert_eq!(again.unwrap_err().kind(), steadfast::ErrorKind::Busy);
    let again = unsafe { posix::mmap(std::ptr::null_mut(), 4096, rw, shared, file.as_raw_fd(), 0) }.unwrap();
    bytes[3] = 33;
    assert_eq!(unsafe { *again.cast::<u8>().add(3) }, 33);
    assert_eq!(&bytes[5 * 4096..][..4], b"\x02abc");
    posix::msync(at, 8 * 4096, libc::MS_SYNC, posix::Rules::Posix).unwrap();
    unsafe { posix::munmap(at, 8 * 4096) }.unwrap();
    unsafe { posix::munmap(again, 4096) }.unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[3], 33);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
