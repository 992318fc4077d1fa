//! From counts to single pages: a range whose pages all agree costs one look, any other is halved.

use std::ops::Range;

use crate::sys::page_size;
use crate::sys::residency::CacheCounts;

/// What a page is, in memory.
///
/// See [`Mapping::residency`](crate::Mapping::residency) for an example.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageState {
    /// Not in memory: the next access reads the file.
    Absent,
    /// In memory; clean, unless the kernel cannot tell dirty from clean here (the count of dirty pages is then `None`).
    Resident,
    /// In memory and not yet written to the file.
    Dirty,
    /// On its way to the device.
    WriteBack,
    /// The kernel does not tell.
    Unknown,
}

/// Neighbouring pages of a file in the same state.
///
/// See [`CachedFile::spans`](super::CachedFile::spans) for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Bytes of the file, whole pages.
    pub range: Range<u64>,
    /// What all of them are.
    pub state: PageState,
}

/// The states of all pages of `range`, in order, with `count` to look at a part of it. `total` is what it says of the whole. `None` if
/// it stops telling.
pub(crate) fn spans_between(
    range: Range<u64>,
    total: CacheCounts,
    mut count: impl FnMut(&Range<u64>) -> Option<CacheCounts>,
    mut tell: impl FnMut(Range<u64>, PageState),
) -> Option<()> {
    let page = page_size() as u64;
    // Depth first, so that spans come in order. What waits is never more than the logarithm of the pages.
    let mut waiting = vec![(range, Some(total))];
    while let Some((part, counts)) = waiting.pop() {
        let counts = counts.or_else(|| count(&part))?;
        let pages = (part.end - part.start) / page;
        match uniform_state(&counts, pages) {
            Some(state) => tell(part, state),
            None => {
                let middle = part.start + pages / 2 * page;
                waiting.push((middle..part.end, None));
                waiting.push((part.start..middle, None));
            }
        }
    }
    Some(())
}

/// The state of all pages of a part, if they agree. A single page always does.
fn uniform_state(counts: &CacheCounts, pages: u64) -> Option<PageState> {
    let CacheCounts { cached, dirty, write_back, .. } = *counts;
    if cached == 0 {
        return Some(PageState::Absent);
    }
    if cached < pages {
        return None;
    }
    match (dirty, write_back) {
        (0, 0) => Some(PageState::Resident),
        // Stored to again while it is being written: what matters is that it must be written again.
        (dirty, _) if dirty >= pages => Some(PageState::Dirty),
        (0, write_back) if write_back >= pages => Some(PageState::WriteBack),
        _ if pages == 1 => Some(PageState::WriteBack),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_page_has_one_state() {
        let counts =
            |cached, dirty, write_back| CacheCounts { cached, dirty, write_back, ..CacheCounts::default() };
        assert_eq!(uniform_state(&counts(0, 0, 0), 1), Some(PageState::Absent));
        assert_eq!(uniform_state(&counts(1, 0, 0), 1), Some(PageState::Resident));
        assert_eq!(uniform_state(&counts(1, 1, 0), 1), Some(PageState::Dirty));
        assert_eq!(uniform_state(&counts(1, 0, 1), 1), Some(PageState::WriteBack));
        assert_eq!(uniform_state(&counts(1, 1, 1), 1), Some(PageState::Dirty));
        for mixed in [counts(1, 0, 0), counts(2, 1, 0), counts(2, 0, 1), counts(2, 1, 1)] {
            assert_eq!(uniform_state(&mixed, 2), None);
        }
        assert_eq!(uniform_state(&counts(0, 0, 0), 2), Some(PageState::Absent));
    }

    proptest! {
        /// Against a list of pages, whatever they are.
        #[test]
        fn every_page_is_found_as_it_is(states in prop::collection::vec(0..4_u8, 1..200), first in 0..5_u64) {
            let page = page_size() as u64;
            let count = |part: &Range<u64>| {
                let pages = &states[(part.start / page - first) as usize..(part.end / page - first) as usize];
                let of = |kind: u8| pages.iter().filter(|&&state| state == kind).count() as u64;
                CacheCounts {
                    cached: pages.len() as u64 - of(0),
                    dirty: of(2),
                    write_back: of(3),
                    ..CacheCounts::default()
                }
            };
            let whole = first * page..(first + states.len() as u64) * page;
            let mut found = Vec::new();
            let total = count(&whole);
            let told = spans_between(whole, total, |part| Some(count(part)), |range, state| {
                found.extend((range.start / page..range.end / page).map(|_| state));
            });
            prop_assert!(told.is_some());
            let kinds = [PageState::Absent, PageState::Resident, PageState::Dirty, PageState::WriteBack];
            let expected: Vec<_> = states.iter().map(|&state| kinds[usize::from(state)]).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
