//! Reading the last commit: the data file, and on top of it what only records hold yet.

use std::io;
use std::ops::Range;

use super::overlay::Overlay;
use super::state::{Locked, State};
use crate::error::{Error, ErrorKind, Result};
use crate::journal;

impl Locked<'_> {
    /// Calls `with` with the sum of all pending commits.
    fn with_overlay<T>(&mut self, with: impl FnOnce(&State, &Overlay) -> T) -> io::Result<T> {
        let state: &mut State = self;
        state.keep_extents = true;
        let (through, mut overlay) = std::mem::take(&mut state.overlay);
        let mut caught_up = Ok(());
        for pending in state.pending.iter_mut().skip(through) {
            let (len_min, payload_at) = (pending.len_min(), pending.placed.payload_at());
            let extents = match &mut pending.extents {
                Some(extents) => extents,
                // From before anybody asked: the record has them.
                none => match pending.placed.read_body(&**state.journal.file()) {
                    Ok(body) => none.insert(journal::extents_of(&pending.placed.header, &body).0),
                    Err(error) => {
                        caught_up = Err(error);
                        break;
                    }
                },
            };
            overlay.apply(len_min, pending.len_before, extents, payload_at);
        }
        // Half a sum is thrown away.
        caught_up?;
        let result = with(state, &overlay);
        state.overlay = (state.pending.len(), overlay);
        Ok(result)
    }

    pub(super) fn read_committed(&mut self, buf: &mut [u8], offset: u64) -> Result<()> {
        let end =
            offset.checked_add(buf.len() as u64).filter(|&end| end <= self.committed_len()).ok_or_else(
                || self.error(ErrorKind::OutOfRange, "read", "the range ends past the last commit"),
            )?;
        let shared = self.shared;
        let failed = |error: io::Error| Error::from_io("read", error).path(&shared.path).range(offset..end);
        self.with_overlay(|state, overlay| {
            // Below the cut the data file counts; what it does not have yet is zeros.
            let base_end = overlay.cut().unwrap_or(u64::MAX).min(state.checkpointed_len).clamp(offset, end);
            let (base, zeros) = buf.split_at_mut((base_end - offset) as usize);
            let count = shared.data.read_at(base, offset).map_err(failed)?;
            if count < base.len() {
                return Err(shared
                    .error(ErrorKind::Truncated, "read", "another program cut the data file")
                    .range(offset + count as u64..base_end));
            }
            zeros.fill(0);
            for (at, piece) in overlay.within(offset..end) {
                let into = (at - offset) as usize;
                let target = &mut buf[into..into + piece.len as usize];
                if let Some(bytes) = state.undurable_bytes(piece.journal_at) {
                    target.copy_from_slice(&bytes[..target.len()]);
                    continue;
                }
                let count = state.journal.file().read_at(target, piece.journal_at).map_err(failed)?;
                if count < target.len() {
                    return Err(shared.error(
                        ErrorKind::Corrupt,
                        "read",
                        "the journal was cut by another program",
                    ));
                }
            }
            Ok(())
        })
        .map_err(failed)?
    }

    /// Does the data file's page cache perhaps lack committed bytes of this range?
    pub(super) fn is_behind(&mut self, range: Range<u64>) -> Result<bool> {
        let shared = self.shared;
        self.with_overlay(|state, overlay| {
            let base_end = overlay.cut().unwrap_or(u64::MAX).min(state.checkpointed_len);
            range.end > base_end || overlay.within(range.clone()).next().is_some()
        })
        .map_err(|error| Error::from_io("read", error).path(&shared.path).range(range.clone()))
    }
}

impl State {
    /// The bytes from this journal offset on, if their record is not durable: the journal's page cache may have lost them
    /// in a write-out that failed.
    fn undurable_bytes(&self, journal_at: u64) -> Option<&[u8]> {
        // They are the last ones.
        self.pending.iter().rev().map_while(|pending| Some((pending, pending.bytes.as_ref()?))).find_map(
            |(pending, bytes)| {
                let into = journal_at.checked_sub(pending.placed.payload_at())?;
                bytes.get(usize::try_from(into).ok()?..).filter(|rest| !rest.is_empty())
            },
        )
    }
}
