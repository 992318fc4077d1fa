//! Which pages are in memory, as far as the kernel tells.

use std::ops::{Range, RangeBounds};
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{self, Access, AtFlags};

use super::file::MappedFile;
use super::{Kind, Mapping};
use crate::error::Result;
use crate::sys::page_size;
use crate::sys::residency::{CacheCounts, cache_counts};

/// overlayfs: its files' pages are cached under another file, and cachestat counts none.
const OVERLAYFS: u64 = 0x794c_7630;

/// What a page is, in memory.
///
/// See [`Mapping::residency`](crate::Mapping::residency) for an example.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageState {
    /// Not in memory: the next access reads the file.
    Absent,
    /// In memory; clean, unless the kernel cannot tell dirty from clean here ([`Residency::dirty`] is then `None`).
    Resident,
    /// In memory and not yet written to the file.
    Dirty,
    /// On its way to the device.
    WriteBack,
    /// The kernel does not tell.
    Unknown,
}

/// Neighbouring pages in the same state.
///
/// See [`Mapping::residency`](crate::Mapping::residency) for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidencySpan {
    /// Bytes of the mapping.
    pub range: Range<usize>,
    /// What all its pages are.
    pub state: PageState,
}

/// Which pages of a range are in memory: from [`Mapping::residency`], where an example stands.
///
/// A look at something that changes all the time. Numbers are of pages; `None` where the kernel does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residency {
    pages: usize,
    resident: Option<usize>,
    dirty: Option<usize>,
    write_back: Option<usize>,
    evicted: Option<usize>,
    recently_evicted: Option<usize>,
    spans: Vec<ResidencySpan>,
}

impl Residency {
    /// Pages in the range.
    ///
    /// See [`Mapping::residency`](crate::Mapping::residency) for an example.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Pages in memory.
    ///
    /// See [`Mapping::residency`](crate::Mapping::residency) for an example.
    #[must_use]
    pub fn resident(&self) -> Option<usize> {
        self.resident
    }

    /// Pages that are not yet written to the file.
    ///
    /// See [`Mapping::residency`](crate::Mapping::residency) for an example.
    #[must_use]
    pub fn dirty(&self) -> Option<usize> {
        self.dirty
    }

    /// Pages on their way to the device.
    ///
    /// See [`Mapping::residency`](crate::Mapping::residency) for an example.
    #[must_use]
    pub fn write_back(&self) -> Option<usize> {
        self.write_back
    }

    /// Pages that were in memory and are not any more, as far as the kernel remembers.
    ///
    /// See [`Mapping::residency`](crate::Mapping::residency) for an example.
    #[must_use]
    pub fn evicted(&self) -> Option<usize> {
        self.evicted
    }

    /// Of the evicted pages, those whose return would mean that memory is short.
    ///
    /// See [`Mapping::residency`](crate::Mapping::residency) for an example.
    #[must_use]
    pub fn recently_evicted(&self) -> Option<usize> {
        self.recently_evicted
    }

    /// The states of all pages of the range, in order, neighbours that agree as one.
    ///
    /// See [`Mapping::residency`](crate::Mapping::residency) for an example.
    #[must_use]
    pub fn spans(&self) -> &[ResidencySpan] {
        &self.spans
    }

    /// The first pages that are in memory, or may be.
    pub(super) fn first_not_absent(&self) -> Option<&ResidencySpan> {
        self.spans.iter().find(|span| span.state != PageState::Absent)
    }

    fn unknown(pages: usize) -> Residency {
        Residency {
            pages,
            resident: None,
            dirty: None,
            write_back: None,
            evicted: None,
            recently_evicted: None,
            spans: Vec::new(),
        }
    }

    fn push(&mut self, range: Range<usize>, state: PageState) {
        match self.spans.last_mut() {
            Some(last) if last.state == state => last.range.end = range.end,
            _ if range.is_empty() => {}
            _ => self.spans.push(ResidencySpan { range, state }),
        }
    }
}

impl Mapping {
    /// Which pages of `range`, rounded outwards, are in memory, dirty, or being written.
    ///
    /// From cachestat(2) (Linux 6.5) by bisection: a range that is uniform costs one call. Before that, and for memory that
    /// is not the page cache's, from mincore(2), which does not tell dirty from clean. Where the kernel tells neither (a file
    /// that this process neither owns nor may write), pages are [`PageState::Unknown`].
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::ErrorKind::OutOfRange).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// let map = steadfast::Mapping::options().write(true).create(true).len(1 << 20).open(&path)?;
    /// map.write_at(0, b"dirty")?;
    /// let residency = map.residency(..)?;
    /// if let (Some(resident), Some(dirty)) = (residency.resident(), residency.dirty()) {
    ///     println!("{resident} of {} pages in memory, {dirty} dirty", residency.pages());
    /// }
    /// for span in residency.spans() {
    ///     println!("{:?} {:?}", span.range, span.state);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn residency(&self, range: impl RangeBounds<usize>) -> Result<Residency> {
        let range = self.resolve("residency", &range)?;
        Ok(self.look_at(&self.placed.pages(&range)))
    }

    /// The residency of these pages of the region, which lie within the mapping's.
    pub(super) fn look_at(&self, pages: &Range<usize>) -> Residency {
        if pages.is_empty() {
            return Residency {
                resident: Some(0),
                dirty: Some(0),
                write_back: Some(0),
                evicted: Some(0),
                recently_evicted: Some(0),
                ..Residency::unknown(0)
            };
        }
        if let (Kind::Shared, Some(file)) = (self.placed.kind, &self.file)
            && !is_overlay(file)
            && let Some(residency) = self.look_by_cachestat(file, pages)
        {
            return residency;
        }
        if self.file.as_ref().is_none_or(|file| tells_the_truth(file))
            && let Ok(in_memory) = self.placed.region.pages_in_memory(pages.clone())
        {
            return self.residency_of(pages, &in_memory);
        }
        let mut residency = Residency::unknown(pages.len() / page_size());
        residency.push(self.placed.bytes_of(pages), PageState::Unknown);
        residency
    }

    /// `None` if the kernel does not have the call or does not tell us.
    fn look_by_cachestat(&self, file: &MappedFile, pages: &Range<usize>) -> Option<Residency> {
        let count = |pages: &Range<usize>| cache_counts(file.fd.as_fd(), self.placed.in_file(pages)).ok();
        let total = count(pages)?;
        let mut residency = Residency {
            resident: Some(total.cached as usize),
            dirty: Some(total.dirty as usize),
            write_back: Some(total.write_back as usize),
            evicted: Some(total.evicted as usize),
            recently_evicted: Some(total.recently_evicted as usize),
            ..Residency::unknown(pages.len() / page_size())
        };
        // Depth first, so that spans come in order. What waits is never more than the logarithm of the pages.
        let mut waiting = vec![(pages.clone(), Some(total))];
        while let Some((part, counts)) = waiting.pop() {
            let counts = counts.or_else(|| count(&part))?;
            match uniform_state(&counts, part.len() / page_size()) {
                Some(state) => residency.push(self.placed.bytes_of(&part), state),
                None => {
                    let half = part.len() / page_size() / 2 * page_size();
                    let middle = part.start + half;
                    waiting.push((middle..part.end, None));
                    waiting.push((part.start..middle, None));
                }
            }
        }
        Some(residency)
    }

    fn residency_of(&self, pages: &Range<usize>, in_memory: &[bool]) -> Residency {
        let mut residency = Residency::unknown(in_memory.len());
        residency.resident = Some(in_memory.iter().filter(|&&resident| resident).count());
        for (index, &resident) in in_memory.iter().enumerate() {
            let at = pages.start + index * page_size();
            let state = if resident { PageState::Resident } else { PageState::Absent };
            residency.push(self.placed.bytes_of(&(at..at + page_size())), state);
        }
        residency
    }
}

/// The state of all pages of a part, if they agree. A single page always does.
fn uniform_state(counts: &CacheCounts, pages: usize) -> Option<PageState> {
    let pages = pages as u64;
    let CacheCounts { cached, dirty, write_back, .. } = *counts;
    if cached == 0 {
        return Some(PageState::Absent);
    }
    if cached < pages {
        return None;
    }
    match (dirty, write_back) {
        (0, 0) => Some(PageState::Resident),
        // Stored to again while it is being written: what matters is that it must be written again.
        (dirty, _) if dirty >= pages => Some(PageState::Dirty),
        (0, write_back) if write_back >= pages => Some(PageState::WriteBack),
        _ if pages == 1 => Some(PageState::WriteBack),
        _ => None,
    }
}

fn is_overlay(file: &MappedFile) -> bool {
    fs::fstatfs(&file.fd).is_ok_and(|stat| stat.f_type as u64 == OVERLAYFS)
}

/// Whether mincore answers this process with the truth: the rule of the kernel (mm/mincore.c, can_do_mincore), on the safe
/// side.
fn tells_the_truth(file: &MappedFile) -> bool {
    if file.writable
        || fs::fstat(&file.fd).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw())
    {
        return true;
    }
    let path = format!("/proc/self/fd/{}", file.fd.as_raw_fd());
    fs::accessat(fs::CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_has_one_state() {
        let counts =
            |cached, dirty, write_back| CacheCounts { cached, dirty, write_back, ..CacheCounts::default() };
        assert_eq!(uniform_state(&counts(0, 0, 0), 1), Some(PageState::Absent));
        assert_eq!(uniform_state(&counts(1, 0, 0), 1), Some(PageState::Resident));
        assert_eq!(uniform_state(&counts(1, 1, 0), 1), Some(PageState::Dirty));
        assert_eq!(uniform_state(&counts(1, 0, 1), 1), Some(PageState::WriteBack));
        assert_eq!(uniform_state(&counts(1, 1, 1), 1), Some(PageState::Dirty));
        for mixed in [counts(1, 0, 0), counts(2, 1, 0), counts(2, 0, 1), counts(2, 1, 1)] {
            assert_eq!(uniform_state(&mixed, 2), None);
        }
        assert_eq!(uniform_state(&counts(0, 0, 0), 2), Some(PageState::Absent));
    }
}
