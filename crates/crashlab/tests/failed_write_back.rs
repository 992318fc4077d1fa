//! The kernel's own trap: after a write-back that failed the page is clean, and the next msync returns 0. `Mapping` notices.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

use crashlab::block::device::{DeviceFault, Operation};
use crashlab::block::file_system::{FileSystem, Rig};
use crashlab::outcome::Failure;
use steadfast::posix::{self, Rules};
use steadfast::{ErrorKind, Mapping};

const LEN: usize = 64 << 10;
const AT: usize = 12 << 10;

/// The next write fails, once.
const NEXT_WRITE_FAILS: DeviceFault =
    DeviceFault { operation: Operation::Write, os_error: 5, after: 0, lasting: false, short: false };

/// A mounted file system with a durable file of ones. `None`, and a word about it, where that cannot be had.
fn rig(file_system: FileSystem) -> Option<Rig> {
    let mut rig = match Rig::new(file_system) {
        Ok(rig) => rig,
        Err(failure @ Failure::Lacking(_)) => {
            println!("{failure}");
            return None;
        }
        Err(failure) => panic!("{failure}"),
    };
    rig.mount().unwrap();
    let path = rig.root().join("data");
    fs::write(&path, vec![1; LEN]).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    rustix::fs::syncfs(File::open(rig.root()).unwrap()).unwrap();
    Some(rig)
}

/// What the disk has, past everything that is cached.
fn on_disk(rig: &mut Rig, path: &Path) -> u8 {
    rig.unmount().unwrap();
    rig.mount().unwrap();
    fs::read(path).unwrap()[AT]
}

#[test]
fn the_kernel_forgets_a_failed_write_back() {
    for file_system in [FileSystem::Ext4, FileSystem::Xfs] {
        let Some(mut rig) = rig(file_system) else { continue };
        let path = rig.root().join("data");
        let file = File::options().read(true).write(true).open(&path).unwrap();
        // SAFETY: nobody else has the file, which lies on a disk of this test's own.
        let mut map = unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap();
        map[AT] = 2;
        rig.device.fail(Some(NEXT_WRITE_FAILS));
        assert!(map.flush().is_err(), "{file_system}: the error is told");
        assert!(map.flush().is_ok(), "{file_system}: and forgotten");
        assert_eq!(map[AT], 2, "{file_system}: memory still has what the disk lacks");
        drop((map, file));
        assert_eq!(on_disk(&mut rig, &path), 1, "{file_system}: two flushes later it is lost");
    }
}

#[test]
fn a_mapping_remembers_a_failed_write_back_until_the_data_is_safe() {
    for file_system in FileSystem::ALL {
        let Some(mut rig) = rig(file_system) else { continue };
        let path = rig.root().join("data");
        let map = Mapping::options().write(true).open(&path).unwrap();
        map.write_at(AT, &[2]).unwrap();
        rig.device.fail(Some(NEXT_WRITE_FAILS));
        for attempt in 0..3 {
            let error = map.sync(..).expect_err("told, and told again");
            assert_eq!(error.kind(), ErrorKind::WriteBack, "{file_system}, attempt {attempt}: {error}");
        }
        assert_eq!(rig.device.failed(), 1, "{file_system}: the device failed once only");
        // The way on that the error names.
        map.write_at(AT, &[2]).unwrap();
        map.redirty(..).unwrap();
        map.sync(..).unwrap_or_else(|error| panic!("{file_system}: written again, and safe: {error}"));
        map.close().unwrap();
        assert_eq!(on_disk(&mut rig, &path), 2, "{file_system}");
    }
}

/// The durable file of a rig, mapped by address, with a two where the disk has a one.
struct ByAddress(*mut c_void);

impl ByAddress {
    fn of(path: &Path) -> ByAddress {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let (prot, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        // SAFETY: anywhere that is free.
        let at = unsafe { posix::mmap(std::ptr::null_mut(), LEN, prot, libc::MAP_SHARED, fd, 0) }.unwrap();
        let map = ByAddress(at);
        // Length and name are durable before anything fails.
        map.msync(libc::MS_SYNC).unwrap();
        // SAFETY: within the mapping, which nobody else uses.
        unsafe { at.cast::<u8>().wrapping_add(AT).write_volatile(2) };
        map
    }

    fn msync(&self, flags: i32) -> steadfast::Result<()> {
        posix::msync(self.0, LEN, flags, Rules::Posix)
    }

    fn unmap(self) {
        // SAFETY: nobody uses it any more.
        unsafe { posix::munmap(self.0, LEN) }.unwrap();
    }
}

/// A program that syncs by address calls nothing else: the next sync has the lost pages to write again, and only then is it 0.
#[test]
fn a_sync_by_address_that_failed_is_made_good_by_the_next_that_succeeds() {
    for file_system in FileSystem::ALL {
        let Some(mut rig) = rig(file_system) else { continue };
        let path = rig.root().join("data");
        let map = ByAddress::of(&path);
        rig.device.fail(Some(NEXT_WRITE_FAILS));
        let error = map.msync(libc::MS_SYNC).expect_err("told");
        assert_eq!(posix::errno(&error), libc::EIO, "{file_system}: {error}");
        assert_eq!(rig.device.failed(), 1, "{file_system}: the device failed once only");
        map.msync(libc::MS_SYNC).unwrap_or_else(|error| panic!("{file_system}: written again: {error}"));
        map.unmap();
        assert_eq!(on_disk(&mut rig, &path), 2, "{file_system}");
    }
}

/// Whichever of the two calls met the error in the kernel, which tells it once.
#[test]
fn a_write_back_that_failed_behind_ms_async_is_told_by_a_later_ms_sync() {
    for file_system in FileSystem::ALL {
        let Some(mut rig) = rig(file_system) else { continue };
        let path = rig.root().join("data");
        let map = ByAddress::of(&path);
        rig.device.fail(Some(NEXT_WRITE_FAILS));
        map.msync(libc::MS_ASYNC).unwrap();
        let error = map.msync(libc::MS_SYNC).expect_err("told");
        assert_eq!(posix::errno(&error), libc::EIO, "{file_system}: {error}");
        map.msync(libc::MS_SYNC).unwrap_or_else(|error| panic!("{file_system}: written again: {error}"));
        map.unmap();
        assert_eq!(on_disk(&mut rig, &path), 2, "{file_system}");
    }
}
