//! The simulated disk: all that a crash, a power cut or a failing device may do to a store, at will.

mod calls;
mod content;
mod faults;
mod operation;
mod state;
mod survivors;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, Disk, DiskFile, Durability, FileStat, Lock, SyncPoint};
pub use calls::CallKind;
use faults::errno;
use state::{Extent, State};
pub use survivors::{Survivors, Tear};

/// A disk in memory that loses, reorders and tears what was not synced.
///
/// It keeps two states apart. The *volatile* one is what a reader sees. The *durable* one is what a power
/// cut leaves for certain. Between them stands the list of *unsynced operations*, in the order in which they
/// happened; each sync moves its share of that list into the durable state, and no more than its share:
///
/// | sync | makes durable | and not |
/// |---|---|---|
/// | `write_durably` | the bytes that it writes, and the length | what was written elsewhere in the file |
/// | `sync_data` | the file's bytes and length | its mark, its name, other files |
/// | `sync` | the file's bytes, length and mark | its name, other files |
/// | `sync_dir` | the names in that folder | the content of any file |
///
/// A power cut leaves the durable state and *any* subset of the unsynced operations, applied in order. That is more
/// than any one file system does: a store that is safe here relies on nothing that only ext4 promises.
///
/// A clone is another handle of the same disk; [`killed`](SimDisk::killed) and [`power_cut`](SimDisk::power_cut)
/// make new disks and leave this one as it is. Images share what they have in common, so that a test can afford
/// hundreds of thousands of them.
///
/// *Operations* are the calls that change or sync something: an `open` that creates, `write_at`, `set_len`, `zero`,
/// `reserve`, `set_mark`, `rename`, `remove`, `sync_data`, `sync` and `sync_dir`; `write_durably` is two, a write and a sync
/// of what it wrote. Each is counted, whether it succeeds or not.
///
/// Folders are not simulated: each exists, and none can be opened. A file takes memory up to the last byte that was
/// written to it, 8 bytes for each unwritten block on the way there.
///
/// ```
/// use steadfast::disk::{Access, Disk, SimDisk, Survivors, SyncPoint};
///
/// # fn main() -> std::io::Result<()> {
/// let disk = SimDisk::new();
/// let file = disk.open("/data".as_ref(), Access::Create { mode: 0o644 })?;
/// file.write_at(&[b"hello"], 0)?;
/// file.sync_data(SyncPoint::Copy)?;
/// // The bytes are durable and the name is not.
/// assert_eq!(disk.unsynced(), 1);
/// assert!(!disk.power_cut(&Survivors::none()).exists("/data"));
/// disk.sync_dir("/".as_ref(), SyncPoint::CopyName)?;
/// assert_eq!(disk.power_cut(&Survivors::none()).read_file("/data"), Some(b"hello".to_vec()));
/// # Ok(())
/// # }
/// ```
///
/// A crash test counts the operations on a first pass, stops at each of them on the next, and looks at every image
/// that a kill or a power cut at that point may leave:
///
/// ```
/// use steadfast::disk::{Access, Disk, SimDisk, SyncPoint};
///
/// /// Replaces a file the safe way.
/// fn replace(disk: &SimDisk) -> std::io::Result<()> {
///     let file = disk.open("/new".as_ref(), Access::Create { mode: 0o644 })?;
///     file.write_at(&[&[2; 2000]], 0)?;
///     file.sync_data(SyncPoint::Copy)?;
///     disk.rename("/new".as_ref(), "/file".as_ref())?;
///     disk.sync_dir("/".as_ref(), SyncPoint::CopyName)
/// }
///
/// fn disk_with_old_file() -> SimDisk {
///     let disk = SimDisk::new();
///     disk.put_file("/file", &[1; 2000]);
///     disk
/// }
///
/// let first = disk_with_old_file();
/// replace(&first).expect("nothing fails here");
/// for stop in 1..=first.operations() {
///     let disk = disk_with_old_file();
///     disk.stop_at(stop);
///     assert!(replace(&disk).is_err_and(|error| SimDisk::is_stop(&error)));
///     for survivors in disk.power_cuts(0, 12, 100) {
///         let found = disk.power_cut(&survivors).read_file("/file");
///         assert!(found == Some(vec![1; 2000]) || found == Some(vec![2; 2000]), "{stop}: {survivors}");
///     }
/// }
/// ```
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

/// Making disks, and looking at them from outside. None of this is an operation, and all of it works after the stop.
impl SimDisk {
    /// An empty disk without limits.
    ///
    /// See [`SimDisk`] for an example.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// The same disk without room for marks, as file systems without extended attributes are.
    ///
    /// ```
    /// # use steadfast::disk::{Access, Disk, SimDisk};
    /// let disk = SimDisk::new().without_marks();
    /// disk.put_file("/a", b"");
    /// let file = disk.open("/a".as_ref(), Access::Read).unwrap();
    /// assert_eq!(file.mark().unwrap_err().kind(), std::io::ErrorKind::Unsupported);
    /// ```
    #[must_use]
    pub fn without_marks(self) -> SimDisk {
        self.state().without_marks = true;
        self
    }

    /// Limits the disk to this many bytes from now on, in whole blocks of 4096.
    ///
    /// `write_at`, `reserve` and `zero` that need more fail with `ENOSPC`: a write after the blocks that still fit,
    /// the others without having done anything. `set_len` grows a file by a hole, which takes nothing.
    /// Files that have neither a name nor an open handle take no space.
    ///
    /// See [`SimDisk`] for an example.
    pub fn space(&self, bytes: u64) {
        self.state().space = Some(bytes);
    }

    /// Puts a file with this content in place, durable at once with all that was not synced before it.
    /// A file that is there already keeps its inode and its mark.
    ///
    /// See [`SimDisk`] for an example.
    pub fn put_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        self.state().put_file(&absolute(path.as_ref()), bytes);
    }

    /// Sets or removes a file's mark, durable at once.
    ///
    /// ```
    /// # use steadfast::disk::SimDisk;
    /// let disk = SimDisk::new();
    /// disk.put_file("/a", b"");
    /// disk.put_mark("/a", Some(b"another's")).unwrap();
    /// assert_eq!(disk.mark_of("/a"), Some(b"another's".to_vec()));
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no such file.
    pub fn put_mark(&self, path: impl AsRef<Path>, mark: Option<&[u8]>) -> io::Result<()> {
        self.state().put_mark(&absolute(path.as_ref()), mark)
    }

    /// The content of a file, as a reader sees it.
    ///
    /// See [`SimDisk`] for an example.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.lookup(&absolute(path.as_ref())).ok()?;
        Some(state.image(inode).content.to_vec())
    }

    /// Whether there is a file of that name.
    ///
    /// See [`SimDisk`] for an example.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.state().lookup(&absolute(path.as_ref())).is_ok()
    }

    /// The mark of a file, as a reader sees it; `None` also if there is no such file.
    ///
    /// See [`SimDisk`] for an example.
    pub fn mark_of(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.lookup(&absolute(path.as_ref())).ok()?;
        state.image(inode).mark.as_ref().map(|mark| mark.to_vec())
    }

    /// Starts to keep the [`trace`](SimDisk::trace). Disks made from this one keep theirs too.
    ///
    /// See [`SimDisk`] for an example.
    pub fn keep_trace(&self) {
        self.state().trace.get_or_insert_default();
    }

    /// The operations so far, a line each, for a test to say what it did: `write journal 4096+512`,
    /// `sync_data Record journal`. Empty unless it is [kept](SimDisk::keep_trace).
    ///
    /// See [`SimDisk`] for an example.
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone().unwrap_or_default()
    }

    /// How many operations were begun on this disk.
    ///
    /// See [`SimDisk`] for an example.
    pub fn operations(&self) -> u64 {
        self.state().faults.operations()
    }
}

/// What goes wrong. Counts start with the call: 1 is the very next.
impl SimDisk {
    /// From now on the program may write no file beyond this length (`RLIMIT_FSIZE`): `check_len` says so, and a `write_at` or
    /// `set_len` that does it all the same is the program's end (SIGXFSZ).
    ///
    /// ```
    /// # use steadfast::disk::{Access, Disk, SimDisk};
    /// let disk = SimDisk::new();
    /// disk.put_file("/a", b"");
    /// disk.longest(4096);
    /// let file = disk.open("/a".as_ref(), Access::ReadWrite).unwrap();
    /// assert!(file.check_len(5000).is_err() && !disk.is_stopped());
    /// assert!(file.set_len(5000).is_err() && disk.is_stopped());
    /// ```
    pub fn longest(&self, bytes: u64) {
        self.state().longest = Some(bytes);
    }

    /// The OS error of every call after the stop: `ESHUTDOWN`, which no file system returns.
    pub const STOP_OS_ERROR: i32 = faults::STOPPED;

    /// The `operation`-th operation from now does not happen, and from then on every call fails with an error that
    /// [`is_stop`](SimDisk::is_stop) knows: the program has ended. 0 takes this back.
    ///
    /// See [`SimDisk`] for an example.
    pub fn stop_at(&self, operation: u64) {
        self.stop_within(operation, 0);
    }

    /// As [`stop_at`](SimDisk::stop_at); but if the operation is a write, what lies of its first `bytes` in whole
    /// sectors of the file still happens, and all of it if `bytes` is its length or more.
    ///
    /// See [`SimDisk`] for an example.
    pub fn stop_within(&self, operation: u64, bytes: u64) {
        self.state().faults.stop_within(operation, bytes);
    }

    /// Whether the stop has come.
    ///
    /// See [`SimDisk`] for an example.
    pub fn is_stopped(&self) -> bool {
        self.state().faults.is_stopped()
    }

    /// Whether this error stands for the program's end ([`STOP_OS_ERROR`](SimDisk::STOP_OS_ERROR)).
    ///
    /// See [`SimDisk`] for an example.
    pub fn is_stop(error: &io::Error) -> bool {
        error.raw_os_error() == Some(SimDisk::STOP_OS_ERROR)
    }

    /// The `sync`-th sync from now (of a file or a folder) fails with `EIO`.
    ///
    /// If it is a file's, the bytes that it was to make durable are *falsely clean* then, as Linux has it: readers
    /// see them, later syncs succeed without them, and only writing them again gives them another chance. A power
    /// cut may have kept any of them, and memory pressure ([`evict`](SimDisk::evict)) drops them. Lengths, marks and
    /// names wait for the next sync.
    ///
    /// ```
    /// # use steadfast::disk::{Access, Disk, SimDisk, Survivors, SyncPoint};
    /// let disk = SimDisk::new();
    /// disk.put_file("/a", b"old");
    /// let file = disk.open("/a".as_ref(), Access::ReadWrite).unwrap();
    /// disk.fail_sync(1);
    /// file.write_at(&[b"new"], 0).unwrap();
    /// assert!(file.sync_data(SyncPoint::Record).is_err());
    /// assert!(file.sync_data(SyncPoint::Record).is_ok());
    /// assert_eq!(disk.read_file("/a"), Some(b"new".to_vec()));
    /// assert_eq!(disk.power_cut(&Survivors::none()).read_file("/a"), Some(b"old".to_vec()));
    /// ```
    pub fn fail_sync(&self, sync: u64) {
        self.state().faults.fail_sync(sync);
    }

    /// The `write`-th `write_at` from now fails with this OS error, after its first so many sectors.
    ///
    /// See [`SimDisk`] for an example.
    pub fn fail_write(&self, write: u64, os_error: i32, sectors: u64) {
        self.state().faults.fail_write(write, os_error, sectors);
    }

    /// Every `write_at` from the `write`-th from now on fails with this OS error.
    ///
    /// See [`SimDisk`] for an example.
    pub fn fail_writes_from(&self, write: u64, os_error: i32) {
        self.state().faults.fail_writes_from(write, os_error);
    }

    /// Takes back all failures that are still to come.
    ///
    /// See [`SimDisk`] for an example.
    pub fn clear_failures(&self) {
        self.state().faults.clear_failures();
    }

    /// From now on, every sync with this purpose fails with EIO, as [`fail_sync`](SimDisk::fail_sync) says, until
    /// [`clear_failures`](SimDisk::clear_failures).
    ///
    /// See [`SimDisk`] for an example.
    pub fn fail_syncs_of(&self, point: SyncPoint) {
        self.state().faults.fail_syncs_of(point);
    }

    /// From now on, syncs with this purpose succeed and do nothing, on this disk and on those made from it: a test
    /// sees whether the crash matrix notices.
    ///
    /// See [`SimDisk`] for an example.
    pub fn ignore_sync(&self, point: SyncPoint) {
        self.state().faults.ignore_sync(point);
    }

    /// From now on, what was falsely clean once stays so when it is written again, until its page is dropped: syncs
    /// succeed and change nothing on the disk. (ext4 does this where the first write to a reserved block fails: the
    /// block stays marked as unwritten, and the cached page no longer knows.)
    ///
    /// See [`SimDisk`] for an example.
    pub fn let_failed_blocks_stick(&self) {
        self.state().failed_blocks_stick = true;
    }

    /// From now on, what a failed sync leaves falsely clean is dropped at once, as [`evict`](SimDisk::evict) does it: nobody gets to
    /// read it back.
    ///
    /// See [`SimDisk`] for an example.
    pub fn evict_on_failed_sync(&self) {
        self.state().evict_on_failed_sync = true;
    }

    /// From now on, on this disk and on those made from it, what is durable of a file stays on the medium when its last name and
    /// handle are gone, as on a disk that nobody wrote to since: [`find_on_medium`](SimDisk::find_on_medium) finds it.
    ///
    /// See [`find_on_medium`](SimDisk::find_on_medium) for an example.
    pub fn keep_freed_blocks(&self) {
        self.state().keeps_freed_blocks = true;
    }

    /// Memory pressure: what is falsely clean after a [failed sync](SimDisk::fail_sync) is dropped, and readers see
    /// what the disk holds. The file's length stays.
    ///
    /// See [`SimDisk`] for an example.
    pub fn evict(&self) {
        self.state().evict(None);
    }
}

/// What is left afterwards.
impl SimDisk {
    /// Where these bytes are durable: the names of files, as a reader sees them, and for [freed blocks](SimDisk::keep_freed_blocks)
    /// the inode that they belonged to. What was overwritten or cut off within a file is not on the medium any more.
    ///
    /// ```
    /// use steadfast::disk::{Access, Disk, SimDisk, SyncPoint};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let disk = SimDisk::new();
    /// disk.keep_freed_blocks();
    /// disk.put_file("/a", b"a secret");
    /// assert_eq!(disk.find_on_medium(b"secret"), ["/a"]);
    /// disk.remove("/a".as_ref())?;
    /// disk.sync_dir("/".as_ref(), SyncPoint::JournalGone)?;
    /// assert_eq!(disk.find_on_medium(b"secret"), ["(nameless inode 1)"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn find_on_medium(&self, bytes: &[u8]) -> Vec<String> {
        if bytes.is_empty() { Vec::new() } else { self.state().find_on_medium(bytes) }
    }

    /// How many operations no sync has made durable yet.
    ///
    /// See [`SimDisk`] for an example.
    pub fn unsynced(&self) -> usize {
        self.state().unsynced().len()
    }

    /// Those operations, a line each, in the order in which [`Survivors`] counts them.
    ///
    /// See [`SimDisk`] for an example.
    pub fn unsynced_trace(&self) -> Vec<String> {
        self.state().unsynced_trace()
    }

    /// The disk as the next program finds it after this one was killed: all that a reader saw is there, in the page
    /// cache, and what was not synced may still be lost by a power cut later on. No file is open and none locked;
    /// counters start anew and nothing is to fail.
    ///
    /// See [`SimDisk`] for an example.
    pub fn killed(&self) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(self.state().killed())))
    }

    /// The disk after a power cut that left these of the unsynced operations, applied in order to what was durable.
    ///
    /// A write past the durable length extends the file, the gap reads as zeros. An operation on a file without a
    /// durable name has no effect, unless the operation that names it survives too. A rename may survive although the
    /// creation of the old name did not: the new name leads to the file then, and the old one nowhere.
    ///
    /// See [`SimDisk`] for an example.
    pub fn power_cut(&self, survivors: &Survivors) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(self.state().power_cut(survivors))))
    }

    /// The power cuts worth looking at.
    ///
    /// Up to `sample_above` unsynced operations (12 is a good value, and 2¹² sets): every set of survivors. Above:
    /// none, all, each prefix, all but one, one alone, and `samples` sets drawn from `seed`, the same each time.
    /// Where the last survivor is a write of several sectors, it also comes torn: after its first sector, in the
    /// middle and before its last, with the head or with the tail surviving.
    ///
    /// See [`SimDisk`] for an example.
    pub fn power_cuts(
        &self,
        seed: u64,
        sample_above: usize,
        samples: usize,
    ) -> impl Iterator<Item = Survivors> + use<> {
        survivors::power_cuts(self.state().unsynced(), seed, sample_above, samples)
    }
}

impl SimDisk {
    /// A panic elsewhere leaves no state half changed that a test would still rely on.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for a call of the program: there is none after its end.
    fn running(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        state.faults.check_running()?;
        Ok(state)
    }

    /// The same, for a call that reads.
    fn reading(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.running()?;
        state.faults.calls.take(CallKind::Read)?;
        Ok(state)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimDisk")
            .field("operations", &state.faults.operations())
            .field("stopped", &state.faults.is_stopped())
            .field("unsynced", &state.unsynced_trace())
            .finish()
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let path = absolute(path);
        let mut state = self.running()?;
        if state.lookup(&path).is_ok() || matches!(access, Access::Read | Access::ReadWrite) {
            state.faults.calls.take(CallKind::Read)?;
        }
        let inode = match (state.lookup(&path), access) {
            (Ok(_), Access::CreateNew { .. }) => return Err(errno(libc::EEXIST)),
            (Ok(inode), _) => inode,
            (Err(_), Access::Create { mode } | Access::CreateNew { mode }) => state.create(&path, mode)?,
            (Err(error), Access::Read | Access::ReadWrite) => return Err(error),
        };
        let handle = state.open(inode);
        drop(state);
        Ok(Box::new(SimFile { disk: self.clone(), inode, handle, writable: access != Access::Read }))
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let state = self.reading()?;
        // Folders are not kept: the root, which is enough for a file and its journal, always exists.
        if path == Path::new("/") {
            return Ok(state::ROOT);
        }
        Ok(state.stat(state.lookup(&absolute(path))?))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.running().map(drop)?;
        Ok(absolute(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().rename(&absolute(from), &absolute(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().remove(&absolute(path))
    }

    fn sync_dir(&self, folder: &Path, point: SyncPoint) -> io::Result<()> {
        self.state().sync_dir(&absolute(folder), point)
    }

    fn durability(&self, _path: &Path) -> io::Result<Durability> {
        self.running().map(drop)?;
        Ok(Durability::Local)
    }
}

/// There are no links and no working folder here.
fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    handle: u64,
    writable: bool,
}

impl SimFile {
    /// The state, for a change by way of this handle.
    fn changing(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.running()?;
        if self.writable { Ok(state) } else { Err(errno(libc::EBADF)) }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.state().close(self.handle);
    }
}

impl DiskFile for SimFile {
    fn stat(&self) -> io::Result<FileStat> {
        Ok(self.disk.reading()?.stat(self.inode))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.disk.reading()?.image(self.inode).content.read(buf, offset))
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.changing()?.write(self.inode, parts, offset)
    }

    fn write_durably(&self, blocks: &[u8], offset: u64, point: SyncPoint) -> io::Result<()> {
        let mut state = self.changing()?;
        state.write(self.inode, &[blocks], offset)?;
        state.sync(self.inode, &Extent::Range(offset..offset + blocks.len() as u64), point)
    }

    fn check_len(&self, len: u64) -> io::Result<()> {
        let longest = self.disk.running()?.longest;
        if longest.is_some_and(|longest| len > longest) { Err(errno(libc::EFBIG)) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.changing()?.set_len(self.inode, len)
    }

    fn reserve(&self, range: Range<u64>) -> io::Result<Range<u64>> {
        self.changing()?.reserve(self.inode, range.clone())?;
        Ok(range)
    }

    fn zero(&self, range: Range<u64>) -> io::Result<()> {
        self.changing()?.zero(self.inode, range)
    }

    fn sync_data(&self, point: SyncPoint) -> io::Result<()> {
        self.disk.state().sync(self.inode, &Extent::Data, point)
    }

    fn sync(&self, point: SyncPoint) -> io::Result<()> {
        self.disk.state().sync(self.inode, &Extent::All, point)
    }

    fn drop_clean_pages(&self) -> io::Result<()> {
        self.disk.running()?.evict(Some(self.inode));
        Ok(())
    }

    fn mark(&self) -> io::Result<Option<Vec<u8>>> {
        let state = self.disk.reading()?;
        if state.without_marks {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(state.image(self.inode).mark.as_ref().map(|mark| mark.to_vec()))
    }

    fn set_mark(&self, mark: Option<&[u8]>) -> io::Result<()> {
        // By descriptor a mark can be set through any handle that may read: fsetxattr(2) asks for the file's
        // permissions, not the descriptor's.
        self.disk.state().set_mark(self.inode, mark)
    }

    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        let mut state = self.disk.running()?;
        if lock == Lock::Exclusive && !self.writable {
            return Err(errno(libc::EBADF));
        }
        state.faults.calls.take(CallKind::Lock)?;
        Ok(state.try_lock(self.handle, lock))
    }

    fn unlock(&self) -> io::Result<()> {
        self.disk.state().unlock(self.handle);
        Ok(())
    }

    fn keep_in_place(&self) -> io::Result<()> {
        self.disk.running().map(drop)
    }

    fn set_owner(&self, owner: (u32, u32), mode: u32) -> io::Result<()> {
        self.disk.running()?.set_owner(self.inode, owner, mode);
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
