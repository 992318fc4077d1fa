//! What `read`, `write`, `ftruncate` and `fsync` of a descriptor mean for a file that this process maps atomically: the descriptor
//! leads to the plain file, which is behind.
//!
//! Each answers `None` where the file is not one of those, and the call is the kernel's. Where no file is mapped so, that takes no
//! system call.

use std::ffi::{OsStr, c_int};
use std::io;
use std::ops::{Range, RangeInclusive};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::atomic::{self, AtomicFile, Image};
pub use super::in_flight::PlainWrite;
use super::{in_flight, map, name, os_error};
use crate::error::Result;

/// The same for calls that change these bytes. Where the program has unmapped some of them there is no image to change, and where the file
/// has lost its name nothing can be committed: it goes back to the kernel, whose call it is then.
fn changing<T>(
    fd: BorrowedFd<'_>,
    bytes: Range<u64>,
    call: impl Fn(&mut Image<'_>) -> Result<T>,
) -> Option<Result<T>> {
    let file = atomic::of_descriptor(fd)?;
    let lacks = |image: &mut Image<'_>| image.lacks(bytes.clone());
    let done = name::committing(&file, |image| if lacks(image)? { Ok(None) } else { call(image).map(Some) });
    match done.transpose()? {
        Ok(None) => map::leave_to_kernel(&file, map::Why::MappedTwice).err().map(Err),
        Ok(Some(done)) => Some(Ok(done)),
        Err(error) => Some(Err(error)),
    }
}

fn with<T>(fd: BorrowedFd<'_>, call: impl FnOnce(Image<'_>) -> Result<T>) -> Option<Result<T>> {
    let file = atomic::of_descriptor(fd)?;
    // Given back to the kernel meanwhile: then the descriptor leads to what is mapped.
    let image = file.image()?;
    Some(call(image))
}

/// Is the file mapped atomically in this process?
#[must_use]
pub fn is_atomic(fd: BorrowedFd<'_>) -> bool {
    atomic::of_descriptor(fd).is_some()
}

/// Was the file mapped atomically in this process, and given back to the kernel, with a warning in the log? Then it was said what comes of
/// mapping it once more.
#[must_use]
pub fn was_given_back(fd: BorrowedFd<'_>) -> bool {
    atomic::identity_of(fd).ok().flatten().is_some_and(atomic::was_given_back)
}

/// To be asked before a write, of whatever kind, to a file that another thread may be mapping atomically at this moment: the kernel's call is
/// to be made while what this returns is there, and [`mmap_atomic`](super::mmap_atomic) in other threads waits until it is dropped. `None`:
/// the file is mapped atomically, so the write is one of the calls below.
///
/// Takes no lock and allocates nothing where no file is mapped atomically. A write that may wait for ever (splice(2) from a pipe into the
/// file) is not to be made so: whoever maps the file would wait with it. For the same reason no call of [`posix`](super) is to be made in
/// between: it may wait for who waits for this.
///
/// ```
/// use std::os::{fd::AsFd, unix::fs::FileExt};
/// use steadfast::posix;
/// # let file = tempfile::tempfile()?;
/// loop {
///     if let Some(_under_way) = posix::file::plain_write(file.as_fd())? {
///         file.write_all_at(b"hello", 0)?;
///         break;
///     }
///     // Given back to the kernel meanwhile: then it is plain again.
///     if let Some(written) = posix::file::write_at(file.as_fd(), b"hello", 0) {
///         written?;
///         break;
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`LimitExceeded`](crate::ErrorKind::LimitExceeded): there is no memory to note it in.
pub fn plain_write(fd: BorrowedFd<'_>) -> Result<Option<PlainWrite<'_>>> {
    let write = PlainWrite::publish(fd)?;
    Ok((!is_atomic(fd)).then_some(write))
}

/// Is the calling thread in a signal handler that interrupted a [`plain_write`] of its own? Whoever maps the file that is written to waits for
/// that, and the handler would wait for whoever maps.
#[must_use]
pub fn is_writing_here() -> bool {
    in_flight::is_under_way_here()
}

/// Is a file of this device and inode mapped atomically in this process, or has it gone back to the kernel? Waits for nothing and allocates
/// nothing, for signal handlers; where another thread maps or unmaps a file at this moment it may say `false` of any.
#[must_use]
pub fn is_known_at_a_glance(device: u64, inode: u64) -> bool {
    atomic::is_listed((device, inode))
}

/// To be told before descriptors are closed, or others are put over them, through which another thread may have a [`plain_write`] under
/// way. (Not in Rust, where a descriptor is open for as long as it is borrowed.)
pub fn closing(descriptors: RangeInclusive<RawFd>) {
    in_flight::closing(&descriptors);
}

/// As pread(2): of the image, with what is stored and not committed.
pub fn read_at(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Option<Result<usize>> {
    with(fd, |mut image| image.read_at(bytes, offset))
}

/// As pwrite(2): into the image, as part of the next commit. What goes beyond the end makes the image longer.
pub fn write_at(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Option<Result<usize>> {
    let len = len(fd)?;
    let end = offset.saturating_add(bytes.len() as u64);
    changing(fd, offset.min(len)..end, |image| image.write_at(bytes, offset))
}

/// As ftruncate(2): a commit of everything, with the new length.
pub fn set_len(fd: BorrowedFd<'_>, len: u64) -> Option<Result<()>> {
    let have = self::len(fd)?;
    // The page that the shorter of the two ends in.
    changing(fd, have.min(len)..have.min(len).saturating_add(1), |image| image.set_len(len))
}

/// As fallocate(2), for allocation, zeroing and punching holes: a commit of everything. Collapsing and inserting are refused
/// (EOPNOTSUPP), as file systems do that cannot.
pub fn allocate(fd: BorrowedFd<'_>, mode: c_int, offset: u64, len: u64) -> Option<Result<()>> {
    const ZEROS: c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
    let have = self::len(fd)?;
    changing(fd, offset.min(have)..offset.saturating_add(len), |image| {
        let refuse = |errno| Err(os_error("fallocate", io::Error::from_raw_os_error(errno)));
        if mode & !(ZEROS | libc::FALLOC_FL_KEEP_SIZE) != 0 || mode & ZEROS == ZEROS {
            return refuse(libc::EOPNOTSUPP);
        }
        if len == 0 {
            return refuse(libc::EINVAL);
        }
        let Some(end) = offset.checked_add(len) else { return refuse(libc::EFBIG) };
        if mode & ZEROS != 0 {
            image.zero(offset..end)?;
        }
        if mode & libc::FALLOC_FL_KEEP_SIZE == 0 && end > image.len()? as u64 {
            return image.set_len(end);
        }
        image.commit_all()
    })
}

/// The length of the image: what fstat(2) of the plain file says only after the next commit.
pub fn len(fd: BorrowedFd<'_>) -> Option<u64> {
    with(fd, |mut image| image.len().map(|len| len as u64))?.ok()
}

/// As fsync(2) and fdatasync(2): a commit of everything.
pub fn sync(fd: BorrowedFd<'_>) -> Option<Result<()>> {
    let file = atomic::of_descriptor(fd)?;
    name::committing(&file, |image| image.commit_all()).transpose()
}

/// What is about to happen to a name of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameChange {
    /// The file is found by another one afterwards.
    Renamed,
    /// It was the last one.
    Removed,
}

/// Gives the file back to the kernel: everything is committed, a plain file is left, and what is mapped of it shows each store to others at
/// once. For whoever is about to rename it, so that it is a plain file by its new name.
///
/// With [`refuse_to_give_back`](super::refuse_to_give_back) that is [`Busy`](crate::ErrorKind::Busy).
pub fn give_back(fd: BorrowedFd<'_>) -> Option<Result<()>> {
    let file = atomic::of_descriptor(fd)?;
    Some(map::leave_to_kernel(&file, map::Why::ToBeRenamed))
}

/// The same for whoever has no descriptor, but the device and the inode that stat(2) says. A file that is about to be removed is given back
/// whatever is refused: nobody finds it afterwards. So a process that is killed behind the removal leaves no journal beside the name.
pub fn give_back_before(change: NameChange, device: u64, inode: u64) -> Option<Result<()>> {
    if !atomic::any() {
        return None;
    }
    let why = match change {
        NameChange::Renamed => map::Why::ToBeRenamed,
        NameChange::Removed => map::Why::ToBeRemoved,
    };
    Some(map::leave_to_kernel(&*atomic::of((device, inode))?, why))
}

/// Is the file, by device and inode, mapped atomically under this name, so that its journal stands beside it? It may have others, which can go
/// without a harm. The folder is told by its device and inode, too.
#[must_use]
pub fn goes_by(file: (u64, u64), folder: (u64, u64), name: &OsStr) -> bool {
    let goes = |file: Arc<_>| Some(AtomicFile::image(&file)?.goes_by(folder, name.as_bytes()));
    atomic::any() && atomic::of(file).and_then(goes).unwrap_or(false)
}

/// To be told once the last name of a file was removed: its inode may be another file's by now, of which nothing was
/// [said](was_given_back) yet.
pub fn removed(device: u64, inode: u64) {
    atomic::forget_given_back((device, inode));
}

/// Gives every file that has lost its name back to the kernel: one that was removed or renamed, or whose name leads to another file. As the
/// next commit of each would. To be called after a name was taken away, for its journal to go with it.
///
/// What is stored and not committed is written to the file, and durable when the kernel says so. Neither a file that has the name now is
/// touched, nor its journal. A file that is found under another name is told of in the log, or, with
/// [`refuse_to_give_back`](super::refuse_to_give_back), is [`Busy`](crate::ErrorKind::Busy).
///
/// # Errors
///
/// The first error; every file was tried, and is again by its next commit.
pub fn notice_lost_names() -> Result<()> {
    if !atomic::any() {
        return Ok(());
    }
    map::notice_lost_names()
}
