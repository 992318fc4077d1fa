//! Which pages of a private mapping are copies of this process's own.
//!
//! `/proc/self/pagemap` has one 64-bit word a page (linux: Documentation/admin-guide/mm/pagemap.rst): bit 63 present,
//! bit 62 swapped, bit 61 file page or shared anonymous. A page of a `MAP_PRIVATE` file mapping that is present and not
//! a file page, or swapped, was stored to: it is a copy. Anonymous zeros that were only read look the same, so a
//! caller compares before it believes. No privilege is needed for these bits.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE: u64 = 1 << 61;

/// Words read at once: one system call for 32 MiB of 4 KiB pages.
const WORDS: usize = 8192;

/// This process's page map.
#[derive(Debug)]
pub(crate) struct Pagemap(File);

impl Pagemap {
    pub(crate) fn open() -> io::Result<Pagemap> {
        Ok(Pagemap(File::open("/proc/self/pagemap")?))
    }

    /// The runs of private pages among `len` bytes at `address`, as page-aligned offsets from there, in order.
    pub(crate) fn private_pages(&self, address: usize, len: usize) -> io::Result<Vec<Range<usize>>> {
        let page = super::page_size();
        let first = address / page;
        let count = len.div_ceil(page);
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut bytes = vec![0; WORDS.min(count) * 8];
        let mut at = 0;
        while at < count {
            let batch = (count - at).min(WORDS);
            let buffer = &mut bytes[..batch * 8];
            self.0.read_exact_at(buffer, (first + at) as u64 * 8)?;
            for (index, word) in buffer.chunks_exact(8).enumerate() {
                let word = u64::from_ne_bytes([
                    word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7],
                ]);
                if word & SWAPPED == 0 && (word & PRESENT == 0 || word & FILE != 0) {
                    continue;
                }
                let start = (at + index) * page;
                match runs.last_mut() {
                    Some(last) if last.end == start => last.end += page,
                    _ => runs.push(start..start + page),
                }
            }
            at += batch;
        }
        Ok(runs)
    }
}
