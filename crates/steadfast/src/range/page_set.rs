//! A set of pages, one bit each: for sets that are asked for members far more often than for ranges.

use std::collections::BTreeMap;
use std::ops::Range;

const WORD_PAGES: usize = u64::BITS as usize;
const CHUNK_PAGES: usize = 8 * WORD_PAGES;

/// Pages by number. Costs some hundred bytes for every 512 pages of which there are any.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageSet {
    /// None of them is empty.
    chunks: BTreeMap<usize, [u64; CHUNK_PAGES / WORD_PAGES]>,
    count: usize,
}

impl PageSet {
    /// How many pages are in it.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn insert(&mut self, pages: Range<usize>) {
        let mut at = pages.start;
        while at < pages.end {
            let chunk = self.chunks.entry(at / CHUNK_PAGES).or_default();
            let stop = pages.end.min((at / CHUNK_PAGES + 1) * CHUNK_PAGES);
            for page in at..stop {
                let (word, bit) = (&mut chunk[page % CHUNK_PAGES / WORD_PAGES], 1 << (page % WORD_PAGES));
                self.count += usize::from(*word & bit == 0);
                *word |= bit;
            }
            at = stop;
        }
    }

    pub(crate) fn remove(&mut self, pages: Range<usize>) {
        let mut at = pages.start;
        while at < pages.end {
            // From chunk to chunk, over whatever lies between.
            let Some((&index, chunk)) = self.chunks.range_mut(at / CHUNK_PAGES..).next() else { return };
            at = at.max(index * CHUNK_PAGES);
            let stop = pages.end.min((index + 1) * CHUNK_PAGES);
            for page in at..stop {
                let (word, bit) = (&mut chunk[page % CHUNK_PAGES / WORD_PAGES], 1 << (page % WORD_PAGES));
                self.count -= usize::from(*word & bit != 0);
                *word &= !bit;
            }
            if chunk.iter().all(|&word| word == 0) {
                self.chunks.remove(&index);
            }
            at = at.max(stop);
        }
    }

    /// The runs of members, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut pages = self
            .chunks
            .iter()
            .flat_map(|(&index, chunk)| {
                chunk
                    .iter()
                    .enumerate()
                    .map(move |(word, &bits)| (index * CHUNK_PAGES + word * WORD_PAGES, bits))
            })
            .flat_map(|(first, mut bits)| {
                std::iter::from_fn(move || {
                    let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                    bits &= bits - 1;
                    Some(first + bit)
                })
            })
            .peekable();
        std::iter::from_fn(move || {
            let start = pages.next()?;
            let mut end = start + 1;
            while pages.next_if_eq(&end).is_some() {
                end += 1;
            }
            Some(start..end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn a_page_set_is_a_set_of_numbers(
            steps in prop::collection::vec((any::<bool>(), 0..2000usize, 0..700usize), 0..20),
        ) {
            let (mut set, mut plain) = (PageSet::default(), BTreeSet::new());
            for (add, start, len) in steps {
                for page in start..start + len {
                    if add { plain.insert(page); } else { plain.remove(&page); }
                }
                if add { set.insert(start..start + len) } else { set.remove(start..start + len) }
            }
            prop_assert_eq!(set.count(), plain.len());
            let members: Vec<usize> = set.runs().flatten().collect();
            prop_assert_eq!(members, plain.iter().copied().collect::<Vec<_>>());
            let runs: Vec<_> = set.runs().collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "runs that touch are one");
        }
    }
}
