//! What the program declared to change since the last commit, in the order in which it did: a record in the making.
//!
//! Bytes that were handed over are kept as they came, so that the commit has nothing to look up. Where memory was lent, and
//! where the length was cut since, the working image is read at the commit.

use std::ops::Range;

use crate::batch::Extent;
use crate::{range, sys};

/// Beyond so many edits it pays to look whether they are to the same places.
const MERGE_ABOVE: usize = 1 << 14;
/// So much room is kept from one transaction to the next.
const KEPT_MAX: usize = 1 << 18;
/// An extent's length has 32 bits.
pub(super) const EXTENT_BYTES_MAX: usize = 1 << 30;

#[derive(Debug, Default)]
pub(super) struct Declared {
    /// In order; a later one wins.
    extents: Vec<Extent>,
    /// Their bytes, one behind the other; nothing for those that were lent.
    bytes: Vec<u8>,
    /// Some of the extents have their bytes only in the working image: then all are read there.
    unread: bool,
    end: u64,
    /// What was changed and then cut off: no part of the record, but of what a rollback brings back.
    cut: Vec<Range<usize>>,
}

impl Declared {
    pub(super) fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Everything that was changed, also what was cut off since.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let recorded = self.extents.iter().map(|extent| extent.offset as usize..extent.end() as usize);
        recorded.chain(self.cut.iter().cloned())
    }

    /// The pages that they touch.
    pub(super) fn pages(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        // All lie within the addresses of a map: none is beyond the last page.
        self.ranges().filter_map(|range| range::pages_outward(&range, sys::page_size()))
    }

    /// These bytes are going to stand there.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if self.unread {
            return self.lend(offset..offset + bytes.len());
        }
        if let Some(last) = self.extents.last_mut() {
            let (at, len) = (last.offset as usize, last.len as usize);
            if at == offset && len == bytes.len() {
                let start = self.bytes.len() - len;
                self.bytes[start..].copy_from_slice(bytes);
                return;
            }
            if at + len == offset && len + bytes.len() <= EXTENT_BYTES_MAX {
                last.len += bytes.len() as u32;
                self.end = self.end.max(last.end());
                self.bytes.extend_from_slice(bytes);
                return;
            }
        }
        self.push(offset..offset + bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Something is going to stand there.
    pub(super) fn lend(&mut self, range: Range<usize>) {
        self.look_again();
        self.push(range);
    }

    fn push(&mut self, range: Range<usize>) {
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(EXTENT_BYTES_MAX);
            self.extents.push(Extent { offset: at as u64, len: len as u32 });
            at += len;
        }
        self.end = self.end.max(range.end as u64);
    }

    /// The length was cut: what stood there is zeros if it comes back.
    pub(super) fn look_again(&mut self) {
        self.unread = true;
        self.bytes.clear();
    }

    /// Makes it a record: no more in it than the length, and all bytes there.
    pub(super) fn settle(&mut self, working: &[u8]) {
        if !self.unread && self.extents.len() <= MERGE_ABOVE && self.end <= working.len() as u64 {
            return;
        }
        self.extents.sort_unstable_by_key(|extent| extent.offset);
        let extents = std::mem::take(&mut self.extents);
        self.bytes.clear();
        let mut at = 0;
        for extent in extents {
            let end = (extent.end() as usize).min(working.len());
            if extent.end() > working.len() as u64 {
                self.cut.push(working.len().max(extent.offset as usize)..extent.end() as usize);
            }
            let start = (extent.offset as usize).max(at);
            at = at.max(end);
            if start >= end {
                continue;
            }
            match self.extents.last_mut() {
                Some(last)
                    if last.end() == start as u64
                        && last.len as usize + (end - start) <= EXTENT_BYTES_MAX =>
                {
                    last.len += (end - start) as u32;
                }
                _ => self.extents.push(Extent { offset: start as u64, len: (end - start) as u32 }),
            }
            self.bytes.extend_from_slice(&working[start..end]);
        }
        self.unread = false;
        self.end = at as u64;
    }

    /// The extents and their bytes, once [settled](Declared::settle).
    pub(super) fn record(&self) -> (&[Extent], &[u8]) {
        debug_assert!(!self.unread);
        (&self.extents, &self.bytes)
    }

    pub(super) fn clear(&mut self) {
        self.extents.clear();
        self.bytes.clear();
        // One large transaction is no reason to keep its memory for ever.
        self.extents.shrink_to(KEPT_MAX);
        self.bytes.shrink_to(KEPT_MAX);
        (self.unread, self.end) = (false, 0);
        self.cut = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(usize, Vec<u8>),
        Lend(usize, usize, u8),
        Cut(usize),
        Settle,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..200usize, prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            2 => (0..200usize, 0..20usize, any::<u8>()).prop_map(|(at, len, byte)| Step::Lend(at, len, byte)),
            1 => (0..200usize).prop_map(Step::Cut),
            1 => Just(Step::Settle),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_record_in_the_making_is_what_was_changed(steps in prop::collection::vec(step(), 0..30)) {
            let before: Vec<u8> = (0..220).map(|at| at as u8).collect();
            let mut working = before.clone();
            let mut declared = Declared::default();
            let mut touched = std::collections::BTreeSet::new();
            let mut len_min = working.len();
            for step in steps {
                match step {
                    Step::Write(at, bytes) if at + bytes.len() <= working.len() && !bytes.is_empty() => {
                        declared.write(at, &bytes);
                        touched.extend(at..at + bytes.len());
                        working[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                    Step::Lend(at, len, byte) if at + len <= working.len() && len > 0 => {
                        declared.lend(at..at + len);
                        touched.extend(at..at + len);
                        working[at..at + len].fill(byte);
                    }
                    // Cut, and grown again in part.
                    Step::Cut(len) if len < working.len() => {
                        let back = len + (working.len() - len) / 2;
                        len_min = len_min.min(len);
                        working.truncate(len);
                        working.resize(back, 0);
                        declared.look_again();
                    }
                    Step::Settle => declared.settle(&working),
                    _ => {}
                }
            }
            declared.settle(&working);
            let known: std::collections::BTreeSet<usize> = declared.ranges().flatten().collect();
            prop_assert!(touched.is_subset(&known), "a rollback would forget {:?}", touched.difference(&known));
            let mut replayed = before;
            replayed.truncate(len_min);
            replayed.resize(working.len(), 0);
            let (extents, mut bytes) = declared.record();
            for extent in extents {
                let (these, rest) = bytes.split_at(extent.len as usize);
                replayed[extent.offset as usize..extent.end() as usize].copy_from_slice(these);
                bytes = rest;
            }
            prop_assert!(bytes.is_empty());
            prop_assert_eq!(replayed, working);
        }
    }

    #[test]
    fn edits_of_the_same_place_and_of_neighbours_are_one() {
        let mut declared = Declared::default();
        (0..10_000u64).for_each(|n| declared.write(8, &n.to_le_bytes()));
        (0..100).for_each(|n| declared.write(16 + n, &[n as u8]));
        assert_eq!(declared.record().0, [Extent { offset: 8, len: 108 }]);
        let mut working = vec![0; 64];
        for n in 0..2 * MERGE_ABOVE {
            declared.write(n % 2 * 32, &[n as u8]);
            working[n % 2 * 32] = n as u8;
        }
        declared.settle(&working);
        assert!(declared.record().0.len() < 4);
    }
}
