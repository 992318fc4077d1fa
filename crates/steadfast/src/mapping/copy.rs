//! Checked copies: sound although others store or truncate, and never a signal.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Mapping, Protection};
use crate::error::{ErrorKind, Result};

/// Values up to this size are read without touching the heap.
const SMALL_VALUE_BYTES: usize = 256;

impl Mapping {
    /// Copies the bytes at `offset` into `to`.
    ///
    /// The kernel copies: another process may store at the same time (then any mix of old and new bytes comes out), and a
    /// page that cannot be had is an error where a plain load would raise SIGBUS or SIGSEGV.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](ErrorKind::OutOfRange): past the end of the mapping. [`Truncated`](ErrorKind::Truncated): the file has
    /// become shorter; the message says how long it is now. [`PermissionDenied`](ErrorKind::PermissionDenied): the pages are
    /// [`Protection::NONE`]. [`Io`](ErrorKind::Io): the device cannot read them. After an error `to` holds anything.
    ///
    /// See [`Mapping`] for an example.
    pub fn read_at(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        let operation = "read";
        let range = self.span(operation, offset, to.len())?;
        if range.is_empty() {
            return Ok(());
        }
        self.require(operation, &range, Protection::READ)?;
        let copied = self.placed.region.read(self.placed.lead + range.start, to, self.route);
        // Looked at even after success: the rest of the last page reads as zeros past a new end, and so do pages that were damaged.
        self.check_length(operation, &range)?;
        self.refuse_damaged(operation, &range)?;
        copied.map_err(|error| self.unreachable(operation, &range, error))
    }

    /// Copies `from` to the bytes at `offset`. Everybody sees them at once; they are durable after a
    /// [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](ErrorKind::OutOfRange): past the end of the mapping; nothing was written.
    /// [`ReadOnly`](ErrorKind::ReadOnly): the mapping or these pages are not for stores; nothing was written.
    /// [`Truncated`](ErrorKind::Truncated): the file has become shorter. [`Io`](ErrorKind::Io): the device cannot read the
    /// pages, or a hole got no block because the disk is full. After these two a part from the start may have been
    /// written.
    ///
    /// See [`Mapping`] for an example.
    pub fn write_at(&self, offset: usize, from: &[u8]) -> Result<()> {
        let operation = "write";
        let range = self.span(operation, offset, from.len())?;
        if range.is_empty() {
            return Ok(());
        }
        self.require(operation, &range, Protection::READ_WRITE)?;
        // Before: bytes stored in the last page past a new end would come to light when the file grows again.
        self.check_length(operation, &range)?;
        self.refuse_damaged(operation, &range)?;
        let copied = self.placed.region.write(self.placed.lead + range.start, from, self.route);
        // And after, even of success: stores past a new end, in the rest of the last page, reach no file.
        self.check_length(operation, &range)?;
        self.refuse_damaged(operation, &range)?;
        copied.map_err(|error| self.unreachable(operation, &range, error))
    }

    /// Reads a value from the bytes at `offset`, which need not be aligned. See [`read_at`](Self::read_at).
    ///
    /// # Errors
    ///
    /// As for [`read_at`](Self::read_at).
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// let map = steadfast::Mapping::options().len(100).anonymous()?;
    /// map.write_value(3, &0x1234_u32)?;
    /// assert_eq!(map.read_value::<u32>(3)?, 0x1234);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_value<T: FromBytes>(&self, offset: usize) -> Result<T> {
        let mut small = [0; SMALL_VALUE_BYTES];
        let mut large = Vec::new();
        let bytes = match small.get_mut(..size_of::<T>()) {
            Some(bytes) => bytes,
            None => {
                // Checked before memory is asked for: the type may be larger than any mapping.
                self.span("read", offset, size_of::<T>())?;
                large.resize(size_of::<T>(), 0);
                large.as_mut_slice()
            }
        };
        self.read_at(offset, bytes)?;
        // Cannot fail: `bytes` has the value's size.
        T::read_from_bytes(bytes)
            .map_err(|_| self.error(ErrorKind::InvalidInput, "read", &(offset..offset), "the sizes differ"))
    }

    /// Writes a value to the bytes at `offset`, which need not be aligned. See [`write_at`](Self::write_at).
    ///
    /// # Errors
    ///
    /// As for [`write_at`](Self::write_at).
    ///
    /// See [`read_value`](Self::read_value) for an example.
    pub fn write_value<T: IntoBytes + Immutable + ?Sized>(&self, offset: usize, value: &T) -> Result<()> {
        self.write_at(offset, value.as_bytes())
    }

    /// The kernel could not reach the pages although the file is long enough.
    fn unreachable(
        &self,
        operation: &'static str,
        range: &std::ops::Range<usize>,
        error: std::io::Error,
    ) -> crate::Error {
        if error.raw_os_error() != Some(libc::EFAULT) {
            return self.os_error(operation, range, error);
        }
        self.error(ErrorKind::Io, operation, range, "the pages cannot be brought into memory")
            .source_io(error)
            .advice("check the device for errors and its file system for space (a hole needs a block)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::copy::Route;

    #[test]
    fn truncation_is_an_error_on_both_routes() {
        let page = crate::sys::page_size();
        for route in [Route::Fastest, Route::Scratch] {
            let file = tempfile::tempfile_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
            let mut map = Mapping::options().write(true).grow(true).len(4 * page).open_fd(&file).unwrap();
            map.route = route;
            map.write_at(page - 2, b"abcd").unwrap();
            let mut back = [0; 4];
            map.read_at(page - 2, &mut back).unwrap();
            assert_eq!(&back, b"abcd");
            file.set_len(page as u64 + 10).unwrap();
            // In the last page, where no fault tells; across its end; beyond.
            for at in [page + 8, 2 * page - 2, 2 * page, 4 * page - 4] {
                let error = map.read_at(at, &mut back).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Truncated, "{route:?} {error}");
                assert!(error.to_string().contains(&format!("{} bytes", page + 10)), "{error}");
                let error = map.write_at(at, b"wxyz").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Truncated, "{route:?} {error}");
            }
            map.read_at(page + 6, &mut back).unwrap();
            map.write_at(page + 6, b"wxyz").unwrap();
        }
    }
}
