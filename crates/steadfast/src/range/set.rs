//! A set of bytes, kept as the fewest disjoint ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint, non-empty, non-touching ranges in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    // start -> end; neighbours that touch are one entry.
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// Adds `range`; empty ranges change nothing.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        // Every entry that overlaps or touches lies at or before `end`, and they are neighbours.
        while let Some((&at, &to)) = self.ranges.range(..=end).next_back() {
            if to < start {
                break;
            }
            self.ranges.remove(&at);
            start = start.min(at);
            end = end.max(to);
        }
        self.ranges.insert(start, end);
    }

    /// Takes `range` out, splitting what sticks out on either side.
    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&at, &to)) = self.ranges.range(..range.end).next_back() {
            if to <= range.start {
                break;
            }
            self.ranges.remove(&at);
            if to > range.end {
                self.ranges.insert(range.end, to);
            }
            if at < range.start {
                self.ranges.insert(at, range.start);
            }
        }
    }

    /// The whole run of members that holds the byte `at`.
    pub(crate) fn entry_at(&self, at: u64) -> Option<Range<u64>> {
        self.ranges.range(..=at).next_back().filter(|&(_, &to)| to > at).map(|(&from, &to)| from..to)
    }

    /// The first part of `range` that is in the set.
    pub(crate) fn first_within(&self, range: &Range<u64>) -> Option<Range<u64>> {
        if range.is_empty() {
            return None;
        }
        let before = self.ranges.range(..=range.start).next_back().filter(|&(_, &to)| to > range.start);
        let (&at, &to) = before.or_else(|| self.ranges.range(range.start..range.end).next())?;
        Some(at.max(range.start)..to.min(range.end))
    }

    /// The parts of `range` that are not in the set, in order.
    pub(crate) fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        while at < range.end {
            match self.first_within(&(at..range.end)) {
                Some(covered) => {
                    if covered.start > at {
                        gaps.push(at..covered.start);
                    }
                    at = covered.end;
                }
                None => {
                    gaps.push(at..range.end);
                    break;
                }
            }
        }
        gaps
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = RangeSet::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEN: usize = 64;

    /// The plain model: one flag a byte.
    fn ranges_of(flags: &[bool]) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (at, _) in flags.iter().enumerate().filter(|&(_, &set)| set) {
            match ranges.last_mut() {
                Some(last) if last.end == at as u64 => last.end += 1,
                _ => ranges.push(at as u64..at as u64 + 1),
            }
        }
        ranges
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn a_set_is_the_model(
            steps in prop::collection::vec((any::<bool>(), 0..=LEN, 0..=LEN), 0..40),
            probe in (0..=LEN, 0..=LEN),
        ) {
            let mut set = RangeSet::new();
            let mut flags = [false; LEN];
            for (insert, a, b) in steps {
                let range = a.min(b)..a.max(b);
                let wide = range.start as u64..range.end as u64;
                if insert { set.insert(wide) } else { set.remove(wide) }
                flags[range].fill(insert);
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), ranges_of(&flags));

            let probe = probe.0.min(probe.1)..probe.0.max(probe.1);
            let wide = probe.start as u64..probe.end as u64;
            let mut inside = [false; LEN];
            let mut outside = [false; LEN];
            for at in probe.clone() {
                inside[at] = flags[at];
                outside[at] = !flags[at];
            }
            prop_assert_eq!(set.first_within(&wide), ranges_of(&inside).first().cloned());
            prop_assert_eq!(set.gaps(wide), ranges_of(&outside));
        }
    }
}
