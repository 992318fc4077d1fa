//! What the file must hold: a pure function of seed and commit, so that parent and child agree without a
//! word.
//!
//! The first state is a pseudo-random pattern (zeros would hide bytes that were never written). Commit `n`
//! sets the length if `n` is a multiple of [`RESIZE_EVERY`], then makes its edits in order. All of it follows
//! from `(seed, n)`, at any offset and without looking at earlier commits' bytes, so that any window of the
//! file can be recomputed alone.

use std::ops::Range;

use crate::pattern::{self, mix};

/// The most edits in a commit.
const EDITS_MAX: u64 = 256;
/// The shortest and the longest edit.
pub(crate) const EDIT_BYTES: Range<u64> = 8..301;
/// Every so many commits the file's length changes.
pub(crate) const RESIZE_EVERY: u64 = 37;
/// Edits go to this many pages scattered over the whole file, and one in [`ANYWHERE_EVERY`] anywhere. Without
/// a limit a few seconds of commits would touch every page of the file, and the tour would measure nothing
/// but random writes.
const PAGES: u64 = 8192;
/// See [`PAGES`].
const ANYWHERE_EVERY: u64 = 64;

/// All states of the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    seed: u64,
    base_bytes: u64,
    page_bytes: u64,
}

/// One edit: the bytes at `start..end` become those of `key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Offset in the file.
    pub(crate) start: u64,
    /// Number of bytes.
    pub(crate) len: usize,
    key: u64,
}

impl Edit {
    /// Writes the edit's bytes to `out`, which is as long as the edit.
    pub(crate) fn fill(&self, out: &mut [u8]) {
        pattern::fill(self.key, 0, out);
    }
}

impl Model {
    /// All states of a file that begins with `base_bytes` bytes (1 MiB or more).
    pub(crate) fn new(seed: u64, base_bytes: u64) -> Model {
        Model { seed, base_bytes, page_bytes: rustix::param::page_size() as u64 }
    }

    /// The seed.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The length at first.
    pub(crate) fn base_bytes(&self) -> u64 {
        self.base_bytes
    }

    /// A number for a purpose, with the seed in it.
    fn draw(&self, purpose: u64, of: u64) -> u64 {
        mix(mix(self.seed, purpose), of)
    }

    /// The first state's bytes from `offset` on (a multiple of 8); zeros past its end.
    pub(crate) fn base(&self, offset: u64, out: &mut [u8]) {
        let key = self.draw(0, 0);
        let held = self.base_bytes.saturating_sub(offset).min(out.len() as u64) as usize;
        let (pattern, zeros) = out.split_at_mut(held);
        pattern::fill(key, offset, pattern);
        zeros.fill(0);
    }

    /// The file's length after commit `n`.
    pub(crate) fn len_after(&self, n: u64) -> u64 {
        let resized = n - n % RESIZE_EVERY;
        if resized == 0 {
            return self.base_bytes;
        }
        // A little above or below the first length, so that commits both grow and shrink the file; rarely on
        // a page boundary.
        let span = (self.base_bytes / 64).min(8 << 20);
        self.base_bytes - span / 2 + self.draw(1, resized) % span
    }

    /// The new length, if commit `n` sets one.
    pub(crate) fn resize(&self, n: u64) -> Option<u64> {
        n.is_multiple_of(RESIZE_EVERY).then(|| self.len_after(n))
    }

    /// The edits of commit `n`, in order.
    pub(crate) fn edits(&self, n: u64) -> impl Iterator<Item = Edit> + use<> {
        let model = *self;
        let len = self.len_after(n);
        let commit = self.draw(2, n);
        // Mostly few, sometimes many: 1 up to a power of two that is drawn first.
        let count = 1 + (commit >> 32) % (1 << (commit % (EDITS_MAX.ilog2() as u64 + 1)));
        (0..count).map(move |k| model.edit(commit, k, len))
    }

    fn edit(&self, commit: u64, k: u64, file_len: u64) -> Edit {
        let key = mix(commit, k);
        let (what, place) = (mix(key, 0), mix(key, 1));
        let len = EDIT_BYTES.start + what % (EDIT_BYTES.end - EDIT_BYTES.start);
        let page = self.draw(3, place % PAGES) % (self.base_bytes / self.page_bytes);
        let start = if k % ANYWHERE_EVERY == ANYWHERE_EVERY - 1 {
            place
        } else if what >> 62 == 0 {
            // One in four lies across a page boundary.
            (page * self.page_bytes).saturating_sub(len / 2)
        } else {
            page * self.page_bytes + (place >> 32) % (self.page_bytes - EDIT_BYTES.end)
        };
        // Inside the file as it is after this commit's resize.
        Edit { start: start % (file_len - len), len: len as usize, key: mix(key, 2) }
    }

    /// Takes a window of the file from commit `n - 1` to commit `n`. `window` holds the bytes from `offset`
    /// on, with zeros where the file had ended.
    pub(crate) fn advance(&self, n: u64, offset: u64, window: &mut [u8]) {
        if let Some(len) = self.resize(n) {
            // What is cut off reads as zeros if the file grows again.
            let kept = len.saturating_sub(offset).min(window.len() as u64) as usize;
            window[kept..].fill(0);
        }
        let end = offset + window.len() as u64;
        let mut bytes = [0; EDIT_BYTES.end as usize];
        for edit in self.edits(n) {
            let edit_end = edit.start + edit.len as u64;
            if edit.start >= end || edit_end <= offset {
                continue;
            }
            let bytes = &mut bytes[..edit.len];
            edit.fill(bytes);
            // The part of the edit that lies in the window. No overflow: all of it is within one edit or one
            // window.
            let from = edit.start.max(offset);
            let to = edit_end.min(end);
            window[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&bytes[(from - edit.start) as usize..(to - edit.start) as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 1 << 20;

    /// The plain way: one buffer for the whole file.
    fn naive(model: &Model, through: u64) -> Vec<u8> {
        let mut file = vec![0; LEN as usize];
        model.base(0, &mut file);
        for n in 1..=through {
            if let Some(len) = model.resize(n) {
                file.resize(len as usize, 0);
            }
            for edit in model.edits(n) {
                edit.fill(&mut file[edit.start as usize..][..edit.len]);
            }
        }
        file
    }

    #[test]
    fn windows_agree_with_the_whole() {
        let model = Model::new(7, LEN);
        let through = 5 * RESIZE_EVERY + 3;
        let whole = naive(&model, through);
        assert_eq!(whole.len() as u64, model.len_after(through));
        for (offset, len) in [(0, 100_000), (8, 5), (524_288, 300_000), (1_000_000, 100_000)] {
            let mut window = vec![1; len];
            model.base(offset, &mut window);
            for n in 1..=through {
                model.advance(n, offset, &mut window);
            }
            for (k, &byte) in window.iter().enumerate() {
                let expected = whole.get(offset as usize + k).copied().unwrap_or(0);
                assert_eq!(byte, expected, "offset {}", offset as usize + k);
            }
        }
    }

    #[test]
    fn commits_vary_and_stay_inside() {
        let model = Model::new(42, LEN);
        let (mut counts, mut lens, mut across, mut grown, mut cut) = (vec![], vec![], 0, 0, 0);
        for n in 1..5000 {
            let len = model.len_after(n);
            if let Some(new) = model.resize(n) {
                if new > model.len_after(n - 1) { grown += 1 } else { cut += 1 }
            }
            counts.push(model.edits(n).count());
            for edit in model.edits(n) {
                assert!(edit.start + edit.len as u64 <= len, "{n} {edit:?}");
                across += usize::from(edit.start / 4096 != (edit.start + edit.len as u64 - 1) / 4096);
                lens.push(edit.len);
            }
        }
        assert_eq!((counts.iter().min(), counts.iter().max()), (Some(&1), Some(&256)));
        assert_eq!((lens.iter().min(), lens.iter().max()), (Some(&8), Some(&300)));
        assert!(across > lens.len() / 8, "{across} of {}", lens.len());
        assert!(grown > 20 && cut > 20, "{grown} {cut}");
    }

    #[test]
    fn another_seed_is_another_file() {
        let (a, b) = (naive(&Model::new(1, LEN), 1), naive(&Model::new(2, LEN), 1));
        assert!(a.iter().zip(&b).filter(|(a, b)| a == b).count() < LEN as usize / 100);
    }
}
