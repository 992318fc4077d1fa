//! A commit: space first, then one write and one flush, then the acknowledgement.

use std::io;

use super::journaled_file::{JournaledFile, Pending};
use super::{Batch, CommitId, Flush};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, FreshJournal, Placed};

impl JournaledFile {
    pub(super) fn commit_batch(&mut self, batch: &Batch<'_>, flush: Flush) -> Result<CommitId> {
        self.check_for("commit")?;
        batch.check(self.committed_len).map_err(|error| error.path(&self.path))?;
        let undurable = self.journal.durable() < self.journal.last();
        if batch.is_empty(self.committed_len) {
            // Nothing to record; but a commit that flushes makes the relaxed ones before it durable.
            if flush == Flush::Now && undurable {
                self.flush_or_reestablish(None)?;
                self.publish_durable();
            }
            return Ok(CommitId::new(self.journal.last()));
        }
        // 1. Whatever can fail without leaving a trace fails here: nothing was written, the commit can be tried again.
        self.notice_foreign_hands("commit")?;
        self.reserve_blocks(batch)?;
        self.make_room(batch)?;
        // 2. The record, behind all others.
        let id = self.journal.last() + 1;
        let id = match self.journal.append(id, batch) {
            Ok(placed) => {
                let bytes = (flush == Flush::Later).then(|| batch.bytes.to_vec());
                self.push_pending(id, batch, placed, bytes);
                if flush == Flush::Now { self.flush_or_reestablish(Some(batch))? } else { id }
            }
            Err(error) => self.reestablish(Some(batch), &error)?,
        };
        // 3. Durable. Only now may its bytes reach the data file.
        if flush == Flush::Now {
            self.publish_durable();
        }
        Ok(CommitId::new(id))
    }

    fn push_pending(&mut self, id: u64, batch: &Batch<'_>, placed: Placed, bytes: Option<Vec<u8>>) {
        self.pending.push(Pending {
            id,
            len_min: batch.len_min,
            len_before: self.committed_len,
            len: batch.len,
            extents: batch.extents.to_vec(),
            placed,
            bytes,
        });
        self.committed_len = batch.len;
    }

    /// Gives the data file blocks for everything that the checkpoint will write, so that a full disk is met here, where
    /// nothing has happened yet; and so is a length that no file there can have.
    fn reserve_blocks(&mut self, batch: &Batch<'_>) -> Result<()> {
        const BLOCK_BYTES: u64 = journal::format::BLOCK_BYTES;
        if batch.len > self.committed_len {
            // Once recorded, a length that the file system refuses would stop every checkpoint to come.
            self.data
                .check_len(batch.len)
                .map_err(|error| not_committed(error, "the file cannot become that long").path(&self.path))?;
        }
        let mut asked = false;
        let mut result = Ok(());
        for extent in batch.extents {
            let blocks =
                extent.offset / BLOCK_BYTES * BLOCK_BYTES..extent.end().next_multiple_of(BLOCK_BYTES);
            for gap in self.reserved.gaps(blocks) {
                asked = true;
                match self.data.check_len(extent.end()).and_then(|()| self.data.reserve(gap.clone())) {
                    Ok(known) => self.reserved.insert(known),
                    Err(error) => {
                        result =
                            Err(not_committed(error, "no room in the data file").path(&self.path).range(gap));
                        break;
                    }
                }
            }
            if result.is_err() {
                break;
            }
        }
        if asked {
            // Allocating moves the change time; it is our own doing.
            self.remember_data().map_err(|error| not_committed(error, "the data file").path(&self.path))?;
        }
        result
    }

    /// Sees to it that the journal can take the record: a checkpoint where it is full, a larger one where it is small.
    fn make_room(&mut self, batch: &Batch<'_>) -> Result<()> {
        let bytes = journal::record_bytes(batch.extents, batch.bytes.len() as u64);
        if self.journal.has_room(bytes) {
            return Ok(());
        }
        let not_committed = |error: Error| match error.kind() {
            // Commits are refused from here on: trying again would not help.
            ErrorKind::Latched | ErrorKind::ForeignChange | ErrorKind::InDoubt | ErrorKind::Corrupt => error,
            _ => error.become_kind(ErrorKind::NotCommitted, "commit", "nothing changed: the journal is full"),
        };
        self.checkpoint_all().map_err(not_committed)?;
        if self.journal.could_hold(bytes) {
            return Ok(());
        }
        let half_bytes = journal::format::padded(bytes).checked_next_power_of_two().unwrap_or(u64::MAX);
        if half_bytes > journal::JOURNAL_BYTES_MAX / 2 {
            return Err(self
                .error(ErrorKind::NotCommitted, "commit", format!("a commit of {bytes} bytes is too large"))
                .advice("split it into several commits"));
        }
        // Asked once more by `replace_journal`; here the error keeps its own kind.
        self.notice_lost_name("commit")?;
        // Nothing is pending, so old and new journal say the same: a failure before the rename changes nothing.
        self.replace_journal(half_bytes, None).map_err(|error| {
            if self.latched.is_some() {
                return self.in_doubt("commit", &error);
            }
            not_committed_ref(&error, "no room for a larger journal").path(&self.path)
        })
    }

    /// Flushes the journal; if that fails, goes on with a fresh one or latches. `doubt` is the record that was appended
    /// last and is not yet acknowledged.
    pub(super) fn flush_or_reestablish(&mut self, doubt: Option<&Batch<'_>>) -> Result<u64> {
        let durable = self.journal.durable();
        match self.journal.flush() {
            Ok(()) => {
                // Only what this flush made durable: the journal may hold thousands of commits.
                for pending in self.pending.iter_mut().rev().take_while(|pending| pending.id > durable) {
                    pending.bytes = None;
                }
                Ok(self.journal.last())
            }
            Err(error) => {
                if doubt.is_some()
                    && let Some(pending) = self.pending.pop()
                {
                    self.committed_len = pending.len_before;
                }
                self.reestablish(doubt, &error)
            }
        }
    }

    /// After a failed write or flush of the journal its pages are not to be believed: whatever is not checkpointed, and the
    /// commit in doubt under a new id, goes into a fresh journal. Where that cannot be had, the map latches.
    fn reestablish(&mut self, doubt: Option<&Batch<'_>>, cause: &io::Error) -> Result<u64> {
        log::warn!("{}: the journal failed ({cause}); establishing a fresh one", self.path.display());
        let carried: u64 = self
            .pending
            .iter()
            .map(|pending| journal::format::padded(pending.placed.header.record_bytes.get()))
            .chain(doubt.map(|batch| {
                journal::format::padded(journal::record_bytes(batch.extents, batch.bytes.len() as u64))
            }))
            .sum();
        let half_bytes = self.journal.half_bytes().max(carried);
        // A new number: the old journal may still be found, and then holds, or does not hold, the old one.
        let doubt = doubt.map(|batch| (self.journal.last() + 1, batch));
        match self.replace_journal(half_bytes, doubt) {
            Ok(()) => Ok(self.journal.last()),
            Err(second) => {
                self.latch(format!("the journal could not be flushed ({cause}), nor replaced ({second})"));
                Err(self.in_doubt("commit", cause))
            }
        }
    }

    fn in_doubt(&self, operation: &'static str, cause: &io::Error) -> Error {
        self.error(
            ErrorKind::InDoubt,
            operation,
            format!("the journal could not be made durable ({cause}): the next open decides whether this commit counts"),
        )
        .advice("keep what you need from memory, drop the map and open the file again")
    }

    /// Puts a fresh journal in place of the present one, with all pending commits and, last, `doubt`.
    ///
    /// Latches where the failure leaves unknown which of the two will be found.
    pub(super) fn replace_journal(
        &mut self,
        half_bytes: u64,
        doubt: Option<(u64, &Batch<'_>)>,
    ) -> io::Result<()> {
        self.notice_lost_name("commit").map_err(io::Error::other)?;
        let epoch = self.journal.epoch() + 1;
        let fresh = FreshJournal {
            identity: self.identity,
            epoch,
            previous_epoch: self.journal.epoch(),
            half_bytes,
            data_inode: self.expected.inode,
            flags: if self.marked { journal::format::FLAG_MARKED } else { 0 },
            mode: self.expected.mode,
            owner: self.expected.owner,
            checkpointed_through: self.journal.checkpointed_through(),
            data_len: self.checkpointed_len,
        };
        let last = doubt.map(|(id, _)| id).or(self.pending.last().map(|pending| pending.id));
        let mut places: Vec<Placed> = Vec::with_capacity(self.pending.len());
        let mut doubt_place = None;
        let established = journal::establish(
            &self.disk,
            &self.path,
            &fresh,
            last.unwrap_or(fresh.checkpointed_through),
            |append| {
                for pending in &self.pending {
                    // Durable records are read back and checked; the others are still in memory.
                    let read;
                    let bytes = match &pending.bytes {
                        Some(bytes) => bytes.as_slice(),
                        None => {
                            read = pending.placed.read_body(self.journal.file())?;
                            &read[pending.placed.header.table_bytes() as usize..]
                        }
                    };
                    let batch = Batch {
                        len_min: pending.len_min,
                        len: pending.len,
                        extents: &pending.extents,
                        bytes,
                    };
                    places.push(append(pending.id, &batch)?);
                }
                if let Some((id, batch)) = doubt {
                    doubt_place = Some(append(id, batch)?);
                }
                Ok(())
            },
        );
        let journal = established.map_err(|failure| {
            if failure.named {
                self.latch(format!("a fresh journal may or may not be in place ({})", failure.source));
            }
            failure.source
        })?;
        self.journal = journal;
        for (pending, placed) in self.pending.iter_mut().zip(places) {
            pending.placed = placed;
            pending.bytes = None;
        }
        *self.overlay.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner) = Default::default();
        if let (Some((id, batch)), Some(placed)) = (doubt, doubt_place) {
            self.push_pending(id, batch, placed, None);
        }
        // The mark must name the new epoch before the next fresh journal: two steps behind it would be a stranger's.
        if let Err(error) = self.write_mark(crate::disk::SyncPoint::Mark) {
            self.latch(format!("the data file's mark could not be renewed ({error})"));
            return Err(error);
        }
        Ok(())
    }
}

fn not_committed(error: io::Error, what: &'static str) -> Error {
    let text = format!("nothing changed: {what}");
    Error::from_io("commit", error).become_kind(ErrorKind::NotCommitted, "commit", &text)
}

fn not_committed_ref(error: &io::Error, what: &'static str) -> Error {
    let copy = match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    };
    not_committed(copy, what)
}
