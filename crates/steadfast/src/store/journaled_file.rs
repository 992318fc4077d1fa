//! A plain file and the journal beside it: the local store.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::overlay::Overlay;
use super::{Batch, CommitId, Flush, Recovery, Resolution, Status, Store};
use crate::batch::Extent;
use crate::disk::{Disk, DiskFile, FileStat, RealDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, Journal, Placed};
use crate::range::RangeSet;
use crate::sys::fork::Birth;

/// How a [`JournaledFile`] is opened. Its own docs have an example.
#[derive(Debug, Clone)]
pub struct JournaledFileOptions {
    pub(super) create: bool,
    pub(super) publish: bool,
    pub(super) journal_bytes: Option<u64>,
    pub(super) lock_timeout: Duration,
    pub(super) allow_hard_links: bool,
    pub(super) allow_other_device: bool,
    pub(super) allow_volatile: bool,
    pub(super) resolution: Resolution,
}

impl Default for JournaledFileOptions {
    fn default() -> Self {
        JournaledFileOptions {
            create: false,
            publish: false,
            journal_bytes: None,
            lock_timeout: Duration::ZERO,
            allow_hard_links: false,
            allow_other_device: false,
            allow_volatile: false,
            resolution: Resolution::Replay,
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

    /// Size of the journal in bytes: the room between two checkpoints. It is rounded to whole blocks, and grows by itself
    /// when a single commit needs more. Default: a quarter of the file's length, between 1 MiB and 16 MiB.
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

    /// Accept a journal on another device than the data file (a file mounted by itself). Default: no.
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

/// A commit that stands in the journal and not yet (or not yet durably) in the data file.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: u64,
    pub(super) len_min: u64,
    pub(super) len_before: u64,
    pub(super) len: u64,
    pub(super) extents: Vec<Extent>,
    pub(super) placed: Placed,
    /// The bytes themselves, for as long as the record is not durable: after a failed flush the journal's page cache
    /// cannot be believed.
    pub(super) bytes: Option<Vec<u8>>,
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
#[derive(Debug)]
pub struct JournaledFile {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    pub(super) data: Box<dyn DiskFile>,
    pub(super) journal: Journal,
    pub(super) identity: [u8; 16],
    /// The file system holds extended attributes, and the mark is one.
    pub(super) marked: bool,
    /// The data file as this process last left it.
    pub(super) expected: FileStat,
    /// Length of the last commit, and of the last checkpoint.
    pub(super) committed_len: u64,
    pub(super) checkpointed_len: u64,
    pub(super) pending: Vec<Pending>,
    /// What `pending` amounts to; caught up on demand, away from the path of a commit.
    pub(super) overlay: Mutex<(usize, Overlay)>,
    /// Parts of the data file known to have blocks.
    pub(super) reserved: RangeSet,
    pub(super) publish: bool,
    /// How many of `pending` the data file's page cache shows.
    pub(super) published: usize,
    pub(super) checkpoint_error: Option<String>,
    pub(super) latched: Option<String>,
    pub(super) recovery: Recovery,
    pub(super) closed: bool,
    pub(super) birth: Birth,
}

impl JournaledFile {
    /// How to open one. See [`JournaledFile`] for an example.
    #[must_use]
    pub fn options() -> JournaledFileOptions {
        JournaledFileOptions::default()
    }

    pub(super) fn error(&self, kind: ErrorKind, operation: &'static str, reason: impl Into<String>) -> Error {
        Error::new(kind, operation, reason.into()).path(&self.path)
    }

    /// Refuses every later commit.
    pub(super) fn latch(&mut self, reason: String) {
        log::error!("{}: commits are refused from now on: {reason}", self.path.display());
        self.latched.get_or_insert(reason);
    }

    fn check_process(&self, operation: &'static str) -> Result<()> {
        if self.birth.is_elsewhere() {
            return Err(self
                .error(ErrorKind::Forked, operation, "the file was opened by the parent of this process")
                .advice("open it anew after the parent has closed it"));
        }
        Ok(())
    }

    /// Is this handle able to commit?
    pub(super) fn check_for(&self, operation: &'static str) -> Result<()> {
        self.check_process(operation)?;
        if let Some(reason) = &self.latched {
            return Err(self
                .error(ErrorKind::Latched, operation, format!("refused after an earlier failure: {reason}"))
                .advice("read what you need, drop the map and open the file again: recovery decides"));
        }
        if self.closed {
            return Err(self.error(ErrorKind::InvalidInput, operation, "the store is closed"));
        }
        Ok(())
    }

    /// Has another program changed the data file since this one last did? Then nothing is sure any more.
    pub(super) fn notice_foreign_hands(&mut self, operation: &'static str) -> Result<()> {
        let stat = self.data.stat().map_err(|error| Error::from_io(operation, error).path(&self.path))?;
        if stat.len == self.expected.len && stat.changed_ns == self.expected.changed_ns {
            return Ok(());
        }
        let what = if stat.len != self.expected.len {
            format!(
                "another program changed the data file's length from {} to {} bytes",
                self.expected.len, stat.len
            )
        } else {
            "another program changed the data file".to_owned()
        };
        self.latch(what.clone());
        Err(self.error(ErrorKind::ForeignChange, operation, what).advice(
            "nothing was written over it; find the program, then open the file again \
             (or `steadfast recover`, with --discard to keep the file as it stands)",
        ))
    }

    /// Does the file's name still mean this file? A folder that is renamed takes file and journal along without changing
    /// either, and another file may since stand under the old path, with a journal of its own that is not ours to touch.
    pub(super) fn notice_lost_name(&mut self, operation: &'static str) -> Result<()> {
        let what = match self.disk.stat(&self.path) {
            Ok(now) if (now.device, now.inode) == (self.expected.device, self.expected.inode) => {
                return Ok(());
            }
            Ok(_) => "another file has its name now",
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "it lost its name",
            Err(error) => return Err(Error::from_io(operation, error).path(&self.path)),
        };
        self.latch(what.to_owned());
        Err(self.error(ErrorKind::ForeignChange, operation, what).advice(
            "its journal went where the file went: open it there, and recovery brings the last commit",
        ))
    }

    /// Remembers the data file as this process just left it.
    pub(super) fn remember_data(&mut self) -> std::io::Result<()> {
        self.expected = self.data.stat()?;
        Ok(())
    }

    /// Calls `with` with the sum of all pending commits.
    pub(super) fn with_overlay<T>(&self, with: impl FnOnce(&Overlay) -> T) -> T {
        let mut guard = self.overlay.lock().unwrap_or_else(PoisonError::into_inner);
        let (through, overlay) = &mut *guard;
        for pending in &self.pending[*through..] {
            overlay.apply(pending.len_min, pending.len_before, &pending.extents, pending.placed.payload_at());
        }
        *through = self.pending.len();
        with(overlay)
    }

    /// The bytes from this journal offset on, if their record is not durable: the journal's page cache may have lost them
    /// in a write-out that failed.
    fn undurable_bytes(&self, journal_at: u64) -> Option<&[u8]> {
        // They are the last ones.
        self.pending.iter().rev().map_while(|pending| Some((pending, pending.bytes.as_ref()?))).find_map(
            |(pending, bytes)| {
                let into = journal_at.checked_sub(pending.placed.payload_at())?;
                bytes.get(usize::try_from(into).ok()?..).filter(|rest| !rest.is_empty())
            },
        )
    }

    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
        self.published = 0;
        *self.overlay.lock().unwrap_or_else(PoisonError::into_inner) = (0, Overlay::default());
    }
}

impl Store for JournaledFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn committed_len(&self) -> u64 {
        self.committed_len
    }

    fn read_committed(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        // Before the mutex, which a fork may have left locked.
        self.check_process("read")?;
        let end = offset.checked_add(buf.len() as u64).filter(|&end| end <= self.committed_len).ok_or_else(
            || self.error(ErrorKind::OutOfRange, "read", "the range ends past the last commit"),
        )?;
        let failed = |error| Error::from_io("read", error).path(&self.path).range(offset..end);
        self.with_overlay(|overlay| {
            // Below the cut the data file counts; what it does not have yet is zeros.
            let base_end = overlay.cut().unwrap_or(u64::MAX).min(self.checkpointed_len).clamp(offset, end);
            let (base, zeros) = buf.split_at_mut((base_end - offset) as usize);
            let count = self.data.read_at(base, offset).map_err(failed)?;
            if count < base.len() {
                return Err(self
                    .error(ErrorKind::Truncated, "read", "another program cut the data file")
                    .range(offset + count as u64..base_end));
            }
            zeros.fill(0);
            for (at, piece) in overlay.within(offset..end) {
                let into = (at - offset) as usize;
                let target = &mut buf[into..into + piece.len as usize];
                if let Some(bytes) = self.undurable_bytes(piece.journal_at) {
                    target.copy_from_slice(&bytes[..target.len()]);
                    continue;
                }
                let count = self.journal.file().read_at(target, piece.journal_at).map_err(failed)?;
                if count < target.len() {
                    return Err(self.error(
                        ErrorKind::Corrupt,
                        "read",
                        "the journal was cut by another program",
                    ));
                }
            }
            Ok(())
        })
    }

    fn commit(&mut self, batch: &Batch<'_>, flush: Flush) -> Result<CommitId> {
        self.commit_batch(batch, flush)
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.check_for("checkpoint")?;
        self.checkpoint_all()
    }

    fn close(&mut self) -> Result<()> {
        self.close_file()
    }

    fn status(&self) -> Status {
        let (journal_bytes, journal_used_bytes) = self.journal.fill();
        Status {
            last: CommitId::new(self.journal.last()),
            durable: CommitId::new(self.journal.durable()),
            checkpointed: CommitId::new(self.journal.checkpointed_through()),
            journal_bytes,
            journal_used_bytes,
            checkpoint_error: self.checkpoint_error.clone(),
            latched: self.latched.clone(),
            recovery: self.recovery.clone(),
        }
    }

    fn check(&self) -> Result<()> {
        self.check_for("use")
    }

    fn page_cache(&self) -> Option<BorrowedFd<'_>> {
        self.data.descriptor()
    }
}

impl Drop for JournaledFile {
    fn drop(&mut self) {
        if self.closed || self.latched.is_some() || self.birth.is_elsewhere() {
            return;
        }
        if let Err(error) = self.close_file() {
            log::error!("{error}; the journal stays, and the next open recovers");
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
