//! What a journaled file is made of, and who may touch it when.
//!
//! One mutex holds everything that changes. Three kinds of threads take it: the owner's, which commits; the background ones,
//! which flush tickets and checkpoint ([`background`](super::background)); and any that waits for a ticket. The mutex is let go
//! during a flush and during a checkpoint in the background, and these two are told by [`State::flushing`] and
//! [`State::checkpoint`]: a journal is replaced only while neither is under way, and by the one who holds the flush.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::identity::{self, FoundMark};
#[cfg(feature = "sim")]
use super::job::Job;
use super::job::OtherLength;
use super::overlay::Overlay;
use super::ticket::Completion;
use super::{CommitId, Recovery, Status};
use crate::batch::{Batch, Extent};
use crate::disk::{Disk, DiskFile, FileStat};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Journal, Placed};
use crate::knockout::{holds, step};
use crate::range::RangeSet;
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, thread};
use crate::sys::fork::Birth;

/// How checkpoints in the background get on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Pace {
    /// On a thread of their own.
    #[default]
    Threads,
    /// So many steps with each commit: every run is like the one before, as crash tests want it.
    #[cfg(feature = "sim")]
    Stepped(u32),
}

/// A commit that stands in the journal and not yet (or not yet durably) in the data file.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) len_before: u64,
    pub(super) placed: Placed,
    /// Kept while the record is not durable, and from the first reading of committed bytes on.
    pub(super) extents: Option<Vec<Extent>>,
    /// The bytes themselves, for as long as the record is not durable: after a failed flush the journal's page cache
    /// cannot be believed.
    pub(super) bytes: Option<Vec<u8>>,
}

impl Pending {
    pub(super) fn id(&self) -> u64 {
        self.placed.header.id.get()
    }

    pub(super) fn len_min(&self) -> u64 {
        self.placed.header.len_min.get()
    }

    pub(super) fn len(&self) -> u64 {
        self.placed.header.len.get()
    }
}

/// Where the checkpoint of a sealed half stands.
#[derive(Debug, Default)]
pub(super) enum Checkpoint {
    #[default]
    Idle,
    /// The background thread is to begin one.
    Asked,
    /// It is at work, without the mutex. The journal it reads is not to be replaced meanwhile.
    Running {
        /// It does not only sync the data file.
        writes: bool,
    },
    /// It gets on with each commit.
    #[cfg(feature = "sim")]
    Stepped(Box<Job<'static>>),
}

/// What all threads share.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    pub(super) data: Arc<dyn DiskFile>,
    pub(super) identity: [u8; 16],
    /// The file system holds extended attributes, and the mark is one.
    pub(super) marked: bool,
    pub(super) publish: bool,
    /// Names and attributes are anybody's to change.
    pub(super) may_be_renamed: bool,
    /// Leave nothing of what was committed over: see [`scrub`](super::scrub).
    pub(super) scrub: bool,
    /// The journal may grow by itself: its size was not asked for.
    pub(super) adaptive: bool,
    pub(super) pace: Pace,
    pub(super) birth: Birth,
    /// Length and number of the last commit; read without the mutex, in a forked child too.
    pub(super) committed_len: AtomicU64,
    pub(super) last: AtomicU64,
    /// Somebody waits for the checkpoint: no more yielding to others.
    pub(super) urgent: AtomicBool,
    /// The checkpoint under way is not needed any more.
    pub(super) abandoned: AtomicBool,
    pub(super) state: Mutex<State>,
    /// Something changed that a thread may wait for.
    pub(super) changed: Condvar,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournaledFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Threads that were started, and the word that they shall end.
#[derive(Debug, Default)]
pub(super) struct Threads {
    pub(super) checkpointer: Option<thread::JoinHandle<()>>,
    pub(super) flusher: Option<thread::JoinHandle<()>>,
    pub(super) stop: bool,
}

#[derive(Debug)]
pub(super) struct State {
    /// Where the file is by now, if its folder was renamed: what goes by its name goes by this one.
    pub(super) moved_to: Option<PathBuf>,
    pub(super) journal: Journal,
    /// The data file as this process last left it; not kept up while a checkpoint writes to it.
    pub(super) expected: FileStat,
    /// The last look at it failed: what is found next is our own doing, as far as anybody can tell.
    pub(super) unseen: bool,
    pub(super) checkpointed_len: u64,
    pub(super) pending: VecDeque<Pending>,
    /// How many of `pending` the overlay sums up, and their sum; caught up on demand, away from the path of a commit.
    pub(super) overlay: (usize, Overlay),
    /// Committed bytes have been read: their places are kept at hand.
    pub(super) keep_extents: bool,
    /// Parts of the data file known to have blocks.
    pub(super) reserved: RangeSet,
    /// How many of `pending` the data file's page cache shows, with `publish`.
    pub(super) published: usize,
    pub(super) checkpoint_error: Option<String>,
    /// A checkpoint in the background failed, and nobody has been told yet.
    pub(super) unreported: Option<Error>,
    pub(super) latched: Option<String>,
    /// It is latched because of a foreign hand, and nothing else.
    pub(super) changed_by_others: bool,
    /// It is latched because its name was lost, and nothing else.
    pub(super) lost_name: bool,
    /// The file is being let go of without its name, and that failed half-way.
    pub(super) leaving: bool,
    /// An anchor or a scrub failed: the journal is to be replaced before anything else is done with it.
    pub(super) renew: Option<std::io::Error>,
    /// Journals that lost their name to a fresh one and are still to be overwritten.
    pub(super) replaced: Vec<Arc<dyn DiskFile>>,
    pub(super) recovery: Recovery,
    pub(super) closed: bool,
    /// A thread has the flush: it syncs the journal, replaces it, or tells tickets.
    pub(super) flushing: bool,
    pub(super) checkpoint: Checkpoint,
    /// Commits that somebody has a ticket for, in order.
    pub(super) tickets: VecDeque<(u64, Completion)>,
    pub(super) threads: Threads,
}

/// The state, with the mutex held.
pub(super) struct Locked<'a> {
    pub(super) shared: &'a Arc<Shared>,
    /// `None` only inside `wait` and `unlocked`.
    guard: Option<MutexGuard<'a, State>>,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        match &self.guard {
            Some(guard) => guard,
            None => unreachable!("the guard is put back before `wait` and `unlocked` return"),
        }
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        match &mut self.guard {
            Some(guard) => guard,
            None => unreachable!("the guard is put back before `wait` and `unlocked` return"),
        }
    }
}

impl Shared {
    pub(super) fn lock(self: &Arc<Self>) -> Locked<'_> {
        let guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { shared: self, guard: Some(guard) }
    }

    pub(super) fn error(&self, kind: ErrorKind, operation: &'static str, reason: impl Into<String>) -> Error {
        Error::new(kind, operation, reason.into()).path(&self.path)
    }

    /// To be asked before the mutex, which a fork may have left locked.
    pub(super) fn check_process(&self, operation: &'static str) -> Result<()> {
        if self.birth.is_elsewhere() {
            return Err(self
                .error(ErrorKind::Forked, operation, "the file was opened by the parent of this process")
                .advice("open it anew after the parent has closed it"));
        }
        Ok(())
    }

    pub(super) fn committed_len(&self) -> u64 {
        self.committed_len.load(Ordering::Acquire)
    }
}

impl Locked<'_> {
    /// Waits until something changed. Everything may be different afterwards.
    pub(super) fn wait(&mut self) {
        if let Some(guard) = self.guard.take() {
            self.guard = Some(self.shared.changed.wait(guard).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Works without the mutex. Everything may be different afterwards.
    pub(super) fn unlocked<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.guard = None;
        // The disk is no part of the model: others may go first.
        #[cfg(shuttle)]
        thread::yield_now();
        let result = work();
        self.guard = Some(self.shared.state.lock().unwrap_or_else(PoisonError::into_inner));
        result
    }

    pub(super) fn error(&self, kind: ErrorKind, operation: &'static str, reason: impl Into<String>) -> Error {
        self.shared.error(kind, operation, reason)
    }

    /// The path that leads to the file, as far as is known.
    pub(super) fn path(&self) -> &Path {
        self.moved_to.as_deref().unwrap_or(&self.shared.path)
    }

    pub(super) fn committed_len(&self) -> u64 {
        self.shared.committed_len()
    }

    pub(super) fn set_committed_len(&mut self, len: u64) {
        self.shared.committed_len.store(len, Ordering::Release);
    }

    /// Refuses every later commit.
    pub(super) fn latch(&mut self, reason: String) {
        log::error!("{}: commits are refused from now on: {reason}", self.path().display());
        self.latch_unsaid(reason);
    }

    /// The same where it may be forgiven: who does not says it.
    pub(super) fn latch_unsaid(&mut self, reason: String) {
        self.latched.get_or_insert(reason);
        // A checkpoint under way has lost its purpose, and who waits for a ticket is to be told.
        self.shared.abandoned.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
    }

    /// Is this handle able to commit?
    pub(super) fn check_for(&self, operation: &'static str) -> Result<()> {
        if let Some(reason) = step!("doubt: every later call is refused", &self.latched, or & None) {
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
        let stat = self
            .shared
            .data
            .stat()
            .map_err(|error| Error::from_io(operation, error).path(&self.shared.path))?;
        if std::mem::take(&mut self.unseen) {
            self.expected = stat;
            // Whoever had a hand in it, the next that writes writes all of it.
            self.published = 0;
        }
        let same = holds!("foreign hands: the length", stat.len == self.expected.len)
            && holds!("foreign hands: the change time", stat.changed_ns == self.expected.changed_ns);
        if same {
            return Ok(());
        }
        if self.shared.may_be_renamed && self.is_as_modified(&stat) {
            self.expected = stat;
            return Ok(());
        }
        // no check: for the words of an error
        let what = if stat.len != self.expected.len {
            format!(
                "another program changed the data file's length from {} to {} bytes",
                self.expected.len, stat.len
            )
        } else {
            "another program changed the data file".to_owned()
        };
        Err(self.changed_by_another(operation, what).advice(
            "nothing was written over it; find the program, then call `refresh` to take the file as it is now, or open it again \
             (or `steadfast recover`, with --discard to keep the file as it stands)",
        ))
    }

    /// The change time moves with a name, a permission or an attribute as well. The modification time tells them from what counts, unless
    /// whoever wrote put it back.
    fn is_as_modified(&self, stat: &FileStat) -> bool {
        let mark = || match identity::find_mark(&*self.shared.data) {
            Ok(FoundMark::Ours(mark)) => mark.is_of(self.shared.identity, self.journal.epoch()),
            found => !self.shared.marked && matches!(found, Ok(FoundMark::None | FoundMark::Unsupported)),
        };
        holds!("renamed: the length", stat.len == self.expected.len)
            && holds!("renamed: the modification time", stat.modified_ns == self.expected.modified_ns)
            && holds!("renamed: the mark", mark())
    }

    /// Nothing goes on over another program's change: latches, and says so.
    pub(super) fn changed_by_another(&mut self, operation: &'static str, what: String) -> Error {
        self.changed_by_others |= self.latched.is_none();
        self.latch(what.clone());
        self.error(ErrorKind::ForeignChange, operation, what).advice(
            "every commit that the file lacks is safe in the journal; find the program, then call `refresh` or open the file again: \
             they make the commits once more over what it left",
        )
    }

    /// Is a checkpoint under way?
    pub(super) fn is_checkpointing(&self) -> bool {
        !matches!(self.checkpoint, Checkpoint::Idle | Checkpoint::Asked)
    }

    /// Is a checkpoint writing to the data file?
    pub(super) fn is_writing(&self) -> bool {
        match &self.checkpoint {
            Checkpoint::Idle | Checkpoint::Asked => false,
            Checkpoint::Running { writes } => *writes,
            #[cfg(feature = "sim")]
            Checkpoint::Stepped(job) => !job.only_syncs,
        }
    }

    /// Remembers the data file as this process just left it.
    pub(super) fn remember_data(&mut self) -> std::io::Result<()> {
        self.remember_data_of_length(None)
    }

    /// The same where it is known how long the file must be: another length is another program's doing.
    pub(super) fn remember_data_of_length(&mut self, len: Option<u64>) -> std::io::Result<()> {
        // While a checkpoint writes, the file changes all the time; it looks when it is done.
        if self.is_writing() {
            return Ok(());
        }
        let stat = self.shared.data.stat();
        self.unseen = stat.is_err();
        self.expected = stat?;
        let (expected, found) = (len.unwrap_or(self.expected.len), self.expected.len);
        if holds!("foreign hands: the length that was written", found == expected) {
            return Ok(());
        }
        Err(std::io::Error::other(OtherLength { expected, found }))
    }

    /// Takes note of a record that was just put into the journal.
    pub(super) fn push_pending(&mut self, batch: &Batch<'_>, placed: Placed, durable: bool) {
        let extents = (!durable || self.keep_extents).then(|| batch.extents.to_vec());
        let bytes = (!durable).then(|| batch.bytes.to_vec());
        let len_before = self.committed_len();
        self.shared.last.store(placed.header.id.get(), Ordering::Relaxed);
        self.pending.push_back(Pending { len_before, placed, extents, bytes });
        self.set_committed_len(batch.len);
    }

    /// The commits through this one are in the data file.
    pub(super) fn forget_pending(&mut self, through: u64) {
        let count = self.pending.partition_point(|pending| pending.id() <= through);
        self.pending.drain(..count);
        self.published = self.published.saturating_sub(count);
        self.overlay = Default::default();
    }

    pub(super) fn status(&self) -> Status {
        let (journal_bytes, journal_used_bytes) = self.journal.fill();
        Status {
            last: CommitId::new(self.journal.last()),
            durable: CommitId::new(self.journal.durable()),
            checkpointed: CommitId::new(self.journal.checkpointed_through()),
            journal_bytes,
            journal_used_bytes,
            checkpoint_error: self.checkpoint_error.clone(),
            latched: self.latched.clone(),
            changed_by_others: self.changed_by_others,
            recovery: self.recovery.clone(),
        }
    }
}
