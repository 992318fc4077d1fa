//! What a commit changes.

use crate::error::{Error, ErrorKind, Result};

/// A run of changed bytes at this offset of the data.
///
/// See [`Batch`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where they go.
    pub offset: u64,
    /// How many; not zero.
    pub len: u32,
}

impl Extent {
    /// One past the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

/// One step from a committed state to the next: cut to `len_min`, grow with zeros to `len`, then put the extents one by one.
///
/// ```
/// use steadfast::store::{Batch, Extent};
///
/// let extents = [Extent { offset: 0, len: 3 }, Extent { offset: 100, len: 2 }];
/// let batch = Batch { len_min: 50, len: 200, extents: &extents, bytes: b"abcde" };
/// assert!(batch.check(4096).is_ok());
/// assert!(batch.check(10).is_err(), "a length below the smallest one on the way");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The smallest length on the way from the last commit: bytes at and beyond it are zeros unless an extent says otherwise.
    pub len_min: u64,
    /// The new length.
    pub len: u64,
    /// What changed, within `len`. Where two overlap the later one counts.
    pub extents: &'a [Extent],
    /// The bytes of all extents, one behind the other.
    pub bytes: &'a [u8],
}

impl Batch<'_> {
    /// Does it fit a store whose last commit is `committed_len` bytes long? See [`Batch`] for an example.
    pub fn check(&self, committed_len: u64) -> Result<()> {
        let refuse = |why: &'static str| Err(Error::new(ErrorKind::InvalidInput, "commit", why));
        if self.len_min > self.len || self.len_min > committed_len {
            return refuse("the smallest length exceeds the length before or after");
        }
        if self.len > i64::MAX as u64 {
            return refuse("the length exceeds what a file can have (2^63 - 1 bytes)");
        }
        let mut bytes = 0;
        for extent in self.extents {
            let Some(end) = extent.offset.checked_add(u64::from(extent.len)) else {
                return refuse("an extent ends beyond the address space");
            };
            if extent.len == 0 || end > self.len {
                return refuse("extents must not be empty, and lie within the length");
            }
            bytes += u64::from(extent.len);
        }
        if bytes != self.bytes.len() as u64 || self.extents.len() > u32::MAX as usize {
            return refuse("the bytes are not as many as the extents say");
        }
        Ok(())
    }

    /// Nothing to do on a store of this length?
    pub(crate) fn is_empty(&self, committed_len: u64) -> bool {
        self.extents.is_empty() && self.len == committed_len && self.len_min == committed_len
    }
}
