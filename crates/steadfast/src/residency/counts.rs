//! How many pages are in which state.

use crate::sys::residency::CacheCounts;

use super::Unknown;

/// Pages by their state. `None` where nobody can tell; then [`unknown`](Counts::unknown) says why.
///
/// See [`CachedFile::counts`](super::CachedFile::counts) for an example.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All pages of the range, the last one perhaps in part.
    pub pages: u64,
    /// Those in memory.
    pub resident: Option<u64>,
    /// Those in memory that are not written to the file yet. The kernel counts in units of up to 2 MiB (folios): one byte that was
    /// stored can be hundreds of dirty pages, and all of them will be written. Never told of files that live in memory.
    pub dirty: Option<u64>,
    /// Those on their way to the device.
    pub write_back: Option<u64>,
    /// Those that were in memory and are not any more, as far as the kernel remembers.
    pub evicted: Option<u64>,
    /// Of those, the ones whose return would mean that memory is short.
    pub recently_evicted: Option<u64>,
    /// Why something is not told.
    pub unknown: Option<Unknown>,
}

impl Counts {
    pub(super) fn none_of(pages: u64, unknown: Unknown) -> Counts {
        Counts { pages, unknown: Some(unknown), ..Counts::default() }
    }

    pub(super) fn told(pages: u64, counts: &CacheCounts) -> Counts {
        Counts {
            pages,
            resident: Some(counts.cached),
            dirty: Some(counts.dirty),
            write_back: Some(counts.write_back),
            evicted: Some(counts.evicted),
            recently_evicted: Some(counts.recently_evicted),
            unknown: None,
        }
    }

    /// What mincore(2) tells.
    pub(super) fn resident_alone(pages: u64, resident: u64) -> Counts {
        Counts { pages, resident: Some(resident), unknown: Some(Unknown::DirtyNotTold), ..Counts::default() }
    }

    /// Dirty pages of a file that lives in memory have nowhere to be written.
    pub(super) fn in_memory(self) -> Counts {
        Counts { dirty: None, write_back: None, unknown: Some(Unknown::InMemory), ..self }
    }
}
