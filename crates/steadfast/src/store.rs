//! Stores: where committed bytes live.
//!
//! A [`Store`] knows one state of a range of bytes, the last commit, and moves from one to the next all at once.
//! [`JournaledFile`] keeps them in a plain file with a journal beside it. Others can be written outside this crate.

mod background;
mod checkpoint;
mod close;
mod commit;
mod committed;
mod copy;
mod flush;
mod gone;
mod identity;
mod image;
mod inspect;
mod job;
mod journaled_file;
mod lock;
mod lost_name;
mod mark;
mod open;
mod overlay;
mod recover;
mod replace;
mod scrub;
mod settle;
mod snapshot;
mod state;
mod ticket;
mod trust;

use std::fmt;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;

pub use crate::batch::{Batch, Extent};
pub(crate) use copy::copy_committed;
pub(crate) use gone::Gone;
pub use inspect::{JournalReport, RecordReport, inspect};
pub use journaled_file::{JournaledFile, JournaledFileOptions};
pub use recover::{Recovery, Resolution, recover, recover_on};
pub(crate) use snapshot::Snapshot;
pub use ticket::{CommitTicket, Completion};

use crate::error::Result;

/// The number of a commit. It only grows for as long as the journal lives; 0 is the state that was opened.
///
/// ```
/// use steadfast::AtomicMapping;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("state.bin");
/// let mut map = AtomicMapping::options().create(true).len(4096).allow_volatile(true).load(&path)?;
/// map.edit(0..8)?.fill(1);
/// let first = map.commit()?;
/// map.edit(0..8)?.fill(2);
/// assert!(map.commit()? > first);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(u64);

impl CommitId {
    /// A commit's number as a store outside this crate counts it. See [`CommitId`] for an example.
    #[must_use]
    pub fn new(number: u64) -> CommitId {
        CommitId(number)
    }

    /// The number. See [`CommitId`] for an example.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a commit is durable.
///
/// See [`JournaledFile`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Before the call returns.
    Now,
    /// With the next commit that flushes; until then a crash may take it, and all after it, away as a whole.
    Later,
}

/// Where an open map stands. From [`AtomicMapping::status`](crate::AtomicMapping::status), which has an example.
#[non_exhaustive]
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The last commit.
    pub last: CommitId,
    /// The last commit that is durable.
    pub durable: CommitId,
    /// The last commit that the plain file holds.
    pub checkpointed: CommitId,
    /// Room for records in the journal, in bytes.
    pub journal_bytes: u64,
    /// Bytes of it that hold records not yet checkpointed.
    pub journal_used_bytes: u64,
    /// Why the last checkpoint failed, if it did. The commits are safe in the journal; the next checkpoint tries again.
    pub checkpoint_error: Option<String>,
    /// Why commits are refused, if they are.
    pub latched: Option<String>,
    /// They are refused because another program changed the data file: see [`AtomicMapping::refresh`](crate::AtomicMapping::refresh).
    pub changed_by_others: bool,
    /// What the open had to recover.
    pub recovery: Recovery,
}

/// Committed bytes, and the one way to change them.
///
/// One writer owns a store. A commit that returns an error of kind
/// [`NotCommitted`](crate::ErrorKind::NotCommitted) has changed nothing and may be tried again; after
/// [`InDoubt`](crate::ErrorKind::InDoubt) the store is latched: it still reads, and refuses to commit. A commit that returns
/// [`NotScrubbed`](crate::ErrorKind::NotScrubbed) has happened.
///
/// See [`JournaledFile`] for an example.
pub trait Store: fmt::Debug + Send + Sync {
    /// The name that errors use.
    ///
    /// See [`JournaledFile`] for an example.
    fn path(&self) -> &Path;
    /// Length of the last commit, in bytes.
    ///
    /// See [`JournaledFile`] for an example.
    fn committed_len(&self) -> u64;
    /// Fills `buf` with bytes of the last commit. The range must lie within [`committed_len`](Store::committed_len).
    ///
    /// See [`JournaledFile`] for an example.
    fn read_committed(&self, buf: &mut [u8], offset: u64) -> Result<()>;
    /// Moves to the next state, all or nothing.
    ///
    /// See [`JournaledFile`] for an example.
    fn commit(&mut self, batch: &Batch<'_>, flush: Flush) -> Result<CommitId>;
    /// Records the next state and returns before it is durable: the ticket tells when it is. Tickets complete in the order of
    /// their commits. A store without a way of its own commits at once.
    ///
    /// See [`JournaledFile`] for an example.
    fn commit_async(&mut self, batch: &Batch<'_>) -> Result<CommitTicket> {
        self.commit(batch, Flush::Now).map(CommitTicket::done)
    }
    /// Begins to bring commits into the plain form in the background, where the store can. What goes wrong is told by the next
    /// commit and by `close`.
    ///
    /// See [`JournaledFile`] for an example.
    fn start_checkpoint(&mut self) -> Result<()> {
        Ok(())
    }
    /// May [`page_cache`](Store::page_cache) lack committed bytes of this range, because only a record holds them yet?
    ///
    /// See [`JournaledFile`] for an example.
    fn is_behind(&self, range: Range<u64>) -> Result<bool> {
        let _ = range;
        Ok(false)
    }
    /// An error if another program changed what the store keeps, as far as the store can tell. Asked before memory is compared
    /// with [`page_cache`](Store::page_cache).
    ///
    /// See [`JournaledFile`] for an example.
    fn check_unchanged(&mut self) -> Result<()> {
        Ok(())
    }
    /// After a rollback: where the store was opened to leave nothing of what was committed over, it makes the plain form hold the
    /// last commit and overwrites the rest. Costs nothing where nothing was recorded since the last time.
    ///
    /// See [`JournaledFileOptions::scrub`] for an example.
    fn scrub(&mut self) -> Result<()> {
        Ok(())
    }
    /// Makes the plain form of the store hold the last commit, and gives journal space back.
    ///
    /// See [`JournaledFile`] for an example.
    fn checkpoint(&mut self) -> Result<()>;
    /// Ends the work: checkpoint, and leave the plain form only. Called once; nothing but drop comes after success.
    ///
    /// See [`JournaledFile`] for an example.
    fn close(&mut self) -> Result<()>;
    /// As `close`, for what has lost its name, so that nobody could open it by that any more. The plain form holds every commit, and
    /// then `rest`, which is written as it is: neither durable nor all or nothing. Nothing is touched that stands under the name now.
    /// After an error it may be called again. A store without names closes.
    ///
    /// See [`JournaledFile`] for an example.
    fn close_without_name(&mut self, rest: &Batch<'_>) -> Result<()> {
        self.commit(rest, Flush::Now)?;
        self.close()
    }
    /// The folder that the store lies in was renamed, or one above it, and it is found there, journal and all: what goes by its name goes by
    /// this path from here on. Taken as it is said. A store without names has none to learn.
    ///
    /// # Errors
    ///
    /// [`Forked`](crate::ErrorKind::Forked): it belongs to the parent of this process.
    ///
    /// See [`JournaledFile`] for an example.
    fn moved_to(&mut self, path: &Path) -> Result<()> {
        let _ = path;
        Ok(())
    }
    /// Before the store is let go of because another program changed what it keeps: nothing stays that an open would ask about,
    /// unless commits wait for their checkpoint.
    ///
    /// See [`JournaledFile`] for an example.
    fn leave_to_others(&mut self) -> Result<()> {
        Ok(())
    }
    /// Where it stands.
    ///
    /// See [`JournaledFile`] for an example.
    fn status(&self) -> Status;
    /// An error if an earlier failure left it unknown what was committed last: commits are refused then, and so is a rollback.
    ///
    /// See [`JournaledFile`] for an example.
    fn check(&self) -> Result<()>;
    /// A file whose page cache holds the bytes of the last checkpoint at the same offsets, if there is one: what `view` maps.
    ///
    /// See [`JournaledFile`] for an example.
    fn page_cache(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
