//! Byte ranges and page arithmetic, without a single system call.
//!
//! Everything that turns an argument of a caller into addresses or offsets goes through here, so that overflow,
//! empty and inverted ranges are decided once. The rules are those of slices: a range may be empty, may end where
//! the whole ends, and never wraps.

mod page_set;
mod set;

use std::ops::{Bound, Range, RangeBounds};

pub(crate) use page_set::PageSet;
pub(crate) use set::RangeSet;

use crate::error::{Error, ErrorKind};

/// Why a range was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeError {
    /// It ends before it starts.
    Inverted { start: usize, end: usize },
    /// A bound lies beyond the last address that `usize` can name.
    Overflow,
    /// It reaches past `len`.
    PastEnd { end: usize, len: usize },
}

impl RangeError {
    /// The error of the public call `operation`.
    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        match self {
            RangeError::Inverted { start, end } => Error::new(
                ErrorKind::InvalidInput,
                operation,
                format!("the range {start}..{end} ends before it starts"),
            )
            .advice("give start..end with start at or below end"),
            RangeError::Overflow => {
                Error::new(ErrorKind::InvalidInput, operation, "the range ends beyond the address space")
                    .advice("offset + length must fit into 64 bits")
            }
            RangeError::PastEnd { end, len } => Error::new(
                ErrorKind::OutOfRange,
                operation,
                format!("the range ends at {end}, the length is {len}"),
            )
            .advice("stay within the length, or resize first"),
        }
    }
}

/// The bytes that `bounds` means in a whole of `len` bytes.
pub(crate) fn resolve(bounds: &impl RangeBounds<usize>, len: usize) -> Result<Range<usize>, RangeError> {
    let start = match bounds.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start.checked_add(1).ok_or(RangeError::Overflow)?,
        Bound::Unbounded => 0,
    };
    // Asked once: an implementation of the caller's may answer differently the next time.
    let end_bound = bounds.end_bound();
    let end = match end_bound {
        Bound::Included(&end) => end.checked_add(1).ok_or(RangeError::Overflow)?,
        Bound::Excluded(&end) => end,
        Bound::Unbounded => len,
    };
    // `5..` past the end of 3 bytes is out of range, not inverted: the caller gave no end.
    if start > end && !matches!(end_bound, Bound::Unbounded) {
        return Err(RangeError::Inverted { start, end });
    }
    let reach = start.max(end);
    if reach > len {
        return Err(RangeError::PastEnd { end: reach, len });
    }
    Ok(start..end)
}

/// The bytes `offset .. offset + count` in a whole of `len` bytes.
pub(crate) fn span(offset: usize, count: usize, len: usize) -> Result<Range<usize>, RangeError> {
    let end = offset.checked_add(count).ok_or(RangeError::Overflow)?;
    if end > len {
        return Err(RangeError::PastEnd { end, len });
    }
    Ok(offset..end)
}

/// The start of the page that holds `offset`. `page` is a power of two.
pub(crate) fn page_floor(offset: usize, page: usize) -> usize {
    debug_assert!(page.is_power_of_two());
    offset & !(page - 1)
}

/// `offset` rounded up to the next page boundary; `None` where that does not fit into `usize`.
pub(crate) fn page_ceil(offset: usize, page: usize) -> Option<usize> {
    debug_assert!(page.is_power_of_two());
    Some(page_floor(offset.checked_add(page - 1)?, page))
}

/// All pages that `range` touches. An empty range touches none.
pub(crate) fn pages_outward(range: &Range<usize>, page: usize) -> Option<Range<usize>> {
    let start = page_floor(range.start, page);
    if range.is_empty() {
        return Some(start..start);
    }
    Some(start..page_ceil(range.end, page)?)
}

/// The pages that lie wholly within `range`; empty where there is none.
pub(crate) fn pages_inward(range: &Range<usize>, page: usize) -> Range<usize> {
    match page_ceil(range.start, page) {
        Some(start) => start..page_floor(range.end, page).max(start),
        None => page_floor(range.start, page)..page_floor(range.start, page),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Offsets where arithmetic goes wrong: near 0, near a page, near the top.
    fn offset() -> impl Strategy<Value = usize> {
        prop_oneof![
            any::<usize>(),
            0usize..20_000,
            (0usize..20_000).prop_map(|below| usize::MAX - below),
            (0usize..64, 0usize..3)
                .prop_map(|(bit, near)| (1usize << bit).wrapping_add(near).wrapping_sub(1)),
        ]
    }

    fn bounds() -> impl Strategy<Value = (Bound<usize>, Bound<usize>)> {
        let bound = || {
            prop_oneof![
                offset().prop_map(Bound::Included),
                offset().prop_map(Bound::Excluded),
                Just(Bound::Unbounded)
            ]
        };
        (bound(), bound())
    }

    fn page() -> impl Strategy<Value = usize> {
        (12usize..=16).prop_map(|bits| 1 << bits)
    }

    /// The plain model: 128-bit numbers, which cannot overflow here.
    fn model((start, end): (Bound<usize>, Bound<usize>), len: usize) -> Result<Range<u128>, ()> {
        let first = match start {
            Bound::Included(at) => at as u128,
            Bound::Excluded(at) => at as u128 + 1,
            Bound::Unbounded => 0,
        };
        let last = match end {
            Bound::Included(at) => at as u128 + 1,
            Bound::Excluded(at) => at as u128,
            Bound::Unbounded => len as u128,
        };
        if first <= last && last <= len as u128 { Ok(first..last) } else { Err(()) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn resolve_is_the_model(bounds in bounds(), len in offset()) {
            let got = resolve(&bounds, len);
            match model(bounds, len) {
                Ok(want) => prop_assert_eq!(got, Ok(want.start as usize..want.end as usize)),
                Err(()) => prop_assert!(got.is_err()),
            }
        }

        #[test]
        fn span_is_the_model(offset in offset(), count in offset(), len in offset()) {
            let end = offset as u128 + count as u128;
            let got = span(offset, count, len);
            if end <= len as u128 {
                prop_assert_eq!(got, Ok(offset..end as usize));
            } else {
                prop_assert!(got.is_err());
                prop_assert_eq!(got == Err(RangeError::Overflow), end > usize::MAX as u128);
            }
        }

        #[test]
        fn pages_outward_are_the_fewest_that_cover(start in offset(), end in offset(), page in page()) {
            let range = start.min(end)..start.max(end);
            let want_end = (range.end as u128).div_ceil(page as u128) * page as u128;
            match pages_outward(&range, page) {
                Some(pages) => {
                    prop_assert!(pages.start.is_multiple_of(page) && pages.end.is_multiple_of(page));
                    prop_assert!(pages.start <= range.start && range.start - pages.start < page);
                    if range.is_empty() {
                        prop_assert!(pages.is_empty());
                    } else {
                        prop_assert_eq!(pages.end as u128, want_end);
                    }
                }
                None => prop_assert!(want_end > usize::MAX as u128),
            }
        }

        #[test]
        fn pages_inward_are_the_most_that_fit(start in offset(), end in offset(), page in page()) {
            let range = start.min(end)..start.max(end);
            let pages = pages_inward(&range, page);
            prop_assert!(pages.start.is_multiple_of(page) && pages.end.is_multiple_of(page));
            let first = (range.start as u128).div_ceil(page as u128) * page as u128;
            let last = range.end as u128 / page as u128 * page as u128;
            if first < last {
                prop_assert_eq!(pages.start as u128..pages.end as u128, first..last);
            } else {
                prop_assert!(pages.is_empty());
            }
        }
    }

    /// Ends at 0, then nowhere.
    struct Fickle(std::cell::Cell<bool>);

    impl RangeBounds<usize> for Fickle {
        fn start_bound(&self) -> Bound<&usize> {
            Bound::Included(&5)
        }

        fn end_bound(&self) -> Bound<&usize> {
            if self.0.replace(true) { Bound::Unbounded } else { Bound::Excluded(&0) }
        }
    }

    #[test]
    fn bounds_that_change_their_mind_make_no_inverted_range() {
        let got = resolve(&Fickle(std::cell::Cell::new(false)), 10);
        assert_eq!(got, Err(RangeError::Inverted { start: 5, end: 0 }));
    }

    #[test]
    fn a_range_that_only_starts_past_the_end_is_out_of_range() {
        assert_eq!(resolve(&(5..), 3), Err(RangeError::PastEnd { end: 5, len: 3 }));
        assert_eq!(resolve(&(3..), 3), Ok(3..3));
        assert_eq!(resolve(&(..=usize::MAX), usize::MAX), Err(RangeError::Overflow));
    }
}
