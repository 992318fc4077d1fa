//! The bytes of one file, cheap to copy: two images share every block that neither has changed since.

use std::ops::Range;
use std::sync::Arc;

/// Unit of sharing and of allocation, as the usual file systems have it.
pub(super) const BLOCK: u64 = 4096;

/// A file's bytes. A block that is missing reads as zeros, so sparse files cost nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    blocks: Vec<Option<Arc<[u8; BLOCK as usize]>>>,
    len: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads what there is of `buf.len()` bytes at `offset`; returns how much that was.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let end = offset.saturating_add(buf.len() as u64).min(self.len);
        let mut at = offset;
        while at < end {
            let (block, within, count) = piece(at, end);
            let out = &mut buf[(at - offset) as usize..][..count];
            match self.blocks.get(block) {
                Some(Some(bytes)) => out.copy_from_slice(&bytes[within..within + count]),
                _ => out.fill(0),
            }
            at += count as u64;
        }
        end.saturating_sub(offset) as usize
    }

    /// Writes `bytes` at `offset`, growing the file where needed: a gap reads as zeros.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        let mut at = offset;
        while at < end {
            let (block, within, count) = piece(at, end);
            if self.blocks.len() <= block {
                self.blocks.resize(block + 1, None);
            }
            let held = self.blocks[block].get_or_insert_with(|| Arc::new([0; BLOCK as usize]));
            Arc::make_mut(held)[within..within + count]
                .copy_from_slice(&bytes[(at - offset) as usize..][..count]);
            at += count as u64;
        }
        self.len = self.len.max(end);
    }

    /// Makes what lies of `range` within the file read as zeros.
    pub(super) fn zero(&mut self, range: Range<u64>) {
        let end = range.end.min(self.len).min(self.blocks.len() as u64 * BLOCK);
        let mut at = range.start;
        while at < end {
            let (block, within, count) = piece(at, end);
            if count as u64 == BLOCK {
                self.blocks[block] = None;
            } else if let Some(bytes) = &mut self.blocks[block] {
                Arc::make_mut(bytes)[within..within + count].fill(0);
            }
            at += count as u64;
        }
    }

    /// Cuts the file, or grows it with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            // What is cut off must read as zeros should the file grow again.
            self.zero(len..self.len);
            self.blocks.truncate(len.div_ceil(BLOCK) as usize);
        }
        self.len = len;
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }
}

/// The block that holds `at`, where in it, and how many bytes of it lie before `end`.
fn piece(at: u64, end: u64) -> (usize, usize, usize) {
    let within = at % BLOCK;
    ((at / BLOCK) as usize, within as usize, (end - at).min(BLOCK - within) as usize)
}

/// Which blocks of a file take space on the disk: a bit each.
#[derive(Debug, Clone, Default)]
pub(super) struct Allocation(Vec<u64>);

impl Allocation {
    /// Number of blocks taken.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Takes the blocks under `range`, from its start on, as long as `free` lasts, of which it uses up what it takes.
    /// Returns how far it came: `range.end` if all of them are taken now.
    pub(super) fn take(&mut self, range: Range<u64>, free: &mut u64) -> u64 {
        for block in blocks_of(&range) {
            let (word, bit) = ((block / 64) as usize, 1 << (block % 64));
            if self.0.len() <= word {
                self.0.resize(word + 1, 0);
            }
            if self.0[word] & bit == 0 {
                if *free == 0 {
                    return range.start.max(block * BLOCK);
                }
                *free -= 1;
                self.0[word] |= bit;
            }
        }
        range.end
    }

    /// Gives back every block that lies wholly past `len`.
    pub(super) fn cut(&mut self, len: u64) {
        let blocks = len.div_ceil(BLOCK);
        let words = (blocks / 64) as usize;
        if words < self.0.len() {
            self.0.truncate(words + 1);
            self.0[words] &= (1 << (blocks % 64)) - 1;
        }
    }
}

fn blocks_of(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() { 0..0 } else { range.start / BLOCK..range.end.div_ceil(BLOCK) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Change {
        Write(u64, Vec<u8>),
        Zero(Range<u64>),
        SetLen(u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        let offset = 0..3 * BLOCK;
        prop_oneof![
            (offset.clone(), prop::collection::vec(1..=u8::MAX, 1..5000))
                .prop_map(|(offset, bytes)| Change::Write(offset, bytes)),
            (offset.clone(), offset.clone()).prop_map(|(a, b)| Change::Zero(a.min(b)..a.max(b))),
            offset.prop_map(Change::SetLen),
        ]
    }

    proptest! {
        #[test]
        fn content_is_a_plain_vector_of_bytes(changes in prop::collection::vec(change(), 0..12)) {
            let mut content = Content::default();
            let mut plain: Vec<u8> = Vec::new();
            for change in changes {
                match change {
                    Change::Write(offset, bytes) => {
                        content.write(offset, &bytes);
                        let end = offset as usize + bytes.len();
                        plain.resize(plain.len().max(end), 0);
                        plain[offset as usize..end].copy_from_slice(&bytes);
                    }
                    Change::Zero(range) => {
                        content.zero(range.clone());
                        let end = plain.len().min(range.end as usize);
                        plain[end.min(range.start as usize)..end].fill(0);
                    }
                    Change::SetLen(len) => {
                        content.set_len(len);
                        plain.resize(len as usize, 0);
                    }
                }
                prop_assert_eq!(content.to_vec(), plain.clone());
            }
        }
    }

    #[test]
    fn allocation_counts_each_block_once() {
        let mut taken = Allocation::default();
        let mut free = 100;
        assert_eq!(taken.take(10..20, &mut free), 20);
        assert_eq!(taken.take(0..BLOCK + 1, &mut free), BLOCK + 1);
        assert_eq!(taken.take(200 * BLOCK..201 * BLOCK, &mut free), 201 * BLOCK);
        assert_eq!((taken.count(), free), (3, 97));
        taken.cut(BLOCK);
        assert_eq!(taken.count(), 1);
    }

    #[test]
    fn allocation_stops_where_space_ends() {
        let mut taken = Allocation::default();
        let mut free = 2;
        assert_eq!(taken.take(100..5 * BLOCK, &mut free), 2 * BLOCK);
        assert_eq!(free, 0);
        assert_eq!(taken.take(100..2 * BLOCK, &mut free), 2 * BLOCK);
    }
}
