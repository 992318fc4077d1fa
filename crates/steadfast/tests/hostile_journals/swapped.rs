//! A journal that changes places with another while it is opened.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use steadfast::ErrorKind;
use steadfast::disk::{Access, Disk, DiskFile, Durability, FileStat, RealDisk, SyncPoint};
use steadfast::store::{Resolution, recover_on};

use crate::stage::forging::{Journal, Record, record_at};
use crate::stage::{LEN, Model, assert_says, journal_of};
use crate::ways_in::Pair;

/// The machine's disk, on which somebody gives the journal's name to another file at the worst moment.
#[derive(Debug)]
struct Swapping {
    journal: PathBuf,
    other: PathBuf,
    /// The swap comes just before the journal is opened so many times.
    before_open: u32,
    opened: AtomicU32,
}

impl Disk for Swapping {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        if path == self.journal && self.opened.fetch_add(1, Ordering::Relaxed) + 1 == self.before_open {
            fs::rename(&self.other, &self.journal)?;
        }
        let file = RealDisk.open(path, access)?;
        if path == self.journal && self.before_open == 0 && self.other.exists() {
            fs::rename(&self.other, &self.journal)?;
        }
        Ok(file)
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        RealDisk.stat(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        RealDisk.resolve(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
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
fn the_journal_that_was_judged_is_the_one_that_is_replayed() {
    // A journal of the same file, with other bytes in the same places, that everybody could write.
    let swapping = |before_open| {
        let pair = Pair::new(None);
        let path = pair.path.canonicalize().unwrap();
        let other = pair.elsewhere.join("other");
        fs::copy(&pair.journal, &other).unwrap();
        let mut forged = Journal::read(&other);
        let mut changed = Model::after(&[1, 2, 3]).0[..16].to_vec();
        changed[0] = 77;
        let record =
            Record { id: 3, durable_through: 2, len: LEN as u64, extents: vec![(0, 16)], payload: changed };
        forged.put_record(record_at(2), &record);
        forged.chain(&[record_at(0), record_at(1), record_at(2)]);
        forged.write(&other);
        pair.mode(&other, 0o666);
        let disk = Swapping { journal: journal_of(&path), other, before_open, opened: AtomicU32::new(0) };
        (pair, Arc::new(disk))
    };
    // Between the look at the name and the open.
    let (pair, disk) = swapping(1);
    let error = recover_on(disk, &pair.path, Resolution::Replay).unwrap_err();
    assert_says(&error, ErrorKind::Identity, &pair.path, &["(mode 666) may be written by others"]);
    assert!(fs::read(&pair.path).unwrap() == Model::plain().0, "something was replayed");
    // And just behind it.
    let (pair, disk) = swapping(0);
    recover_on(Arc::clone(&disk) as Arc<dyn Disk>, &pair.path, Resolution::Replay).unwrap();
    assert!(fs::read(&pair.path).unwrap() == Model::after(&[1, 2, 3]).0, "another journal was replayed");
    assert_eq!(disk.opened.load(Ordering::Relaxed), 1, "the name is opened once");
}
