//! Open file description locks.
//!
//! # Safety
//!
//! This file is trusted with one variadic C call, `fcntl`, whose third argument must be a `struct flock`.
//!
//! The lock belongs to the open file description: it stands between two handles of one process as it does between
//! two processes, closing an unrelated descriptor does not drop it, and death does (fcntl(2)).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A lock on a whole data file.
///
/// See [`RealDisk`](crate::disk::RealDisk) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Many may hold it.
    Shared,
    /// One may hold it, and nobody a shared one.
    Exclusive,
}

/// One byte far beyond any data, so that a program's own record locks and ours do not meet by accident,
/// while a lock of the whole file by anybody does exclude us.
pub(crate) const LOCK_OFFSET: i64 = i64::MAX - 1;

/// Tries to take `lock`: `false` if another open file description holds one against it.
pub(crate) fn try_lock(fd: BorrowedFd<'_>, lock: Lock) -> io::Result<bool> {
    set_lock(
        fd,
        match lock {
            Lock::Shared => libc::F_RDLCK,
            Lock::Exclusive => libc::F_WRLCK,
        },
    )
}

/// Does this error of `try_lock` say that the file system has no locks at all?
pub(crate) fn is_not_to_be_had(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL))
}

/// Gives the lock back, whoever else holds a copy of the descriptor.
pub(crate) fn unlock(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_lock(fd, libc::F_UNLCK).map(drop)
}

fn set_lock(fd: BorrowedFd<'_>, kind: i32) -> io::Result<bool> {
    let request = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: LOCK_OFFSET,
        l_len: 1,
        // Must be zero for OFD locks.
        l_pid: 0,
    };
    loop {
        // SAFETY: F_OFD_SETLK reads one `struct flock` from the pointer, which lives across the call.
        let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
        if result == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => return Ok(false),
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
}
