//! Pages that could not be had: which, and how their committed bytes come back.

use std::ops::Range;

use super::Working;
use crate::error::{Error, Result};
use crate::fault::Damaged;
use crate::store::Store;
use crate::sys;

impl Working {
    /// The first bytes of `range` that are zeros because their page could not be had.
    #[inline]
    pub(in crate::atomic) fn first_damaged(&self, range: &Range<usize>) -> Option<Damaged> {
        self.region.first_damaged(range)
    }

    /// The same for any of the images.
    pub(in crate::atomic) fn any_damaged(&self, len: usize) -> Option<Damaged> {
        self.region.first_damaged(&(0..len)).or_else(|| self.committed.first_damaged(&(0..len)))
    }

    /// What could not be had of the committed image is asked for once more: nobody but the library looks at it, so nobody
    /// need be told.
    pub(in crate::atomic) fn look_anew(&mut self) {
        if self.committed.first_damaged(&(0..usize::MAX)).is_some() {
            self.committed.close_window();
        }
    }

    /// Touches the pages of `range`: what cannot be had is damaged then.
    #[inline]
    pub(in crate::atomic) fn probe(&self, range: &Range<usize>) {
        self.region.probe(range);
    }

    pub(in crate::atomic) fn damaged_error(
        &self,
        store: &dyn Store,
        operation: &'static str,
        damaged: &Damaged,
    ) -> Error {
        let Damaged { bytes, cause } = damaged;
        Error::new(cause.kind(), operation, cause.reason())
            .path(store.path())
            .range(bytes.start as u64..bytes.end as u64)
            .advice("mend the cause, then call `refresh`, or `rollback` to begin again from the last commit")
    }

    /// Shows the last commit again where there are zeros instead. What was stored there since is lost. On an error what was
    /// damaged counts as damaged still.
    pub(in crate::atomic) fn put_back(&mut self, store: &dyn Store) -> Result<()> {
        let failed = |error| Error::from_io("refresh", error).path(store.path());
        self.look_anew();
        let page = sys::page_size();
        let len = store.committed_len() as usize;
        let mut committed = vec![0; page];
        for damaged in self.region.damaged() {
            let end = damaged.bytes.end.min(self.mapped);
            let mut at = damaged.bytes.start;
            while at < end {
                let bytes = at..(at + page).min(end);
                at = bytes.end;
                let over_committed = self.undo.is_none() && bytes.start < self.anonymous_from;
                let known = bytes.start..bytes.end.min(len).max(bytes.start);
                let is_behind = !known.is_empty()
                    && (!over_committed
                        || self.is_view() && store.is_behind(known.start as u64..known.end as u64)?);
                if is_behind {
                    // Before anything changes: this may fail.
                    store.read_committed(&mut committed[..known.len()], known.start as u64)?;
                }
                if over_committed {
                    self.place_committed(store, bytes.clone()).map_err(failed)?;
                } else {
                    self.place_zeros(bytes.clone()).map_err(failed)?;
                }
                if is_behind {
                    self.bytes_mut(known.end)[known.clone()].copy_from_slice(&committed[..known.len()]);
                    if over_committed {
                        self.copies.insert(bytes.start / page..bytes.end / page);
                    }
                }
            }
        }
        Ok(())
    }
}
