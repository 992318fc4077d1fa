//! The ways to the bytes of the working image: lent, copied, typed, by plain loads and stores.

use std::ops::{Deref, DerefMut, Range, RangeBounds};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::AtomicMapping;
use crate::error::{Error, ErrorKind, Result};
use crate::range;
use crate::sys::advise::Advice;

impl AtomicMapping {
    /// Where the memory starts. It stays there until [`resize`](AtomicMapping::resize) grows beyond what was reserved, or
    /// [`refresh`](AtomicMapping::refresh) takes a file that another program changed.
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.working.as_ptr()
    }

    /// Where the memory starts, for stores through a raw pointer.
    ///
    /// From here on every commit asks the kernel what changed. A store that races with a commit may be part of that commit, of the
    /// next, or of both; it is not lost. One that races with a rollback may go or stay, and if it stays it may never be committed.
    /// Whoever dereferences answers for aliasing: no slice of the map lives meanwhile; and for the memory being there: see
    /// [`as_ptr`](AtomicMapping::as_ptr).
    ///
    /// See [`AtomicMapping`] for an example.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.lent_raw = true;
        self.expect_stores();
        self.working.as_ptr()
    }

    /// Declares that `range` will change, and lends it: the next commit records it without searching.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](ErrorKind::OutOfRange) or [`InvalidInput`](ErrorKind::InvalidInput) for a range that is not within
    /// the map. [`Truncated`](ErrorKind::Truncated) or [`Io`](ErrorKind::Io) for bytes that could not be had: see
    /// [`check`](AtomicMapping::check).
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let mut map = AtomicMapping::options().create(true).len(100).allow_volatile(true).load(folder.path().join("a"))?;
    /// map.edit(10..20)?.fill(1);
    /// assert!(map.edit(90..101).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn edit(&mut self, range: impl RangeBounds<usize>) -> Result<&mut [u8]> {
        self.check_process("edit")?;
        let range = range::resolve(&range, self.len).map_err(|error| self.range_error(error, "edit"))?;
        if !range.is_empty() {
            self.refuse_damaged("edit", &range)?;
            self.expect_edit(&range, "edit")?;
            self.declared.lend(range.clone());
        }
        Ok(&mut self.working.bytes_mut(self.len)[range])
    }

    /// Copies `bytes` to `offset`: a declared edit, and the cheapest one.
    ///
    /// # Errors
    ///
    /// As [`edit`](AtomicMapping::edit), which has an example.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.check_process("write_at")?;
        let range = range::span(offset, bytes.len(), self.len)
            .map_err(|error| self.range_error(error, "write_at"))?;
        if !range.is_empty() {
            self.probe("write_at", &range)?;
            self.expect_edit(&range, "write_at")?;
            if self.lent_raw {
                // Others may look at it, or store beside it.
                self.working
                    .copy_from(offset, bytes)
                    .map_err(|error| Error::from_io("write_at", error).path(self.store.path()))?;
            } else {
                self.working.bytes_mut(self.len)[range].copy_from_slice(bytes);
            }
            self.declared.write(offset, bytes);
        }
        Ok(())
    }

    fn expect_edit(&mut self, range: &Range<usize>, operation: &'static str) -> Result<()> {
        self.working.expect_edit(&*self.store, range.clone()).map_err(|error| {
            Error::from_io(operation, error)
                .path(self.store.path())
                .range(range.start as u64..range.end as u64)
                .advice("nothing changed; declare smaller edits, or commit between them")
        })
    }

    /// Copies bytes at `offset` into `buf`.
    ///
    /// # Errors
    ///
    /// As [`edit`](AtomicMapping::edit), which has an example.
    pub fn read_at(&self, offset: usize, buf: &mut [u8]) -> Result<()> {
        self.check_process("read_at")?;
        let range =
            range::span(offset, buf.len(), self.len).map_err(|error| self.range_error(error, "read_at"))?;
        if self.lent_raw {
            self.working
                .copy_to(offset, buf)
                .map_err(|error| Error::from_io("read_at", error).path(self.store.path()))?;
        } else {
            buf.copy_from_slice(&self[range.clone()]);
        }
        self.refuse_damaged("read_at", &range)
    }

    /// Gives advice about the memory under `range`, rounded outwards to pages: madvise(2). Only advice that changes no content, and
    /// nothing about children, from whom the map is kept or not by [`keep_from_children`](crate::AtomicOptions::keep_from_children).
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](ErrorKind::OutOfRange) for a range that is not within the map; [`InvalidInput`](ErrorKind::InvalidInput) for
    /// [`Advice::DontNeed`], which loses what is not committed, [`Advice::DontFork`] and [`Advice::DoFork`]; otherwise as the errno says.
    ///
    /// ```
    /// # use steadfast::{Advice, AtomicMapping};
    /// # let folder = tempfile::tempdir()?;
    /// # let map = AtomicMapping::options().create(true).len(1 << 20).allow_volatile(true).load(folder.path().join("a"))?;
    /// map.advise(.., Advice::WillNeed)?;
    /// assert!(map.advise(.., Advice::DontNeed).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advise(&self, range: impl RangeBounds<usize>, advice: Advice) -> Result<()> {
        self.check_process("advise")?;
        let range = range::resolve(&range, self.len).map_err(|error| self.range_error(error, "advise"))?;
        let bytes = range.start as u64..range.end as u64;
        if matches!(advice, Advice::DontNeed | Advice::DontFork | Advice::DoFork) {
            let reason = "what is not committed, and what a child has, is not for advice to change";
            return Err(Error::new(ErrorKind::InvalidInput, "advise", reason)
                .path(self.path())
                .range(bytes)
                .advice("ask for `Cold` or `PageOut`, which keep every byte"));
        }
        // Within the map, so its pages lie within the addresses.
        let pages = range::pages_outward(&range, crate::sys::page_size()).unwrap_or(range);
        self.working
            .advise(pages, advice)
            .map_err(|error| Error::from_io("advise", error).path(self.path()).range(bytes))
    }

    /// The value at `offset`, in place.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](ErrorKind::OutOfRange) where it does not fit, [`InvalidInput`](ErrorKind::InvalidInput) where `offset` is
    /// not aligned for `T`. [`Truncated`](ErrorKind::Truncated) or [`Io`](ErrorKind::Io) for bytes that cannot be had: see
    /// [`check`](AtomicMapping::check).
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let mut map = AtomicMapping::options().create(true).len(64).allow_volatile(true).load(folder.path().join("a"))?;
    /// *map.typed_mut::<u64>(8)? = 5;
    /// assert_eq!(*map.typed::<u64>(8)?, 5);
    /// assert!(map.typed::<u64>(9).is_err(), "misaligned");
    /// assert!(map.typed::<u64>(60).is_err(), "too short");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn typed<T: FromBytes + KnownLayout + Immutable>(&self, offset: usize) -> Result<&T> {
        self.check_process("typed")?;
        let range = range::span(offset, size_of::<T>(), self.len)
            .map_err(|error| self.range_error(error, "typed"))?;
        self.probe("typed", &range)?;
        T::ref_from_bytes(&self[range.clone()]).map_err(|_| self.misaligned::<T>(range, "typed"))
    }

    /// The value at `offset`, in place, to be changed: a declared edit.
    ///
    /// # Errors
    ///
    /// As [`typed`](AtomicMapping::typed), which has an example.
    pub fn typed_mut<T: FromBytes + IntoBytes + KnownLayout>(&mut self, offset: usize) -> Result<&mut T> {
        self.check_process("typed_mut")?;
        let range = range::span(offset, size_of::<T>(), self.len)
            .map_err(|error| self.range_error(error, "typed_mut"))?;
        if !(self.as_ptr() as usize + offset).is_multiple_of(align_of::<T>()) {
            return Err(self.misaligned::<T>(range, "typed_mut"));
        }
        self.probe("typed_mut", &range)?;
        let misaligned = self.misaligned::<T>(range.clone(), "typed_mut");
        T::mut_from_bytes(self.edit(range)?).map_err(|_| misaligned)
    }

    /// Makes ready for stores that nobody declares.
    pub(super) fn expect_stores(&mut self) {
        if self.birth.is_elsewhere() {
            // A child has nothing at these addresses, or something of its own.
            return;
        }
        if let Err(error) = self.working.expect_stores(&*self.store) {
            // The memory is there, but it cannot be told what the last commit was.
            self.latched =
                Some(format!("there is no room to keep stores apart from what is committed ({error})"));
        }
    }

    pub(super) fn range_error(&self, error: range::RangeError, operation: &'static str) -> Error {
        error.into_error(operation).path(self.path())
    }

    fn misaligned<T>(&self, range: Range<usize>, operation: &'static str) -> Error {
        Error::new(
            ErrorKind::InvalidInput,
            operation,
            format!(
                "offset {} is not a multiple of {}, which {} needs",
                range.start,
                align_of::<T>(),
                std::any::type_name::<T>()
            ),
        )
        .path(self.path())
        .range(range.start as u64..range.end as u64)
    }
}

impl Deref for AtomicMapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.working.bytes(self.len)
    }
}

impl DerefMut for AtomicMapping {
    fn deref_mut(&mut self) -> &mut [u8] {
        if !self.lent_whole {
            self.lent_whole = true;
            self.expect_stores();
        }
        self.working.bytes_mut(self.len)
    }
}
