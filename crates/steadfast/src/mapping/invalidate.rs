//! Dropping cached pages, so that the next access reads what is on disk.

use std::num::NonZeroU64;
use std::ops::{Range, RangeBounds};

use rustix::fs;

use super::{Advice, Mapping};
use crate::error::{ErrorKind, Result};
use crate::residency::PageState;

/// The page cache keeps neighbouring pages in units of up to this size: one that straddles the range's edge goes only
/// as a whole.
const UNIT_BYTES: usize = 2 << 20;

/// File systems whose disk *is* the page cache: tmpfs, ramfs, hugetlbfs (linux/magic.h).
const MEMORY: [u64; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];

const OPERATION: &str = "invalidate";

impl Mapping {
    /// Writes the pages of `range`, rounded outwards, back and drops them from memory: the next access reads what is on disk,
    /// whoever put it there.
    ///
    /// POSIX has `MS_INVALIDATE` for this, which on Linux does nothing of the kind. The kernel keeps pages that another process
    /// has mapped, or that are locked, without saying so; so this call looks afterwards. Pages up to 2 MiB around the range
    /// may be written and dropped with it.
    ///
    /// # Errors
    ///
    /// - [`Busy`](ErrorKind::Busy): pages are still in memory; the error's range is the first run of them. Another process
    ///   maps or locks them, or read them again meanwhile.
    /// - [`Unsupported`](ErrorKind::Unsupported): the kernel does not tell whether the pages are gone.
    /// - [`InvalidInput`](ErrorKind::InvalidInput): private or anonymous memory.
    /// - Those of [`sync`](Self::sync); then nothing was dropped.
    ///
    /// ```no_run
    /// # fn main() -> steadfast::Result<()> {
    /// let mut map = steadfast::Mapping::options().write(true).open("/mnt/shared-disk/data.bin")?;
    /// // … another machine writes the disk under us …
    /// map.invalidate(..)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn invalidate(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        let range = self.resolve(OPERATION, &range)?;
        self.sync_for(OPERATION, range.clone())?;
        let pages = self.placed.pages(&range);
        if pages.is_empty() || self.is_memory() {
            return Ok(());
        }
        self.drop_pages(&range, &pages)?;
        if self.look_at(&pages).first_not_absent().is_none() {
            return Ok(());
        }
        let wide = self.surroundings(&pages);
        self.sync_for(OPERATION, self.placed.bytes_of(&wide))?;
        self.drop_pages(&range, &wide)?;
        let residency = self.look_at(&pages);
        let Some(first) = residency.first_not_absent() else { return Ok(()) };
        let error = match (first.state, residency.resident()) {
            (PageState::Unknown, _) | (_, None) => self
                .error(
                    ErrorKind::Unsupported,
                    OPERATION,
                    &first.range,
                    "the kernel does not tell whether they are gone",
                )
                .advice("use a kernel with cachestat (Linux 6.5), or own the file"),
            (_, Some(count)) => self
                .error(
                    ErrorKind::Busy,
                    OPERATION,
                    &first.range,
                    format!(
                        "{count} of {} pages are still in memory: another process maps or locks them",
                        residency.pages()
                    ),
                )
                .advice("unmap them there first"),
        };
        Err(error)
    }

    /// Takes clean pages out of our page tables, then out of the page cache, which keeps what is mapped.
    fn drop_pages(&mut self, range: &Range<usize>, pages: &Range<usize>) -> Result<()> {
        if let Err(error) = self.placed.region.advise(pages.clone(), Advice::DontNeed) {
            // The one cause that Linux has for this here.
            if error.raw_os_error() == Some(libc::EINVAL) {
                return Err(self
                    .error(ErrorKind::Busy, OPERATION, range, "pages are locked in memory by this mapping")
                    .source_io(error)
                    .advice("unlock them first"));
            }
            return Err(self.os_error(OPERATION, range, error));
        }
        let Some(fd) = self.fd() else { return Ok(()) };
        let in_file = self.placed.in_file(pages);
        let Some(len) = NonZeroU64::new(in_file.end - in_file.start) else { return Ok(()) };
        fs::fadvise(fd, in_file.start, Some(len), fs::Advice::DontNeed)
            .map_err(|error| self.os_error(OPERATION, range, error.into()))
    }

    /// The pages widened to whole units of the file, within the mapping.
    fn surroundings(&self, pages: &Range<usize>) -> Range<usize> {
        let unit = UNIT_BYTES as u64;
        let in_file = self.placed.in_file(pages);
        let before = (in_file.start % unit) as usize;
        let after = (in_file.end.next_multiple_of(unit) - in_file.end) as usize;
        pages.start.saturating_sub(before)..pages.end.saturating_add(after).min(self.placed.end())
    }

    fn is_memory(&self) -> bool {
        self.fd().is_some_and(|fd| fs::fstatfs(fd).is_ok_and(|stat| MEMORY.contains(&(stat.f_type as u64))))
    }
}
