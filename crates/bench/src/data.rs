//! The data set, and the stores that every system gets: the same, in the same order.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::Result;

/// The unit of the maps' edits, whatever the system's page is: peers and limits are compared by it.
pub(crate) const PAGE_BYTES: usize = 4096;

/// The databases hold the same bytes in records of this size, numbered from 0.
pub(crate) const RECORD_BYTES: usize = 256;

/// One store of eight bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edit {
    pub(crate) offset: usize,
    pub(crate) value: u64,
}

impl Edit {
    pub(crate) fn bytes(&self) -> [u8; 8] {
        self.value.to_le_bytes()
    }

    /// Stores into a slice that is the whole data set.
    pub(crate) fn store(&self, data: &mut [u8]) {
        data[self.offset..self.offset + 8].copy_from_slice(&self.bytes());
    }

    /// The record that a database updates for it.
    pub(crate) fn record(&self) -> u64 {
        (self.offset / RECORD_BYTES) as u64
    }

    /// What that record holds afterwards.
    pub(crate) fn record_bytes(&self) -> [u8; RECORD_BYTES] {
        record_bytes(self.value)
    }
}

/// A record's bytes, made of one number.
pub(crate) fn record_bytes(seed: u64) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    Random::new(seed).fill(&mut bytes);
    bytes
}

/// SplitMix64: a seed gives the same numbers on every machine.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is far below 2^64: the bias is nothing that a disk could see.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            word.copy_from_slice(&random[..word.len()]);
        }
    }

    /// All numbers below `count`, in random order.
    pub(crate) fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            numbers.swap(last, self.below(last + 1));
        }
        numbers
    }
}

/// One store to each of `pages` distinct random pages of a data set of `len` bytes.
pub(crate) fn scattered(random: &mut Random, len: usize, pages: usize) -> Result<Vec<Edit>> {
    let have = len / PAGE_BYTES;
    if pages > have {
        return Err(format!(
            "{pages} pages are more than {len} bytes have ({have}): ask for a larger --size"
        )
        .into());
    }
    let mut chosen = HashSet::with_capacity(pages);
    let mut edits = Vec::with_capacity(pages);
    while edits.len() < pages {
        let page = random.below(have);
        if chosen.insert(page) {
            edits.push(within(random, page));
        }
    }
    Ok(edits)
}

/// One store somewhere in this page.
pub(crate) fn within(random: &mut Random, page: usize) -> Edit {
    let offset = page * PAGE_BYTES + 8 * random.below(PAGE_BYTES / 8);
    Edit { offset, value: random.next() }
}

/// A file of `len` random bytes, durable: every block written, so that no system pays for the first write of one.
pub(crate) fn write_file(path: &Path, len: usize) -> Result<()> {
    let mut file = File::create(path)?;
    let mut random = Random::new(0x5eed);
    let mut chunk = vec![0; 1 << 20];
    let mut left = len;
    while left > 0 {
        let count = left.min(chunk.len());
        random.fill(&mut chunk[..count]);
        file.write_all(&chunk[..count])?;
        left -= count;
    }
    file.sync_all()?;
    Ok(())
}

/// Reads every page once, so that all of them are resident and mapped.
pub(crate) fn touch(data: &[u8]) {
    let sum = data.iter().step_by(PAGE_BYTES).fold(0u64, |sum, &byte| sum.wrapping_add(u64::from(byte)));
    std::hint::black_box(sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_the_same_for_everyone_and_on_distinct_pages() {
        let edits = |seed| scattered(&mut Random::new(seed), 1 << 20, 100).unwrap();
        let (first, second) = (edits(7), edits(7));
        let pages: HashSet<usize> = first.iter().map(|edit| edit.offset / PAGE_BYTES).collect();
        assert_eq!(pages.len(), 100);
        assert!(first.iter().zip(&second).all(|(a, b)| (a.offset, a.value) == (b.offset, b.value)));
        assert!(first.iter().all(|edit| edit.offset % 8 == 0));
        assert!(scattered(&mut Random::new(7), 1 << 20, 257).is_err());
    }
}
