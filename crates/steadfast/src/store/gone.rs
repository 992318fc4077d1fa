//! What is left of a store that was let go of: its name, and the word that nothing can be committed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Batch, CommitId, Flush, Status, Store};
use crate::descriptors::opened;
use crate::error::{Error, ErrorKind, Result};

/// Stands in for a store that could not be opened again. The memory above it stays readable.
#[derive(Debug)]
pub(crate) struct Gone {
    path: PathBuf,
    len: u64,
    status: Status,
    /// Tells the file from others that may get its name.
    page_cache: Option<OwnedFd>,
}

impl Gone {
    pub(crate) fn after(store: &dyn Store) -> Gone {
        Gone {
            path: store.path().to_owned(),
            len: store.committed_len(),
            status: store.status(),
            page_cache: store.page_cache().and_then(|fd| fd.try_clone_to_owned().map(opened).ok()),
        }
    }

    fn refuse<T>(&self, operation: &'static str) -> Result<T> {
        Err(Error::new(
            ErrorKind::Latched,
            operation,
            "the file was changed by another program, and could not be opened again since",
        )
        .path(&self.path)
        .advice("keep what you need from memory, drop the map and open the file again"))
    }
}

impl Store for Gone {
    fn path(&self) -> &Path {
        &self.path
    }

    fn committed_len(&self) -> u64 {
        self.len
    }

    fn read_committed(&self, _: &mut [u8], _: u64) -> Result<()> {
        self.refuse("read")
    }

    fn commit(&mut self, _: &Batch<'_>, _: Flush) -> Result<CommitId> {
        self.refuse("commit")
    }

    fn check_unchanged(&mut self) -> Result<()> {
        self.refuse("commit")
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.refuse("checkpoint")
    }

    fn close(&mut self) -> Result<()> {
        self.refuse("close")
    }

    fn status(&self) -> Status {
        self.status.clone()
    }

    fn check(&self) -> Result<()> {
        self.refuse("roll back")
    }

    fn page_cache(&self) -> Option<BorrowedFd<'_>> {
        self.page_cache.as_ref().map(AsFd::as_fd)
    }
}
