//! Close: a plain file is left.

use std::io;

use super::state::Locked;
use crate::disk::SyncPoint;
use crate::error::{Error, Result};
use crate::names;

impl Locked<'_> {
    /// Leaves a plain file. The order matters: the data durable, the journal empty, the mark gone, the journal gone.
    pub(super) fn close_file(&mut self) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        self.check_for("close")?;
        self.checkpoint_all()?;
        self.stop_threads();
        self.notice_foreign_hands("close")?;
        self.notice_lost_name("close")?;
        if let Err(error) = self.remove_mark_and_journal() {
            // Half of what a commit stands on is gone: none may follow.
            self.latch(format!("it was not closed to the end ({error})"));
            return Err(Error::from_io("close", error).path(&self.shared.path));
        }
        self.closed = true;
        Ok(())
    }

    fn remove_mark_and_journal(&self) -> io::Result<()> {
        let shared = self.shared;
        if shared.marked {
            shared.data.set_mark(None)?;
            shared.data.sync(SyncPoint::Unmark)?;
        }
        shared.disk.remove(&names::journal(&shared.path))?;
        shared.disk.sync_dir(names::folder(&shared.path), SyncPoint::JournalGone)
    }
}
