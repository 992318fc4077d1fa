//! References into the mapping, for callers who can promise that nobody else stores.
//!
//! # Safety
//!
//! This file is trusted with turning addresses of the mapping into references. Each is made by an `unsafe` call whose
//! caller promises what only the program as a whole can know.
#![allow(unsafe_code)]

use std::slice;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Mapping, Protection};
use crate::error::{ErrorKind, Result};

impl Mapping {
    /// All bytes as a slice.
    ///
    /// Pages that cannot be had (others truncated the file, the device fails) read as zeros, and [`check`](Self::check)
    /// says so afterwards; without the [guard](crate::MappingOptions::guard) they raise SIGBUS. An access to a page that is
    /// [`Protection::NONE`] raises SIGSEGV. Neither is undefined, both end the process by default.
    ///
    /// # Safety
    ///
    /// While the slice lives nobody stores to these bytes: no other process, no other mapping of the file, no `write(2)`,
    /// and in this process neither [`write_at`](Self::write_at), atomics nor raw pointers.
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// let map = steadfast::Mapping::options().len(3).anonymous()?;
    /// map.write_at(0, b"abc")?;
    /// // SAFETY: the memory is anonymous, and this thread alone uses it.
    /// assert_eq!(unsafe { map.as_slice() }, b"abc");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes from this address on belong to the region, whose pages `0..end` are all mapped; no region
        // is longer than isize::MAX; that nobody stores is the caller's promise.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// All bytes as a mutable slice.
    ///
    /// A store to a page that is not [`Protection::READ_WRITE`], which includes all of a mapping opened for reading, raises
    /// SIGSEGV.
    ///
    /// # Safety
    ///
    /// As for [`as_slice`](Self::as_slice), and nobody reads these bytes either as anything but single bytes that may change
    /// under their eyes.
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// let mut map = steadfast::Mapping::options().len(3).anonymous()?;
    /// // SAFETY: the memory is anonymous, and this thread alone uses it.
    /// unsafe { map.as_mut_slice() }.fill(7);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` keeps all our own references away.
        unsafe { slice::from_raw_parts_mut(self.as_ptr(), self.len()) }
    }

    /// The bytes at `offset` as a `T`.
    ///
    /// # Safety
    ///
    /// As for [`as_slice`](Self::as_slice).
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](ErrorKind::OutOfRange): the value would reach past the end. [`InvalidInput`](ErrorKind::InvalidInput):
    /// `offset` is not aligned for it. [`PermissionDenied`](ErrorKind::PermissionDenied): the pages are [`Protection::NONE`].
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// let map = steadfast::Mapping::options().len(16).anonymous()?;
    /// map.write_value(8, &9_u64)?;
    /// // SAFETY: the memory is anonymous, and this thread alone uses it.
    /// assert_eq!(unsafe { map.typed::<u64>(8)? }, &9);
    /// # Ok(())
    /// # }
    /// ```
    pub unsafe fn typed<T: FromBytes + KnownLayout + Immutable>(&self, offset: usize) -> Result<&T> {
        let range = self.span("view", offset, size_of::<T>())?;
        self.require("view", &range, Protection::READ)?;
        self.probe("view", &range)?;
        // SAFETY: passed on to our caller.
        let bytes = unsafe { self.as_slice() };
        T::ref_from_bytes(&bytes[range.clone()]).map_err(|_| self.misaligned::<T>(&range))
    }

    /// The bytes at `offset` as a mutable `T`.
    ///
    /// # Safety
    ///
    /// As for [`as_mut_slice`](Self::as_mut_slice).
    ///
    /// # Errors
    ///
    /// As for [`typed`](Self::typed), and [`ReadOnly`](ErrorKind::ReadOnly) where the pages are not for stores.
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// let mut map = steadfast::Mapping::options().len(16).anonymous()?;
    /// // SAFETY: the memory is anonymous, and this thread alone uses it.
    /// *unsafe { map.typed_mut::<u64>(8)? } += 1;
    /// assert_eq!(map.read_value::<u64>(8)?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub unsafe fn typed_mut<T: FromBytes + IntoBytes + KnownLayout>(
        &mut self,
        offset: usize,
    ) -> Result<&mut T> {
        let range = self.span("view", offset, size_of::<T>())?;
        self.require("view", &range, Protection::READ_WRITE)?;
        self.probe("view", &range)?;
        if !(self.as_ptr() as usize + range.start).is_multiple_of(align_of::<T>()) {
            return Err(self.misaligned::<T>(&range));
        }
        let sizes_differ = self.error(ErrorKind::InvalidInput, "view", &range, "the sizes differ");
        // SAFETY: passed on to our caller.
        let bytes = unsafe { self.as_mut_slice() };
        // Cannot fail: size and alignment were looked at above.
        T::mut_from_bytes(&mut bytes[range]).map_err(|_| sizes_differ)
    }

    pub(super) fn misaligned<T>(&self, range: &std::ops::Range<usize>) -> crate::Error {
        self.error(
            ErrorKind::InvalidInput,
            "view",
            range,
            format!("its address is not a multiple of {}", align_of::<T>()),
        )
        .advice("choose an aligned offset, or copy with `read_value` and `write_value`")
    }
}
