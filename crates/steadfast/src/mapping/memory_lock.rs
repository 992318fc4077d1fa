//! Pages that stay in memory.

use std::io;
use std::ops::{Range, RangeBounds};

use rustix::process::{Resource, getrlimit};

use super::Mapping;
use crate::error::{ErrorKind, Result};

impl Mapping {
    /// Brings the pages of `range`, rounded outwards, into memory and keeps them there until [`unlock`](Self::unlock), a
    /// [`resize`](Self::resize) that moves the mapping, or its end: mlock(2).
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded): the process may not lock as much; the message gives RLIMIT_MEMLOCK in
    /// bytes. [`Truncated`](ErrorKind::Truncated): the file has become shorter. [`OutOfRange`](ErrorKind::OutOfRange).
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// let map = steadfast::Mapping::options().len(4096).anonymous()?;
    /// map.lock(..)?;
    /// map.unlock(..)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let operation = "lock";
        self.refuse_without_pages(operation)?;
        let range = self.resolve(operation, &range)?;
        let pages = self.placed.pages(&range);
        if let Err(error) = self.placed.region.lock(pages) {
            self.check_length(operation, &range)?;
            return Err(self.lock_error(operation, &range, error));
        }
        Ok(())
    }

    /// Lets the kernel reclaim the pages of `range`, rounded outwards, again: munlock(2).
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](ErrorKind::OutOfRange), and what the kernel refuses.
    ///
    /// See [`lock`](Self::lock) for an example.
    pub fn unlock(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let operation = "unlock";
        self.refuse_without_pages(operation)?;
        let range = self.resolve(operation, &range)?;
        let pages = self.placed.pages(&range);
        self.placed.region.unlock(pages).map_err(|error| self.os_error(operation, &range, error))
    }

    fn lock_error(&self, operation: &'static str, range: &Range<usize>, error: io::Error) -> crate::Error {
        if !matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EPERM | libc::EAGAIN)) {
            return self.os_error(operation, range, error);
        }
        let (limit, advice) = match getrlimit(Resource::Memlock).current {
            Some(limit) => {
                (format!("{limit} bytes"), "raise the limit (`ulimit -l`), grant CAP_IPC_LOCK, or lock less")
            }
            None => (
                "unlimited".to_owned(),
                "memory itself is short, or the pages are protected against every access, or there are too many \
                 mappings (vm.max_map_count)",
            ),
        };
        let reason = format!("the pages cannot be locked; the limit RLIMIT_MEMLOCK is {limit}");
        self.error(ErrorKind::LimitExceeded, operation, range, reason).source_io(error).advice(advice)
    }
}
