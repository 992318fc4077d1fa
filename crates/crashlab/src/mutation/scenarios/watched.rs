//! A simulated disk with somebody else's hand in it at a chosen moment.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use steadfast::disk::{Access, Disk, DiskFile, Durability, FileStat, Lock, SimDisk, SyncPoint};

use super::rig::JOURNAL;

type Hand = Box<dyn FnOnce(&SimDisk) + Send>;

#[derive(Clone)]
pub(super) struct Watched {
    disk: SimDisk,
    how: Arc<How>,
}

#[derive(Default)]
struct How {
    /// What happens just before a lock is asked for the first time.
    before_lock: Mutex<Option<Hand>>,
    /// What happens just before the journal is opened to be read for the first time, and just behind it.
    before_journal: Mutex<Option<Hand>>,
    behind_journal: Mutex<Option<Hand>>,
    /// What the disk says of a name or a file.
    restat: Option<fn(&Path, &mut FileStat)>,
    /// What happens just before records are synced for the first time.
    before_records: Mutex<Option<Hand>>,
    /// What happens just before the call of this number of those that a reader makes.
    before_call: Mutex<Option<Hand>>,
    calls_left: AtomicU32,
    /// What happens just before the look of this number at an open file.
    before_look: Mutex<Option<Hand>>,
    looks_left: AtomicU32,
    /// So many times pages are not dropped: somebody maps them.
    held_pages: AtomicU32,
    /// No direct I/O: a durable write is a write and a sync.
    page_cache_only: bool,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl Watched {
    pub(super) fn before_lock(disk: &SimDisk, hand: impl FnOnce(&SimDisk) + Send + 'static) -> Arc<Watched> {
        let how = How { before_lock: Mutex::new(Some(Box::new(hand))), ..How::default() };
        Arc::new(Watched { disk: disk.clone(), how: Arc::new(how) })
    }

    pub(super) fn before_records(
        disk: &SimDisk,
        hand: impl FnOnce(&SimDisk) + Send + 'static,
    ) -> Arc<Watched> {
        let how = How { before_records: Mutex::new(Some(Box::new(hand))), ..How::default() };
        Arc::new(Watched { disk: disk.clone(), how: Arc::new(how) })
    }

    pub(super) fn before_journal(
        disk: &SimDisk,
        hand: impl FnOnce(&SimDisk) + Send + 'static,
    ) -> Arc<Watched> {
        let how = How { before_journal: Mutex::new(Some(Box::new(hand))), ..How::default() };
        Arc::new(Watched { disk: disk.clone(), how: Arc::new(how) })
    }

    pub(super) fn behind_journal(
        disk: &SimDisk,
        hand: impl FnOnce(&SimDisk) + Send + 'static,
    ) -> Arc<Watched> {
        let how = How { behind_journal: Mutex::new(Some(Box::new(hand))), ..How::default() };
        Arc::new(Watched { disk: disk.clone(), how: Arc::new(how) })
    }

    /// The hand comes at the `call`-th call that a reader makes.
    pub(super) fn before_call(
        disk: &SimDisk,
        call: u32,
        hand: impl FnOnce(&SimDisk) + Send + 'static,
    ) -> Arc<Watched> {
        let before_call = Mutex::new(Some(Box::new(hand) as Hand));
        let how = How { before_call, calls_left: AtomicU32::new(call), ..How::default() };
        Arc::new(Watched { disk: disk.clone(), how: Arc::new(how) })
    }

    /// Did so few calls come that the hand never had its turn?
    pub(super) fn never_came(&self) -> bool {
        self.how.calls_left.load(Ordering::Relaxed) > 0
    }

    fn count_call(&self) {
        let left = self.how.calls_left.load(Ordering::Relaxed);
        self.how.calls_left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 {
            self.lend_hand(&self.how.before_call);
        }
    }

    pub(super) fn through_the_page_cache(disk: &SimDisk) -> Arc<Watched> {
        let how = How { page_cache_only: true, ..How::default() };
        Arc::new(Watched { disk: disk.clone(), how: Arc::new(how) })
    }

    pub(super) fn saying(disk: &SimDisk, restat: fn(&Path, &mut FileStat)) -> Arc<Watched> {
        let how = How { restat: Some(restat), ..How::default() };
        Arc::new(Watched { disk: disk.clone(), how: Arc::new(how) })
    }

    pub(super) fn new(disk: &SimDisk) -> Arc<Watched> {
        Arc::new(Watched { disk: disk.clone(), how: Arc::default() })
    }

    /// From here on, the hand comes just before the `look`-th look at an open file.
    pub(super) fn set_hand(&self, look: u32, hand: impl FnOnce(&SimDisk) + Send + 'static) {
        *self.how.before_look.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hand));
        self.how.looks_left.store(look, Ordering::Relaxed);
    }

    /// Did so few looks come that the hand never had its turn?
    pub(super) fn is_hand_left(&self) -> bool {
        self.how.looks_left.load(Ordering::Relaxed) > 0
    }

    /// The next `times` drops of the data file's pages drop nothing.
    pub(super) fn hold_pages(&self, times: u32) {
        self.how.held_pages.store(times, Ordering::Relaxed);
    }

    fn lend_hand(&self, hand: &Mutex<Option<Hand>>) {
        let hand = hand.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(hand) = hand {
            hand(&self.disk);
        }
    }

    fn said(&self, path: &Path, mut stat: FileStat) -> FileStat {
        if let Some(restat) = self.how.restat {
            restat(path, &mut stat);
        }
        stat
    }
}

impl Disk for Watched {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        self.count_call();
        let reads_journal = access == Access::Read && path == Path::new(JOURNAL);
        if reads_journal {
            self.lend_hand(&self.how.before_journal);
        }
        let file = self.disk.open(path, access)?;
        if reads_journal {
            self.lend_hand(&self.how.behind_journal);
        }
        Ok(Box::new(WatchedFile { file, path: path.to_owned(), disk: self.clone() }))
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.count_call();
        Ok(self.said(path, self.disk.stat(path)?))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.disk.resolve(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, folder: &Path, point: SyncPoint) -> io::Result<()> {
        self.disk.sync_dir(folder, point)
    }

    fn durability(&self, path: &Path) -> io::Result<Durability> {
        self.disk.durability(path)
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    disk: Watched,
}

impl DiskFile for WatchedFile {
    fn stat(&self) -> io::Result<FileStat> {
        self.disk.count_call();
        let left = self.disk.how.looks_left.load(Ordering::Relaxed);
        self.disk.how.looks_left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 {
            self.disk.lend_hand(&self.disk.how.before_look);
        }
        Ok(self.disk.said(&self.path, self.file.stat()?))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.count_call();
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.file.write_at(parts, offset)
    }

    fn write_durably(&self, blocks: &[u8], offset: u64, point: SyncPoint) -> io::Result<()> {
        if self.disk.how.page_cache_only {
            self.file.write_at(&[blocks], offset)?;
            return self.file.sync_data(point);
        }
        self.file.write_durably(blocks, offset, point)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn check_len(&self, len: u64) -> io::Result<()> {
        self.file.check_len(len)
    }

    fn reserve(&self, range: Range<u64>) -> io::Result<Range<u64>> {
        self.file.reserve(range)
    }

    fn zero(&self, range: Range<u64>) -> io::Result<()> {
        self.file.zero(range)
    }

    fn sync_data(&self, point: SyncPoint) -> io::Result<()> {
        if point == SyncPoint::Record {
            self.disk.lend_hand(&self.disk.how.before_records);
        }
        self.disk.count_call();
        self.file.sync_data(point)
    }

    fn sync(&self, point: SyncPoint) -> io::Result<()> {
        self.file.sync(point)
    }

    fn drop_clean_pages(&self) -> io::Result<()> {
        let left = self.disk.how.held_pages.load(Ordering::Relaxed);
        if left > 0 && self.path.extension().is_none() {
            self.disk.how.held_pages.store(left - 1, Ordering::Relaxed);
            return Ok(());
        }
        self.file.drop_clean_pages()
    }

    fn mark(&self) -> io::Result<Option<Vec<u8>>> {
        self.disk.count_call();
        self.file.mark()
    }

    fn set_mark(&self, mark: Option<&[u8]>) -> io::Result<()> {
        self.file.set_mark(mark)
    }

    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        self.disk.lend_hand(&self.disk.how.before_lock);
        self.file.try_lock(lock)
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    fn keep_in_place(&self) -> io::Result<()> {
        self.file.keep_in_place()
    }

    fn set_owner(&self, owner: (u32, u32), mode: u32) -> io::Result<()> {
        self.file.set_owner(owner, mode)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.descriptor()
    }
}
