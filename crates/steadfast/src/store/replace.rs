//! A fresh journal in place of the present one: after a failure, and when the present one is too small.

use std::io;
use std::sync::Arc;

use super::state::{Locked, State};
use crate::batch::{Batch, Extent};
use crate::disk::SyncPoint;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, FreshJournal, Placed};
use crate::knockout::{not_yet, step, sync};

impl Locked<'_> {
    /// After a failed write or flush of the journal its pages are not to be believed: whatever is not checkpointed, and the
    /// commit in doubt under a new id, goes into a fresh journal. Where that cannot be had, the map latches.
    ///
    /// The caller has the flush.
    pub(super) fn reestablish(&mut self, doubt: Option<&Batch<'_>>, cause: &io::Error) -> Result<u64> {
        log::warn!("{}: the journal failed ({cause}); establishing a fresh one", self.shared.path.display());
        // The checkpoint reads the old journal.
        while step!("replace: no checkpoint is under way", self.is_checkpointing(), or false) {
            self.finish_checkpoint();
        }
        if self.latched.is_some() {
            return Err(self.in_doubt("commit", cause));
        }
        let carried = self.carried_bytes()
            + doubt.map_or(0, |batch| {
                journal::format::padded(journal::record_bytes(batch.extents, batch.bytes.len() as u64))
            });
        let half_bytes = self.journal.half_bytes().max(carried);
        // A new number: the old journal may still be found, and then holds, or does not hold, the one that was tried.
        let next = self.journal.last() + 1;
        let number = step!("replace: a new number for the commit in doubt", next + 1, or next);
        let doubt = doubt.map(|batch| (number, batch));
        match self.replace_journal(half_bytes, doubt) {
            Ok(()) => Ok(self.journal.last()),
            Err(second) => {
                self.latch(format!("the journal could not be flushed ({cause}), nor replaced ({second})"));
                Err(self.in_doubt("commit", cause))
            }
        }
    }

    /// What the pending records take in a fresh journal.
    pub(super) fn carried_bytes(&self) -> u64 {
        let padded = |bytes: u64| journal::format::padded(bytes);
        self.pending.iter().map(|pending| padded(pending.placed.header.record_bytes.get())).sum()
    }

    pub(super) fn in_doubt(&self, operation: &'static str, cause: &io::Error) -> Error {
        self.error(
            ErrorKind::InDoubt,
            operation,
            format!("the journal could not be made durable ({cause}): the next open decides whether this commit counts"),
        )
        .advice("keep what you need from memory, drop the map and open the file again")
    }

    /// Puts a fresh journal in place of the present one, with all pending commits and, last, `doubt`. No checkpoint is under
    /// way, and nobody else has the flush.
    ///
    /// Latches where the failure leaves unknown which of the two will be found.
    pub(super) fn replace_journal(
        &mut self,
        half_bytes: u64,
        doubt: Option<(u64, &Batch<'_>)>,
    ) -> io::Result<()> {
        debug_assert!(!self.is_checkpointing(), "a checkpoint reads the journal that would be replaced");
        step!("replace: the file has its name", self.notice_lost_name("commit")).map_err(io::Error::other)?;
        let shared = self.shared;
        let epoch = step!("replace: the next epoch", self.journal.epoch() + 1, or self.journal.epoch());
        let fresh = FreshJournal {
            identity: shared.identity,
            epoch,
            previous_epoch: self.journal.epoch(),
            half_bytes,
            data_inode: self.expected.inode,
            flags: if shared.marked { journal::format::FLAG_MARKED } else { 0 },
            mode: self.expected.mode,
            owner: self.expected.owner,
            checkpointed_through: self.journal.checkpointed_through(),
            data_len: self.checkpointed_len,
            scrub: shared.scrub,
        };
        let old = Arc::clone(self.journal.file());
        if shared.scrub {
            not_yet!(
                "replace: the old one is overwritten behind the fresh one",
                drop(journal::overwrite_whole(&*old))
            );
        }
        let last = doubt.map(|(id, _)| id).or(self.pending.back().map(|pending| pending.id()));
        let mut places: Vec<Placed> = Vec::with_capacity(self.pending.len());
        let mut doubt_place = None;
        let path = self.path().to_owned();
        let state: &State = self;
        let established = journal::establish(
            &shared.disk,
            &path,
            &fresh,
            last.unwrap_or(fresh.checkpointed_through),
            |append| {
                let count = step!("replace: takes what is pending along", state.pending.len(), or 0);
                for pending in state.pending.iter().take(count) {
                    // Durable records are read back and checked; the others are still in memory.
                    let (extents, body, payload): (Vec<Extent>, Vec<u8>, usize);
                    let (extents, bytes): (&[Extent], &[u8]) = match (&pending.extents, &pending.bytes) {
                        (Some(extents), Some(bytes)) => (extents, bytes),
                        _ => {
                            body = pending.placed.read_body(&**state.journal.file())?;
                            (extents, payload) = journal::extents_of(&pending.placed.header, &body);
                            (&extents, &body[payload..])
                        }
                    };
                    let batch = Batch { len_min: pending.len_min(), len: pending.len(), extents, bytes };
                    places.push(append(pending.id(), &batch)?);
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

        // Before our own mark hides another's change; and while the mark that is there is the one of this journal.
        let noticed = step!("replace: nobody else changed the file", self.notice_foreign_hands("commit"));
        let changed = noticed.is_err() && self.latched.is_some();
        let state: &mut State = self;
        state.journal = journal;
        state.renew = None;
        for (pending, placed) in state.pending.iter_mut().zip(places) {
            pending.placed = placed;
            pending.bytes = None;
            if !state.keep_extents {
                pending.extents = None;
            }
        }
        state.overlay = Default::default();
        if let (Some((_, batch)), Some(placed)) = (doubt, doubt_place) {
            self.push_pending(batch, placed, true);
        }
        if changed {
            // The fresh one has everything, and durably the name. No other will follow.
            self.let_go_of(old);
            return Ok(());
        }
        // The mark must name the new epoch before the next fresh journal: two steps behind it would be a stranger's.
        let marked = sync!("replace: the mark is renewed", self.write_mark(SyncPoint::Mark));
        // The fresh one durably has the name: nobody will read this one again.
        self.let_go_of(old);
        if let Err(error) = marked {
            self.latch(format!("the data file's mark could not be renewed ({error})"));
            return Err(error);
        }
        Ok(())
    }
}
