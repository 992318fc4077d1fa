//! A plain file and the journal beside it: the local store.

use std::fmt;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::state::{Locked, Pace, Shared};
use super::ticket::{CommitTicket, Drive};
use super::{Batch, CommitId, Flush, Resolution, Status, Store};
use crate::disk::{Disk, RealDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::knockout::step;

/// How a [`JournaledFile`] is opened. Its own docs have an example.
#[derive(Debug, Clone)]
pub struct JournaledFileOptions {
    pub(super) create: bool,
    pub(super) publish: bool,
    pub(super) may_be_renamed: bool,
    pub(super) scrub: bool,
    pub(super) journal_bytes: Option<u64>,
    pub(super) lock_timeout: Duration,
    pub(super) allow_hard_links: bool,
    pub(super) allow_other_device: bool,
    pub(super) allow_volatile: bool,
    pub(super) resolution: Resolution,
    pub(super) pace: Pace,
}

impl Default for JournaledFileOptions {
    fn default() -> Self {
        JournaledFileOptions {
            create: false,
            publish: false,
            may_be_renamed: false,
            scrub: false,
            journal_bytes: None,
            lock_timeout: Duration::ZERO,
            allow_hard_links: false,
            allow_other_device: false,
            allow_volatile: false,
            resolution: Resolution::Replay,
            pace: Pace::Threads,
        }
    }
}

impl JournaledFileOptions {
    /// Create the file if it does not exist. Default: no.
    ///
    /// See [`JournaledFile`] for an example.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// After each durable commit, write its bytes to the data file's page cache too, so that `read(2)` and other mappings see
    /// them. The crash guarantee is the journal's either way. Default: no.
    ///
    /// See [`JournaledFile`] for an example.
    #[must_use]
    pub fn publish(mut self, publish: bool) -> Self {
        self.publish = publish;
        self
    }

    /// Other programs may rename the file, as long as it has its name back before it is committed to, and change its owner, its permissions
    /// and its other attributes. Without it each of these is taken for a change of what the file holds, since the change time tells no
    /// more; with it the modification time counts, and a program that writes and puts that back is not noticed. Default: no.
    ///
    /// ```
    /// use steadfast::store::{JournaledFile, Store};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let (path, other) = (folder.path().join("data.bin"), folder.path().join("other"));
    /// let mut store = JournaledFile::options().create(true).allow_volatile(true).may_be_renamed(true).open(&path)?;
    /// std::fs::rename(&path, &other)?;
    /// std::fs::rename(&other, &path)?;
    /// store.check_unchanged()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn may_be_renamed(mut self, may: bool) -> Self {
        self.may_be_renamed = may;
        self
    }

    /// Leave no committed-over bytes behind in the journal. Without it they stay there until the space is used again, and in blocks
    /// of the disk that nobody overwrites after the journal is gone. Default: no.
    ///
    /// With it, zeros are written over them and synced before these calls return:
    ///
    /// | call | then nothing is left in the journal of |
    /// |---|---|
    /// | `close` (and drop) | anything; the journal is overwritten before it is removed |
    /// | `rollback` ([`Store::scrub`]) | what was committed over or cut off, and what was recorded and never acknowledged |
    /// | a commit that makes the data shorter, if only for a while, by whichever call | the same, and what it cuts off; the commit is durable and in the data file then |
    /// | `checkpoint` | the same |
    /// | an open that recovers, [`recover`](super::recover()) with these options | the journal that was found, and an unfinished one |
    ///
    /// Whatever replaces the journal on the way (a commit that needs a larger one, a flush that failed) overwrites the old one
    /// once the new one is in its place. Each of these costs a checkpoint, a write of as many zeros as records were written since the
    /// last time, and a flush; where nothing was recorded since, nothing. Checkpoints in the background do not scrub.
    ///
    /// A scrub that fails is [`NotScrubbed`](ErrorKind::NotScrubbed): whatever was committed counts, that call's own commit
    /// included, and the next of these calls tries again. A `close` that fails like that has removed nothing, and may be called again.
    ///
    /// What this cannot do:
    ///
    /// - A crash between the moment when a fresh journal has the name and the one when the old one is overwritten leaves the old
    ///   one's blocks as they are, without a name by which they could be found: a recovery, a commit that needs a larger journal,
    ///   a flush that failed. So does a crash before a fresh journal has a name of any kind.
    /// - The file's own blocks: those that a cut or another program gives back are the file system's, and so is what it keeps of
    ///   bytes that were overwritten in place.
    /// - File systems that write elsewhere than they are told (copy on write, a snapshot or a reflinked copy of the journal, a file system
    ///   that journals data; on btrfs the journal is not copied on write, snapshots apart), and disks that do (wear levelling, remapped
    ///   sectors) keep what was there. So do backups.
    /// - Memory of this process, swap and core dumps.
    /// - What stays are numbers: those of commits, lengths, and in the two anchors a checksum of 8 bytes over the last record, which
    ///   can confirm a guess at few and short bytes, but not bring them back.
    ///
    /// ```
    /// use steadfast::store::{Batch, Extent, Flush, JournaledFile, Store};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// let mut store = JournaledFile::options().create(true).scrub(true).allow_volatile(true).open(&path)?;
    /// let secret = [Extent { offset: 0, len: 6 }];
    /// store.commit(&Batch { len_min: 0, len: 6, extents: &secret, bytes: b"secret" }, Flush::Now)?;
    /// store.commit(&Batch { len_min: 6, len: 6, extents: &secret, bytes: b"public" }, Flush::Now)?;
    /// let holds = |path| -> std::io::Result<bool> { Ok(std::fs::read(path)?.windows(6).any(|part| part == b"secret")) };
    /// let journal = folder.path().join("data.bin.steadfast");
    /// assert!(holds(&journal)?);
    /// store.scrub()?;
    /// assert!(!holds(&journal)?);
    /// store.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn scrub(mut self, scrub: bool) -> Self {
        self.scrub = scrub;
        self
    }

    /// Size of the journal in bytes: half of it is the room between two checkpoints. It is rounded to whole blocks, and grows by
    /// itself when a single commit needs more. Default: a quarter of the file's length, between 1 MiB and 16 MiB, doubled up to
    /// 64 MiB whenever a commit has to wait for a checkpoint.
    ///
    /// See [`JournaledFile`] for an example.
    #[must_use]
    pub fn journal_bytes(mut self, bytes: u64) -> Self {
        self.journal_bytes = Some(bytes);
        self
    }

    /// How long to wait for another writer to let go of the file. Default: not at all.
    ///
    /// See [`JournaledFile`] for an example.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Accept a data file with several hard links, whose journal is found under one of its names only. Default: no.
    ///
    /// See [`JournaledFile`] for an example.
    #[must_use]
    pub fn allow_hard_links(mut self, allow: bool) -> Self {
        self.allow_hard_links = allow;
        self
    }

    /// Accept a data file that is mounted by itself (a bind mount of one file, as containers have them): its journal lies beside that
    /// name, often on another device, and is not found by who opens the file where it really lies. Default: no.
    ///
    /// See [`JournaledFile`] for an example.
    #[must_use]
    pub fn allow_other_device(mut self, allow: bool) -> Self {
        self.allow_other_device = allow;
        self
    }

    /// Accept file systems that lose everything at the next boot or live on a server: tmpfs, NFS and the like. Default: no.
    ///
    /// See [`JournaledFile`] for an example.
    #[must_use]
    pub fn allow_volatile(mut self, allow: bool) -> Self {
        self.allow_volatile = allow;
        self
    }

    /// Checkpoints go on by so many steps with each commit, and no thread is started: every run is like the one before, as
    /// crash tests on a [`SimDisk`](crate::disk::SimDisk) want it. With no steps they wait until room is needed. Tickets are flushed by those who wait for them.
    ///
    /// See [`JournaledFile`] for an example.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn stepped(mut self, steps: u32) -> Self {
        self.pace = Pace::Stepped(steps);
        self
    }

    pub(crate) fn resolution(mut self, resolution: Resolution) -> Self {
        self.resolution = resolution;
        self
    }

    /// Opens on the machine's own file systems. Recovers first if a journal waits.
    ///
    /// # Errors
    ///
    /// Whatever stands against keeping the promises: see [`ErrorKind`].
    ///
    /// See [`JournaledFile`] for an example.
    pub fn open(self, path: impl AsRef<Path>) -> Result<JournaledFile> {
        self.open_on(Arc::new(RealDisk), path)
    }

    /// As [`open`](JournaledFileOptions::open), on any [`Disk`].
    ///
    /// # Errors
    ///
    /// As `open`.
    ///
    /// See [`JournaledFile`] for an example.
    pub fn open_on(self, disk: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<JournaledFile> {
        super::open::open(disk, path.as_ref(), &self)
    }
}

/// Committed bytes in a plain file with a journal beside it.
///
/// This is what [`AtomicMapping`](crate::AtomicMapping) stands on; use it alone to change files by ranges without
/// mapping them.
///
/// ```
/// use steadfast::store::{Batch, Extent, Flush, JournaledFile, Store};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("data.bin");
/// let mut store = JournaledFile::options().create(true).allow_volatile(true).open(&path)?;
/// let extents = [Extent { offset: 4, len: 3 }];
/// let batch = Batch { len_min: 0, len: 10, extents: &extents, bytes: b"abc" };
/// store.commit(&batch, Flush::Now)?;
///
/// let mut bytes = [0; 10];
/// store.read_committed(&mut bytes, 0)?;
/// assert_eq!(&bytes, b"\0\0\0\0abc\0\0\0");
/// store.close()?;
/// assert_eq!(std::fs::read(&path)?, bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JournaledFile {
    pub(super) shared: Arc<Shared>,
    /// What a ticket does to bring its end about.
    drive: Drive,
    path: PathBuf,
}

impl fmt::Debug for JournaledFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl JournaledFile {
    /// How to open one. See [`JournaledFile`] for an example.
    #[must_use]
    pub fn options() -> JournaledFileOptions {
        JournaledFileOptions::default()
    }

    pub(super) fn new(shared: Shared) -> JournaledFile {
        let shared = Arc::new(shared);
        let weak = Arc::downgrade(&shared);
        let drive = Arc::new(move |id: CommitId| {
            if let Some(shared) = weak.upgrade() {
                // What goes wrong is told to the tickets.
                let _ = shared.lock().make_durable(id.get());
            }
        });
        let path = shared.path.clone();
        JournaledFile { shared, drive, path }
    }

    /// The state, unless this is a forked child, in which the mutex may be locked for ever.
    fn lock(&self, operation: &'static str) -> Result<Locked<'_>> {
        self.shared.check_process(operation)?;
        Ok(self.shared.lock())
    }
}

impl Store for JournaledFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn moved_to(&mut self, path: &Path) -> Result<()> {
        self.lock("close")?.moved_to = Some(path.to_owned());
        self.path = path.to_owned();
        Ok(())
    }

    fn committed_len(&self) -> u64 {
        self.shared.committed_len()
    }

    fn read_committed(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.lock("read")?.read_committed(buf, offset)
    }

    fn commit(&mut self, batch: &Batch<'_>, flush: Flush) -> Result<CommitId> {
        let mut locked = self.lock("commit")?;
        let cuts = batch.len_min < locked.committed_len();
        let id = match flush {
            Flush::Now => locked.commit_now(batch),
            Flush::Later => locked.commit_later(batch),
        }?;
        locked.scrub_behind(id, cuts)?;
        Ok(id)
    }

    fn commit_async(&mut self, batch: &Batch<'_>) -> Result<CommitTicket> {
        let mut locked = self.lock("commit")?;
        let cuts = batch.len_min < locked.committed_len();
        let ticket = locked.commit_with_ticket(batch, Arc::clone(&self.drive))?;
        locked.scrub_behind(ticket.id(), cuts)?;
        Ok(ticket)
    }

    fn start_checkpoint(&mut self) -> Result<()> {
        let mut locked = self.lock("checkpoint")?;
        locked.check_for("checkpoint")?;
        locked.start_checkpoint();
        Ok(())
    }

    fn is_behind(&self, range: Range<u64>) -> Result<bool> {
        self.lock("read")?.is_behind(range)
    }

    fn check_unchanged(&mut self) -> Result<()> {
        let mut locked = self.lock("commit")?;
        locked.check_for("commit")?;
        // A checkpoint changes the file all the time; it looks before it begins.
        if locked.is_writing() { Ok(()) } else { locked.notice_foreign_hands("commit") }
    }

    fn checkpoint(&mut self) -> Result<()> {
        let mut locked = self.lock("checkpoint")?;
        locked.check_for("checkpoint")?;
        locked.checkpoint_all()?;
        step!("checkpoint: by name it scrubs", locked.scrub("checkpoint"))
    }

    fn scrub(&mut self) -> Result<()> {
        let mut locked = self.lock("scrub")?;
        locked.check_for("scrub")?;
        locked.scrub("scrub")
    }

    fn close(&mut self) -> Result<()> {
        // A child only lets go.
        match self.lock("close") {
            Ok(mut locked) => locked.close_file(),
            Err(_) => Ok(()),
        }
    }

    fn close_without_name(&mut self, rest: &Batch<'_>) -> Result<()> {
        self.lock("close")?.close_without_name(rest)
    }

    fn leave_to_others(&mut self) -> Result<()> {
        self.lock("refresh")?.leave_to_others()
    }

    fn status(&self) -> Status {
        match self.lock("status") {
            Ok(locked) => locked.status(),
            Err(error) => Status {
                last: CommitId::new(self.shared.last.load(Ordering::Relaxed)),
                latched: Some(error.to_string()),
                ..Status::default()
            },
        }
    }

    fn check(&self) -> Result<()> {
        self.lock("use")?.check_for("use")
    }

    fn page_cache(&self) -> Option<BorrowedFd<'_>> {
        self.shared.data.descriptor()
    }
}

impl Drop for JournaledFile {
    fn drop(&mut self) {
        let Ok(mut locked) = self.lock("drop") else { return };
        if !locked.closed
            && locked.latched.is_none()
            && let Err(error) = locked.close_file()
        {
            log::error!("{error}; the journal stays, and the next open recovers");
        }
        locked.stop_threads();
        drop(locked);
        // A ticket that is just being waited for may hold the file open a moment longer.
        if let Err(error) = self.shared.data.unlock() {
            log::warn!("cannot give the lock back: {error}");
        }
    }
}

/// Size of each half for a data file of this length.
pub(super) fn half_bytes_for(options: &JournaledFileOptions, data_len: u64) -> Result<u64> {
    let wanted = match options.journal_bytes {
        Some(bytes) if bytes > journal::JOURNAL_BYTES_MAX => {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "open",
                format!(
                    "a journal of {bytes} bytes is more than the largest of {}",
                    journal::JOURNAL_BYTES_MAX
                ),
            )
            .advice("ask for a smaller journal"));
        }
        Some(bytes) => bytes,
        None => (data_len / 4).clamp(1 << 20, 16 << 20),
    };
    Ok((wanted / 2).max(journal::HALF_BYTES_MIN).next_multiple_of(journal::format::BLOCK_BYTES))
}
