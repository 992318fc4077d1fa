//! Durable: bytes, length and name of files that others wrote.

use std::ops::{Bound, Range, RangeBounds};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{MapFlags, ProtFlags};

use super::CachedFile;
use crate::descriptors::opened;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::region::{Region, RegionOptions};
use crate::sys::sync::start_write_out;

const OPERATION: &str = "sync";

/// So many bytes are mapped at once where a part is synced.
const PIECE_BYTES: u64 = 1 << 30;

impl CachedFile {
    /// Has the kernel begin to write what of `range`, rounded outwards, is dirty, and returns at once. Makes nothing durable: it gives
    /// the device work while other files are opened, before [`sync`](Self::sync) waits for each.
    ///
    /// See [`sync`](Self::sync) for an example.
    ///
    /// # Errors
    ///
    /// As [`counts`](Self::counts). That it cannot be begun is none: `sync` writes all the same.
    pub fn start_sync(&self, range: impl RangeBounds<u64>) -> Result<()> {
        let range = self.pages_of(&range)?;
        if let Some(fd) = self.regular()
            && let Err(error) = start_write_out(fd, range)
        {
            log::debug!("cannot start write-out early: {error}");
        }
        Ok(())
    }

    /// The bytes of `range`, rounded outwards, and the length of the file are durable on return, whoever wrote them. Its name is not, if
    /// it is new: for that there is [`sync_folder`].
    ///
    /// fsync(2). Where `range` is a part, and the file may be written, only that part (msync(2)); else all of it.
    ///
    /// # Errors
    ///
    /// Those of fsync(2): the device did not take everything, which the kernel says once. [`Unsupported`](ErrorKind::Unsupported): it is
    /// not a regular file.
    ///
    /// ```
    /// use steadfast::residency::{CachedFile, sync_folder};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// # std::fs::write(&path, [1; 10_000])?;
    /// let file = CachedFile::open(&path)?;
    /// file.start_sync(..)?;
    /// // … the same with other files …
    /// file.sync(..)?;
    /// sync_folder(folder.path(), Some(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sync(&self, range: impl RangeBounds<u64>) -> Result<()> {
        let pages = self.pages_of(&range)?;
        let fd = self.regular().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, OPERATION, "it is not a regular file".to_owned())
                .path(self.path())
                .advice("name files, or the folder that they lie in")
        })?;
        // What is open at its end goes as far as the file does by now.
        let is_open = matches!(range.end_bound(), Bound::Unbounded) || pages.end >= self.len();
        let done = if pages.is_empty() || (pages.start == 0 && is_open) {
            retry_on_intr(|| fs::fsync(fd)).map_err(Into::into)
        } else {
            sync_part(fd, &pages)
        };
        done.map_err(|error| Error::from_io(OPERATION, error).path(self.path()))
    }
}

/// Through a mapping: no other call syncs a part, and of a file that is open for reading msync(2) does nothing.
fn sync_part(fd: BorrowedFd<'_>, pages: &Range<u64>) -> std::io::Result<()> {
    let itself = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let writable: OwnedFd = match fs::open(itself, flags, Mode::empty()) {
        Ok(writable) => opened(writable),
        Err(_) => return Ok(retry_on_intr(|| fs::fsync(fd))?),
    };
    let mut at = pages.start;
    while at < pages.end {
        let end = pages.end.min(at + PIECE_BYTES);
        let len = (end - at) as usize;
        let mut region =
            Region::reserve_as(len, RegionOptions { guarded: false, ..RegionOptions::default() })?;
        // Nothing of it is touched.
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        region.place_file(0..len, writable.as_fd(), at, ProtFlags::empty(), flags)?;
        while let Err(error) = region.msync(0..len) {
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        at = end;
    }
    Ok(())
}

/// The names in a folder are durable on return: those of files and folders that were made, renamed or removed there.
///
/// A folder that may not be read cannot be synced. If something that lies `inside` may be, all of its file system is synced through that
/// (syncfs(2)).
///
/// See [`CachedFile::sync`] for an example.
///
/// # Errors
///
/// Those of open(2) and fsync(2).
pub fn sync_folder(folder: impl AsRef<Path>, inside: Option<&Path>) -> Result<()> {
    let folder = folder.as_ref();
    let failed = |error: Errno| Error::from_io("sync the names in", error.into()).path(folder);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty()) {
        Ok(fd) => {
            let fd: OwnedFd = opened(fd);
            match retry_on_intr(|| fs::fsync(&fd)) {
                // Folders of some file systems have no sync; there, names are durable when they are made, or never.
                Err(Errno::INVAL) => Ok(()),
                result => result.map_err(failed),
            }
        }
        Err(error @ (Errno::ACCESS | Errno::PERM)) => {
            let inside = inside.ok_or(error).map_err(failed)?;
            let fd: OwnedFd =
                fs::open(inside, flags, Mode::empty()).map(opened).map_err(|_| failed(error))?;
            retry_on_intr(|| fs::syncfs(&fd)).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}
