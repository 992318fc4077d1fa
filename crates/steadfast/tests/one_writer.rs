//! One writer at a time, found by the file and not by what its name means meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use steadfast::disk::{Access, Disk, DiskFile, Durability, FileStat, RealDisk, SyncPoint};
use steadfast::{AtomicMapping, ErrorKind};

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn waiting_for_ever_is_a_timeout_too() {
    let folder = folder();
    AtomicMapping::options().create(true).lock_timeout(Duration::MAX).load(folder.path().join("a")).unwrap();
}

/// The folder is renamed under an open file, and another file takes the path: its journal is not the first one's to touch.
fn with_the_path_taken(work: impl FnOnce(AtomicMapping) -> ErrorKind) {
    let folder = folder();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    fs::create_dir(&here).unwrap();
    let path = here.join("a");
    let open = || AtomicMapping::options().create(true).len(4096).journal_bytes(1 << 15).load(&path).unwrap();
    let mut first = open();
    first.edit(0..4).unwrap().fill(1);
    first.commit().unwrap();
    fs::rename(&here, &there).unwrap();
    fs::create_dir(&here).unwrap();
    let mut second = open();
    second.edit(0..4).unwrap().fill(2);
    second.commit().unwrap();
    let journal = fs::read(here.join("a.steadfast")).unwrap();

    assert_eq!(work(first), ErrorKind::ForeignChange);
    assert!(fs::read(here.join("a.steadfast")).unwrap() == journal, "the second file's journal");
    second.close().unwrap();
    assert_eq!(fs::read(&path).unwrap()[..4], [2; 4]);
    let moved = AtomicMapping::options().load(there.join("a")).unwrap();
    assert_eq!(moved[..4], [1; 4], "recovered where it went");
}

#[test]
fn close_leaves_the_journal_of_another_file_alone() {
    with_the_path_taken(|first| first.close().unwrap_err().kind());
}

#[test]
fn a_larger_journal_does_not_replace_that_of_another_file() {
    with_the_path_taken(|mut first| {
        first.resize(1 << 20).unwrap();
        first.edit(..).unwrap().fill(3);
        first.commit().unwrap_err().kind()
    });
}

#[test]
#[allow(unsafe_code)]
fn a_forked_child_does_not_keep_the_lock_of_a_file_that_was_closed() {
    let folder = folder();
    let path = folder.path().join("a");
    let map = AtomicMapping::options().create(true).len(4096).load(&path).unwrap();
    // SAFETY: the child calls nothing but pause and _exit, which are async-signal-safe.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe { libc::pause() };
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    map.close().unwrap();
    let again = AtomicMapping::options().load(&path).map(drop);
    // SAFETY: a child of our own.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // SAFETY: a child of our own; no status is asked for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    again.unwrap();
}

/// The machine's disk, where no file can be renamed; and just after that failed, another writer comes.
#[derive(Debug)]
struct Meeting {
    path: std::path::PathBuf,
    met: std::sync::atomic::AtomicBool,
}

impl Disk for Meeting {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        if path == self.path && !matches!(access, Access::CreateNew { .. }) {
            // The first has let go of the lock: it is about to clear up.
            if !self.met.swap(true, std::sync::atomic::Ordering::Relaxed) {
                let mut map = AtomicMapping::options().create(true).len(4).load(path).unwrap();
                map.edit(..).unwrap().fill(7);
                map.commit().unwrap();
                map.close().unwrap();
            }
        }
        RealDisk.open(path, access)
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        RealDisk.stat(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<std::path::PathBuf> {
        RealDisk.resolve(path)
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, folder: &Path, point: SyncPoint) -> io::Result<()> {
        RealDisk.sync_dir(folder, point)
    }

    fn durability(&self, path: &Path) -> io::Result<Durability> {
        RealDisk.durability(path)
    }
}

#[test]
fn a_created_file_that_another_writer_took_up_is_not_removed() {
    let folder = folder();
    let path = folder.path().canonicalize().unwrap().join("a");
    let disk = Arc::new(Meeting { path: path.clone(), met: false.into() });
    AtomicMapping::options().create(true).len(4).load_on(disk, &path).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), [7; 4]);
}
