//! Memory that outlives its map.

use std::ops::Range;

use crate::sys::region::Region;

/// The addresses of a map that was closed, and what lies there, until this is dropped: from
/// [`AtomicMapping::close_keeping_memory`](crate::AtomicMapping::close_keeping_memory), which has an example.
#[derive(Debug)]
pub struct LeftMemory {
    region: Region,
    /// Where there is memory.
    pages: Range<usize>,
}

impl LeftMemory {
    /// Takes a region over from whoever is done with it; `pages` of it are memory.
    pub(crate) fn of(region: &mut Region, pages: Range<usize>) -> LeftMemory {
        LeftMemory { region: region.take(), pages }
    }

    /// Replaces what lies there by zeros, which take no memory.
    pub(crate) fn clear(&mut self) {
        if let Err(error) = self.region.clear(self.pages.clone()) {
            log::debug!("memory that nobody needs stays: {error}");
        }
    }
}
