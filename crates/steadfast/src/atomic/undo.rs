//! What declared edits replaced, for as long as the working image and the committed one are the same memory.

use std::ops::Range;

/// Beyond so much it is cheaper to keep the committed image by itself.
const EDIT_BYTES_MAX: usize = 1 << 20;
/// So much room is kept from one transaction to the next.
const KEPT_MAX: usize = 1 << 18;
const LOG_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Default)]
pub(super) struct Undo {
    /// Where the bytes belong, in the order of the edits.
    ranges: Vec<(usize, u32)>,
    bytes: Vec<u8>,
}

impl Undo {
    /// Is there room for an edit of this size?
    pub(super) fn takes(&self, len: usize) -> bool {
        let logged = self.bytes.len() + size_of::<(usize, u32)>() * self.ranges.len();
        len <= EDIT_BYTES_MAX && logged + len <= LOG_BYTES_MAX
    }

    /// Keeps what stands in a range that is about to be changed.
    pub(super) fn keep(&mut self, memory: &[u8], range: Range<usize>) {
        self.ranges.push((range.start, range.len() as u32));
        self.bytes.extend_from_slice(&memory[range]);
    }

    /// The ranges that were kept, one for each edit.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.ranges.iter().map(|&(start, len)| start..start + len as usize)
    }

    /// Puts everything back, the last edit first.
    pub(super) fn apply(&self, memory: &mut [u8]) {
        let mut end = self.bytes.len();
        for &(start, len) in self.ranges.iter().rev() {
            let at = end - len as usize;
            memory[start..start + len as usize].copy_from_slice(&self.bytes[at..end]);
            end = at;
        }
    }

    pub(super) fn clear(&mut self) {
        self.ranges.clear();
        self.bytes.clear();
        // One large transaction is no reason to keep its memory for ever.
        self.ranges.shrink_to(KEPT_MAX);
        self.bytes.shrink_to(KEPT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_comes_back(edits in prop::collection::vec((0..100usize, 0..30usize, any::<u8>()), 0..20)) {
            let before: Vec<u8> = (0..130).collect();
            let mut memory = before.clone();
            let mut undo = Undo::default();
            for (at, len, byte) in edits {
                undo.keep(&memory, at..at + len);
                memory[at..at + len].fill(byte);
            }
            undo.apply(&mut memory);
            prop_assert_eq!(memory, before);
        }
    }
}
