//! What a disk holds. A copy costs little: two of them share every block that neither has changed since.

use std::ops::Range;
use std::sync::Arc;

const BLOCK: usize = 4096;
/// What a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// The bytes of a disk. A block that was never written, or holds zeros, takes no memory.
#[derive(Debug, Clone)]
pub struct Media {
    blocks: Vec<Option<Arc<[u8; BLOCK]>>>,
}

impl Media {
    /// Zeros.
    pub fn blank(bytes: u64) -> Media {
        Media { blocks: vec![None; (bytes as usize).div_ceil(BLOCK)] }
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        (self.blocks.len() * BLOCK) as u64
    }

    /// A disk of no size.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Fills `into`; what lies past the end is zeros.
    pub fn read(&self, into: &mut [u8], offset: u64) {
        for (block, within, part) in pieces(offset, into.len()) {
            match self.blocks.get(block) {
                Some(Some(bytes)) => into[part].copy_from_slice(&bytes[within]),
                _ => into[part].fill(0),
            }
        }
    }

    /// Writes what lies within the disk.
    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        for (block, within, part) in pieces(offset, bytes.len()) {
            let Some(held) = self.blocks.get_mut(block) else { return };
            let part = &bytes[part];
            if part.len() == BLOCK && part.iter().all(|&byte| byte == 0) {
                *held = None;
            } else {
                let held = held.get_or_insert_with(|| Arc::new([0; BLOCK]));
                Arc::make_mut(held)[within].copy_from_slice(part);
            }
        }
    }

    /// Blocks that are not zeros, with their offsets.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.blocks
            .iter()
            .enumerate()
            .filter_map(|(index, block)| Some(((index * BLOCK) as u64, &block.as_ref()?[..])))
    }
}

/// The blocks under a range: number, place within the block, place within the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    let start = offset as usize;
    let end = start + len;
    (start / BLOCK..end.div_ceil(BLOCK)).map(move |block| {
        let from = start.max(block * BLOCK);
        let to = end.min((block + 1) * BLOCK);
        (block, from - block * BLOCK..to - block * BLOCK, from - start..to - start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_bytes_and_copies_go_their_own_way() {
        let mut one = Media::blank(3 * BLOCK as u64);
        one.write(&[7; 6000], 1000);
        let mut other = one.clone();
        other.write(&[0; BLOCK], BLOCK as u64);
        let mut bytes = vec![9; 3 * BLOCK];
        one.read(&mut bytes, 0);
        assert!(
            bytes[..1000].iter().all(|&byte| byte == 0) && bytes[1000..7000].iter().all(|&byte| byte == 7)
        );
        other.read(&mut bytes, 0);
        assert_eq!((bytes[BLOCK - 1], bytes[BLOCK]), (7, 0));
        assert_eq!((one.blocks().count(), other.blocks().count()), (2, 1));
    }
}
