//! Which pages are in memory, as far as the kernel tells.

use std::ops::{Range, RangeBounds};
use std::os::fd::AsFd;

use super::file::MappedFile;
use super::{Kind, Mapping};
use crate::error::Result;
use crate::residency::{PageState, is_overlay, spans_between, tells_mincore_the_truth};
use crate::sys::page_size;
use crate::sys::residency::cache_counts;

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
            && !is_overlay(&file.fd)
            && let Some(residency) = self.look_by_cachestat(file, pages)
        {
            return residency;
        }
        if self.file.as_ref().is_none_or(|file| tells_mincore_the_truth(&file.fd))
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
        let of_region = |part: &Range<u64>| part.start as usize..part.end as usize;
        spans_between(
            pages.start as u64..pages.end as u64,
            total,
            |part| count(&of_region(part)),
            |part, state| residency.push(self.placed.bytes_of(&of_region(&part)), state),
        )?;
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
