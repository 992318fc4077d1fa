//! The only door to files for everything under a store.
//!
//! A store is correct if it is correct over *every* disk that keeps these promises, the simulated one included:
//! what was not synced may survive a power cut wholly, partly or not at all, in any combination, and a failed
//! sync loses it silently. Each sync names its purpose ([`SyncPoint`]), so that a test can leave one out and see
//! that the crash matrix notices.

mod real;
#[cfg(feature = "sim")]
mod sim;

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

pub use crate::sys::lock::Lock;
pub use real::RealDisk;
#[cfg(feature = "sim")]
pub use sim::{CallKind, SimDisk, Survivors, Tear};

/// Why a sync happens: each names one step of the order that keeps data safe.
///
/// See `docs/format.md` of the repository for the order they stand in.
///
/// See [`RealDisk`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyncPoint {
    /// A fresh journal is whole before it gets the journal's name.
    FreshJournal,
    /// The journal's name is durable before anything relies on finding it.
    FreshJournalName,
    /// The data file carries its mark (and a created file its name) before the first commit is acknowledged.
    Mark,
    /// The record is durable before the commit is acknowledged or its bytes reach the data file.
    Record,
    /// The data file holds the checkpointed bytes before the journal lets go of them.
    Checkpoint,
    /// The anchor says so durably before journal space is used again.
    Anchor,
    /// The mark is gone before the journal is.
    Unmark,
    /// The journal's name is gone before `close` returns.
    JournalGone,
    /// What a journal held is overwritten, before the call returns and before the journal loses its name.
    Scrub,
    /// A copy is whole before it gets its name.
    Copy,
    /// The copy's name is durable before the call returns.
    CopyName,
    /// A record is durable before a reader is shown its commit.
    Shown,
    /// So is the name of the journal that holds it.
    ShownName,
}

impl SyncPoint {
    /// Every purpose.
    pub const ALL: [SyncPoint; 13] = [
        SyncPoint::FreshJournal,
        SyncPoint::FreshJournalName,
        SyncPoint::Mark,
        SyncPoint::Record,
        SyncPoint::Checkpoint,
        SyncPoint::Anchor,
        SyncPoint::Unmark,
        SyncPoint::JournalGone,
        SyncPoint::Scrub,
        SyncPoint::Copy,
        SyncPoint::CopyName,
        SyncPoint::Shown,
        SyncPoint::ShownName,
    ];
}

/// How a file is opened.
///
/// See [`RealDisk`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// For reading and writing; created with these permission bits (less the umask) if it does not exist.
    Create {
        /// Permission bits of a new file.
        mode: u32,
    },
    /// As `Create`, but an existing file is an error. The bits are set exactly.
    CreateNew {
        /// Permission bits of the new file.
        mode: u32,
    },
}

/// What a name in a folder stands for.
///
/// See [`RealDisk`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A folder.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character or block device.
    Device,
    /// A symbolic link.
    Symlink,
    /// A socket or something newer.
    Other,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Regular => "a regular file",
            FileKind::Directory => "a directory",
            FileKind::Fifo => "a FIFO",
            FileKind::Device => "a device",
            FileKind::Symlink => "a symbolic link",
            FileKind::Other => "a socket or another special file",
        })
    }
}

/// What the disk knows about a file, without its content.
///
/// See [`RealDisk`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Regular file, directory, …
    pub kind: FileKind,
    /// Length in bytes.
    pub len: u64,
    /// Device number.
    pub device: u64,
    /// The mount through which it was found, where the kernel tells: a file that is mounted by itself has another one than its
    /// folder, on whatever device.
    pub mount: Option<u64>,
    /// Inode number.
    pub inode: u64,
    /// Number of hard links.
    pub links: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: (u32, u32),
    /// Last change of content, length, attributes or names, in nanoseconds since the epoch.
    pub changed_ns: i128,
    /// Last change of content or length alone.
    pub modified_ns: i128,
}

/// What the file system under a path promises.
///
/// See [`RealDisk`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A local file system with a device under it.
    Local,
    /// Memory: gone with the next boot (tmpfs, ramfs).
    Volatile(&'static str),
    /// A network file system: a sync reaches the server, and what that means is the server's affair.
    Network(&'static str),
}

/// Files by name.
///
/// Paths given to the other methods are those that [`resolve`](Disk::resolve) returned, or names beside them.
///
/// See [`RealDisk`] for an example.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file. Never follows a symbolic link in the last component.
    ///
    /// See [`RealDisk`] for an example.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;
    /// What stands at `path`, without following a symbolic link in the last component.
    ///
    /// See [`RealDisk`] for an example.
    fn stat(&self, path: &Path) -> io::Result<FileStat>;
    /// The absolute path with every symbolic link followed. The file itself may not exist yet; its folder must.
    ///
    /// See [`RealDisk`] for an example.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;
    /// Gives the file `from` the name `to`, replacing what had it.
    ///
    /// See [`RealDisk`] for an example.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    ///
    /// See [`RealDisk`] for an example.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    ///
    /// See [`RealDisk`] for an example.
    fn sync_dir(&self, folder: &Path, point: SyncPoint) -> io::Result<()>;
    /// What the file system that holds `path` promises.
    ///
    /// See [`RealDisk`] for an example.
    fn durability(&self, path: &Path) -> io::Result<Durability>;
}

/// An open file.
///
/// See [`RealDisk`] for an example.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Length, identity and times.
    ///
    /// See [`RealDisk`] for an example.
    fn stat(&self) -> io::Result<FileStat>;
    /// Reads at `offset` until `buf` is full or the file ends; returns how much was read.
    ///
    /// See [`RealDisk`] for an example.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Says that this range is going to be read, or written in parts, soon: a hint, which a disk need not take.
    ///
    /// See [`RealDisk`] for an example.
    fn expect_use(&self, range: Range<u64>) {
        let _ = range;
    }
    /// Where at or behind `offset` the next bytes may stand that are not zeros; `None` if there are none before the file's end. A hint:
    /// a disk that knows nothing of holes answers `offset`.
    ///
    /// See [`RealDisk`] for an example.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset))
    }
    /// Writes all of `parts`, one behind the other, at `offset`. The file grows where needed.
    ///
    /// See [`RealDisk`] for an example.
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;
    /// Writes whole blocks and makes them durable before it returns: [`write_at`](DiskFile::write_at) and
    /// [`sync_data`](DiskFile::sync_data) in one call where the system has one. What was written before and not synced may stay
    /// so.
    ///
    /// Best from memory that is aligned to blocks of 4096 bytes, as is `offset`: the page cache is then passed by.
    ///
    /// See [`RealDisk`] for an example.
    fn write_durably(&self, blocks: &[u8], offset: u64, point: SyncPoint) -> io::Result<()> {
        self.write_at(&[blocks], offset)?;
        self.sync_data(point)
    }
    /// Cuts the file, or grows it with zeros that take no space.
    ///
    /// See [`RealDisk`] for an example.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// An error if the file could never be `len` bytes long, or this process may not write it that far, which
    /// [`set_len`](DiskFile::set_len) and [`write_at`](DiskFile::write_at) would find out too late.
    /// Changes nothing.
    ///
    /// See [`RealDisk`] for an example.
    fn check_len(&self, len: u64) -> io::Result<()> {
        let _ = len;
        Ok(())
    }
    /// Gives every hole in `range` blocks, so that a later write there needs no space. Changes neither content nor length.
    /// Returns the bytes from `range.start` on that are known to have blocks now, which may be more than `range`.
    /// A file system that cannot do this is no error: the promise is then weaker.
    ///
    /// See [`RealDisk`] for an example.
    fn reserve(&self, range: Range<u64>) -> io::Result<Range<u64>>;
    /// Makes `range` read as zeros, keeping its blocks; a hole stays one. Does not change the length.
    ///
    /// See [`RealDisk`] for an example.
    fn zero(&self, range: Range<u64>) -> io::Result<()>;
    /// Makes content and length durable.
    ///
    /// See [`RealDisk`] for an example.
    fn sync_data(&self, point: SyncPoint) -> io::Result<()>;
    /// Makes content, length and mark durable.
    ///
    /// See [`RealDisk`] for an example.
    fn sync(&self, point: SyncPoint) -> io::Result<()>;
    /// Lets go of cached pages that are clean, as far as nobody maps them: the next read comes from the disk. After a failed
    /// sync a page looks clean although the disk has other bytes, and what the file system remembers of its blocks may be
    /// wrong as well.
    ///
    /// See [`RealDisk`] for an example.
    fn drop_clean_pages(&self) -> io::Result<()>;
    /// The mark on the file (`user.steadfast`), if it carries one.
    /// [`io::ErrorKind::Unsupported`] where the file system has no room for marks.
    ///
    /// See [`RealDisk`] for an example.
    fn mark(&self) -> io::Result<Option<Vec<u8>>>;
    /// Sets or, with `None`, removes the mark.
    ///
    /// See [`RealDisk`] for an example.
    fn set_mark(&self, mark: Option<&[u8]>) -> io::Result<()>;
    /// Tries to lock the file: `false` if somebody else's lock stands against it. Held until this is dropped, and given back
    /// then even where a forked child has a copy of the descriptor.
    ///
    /// See [`RealDisk`] for an example.
    fn try_lock(&self, lock: Lock) -> io::Result<bool>;
    /// Gives the lock back before the file is dropped.
    ///
    /// See [`RealDisk`] for an example.
    fn unlock(&self) -> io::Result<()>;
    /// Keeps a journal's blocks where they are, on file systems that would move them at every write (btrfs).
    /// To be called while the file is empty.
    ///
    /// See [`RealDisk`] for an example.
    fn keep_in_place(&self) -> io::Result<()>;
    /// Takes owner and permission bits of another file, as far as this process may: where the other's group cannot be had, this
    /// file's group gets no more than everybody.
    ///
    /// See [`RealDisk`] for an example.
    fn set_owner(&self, owner: (u32, u32), mode: u32) -> io::Result<()>;
    /// The descriptor, where the file is one of the kernel's.
    ///
    /// See [`RealDisk`] for an example.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}
