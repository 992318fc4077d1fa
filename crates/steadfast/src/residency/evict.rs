//! Out of memory, and the truth about what stayed.

use std::ops::RangeBounds;

use rustix::fs;

use super::{CachedFile, Counts};
use crate::error::{Error, Result};

/// What became of an eviction: from [`CachedFile::evict`], where an example stands.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// The range before.
    pub before: Counts,
    /// And after.
    pub after: Counts,
}

impl Evicted {
    /// Pages that went.
    ///
    /// See [`CachedFile::evict`] for an example.
    #[must_use]
    pub fn pages(&self) -> Option<u64> {
        Some(self.before.resident?.saturating_sub(self.after.resident?))
    }

    /// Pages that stayed because they are not written yet, or are being written.
    ///
    /// See [`CachedFile::evict`] for an example.
    #[must_use]
    pub fn still_dirty(&self) -> Option<u64> {
        Some(self.after.dirty? + self.after.write_back?)
    }

    /// Pages that stayed although they are clean: mapped or locked by a process, read again meanwhile, or parts of a unit of pages that
    /// straddles the range's edge.
    ///
    /// See [`CachedFile::evict`] for an example.
    #[must_use]
    pub fn in_use(&self) -> Option<u64> {
        Some(self.after.resident?.saturating_sub(self.still_dirty()?))
    }
}

impl CachedFile {
    /// Lets go of the pages of `range`, rounded outwards. With `sync` what is dirty is written back first; without it stays. Says what
    /// stayed: the kernel keeps pages that somebody has mapped or locked, and reports success.
    ///
    /// posix_fadvise(2), `POSIX_FADV_DONTNEED`. No byte of the file changes.
    ///
    /// # Errors
    ///
    /// Those of fdatasync(2), with `sync`; then nothing was evicted.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// # std::fs::write(&path, [1; 10_000])?;
    /// let evicted = steadfast::residency::CachedFile::open(&path)?.evict(.., true)?;
    /// if let (Some(went), Some(in_use)) = (evicted.pages(), evicted.in_use()) {
    ///     println!("{went} pages went, {in_use} are in use");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn evict(&self, range: impl RangeBounds<u64>, sync: bool) -> Result<Evicted> {
        let range = self.pages_of(&range)?;
        let before = self.count(&range);
        if sync && let Some(fd) = self.descriptor() {
            // All of the file: pages of units that straddle the edge are among them.
            fs::fdatasync(fd).map_err(|error| Error::from_io("sync", error.into()).path(self.path()))?;
        }
        self.advise(&range, fs::Advice::DontNeed)?;
        Ok(Evicted { before, after: self.count(&range) })
    }
}
