//! Starting write-back, waiting for it, and making pages dirty again.
//!
//! # Safety
//!
//! This file is trusted with `msync` inside a [`Region`], with `sync_file_range`, and with one futex operation that
//! touches a word of a page without changing it.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::mm::{self, MsyncFlags};

use super::region::Region;

/// Really starts the write-out of the dirty pages in `range` of the file, without waiting for it. It may still block
/// while the device's queue is full. Makes nothing durable, and takes note of no error: sync_file_range(2).
pub(crate) fn start_write_out(fd: BorrowedFd<'_>, range: Range<u64>) -> io::Result<()> {
    let (Ok(start), Ok(len)) = (i64::try_from(range.start), i64::try_from(range.end - range.start)) else {
        return Err(rustix::io::Errno::OVERFLOW.into());
    };
    // To the kernel a length of 0 means "to the end".
    if len == 0 {
        return Ok(());
    }
    // SAFETY: the call takes no pointer.
    match unsafe { libc::sync_file_range(fd.as_raw_fd(), start, len, libc::SYNC_FILE_RANGE_WRITE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Region {
    /// `msync(MS_SYNC)` of the pages at `bytes`: on return they, and what is needed to find them, are on the device.
    /// Does nothing for pages that are not a shared mapping of a file opened for writing.
    pub(crate) fn msync(&self, bytes: Range<usize>) -> io::Result<()> {
        self.check(&bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: msync changes no byte; only pages of this region are named (checked above).
        unsafe { mm::msync(self.address(bytes.start).cast(), bytes.len(), MsyncFlags::SYNC)? };
        Ok(())
    }

    /// Makes each page at `bytes` dirty without changing a byte of it, atomically with regard to everybody's stores.
    /// `EFAULT` where a store would have raised a signal.
    ///
    /// The kernel does it: `FUTEX_WAKE_OP` ORs 0 into the page's first word (futex(2)). An `fetch_or(0)` of our own could
    /// be compiled into a plain load, and would die of SIGBUS on a page that was truncated away.
    pub(crate) fn touch(&self, bytes: Range<usize>) -> io::Result<()> {
        self.check(&bytes);
        /// `FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_LT, 0)`: the comparison only decides whom to wake, and nobody waits.
        const OR_NOTHING: libc::c_int = (2 << 28) | (2 << 24);
        let nobody_waits: u32 = 0;
        for at in bytes.step_by(super::page_size()) {
            // SAFETY: the first word is ours; the second is aligned, in this region, and keeps its value: all that the
            // kernel does to it is one atomic OR with 0, or EFAULT.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    &raw const nobody_waits,
                    libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG,
                    0,
                    ptr::null::<libc::timespec>(),
                    self.address(at),
                    OR_NOTHING,
                )
            };
            if result < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::copy::Route;
    use rustix::mm::{MapFlags, ProtFlags};

    #[test]
    fn a_touch_changes_nothing_and_needs_a_writable_page() {
        let page = crate::sys::page_size();
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * page as u64).unwrap();
        let mut region = Region::reserve(3 * page).unwrap();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        region.place_file(0..3 * page, file.as_fd(), 0, access, MapFlags::SHARED).unwrap();
        region.write(page, b"steadfast", Route::Fastest).unwrap();
        region.touch(0..2 * page).unwrap();
        let mut back = [0; 9];
        region.read(page, &mut back, Route::Fastest).unwrap();
        assert_eq!(&back, b"steadfast");
        // Past the end of the file: an error and no SIGBUS.
        let error = region.touch(2 * page..3 * page).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        region.place_file(0..page, file.as_fd(), 0, ProtFlags::READ, MapFlags::SHARED).unwrap();
        assert_eq!(region.touch(0..page).unwrap_err().raw_os_error(), Some(libc::EFAULT));
    }
}
