//! The state that a run of records makes of a base: what a reader of committed bytes sees.
//!
//! Plainly: apply the records one by one (cut to the smallest length, grow with zeros, put the extents). Here the
//! same result is kept as one cut and one ordered map of pieces, so that bytes that were committed many times are
//! written once and bytes that were cut away are never written at all.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::batch::Extent;

/// Some bytes of the final state, and where they stand in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) len: u64,
    pub(super) journal_at: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    /// Bytes of the base at and beyond this offset were cut away by some record.
    cut: Option<u64>,
    pieces: BTreeMap<u64, Piece>,
}

impl Overlay {
    /// Puts one record on top. `payload_at` is where its first extent's bytes stand in the journal.
    pub(super) fn apply(&mut self, len_min: u64, len_before: u64, extents: &[Extent], mut payload_at: u64) {
        if len_min < len_before {
            self.cut = Some(self.cut.map_or(len_min, |cut| cut.min(len_min)));
            self.clear(len_min..u64::MAX);
        }
        for extent in extents {
            self.clear(extent.offset..extent.end());
            let len = u64::from(extent.len);
            self.pieces.insert(extent.offset, Piece { len, journal_at: payload_at });
            payload_at += len;
        }
    }

    /// Takes a range out, keeping what sticks out on either side.
    fn clear(&mut self, range: Range<u64>) {
        while let Some((&at, &piece)) = self.pieces.range(..range.end).next_back() {
            let end = at + piece.len;
            if end <= range.start {
                break;
            }
            self.pieces.remove(&at); // no switch: nothing of a disk
            if end > range.end {
                let skipped = range.end - at;
                let rest = Piece { len: end - range.end, journal_at: piece.journal_at + skipped };
                self.pieces.insert(range.end, rest);
            }
            if at < range.start {
                self.pieces.insert(at, Piece { len: range.start - at, journal_at: piece.journal_at });
            }
        }
    }

    /// Where the base ends to count.
    pub(super) fn cut(&self) -> Option<u64> {
        self.cut
    }

    /// All pieces in offset order.
    #[cfg(test)]
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u64, Piece)> + '_ {
        self.pieces.iter().map(|(&at, &piece)| (at, piece))
    }

    /// The parts of pieces that lie in `range`, in offset order.
    pub(super) fn within(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Piece)> + '_ {
        let first = self.pieces.range(..=range.start).next_back().map_or(range.start, |(&at, _)| at);
        self.pieces.range(first.min(range.end)..range.end).filter_map(move |(&at, &piece)| {
            let start = at.max(range.start);
            let end = (at + piece.len).min(range.end);
            (start < end)
                .then(|| (start, Piece { len: end - start, journal_at: piece.journal_at + (start - at) }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: u64 = 48;

    #[derive(Debug, Clone)]
    struct Step {
        len_min: u64,
        len: u64,
        extents: Vec<Extent>,
        bytes: Vec<u8>,
    }

    /// Two lengths, and extents as the gap before each and its size.
    type RawStep = (u64, u64, Vec<(u64, u32)>);

    fn steps() -> impl Strategy<Value = Vec<RawStep>> {
        prop::collection::vec((0..=MAX, 0..=MAX, prop::collection::vec((0..MAX, 1u32..9), 0..5)), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn an_overlay_is_its_records_one_by_one(raw in steps(), base_len in 0..=MAX, probe in (0..=MAX, 0..=MAX)) {
            let base: Vec<u8> = (0..base_len).map(|at| 200 + at as u8 % 50).collect();
            let mut plain = base.clone();
            let mut overlay = Overlay::default();
            let mut journal: Vec<u8> = Vec::new();
            let mut next = 0u8;
            for (a, b, raw_extents) in raw {
                let before = plain.len() as u64;
                let len_min = a.min(b).min(before);
                let len = b.max(len_min);
                let mut step = Step { len_min, len, extents: Vec::new(), bytes: Vec::new() };
                let mut at = 0;
                for (gap, count) in raw_extents {
                    let offset = if gap % 4 == 0 { gap % (len + 1) } else { at + gap % 7 };
                    let count = u64::from(count).min(len.saturating_sub(offset));
                    if count == 0 { break }
                    step.extents.push(Extent { offset, len: count as u32 });
                    for _ in 0..count { next = next % 199 + 1; step.bytes.push(next); }
                    at = offset + count;
                }
                plain.truncate(step.len_min as usize);
                plain.resize(step.len as usize, 0);
                let mut taken = 0;
                for extent in &step.extents {
                    let count = extent.len as usize;
                    plain[extent.offset as usize..][..count].copy_from_slice(&step.bytes[taken..taken + count]);
                    taken += count;
                }
                overlay.apply(step.len_min, before, &step.extents, journal.len() as u64);
                journal.extend(&step.bytes);
            }
            let len = plain.len() as u64;
            let mut got = base;
            got.truncate(overlay.cut().unwrap_or(u64::MAX).min(len) as usize);
            got.resize(len as usize, 0);
            for (at, piece) in overlay.pieces() {
                got[at as usize..][..piece.len as usize]
                    .copy_from_slice(&journal[piece.journal_at as usize..][..piece.len as usize]);
            }
            prop_assert_eq!(&got, &plain);

            let range = probe.0.min(probe.1)..probe.0.max(probe.1);
            let mut by_byte = Vec::new();
            for (at, piece) in overlay.pieces() {
                for i in 0..piece.len {
                    if range.contains(&(at + i)) { by_byte.push((at + i, piece.journal_at + i)); }
                }
            }
            let mut asked = Vec::new();
            for (at, piece) in overlay.within(range) {
                for i in 0..piece.len { asked.push((at + i, piece.journal_at + i)); }
            }
            prop_assert_eq!(asked, by_byte);
        }
    }
}
