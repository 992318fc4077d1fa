//! For calls by address: memory and file apart from each other, parts that are the caller's own, files that are renamed or lose their name.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::AtomicMapping;
use crate::batch::Batch;
use crate::error::Result;

impl AtomicMapping {
    /// Addresses, in bytes from the first, within which the memory never moves: see [`AtomicOptions::reserve`](crate::AtomicOptions::reserve).
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.working.reserved_bytes()
    }

    /// How far it has pages: to the end of the longer of what is committed and what is not.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.working.mapped_bytes()
    }

    /// These addresses, whole pages counted from the first, belong to the caller from here on. Nothing in them waits for a commit, and
    /// nobody reads, stores or cuts there through the map.
    pub(crate) fn give_up(&mut self, bytes: &Range<usize>) {
        self.working.give_up(bytes);
    }

    /// Closes the file, and leaves the memory as it is: for those who put something else in its place.
    pub(crate) fn close_file(&mut self) -> Result<()> {
        self.check_for("close")?;
        self.store.close()
    }

    /// As `close_file`, for a file that has lost its name: what is not committed is written as it is. Of a map whose memory was handed
    /// out raw. After an error it may be called again.
    pub(crate) fn close_without_name(&mut self) -> Result<()> {
        self.check_for("close")?;
        let rest = self.uncommitted_pages()?;
        let committed_len = self.store.committed_len() as usize;
        let len_min = self.len_min.min(committed_len) as u64;
        let batch = Batch { len_min, len: self.len as u64, extents: &rest.extents, bytes: rest.bytes() };
        self.store.close_without_name(&batch)
    }

    /// The same without what is not committed: where there is no room for that, and nobody tries again.
    pub(crate) fn close_without_name_or_rest(&mut self) -> Result<()> {
        self.check_process("close")?;
        let len = self.store.committed_len();
        self.store.close_without_name(&Batch { len_min: len, len, extents: &[], bytes: &[] })
    }

    /// The file is found by this path from here on, its journal beside it.
    pub(crate) fn moved_to(&mut self, path: &Path) -> Result<()> {
        self.store.moved_to(path)
    }

    /// The data file, where it is one of the kernel's.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.store.page_cache()
    }

    /// As `close`, and the memory stays mapped for ever, with what is in it.
    pub(crate) fn close_and_leave_memory(mut self) -> Result<()> {
        let closed = self.close_file();
        let AtomicMapping { working, .. } = self;
        std::mem::forget(working);
        closed
    }

    /// Was any of these pages given up?
    pub(crate) fn is_given_up(&self, bytes: &Range<usize>) -> bool {
        self.working.is_given_up(bytes)
    }

    /// Pages that were given up show the last commit again; [`Busy`](ErrorKind::Busy) if the addresses are somebody's.
    pub(crate) fn take_back(&mut self, bytes: &Range<usize>) -> Result<()> {
        self.working.take_back(&*self.store, bytes)
    }

    /// What was committed, whatever memory says.
    pub(crate) fn read_committed(&self, bytes: &mut [u8], offset: usize) -> Result<()> {
        self.store.read_committed(bytes, offset as u64)
    }
}
