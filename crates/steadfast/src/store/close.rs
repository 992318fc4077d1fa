//! Close: a plain file is left.

use std::io;

use super::settle::{Found, discard};
use super::state::Locked;
use crate::disk::SyncPoint;
use crate::error::{Error, Result};
use crate::knockout::{step, sync};
use crate::names;

impl Locked<'_> {
    /// Leaves a plain file. The order matters: the data durable, the journal empty (and scrubbed, where that was asked for), the mark
    /// gone, the journal gone.
    ///
    /// Scrubbed it is still an empty journal, which may be found beside a marked file or a plain one; and as long as scrubbing can
    /// fail nothing is gone that a second try would need.
    pub(super) fn close_file(&mut self) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        self.check_for("close")?;
        step!("close: every commit is in the data file", self.checkpoint_all())?;
        self.stop_threads();
        step!("close: nobody else changed the file", self.notice_foreign_hands("close"))?;
        step!("close: the file has its name", self.notice_lost_name("close"))?;
        step!("close: the journal is scrubbed", self.scrub("close"))?;
        if let Err(error) = self.remove_mark_and_journal() {
            // Half of what a commit stands on is gone: none may follow.
            let reason = format!("it was not closed to the end ({error})");
            step!("close: no commit follows a failed one", self.latch(reason));
            return Err(Error::from_io("close", error).path(&self.shared.path));
        }
        self.closed = true;
        Ok(())
    }

    /// After another program changed the file: what it left there is the plain file from here on, if no commit waits for its
    /// checkpoint. The journal goes while the lock is still ours: later it might be another's, with commits in it.
    pub(super) fn leave_to_others(&mut self) -> Result<()> {
        if self.closed || !self.changed_by_others || !self.pending.is_empty() {
            return Ok(());
        }
        self.stop_threads();
        step!("leave: the file has its name", self.notice_lost_name("refresh"))?;
        let shared = self.shared;
        // A second try, after only the folder could not be synced, finds none.
        let journal = shared.disk.stat(&names::journal(self.path()));
        let journal = !journal.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let found = Found { marks: shared.marked, journal };
        discard(&shared.disk, self.path(), &*shared.data, found, shared.scrub)
            .map_err(|error| Error::from_io("refresh", error).path(&shared.path))?;
        self.closed = true;
        Ok(())
    }

    fn remove_mark_and_journal(&self) -> io::Result<()> {
        step!(
            "close: the mark goes before the journal",
            self.remove_mark().and_then(|()| self.remove_journal()),
            or self.remove_journal().and_then(|()| self.remove_mark())
        )
    }

    pub(super) fn remove_mark(&self) -> io::Result<()> {
        let shared = self.shared;
        if shared.marked {
            step!("close: the mark is removed", shared.data.set_mark(None))?;
            sync!("close: the mark's end", shared.data.sync(SyncPoint::Unmark))?;
        }
        Ok(())
    }

    pub(super) fn remove_journal(&self) -> io::Result<()> {
        let shared = self.shared;
        step!("close: the journal is removed", shared.disk.remove(&names::journal(self.path())))?;
        let folder = names::folder(self.path());
        sync!("close: the journal's end", shared.disk.sync_dir(folder, SyncPoint::JournalGone))
    }
}
