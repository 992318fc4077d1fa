//! Where a mapping lies: its addresses, and how its bytes, its pages and the file's bytes belong together.
//!
//! ```text
//!  file     |          offset                    offset + len     |
//!           |  .  .  .  |bytes of the mapping ........|  .  .  .  |
//!  region      |  lead  |                             |  |   reserve   |
//!              ^ page boundary          page boundary ^--^
//! ```
//!
//! An offset that is not on a page boundary leaves `lead` bytes before the mapping's first one.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::mm::{MapFlags, ProtFlags};

use super::{Kind, MappingOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::range;
use crate::sys::page_size;
use crate::sys::region::{Region, RegionOptions};

/// Addresses with a mapping in them.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) region: Region,
    /// Bytes of the first page before the mapping's first byte.
    pub(super) lead: usize,
    pub(super) len: usize,
    pub(super) kind: Kind,
    pub(super) writable: bool,
    /// The file's byte that the region's first address shows.
    start_in_file: u64,
}

impl Placed {
    pub(super) fn new(
        options: &MappingOptions,
        kind: Kind,
        len: usize,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Placed> {
        let lead = (options.offset % page_size() as u64) as usize;
        let mut placed = Placed {
            region: reserve("open", lead, len.max(options.reserve), options.region())?,
            lead,
            len,
            kind,
            writable: options.write || kind == Kind::Anonymous,
            start_in_file: options.offset - lead as u64,
        };
        placed.place("open", 0..placed.end(), fd, options.populate)?;
        Ok(placed)
    }

    /// The same mapping with room for `len` bytes, elsewhere.
    pub(super) fn elsewhere(&self, len: usize, fd: Option<BorrowedFd<'_>>) -> Result<Placed> {
        let region = reserve("resize", self.lead, len, self.region.options())?;
        let mut placed = Placed { region, len, ..*self };
        placed.place("resize", 0..placed.end(), fd, false)?;
        Ok(placed)
    }

    /// Maps what belongs at `bytes` of the region.
    pub(super) fn place(
        &mut self,
        operation: &'static str,
        bytes: Range<usize>,
        fd: Option<BorrowedFd<'_>>,
        populate: bool,
    ) -> Result<()> {
        let mut access = ProtFlags::READ;
        access.set(ProtFlags::WRITE, self.writable);
        let mut flags = if self.kind == Kind::Shared { MapFlags::SHARED } else { MapFlags::PRIVATE };
        flags.set(MapFlags::POPULATE, populate);
        let result = match fd {
            Some(fd) => {
                let at = self.start_in_file + bytes.start as u64;
                self.region.place_file(bytes.clone(), fd, at, access, flags)
            }
            None => self.region.place_anonymous(bytes.clone(), access, flags),
        };
        result.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOMEM) => no_room(operation, Error::from_io(operation, error), bytes.len()),
            Some(libc::ENODEV) => {
                Error::new(ErrorKind::Unsupported, operation, "the file system cannot map files into memory")
                    .source_io(error)
            }
            _ => Error::from_io(operation, error),
        })
    }

    /// The end of the pages that the mapping has, in the region.
    pub(super) fn end(&self) -> usize {
        // Fits: the region, which is page-aligned, is at least as long as lead + len.
        range::page_ceil(self.lead + self.len, page_size()).unwrap_or(usize::MAX)
    }

    /// All pages that the bytes `range` of the mapping touch, in the region.
    pub(super) fn pages(&self, range: &Range<usize>) -> Range<usize> {
        let bytes = self.lead + range.start..self.lead + range.end;
        // Fits, as `end` does.
        range::pages_outward(&bytes, page_size()).unwrap_or(0..0)
    }

    /// The pages that lie wholly within the bytes `range` of the mapping.
    pub(super) fn pages_within(&self, range: &Range<usize>) -> Range<usize> {
        range::pages_inward(&(self.lead + range.start..self.lead + range.end), page_size())
    }

    /// The bytes of the mapping in these bytes of the region.
    pub(super) fn bytes_of(&self, pages: &Range<usize>) -> Range<usize> {
        let clip = |at: usize| at.saturating_sub(self.lead).min(self.len);
        clip(pages.start)..clip(pages.end)
    }

    /// The bytes of the file that these bytes of the region show.
    pub(super) fn in_file(&self, pages: &Range<usize>) -> Range<u64> {
        self.start_in_file + pages.start as u64..self.start_in_file + pages.end as u64
    }

    /// Where the mapping's last byte ends in the file.
    pub(super) fn end_in_file(&self) -> u64 {
        self.start_in_file + (self.lead + self.len) as u64
    }

    /// Where the mapping's first byte lies in the file.
    pub(super) fn offset(&self) -> u64 {
        self.start_in_file + self.lead as u64
    }
}

/// Addresses for `len` bytes behind `lead` others.
fn reserve(operation: &'static str, lead: usize, len: usize, options: RegionOptions) -> Result<Region> {
    let room = lead.checked_add(len).ok_or_else(|| {
        let message = format!("{len} bytes do not fit into the address space");
        Error::new(ErrorKind::InvalidInput, operation, message)
    })?;
    Region::reserve_as(room, options)
        .map_err(|error| no_room(operation, Error::from_io(operation, error), room))
}

fn no_room(operation: &'static str, error: Error, len: usize) -> Error {
    error
        .become_kind(ErrorKind::LimitExceeded, operation, &format!("there is no room for {len} bytes"))
        .advice(
            "check the limits on address space (`ulimit -v`), on mappings (vm.max_map_count) and on memory",
        )
}
