//! A commit: space first, then one write and one flush, then the acknowledgement.

use std::io;
use std::sync::Arc;

use super::CommitId;
use super::state::{Checkpoint, Locked};
use super::ticket::{CommitTicket, Drive};
use crate::batch::{Batch, Extent};
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::knockout::{holds, step};

/// A journal whose size was not asked for grows up to this many bytes when commits have to wait for checkpoints.
pub(super) const ADAPTIVE_BYTES_MAX: u64 = 64 << 20;

impl Locked<'_> {
    /// Durable on return.
    pub(super) fn commit_now(&mut self, batch: &Batch<'_>) -> Result<CommitId> {
        if !self.prepare(batch)? {
            // Nothing to record; but the relaxed ones before it become durable.
            let last = self.journal.last();
            step!("commit: an empty one makes those before it durable", self.make_durable(last))?;
            return Ok(CommitId::new(last));
        }
        let alone = holds!("commit: all before are durable", self.journal.durable() == self.journal.last());
        let id = if alone && !self.flushing {
            self.record_durably(batch)?
        } else {
            let id = self.record(batch)?;
            step!("commit: durable before it is acknowledged", self.make_durable(id))
                .inspect_err(|_| step!("commit: what failed is taken back", self.take_back(id)))?;
            id
        };
        self.go_on_with_checkpoint();
        Ok(CommitId::new(id))
    }

    /// In the journal's file on return, durable later.
    pub(super) fn commit_later(&mut self, batch: &Batch<'_>) -> Result<CommitId> {
        if !self.prepare(batch)? {
            return Ok(CommitId::new(self.journal.last()));
        }
        let id = self.record(batch)?;
        self.go_on_with_checkpoint();
        Ok(CommitId::new(id))
    }

    /// As `commit_later`, and the ticket tells when it is durable.
    pub(super) fn commit_with_ticket(&mut self, batch: &Batch<'_>, drive: Drive) -> Result<CommitTicket> {
        let id = self.commit_later(batch)?;
        if self.journal.durable() >= id.get() {
            return Ok(CommitTicket::done(id));
        }
        let (ticket, completion) = CommitTicket::pair_driven(id, drive);
        self.tickets.push_back((id.get(), completion));
        if !self.has_flusher() {
            // What goes wrong is told by the ticket.
            let _ = self.make_durable(id.get());
        }
        Ok(ticket)
    }

    /// Whatever can fail without leaving a trace fails here: nothing was written, the commit can be tried again.
    /// `false` says that there is nothing to record.
    fn prepare(&mut self, batch: &Batch<'_>) -> Result<bool> {
        self.check_for("commit")?;
        let checked = step!("commit: the batch lies within the length", batch.check(self.committed_len()));
        checked.map_err(|error| error.path(&self.shared.path))?;
        if let Some(error) = self.unreported.take() {
            return Err(error.become_kind(
                ErrorKind::NotCommitted,
                "commit",
                "nothing changed: the last checkpoint in the background failed",
            ));
        }
        if self.renew.is_some() {
            step!("commit: not behind an anchor that failed", self.settle())?;
        }
        if batch.is_empty(self.committed_len()) {
            return Ok(false);
        }
        // Room first: a checkpoint that makes it may give blocks back.
        step!("commit: room in the journal", self.make_room(batch))?;
        step!("commit: blocks in the data file", self.reserve_blocks(batch))?;
        Ok(true)
    }

    /// One write and one flush, in one call where the system has it. All records before are durable.
    fn record_durably(&mut self, batch: &Batch<'_>) -> Result<u64> {
        let id = self.journal.last() + 1;
        match self.journal.append_durably(id, batch) {
            Ok(placed) => {
                self.push_pending(batch, placed, true);
                // Only now may its bytes reach the data file.
                step!("publish: after a durable record", self.publish_durable(Some(batch)));
                Ok(id)
            }
            Err(error) => self.record_elsewhere(batch, &error),
        }
    }

    /// The record, behind all others; not durable.
    fn record(&mut self, batch: &Batch<'_>) -> Result<u64> {
        let id = self.journal.last() + 1;
        match self.journal.append(id, batch) {
            Ok(placed) => {
                self.push_pending(batch, placed, false);
                Ok(id)
            }
            Err(error) => self.record_elsewhere(batch, &error),
        }
    }

    /// The journal did not take the record: it and all that is pending go into a fresh one, and are durable then. (Where a flush
    /// that failed has brought one about meanwhile, that is replaced once more: it happens too seldom for a way of its own.)
    fn record_elsewhere(&mut self, batch: &Batch<'_>, cause: &io::Error) -> Result<u64> {
        self.take_flush();
        let id = self.reestablish(Some(batch), cause);
        step!("publish: after a record that went elsewhere", self.publish_durable(None));
        self.give_flush_back();
        id
    }

    /// The last commit did not become durable, and its caller is told so: what is read as committed is without it.
    fn take_back(&mut self, id: u64) {
        if self.pending.back().is_some_and(|last| last.id() == id)
            && let Some(last) = self.pending.pop_back()
        {
            self.overlay = Default::default();
            self.set_committed_len(last.len_before);
        }
    }

    /// Gives the data file blocks for everything that the checkpoint will write, so that a full disk is met here, where
    /// nothing has happened yet; and so is a length that no file there can have.
    pub(super) fn reserve_blocks(&mut self, batch: &Batch<'_>) -> Result<()> {
        const BLOCK_BYTES: u64 = journal::format::BLOCK_BYTES;
        let shared = Arc::clone(self.shared);
        let refused = |error, what| not_committed(error, what).path(&shared.path);
        if batch.len > self.committed_len() {
            // Once recorded, a length that the file system refuses would stop every checkpoint to come.
            step!("commit: the file may become that long", shared.data.check_len(batch.len))
                .map_err(|error| refused(error, "the file cannot become that long"))?;
        }
        let mut asked = false;
        let mut checked_len = 0;
        let mut result = Ok(());
        // Most files have all their blocks, and one entry says so.
        let mut known = 0..0;
        'extents: for extent in batch.extents {
            let blocks =
                extent.offset / BLOCK_BYTES * BLOCK_BYTES..extent.end().next_multiple_of(BLOCK_BYTES);
            if known.start <= blocks.start && blocks.end <= known.end {
                continue;
            }
            for gap in self.reserved.gaps(blocks.clone()) {
                // A checkpoint changes the file all the time, and looks before it begins.
                if !asked && !self.is_writing() {
                    // Before our own change hides another's.
                    step!(
                        "foreign hands: looked for before blocks are reserved",
                        self.notice_foreign_hands("commit")
                    )?;
                }
                asked = true;
                let allowed = if extent.end() > checked_len {
                    // A longer one says as much of all shorter ones.
                    checked_len = batch.extents.iter().map(Extent::end).max().unwrap_or(0);
                    step!("commit: the file may be written that far", shared.data.check_len(checked_len))
                } else {
                    Ok(())
                };
                // no switch: all of this function is in one
                match allowed.and_then(|()| shared.data.reserve(gap.clone())) {
                    Ok(known) => self.reserved.insert(known),
                    Err(error) => {
                        result = Err(refused(error, "no room in the data file").range(gap));
                        break 'extents;
                    }
                }
            }
            known = self.reserved.entry_at(blocks.start).unwrap_or(0..0);
        }
        if asked {
            // Allocating moves the change time; it is our own doing.
            self.remember_data().map_err(|error| refused(error, "the data file"))?;
        }
        result
    }

    /// Sees to it that the journal can take the record: waits for a checkpoint where it is full, gets a larger one where it is
    /// small.
    fn make_room(&mut self, batch: &Batch<'_>) -> Result<()> {
        let bytes = journal::record_bytes(batch.extents, batch.bytes.len() as u64);
        let mut waited = false;
        while !self.journal.has_room(bytes) {
            if !self.journal.could_hold(bytes) {
                return self.make_larger_journal(bytes);
            }
            match self.checkpoint {
                // One that failed before, or that only the owner may do.
                Checkpoint::Idle => self.checkpoint_all().map_err(journal_is_full)?,
                Checkpoint::Asked => self.wait(),
                _ => self.finish_checkpoint(),
            }
            waited = true;
            self.check_for("commit")?;
        }
        if waited {
            self.follow_the_working_set(bytes)?;
        }
        Ok(())
    }

    /// Commits had to wait for a checkpoint: from now on there is more room between two.
    fn follow_the_working_set(&mut self, bytes: u64) -> Result<()> {
        let half_bytes = 2 * self.journal.half_bytes();
        if !self.shared.adaptive || 2 * half_bytes > ADAPTIVE_BYTES_MAX {
            return Ok(());
        }
        self.settle()?;
        let replaced = self.replace_journal(half_bytes, None);
        self.check_for("commit")?;
        if let Err(error) = replaced {
            // There is room in the one that stands.
            log::debug!("{}: no larger journal: {error}", self.shared.path.display());
        }
        debug_assert!(self.journal.has_room(bytes));
        Ok(())
    }

    fn make_larger_journal(&mut self, bytes: u64) -> Result<()> {
        let half_bytes = journal::format::padded(bytes).checked_next_power_of_two().unwrap_or(u64::MAX);
        if half_bytes > journal::JOURNAL_BYTES_MAX / 2 {
            return Err(self
                .error(ErrorKind::NotCommitted, "commit", format!("a commit of {bytes} bytes is too large"))
                .advice("split it into several commits"));
        }
        let emptied = step!("larger journal: nothing is pending", self.checkpoint_all());
        emptied.map_err(journal_is_full)?;
        // Asked once more by `replace_journal`; here the error keeps its own kind.
        self.notice_lost_name("commit")?;
        // Nothing is pending, so old and new journal say the same: a failure before the rename changes nothing.
        self.replace_journal(half_bytes, None).map_err(|error| {
            if self.latched.is_some() {
                return self.in_doubt("commit", &error);
            }
            not_committed_ref(&error, "no room for a larger journal").path(&self.shared.path)
        })?;
        self.check_for("commit")
    }
}

/// Why there is no room in the journal.
fn journal_is_full(error: Error) -> Error {
    match error.kind() {
        // Commits are refused from here on: trying again would not help.
        ErrorKind::Latched | ErrorKind::ForeignChange | ErrorKind::InDoubt | ErrorKind::Corrupt => error,
        _ => error.become_kind(ErrorKind::NotCommitted, "commit", "nothing changed: the journal is full"),
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
