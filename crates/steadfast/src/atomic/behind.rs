//! Committed pages that a view's data file may lack: the part of its committed image that no page cache shows.
//!
//! Kept from the first borrow of the whole slice on, since only stores that are searched for are compared with anything.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::batch::Batch;
use crate::error::Result;
use crate::store::Store;
use crate::sys;

/// More are not kept: the private copies of a large commit, and the checkpoint that reads it back, take enough memory. Pages that
/// are behind and not kept are recorded whole, or read back.
const BEHIND_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Behind {
    /// By number. Bytes behind the end of the last commit are zeros.
    pages: BTreeMap<usize, Box<[u8]>>,
}

impl Behind {
    pub(super) fn bytes(&self) -> usize {
        self.pages.len() * sys::page_size()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= BEHIND_BYTES_MAX
    }

    /// The committed bytes of a range that lies within one page, if that is kept.
    pub(super) fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        let page = sys::page_size();
        let start = range.start % page;
        self.pages.get(&(range.start / page))?.get(start..start + range.len())
    }

    /// Keeps the last commit's bytes of a page that is about to be committed anew, while there is room. `shown` are those that the page cache has, if it
    /// is not behind.
    pub(super) fn keep(&mut self, store: &dyn Store, number: usize, shown: Option<&[u8]>) -> Result<()> {
        if self.is_full() || self.pages.contains_key(&number) {
            return Ok(());
        }
        let page = sys::page_size();
        let mut bytes = vec![0; page].into_boxed_slice();
        match shown {
            Some(shown) => bytes[..shown.len()].copy_from_slice(shown),
            None => {
                let start = (number * page) as u64;
                let len = store.committed_len().saturating_sub(start).min(page as u64) as usize;
                if len > 0 {
                    store.read_committed(&mut bytes[..len], start)?;
                }
            }
        }
        self.pages.insert(number, bytes);
        Ok(())
    }

    /// Lets go of a page.
    pub(super) fn forget(&mut self, number: usize) {
        self.pages.remove(&number);
    }

    /// Lays a commit over the pages.
    pub(super) fn fold(&mut self, batch: &Batch<'_>) {
        if self.pages.is_empty() {
            return;
        }
        let page = sys::page_size();
        let cut = batch.len_min as usize;
        for (number, bytes) in self.pages.range_mut(cut / page..) {
            let from = cut.saturating_sub(number * page).min(page);
            bytes[from..].fill(0);
        }
        let mut rest = batch.bytes;
        for extent in batch.extents {
            let (mut at, end) = (extent.offset as usize, extent.end() as usize);
            while at < end {
                let stop = end.min((at / page + 1) * page);
                let (these, others) = rest.split_at(stop - at);
                rest = others;
                if let Some(bytes) = self.pages.get_mut(&(at / page)) {
                    bytes[at % page..at % page + these.len()].copy_from_slice(these);
                }
                at = stop;
            }
        }
    }

    /// Lets go of pages that the page cache shows.
    pub(super) fn retain(&mut self, mut is_behind: impl FnMut(Range<usize>) -> bool) {
        let page = sys::page_size();
        self.pages.retain(|number, _| is_behind(number * page..(number + 1) * page));
    }
}
