//! Memory that commits: a private working image, a tracker of what changed, and a store that holds what was committed.

mod access;
mod adopt;
mod behind;
mod by_address;
mod capture;
mod commit;
mod committed;
mod compare;
mod damage;
mod declared;
mod options;
mod second_thread;
mod tracker;
mod undo;
mod working;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;

pub use options::AtomicOptions;
pub use tracker::Tracker;

use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::kept::Kept;
use crate::left::LeftMemory;
use crate::store::{CommitId, Status, Store, copy_committed};
use crate::sys::fork::Birth;
use declared::Declared;
use working::Working;

/// Memory that commits: private until [`commit`](AtomicMapping::commit), durable after it, all or nothing through any crash.
///
/// It derefs to `[u8]`, so plain stores change it. What is not committed is lost when the map is dropped or the process
/// dies; what is committed is found by the next open. Dropping closes ([`close`](AtomicMapping::close) reports what a drop
/// can only log).
///
/// ```
/// use steadfast::AtomicMapping;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("state.bin");
/// let mut map = AtomicMapping::options().create(true).len(1 << 20).allow_volatile(true).load(&path)?;
/// map[0..8].copy_from_slice(&7u64.to_le_bytes());     // a plain store: commit finds it
/// map.edit(4096..8192)?.fill(7);                      // a declared edit: commit need not search
/// let id = map.commit()?;
///
/// map[0] = 99;
/// map.rollback()?;                                    // back to `id`
/// assert_eq!(map[0], 7);
/// assert_eq!(map.status().durable, id);
/// map.close()?;                                       // a plain file is left
/// assert_eq!(std::fs::read(&path)?[4096], 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # In a forked child
///
/// The memory is not there (`MADV_DONTFORK`): calls return [`ErrorKind::Forked`]. The addresses are free for other mappings, so
/// whoever forks (an unsafe act in Rust) sees to it that the child touches no slice of the map.
pub struct AtomicMapping {
    // Before the store: the memory goes first, then the file is closed.
    working: Working,
    store: Box<dyn Store>,
    disk: Arc<dyn Disk>,
    /// For when the file has to be opened again.
    options: AtomicOptions,
    len: usize,
    /// The smallest length since the last commit.
    len_min: usize,
    /// What the program said it would change, since the last commit.
    declared: Declared,
    /// All of it was lent out mutably since the last commit: the kernel must be asked what changed.
    lent_whole: bool,
    /// A raw pointer was handed out: stores may come at any time, so every commit asks.
    lent_raw: bool,
    /// Where what changed is put together.
    captured_bytes: Kept,
    /// The last checkpoint after which private copies of a view were given back.
    given_back: CommitId,
    /// Addresses that were the memory's before a refresh, where they are to be kept.
    left: Vec<LeftMemory>,
    /// Why memory and store may no longer agree, if so.
    latched: Option<String>,
    birth: Birth,
}

impl fmt::Debug for AtomicMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomicMapping")
            .field("len", &self.len)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl AtomicMapping {
    /// How to open one. See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn options() -> AtomicOptions {
        AtomicOptions::default()
    }

    fn begin(
        options: AtomicOptions,
        disk: Arc<dyn Disk>,
        store: Box<dyn Store>,
        working: Working,
    ) -> AtomicMapping {
        let len = store.committed_len() as usize;
        AtomicMapping {
            working,
            store,
            disk,
            options,
            len,
            len_min: len,
            declared: Declared::default(),
            lent_whole: false,
            lent_raw: false,
            captured_bytes: Kept::default(),
            given_back: CommitId::default(),
            left: Vec::new(),
            latched: None,
            birth: Birth::here(),
        }
    }

    /// The data file, links resolved.
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// Length of the working image in bytes.
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Length of the last commit in bytes: what a rollback returns to.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let mut map = AtomicMapping::options().create(true).len(10).allow_volatile(true).load(folder.path().join("a"))?;
    /// map.resize(5)?;
    /// assert_eq!((map.len(), map.committed_len()), (5, 10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn committed_len(&self) -> usize {
        // No longer than the addresses that the map was opened over.
        self.store.committed_len() as usize
    }

    /// How plain stores are found, or would be: what [`AtomicOptions::tracker`], which has an example, came down to.
    #[must_use]
    pub fn tracker(&self) -> Tracker {
        self.working.tracker()
    }

    /// No bytes at all?
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn refresh_working(&mut self) {
        if let Err(error) = self.working.refresh(&*self.store) {
            self.latched = Some(format!("the working image could not be mapped again ({error})"));
        }
    }

    /// Throws everything since the last commit away.
    ///
    /// With [`scrub`](AtomicOptions::scrub) it also checkpoints and overwrites what was committed over, unless nothing was recorded
    /// since the last time.
    ///
    /// # Errors
    ///
    /// [`Latched`](ErrorKind::Latched) where it is not known what the last commit is. [`Io`](ErrorKind::Io) or
    /// [`Truncated`](ErrorKind::Truncated) where bytes of it cannot be had, and [`ForeignChange`](ErrorKind::ForeignChange) where another
    /// program changed the file of a `view`: nothing was rolled back then. (A device that fails in the very middle of it leaves the
    /// map `Latched`: open the file again.) With `scrub` also
    /// [`NotScrubbed`](ErrorKind::NotScrubbed) and those of [`checkpoint`](AtomicMapping::checkpoint): the map is rolled back then.
    ///
    /// See [`AtomicMapping`] for an example.
    pub fn rollback(&mut self) -> Result<()> {
        self.check_for("rollback")?;
        self.store.check()?;
        let is_one_memory = self.working.is_one_memory();
        if self.working.is_view() {
            // What is about to be shown as the last commit is the file's.
            self.store.check_unchanged()?;
        }
        // Nothing is rolled back yet if these fail.
        let lost = self.working.find_lost(&*self.store)?;
        let lost = if is_one_memory {
            lost
        } else {
            self.working.put_back(&*self.store, lost)?;
            Vec::new()
        };
        if let Err(error) = self.working.roll_back(&*self.store, &self.declared) {
            self.latched = Some(format!("a rollback failed half-way ({error})"));
            return Err(error);
        }
        self.len = self.store.committed_len() as usize;
        self.len_min = self.len;
        self.declared.clear();
        self.lent_whole = false;
        // Behind the edits: where a page was lost when an edit began, what was kept of it are zeros.
        self.working.put_back(&*self.store, lost)?;
        self.store.scrub()
    }

    /// Sets the length: part of the next commit, or of the rollback. New bytes are zeros, also those that were cut off before.
    ///
    /// Growth costs no disk space until something is stored there. Beyond what was reserved the memory moves.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a length beyond the address space,
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) where the kernel has no room; the length is then as it was.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let mut map = AtomicMapping::options().create(true).len(10).allow_volatile(true).load(folder.path().join("a"))?;
    /// map.edit(..)?.fill(1);
    /// map.resize(5)?;
    /// map.resize(20)?;
    /// assert_eq!(map[..], [[1; 5].as_slice(), &[0; 15]].concat());
    /// map.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resize(&mut self, len: usize) -> Result<()> {
        self.check_for("resize")?;
        if len > isize::MAX as usize {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "resize",
                format!("{len} bytes are beyond the address space"),
            )
            .path(self.path())
            .advice("ask for fewer"));
        }
        if len > self.working.reserved_bytes() && self.options.keeps_addresses() {
            let reserved_bytes = self.working.reserved_bytes();
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "resize",
                format!(
                    "{len} bytes are more than the {reserved_bytes} that are reserved, and the memory is to stay where it is"
                ),
            )
            .path(self.path())
            .advice("open it again, and reserve more"));
        }
        if len > self.len {
            // A move would take the zeros for what stood there.
            self.refuse_damaged("resize", &(0..self.len))?;
            let was_cut = (self.len_min as u64) < self.store.committed_len();
            self.working
                .grow(&*self.store, self.len, len, was_cut)
                .map_err(|error| Error::from_io("resize", error).path(self.store.path()))?;
        }
        if len < self.len {
            self.declared.look_again();
        }
        self.len = len;
        self.len_min = self.len_min.min(len);
        Ok(())
    }

    /// Runs `work`, commits if it returns `Ok`, and rolls back if it returns `Err` or panics.
    ///
    /// What was changed before the call and not committed shares its fate.
    ///
    /// # Errors
    ///
    /// Those of `work`, and those of [`commit`](AtomicMapping::commit); after [`NotCommitted`](ErrorKind::NotCommitted) and
    /// [`ReadOnly`](ErrorKind::ReadOnly) the map is rolled back too.
    ///
    /// ```
    /// # use steadfast::{AtomicMapping, Error, ErrorKind};
    /// # let folder = tempfile::tempdir()?;
    /// # let mut map = AtomicMapping::options().create(true).len(64).allow_volatile(true).load(folder.path().join("a"))?;
    /// let refused = map.transaction(|map| {
    ///     map[0] = 1;
    ///     Err::<(), _>(Error::new(ErrorKind::InvalidInput, "transfer", "not enough money"))
    /// });
    /// assert!(refused.is_err());
    /// assert_eq!(map[0], 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn transaction<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&mut AtomicMapping) -> Result<T, E>,
    ) -> Result<T, E> {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(Ok(value)) => match self.commit() {
                Ok(_) => Ok(value),
                Err(error) => {
                    if matches!(error.kind(), ErrorKind::NotCommitted | ErrorKind::ReadOnly) {
                        self.rollback()?;
                    }
                    Err(error.into())
                }
            },
            Ok(Err(error)) => {
                self.rollback()?;
                Err(error)
            }
            Err(panic) => {
                if let Err(error) = self.rollback() {
                    log::error!("while a panic unwinds: {error}");
                }
                resume_unwind(panic)
            }
        }
    }

    /// Writes a plain file that holds the last commit: first under another name, then, durably, under this one. What is not
    /// committed is not in it.
    ///
    /// An existing file at `path` is replaced as a whole or not at all. Zeros take no space in the copy.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) where `path` is the data file itself or something else than a regular file,
    /// [`RecoveryNeeded`](ErrorKind::RecoveryNeeded) where a journal stands beside it: it is itself open for commits, or waits
    /// for recovery.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let mut map = AtomicMapping::options().create(true).len(64).allow_volatile(true).load(folder.path().join("a"))?;
    /// let copy = folder.path().join("backup.bin");
    /// map.copy_to(&copy)?;
    /// assert_eq!(std::fs::read(&copy)?, [0; 64]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn copy_to(&self, path: impl AsRef<Path>) -> Result<()> {
        self.check_for("copy")?;
        copy_committed(&*self.store, &*self.disk, path.as_ref())
    }

    /// Where the map stands. See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.store.status();
        if status.latched.is_none() {
            status.latched.clone_from(&self.latched);
        }
        status
    }

    /// Brings the last commit into the plain file and empties the journal. What is not committed stays as it is.
    ///
    /// # Errors
    ///
    /// Whatever the disk reports. The commits are safe in the journal, and the next checkpoint tries again.
    /// [`NotScrubbed`](ErrorKind::NotScrubbed): they are in the plain file. Only with [`scrub`](AtomicOptions::scrub).
    ///
    /// See [`AtomicMapping`] for an example.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.check_for("checkpoint")?;
        self.store.checkpoint()?;
        let unchanged = self.declared.is_empty()
            && !self.lent_whole
            && !self.lent_raw
            && self.len as u64 == self.store.committed_len()
            && self.len_min == self.len;
        self.working.behind.retain(|_| false);
        if unchanged && self.working.is_view() {
            if self.working.is_all_over_committed() {
                self.working.drop_copies(|_| true);
            } else {
                self.refresh_working();
            }
        }
        Ok(())
    }

    /// Checkpoints, removes the journal and the mark, and lets go of the file: a plain file is left that holds the last commit.
    ///
    /// What was not committed is lost.
    ///
    /// # Errors
    ///
    /// A latched map, or a disk that refuses: nothing is removed then, and the next open recovers. With
    /// [`scrub`](AtomicOptions::scrub) also [`NotScrubbed`](ErrorKind::NotScrubbed).
    ///
    /// See [`AtomicMapping`] for an example.
    pub fn close(mut self) -> Result<()> {
        self.check_for("close")?;
        self.store.close()
    }

    /// As [`close`](AtomicMapping::close), and the memory stays where it is, as it is, for as long as what is returned lives: for those who
    /// cannot know who still has a pointer into it. What is stored there from now on reaches no file. What a `view` had not changed shows
    /// the file, and what becomes of it.
    ///
    /// # Errors
    ///
    /// The second part is what `close` would have returned.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let mut map = AtomicMapping::options().create(true).len(64).allow_volatile(true).load(folder.path().join("a"))?;
    /// map[0] = 7;
    /// let first = map.as_ptr();
    /// let (memory, closed) = map.close_keeping_memory();
    /// closed?;
    /// // SAFETY: the memory is kept, and nobody else knows it.
    /// assert_eq!(unsafe { first.read() }, 7);
    /// drop(memory);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close_keeping_memory(mut self) -> (Vec<LeftMemory>, Result<()>) {
        let closed = self.close_file();
        let AtomicMapping { working, mut left, .. } = self;
        left.push(working.into_left());
        (left, closed)
    }

    fn check_process(&self, operation: &'static str) -> Result<()> {
        if self.birth.is_elsewhere() {
            return Err(Error::new(
                ErrorKind::Forked,
                operation,
                "the map belongs to the parent of this process",
            )
            .path(self.path())
            .advice("open the file anew after the parent has closed it"));
        }
        Ok(())
    }

    fn check_for(&self, operation: &'static str) -> Result<()> {
        self.check_process(operation)?;
        match &self.latched {
            None => Ok(()),
            Some(reason) => Err(Error::new(
                ErrorKind::Latched,
                operation,
                format!("refused after an earlier failure: {reason}"),
            )
            .path(self.path())
            .advice("read what you need, drop the map and open the file again: it holds the last commit")),
        }
    }
}
