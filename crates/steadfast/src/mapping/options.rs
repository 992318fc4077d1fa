//! How a mapping is opened.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use super::file::MappedFile;
use super::growth::Growth;
use super::open::{self, Opened};
use super::place::Placed;
use super::{Kind, Mapping};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::region::{Hidden, RegionOptions};

const OPERATION: &str = "open";

/// What to map and how; made by [`Mapping::options`].
///
/// Without any option: an existing file, all of it, for reading.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("data.bin");
/// use steadfast::Mapping;
///
/// let map = Mapping::options().write(true).create(true).len(10_000).open(&path)?;
/// assert_eq!(map.len(), 10_000);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until `open`, `open_fd` or `anonymous`"]
pub struct MappingOptions {
    pub(super) write: bool,
    pub(super) create: bool,
    pub(super) create_new: bool,
    pub(super) len: Option<usize>,
    pub(super) offset: u64,
    pub(super) grow: bool,
    pub(super) sparse: bool,
    pub(super) private: bool,
    pub(super) populate: bool,
    pub(super) reserve: usize,
    pub(super) lock_timeout: Duration,
    guard: bool,
    keep_from_dumps: bool,
    keep_from_children: bool,
    keep_addresses: bool,
}

impl MappingOptions {
    pub(super) fn new() -> Self {
        MappingOptions {
            write: false,
            create: false,
            create_new: false,
            len: None,
            offset: 0,
            grow: false,
            sparse: false,
            private: false,
            populate: false,
            reserve: 0,
            lock_timeout: Duration::ZERO,
            guard: true,
            keep_from_dumps: false,
            keep_from_children: false,
            keep_addresses: false,
        }
    }

    /// Allows stores. Without it the mapping is for reading only.
    ///
    /// A writable mapping that is not [`private`](Self::private) holds a shared lock on the file for as long as it lives
    /// (an open file description lock, fcntl(2)): many of them stand together, a file open for commits and a writable
    /// mapping do not. Where the file system cannot lock files (NFS without its lock service, some FUSE file systems) the mapping is
    /// made all the same, a warning with the file's path is logged, and nobody is kept out; a file is never opened for commits there.
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn write(mut self, write: bool) -> Self {
        self.write = write;
        self
    }

    /// Creates the file if it does not exist, with permission bits 0666 less the umask. Needs [`write`](Self::write);
    /// implies [`grow`](Self::grow).
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// As [`create`](Self::create), but a file that exists is an error
    /// ([`AlreadyExists`](crate::ErrorKind::AlreadyExists)).
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn create_new(mut self, create_new: bool) -> Self {
        self.create_new = create_new;
        self
    }

    /// Maps `len` bytes. Without it: from the [`offset`](Self::offset) to the end of the file.
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn len(mut self, len: usize) -> Self {
        self.len = Some(len);
        self
    }

    /// The mapping's first byte is the file's byte `offset`, which may be any: it need not lie on a page boundary.
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// Lets a file that is too short grow until the mapping fits. Its new blocks are allocated at once: a full disk is an
    /// error of the open, and not a signal at some later store. Needs [`write`](Self::write).
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn grow(mut self, grow: bool) -> Self {
        self.grow = grow;
        self
    }

    /// Grows the file without allocating blocks. Fast and small; but a store into a hole of a full disk is then SIGBUS
    /// (an error value through [`Mapping::write_at`]), and blocks are allocated one by one.
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn sparse(mut self, sparse: bool) -> Self {
        self.sparse = sparse;
        self
    }

    /// Copies on write: stores stay in this process and never reach the file (`MAP_PRIVATE`, mmap(2)). The file is opened
    /// for reading only.
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn private(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// Reads everything in and maps it before the open returns (`MAP_POPULATE`).
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn populate(mut self, populate: bool) -> Self {
        self.populate = populate;
        self
    }

    /// Reserves addresses for `len` bytes in all, so that [`Mapping::resize`] up to there keeps every address. Costs no
    /// memory.
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn reserve(mut self, len: usize) -> Self {
        self.reserve = len;
        self
    }

    /// How long the open may wait for a process that holds the file for commits. The default is not to wait.
    ///
    /// See [`Mapping`](crate::Mapping) for an example.
    pub fn lock_timeout(mut self, lock_timeout: Duration) -> Self {
        self.lock_timeout = lock_timeout;
        self
    }

    /// Opens and maps the regular file at `path`. Symbolic links are followed.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound), [`AlreadyExists`](ErrorKind::AlreadyExists),
    ///   [`PermissionDenied`](ErrorKind::PermissionDenied), [`ReadOnly`](ErrorKind::ReadOnly): about the file itself.
    /// - [`Unsupported`](ErrorKind::Unsupported): not a regular file, or a file system that cannot map.
    /// - [`OutOfRange`](ErrorKind::OutOfRange): the file ends before the mapping would, and may not grow.
    /// - [`NoSpace`](ErrorKind::NoSpace): it may grow, but there is no space. The file keeps its length; one that this call
    ///   created is removed again.
    /// - [`Locked`](ErrorKind::Locked): another handle has the file open for commits; the message names the process.
    /// - [`RecoveryNeeded`](ErrorKind::RecoveryNeeded): a journal waits beside the file. Only reading is allowed.
    /// - [`InvalidInput`](ErrorKind::InvalidInput): options that contradict each other, or lengths beyond what files
    ///   can have.
    /// - [`LimitExceeded`](ErrorKind::LimitExceeded): no addresses, descriptors or memory left.
    ///
    /// See [`MappingOptions`] for an example.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Mapping> {
        let path = path.as_ref();
        let open = || {
            self.check()?;
            self.map(open::by_path(&self, path)?)
        };
        open().map_err(|error: Error| error.path(path))
    }

    /// Maps the file of a descriptor, which stays the caller's.
    ///
    /// The file is opened once more, through `/proc/self/fd`: the lock and the kernel's memory of write-back errors belong to
    /// the open file description, and should be this mapping's own. Where that is not possible the descriptor is
    /// duplicated; an fsync through the caller's copy may then consume an error before
    /// [`sync`](Mapping::sync) can see it, and the lock lasts until both are closed.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); a descriptor that does not allow reading, or stores where they are asked for, is
    /// [`PermissionDenied`](ErrorKind::PermissionDenied).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut file = tempfile::tempfile()?;
    /// std::io::Write::write_all(&mut file, b"steadfast")?;
    /// let map = steadfast::Mapping::options().offset(6).open_fd(&file)?;
    /// let mut rest = [0; 3];
    /// map.read_at(0, &mut rest)?;
    /// assert_eq!(&rest, b"ast");
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_fd(self, fd: impl AsFd) -> Result<Mapping> {
        let fd = fd.as_fd();
        let path = open::path_of(fd);
        let open = || {
            self.check()?;
            if self.create || self.create_new {
                return Err(contradiction(
                    "a descriptor's file exists already: leave `create` out, or use `grow`",
                ));
            }
            self.map(open::by_fd(&self, fd, path.clone())?)
        };
        open().map_err(|error: Error| match &path {
            Some(path) => error.path(path),
            None => error,
        })
    }

    /// Maps [`len`](Self::len) bytes of fresh zeros that no file backs, private to this process and writable.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded): no memory or addresses. [`InvalidInput`](ErrorKind::InvalidInput):
    /// options that only a file can have.
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// let map = steadfast::Mapping::options().len(100).anonymous()?;
    /// map.write_at(90, b"steadfast")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn anonymous(self) -> Result<Mapping> {
        if self.create || self.create_new || self.grow || self.sparse || self.offset != 0 {
            return Err(contradiction("`create`, `grow`, `sparse` and `offset` are about files"));
        }
        let placed = Placed::new(&self, Kind::Anonymous, self.len.unwrap_or(0), None)?;
        Ok(Mapping::new(&self, placed, None, 0))
    }

    /// Turn the fault of an access to a page that is gone (the file was cut, the device fails, the disk is full) into zeros
    /// and an error, where SIGBUS would end the process: see [`fault`](crate::fault). Default: yes, where the feature
    /// `guard` is on.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// # std::fs::write(&path, [1; 10_000])?;
    /// use steadfast::{ErrorKind, Mapping};
    ///
    /// let mut map = Mapping::options().open(&path)?;
    /// // SAFETY: nobody stores to the file; that somebody cuts it is what this is about.
    /// let bytes = unsafe { map.as_slice() };
    /// std::fs::OpenOptions::new().write(true).open(&path)?.set_len(100)?; // another program
    /// assert_eq!(bytes[9_999], 0); // no signal
    /// assert_eq!(map.check().unwrap_err().kind(), ErrorKind::Truncated);
    /// map.refresh()?;
    /// assert_eq!(map.len(), 100);
    /// # Ok(())
    /// # }
    /// ```
    pub fn guard(mut self, guard: bool) -> Self {
        self.guard = guard;
        self
    }

    /// Keep the pages out of core dumps (`MADV_DONTDUMP`, madvise(2)): for secrets, and for maps that would make a dump
    /// huge. Default: no.
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// let secrets =
    ///     steadfast::Mapping::options().len(4096).keep_from_dumps(true).keep_from_children(true).anonymous()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_from_dumps(mut self, keep: bool) -> Self {
        self.keep_from_dumps = keep;
        self
    }

    /// Keep the pages from forked children (`MADV_DONTFORK`, madvise(2)): in a child calls that reach for them are errors,
    /// and a plain access is a SIGSEGV. Default: no, a child has the pages, as after mmap(2).
    ///
    /// See [`keep_from_dumps`](Self::keep_from_dumps) for an example.
    pub fn keep_from_children(mut self, keep: bool) -> Self {
        self.keep_from_children = keep;
        self
    }

    /// Where the mapping once had pages there is memory for as long as it lives: what a [`resize`](Mapping::resize) cuts off reads as zeros,
    /// and growth beyond what was [reserved](Self::reserve) is an error instead of a move. As
    /// [`AtomicOptions::keep_addresses`](crate::AtomicOptions::keep_addresses), which has an example. Default: no.
    pub fn keep_addresses(mut self, keep: bool) -> Self {
        self.keep_addresses = keep;
        self
    }

    pub(super) fn region(&self) -> RegionOptions {
        let hidden = Hidden { from_children: self.keep_from_children, from_dumps: self.keep_from_dumps };
        RegionOptions { hidden, guarded: self.guard, never_bare: self.keep_addresses, put_together: false }
    }

    /// Stores reach the file.
    pub(super) fn is_shared_writer(&self) -> bool {
        self.write && !self.private
    }

    pub(super) fn may_grow(&self) -> bool {
        self.grow || self.may_create()
    }

    pub(super) fn may_create(&self) -> bool {
        self.create || self.create_new
    }

    fn check(&self) -> Result<()> {
        if self.may_grow() && !self.write {
            return Err(contradiction("`create` and `grow` need `write(true)`"));
        }
        if self.may_grow() && self.private {
            return Err(contradiction(
                "a private mapping never changes its file: leave `create` and `grow` out",
            ));
        }
        Ok(())
    }

    fn map(&self, opened: Opened) -> Result<Mapping> {
        let file_len = opened.len()?;
        let len = match self.len {
            Some(len) => len,
            None => match file_len.checked_sub(self.offset) {
                Some(len) => usize::try_from(len).unwrap_or(usize::MAX),
                None if self.may_grow() => 0,
                None => return Err(past_the_end(self.offset..self.offset, file_len)),
            },
        };
        let end = end_in_file(OPERATION, self.offset, len)?;
        let growth = match end > file_len {
            true if self.may_grow() => Some(
                Growth::of(opened.fd(), file_len, end, self.sparse).map_err(|e| e.into_error(OPERATION))?,
            ),
            true => return Err(past_the_end(self.offset..end, file_len)),
            false => None,
        };
        let kind = if self.private { Kind::Private } else { Kind::Shared };
        // If this fails, `growth` and `opened` take their changes to the file back.
        let placed = Placed::new(self, kind, len, Some(opened.fd()))?;
        let grown = growth.map(Growth::keep).is_some();
        let file_len = file_len.max(end);
        Ok(Mapping::new(self, placed, Some(MappedFile::new(opened, self, grown)), file_len))
    }
}

fn contradiction(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, OPERATION, reason)
}

/// Where a mapping of `len` bytes from `offset` on ends in the file. Files end at 2^63 - 1 at the latest.
pub(super) fn end_in_file(operation: &'static str, offset: u64, len: usize) -> Result<u64> {
    offset.checked_add(len as u64).filter(|&end| end <= i64::MAX as u64).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            operation,
            format!("{len} bytes from byte {offset} on end beyond the largest length of a file (2^63 - 1)"),
        )
        .advice("choose a smaller offset or length")
    })
}

fn past_the_end(wanted: std::ops::Range<u64>, file_len: u64) -> Error {
    Error::new(
        ErrorKind::OutOfRange,
        OPERATION,
        format!("the mapping would reach to byte {} of a file of {file_len} bytes", wanted.end),
    )
    .advice("map less, or let the file grow with `write(true).grow(true)`")
}
