//! Scrubbing: nothing that was committed over, cut off or given up stays in the journal.
//!
//! The order is that of a checkpoint, with one step behind it: the records are in the data file, which is synced; the anchor lets go
//! of them durably; only then are zeros written over them, and synced. A stop between any two of these, or half-way through the
//! zeros, leaves a journal that holds nothing, beside a file that has everything.
//!
//! A journal that a fresh one replaced is overwritten as a whole, through the handle that is still open, once the fresh one durably
//! has its name. What cannot be overwritten then is kept open and tried again by the next call, which also tells of it.

use std::io;
use std::sync::Arc;

use super::CommitId;
use super::state::Locked;
use crate::disk::DiskFile;
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::knockout::step;

impl Locked<'_> {
    /// With the option: leaves an empty journal, whose halves are zeros, and nothing of those before it. Where nothing was recorded
    /// since the last time it does nothing.
    pub(super) fn scrub(&mut self, operation: &'static str) -> Result<()> {
        if !self.shared.scrub {
            return Ok(());
        }
        if !self.journal.is_clean() {
            step!("scrub: behind a checkpoint", self.checkpoint_all())?;
            if let Err(error) = step!("scrub: the halves", self.journal.scrub()) {
                // Its pages may look clean and not be what the disk holds: no record is to be written there again.
                let cause = io::Error::other(format!("scrubbing it failed: {error}"));
                step!("scrub: one that failed ends its journal", self.renew = Some(cause));
                return Err(self.not_scrubbed(operation, error));
            }
        }
        self.scrub_replaced(operation)
    }

    /// With the option, after a commit: one that `cuts` leaves nothing of what it cut off.
    pub(super) fn scrub_behind(&mut self, id: CommitId, cuts: bool) -> Result<()> {
        if !self.shared.scrub {
            return Ok(());
        }
        let scrubbed = if cuts {
            step!("commit: one that cuts scrubs", self.scrub("commit"))
        } else {
            self.scrub_replaced("commit")
        };
        scrubbed.map_err(|error| match error.kind() {
            // They say what became of the commit, or that none may follow.
            ErrorKind::InDoubt | ErrorKind::Latched | ErrorKind::ForeignChange | ErrorKind::Corrupt => error,
            ErrorKind::NotScrubbed => error,
            _ => error.become_kind(
                ErrorKind::NotScrubbed,
                "commit",
                &format!("commit {id} counts, but what it cut off may still be in the journal"),
            ),
        })
    }

    /// Takes over a journal that lost its name to a fresh one.
    pub(super) fn let_go_of(&mut self, replaced: Arc<dyn DiskFile>) {
        if !self.shared.scrub {
            return;
        }
        self.replaced.push(replaced);
        if let Err(error) = step!("scrub: a replaced journal at once", self.overwrite_replaced()) {
            // Whoever calls next tries again, and is told.
            log::warn!("{}: a replaced journal could not be scrubbed ({error})", self.shared.path.display());
        }
    }

    fn scrub_replaced(&mut self, operation: &'static str) -> Result<()> {
        step!("scrub: replaced journals that are left", self.overwrite_replaced())
            .map_err(|error| self.not_scrubbed(operation, error))
    }

    fn overwrite_replaced(&mut self) -> io::Result<()> {
        while let Some(replaced) = self.replaced.last() {
            journal::overwrite_whole(&**replaced)?;
            self.replaced.pop();
        }
        Ok(())
    }

    fn not_scrubbed(&self, operation: &'static str, error: io::Error) -> Error {
        Error::from_io("scrub", error)
            .become_kind(
                ErrorKind::NotScrubbed,
                operation,
                "every commit counts, but bytes that were committed over may still be in the journal",
            )
            .path(&self.shared.path)
            .advice("mend the cause and call `checkpoint`, which tries again")
    }
}
