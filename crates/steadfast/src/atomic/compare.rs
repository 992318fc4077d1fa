//! Which bytes of a page differ from its committed image.

use std::ops::Range;

/// An extent costs an entry of this size in the record's table: runs closer than that are recorded as one.
const ENTRY_BYTES: usize = 12;
/// Compared at once while nothing differs.
const CHUNK_BYTES: usize = 256;
const WORD_BYTES: usize = 8;

/// Calls `differs` with the runs of bytes that are not equal, in order, and more than an extent's table entry apart.
pub(super) fn differences(old: &[u8], new: &[u8], mut differs: impl FnMut(Range<usize>)) {
    debug_assert_eq!(old.len(), new.len());
    let mut run: Range<usize> = 0..0;
    let mut note = |found: Range<usize>| {
        if !run.is_empty() && found.start - run.end < ENTRY_BYTES {
            run.end = found.end;
        } else {
            if !run.is_empty() {
                differs(run.clone());
            }
            run = found;
        }
    };
    for (index, (old, new)) in old.chunks(CHUNK_BYTES).zip(new.chunks(CHUNK_BYTES)).enumerate() {
        if old == new {
            continue;
        }
        let at = index * CHUNK_BYTES;
        let (old_words, old_rest) = old.as_chunks::<WORD_BYTES>();
        let (new_words, new_rest) = new.as_chunks::<WORD_BYTES>();
        for (index, (old, new)) in old_words.iter().zip(new_words).enumerate() {
            // The byte that differs first is the lowest that is not zero.
            let both = u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new);
            if both != 0 {
                let at = at + index * WORD_BYTES;
                let first = both.trailing_zeros() as usize / 8;
                let end = WORD_BYTES - both.leading_zeros() as usize / 8;
                note(at + first..at + end);
            }
        }
        let at = at + old_words.len() * WORD_BYTES;
        for (index, (old, new)) in old_rest.iter().zip(new_rest).enumerate() {
            if old != new {
                note(at + index..at + index + 1);
            }
        }
    }
    if !run.is_empty() {
        differs(run);
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of runs, some with one")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(old: &[u8], new: &[u8]) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        differences(old, new, |run| runs.push(run));
        runs
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn differences_are_the_bytes_that_differ(
            len in 0..5000usize,
            changes in prop::collection::vec((0..5000usize, 1..40usize), 0..12),
        ) {
            let old: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let mut new = old.clone();
            for (at, count) in changes {
                let end = (at + count).min(len);
                for byte in new.get_mut(at.min(end)..end).unwrap_or_default() { *byte ^= 0x80; }
            }
            let runs = found(&old, &new);
            let mut patched = old.clone();
            for run in &runs {
                patched[run.clone()].copy_from_slice(&new[run.clone()]);
                prop_assert!(old[run.start] != new[run.start] && old[run.end - 1] != new[run.end - 1]);
            }
            prop_assert_eq!(patched, new);
            for pair in runs.windows(2) {
                prop_assert!(pair[1].start - pair[0].end >= ENTRY_BYTES, "{:?}", pair);
            }
        }
    }

    #[test]
    fn a_store_is_its_bytes_and_a_page_that_changed_is_one_run() {
        let old = [7; 4096];
        let mut new = old;
        new[1000..1008].copy_from_slice(&1u64.to_le_bytes());
        assert_eq!(found(&old, &new), vec![1000..1008]);
        assert_eq!(found(&old, &[8; 4096]), vec![0..4096]);
        assert_eq!(found(&old, &old), []);
    }
}
