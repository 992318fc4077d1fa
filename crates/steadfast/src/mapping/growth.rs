//! Making a file longer, so that it can be taken back.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{self, FallocateFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind};
use crate::fault::writing;
use crate::sys::file_size_limit;

/// Zeros written at a time where a file system cannot allocate.
const ZEROS_BYTES: usize = 1 << 20;

/// A file that has just grown. Dropped without [`keep`](Growth::keep) it gets its old length back.
#[derive(Debug)]
pub(super) struct Growth<'fd> {
    fd: BorrowedFd<'fd>,
    old_len: u64,
    new_len: u64,
    kept: bool,
}

/// Why a file cannot grow.
#[derive(Debug)]
pub(super) enum GrowthError {
    /// The process may not write files of this length.
    FileSizeLimit {
        wanted: u64,
        limit: u64,
    },
    Io(io::Error),
}

impl GrowthError {
    pub(super) fn into_error(self, operation: &'static str) -> Error {
        match self {
            GrowthError::FileSizeLimit { wanted, limit } => Error::new(
                ErrorKind::NoSpace,
                operation,
                format!("the file would have {wanted} bytes, the limit RLIMIT_FSIZE is {limit}"),
            )
            .advice("raise the limit (`ulimit -f`) or ask for less"),
            GrowthError::Io(error) => Error::from_io(operation, error),
        }
    }
}

impl<'fd> Growth<'fd> {
    /// Grows the file to `new_len` bytes, with blocks unless it is to be `sparse`.
    pub(super) fn of(
        fd: BorrowedFd<'fd>,
        old_len: u64,
        new_len: u64,
        sparse: bool,
    ) -> Result<Growth<'fd>, GrowthError> {
        if let Some(limit) = file_size_limit().filter(|&limit| limit < new_len) {
            return Err(GrowthError::FileSizeLimit { wanted: new_len, limit });
        }
        // Made first: an allocation that fails half-way may have made the file longer.
        let growth = Growth { fd, old_len, new_len, kept: false };
        let result = if sparse { lengthen(fd, new_len) } else { allocate(fd, old_len, new_len) };
        result.map_err(|error| GrowthError::Io(error.into()))?;
        Ok(growth)
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Growth<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Never cut what another process appended beyond our own growth.
        let result = fs::fstat(self.fd).and_then(|stat| {
            if stat.st_size as u64 > self.new_len { Ok(()) } else { fs::ftruncate(self.fd, self.old_len) }
        });
        if let Err(error) = result {
            log::error!("cannot give a file its length of {} bytes back: {error}", self.old_len);
        }
    }
}

fn allocate(fd: BorrowedFd<'_>, old_len: u64, new_len: u64) -> Result<(), Errno> {
    match retry(|| fs::fallocate(fd, FallocateFlags::empty(), old_len, new_len - old_len)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(fd, old_len, new_len),
        result => result,
    }
}

/// For file systems that cannot allocate ahead: only a write gets blocks.
fn write_zeros(fd: BorrowedFd<'_>, old_len: u64, new_len: u64) -> Result<(), Errno> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = old_len;
    while at < new_len {
        let count = (new_len - at).min(ZEROS_BYTES as u64) as usize;
        match retry(|| rustix::io::pwrite(fd, &zeros[..count], at))? {
            0 => return Err(Errno::NOSPC),
            count => at += count as u64,
        }
    }
    Ok(())
}

fn lengthen(fd: BorrowedFd<'_>, new_len: u64) -> Result<(), Errno> {
    // Allocating the last byte lengthens a file and never shortens it, even if another process grows it meanwhile. Where
    // that is not to be had (or no block is free), the plain way is as good but for that race.
    if retry(|| fs::fallocate(fd, FallocateFlags::empty(), new_len - 1, 1)).is_ok() {
        return Ok(());
    }
    match fs::fstat(fd)?.st_size as u64 {
        len if len >= new_len => Ok(()),
        _ => retry(|| fs::ftruncate(fd, new_len)),
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match writing(&mut call) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn file() -> std::fs::File {
        tempfile::tempfile_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap()
    }

    #[test]
    fn growth_has_blocks_unless_sparse() {
        let full = file();
        Growth::of(full.as_fd(), 0, 1 << 20, false).unwrap().keep();
        assert_eq!(full.metadata().unwrap().len(), 1 << 20);
        assert!(full.metadata().unwrap().blocks() * 512 >= 1 << 20);
        let sparse = file();
        Growth::of(sparse.as_fd(), 0, 1 << 20, true).unwrap().keep();
        assert_eq!(sparse.metadata().unwrap().len(), 1 << 20);
        assert!(sparse.metadata().unwrap().blocks() * 512 <= 1 << 17);
    }

    #[test]
    fn growth_that_is_not_kept_is_taken_back() {
        let file = file();
        file.set_len(100).unwrap();
        drop(Growth::of(file.as_fd(), 100, 1 << 20, false).unwrap());
        assert_eq!(file.metadata().unwrap().len(), 100);
        let other = Growth::of(file.as_fd(), 100, 1 << 20, false).unwrap();
        file.set_len(2 << 20).unwrap();
        drop(other);
        assert_eq!(file.metadata().unwrap().len(), 2 << 20, "another hand's bytes are not cut");
    }

    #[test]
    fn zeros_are_written_where_nothing_can_be_allocated() {
        let file = file();
        write_zeros(file.as_fd(), 0, (ZEROS_BYTES + 5) as u64).unwrap();
        assert_eq!(file.metadata().unwrap().len(), (ZEROS_BYTES + 5) as u64);
        assert!(file.metadata().unwrap().blocks() * 512 >= ZEROS_BYTES as u64);
    }
}
