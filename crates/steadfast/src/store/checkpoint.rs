//! Checkpoint and close: committed bytes go to the data file, then the journal lets go of them.
//!
//! The order is the promise: the records are durable, then the data file is written, then it is synced, and only then
//! does the anchor move. Stopped at any point, the journal still holds everything that the data file may lack.

use std::io;

use super::Batch;
use super::journaled_file::{JournaledFile, Pending};
use super::mark::Mark;
use super::overlay::Overlay;
use crate::disk::SyncPoint;
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::names;

/// Pieces that touch are gathered up to this many bytes before they are written.
const WRITE_BYTES_MAX: usize = 1 << 20;

impl JournaledFile {
    /// Brings every commit into the data file and empties the journal. On an error the commits stay in the journal.
    pub(super) fn checkpoint_all(&mut self) -> Result<()> {
        if self.journal.durable() < self.journal.last() {
            self.flush_or_reestablish(None::<&Batch<'_>>)?;
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        self.notice_foreign_hands("checkpoint")?;
        let written = self.write_all_back();
        // Whatever was written, it was this process that changed the file.
        let remembered = self.remember_data();
        if let Err(error) = written.and(remembered) {
            self.checkpoint_error = Some(error.to_string());
            if error.kind() == io::ErrorKind::InvalidData {
                self.latch(format!("the journal is damaged: {error}"));
                return Err(self.error(ErrorKind::Corrupt, "checkpoint", error.to_string()).advice(
                    "the data file was not changed; keep both files and look at `steadfast verify`",
                ));
            }
            return Err(Error::from_io("checkpoint", error).path(&self.path).advice(
                "every commit is safe in the journal; mend the cause, and the next checkpoint tries again",
            ));
        }
        let released = self.journal.release_all(self.committed_len);
        self.checkpointed_len = self.committed_len;
        self.forget_pending();
        if let Err(error) = released {
            // Both anchors may be found now, and they disagree about where the next record is looked for. The data file
            // durably holds everything, so a fresh journal that begins here replaces both.
            self.start_journal_over(&error)?;
        }
        self.checkpoint_error = None;
        Ok(())
    }

    /// A fresh journal, empty, for a data file that durably holds the last commit.
    fn start_journal_over(&mut self, cause: &io::Error) -> Result<()> {
        log::warn!("{}: the journal failed ({cause}); establishing a fresh one", self.path.display());
        self.journal.disown();
        self.replace_journal(self.journal.half_bytes(), None).map_err(|second| {
            let reason = format!(
                "the journal's anchor could not be flushed ({cause}), nor the journal replaced ({second})"
            );
            self.latch(reason.clone());
            self.error(ErrorKind::Latched, "checkpoint", reason)
                .advice("every commit is in the data file; drop the map and open the file again")
        })
    }

    /// Makes the data file hold the last commit, durably, and say so in its mark.
    fn write_all_back(&mut self) -> io::Result<()> {
        self.verify_bodies(&self.pending)?;
        let overlay = self.with_overlay(Overlay::clone);
        // After a failed write or sync, pages that look clean are not to be built upon, nor is the next sync that succeeds
        // to be believed: drop them, write everything again, and read it back from the disk.
        let suspect = self.checkpoint_error.is_some();
        if suspect {
            self.data.drop_clean_pages()?;
        }
        self.put_overlay(&overlay, self.committed_len)?;
        self.write_mark_through(self.journal.last())?;
        self.sync_data_file(SyncPoint::Checkpoint)?;
        if suspect {
            self.data.drop_clean_pages()?;
            self.read_back(&overlay)?;
        }
        Ok(())
    }

    /// Does the data file hold what was just written to it?
    fn read_back(&self, overlay: &Overlay) -> io::Result<()> {
        for (at, piece) in overlay.pieces() {
            let mut done = 0;
            while done < piece.len {
                let count = (piece.len - done).min(WRITE_BYTES_MAX as u64) as usize;
                let (mut want, mut got) = (vec![0; count], vec![0; count]);
                let read = self.journal.file().read_at(&mut want, piece.journal_at + done)?;
                if read != count || self.data.read_at(&mut got, at + done)? != count || want != got {
                    return Err(io::Error::other(format!(
                        "the data file does not hold what was written to it at offset {}, although its sync succeeded",
                        at + done
                    )));
                }
                done += count as u64;
            }
        }
        Ok(())
    }

    /// Bytes that come back from the journal are checked before they go into the data file.
    fn verify_bodies(&self, pending: &[Pending]) -> io::Result<()> {
        pending.iter().try_for_each(|pending| pending.placed.read_body(self.journal.file()).map(|_| ()))
    }

    /// Writes the sum of some commits, the last of them `len` bytes long: in offset order, pieces that touch as one.
    fn put_overlay(&mut self, overlay: &Overlay, len: u64) -> io::Result<()> {
        self.fit_length(overlay.cut().unwrap_or(u64::MAX), len)?;
        let mut gathered: Vec<u8> = Vec::new();
        let mut gathered_at = 0;
        for (at, piece) in overlay.pieces() {
            let mut done = 0;
            while done < piece.len {
                let start = at + done;
                if gathered_at + gathered.len() as u64 != start || gathered.len() == WRITE_BYTES_MAX {
                    self.write_data(&gathered, gathered_at)?;
                    gathered.clear();
                    gathered_at = start;
                }
                let count = (piece.len - done).min((WRITE_BYTES_MAX - gathered.len()) as u64);
                let filled = gathered.len();
                gathered.resize(filled + count as usize, 0);
                let read = self.journal.file().read_at(&mut gathered[filled..], piece.journal_at + done)?;
                if read as u64 != count {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the journal was cut"));
                }
                done += count;
            }
        }
        self.write_data(&gathered, gathered_at)
    }

    fn write_data(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        // The process that committed this may have been allowed more than ours.
        self.data.check_len(offset + bytes.len() as u64)?;
        self.data.write_at(&[bytes], offset)
    }

    /// Gives the data file its new length, with zeros wherever it was cut below that on the way.
    ///
    /// The file is never cut below its final length: a `view` may have it mapped, and truncation would take this
    /// process's private pages away with the file's.
    fn fit_length(&mut self, cut: u64, len: u64) -> io::Result<()> {
        let present = self.data.stat()?.len;
        // A cut gives the blocks behind it back, whatever becomes of the rest of the checkpoint.
        self.reserved.remove(len.next_multiple_of(journal::format::BLOCK_BYTES)..u64::MAX);
        self.data.zero(cut.min(present).min(len)..present.min(len))?;
        // After a failed checkpoint the length in memory may not be the one on disk: set it again.
        if present != len || self.checkpoint_error.is_some() {
            self.data.set_len(len)?;
        }
        Ok(())
    }

    /// With `publish`: shows what is durable to readers of the plain file. A failure is told by the status and mended by
    /// the next checkpoint; the commits themselves are durable.
    pub(super) fn publish_durable(&mut self) {
        if !self.publish {
            return;
        }
        let fresh = &self.pending[self.published..];
        let verified = self.verify_bodies(fresh);
        // All at once, as a checkpoint does: a length on the way would give blocks back that a later commit was promised.
        let mut overlay = Overlay::default();
        for pending in fresh {
            let payload_at = pending.placed.payload_at();
            overlay.apply(pending.len_min, pending.len_before, &pending.extents, payload_at);
        }
        let published = verified.and_then(|()| self.put_overlay(&overlay, self.committed_len));
        match published.and(self.remember_data()) {
            Ok(()) => self.published = self.pending.len(),
            Err(error) => self.checkpoint_error = Some(format!("publishing: {error}")),
        }
    }

    /// Writes the mark as it stands now, durably.
    pub(super) fn write_mark(&mut self, point: SyncPoint) -> io::Result<()> {
        self.write_mark_through(self.journal.checkpointed_through())?;
        self.sync_data_file(point)?;
        self.remember_data()
    }

    fn write_mark_through(&self, checkpointed_through: u64) -> io::Result<()> {
        if !self.marked {
            return Ok(());
        }
        let mark = Mark::new(self.identity, self.journal.epoch(), checkpointed_through);
        self.data.set_mark(Some(mark.encode()))
    }

    fn sync_data_file(&self, point: SyncPoint) -> io::Result<()> {
        // `fdatasync` need not write attributes out: the mark needs `fsync`.
        if self.marked { self.data.sync(point) } else { self.data.sync_data(point) }
    }

    /// Leaves a plain file. The order matters: the data durable, the journal empty, the mark gone, the journal gone.
    pub(super) fn close_file(&mut self) -> Result<()> {
        if self.birth.is_elsewhere() || self.closed {
            return Ok(());
        }
        self.check_for("close")?;
        self.checkpoint_all()?;
        self.notice_foreign_hands("close")?;
        self.notice_lost_name("close")?;
        if let Err(error) = self.remove_mark_and_journal() {
            // Half of what a commit stands on is gone: none may follow.
            self.latch(format!("it was not closed to the end ({error})"));
            return Err(Error::from_io("close", error).path(&self.path));
        }
        self.closed = true;
        Ok(())
    }

    fn remove_mark_and_journal(&self) -> io::Result<()> {
        if self.marked {
            self.data.set_mark(None)?;
            self.data.sync(SyncPoint::Unmark)?;
        }
        self.disk.remove(&names::journal(&self.path))?;
        self.disk.sync_dir(names::folder(&self.path), SyncPoint::JournalGone)
    }
}
