//! A commit: what is to be recorded is found, recorded, and folded into the committed image.

use std::ops::{Range, RangeBounds};

use super::AtomicMapping;
use super::capture::Captured;
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::range;
use crate::store::{CommitId, CommitTicket, Flush, Store};

/// Private copies of pages that the committed image shows too may take this much before they are given back.
const COPIES_BYTES_MAX: usize = 8 << 20;
/// A checkpoint begins once the copies that show what a view's data file lacks take this much.
const PENDING_BYTES_MAX: usize = 64 << 20;

impl AtomicMapping {
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
    ///   [`scrub`](crate::AtomicOptions::scrub).
    /// - [`ReadOnly`](ErrorKind::ReadOnly): the map was opened with [`read_only`](crate::AtomicOptions::read_only).
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
}

/// What went wrong before anything was recorded.
fn nothing_happened(error: Error) -> Error {
    match error.kind() {
        // Trying again would not help.
        ErrorKind::Latched | ErrorKind::ForeignChange | ErrorKind::Forked | ErrorKind::Corrupt => error,
        _ => error.become_kind(ErrorKind::NotCommitted, "commit", "nothing changed"),
    }
}
