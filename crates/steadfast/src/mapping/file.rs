//! The file under a mapping, and what is known about how durable it is.
//!
//! # What a failed write-back means
//!
//! When the kernel cannot write a page it marks the page clean all the same, notes the error in the file, and tells it
//! **once** to each open file description: at the next msync or fsync through it. It does not say which pages were lost.
//! So, the first time one of our calls returns such an error, the whole mapping is *failed*: no range of it syncs
//! successfully until its pages were made dirty again ([`Mapping::redirty`](super::Mapping::redirty)) and a later sync
//! wrote them. All calls that could be told the error go through [`MappedFile::sync`], one at a time: a second caller
//! could otherwise get the kernel's 0 while the first one has the error in hand but has not noted it.
//!
//! Even then ext4 can lie once more (seen on Linux 6.18): the blocks of a page whose first write failed stay marked as never
//! written, but the cached page regards them as mapped. The next write-back puts the bytes there, succeeds, and leaves the
//! mark: after eviction the page reads as zeros. So a sync that makes failed pages good looks at the marks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io, ops::Range};

use rustix::fs;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::MappingOptions;
use super::background::Background;
use super::failure::Failure;
use super::open::Opened;
use crate::descriptors::opened;
use crate::error::{Error, ErrorKind, Result};
use crate::range::RangeSet;
use crate::sys::region::Region;
use crate::sys::{self, page_size};

/// The least number for a descriptor that stands for one of the program's.
const DESCRIPTOR_MIN: i32 = 512;

/// Bytes made dirty again through one window.
const WINDOW_BYTES: u64 = 64 << 20;

/// The calls that make bytes durable, so that tests can make them fail.
pub(super) trait SyncCalls: fmt::Debug + Send + Sync {
    /// `msync(MS_SYNC)`: bytes, and what is needed to find them.
    fn msync(&self, region: &Region, bytes: Range<usize>) -> io::Result<()> {
        region.msync(bytes)
    }

    /// As msync, for files that are open for reading only: there msync does nothing.
    fn fdatasync(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(fs::fdatasync(fd)?)
    }

    /// Bytes, length and everything else.
    fn fsync(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(fs::fsync(fd)?)
    }

    /// The names in the folder of a file.
    fn sync_folder(&self, folder: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
        match fs::fsync(folder) {
            // Held with O_PATH, since it may not be read: then the whole file system.
            Err(Errno::BADF) => Ok(fs::syncfs(fd)?),
            // Folders of some file systems have no sync; there, names are durable when they are made, or never.
            Err(Errno::INVAL) => Ok(()),
            result => Ok(result?),
        }
    }

    /// The first bytes of `range` whose blocks the file system regards as never written.
    fn first_unwritten(&self, fd: BorrowedFd<'_>, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
        sys::extents::first_unwritten(fd, range)
    }
}

#[derive(Debug)]
pub(super) struct KernelCalls;

impl SyncCalls for KernelCalls {}

/// A mapped file. Shared with the background thread, which outlives no mapping.
#[derive(Debug)]
pub(crate) struct MappedFile {
    pub(crate) fd: OwnedFd,
    pub(super) path: Option<PathBuf>,
    /// Stores to the file are possible.
    pub(crate) writable: bool,
    /// Where the mapping's first byte lies.
    pub(super) offset: u64,
    pub(crate) background: Background,
    calls: Arc<dyn SyncCalls>,
    durability: Mutex<Durability>,
}

/// What stands between a sync and its promise. Ranges are whole pages of the file.
#[derive(Debug)]
pub(super) struct Durability {
    /// All pages of the mapping.
    extent: Range<u64>,
    /// Pages whose last write-back may have been lost.
    failed: RangeSet,
    /// Those of them that were made dirty since.
    redirtied: RangeSet,
    /// The errno that made pages fail.
    cause: i32,
    /// The length or the file itself is new: the next sync is an fsync.
    metadata_pending: bool,
    /// The folder of a file that we created, until its name is durable.
    folder: Option<OwnedFd>,
    /// The folder could not be synced. Nothing can make it dirty again: this stays.
    folder_error: Option<i32>,
}

/// Where the pages of a sync are mapped.
pub(crate) enum Through<'region> {
    Region(&'region Region, Range<usize>),
    /// Not at all: the descriptor must do.
    Descriptor,
}

impl MappedFile {
    pub(super) fn new(opened: Opened, options: &MappingOptions, grown: bool) -> MappedFile {
        let (fd, path, folder) = opened.keep();
        MappedFile {
            fd,
            path,
            writable: options.is_shared_writer(),
            offset: options.offset,
            background: Background::default(),
            calls: Arc::new(KernelCalls),
            durability: Mutex::new(Durability {
                extent: 0..0,
                failed: RangeSet::new(),
                redirtied: RangeSet::new(),
                cause: 0,
                metadata_pending: grown || folder.is_some(),
                folder,
                folder_error: None,
            }),
        }
    }

    /// The file of somebody else's descriptor, through the same open file description: that is where the kernel notes errors.
    pub(crate) fn of_descriptor(fd: BorrowedFd<'_>, writable: bool) -> Option<MappedFile> {
        // Far from the numbers that programs count on.
        let fd = rustix::io::fcntl_dupfd_cloexec(fd, DESCRIPTOR_MIN)
            .or_else(|_| rustix::io::fcntl_dupfd_cloexec(fd, 0))
            .map(opened)
            .ok()?;
        let path = super::open::path_of(fd.as_fd());
        // Nobody knows whether the name is durable: the first sync makes it so.
        let folder = path.as_deref().and_then(Path::parent).filter(|_| writable).and_then(|folder| {
            fs::open(folder, fs::OFlags::DIRECTORY | fs::OFlags::CLOEXEC, fs::Mode::empty()).map(opened).ok()
        });
        Some(MappedFile {
            fd,
            path,
            writable,
            offset: 0,
            background: Background::default(),
            calls: Arc::new(KernelCalls),
            durability: Mutex::new(Durability {
                extent: 0..0,
                failed: RangeSet::new(),
                redirtied: RangeSet::new(),
                cause: 0,
                metadata_pending: writable,
                folder,
                folder_error: None,
            }),
        })
    }

    #[cfg(test)]
    pub(super) fn with_calls(mut self, calls: Arc<dyn SyncCalls>) -> MappedFile {
        self.calls = calls;
        self
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(fs::fstat(&self.fd)?.st_size as u64)
    }

    pub(super) fn durability(&self) -> MutexGuard<'_, Durability> {
        // A panic while it was held cannot have left it half-changed in a way that claims too much.
        self.durability.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the pages of `range` durable, and the file's length and name.
    pub(crate) fn sync(&self, range: &Range<u64>, through: Through<'_>) -> Result<(), Failure> {
        let mut durability = self.durability();
        durability.refuse(range)?;
        let result = match through {
            Through::Region(region, bytes) if self.writable => {
                uninterrupted(|| self.calls.msync(region, bytes.clone()))
            }
            // On a mapping of a file opened for reading msync does nothing, as the kernel does not count it as shared.
            _ => uninterrupted(|| self.calls.fdatasync(self.fd.as_fd())),
        };
        result.map_err(|error| durability.fail(range, error))?;
        // In this order: a name that survives must not lead to a file without its length.
        if durability.metadata_pending {
            uninterrupted(|| self.calls.fsync(self.fd.as_fd()))
                .map_err(|error| durability.fail(range, error))?;
            durability.metadata_pending = false;
        }
        if let Some(folder) = durability.folder.take()
            && let Err(error) = uninterrupted(|| self.calls.sync_folder(folder.as_fd(), self.fd.as_fd()))
        {
            durability.folder_error = Some(error.raw_os_error().unwrap_or(libc::EIO));
            durability.refuse(range)?;
        }
        self.check_written(&mut durability, range)?;
        // `refuse` let pass only failed pages that were dirty again before this write-back began, and it succeeded.
        durability.failed.remove(range.clone());
        durability.redirtied.remove(range.clone());
        Ok(())
    }

    /// Looks whether the failed pages of `range`, which a write-back has just written, can be read back.
    fn check_written(&self, durability: &mut Durability, range: &Range<u64>) -> Result<(), Failure> {
        let mut at = range.start;
        while let Some(failed) = durability.failed.first_within(&(at..range.end)) {
            at = failed.end;
            // Blocks past the end of the file are never written.
            let Ok(len) = self.len() else { continue };
            match self.calls.first_unwritten(self.fd.as_fd(), failed.start..failed.end.min(len)) {
                Ok(None) => {}
                Ok(Some(unwritten)) => {
                    durability.redirtied.remove(range.clone());
                    return Err(Failure::unreachable_on_disk(unwritten, durability.cause));
                }
                Err(error) => return Err(durability.fail(range, error)),
            }
        }
        Ok(())
    }

    /// Makes the pages of `range` dirty again.
    pub(super) fn redirty(&self, range: &Range<u64>) -> io::Result<()> {
        // Held throughout: no failing sync may come between a page's touch and the note of it.
        let mut durability = self.durability();
        let mut at = range.start;
        while at < range.end {
            let window = at..range.end.min(at + WINDOW_BYTES);
            let (region, bytes) = self.window(&window, ProtFlags::READ | ProtFlags::WRITE)?;
            region.touch(bytes)?;
            at = window.end;
        }
        durability.redirtied.insert(range.clone());
        Ok(())
    }

    /// A mapping of its own of these pages, through the same open file description.
    pub(super) fn window(&self, range: &Range<u64>, access: ProtFlags) -> io::Result<(Region, Range<usize>)> {
        debug_assert!(range.start.is_multiple_of(page_size() as u64));
        let bytes = 0..(range.end - range.start) as usize;
        let mut region = Region::reserve(bytes.len())?;
        region.place_file(bytes.clone(), self.fd.as_fd(), range.start, access, MapFlags::SHARED)?;
        Ok((region, bytes))
    }

    /// Starts the write-out of `range`. Only a head start: errors come to light in the sync that follows.
    pub(super) fn start_write_out(&self, range: Range<u64>) {
        if let Err(error) = sys::sync::start_write_out(self.fd.as_fd(), range) {
            log::debug!("cannot start write-out early: {error}");
        }
    }

    /// Where the mapping's pages now lie in the file.
    pub(super) fn set_extent(&self, extent: Range<u64>) {
        let mut durability = self.durability();
        // Pages that are no longer mapped are no longer this mapping's promise.
        for outside in [0..extent.start, extent.end..u64::MAX] {
            durability.failed.remove(outside.clone());
            durability.redirtied.remove(outside);
        }
        durability.extent = extent;
    }

    /// These bytes are mapped as well.
    pub(crate) fn widen_extent(&self, bytes: Range<u64>) {
        let mut durability = self.durability();
        durability.extent = match durability.extent.is_empty() {
            true => bytes,
            false => durability.extent.start.min(bytes.start)..durability.extent.end.max(bytes.end),
        };
    }

    /// Makes all pages dirty again that may have been lost, as far as the file goes.
    pub(crate) fn redirty_failed(&self) -> io::Result<()> {
        let end = self.len()?.next_multiple_of(page_size() as u64);
        let failed: Vec<_> = self.durability().failed.iter().collect();
        for range in failed {
            self.redirty(&(range.start.min(end)..range.end.min(end)))?;
            // Behind the end nothing can be stored, or lost.
            self.durability().failed.remove(end.max(range.start)..u64::MAX);
        }
        Ok(())
    }

    /// The file's length was changed through this mapping.
    pub(super) fn length_changed(&self) {
        self.durability().metadata_pending = true;
    }

    /// What was lost and not made good since, as an error.
    pub(super) fn remembered(&self) -> Option<Failure> {
        let durability = self.durability();
        if durability.folder_error.is_some() {
            return durability.refuse(&(0..0)).err();
        }
        // Dirty again is not yet durable.
        let first = durability.failed.iter().next()?;
        Some(Failure::lost(first, durability.cause))
    }

    pub(crate) fn error(&self, operation: &'static str, failure: &Failure) -> Error {
        failure.to_error(operation, self.path.as_deref(), self.offset, self.durability().extent.end)
    }
}

pub(super) fn with_path(error: Error, path: Option<&Path>) -> Error {
    match path {
        Some(path) => error.path(path),
        None => error,
    }
}

impl Durability {
    /// Refuses a range with failed pages that nobody made dirty again.
    fn refuse(&self, range: &Range<u64>) -> Result<(), Failure> {
        if let Some(errno) = self.folder_error {
            return Err(Failure {
                kind: ErrorKind::WriteBack,
                reason: "the new file's name could not be made durable in its folder".into(),
                advice: Some("copy the bytes to another file".into()),
                errno: Some(errno),
                range: range.clone(),
            });
        }
        let mut at = range.start;
        while let Some(failed) = self.failed.first_within(&(at..range.end)) {
            if let Some(lost) = self.redirtied.gaps(failed.clone()).into_iter().next() {
                return Err(Failure::lost(lost, self.cause));
            }
            at = failed.end;
        }
        Ok(())
    }

    /// Notes what a failed call means.
    fn fail(&mut self, range: &Range<u64>, error: io::Error) -> Failure {
        // These say that nothing was tried; all others, that something was tried and may be lost.
        if let Some(errno @ (libc::ENOMEM | libc::EINVAL | libc::EBUSY | libc::EOPNOTSUPP)) =
            error.raw_os_error()
        {
            return Failure::of_os("sync", errno, range.clone());
        }
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        self.cause = errno;
        self.failed.insert(self.extent.clone());
        self.redirtied.clear();
        Failure::lost(self.extent.clone(), errno)
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
