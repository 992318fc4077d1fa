//! Into memory: what is absent is read, what is a hole is left.

use std::ops::{Range, RangeBounds};
use std::os::fd::BorrowedFd;

use rustix::fs::{self, SeekFrom};

use super::bisect::PageState;
use super::{CachedFile, Counts};
use crate::error::{Error, Result};
use crate::sys::page_size;

/// So much is read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Where a warming stands; what its caller is asked with, and decides by.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warming {
    /// Bytes read so far.
    pub read_bytes: u64,
    /// Bytes that were absent when it began, holes left out.
    pub absent_bytes: u64,
}

/// What a warming did: from [`CachedFile::warm`], where an example stands.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warmed {
    /// The range before.
    pub before: Counts,
    /// And after.
    pub after: Counts,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Was it done to the end?
    pub is_complete: bool,
}

impl CachedFile {
    /// Parts of `range`, whole pages, that are no holes. Where the file system knows of no holes, all of it.
    ///
    /// See [`warm`](Self::warm) for an example.
    ///
    /// # Errors
    ///
    /// As [`counts`](Self::counts).
    pub fn data(&self, range: impl RangeBounds<u64>) -> Result<Vec<Range<u64>>> {
        let range = self.pages_of(&range)?;
        Ok(self.descriptor().map(|fd| data_within(fd, &range)).unwrap_or_default())
    }

    /// Parts of `range`, whole pages, that [`warm`](Self::warm) would read: absent, and no holes.
    ///
    /// See [`warm`](Self::warm) for an example.
    ///
    /// # Errors
    ///
    /// As [`counts`](Self::counts).
    pub fn absent(&self, range: impl RangeBounds<u64>) -> Result<Vec<Range<u64>>> {
        let mut absent = Vec::new();
        for data in self.data(range)? {
            for span in self.spans_of(&data) {
                if matches!(span.state, PageState::Absent | PageState::Unknown) {
                    absent.push(span.range);
                }
            }
        }
        Ok(absent)
    }

    /// Reads what is absent of `range` into memory. Holes are left out: a sparse file would fill memory with zeros. After each piece
    /// `go_on` is asked, and may end it (or wait, to be slow on purpose).
    ///
    /// # Errors
    ///
    /// Those of pread(2); what was read before stays in memory.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// # std::fs::write(&path, [1; 10_000])?;
    /// let file = steadfast::residency::CachedFile::open(&path)?;
    /// let warmed = file.warm(.., |at| at.read_bytes < 1 << 30)?;
    /// println!("{} bytes were read", warmed.read_bytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn warm(
        &self,
        range: impl RangeBounds<u64>,
        mut go_on: impl FnMut(Warming) -> bool,
    ) -> Result<Warmed> {
        let range = self.pages_of(&range)?;
        let before = self.count(&range);
        let absent = self.absent(range.clone())?;
        let absent_bytes = absent.iter().map(|part| part.end - part.start).sum();
        let mut read_bytes = 0;
        let mut is_complete = true;
        'parts: for part in absent {
            let mut at = part.start;
            while at < part.end {
                let end = part.end.min(at + PIECE_BYTES);
                self.read_in(at..end)?;
                read_bytes += end - at;
                at = end;
                if !go_on(Warming { read_bytes, absent_bytes }) {
                    is_complete = read_bytes >= absent_bytes;
                    break 'parts;
                }
            }
        }
        Ok(Warmed { before, after: self.count(&range), read_bytes, is_complete })
    }

    /// Has the kernel begin to read `range`, rounded outwards, and returns at once. A hint: it may read less.
    ///
    /// See [`warm`](Self::warm) for an example.
    ///
    /// # Errors
    ///
    /// As [`counts`](Self::counts).
    pub fn will_need(&self, range: impl RangeBounds<u64>) -> Result<()> {
        for part in self.absent(range)? {
            let mut at = part.start;
            while at < part.end {
                let end = part.end.min(at + PIECE_BYTES);
                self.advise(&(at..end), fs::Advice::WillNeed)?;
                at = end;
            }
        }
        Ok(())
    }

    /// These bytes are in memory on return, for as long as the kernel keeps them. At most a megabyte.
    ///
    /// See [`warm`](Self::warm) for an example; this is for those who share the [absent](Self::absent) parts among threads.
    ///
    /// # Errors
    ///
    /// Those of pread(2).
    pub fn read_in(&self, bytes: Range<u64>) -> Result<()> {
        let Some(fd) = self.descriptor() else { return Ok(()) };
        // A hint first: the whole piece is one request to the device.
        self.advise(&bytes, fs::Advice::WillNeed)?;
        let page = page_size() as u64;
        let mut at = bytes.start;
        // One byte of a page is enough: the kernel reads pages.
        while at < bytes.end {
            let mut byte = [0];
            match rustix::io::pread(fd, &mut byte, at) {
                Ok(0) => break,
                Ok(_) => at += page,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(Error::from_io("read", error.into()).path(self.path()).range(at..at + page));
                }
            }
        }
        Ok(())
    }
}

/// What is no hole, in whole pages.
fn data_within(fd: BorrowedFd<'_>, range: &Range<u64>) -> Vec<Range<u64>> {
    let page = page_size() as u64;
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let start = match fs::seek(fd, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => {
                found.push(at..range.end);
                break;
            }
        };
        let end = fs::seek(fd, SeekFrom::Hole(start)).unwrap_or(range.end);
        let data = start / page * page..end.next_multiple_of(page).min(range.end);
        if data.start >= range.end {
            break;
        }
        match found.last_mut() {
            Some(last) if last.end >= data.start => last.end = last.end.max(data.end),
            _ => found.push(data.clone()),
        }
        at = data.end.max(at + page);
    }
    found
}
