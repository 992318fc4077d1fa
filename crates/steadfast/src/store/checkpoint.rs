//! Checkpoints: committed bytes go to the data file, then the journal lets go of them.
//!
//! The order is the promise: the records are durable, then the data file is written, then it is synced, and only then
//! does the anchor move. Stopped at any point, the journal still holds everything that the data file may lack.
//!
//! Usually one runs in the background as soon as a half of the journal is sealed, over the records of that half. Three things
//! are done with all records and while the owner waits: a checkpoint that makes the file shorter (a `view` may have it mapped),
//! one that was asked for by name, and one after a failure. With `publish` the page cache shows the records already: what is left in the
//! background is the sync.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::image::{Image, Recorded};
use super::job::{End, Job, OtherLength, Stage};
use super::mark::Mark;
use super::state::{Checkpoint, Locked, Pace};
use crate::batch::Batch;
use crate::disk::SyncPoint;
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::knockout::{holds, not_yet, step, sync};

impl Locked<'_> {
    /// Brings every commit into the data file and empties the journal. On an error the commits stay in the journal.
    pub(super) fn checkpoint_all(&mut self) -> Result<()> {
        step!("checkpoint: every record is durable", self.settle())?;
        self.check_for("checkpoint")?;
        if self.pending.is_empty() {
            return Ok(());
        }
        step!("checkpoint: nobody else changed the file", self.notice_foreign_hands("checkpoint"))?;
        let len = self.committed_len();
        // A cut gives the blocks behind it back, whatever becomes of the rest of the checkpoint.
        let behind = len.next_multiple_of(journal::format::BLOCK_BYTES)..u64::MAX;
        step!("checkpoint: blocks behind a cut are given back", self.reserved.remove(behind));
        let count = self.pending.len();
        let is_shown = self.is_shown(count);
        let mut job = self.job(if is_shown { count } else { 0 }..count, len);
        job.shorten = true;
        if is_shown {
            job.stage = Stage::Sync;
        }
        not_yet!("checkpoint: the anchor follows the data", drop(self.journal.release_all()));
        let written = job.run(|| true);
        // Whatever was written, it was this process that changed the file.
        let remembered = self.remember_data_of_length(job.file_len.filter(|_| written.is_ok()));
        if let Err(error) = written.and(remembered) {
            let error = self.checkpoint_failed(error);
            // Whoever asked is told now.
            self.unreported = None;
            return Err(error);
        }
        let through = self.journal.last();
        let released = self.journal.release_all();
        self.checkpointed_len = len;
        self.forget_pending(through);
        self.checkpoint_error = None;
        self.unreported = None;
        match released {
            Ok(()) => Ok(()),
            // Both anchors may be found now, and they disagree about where the next record is looked for.
            Err(error) => {
                step!(
                    "checkpoint: not behind an anchor that failed",
                    self.start_journal_over(through, &error)
                )
            }
        }
    }

    /// A checkpoint through the last of these pending commits, after which the data are `len` bytes long, that writes what they record.
    fn job<'a>(&self, pending: Range<usize>, len: u64) -> Job<'a> {
        let last = pending.end.checked_sub(1).and_then(|last| self.pending.get(last));
        let through = last.map_or(0, |last| last.id());
        Job {
            sealed: None,
            records: self
                .pending
                .range(pending)
                .map(|pending| Recorded { len_before: pending.len_before, placed: pending.placed.clone() })
                .collect(),
            journal: Arc::clone(self.journal.file()),
            data: Arc::clone(&self.shared.data),
            mark: self.shared.marked.then(|| Mark::new(self.shared.identity, self.journal.epoch(), through)),
            len,
            shorten: false,
            suspect: step!(
                "checkpoint: after a failed one nothing cached is believed",
                self.checkpoint_error.is_some(),
                or false
            ),
            file_len: (!self.unseen).then_some(self.expected.len),
            only_syncs: false,
            stage: Stage::Read,
            read_ahead_until: 0,
            image: Image::default(),
            buffer: Vec::new(),
        }
    }

    /// Takes note of a failed checkpoint. Every commit is in the journal, unless that is what is damaged.
    fn checkpoint_failed(&mut self, error: io::Error) -> Error {
        self.checkpoint_error = Some(error.to_string());
        // Pages that look clean may not be what was written to them: all of it is published again, and no sync is enough.
        step!("publish: after a failure nothing counts as shown", self.published = 0);
        let foreign = error.get_ref().and_then(|inner| inner.downcast_ref::<OtherLength>());
        let told = if let Some(other) = foreign {
            self.changed_by_another("checkpoint", other.to_string())
        } else if error.kind() == io::ErrorKind::InvalidData {
            self.latch(format!("the journal is damaged: {error}"));
            self.error(ErrorKind::Corrupt, "checkpoint", error.to_string())
                .advice("the data file was not changed; keep both files and look at `steadfast verify`")
        } else {
            Error::from_io("checkpoint", error).path(&self.shared.path).advice(
                "every commit is safe in the journal; mend the cause, and the next checkpoint tries again",
            )
        };
        log::warn!("{told}");
        self.unreported = Some(told.duplicate());
        told
    }

    /// A fresh journal for a data file that durably holds every commit, which the anchor could not say.
    fn start_journal_over(&mut self, through: u64, cause: &io::Error) -> Result<()> {
        log::warn!(
            "{}: the anchor failed ({cause}); establishing a fresh journal",
            self.shared.path.display()
        );
        step!("checkpoint: a fresh journal begins behind it", self.journal.disown(through));
        self.replace_journal(self.journal.half_bytes(), None).map_err(|second| {
            let reason = format!(
                "the journal's anchor could not be flushed ({cause}), nor the journal replaced ({second})"
            );
            self.latch(reason.clone());
            self.error(ErrorKind::Latched, "checkpoint", reason)
                .advice("every commit is in the data file; drop the map and open the file again")
        })
    }

    /// Begins a checkpoint of everything so far in the background, or leaves the one that is under way alone.
    pub(super) fn start_checkpoint(&mut self) {
        if self.renew.is_some() || (self.journal.sealed().is_none() && !self.journal.seal_early()) {
            return;
        }
        self.go_on_with_checkpoint();
    }

    /// Called with each commit: a half that was sealed meanwhile is to be checkpointed.
    pub(super) fn go_on_with_checkpoint(&mut self) {
        // An anchor that failed has its records in the data file already.
        if self.journal.sealed().is_none() || self.renew.is_some() {
            return;
        }
        match self.checkpoint {
            // One that failed is tried again only when room is needed: the cause is not mended by trying.
            Checkpoint::Idle if self.checkpoint_error.is_none() && !self.must_shorten() => {
                self.checkpoint = Checkpoint::Asked;
                self.set_checkpointer_going();
            }
            Checkpoint::Running { .. } if self.journal.is_half_full() => {
                self.shared.urgent.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        self.step_checkpoint();
    }

    /// Is the data file longer than the sealed half leaves it? Then its checkpoint is not for the background, unless that has nothing to
    /// write.
    fn must_shorten(&self) -> bool {
        let sealed = self.journal.sealed();
        !self.shared.publish
            && step!(
                "background: the file does not become shorter",
                sealed.is_none_or(|sealed| self.expected.len > sealed.data_len),
                or false
            )
    }

    /// Does the data file's page cache show the first `count` pending commits?
    fn is_shown(&self, count: usize) -> bool {
        self.shared.publish
            && holds!("publish: what was not written is not taken for shown", self.published >= count)
    }

    /// What the background thread was asked to do, if it is still wanted.
    pub(super) fn begin_checkpoint(&mut self) -> Option<Job<'static>> {
        let sealed = self.journal.sealed()?;
        // Nothing reaches the data file before the record that describes it is durable. A failure latches.
        step!("background: its records are durable", self.make_durable(sealed.through)).ok()?;
        let still_asked =
            matches!(self.checkpoint, Checkpoint::Asked) && self.journal.sealed() == Some(sealed);
        let wanted = self.latched.is_none() && self.renew.is_none() && !self.closed;
        if !still_asked || !wanted || self.must_shorten() {
            return None;
        }
        let noticed =
            step!("background: nobody else changed the file", self.notice_foreign_hands("checkpoint"));
        if let Err(error) = noticed {
            self.unreported = Some(error);
            return None;
        }
        let count = self.pending.partition_point(|pending| pending.id() <= sealed.through);
        let only_syncs = self.shared.publish;
        if only_syncs && !self.is_shown(count) {
            return None;
        }
        let mut job = self.job(if only_syncs { count } else { 0 }..count, sealed.data_len);
        job.sealed = Some(sealed);
        if only_syncs && !self.begin_to_sync(&mut job) {
            return None;
        }
        not_yet!("background: the anchor follows the data", self.journal.anchor_early(sealed));
        self.shared.urgent.store(false, Ordering::Relaxed);
        Some(job)
    }

    /// Others look at the file, which shows the job's records: in the background it is only synced. `false` where that cannot begin.
    fn begin_to_sync(&mut self, job: &mut Job<'_>) -> bool {
        job.only_syncs = true;
        // No piece to write: a step by itself, so that commits come in between where checkpoints go in steps.
        job.stage = Stage::Write(0);
        // From here on the file changes with commits alone.
        job.file_len = None;
        // What is not marked needs no mark.
        let Some(mark) = &job.mark else { return true };
        let marked = step!(
            "background: the mark of what is shown counts on",
            self.shared.data.set_mark(Some(mark.encode()))
        );
        match marked.and_then(|()| self.remember_data()) {
            Ok(()) => true,
            Err(error) => {
                drop(self.checkpoint_failed(error));
                false
            }
        }
    }

    /// A checkpoint in the background came to its end: `Ok(true)` if the data file holds its records.
    pub(super) fn end_checkpoint(&mut self, end: End, written: io::Result<bool>) {
        self.checkpoint = Checkpoint::Idle;
        let End { sealed, file_len, only_syncs } = end;
        let remembered = if only_syncs {
            Ok(())
        } else {
            self.remember_data_of_length(file_len.filter(|_| written.is_ok()))
        };
        let mut written = written.and_then(|written| remembered.map(|()| written));
        if only_syncs
            && matches!(written, Ok(true))
            // What another program wrote over, or cut off, is nowhere but in the journal.
            && let Err(error) = step!(
                "background: nobody else changed what was synced",
                self.notice_foreign_hands("checkpoint")
            )
        {
            self.unreported = Some(error);
            written = Ok(false);
        }
        match (written, sealed) {
            (Ok(true), Some(sealed)) if self.latched.is_none() => {
                let released = self.journal.release_sealed(sealed);
                self.checkpointed_len = sealed.data_len;
                self.forget_pending(sealed.through);
                if !only_syncs {
                    // A sync does not mend what could not be published meanwhile; nor was there any failure when it began.
                    self.checkpoint_error = None;
                }
                if let Err(error) = released {
                    // Either anchor may be found now. Both are right, as long as no space is used again; the next commit
                    // begins with a fresh journal.
                    step!(
                        "background: a fresh journal begins behind it",
                        self.journal.disown(sealed.through)
                    );
                    step!("background: an anchor that failed ends its journal", self.renew = Some(error));
                }
            }
            (Ok(_), _) => {}
            (Err(error), _) => drop(self.checkpoint_failed(error)),
        }
        self.shared.changed.notify_all();
    }

    /// Waits for the checkpoint in the background, or does the rest of it.
    pub(super) fn finish_checkpoint(&mut self) {
        self.shared.urgent.store(true, Ordering::Relaxed);
        match std::mem::take(&mut self.checkpoint) {
            #[cfg(feature = "sim")]
            Checkpoint::Stepped(mut job) => {
                let written = job.run(|| true);
                self.end_checkpoint(job.end(), written);
            }
            other => {
                self.checkpoint = other;
                self.wait();
            }
        }
    }

    fn set_checkpointer_going(&mut self) {
        match self.shared.pace {
            Pace::Threads => self.wake_checkpointer(),
            // Only when room is needed.
            #[cfg(feature = "sim")]
            Pace::Stepped(0) => self.checkpoint = Checkpoint::Idle,
            #[cfg(feature = "sim")]
            Pace::Stepped(_) => {
                self.checkpoint = match self.begin_checkpoint() {
                    Some(job) => Checkpoint::Stepped(Box::new(job)),
                    None => Checkpoint::Idle,
                };
            }
        }
    }

    /// A checkpoint that goes in steps takes as many of them as belong to a commit.
    fn step_checkpoint(&mut self) {
        #[cfg(feature = "sim")]
        if let Pace::Stepped(mut steps) = self.shared.pace {
            match std::mem::take(&mut self.checkpoint) {
                Checkpoint::Stepped(mut job) => {
                    let go_on = || {
                        let any_left = steps > 0;
                        steps = steps.saturating_sub(1);
                        any_left
                    };
                    match job.run(go_on) {
                        Ok(false) => self.checkpoint = Checkpoint::Stepped(job),
                        written => self.end_checkpoint(job.end(), written),
                    }
                }
                other => self.checkpoint = other,
            }
        }
    }

    /// With `publish`: shows what is durable to readers of the plain file. A failure is told by the status and mended by
    /// the next checkpoint; the commits themselves are durable. `newest`: the last of them, if its bytes are at hand.
    pub(super) fn publish_durable(&mut self, newest: Option<&Batch<'_>>) {
        // Nothing is written over what another program did, and nobody is promised to see what is in doubt.
        if !self.shared.publish || self.latched.is_some() {
            return;
        }
        let durable = self.journal.durable();
        let until = self.pending.partition_point(|pending| pending.id() <= durable);
        if until <= self.published {
            return;
        }
        let Some(len) = self.pending.get(until - 1).map(|last| last.len()) else { return };
        // Before our own change hides another's.
        let noticed = step!("publish: nobody else changed the file", self.notice_foreign_hands("commit"));
        if let Err(error) = noticed {
            if self.latched.is_none() {
                self.checkpoint_error = Some(format!("publishing: {error}"));
            }
            return;
        }
        let behind = len.next_multiple_of(journal::format::BLOCK_BYTES)..u64::MAX;
        step!("publish: blocks behind a cut are given back", self.reserved.remove(behind));
        let at_hand = newest.filter(|_| until == self.published + 1);
        let mut job = self.job(if at_hand.is_some() { until } else { self.published }..until, len);
        if let (Some(batch), Some(last)) = (at_hand, self.pending.get(until - 1)) {
            // What the record holds is what was captured: it need not be read for that.
            job.image = Image::of_batch(batch, last.len_before);
            job.stage = Stage::Fit;
        }
        // All at once, as a checkpoint does: a length on the way would give blocks back that a later commit was promised.
        job.shorten = true;
        let published = job.run_until_written();
        step!("publish: later commits have their blocks again", self.reserve_again(until, len));
        let remembered = self.remember_data_of_length(job.file_len.filter(|_| published.is_ok()));
        match published.and(remembered) {
            Ok(()) => self.published = until,
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<OtherLength>()) => {
                drop(self.checkpoint_failed(error));
            }
            Err(error) => self.checkpoint_error = Some(format!("publishing: {error}")),
        }
    }

    /// The file was cut to `len`: commits behind the first `count`, which are recorded and not durable yet, have their blocks once
    /// more. Where they cannot be had, the checkpoint says so and waits.
    fn reserve_again(&mut self, count: usize, len: u64) {
        let beyond: Vec<_> = self
            .pending
            .iter()
            .skip(count)
            .flat_map(|pending| pending.extents.iter().flatten())
            .filter(|extent| extent.end() > len)
            .map(|extent| extent.offset..extent.end())
            .collect();
        for range in beyond {
            // no switch: all of this function is in one
            match self.shared.data.reserve(range) {
                Ok(known) => self.reserved.insert(known),
                Err(error) => log::warn!("{}: {error}", self.shared.path.display()),
            }
        }
    }

    /// Writes the mark as it stands now, durably.
    pub(super) fn write_mark(&mut self, point: SyncPoint) -> io::Result<()> {
        let shared = self.shared;
        if shared.marked {
            let mark = Mark::new(shared.identity, self.journal.epoch(), self.journal.checkpointed_through());
            step!("mark: set", shared.data.set_mark(Some(mark.encode())))?;
            // `fdatasync` need not write attributes out.
            sync!("mark: durable", shared.data.sync(point))?;
        } else {
            sync!("mark: where there is none, what the file held", shared.data.sync_data(point))?;
        }
        self.remember_data()
    }
}
