//! What a commit has to record.
//!
//! Plainly: every byte of the working image that differs from the committed image. Two departures: where only declared
//! edits were made, those are taken as they are and nothing is searched; and where the kernel is asked, only pages that are
//! private copies are compared, since a page that was never stored to still *is* the committed image.

use std::ops::Range;

use super::AtomicMapping;
use crate::batch::Extent;
use crate::error::Result;
use crate::sys;

/// So many bytes are compared at once.
const COMPARE_BYTES: usize = 64 << 10;
/// An extent's length has 32 bits.
const EXTENT_BYTES_MAX: usize = 1 << 30;

/// The changed bytes, copied once: what is compared, recorded and folded in is one and the same copy.
#[derive(Debug, Default)]
pub(super) struct Capture {
    pub(super) extents: Vec<Extent>,
    pub(super) bytes: Vec<u8>,
    /// The runs of private pages that were found, if the kernel was asked.
    pub(super) private: Vec<Range<usize>>,
}

impl Capture {
    fn push(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.note(offset, bytes.len());
    }

    /// Records that the last `len` of `bytes` belong at `offset`.
    fn note(&mut self, offset: usize, len: usize) {
        if let Some(last) = self.extents.last_mut()
            && last.end() == offset as u64
            && last.len as usize + len <= EXTENT_BYTES_MAX
        {
            last.len += len as u32;
            return;
        }
        self.extents.push(Extent { offset: offset as u64, len: len as u32 });
    }
}

impl AtomicMapping {
    pub(super) fn capture(&mut self, search: bool) -> Result<Capture> {
        if search { self.capture_searched() } else { Ok(self.capture_declared()) }
    }

    fn capture_declared(&mut self) -> Capture {
        let mut capture = Capture::default();
        // Every range lay within the length when it was declared, and `resize` cut it to what is left.
        self.declared.sort_unstable_by_key(|range| range.start);
        let mut at = 0;
        for range in &self.declared {
            let end = range.end.min(self.len);
            let mut start = range.start.max(at);
            while start < end {
                let piece = start..end.min(start + EXTENT_BYTES_MAX);
                capture.push(piece.start, &self.working.bytes(self.len)[piece.clone()]);
                start = piece.end;
            }
            at = at.max(end);
        }
        self.working.note_private(
            capture.extents.iter().map(|extent| extent.len as usize).sum(),
            capture.extents.len(),
        );
        capture
    }

    fn capture_searched(&mut self) -> Result<Capture> {
        let page = sys::page_size();
        let mut capture = Capture { private: self.working.private_pages(self.len), ..Capture::default() };
        // At and beyond the smallest length the committed image counts as zeros.
        let base_end = self.len_min.min(self.store.committed_len() as usize);
        let mut committed = vec![0; COMPARE_BYTES.max(page)];
        for run in capture.private.clone() {
            let end = run.end.min(self.len);
            let mut start = run.start;
            while start < end {
                let piece = start..end.min(start + committed.len());
                let base = &mut committed[..piece.len()];
                let known = base_end.clamp(piece.start, piece.end) - piece.start;
                if known > 0 {
                    self.working.read_committed(&*self.store, &mut base[..known], piece.start)?;
                }
                base[known..].fill(0);
                // One copy, and only the copy is looked at from here on. Pages that are equal are taken out again.
                let mut kept = capture.bytes.len();
                capture.bytes.extend_from_slice(&self.working.bytes(self.len)[piece.clone()]);
                let copied = capture.bytes.len() - piece.len();
                let mut at = 0;
                while at < piece.len() {
                    let count = page.min(piece.len() - at);
                    let source = copied + at..copied + at + count;
                    if capture.bytes[source.clone()] != committed[at..at + count] {
                        capture.bytes.copy_within(source, kept);
                        kept += count;
                        capture.note(piece.start + at, count);
                    }
                    at += count;
                }
                capture.bytes.truncate(kept);
                start = piece.end;
            }
        }
        Ok(capture)
    }
}
