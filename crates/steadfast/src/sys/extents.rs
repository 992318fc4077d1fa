//! Where a file's bytes lie on the device, as far as it matters whether they were ever written.
//!
//! # Safety
//!
//! This file is trusted with one ioctl, `FS_IOC_FIEMAP`, which fills a C structure given to it.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Extents asked for at a time.
const EXTENTS: usize = 64;

/// linux: include/uapi/linux/fiemap.h, `struct fiemap` with its array.
#[repr(C)]
struct Fiemap {
    start: u64,
    len: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS],
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    len: u64,
    reserved_64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// `_IOWR('f', 11, struct fiemap)`, without the array.
const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
const FIEMAP_EXTENT_LAST: u32 = 0x1;
/// The blocks are there, and read as zeros whatever is on the device.
const FIEMAP_EXTENT_UNWRITTEN: u32 = 0x800;

/// The first bytes of `range` that have blocks which the file system regards as never written. `None` also where it
/// cannot be asked.
pub(crate) fn first_unwritten(fd: BorrowedFd<'_>, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
    let mut at = range.start;
    while at < range.end {
        let mut map = Fiemap {
            start: at,
            len: range.end - at,
            flags: 0,
            mapped: 0,
            count: EXTENTS as u32,
            reserved: 0,
            extents: [Extent::default(); EXTENTS],
        };
        // SAFETY: the kernel reads the head and writes it and at most `count` extents, for which there is room.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FIEMAP as _, &raw mut map) };
        if result != 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EINVAL) => Ok(None),
                _ => Err(error),
            };
        }
        let extents = map.extents.get(..map.mapped as usize).unwrap_or_default();
        let Some(last) = extents.last() else { return Ok(None) };
        for extent in extents {
            let part =
                extent.logical.max(range.start)..extent.logical.saturating_add(extent.len).min(range.end);
            if extent.flags & FIEMAP_EXTENT_UNWRITTEN != 0 && !part.is_empty() {
                return Ok(Some(part));
            }
        }
        let next = last.logical.saturating_add(last.len);
        if last.flags & FIEMAP_EXTENT_LAST != 0 || next <= at {
            return Ok(None);
        }
        at = next;
    }
    Ok(None)
}
