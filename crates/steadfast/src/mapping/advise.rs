//! What the kernel should know about coming accesses.

use std::ops::{Range, RangeBounds};
use std::sync::atomic::Ordering;

use rustix::fs;

use super::Mapping;
use crate::error::{ErrorKind, Result};
use crate::sys::advise::{Advice, UncheckedAdvice};

/// Advice about the file's pages in the page cache, whoever maps them: posix_fadvise(2).
///
/// Given with [`Mapping::advise_file`], where an example stands.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileAdvice {
    /// No special treatment.
    Normal,
    /// Read twice as far ahead. For the whole file, whatever the range.
    Sequential,
    /// Read nothing ahead. For the whole file, whatever the range.
    Random,
    /// Start reading the range now.
    WillNeed,
    /// Drop the clean pages of the range that nobody maps. [`Mapping::invalidate`] does it and looks.
    DontNeed,
    /// The range is used once.
    NoReuse,
}

impl Mapping {
    /// Gives advice about the pages of `range`, rounded outwards: madvise(2). Only advice that changes no content.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](ErrorKind::OutOfRange): the range leaves the mapping. [`InvalidInput`](ErrorKind::InvalidInput):
    /// [`Advice::DontNeed`] for memory that the page cache does not keep, or advice that the kernel does not know or does not
    /// have for this kind of mapping. [`Forked`](ErrorKind::Forked): in a child, [`Advice::DontFork`], and all advice once pages were
    /// kept from children. Otherwise as the errno says.
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// use steadfast::{Advice, Mapping};
    ///
    /// let map = Mapping::options().len(1 << 20).anonymous()?;
    /// map.advise(.., Advice::Random)?;
    /// assert!(map.advise(..=1 << 20, Advice::Random).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn advise(&self, range: impl RangeBounds<usize>, advice: Advice) -> Result<()> {
        let operation = "advise";
        self.refuse_without_pages(operation)?;
        if advice == Advice::DontFork {
            // Whose children they are kept from is known for one process only.
            self.refuse_in_child(operation)?;
            self.kept_from_children.store(true, Ordering::Relaxed);
            self.placed.region.note_kept_from_children();
        }
        let range = self.resolve(operation, &range)?;
        if advice == Advice::DontNeed && !self.is_shared() {
            return Err(self
                .error(
                    ErrorKind::InvalidInput,
                    operation,
                    &range,
                    "dropping pages of private memory loses what was stored there",
                )
                .advice("if that is meant, use `advise_unchecked`"));
        }
        let pages = self.placed.pages(&range);
        self.placed.region.advise(pages, advice).map_err(|error| self.advice_error(operation, &range, error))
    }

    /// Gives advice that can change content, about the pages that lie wholly within `range`: madvise(2).
    ///
    /// Inwards, unlike everywhere else: what is not named is not lost. A part of a page at either end stays as it is.
    ///
    /// # Safety
    ///
    /// The loss of the pages' content is meant, with [`UncheckedAdvice::Remove`] in the file too, and for every process that
    /// maps it. After [`UncheckedAdvice::Free`] the content may go at any later moment, under a slice too: none is made of these
    /// pages until they were stored to again. After [`UncheckedAdvice::GuardInstall`] and [`UncheckedAdvice::HwPoison`] plain accesses
    /// raise signals.
    ///
    /// # Errors
    ///
    /// As for [`advise`](Self::advise).
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// let mut map = steadfast::Mapping::options().len(1 << 20).anonymous()?;
    /// map.write_at(0, b"gone")?;
    /// // SAFETY: zeros are what is wanted.
    /// unsafe { map.advise_unchecked(.., steadfast::UncheckedAdvice::DontNeed)? };
    /// assert_eq!(map.read_value::<u32>(0)?, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[allow(unsafe_code)]
    pub unsafe fn advise_unchecked(
        &mut self,
        range: impl RangeBounds<usize>,
        advice: UncheckedAdvice,
    ) -> Result<()> {
        let operation = "advise";
        self.refuse_without_pages(operation)?;
        let range = self.resolve(operation, &range)?;
        let pages = self.placed.pages_within(&range);
        // SAFETY: `&mut self` says that no reference lives; that the loss is meant is our caller's promise.
        let result = unsafe { self.placed.region.advise_unchecked(pages, advice) };
        result.map_err(|error| self.advice_error(operation, &range, error))
    }

    /// Gives advice about the file's bytes under `range`: posix_fadvise(2). Nothing for anonymous memory.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](ErrorKind::OutOfRange), and what the kernel refuses.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// use steadfast::{FileAdvice, Mapping};
    ///
    /// let map = Mapping::options().write(true).create(true).len(1 << 20).open(&path)?;
    /// map.advise_file(.., FileAdvice::Sequential)?;
    /// map.readahead(..4096)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn advise_file(&self, range: impl RangeBounds<usize>, advice: FileAdvice) -> Result<()> {
        let operation = "advise";
        let range = self.resolve(operation, &range)?;
        self.fadvise(operation, &range, advice)
    }

    /// Starts reading the file's bytes under `range` into memory, and does not wait for them.
    ///
    /// # Errors
    ///
    /// As for [`advise_file`](Self::advise_file), where an example stands.
    pub fn readahead(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let operation = "read ahead";
        let range = self.resolve(operation, &range)?;
        self.fadvise(operation, &range, FileAdvice::WillNeed)
    }

    fn fadvise(&self, operation: &'static str, range: &Range<usize>, advice: FileAdvice) -> Result<()> {
        let Some(fd) = self.fd() else { return Ok(()) };
        let start = self.placed.offset() + range.start as u64;
        // To the kernel no length means "to the end of the file".
        let Some(len) = std::num::NonZeroU64::new(range.len() as u64) else { return Ok(()) };
        let advice = match advice {
            FileAdvice::Normal => fs::Advice::Normal,
            FileAdvice::Sequential => fs::Advice::Sequential,
            FileAdvice::Random => fs::Advice::Random,
            FileAdvice::WillNeed => fs::Advice::WillNeed,
            FileAdvice::DontNeed => fs::Advice::DontNeed,
            FileAdvice::NoReuse => fs::Advice::NoReuse,
        };
        fs::fadvise(fd, start, Some(len), advice)
            .map_err(|error| self.os_error(operation, range, error.into()))
    }

    fn advice_error(
        &self,
        operation: &'static str,
        range: &Range<usize>,
        error: std::io::Error,
    ) -> crate::Error {
        let errno = error.raw_os_error();
        let error = self.os_error(operation, range, error);
        match errno {
            Some(libc::EINVAL) => error.advice(
                "the kernel does not know this advice, or not for this kind of mapping or locked pages",
            ),
            _ => error,
        }
    }
}
