//! Back to the last commit.

use std::io;

use super::super::declared::Declared;
use super::super::tracker::{self, Tracking};
use super::super::undo::Undo;
use super::{Working, pages};
use crate::error::{Error, Result};
use crate::store::Store;
use crate::sys;

/// So many bytes are put back at once.
const PIECE_BYTES: usize = 1 << 20;

impl Working {
    /// Maps everything from the committed image again. It must hold the last commit, and nothing else may have been stored.
    pub(in crate::atomic) fn refresh(&mut self, store: &dyn Store) -> io::Result<()> {
        let end = pages(store.committed_len() as usize)?;
        if end > self.mapped {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.unmap_beyond(end)?;
        self.place_committed(store, 0..end)?;
        self.anonymous_from = end;
        self.changed.clear();
        Ok(())
    }

    /// Lets go of the private copies of pages that changed since the last commit, if it is known which, and that is all that changed.
    fn drop_changes(&mut self, store: &dyn Store, declared: &Declared) -> bool {
        let page = sys::page_size();
        let len = store.committed_len() as usize;
        let is_known = matches!(self.tracking, Some(Tracking::WriteProtect(_)));
        if !is_known || !self.is_all_over_committed() || len.next_multiple_of(page) != self.mapped {
            return false;
        }
        self.find_changes(self.mapped, false);
        let mut runs = std::mem::take(&mut self.changed);
        // Those that were cut off again lie in no page that is mapped.
        runs.extend(declared.pages().filter(|run| run.end <= self.mapped));
        tracker::normalise(&mut runs);
        // Locked memory cannot be dropped (madvise(2)).
        if let Err(error) = self.region.drop_private(&runs) {
            log::debug!("private copies stay: {error}");
            return false;
        }
        for run in runs {
            self.copies.remove(run.start / page..run.end / page);
        }
        true
    }

    /// Makes the working image the last commit again. `declared` is what was edited since.
    pub(in crate::atomic) fn roll_back(&mut self, store: &dyn Store, declared: &Declared) -> Result<()> {
        let failed = |error| Error::from_io("roll back", error).path(store.path());
        if let Some(undo) = self.undo.take() {
            undo.apply(self.bytes_mut(self.mapped));
            self.undo = Some(Undo::default());
            let end = pages(store.committed_len() as usize).map_err(failed)?;
            return self.unmap_beyond(end).map_err(failed);
        }
        if !self.is_view() {
            return if self.drop_changes(store, declared) {
                Ok(())
            } else {
                self.refresh(store).map_err(failed)
            };
        }
        // The data file may be behind the last commit; but a page that differs from it is a private copy here (it was
        // committed by storing to it), so only pages that were changed need their committed bytes put back, and those pages
        // that lie over nothing.
        let len = store.committed_len() as usize;
        let end = pages(len).map_err(failed)?;
        self.find_changes(self.mapped, false);
        let mut runs = std::mem::take(&mut self.changed);
        runs.extend(declared.ranges());
        runs.push(self.anonymous_from..len.max(self.anonymous_from));
        tracker::normalise(&mut runs);
        let mut committed = vec![0; PIECE_BYTES.min(len)];
        for run in runs {
            let stop = run.end.min(len);
            let mut at = run.start;
            while at < stop {
                let piece = at..stop.min(at + committed.len());
                let bytes = &mut committed[..piece.len()];
                store.read_committed(bytes, piece.start as u64)?;
                let target = &mut self.bytes_mut(len)[piece.clone()];
                if target != bytes {
                    target.copy_from_slice(bytes);
                }
                at = piece.end;
            }
        }
        self.unmap_beyond(end).map_err(failed)?;
        // What was put back is no change.
        self.find_changes(self.mapped, false);
        self.changed.clear();
        Ok(())
    }
}
