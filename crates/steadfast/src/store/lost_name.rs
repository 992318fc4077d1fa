//! A file that has lost its name: removed, renamed, or with another file in its place. What happens to it when it is not to be
//! committed to any more.
//!
//! The order is that of `close`, so that a stop anywhere loses nothing that could be recovered where the file has a name elsewhere: the
//! commits durable in the data file, its mark durably gone, then the journal, and only then what was never committed is written. The
//! journal stands beside the old name, where another file may be by now: it goes only where it is still ours, and holds nothing by
//! then if it stays.

use std::io;
use std::sync::atomic::Ordering;

use super::state::Locked;
use crate::batch::Batch;
use crate::disk::{Access, FileKind, Lock};
use crate::error::{Error, ErrorKind, Result};
use crate::knockout::{holds, step};
use crate::names;

impl Locked<'_> {
    /// Does the file's name still mean this file? A folder that is renamed takes file and journal along without changing
    /// either, and another file may since stand under the old path, with a journal of its own that is not ours to touch.
    pub(super) fn notice_lost_name(&mut self, operation: &'static str) -> Result<()> {
        let what = match self.shared.disk.stat(self.path()) {
            Ok(now) if (now.device, now.inode) == (self.expected.device, self.expected.inode) => {
                return Ok(());
            }
            Ok(_) => "another file has its name now",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "it lost its name",
            Err(error) => return Err(Error::from_io(operation, error).path(&self.shared.path)),
        };
        self.lost_name |= self.latched.is_none();
        if self.shared.may_be_renamed {
            self.latch_unsaid(what.to_owned());
        } else {
            self.latch(what.to_owned());
        }
        Err(self.error(ErrorKind::ForeignChange, operation, what).advice(
            "its journal went where the file went: open it there, and recovery brings the last commit",
        ))
    }

    /// Brings the commits into the file and lets go of it; then `rest`, which is no commit: nothing of it is durable, or all or nothing.
    /// After an error it may be called again, and goes on.
    pub(super) fn close_without_name(&mut self, rest: &Batch<'_>) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        step!("lost name: taken for another program's hand it is forgiven", self.forgive_lost_name());
        self.check_for("close")?;
        self.settle()?;
        self.expect_other_times()?;
        let checked = rest.check(self.committed_len());
        checked.map_err(|error| error.path(&self.shared.path))?;
        // Where there is no room nothing is begun.
        self.reserve_blocks(rest)?;
        step!("lost name: every commit is in the data file", self.checkpoint_all())?;
        self.stop_threads();
        step!("lost name: the journal is scrubbed", self.scrub("close"))?;
        if let Err(error) = self.leave_without_name(rest) {
            let reason = format!("it lost its name, and was not closed to the end ({error})");
            step!("lost name: no commit follows a try that failed", self.latch(reason));
            // And the next one goes on.
            (self.lost_name, self.leaving) = (true, true);
            return Err(Error::from_io("close", error).path(&self.shared.path));
        }
        self.closed = true;
        Ok(())
    }

    /// The loss of a name changes the file's times, as another program's hand does, and may have been taken for one.
    fn forgive_lost_name(&mut self) {
        if self.changed_by_others || self.lost_name {
            self.latched = None;
            (self.changed_by_others, self.lost_name) = (false, false);
            self.shared.abandoned.store(false, Ordering::Relaxed);
        }
    }

    /// The length says whether another hand was in it, too.
    fn expect_other_times(&mut self) -> Result<()> {
        let stat = self.shared.data.stat();
        let stat = stat.map_err(|error| Error::from_io("close", error).path(&self.shared.path))?;
        self.expected.changed_ns = stat.changed_ns;
        if self.leaving {
            // Half of the rest may be there.
            self.expected.len = stat.len;
        }
        step!("lost name: nobody else changed the length", self.notice_foreign_hands("close"))
    }

    fn leave_without_name(&self, rest: &Batch<'_>) -> io::Result<()> {
        step!(
            "lost name: the mark goes before the journal",
            self.remove_mark_unless_nameless().and_then(|()| self.remove_own_journal()),
            or self.remove_own_journal().and_then(|()| self.remove_mark_unless_nameless())
        )?;
        self.write_uncommitted(rest)
    }

    /// A mark that cannot be removed goes with the last descriptor of a file that has no name at all.
    fn remove_mark_unless_nameless(&self) -> io::Result<()> {
        let Err(error) = self.remove_mark() else { return Ok(()) };
        let links = self.shared.data.stat()?.links;
        if !holds!("lost name: a mark stays only where no name is left", links == 0) {
            return Err(error);
        }
        log::debug!("{}: the mark stays: {error}", self.shared.path.display());
        Ok(())
    }

    /// As a program without a journal would have.
    fn write_uncommitted(&self, rest: &Batch<'_>) -> io::Result<()> {
        let data = &self.shared.data;
        let committed_len = self.committed_len();
        if rest.len_min < committed_len {
            // no switch: no step towards the disk, but what the bytes are
            data.zero(rest.len_min..committed_len)?;
        }
        let mut at = 0;
        for extent in rest.extents {
            let end = at + extent.len as usize;
            data.write_at(&[&rest.bytes[at..end]], extent.offset)?;
            at = end;
        }
        if data.stat()?.len != rest.len {
            // no switch: as above
            data.set_len(rest.len)?;
        }
        Ok(())
    }

    /// Removes the journal that stands beside the old name, if it is this file's. Under the lock of the file that has the name now, if
    /// there is one: who has that has seen to the journal, and has one of its own there.
    fn remove_own_journal(&self) -> io::Result<()> {
        let shared = self.shared;
        let heir = match shared.disk.stat(self.path()) {
            // no check: its own lock is held already
            Ok(now) if (now.device, now.inode) == (self.expected.device, self.expected.inode) => None,
            // no check: nothing else can be locked, and nothing else has a journal
            Ok(now) if now.kind == FileKind::Regular => {
                match shared.disk.open(self.path(), Access::ReadWrite) {
                    Ok(heir) => Some(heir),
                    Err(error) => {
                        // It is empty, and the next open of that file removes it.
                        log::info!("{}: the empty journal stays: {error}", self.path().display());
                        return Ok(());
                    }
                }
            }
            _ => None,
        };
        if let Some(heir) = &heir
            && !holds!("lost name: nobody has the file in its place", heir.try_lock(Lock::Exclusive)?)
        {
            return Ok(());
        }
        // Behind the lock: whoever had it may have left another one.
        let found = match shared.disk.stat(&names::journal(self.path())) {
            // no check: the error's kind
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let ours = self.journal.file().stat()?;
        if !holds!(
            "lost name: the journal is its own",
            (found.device, found.inode) == (ours.device, ours.inode)
        ) {
            return Ok(());
        }
        self.remove_journal()
    }
}
