//! Memory that commits: a private working image, a tracker of what changed, and a store that holds what was committed.

mod access;
mod adopt;
mod behind;
mod capture;
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
use std::ops::{Range, RangeBounds};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;

pub use options::AtomicOptions;
pub use tracker::Tracker;

use crate::batch::Batch;
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::kept::Kept;
use crate::range;
use crate::store::{CommitId, CommitTicket, Flush, Status, Store, copy_committed};
use crate::sys::fork::Birth;
use capture::Captured;
use declared::Declared;
use working::Working;

/// Private copies of pages that the committed image shows too may take this much before they are given back.
const COPIES_BYTES_MAX: usize = 8 << 20;
/// A checkpoint begins once the copies that show what a view's data file lacks take this much.
const PENDING_BYTES_MAX: usize = 64 << 20;

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

    /// Makes everything since the last commit durable, all or nothing, and returns the commit's number.
    ///
    /// With nothing changed it writes nothing and returns the number of the last commit. (A plain store of bytes that are there
    /// already may count as a change in a `view`.)
    ///
    /// # Errors
    ///
    /// - [`NotCommitted`](ErrorKind::NotCommitted): nothing happened (a full disk, mostly); memory is as it was, and the same
    ///   call may succeed later. Also where it would go over bytes that could not be had: see [`check`](AtomicMapping::check).
    /// - [`InDoubt`](ErrorKind::InDoubt): the disk failed, and so did the attempt to go on with a fresh journal; the next open
    ///   decides.
    /// - [`Latched`](ErrorKind::Latched): refused after an earlier failure.
    /// - [`ForeignChange`](ErrorKind::ForeignChange): another program changed the data file; refused from now on.
    /// - [`NotScrubbed`](ErrorKind::NotScrubbed): the commit counts; what it cut off may still be in the journal. Only with
    ///   [`scrub`](AtomicOptions::scrub).
    /// - [`ReadOnly`](ErrorKind::ReadOnly): the map was opened with [`read_only`](AtomicOptions::read_only).
    ///
    /// See [`AtomicMapping`] for an example.
    pub fn commit(&mut self) -> Result<CommitId> {
        self.commit_with(Flush::Now)
    }

    /// Commits atomically and in order, but leaves the flush to the next commit that flushes, checkpoint or close: a crash
    /// before that takes this commit, and all after it, away as a whole.
    ///
    /// # Errors
    ///
    /// As [`commit`](AtomicMapping::commit).
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let mut map = AtomicMapping::options().create(true).len(64).allow_volatile(true).load(folder.path().join("a"))?;
    /// map[0] = 1;
    /// let id = map.commit_relaxed()?;
    /// assert!(map.status().durable < id);
    /// map.commit()?;
    /// assert!(map.status().durable >= id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commit_relaxed(&mut self) -> Result<CommitId> {
        self.commit_with(Flush::Later)
    }

    /// Captures everything since the last commit and returns before it is durable; the ticket tells when it is. The program
    /// may store again at once. Tickets that wait together share one flush, and complete in order.
    ///
    /// # Errors
    ///
    /// As [`commit`](AtomicMapping::commit), except what only the flush can tell: that is the ticket's.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let mut map = AtomicMapping::options().create(true).len(64).allow_volatile(true).load(folder.path().join("a"))?;
    /// map.edit(0..8)?.fill(1);
    /// let first = map.commit_async()?;
    /// map.edit(0..8)?.fill(2);                    // not part of `first`
    /// let second = map.commit_async()?;
    /// assert!(second.wait()? > first.wait()?);    // or `first.await`
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commit_async(&mut self) -> Result<CommitTicket> {
        self.commit_by("commit", None, |store, batch| store.commit_async(batch))
    }

    /// As [`commit`](AtomicMapping::commit), for the pages that `range` touches and no others: what changed elsewhere stays as it
    /// is, for a later commit or a rollback. This is what `msync` of a part asks for (msync(3p)).
    ///
    /// The price of knowing what is left: from the first such call on, stores are found as if the whole slice had been borrowed.
    /// A change of length that waits for its commit takes everything with it.
    ///
    /// # Errors
    ///
    /// As `commit`; and [`OutOfRange`](ErrorKind::OutOfRange) or [`InvalidInput`](ErrorKind::InvalidInput) for a range that is
    /// not within the map.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let mut map = AtomicMapping::options().create(true).len(1 << 20).allow_volatile(true).load(folder.path().join("a"))?;
    /// map[0] = 1;
    /// map[500_000] = 2;
    /// map.commit_range(0..1)?;
    /// map.rollback()?;
    /// assert_eq!((map[0], map[500_000]), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commit_range(&mut self, range: impl RangeBounds<usize>) -> Result<CommitId> {
        self.commit_part("commit_range", range, |store, batch| store.commit(batch, Flush::Now))
    }

    /// As [`commit_range`](AtomicMapping::commit_range), and returns once the bytes are captured, as
    /// [`commit_async`](AtomicMapping::commit_async) does.
    ///
    /// # Errors
    ///
    /// As `commit_range`, which has an example.
    pub fn commit_range_async(&mut self, range: impl RangeBounds<usize>) -> Result<CommitTicket> {
        self.commit_part("commit_range_async", range, |store, batch| store.commit_async(batch))
    }

    fn commit_part<T>(
        &mut self,
        operation: &'static str,
        range: impl RangeBounds<usize>,
        record: impl FnOnce(&mut dyn Store, &Batch<'_>) -> Result<T>,
    ) -> Result<T> {
        self.check_for(operation)?;
        let range = range::resolve(&range, self.len).map_err(|error| self.range_error(error, operation))?;
        let committed_len = self.store.committed_len() as usize;
        let length_waits = self.len != committed_len || self.len_min < committed_len;
        let is_all = range == (0..self.len);
        // Within the map, so its pages lie within the addresses.
        let pages = range::pages_outward(&range, crate::sys::page_size()).unwrap_or(range);
        if length_waits || is_all || self.options.is_read_only() {
            return self.commit_by(operation, None, record);
        }
        // Apart from what is committed, and watched: or nobody knows what is left.
        self.expect_stores();
        self.check_for(operation)?;
        self.commit_by(operation, Some(pages), record)
    }

    fn commit_with(&mut self, flush: Flush) -> Result<CommitId> {
        self.commit_by("commit", None, |store, batch| store.commit(batch, flush))
    }

    /// Commits everything, or what lies in some whole pages.
    fn commit_by<T>(
        &mut self,
        operation: &'static str,
        within: Option<Range<usize>>,
        record: impl FnOnce(&mut dyn Store, &Batch<'_>) -> Result<T>,
    ) -> Result<T> {
        self.check_for(operation)?;
        let committed_len = self.store.committed_len() as usize;
        let search = self.lent_whole || self.lent_raw || within.is_some();
        let len_min = self.len_min.min(committed_len) as u64;
        let mut captured = if search {
            self.capture(within.as_ref()).map_err(nothing_happened)?
        } else {
            Captured::default()
        };
        let left = std::mem::take(&mut captured.left);
        let (extents, bytes) = if search {
            (&*captured.extents, captured.bytes())
        } else {
            self.declared.settle(self.working.bytes(self.len));
            self.declared.record()
        };
        self.refuse_damaged_pages(operation, extents).map_err(nothing_happened)?;
        if self.working.is_view() && !extents.is_empty() {
            // A file that is cut takes private pages with it, and makes zeros of the others: what was captured may be those.
            self.store.check_unchanged()?;
        }
        let batch = Batch { len_min, len: self.len as u64, extents, bytes };
        self.working.keep_committed(&*self.store, &batch).map_err(nothing_happened)?;
        let recorded = record(&mut *self.store, &batch);
        // Nothing of what is tracked is forgotten then: a commit that fails can be tried again.
        if recorded.as_ref().is_err_and(|error| error.kind() != ErrorKind::NotScrubbed) {
            return recorded;
        }
        // What was declared and is left is found among the pages that changed.
        let is_left = !left.is_empty();
        let folded =
            self.working.fold(&*self.store, &batch, committed_len, &captured.copies, left, self.lent_raw);
        captured.give_back(&mut self.captured_bytes);
        self.declared.clear();
        self.lent_whole = is_left;
        self.len_min = self.len;
        if let Err(error) = folded {
            // The commit is durable; but what rollback would return to is not what was committed.
            self.latched =
                Some(format!("the committed image could not be kept up to date in memory ({error})"));
            // Nor may any page fall back on that image: the memory stays as the program left it.
            return recorded;
        }
        self.give_memory_back();
        recorded
    }

    /// Once private copies of committed pages have piled up, lets go of those that the committed image shows by itself.
    fn give_memory_back(&mut self) {
        if self.working.copies_bytes() <= COPIES_BYTES_MAX {
            return;
        }
        if !self.working.is_view() {
            if !self.lent_raw {
                self.working.drop_copies(|_| true);
            }
            return;
        }
        // A view can fall back on the data file only where that holds the last commit.
        let checkpointed = self.store.status().checkpointed;
        if checkpointed > self.given_back {
            let store = &self.store;
            let is_behind =
                |run: Range<usize>| store.is_behind(run.start as u64..run.end as u64).unwrap_or(true);
            if !self.lent_raw {
                self.working.drop_copies(|run| !is_behind(run));
            }
            self.working.behind.retain(is_behind);
            self.given_back = checkpointed;
        }
        // Where stores may come at any time no copy can be given back: a checkpoint would free only what is kept beside them.
        let given_back_bytes =
            if self.lent_raw { self.working.behind.bytes() } else { self.working.copies_bytes() };
        if given_back_bytes > PENDING_BYTES_MAX
            && let Err(error) = self.store.start_checkpoint()
        {
            // The status says why, and the copies stay.
            log::debug!("no checkpoint: {error}");
        }
    }

    /// Addresses, in bytes from the first, within which the memory never moves.
    pub(crate) fn reserved_bytes(&self) -> usize {
        self.working.reserved_bytes()
    }

    /// How far it has pages: to the end of the longer of what is committed and what is not.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.working.mapped_bytes()
    }

    /// These addresses, whole pages counted from the first, belong to the caller from here on. Nothing in them waits for a commit, and
    /// nobody reads, stores or cuts there through the map.
    pub(crate) fn give_up(&mut self, bytes: &Range<usize>) {
        self.working.give_up(bytes);
    }

    /// Closes the file, and leaves the memory as it is: for those who put something else in its place.
    pub(crate) fn close_file(&mut self) -> Result<()> {
        self.check_for("close")?;
        self.store.close()
    }

    /// As `close_file`, for a file that has lost its name: what is not committed is written as it is. Of a map whose memory was handed
    /// out raw. After an error it may be called again.
    pub(crate) fn close_without_name(&mut self) -> Result<()> {
        self.check_for("close")?;
        let rest = self.uncommitted_pages()?;
        let committed_len = self.store.committed_len() as usize;
        let len_min = self.len_min.min(committed_len) as u64;
        let batch = Batch { len_min, len: self.len as u64, extents: &rest.extents, bytes: rest.bytes() };
        self.store.close_without_name(&batch)
    }

    /// The same without what is not committed: where there is no room for that, and nobody tries again.
    pub(crate) fn close_without_name_or_rest(&mut self) -> Result<()> {
        self.check_process("close")?;
        let len = self.store.committed_len();
        self.store.close_without_name(&Batch { len_min: len, len, extents: &[], bytes: &[] })
    }

    /// The file is found by this path from here on, its journal beside it.
    pub(crate) fn moved_to(&mut self, path: &Path) -> Result<()> {
        self.store.moved_to(path)
    }

    /// The data file, where it is one of the kernel's.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.store.page_cache()
    }

    /// As `close`, and the memory stays mapped for ever, with what is in it.
    pub(crate) fn close_and_leave_memory(mut self) -> Result<()> {
        let closed = self.close_file();
        let AtomicMapping { working, .. } = self;
        std::mem::forget(working);
        closed
    }

    /// Was any of these pages given up?
    pub(crate) fn is_given_up(&self, bytes: &Range<usize>) -> bool {
        self.working.is_given_up(bytes)
    }

    /// Pages that were given up show the last commit again; [`Busy`](ErrorKind::Busy) if the addresses are somebody's.
    pub(crate) fn take_back(&mut self, bytes: &Range<usize>) -> Result<()> {
        self.working.take_back(&*self.store, bytes)
    }

    /// What was committed, whatever memory says.
    pub(crate) fn read_committed(&self, bytes: &mut [u8], offset: usize) -> Result<()> {
        self.store.read_committed(bytes, offset as u64)
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

/// What went wrong before anything was recorded.
fn nothing_happened(error: Error) -> Error {
    match error.kind() {
        // Trying again would not help.
        ErrorKind::Latched | ErrorKind::ForeignChange | ErrorKind::Forked | ErrorKind::Corrupt => error,
        _ => error.become_kind(ErrorKind::NotCommitted, "commit", "nothing changed"),
    }
}
