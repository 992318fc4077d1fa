//! What a sync calls, in which order, and what a failing call means: with calls that fail on demand.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::file::SyncCalls;
use super::{Mapping, MappingOptions};
use crate::error::ErrorKind;
use crate::sys::page_size;
use crate::sys::region::Region;

/// Notes each call; does none of them; fails those that it is told to.
#[derive(Debug, Default)]
struct Script {
    calls: Mutex<Vec<String>>,
    /// A call's name and the errno of its next time.
    failures: Mutex<Vec<(&'static str, i32)>>,
    /// What the file system regards as never written, the next time it is asked.
    unwritten: Mutex<Option<Range<u64>>>,
    /// While set, msync waits.
    held: Mutex<bool>,
    released: Condvar,
}

impl Script {
    fn fail_next(&self, call: &'static str, errno: i32) {
        self.failures.lock().unwrap().push((call, errno));
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn call(&self, name: &'static str, what: String) -> io::Result<()> {
        self.calls.lock().unwrap().push(what);
        let mut failures = self.failures.lock().unwrap();
        match failures.iter().position(|&(call, _)| call == name) {
            Some(at) => Err(io::Error::from_raw_os_error(failures.remove(at).1)),
            None => Ok(()),
        }
    }

    fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }
}

impl SyncCalls for Script {
    fn msync(&self, _region: &Region, bytes: Range<usize>) -> io::Result<()> {
        let mut held = self.held.lock().unwrap();
        while *held {
            held = self.released.wait(held).unwrap();
        }
        drop(held);
        self.call("msync", format!("msync {}", bytes.len() / page_size()))
    }

    fn fdatasync(&self, _fd: BorrowedFd<'_>) -> io::Result<()> {
        self.call("fdatasync", "fdatasync".into())
    }

    fn fsync(&self, _fd: BorrowedFd<'_>) -> io::Result<()> {
        self.call("fsync", "fsync".into())
    }

    fn first_unwritten(&self, _fd: BorrowedFd<'_>, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
        let mut unwritten = self.unwritten.lock().unwrap();
        Ok(unwritten.take_if(|bytes| bytes.start < range.end && range.start < bytes.end))
    }

    fn sync_folder(&self, _folder: BorrowedFd<'_>, _fd: BorrowedFd<'_>) -> io::Result<()> {
        self.call("folder", "folder".into())
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix(".test-")
        .tempdir_in(std::env::current_exe().unwrap().parent().unwrap())
        .unwrap()
}

fn scripted(options: MappingOptions, folder: &tempfile::TempDir) -> (Mapping, Arc<Script>) {
    let mut map = options.open(folder.path().join("data.bin")).unwrap();
    let script = Arc::new(Script::default());
    let file = Arc::into_inner(map.file.take().unwrap()).unwrap();
    map.file = Some(Arc::new(file.with_calls(script.clone())));
    (map, script)
}

fn writable(pages: usize) -> MappingOptions {
    Mapping::options().write(true).create(true).len(pages * page_size())
}

#[test]
fn the_first_sync_of_a_created_file_makes_length_and_name_durable() {
    let folder = folder();
    let (mut map, script) = scripted(writable(4), &folder);
    map.sync(..).unwrap();
    assert_eq!(script.taken(), ["msync 4", "fsync", "folder"]);
    map.sync(..1).unwrap();
    assert_eq!(script.taken(), ["msync 1"]);
    map.resize(6 * page_size()).unwrap();
    map.sync(..).unwrap();
    assert_eq!(script.taken(), ["msync 6", "fsync"]);
    map.resize(10).unwrap();
    map.start_sync(..).unwrap().wait().unwrap();
    assert_eq!(script.taken(), ["msync 1", "fsync"]);
}

#[test]
fn an_existing_file_needs_no_more_than_its_bytes() {
    let folder = folder();
    std::fs::write(folder.path().join("data.bin"), vec![1; 3 * page_size()]).unwrap();
    let (map, script) = scripted(Mapping::options().write(true), &folder);
    map.sync(..).unwrap();
    assert_eq!(script.taken(), ["msync 3"]);
    drop(map);
    let (map, script) = scripted(Mapping::options(), &folder);
    map.sync(..).unwrap();
    assert_eq!(script.taken(), ["fdatasync"], "msync does nothing for a file opened for reading");
}

#[test]
fn an_empty_file_gets_its_name() {
    let folder = folder();
    let (map, script) = scripted(writable(0), &folder);
    map.sync(..).unwrap();
    assert_eq!(script.taken()[1..], ["fsync", "folder"]);
    map.start_sync(..).unwrap().wait().unwrap();
}

#[test]
fn write_back_errors_are_remembered_until_redirtied() {
    let folder = folder();
    let page = page_size();
    let (map, script) = scripted(writable(8), &folder);
    map.sync(..).unwrap();
    script.fail_next("msync", libc::EIO);
    let error = map.sync(page..2 * page).unwrap_err();
    assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::WriteBack, Some(libc::EIO)));
    assert_eq!(error.bytes(), Some(0..8 * page as u64), "the kernel does not say which pages");
    script.taken();

    // The kernel would now say 0, to everybody, about every page.
    for range in [page..2 * page, 5 * page..5 * page + 1, 0..8 * page] {
        assert_eq!(map.sync(range.clone()).unwrap_err().kind(), ErrorKind::WriteBack);
        let ticket = map.start_sync(range).unwrap();
        assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::WriteBack);
    }
    assert_eq!(script.taken(), [""; 0], "nothing is flushed and believed");
    map.sync(3..3).unwrap();

    // Dirty again, but not yet written: a sync that reaches further still fails and names the rest.
    map.redirty(page..2 * page).unwrap();
    let error = map.sync(page..3 * page).unwrap_err();
    assert_eq!(error.bytes(), Some(2 * page as u64..3 * page as u64));
    map.sync(page..2 * page).unwrap();
    map.sync(page + 1..page + 2).unwrap();
    assert_eq!(map.sync(..).unwrap_err().bytes(), Some(0..page as u64));

    // All of it.
    map.redirty(..).unwrap();
    map.start_sync(..).unwrap().wait().unwrap();
    map.sync(..).unwrap();
    map.close().unwrap();
}

#[test]
fn a_redirtied_range_fails_again_with_the_next_error() {
    let folder = folder();
    let page = page_size();
    let (map, script) = scripted(writable(4), &folder);
    for call in ["msync", "fsync"] {
        script.fail_next(call, libc::ENOSPC);
        assert_eq!(map.sync(..).unwrap_err().kind(), ErrorKind::WriteBack, "{call}");
        map.redirty(..).unwrap();
        script.fail_next("msync", libc::EIO);
        // The error may belong to any page: what was dirty again before may be lost once more.
        assert_eq!(map.sync(..page).unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(map.sync(2 * page..).unwrap_err().kind(), ErrorKind::WriteBack);
        map.redirty(..).unwrap();
    }
    let error = map.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WriteBack, "dirty is not durable");
}

#[test]
fn blocks_that_read_as_zeros_are_not_durable() {
    let folder = folder();
    let page = page_size();
    let (map, script) = scripted(writable(4), &folder);
    *script.unwritten.lock().unwrap() = Some(0..page as u64);
    map.sync(..).unwrap();
    script.fail_next("msync", libc::EIO);
    map.sync(..).unwrap_err();
    map.redirty(..).unwrap();
    map.sync(2 * page..).unwrap();
    let error = map.sync(..).unwrap_err();
    assert_eq!((error.kind(), error.bytes()), (ErrorKind::WriteBack, Some(0..page as u64)));
    assert_eq!(
        map.sync(..page).unwrap_err().kind(),
        ErrorKind::WriteBack,
        "and must be made dirty once more"
    );
    map.redirty(..page).unwrap();
    map.sync(..page).unwrap();
}

#[test]
fn an_error_before_anything_was_tried_loses_nothing() {
    let folder = folder();
    let (map, script) = scripted(writable(4), &folder);
    script.fail_next("msync", libc::ENOMEM);
    assert_eq!(map.sync(..).unwrap_err().kind(), ErrorKind::LimitExceeded);
    script.fail_next("msync", libc::EINTR);
    map.sync(..).unwrap();
    map.close().unwrap();
}

#[test]
fn a_folder_that_cannot_be_synced_is_never_believed() {
    let folder = folder();
    let (map, script) = scripted(writable(4), &folder);
    script.fail_next("folder", libc::EIO);
    for _ in 0..2 {
        assert_eq!(map.sync(..).unwrap_err().kind(), ErrorKind::WriteBack);
        map.redirty(..).unwrap();
    }
    assert_eq!(map.close().unwrap_err().kind(), ErrorKind::WriteBack);
}

#[test]
fn the_errors_of_tickets_are_remembered_too() {
    let folder = folder();
    let (map, script) = scripted(writable(4), &folder);
    script.fail_next("msync", libc::EIO);
    let ticket = map.start_sync(..page_size()).unwrap();
    // Not waited for: the later sync still knows, as it comes after.
    assert_eq!(map.sync(..).unwrap_err().kind(), ErrorKind::WriteBack);
    assert!(ticket.is_done());
    for _ in 0..2 {
        assert_eq!(ticket.wait().unwrap_err().raw_os_error(), Some(libc::EIO));
    }
    script.fail_next("msync", libc::EDQUOT);
    map.redirty(..).unwrap();
    drop(map.start_sync(..).unwrap());
    assert_eq!(map.close().unwrap_err().raw_os_error(), Some(libc::EDQUOT), "close waits for tickets");
}

#[test]
fn a_ticket_can_be_polled_and_a_sync_waits_only_for_what_overlaps() {
    let folder = folder();
    let page = page_size();
    let (map, script) = scripted(writable(4), &folder);
    map.sync(..).unwrap();
    script.taken();
    script.hold();
    let ticket = map.start_sync(..page).unwrap();
    assert!(!ticket.is_done());
    assert!(!ticket.wait_timeout(Duration::from_millis(1)).unwrap());
    map.file.as_ref().unwrap().background.wait_for(&(page as u64..4 * page as u64));
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| map.sync(..));
        script.release();
        sync.join().unwrap().unwrap();
    });
    assert!(ticket.is_done());
    assert!(ticket.wait_timeout(Duration::MAX).unwrap());
    assert_eq!(script.taken(), ["msync 1", "msync 4"], "in this order");
}
