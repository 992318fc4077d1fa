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

    /// Reads what was committed where there are zeros instead. Nothing changes, and whatever can fail for want of a file has failed.
    pub(in crate::atomic) fn find_lost(&mut self, store: &dyn Store) -> Result<Vec<Lost>> {
        self.look_anew();
        let mut found = Vec::new();
        for damaged in self.region.damaged() {
            let run = damaged.bytes.start..damaged.bytes.end.min(self.mapped);
            if run.is_empty() {
                continue;
            }
            // From here on no committed image lies under the pages.
            let bare =
                if self.undo.is_some() { run.start } else { self.anonymous_from.clamp(run.start, run.end) };
            let (based, bare) = (run.start..bare, bare..run.end);
            let mut behind = Vec::new();
            if self.is_view() {
                find_behind(store, based.clone(), &mut behind)?;
            }
            let read = |bytes: Range<usize>| Ok((bytes.start, committed_bytes(store, bytes)?));
            let behind = behind.into_iter().map(read).collect::<Result<_>>()?;
            let over_nothing = committed_bytes(store, bare.clone())?;
            found.push(Lost { based, behind, bare, over_nothing });
        }
        Ok(found)
    }

    /// Shows the last commit again. What was stored there since is lost. On an error what was damaged counts as damaged still, from
    /// the page on that could not be put back.
    pub(in crate::atomic) fn put_back(&mut self, store: &dyn Store, lost: Vec<Lost>) -> Result<()> {
        let failed = |error| Error::from_io("refresh", error).path(store.path());
        let (page, len) = (sys::page_size(), store.committed_len() as usize);
        for Lost { based, behind, bare, over_nothing } in lost {
            // A rollback may have cut pages off meanwhile.
            let (based, bare) = (cut(&based, self.mapped), cut(&bare, self.mapped));
            if !based.is_empty() {
                self.place_committed(store, based.clone()).map_err(failed)?;
                for (start, bytes) in behind {
                    let end = start + bytes.len();
                    self.bytes_mut(end)[start..].copy_from_slice(&bytes);
                    self.copies.insert(start / page..end / page);
                }
                if self.is_view() && based.contains(&len) && !len.is_multiple_of(page) {
                    // The file may still have there what a commit cut off.
                    self.bytes_mut(len.next_multiple_of(page))[len..].fill(0);
                }
                // It is there only if it can be had by now.
                self.region.probe(&based);
                if let Some(damaged) = self.region.first_damaged(&based) {
                    return Err(self.damaged_error(store, "refresh", &damaged));
                }
            }
            if !bare.is_empty() {
                self.place_zeros(bare.clone()).map_err(failed)?;
                self.bytes_mut(bare.end)[bare.start..].copy_from_slice(&over_nothing[..bare.len()]);
            }
        }
        Ok(())
    }
}

/// A run of pages that could not be had, and what belongs there.
#[derive(Debug)]
pub(in crate::atomic) struct Lost {
    /// The committed image lies under these pages.
    based: Range<usize>,
    /// Where that lacks what was committed.
    behind: Vec<(usize, Vec<u8>)>,
    /// Nothing lies under these.
    bare: Range<usize>,
    over_nothing: Vec<u8>,
}

fn cut(bytes: &Range<usize>, end: usize) -> Range<usize> {
    bytes.start..bytes.end.min(end).max(bytes.start)
}

/// What was committed at `bytes`: zeros behind its end.
pub(super) fn committed_bytes(store: &dyn Store, bytes: Range<usize>) -> Result<Vec<u8>> {
    let known = bytes.end.min(store.committed_len() as usize).saturating_sub(bytes.start);
    let mut committed = vec![0; bytes.len()];
    if known > 0 {
        store.read_committed(&mut committed[..known], bytes.start as u64)?;
    }
    Ok(committed)
}

/// The pages of `bytes` of which the store's file lacks what was committed. There are few of them, in however many.
fn find_behind(store: &dyn Store, bytes: Range<usize>, found: &mut Vec<Range<usize>>) -> Result<()> {
    let page = sys::page_size();
    let end = bytes.end.min(store.committed_len() as usize);
    if bytes.start >= end || !store.is_behind(bytes.start as u64..end as u64)? {
        return Ok(());
    }
    let pages = bytes.len() / page;
    if pages <= 1 {
        found.push(bytes);
        return Ok(());
    }
    let middle = bytes.start + pages / 2 * page;
    find_behind(store, bytes.start..middle, found)?;
    find_behind(store, middle..bytes.end, found)
}
