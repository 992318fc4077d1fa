//! Pages of the map that could not be had: noticed, named, and put back. See [`fault`](crate::fault).

use std::ops::Range;

use super::AtomicMapping;
use crate::batch::Extent;
use crate::error::{Error, ErrorKind, Result};

impl AtomicMapping {
    /// Is every byte what was committed or stored, as far as anybody touched it? To be asked after work on slices, which
    /// cannot return an error.
    ///
    /// The memory of a `load` is its own, and only failing hardware can damage it. A `view` shows the data file's page
    /// cache until a page is stored to: where such a page cannot be had any more (another program truncated the file, the
    /// device failed), it reads as zeros, and this says so. What nobody tried to access is not looked at.
    ///
    /// # Errors
    ///
    /// The first damaged bytes, with the likely cause: [`Truncated`](ErrorKind::Truncated) where they lay past the end of
    /// the file, [`Io`](ErrorKind::Io) otherwise. Checked access to them fails, and so does a commit over them, until
    /// [`refresh`](AtomicMapping::refresh) or [`rollback`](AtomicMapping::rollback) brings the committed bytes back.
    ///
    /// ```
    /// # use steadfast::{AtomicMapping, ErrorKind};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("a");
    /// # std::fs::write(&path, vec![7; 100_000])?;
    /// // SAFETY: nobody writes the file; that somebody cuts it is what this is about.
    /// let map = unsafe { AtomicMapping::options().allow_volatile(true).view(&path)? };
    /// std::fs::OpenOptions::new().write(true).open(&path)?.set_len(0)?; // another program
    /// assert_eq!(map[99_999], 0); // no signal
    /// assert_eq!(map.check().unwrap_err().kind(), ErrorKind::Truncated);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self) -> Result<()> {
        self.check_process("check")?;
        self.refuse_damaged("check", &(0..self.len))
    }

    /// Puts the last commit's bytes back where a page could not be had.
    pub(super) fn put_damaged_back(&mut self, operation: &'static str) -> Result<()> {
        let mut lost = self.declared.pages().find_map(|pages| self.working.first_damaged(&pages));
        if (self.len_min as u64) < self.store.committed_len() {
            // What was cut off is not to come back, but reads as zeros.
            let page = crate::sys::page_size();
            let cut = self.len_min / page * page..usize::MAX;
            lost = lost.or_else(|| self.working.first_damaged(&cut));
        }
        if let Some(damaged) = lost {
            let bytes = damaged.bytes;
            return Err(Error::new(
                ErrorKind::InvalidInput,
                operation,
                "edits or a cut that are not committed lie in damaged pages, and would be lost in part",
            )
            .path(self.path())
            .range(bytes.start as u64..bytes.end as u64)
            .advice("call `rollback`, and make the edits again"));
        }
        let lost = self.working.find_lost(&*self.store)?;
        self.working.put_back(&*self.store, lost)
    }

    /// An error if these bytes could not be had.
    #[inline]
    pub(super) fn refuse_damaged(&self, operation: &'static str, range: &Range<usize>) -> Result<()> {
        match self.working.first_damaged(range) {
            None => Ok(()),
            Some(damaged) => Err(self.working.damaged_error(&*self.store, operation, &damaged)),
        }
    }

    /// Touches the pages of `range` first: an error instead of zeros.
    #[inline]
    pub(super) fn probe(&self, operation: &'static str, range: &Range<usize>) -> Result<()> {
        self.working.probe(range);
        self.refuse_damaged(operation, range)
    }

    /// Before memory is compared, and after: zeros that stand for a page are no change, and nothing to compare with.
    pub(super) fn refuse_any_damage(&self, operation: &'static str) -> Result<()> {
        match self.working.any_damaged(self.len) {
            None => Ok(()),
            Some(damaged) => Err(self.working.damaged_error(&*self.store, operation, &damaged)),
        }
    }

    /// No commit goes over pages that could not be had.
    pub(super) fn refuse_damaged_pages(&self, operation: &'static str, extents: &[Extent]) -> Result<()> {
        if self.working.any_damaged(self.len).is_none() {
            return Ok(());
        }
        let page = crate::sys::page_size();
        for extent in extents {
            let (start, end) = (extent.offset as usize / page * page, extent.end() as usize);
            self.refuse_damaged(operation, &(start..end.next_multiple_of(page)))?;
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "guard"))]
#[allow(unsafe_code, clippy::unwrap_used)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    /// Where each page of the file has its one byte that is no zero.
    const SEVEN: usize = 100;

    /// A view of eight pages, whose stores are found by comparing.
    fn view(folder: &tempfile::TempDir) -> AtomicMapping {
        let path = folder.path().join("data.bin");
        let mut bytes = vec![0; 8 * PAGE];
        bytes.iter_mut().skip(SEVEN).step_by(PAGE).for_each(|byte| *byte = 7);
        std::fs::write(&path, bytes).unwrap();
        // SAFETY: nobody else writes the file.
        let mut map = unsafe { AtomicMapping::options().allow_volatile(true).view(&path) }.unwrap();
        map[0] = 1;
        map.commit().unwrap();
        map
    }

    /// As if the memory had failed that shows what was committed at `at`.
    fn lose(map: &AtomicMapping, at: usize) {
        let window = map.working.committed.window_address().unwrap();
        // SAFETY: what the kernel says then (`BUS_MCEERR_AR`); nobody else looks at the page.
        assert!(unsafe { crate::fault::answer(window + at, 4) });
    }

    /// Commits a zero over the seven of page 3: beside zeros in the page's place that would be no change.
    fn commit_a_zero(mut map: AtomicMapping) {
        assert_eq!(map[3 * PAGE + SEVEN], 7);
        map[3 * PAGE + SEVEN] = 0;
        map.commit().unwrap();
        let path = map.path().to_owned();
        map.close().unwrap();
        assert_eq!(std::fs::read(path).unwrap()[3 * PAGE + SEVEN], 0);
    }

    #[test]
    fn a_lost_page_of_the_committed_image_is_looked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let map = view(&folder);
        lose(&map, 3 * PAGE);
        commit_a_zero(map);
    }

    #[test]
    fn zeros_of_a_lost_page_are_not_kept_as_what_was_committed() {
        let folder = tempfile::tempdir().unwrap();
        let mut map = view(&folder);
        lose(&map, 3 * PAGE);
        map.write_at(3 * PAGE, b"declared").unwrap();
        assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::NotCommitted);
        map.refresh().unwrap();
        map.commit().unwrap();
        commit_a_zero(map);
    }
}
