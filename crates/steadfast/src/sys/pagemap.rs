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

use super::write_protect;
use crate::descriptors::opened;

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
        Ok(Pagemap(opened(File::open("/proc/self/pagemap")?)))
    }

    /// The runs of private pages among `len` bytes at `address`, as page-aligned offsets from there, in order.
    pub(crate) fn private_pages(&self, address: usize, len: usize) -> io::Result<Vec<Range<usize>>> {
        let page = super::page_size();
        // Since Linux 6.7 the kernel looks for them itself, and does not even look where nothing was ever mapped.
        let mut runs: Vec<Range<usize>> = Vec::new();
        let found = |run: Range<usize>| {
            let run = run.start - address..run.end - address;
            match runs.last_mut() {
                Some(last) if last.end == run.start => last.end = run.end,
                _ => runs.push(run),
            }
        };
        let memory = address..address + len.next_multiple_of(page);
        match write_protect::private_pages(&self.0, memory, found) {
            Ok(()) => Ok(runs),
            Err(_) => self.read(address, len),
        }
    }

    /// One word a page, on any kernel.
    fn read(&self, address: usize, len: usize) -> io::Result<Vec<Range<usize>>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::region::Region;
    use rustix::mm::{MapFlags, ProtFlags};
    use std::os::fd::AsFd;

    #[test]
    #[allow(unsafe_code)]
    fn both_ways_find_the_private_pages() {
        let page = crate::sys::page_size();
        let memory = File::from(crate::sys::memfd::create("test").unwrap());
        memory.write_all_at(&vec![1; 32 * page], 0).unwrap();
        let mut region = Region::reserve(64 * page).unwrap();
        let stores = ProtFlags::READ | ProtFlags::WRITE;
        region.place_file(0..32 * page, memory.as_fd(), 0, stores, MapFlags::PRIVATE).unwrap();
        region.place_anonymous(32 * page..64 * page, stores, MapFlags::PRIVATE).unwrap();
        for at in [0, 1, 5, 31, 32, 40] {
            // SAFETY: the test placed writable memory there and holds no reference to it.
            unsafe { region.as_ptr().wrapping_add(at * page).write_volatile(1) };
        }
        // Read only: not private.
        // SAFETY: the test placed readable memory there.
        unsafe { region.as_ptr().wrapping_add(7 * page).read_volatile() };
        let pagemap = Pagemap::open().unwrap();
        let want: Vec<_> = [(0, 2), (5, 6), (31, 33), (40, 41)].map(|(a, b)| a * page..b * page).to_vec();
        let address = region.as_ptr() as usize;
        assert_eq!(pagemap.read(address, 64 * page).unwrap(), want);
        assert_eq!(pagemap.private_pages(address, 64 * page).unwrap(), want);
    }
}
