//! What `read`, `write`, `ftruncate` and `fsync` of a descriptor mean for a file that this process maps atomically: the descriptor
//! leads to the plain file, which is behind.
//!
//! Each answers `None` where the file is not one of those, and the call is the kernel's. Where no file is mapped so, that takes no
//! system call.

use std::ffi::c_int;
use std::io;
use std::os::fd::BorrowedFd;

use super::atomic::{self, Image};
use super::os_error;
use crate::error::Result;

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

/// As pread(2): of the image, with what is stored and not committed.
pub fn read_at(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Option<Result<usize>> {
    with(fd, |mut image| image.read_at(bytes, offset))
}

/// As pwrite(2): into the image, as part of the next commit. What goes beyond the end makes the image longer.
pub fn write_at(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Option<Result<usize>> {
    with(fd, |mut image| image.write_at(bytes, offset))
}

/// As ftruncate(2): a commit of everything, with the new length.
pub fn set_len(fd: BorrowedFd<'_>, len: u64) -> Option<Result<()>> {
    with(fd, |mut image| image.set_len(len))
}

/// As fallocate(2), for allocation, zeroing and punching holes: a commit of everything. Collapsing and inserting are refused
/// (EOPNOTSUPP), as file systems do that cannot.
pub fn allocate(fd: BorrowedFd<'_>, mode: c_int, offset: u64, len: u64) -> Option<Result<()>> {
    const ZEROS: c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
    with(fd, |mut image| {
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
    with(fd, |mut image| image.commit_all())
}
