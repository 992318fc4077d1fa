//! One kernel mapping of one file, every promise kept.
//!
//! | subject | file |
//! |---|---|
//! | options, opening, the lock | `options`, `open` |
//! | addresses, pages, file offsets | `place` |
//! | checked copies; values and references | `copy`, `typed`, `atomics` |
//! | durability and its failures | `sync`, `file`, `failure`, `background`, `ticket` |
//! | dropping cached pages | `invalidate` |
//! | changing the length | `resize`, `growth` |
//! | bytes that others took away | `damage` |
//! | access to pages; pages that stay | `protect`, `memory_lock` |
//! | advice, and what is in memory | `advise`, `residency` |

mod advise;
mod atomics;
mod background;
mod copy;
mod damage;
mod failure;
mod file;
mod growth;
mod invalidate;
mod memory_lock;
mod open;
mod options;
mod place;
mod protect;
mod residency;
mod resize;
mod sync;
#[cfg(test)]
mod sync_tests;
mod ticket;
mod typed;

use std::fmt;
use std::ops::{Range, RangeBounds};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::advise::FileAdvice;
pub use self::atomics::Atomic;
pub use self::options::MappingOptions;
pub use self::protect::Protection;
pub use self::residency::{Residency, ResidencySpan};
pub use self::ticket::SyncTicket;
pub use crate::sys::advise::{Advice, UncheckedAdvice};

pub(crate) use self::background::{Background, run as run_in_background};
pub(crate) use self::file::{MappedFile, Through};
use self::place::Placed;
use self::protect::ProtectionMap;
use crate::error::{Error, ErrorKind, Result};
use crate::left::LeftMemory;
use crate::range;
use crate::sys::copy::Route;
use crate::sys::fork::Birth;

/// Whose stores the mapping shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Everybody's, and everybody sees ours (`MAP_SHARED`).
    Shared,
    /// The file's until we store, then our own (`MAP_PRIVATE`).
    Private,
    /// Only ours: there is no file.
    Anonymous,
}

/// One kernel mapping of one file: every process that maps the file sees every store at once.
///
/// What the kernel leaves open is kept here: a sync that returned success holds the bytes, the length and the name of the
/// file, and never says so over bytes that an earlier error lost; a file that others truncate is an error value of
/// [`read_at`](Self::read_at) and [`write_at`](Self::write_at), not a signal; a range that leaves the mapping is an error.
///
/// Mapped for reading, a file that is open for commits elsewhere, or whose journal waits for recovery, shows the plain file:
/// the state of an earlier commit, or the middle of a checkpoint (the log says so, at level info). Its last commit is shown by
/// [`AtomicOptions::read_only`](crate::AtomicOptions::read_only), and each commit at once by a writer with
/// [`publish(true)`](crate::AtomicOptions::publish).
///
/// A mapping is not atomic: a crash leaves any mix of old and new pages of what was not synced, and the kernel may write
/// any dirty page at any time.
///
/// Ranges are bytes of the mapping, `0..len`; where the kernel works in pages they are rounded outwards unless said
/// otherwise.
///
/// # After a fork
///
/// A child inherits the pages, as it does from mmap(2), and may read and store. Calls that need the parent's threads or
/// locks are errors there ([`Forked`](ErrorKind::Forked)), and dropping the mapping leaves the child's pages mapped. Once any
/// page was kept from children ([`Advice::DontFork`]), all checked access is such an error in children that are forked later.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("data.bin");
/// use steadfast::Mapping;
///
/// let mut map = Mapping::options().write(true).create(true).len(1 << 20).open(&path)?;
/// map.write_at(0, b"hello")?;
/// map.sync(..)?;
///
/// let mut bytes = [0; 5];
/// map.read_at(0, &mut bytes)?;
/// assert_eq!(&bytes, b"hello");
/// map.resize(2 << 20)?;
/// map.close()?;
/// # Ok(())
/// # }
/// ```
pub struct Mapping {
    placed: Placed,
    protections: ProtectionMap,
    /// `None` for anonymous memory.
    file: Option<Arc<MappedFile>>,
    /// The file's length when it was last looked at to decide how long the mapping is.
    file_len: u64,
    /// What was damaged and put back, and nobody was told of.
    untold: damage::Untold,
    sparse: bool,
    atomics: atomics::Granted,
    route: Route,
    birth: Birth,
    /// Pages were kept from children ([`Advice::DontFork`]): what stands at their addresses there may be anybody's.
    kept_from_children: AtomicBool,
    closed: bool,
}

// `Send` and `Sync` follow from the fields: the region is addresses, and all access to the bytes through `&self` goes
// through the kernel, through atomics, or through `unsafe` calls whose callers answer for races.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Mapping>();
    is_send_and_sync::<SyncTicket>();
};

impl Mapping {
    /// How to open a mapping. See [`Mapping`] for an example.
    pub fn options() -> MappingOptions {
        MappingOptions::new()
    }

    fn new(options: &MappingOptions, placed: Placed, file: Option<MappedFile>, file_len: u64) -> Mapping {
        let protection = if placed.writable { Protection::READ_WRITE } else { Protection::READ };
        let mapping = Mapping {
            protections: ProtectionMap::new(placed.end(), protection),
            file: file.map(Arc::new),
            file_len,
            untold: damage::Untold::default(),
            sparse: options.sparse,
            atomics: atomics::Granted::default(),
            route: Route::Fastest,
            birth: Birth::here(),
            kept_from_children: AtomicBool::new(placed.region.options().hidden.from_children),
            closed: false,
            placed,
        };
        mapping.tell_extent();
        mapping
    }

    /// Lets the file know where its pages are.
    fn tell_extent(&self) {
        if let Some(file) = &self.file {
            file.set_extent(self.placed.in_file(&(0..self.placed.end())));
        }
    }

    /// Length in bytes. See [`MappingOptions`] for an example.
    #[must_use]
    pub fn len(&self) -> usize {
        self.placed.len
    }

    /// Whether the length is 0.
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The absolute path that the file had when it was opened; `None` for anonymous memory and files without a name.
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// assert!(steadfast::Mapping::options().anonymous()?.path().is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref()?.path.as_deref()
    }

    /// The address of the first byte, valid for [`len`](Self::len) bytes until the mapping is resized, closed or dropped.
    /// Of an empty mapping it may not be used.
    ///
    /// Stores through it are everybody's at once and durable with the next [`sync`](Self::sync). A page that cannot be had
    /// reads as zeros, and [`check`](Self::check) says so (without the [guard](crate::MappingOptions::guard): SIGBUS). A
    /// store to a page that is protected raises SIGSEGV.
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// let map = steadfast::Mapping::options().len(8).anonymous()?;
    /// // SAFETY: the mapping is writable, eight bytes long, and nobody else uses it.
    /// unsafe { map.as_ptr().write(7) };
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.placed.region.as_ptr().wrapping_add(self.placed.lead)
    }

    /// Unmaps and unlocks, and reports what dropping can only log: write-back errors that no [`sync`](Self::sync) has made
    /// good since, and a failure to unmap. Waits for the tickets of [`start_sync`](Self::start_sync).
    ///
    /// It does not sync: stores since the last sync reach the file when the kernel writes them. Call `sync` first.
    ///
    /// A child that was forked meanwhile has the pages too and can still store through them: until it ends, or executes
    /// another program, it keeps the shared lock, and the file cannot be opened for commits.
    ///
    /// # Errors
    ///
    /// [`WriteBack`](ErrorKind::WriteBack): bytes were lost on their way to the device. [`Truncated`](ErrorKind::Truncated) or
    /// [`Io`](ErrorKind::Io): a writable mapping is damaged, see [`check`](Self::check). The mapping is gone all the same.
    ///
    /// See [`Mapping`] for an example.
    pub fn close(mut self) -> Result<()> {
        let lost = self.finish();
        if self.birth.is_elsewhere() {
            return lost;
        }
        let unmapped = self.placed.region.unmap();
        let unmapped = unmapped.map_err(|error| self.with_path(Error::from_io("close", error)));
        lost.and(unmapped)
    }

    /// All of a close but for the pages.
    fn finish(&mut self) -> Result<()> {
        self.closed = true;
        if self.birth.is_elsewhere() {
            // The parent closes; here only the descriptor goes.
            return Ok(());
        }
        self.settle().and_then(|()| match self.is_shared_writer() {
            true => self.tell_damage("close", &(0..self.len())),
            false => Ok(()),
        })
    }

    /// Waits for the background thread and asks what was lost.
    fn settle(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.background.finish();
        match file.remembered() {
            Some(failure) => Err(file.error("close", &failure)),
            None => Ok(()),
        }
    }

    /// As [`close`](Self::close), and there is memory at its addresses for as long as what is returned lives: for those who cannot know who
    /// still has a pointer into it. It reads as zeros, and what is stored there reaches no file: pages of the file would keep its lock, too.
    ///
    /// # Errors
    ///
    /// The second part is what `close` would have returned.
    ///
    /// See [`AtomicMapping::close_keeping_memory`](crate::AtomicMapping::close_keeping_memory) for an example.
    pub fn close_keeping_memory(mut self) -> (LeftMemory, Result<()>) {
        let closed = self.finish();
        let pages = 0..self.placed.end();
        if !self.birth.is_elsewhere() {
            self.placed.region.forget_descriptor();
        }
        let mut left = LeftMemory::of(&mut self.placed.region, pages);
        left.clear();
        (left, closed)
    }

    /// Addresses, in bytes from the first, within which the mapping never moves.
    ///
    /// See [`MappingOptions::reserve`], and [`MappingOptions`] for an example.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.placed.region.len() - self.placed.lead
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.fd.as_fd())
    }

    /// The bytes that a caller's range means.
    fn resolve(&self, operation: &'static str, range: &impl RangeBounds<usize>) -> Result<Range<usize>> {
        range::resolve(range, self.len()).map_err(|error| self.with_path(error.into_error(operation)))
    }

    /// The bytes `offset .. offset + count`.
    fn span(&self, operation: &'static str, offset: usize, count: usize) -> Result<Range<usize>> {
        range::span(offset, count, self.len()).map_err(|error| self.with_path(error.into_error(operation)))
    }

    fn with_path(&self, error: Error) -> Error {
        file::with_path(error, self.path())
    }

    /// An error about these bytes.
    fn error(
        &self,
        kind: ErrorKind,
        operation: &'static str,
        range: &Range<usize>,
        reason: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Error {
        self.with_path(Error::new(kind, operation, reason).range(range.start as u64..range.end as u64))
    }

    /// An errno about these bytes.
    fn os_error(&self, operation: &'static str, range: &Range<usize>, error: std::io::Error) -> Error {
        self.with_path(Error::from_io(operation, error).range(range.start as u64..range.end as u64))
    }

    /// The file of a shared mapping; anything else has nothing that could be `operation`ed.
    fn shared_file(&self, operation: &'static str) -> Result<&Arc<MappedFile>> {
        let reason = match (self.placed.kind, &self.file) {
            (Kind::Shared, Some(file)) => return Ok(file),
            (Kind::Private, _) => {
                "a private mapping keeps its changes to itself: nothing of it is in the file"
            }
            _ => "anonymous memory has no file",
        };
        let error = Error::new(ErrorKind::InvalidInput, operation, reason);
        Err(self.with_path(error.advice("open the file with `write(true)` and without `private`")))
    }

    /// Refuses calls that need the parent's threads or locks, before any of them is touched.
    fn refuse_in_child(&self, operation: &'static str) -> Result<()> {
        if self.birth.is_elsewhere() {
            let error =
                Error::new(ErrorKind::Forked, operation, "the mapping belongs to the parent of this process");
            return Err(self.with_path(error.advice("open the file again in the child")));
        }
        Ok(())
    }

    /// Refuses calls that touch pages which a child may not have: it may have come to hold something else at their addresses.
    fn refuse_without_pages(&self, operation: &'static str) -> Result<()> {
        // Set before the pages are taken from children, so a child that lacks some sees it.
        if self.kept_from_children.load(Ordering::Relaxed) { self.refuse_in_child(operation) } else { Ok(()) }
    }

    /// Whether the file still holds the bytes of `range`; asked after an access, as anybody can truncate it at any time.
    fn check_length(&self, operation: &'static str, range: &Range<usize>) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let len = file.len().map_err(|error| self.os_error(operation, range, error))?;
        if len < self.placed.offset() + range.end as u64 {
            return Err(self
                .error(
                    ErrorKind::Truncated,
                    operation,
                    range,
                    format!(
                        "the file was truncated to {len} bytes, these end at byte {} of it",
                        self.placed.offset() + range.end as u64
                    ),
                )
                .advice("call `refresh` to go on with what is left, and find out who truncates it"));
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a child the thread does not exist and locks may stand half-taken: nothing may be waited for.
        if self.closed || self.birth.is_elsewhere() {
            return;
        }
        let damaged = || self.is_shared_writer().then(|| self.tell_damage("close", &(0..self.len())));
        if let Err(error) = self.settle().and_then(|()| damaged().unwrap_or(Ok(()))) {
            log::error!("{error}");
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("path", &self.path())
            .field("offset", &self.placed.offset())
            .field("len", &self.len())
            .field("kind", &self.placed.kind)
            .field("writable", &self.placed.writable)
            .field("address", &self.as_ptr())
            .finish_non_exhaustive()
    }
}
