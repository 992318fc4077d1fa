//! Durability: bytes, length and name; what was lost is remembered.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::background::{self, Background};
use super::file::Through;
use super::ticket::{Outcome, SyncTicket};
use super::{Kind, Mapping};
use crate::error::{ErrorKind, Result};
use crate::range::{self, RangeError};

impl Mapping {
    /// Makes the bytes of `range`, rounded outwards to pages, durable before it returns: and with them the file's length,
    /// and, if this mapping created it, its name in the folder.
    ///
    /// It is `msync(MS_SYNC)` (POSIX), an fsync where the length changed, and an fsync of the folder. Waits for tickets of
    /// [`start_sync`](Self::start_sync) that were given out before for overlapping ranges. A mapping for reading syncs what
    /// others wrote.
    ///
    /// It is not atomic: a crash during the call, or before it, leaves any mix of old and new pages.
    ///
    /// # Errors
    ///
    /// - [`WriteBack`](ErrorKind::WriteBack): the device did not take everything. The kernel says so once, does not say which
    ///   pages, and regards them as clean. So from then on every sync that overlaps pages of this mapping fails, until
    ///   [`redirty`](Self::redirty) made them dirty again and a sync wrote them.
    /// - [`OutOfRange`](ErrorKind::OutOfRange): the range reaches beyond the mapping. The part that is mapped was synced first
    ///   (POSIX, `ENOMEM` of msync); the error names the part that is not.
    /// - [`Truncated`](ErrorKind::Truncated), [`Io`](ErrorKind::Io): pages of the range are damaged, see
    ///   [`check`](Self::check): what was stored there since is lost; or the file is shorter than the range. The rest of
    ///   the range was synced. It stays so until [`refresh`](Self::refresh).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): a private or anonymous mapping has nothing in a file.
    /// - [`Forked`](ErrorKind::Forked): in a child of the process that opened it.
    ///
    /// See [`Mapping`] for an example.
    pub fn sync(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let operation = "sync";
        let Err(RangeError::PastEnd { end, len }) = range::resolve(&range, self.len()) else {
            return self.sync_for(operation, range);
        };
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        self.sync_for(operation, start.min(len)..len)?;
        let hole = start.max(len)..end.max(start);
        Err(self
            .error(
                ErrorKind::OutOfRange,
                operation,
                &hole,
                "these bytes are not mapped; the rest of the range was synced",
            )
            .advice("stay within the length, or resize first"))
    }

    pub(super) fn sync_for(&self, operation: &'static str, range: impl RangeBounds<usize>) -> Result<()> {
        self.refuse_in_child(operation)?;
        let range = self.resolve(operation, &range)?;
        let file = self.shared_file(operation)?;
        let pages = self.placed.pages(&range);
        let in_file = self.placed.in_file(&pages);
        file.background.wait_for(&in_file);
        file.sync(&in_file, Through::Region(&self.placed.region, pages))
            .map_err(|failure| file.error(operation, &failure))?;
        // The rest is durable; but what was stored to bytes that others took away is gone, and the kernel would not say so.
        self.tell_damage(operation, &range)?;
        self.check_length(operation, &range)
    }

    /// Starts a [`sync`](Self::sync) of `range` and returns at once, however much is dirty: a thread of the mapping does it.
    ///
    /// Stores from before the call are durable when the ticket says so. What goes wrong reaches the ticket, and is
    /// remembered as by `sync`.
    ///
    /// # Errors
    ///
    /// Those of `sync` that are known without doing it; and [`Forked`](ErrorKind::Forked) in a child.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// let map = steadfast::Mapping::options().write(true).create(true).len(1 << 20).open(&path)?;
    /// map.write_at(0, b"hello")?;
    /// let ticket = map.start_sync(..)?;
    /// // … other work …
    /// ticket.wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_sync(&self, range: impl RangeBounds<usize>) -> Result<SyncTicket> {
        let operation = "sync";
        self.refuse_in_child(operation)?;
        let range = self.resolve(operation, &range)?;
        let file = self.shared_file(operation)?;
        self.refuse_damaged(operation, &range)?;
        self.check_length(operation, &range)?;
        let in_file = self.placed.in_file(&self.placed.pages(&range));
        let outcome = match Background::submit(file, in_file.clone()) {
            Ok(outcome) => outcome,
            Err(error) => {
                // The promise matters more than the speed.
                log::warn!("no thread to sync in the background ({error}): syncing now");
                let outcome = Arc::new(Outcome::default());
                outcome.set(background::run(file, &in_file));
                outcome
            }
        };
        let end = self.placed.end_in_file();
        Ok(SyncTicket::new(outcome, file.path.clone(), self.placed.offset(), end))
    }

    /// Makes the pages of `range`, rounded outwards, dirty again, without changing a byte: the next [`sync`](Self::sync)
    /// writes them. The way on after a [`WriteBack`](ErrorKind::WriteBack) error.
    ///
    /// Memory is what will be written. It may itself be older than what you stored, as the kernel can have dropped the pages
    /// and read them from the device again: store what must be kept once more, before this call or after.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly): the mapping is for reading only. [`Truncated`](ErrorKind::Truncated): the file ends
    /// before these pages. Otherwise as for `sync`; after an error the pages still count as lost.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// use steadfast::{ErrorKind, Mapping};
    ///
    /// let map = Mapping::options().write(true).create(true).len(4096).open(&path)?;
    /// map.write_at(0, b"hello")?;
    /// if let Err(error) = map.sync(..) {
    ///     assert_eq!(error.kind(), ErrorKind::WriteBack);
    ///     map.write_at(0, b"hello")?; // once space was made, or the device is back
    ///     map.redirty(..)?;
    ///     map.sync(..)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn redirty(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let operation = "redirty";
        self.refuse_in_child(operation)?;
        let range = self.resolve(operation, &range)?;
        let file = self.shared_file(operation)?;
        self.refuse_damaged(operation, &range)?;
        if !file.writable {
            return Err(self.opened_for_reading(operation, &range));
        }
        let pages = self.placed.in_file(&self.placed.pages(&range));
        if let Err(error) = file.redirty(&pages) {
            self.check_length(operation, &range)?;
            return Err(self.os_error(operation, &range, error));
        }
        Ok(())
    }

    pub(super) fn is_shared(&self) -> bool {
        self.placed.kind == Kind::Shared
    }

    pub(super) fn opened_for_reading(
        &self,
        operation: &'static str,
        range: &std::ops::Range<usize>,
    ) -> crate::Error {
        self.error(ErrorKind::ReadOnly, operation, range, "the mapping was opened for reading")
            .advice("open it with `write(true)`")
    }
}
