//! `read`, `write` and their kin, on descriptors of files that are mapped atomically: the plain file is behind, the image is what counts.
//!
//! # Safety
//!
//! This file is trusted with the exported names, whose signatures are those of the C library's headers, and with the memory that the
//! program gives a call to read from or to write to: it is there, for as long as the call takes. (Where it is not the kernel says EFAULT,
//! and here it is a fault of the program at that address.)
//!
//! A call whose file is not mapped atomically goes on as it came. Nothing of ours is held while it runs: it may wait for ever. One that
//! writes is known while it runs to those who map its file (`plain.rs`).
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::BorrowedFd;
use std::slice;

use libc::{iovec, off_t, size_t, ssize_t};
use rustix::fs::{OFlags, SeekFrom};
use steadfast::posix;

use crate::memory::failed;
use crate::per_process::PerProcess;
use crate::plain::{self, refused};
use crate::{atomic, inside, real, settings};

exported! { [read] (fd: c_int, bytes: *mut c_void, len: size_t) -> ssize_t = {
    read_from(fd, bytes, len)
} }

exported! { [pread, pread64] (fd: c_int, bytes: *mut c_void, len: size_t, offset: off_t) -> ssize_t = {
    pread_from(fd, bytes, len, offset)
} }

// What `-D_FORTIFY_SOURCE` makes of calls whose buffer has a length that the compiler knows. Where more is asked for, the C library ends
// the program.

exported! { [__read_chk] (fd: c_int, bytes: *mut c_void, len: size_t, room: size_t) -> ssize_t = {
    if len <= room {
        return read_from(fd, bytes, len);
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::__read_chk(fd, bytes, len, room) }
} }

exported! { [__pread_chk, __pread64_chk] (
    fd: c_int, bytes: *mut c_void, len: size_t, offset: off_t, room: size_t
) -> ssize_t = {
    if len <= room {
        return pread_from(fd, bytes, len, offset);
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::__pread_chk(fd, bytes, len, offset, room) }
} }

exported! { [readv] (fd: c_int, parts: *const iovec, count: c_int) -> ssize_t = {
    match listed(fd, parts, count).and_then(|parts| taken(fd, parts, Offset::OfDescriptor, 0)) {
        Some(count) => count,
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::readv(fd, parts, count) },
    }
} }

exported! { [preadv, preadv64] (fd: c_int, parts: *const iovec, count: c_int, offset: off_t) -> ssize_t = {
    match listed(fd, parts, count).and_then(|parts| taken(fd, parts, Offset::At(offset), 0)) {
        Some(count) => count,
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::preadv(fd, parts, count, offset) },
    }
} }

exported! { [preadv2, preadv64v2] (
    fd: c_int, parts: *const iovec, count: c_int, offset: off_t, flags: c_int
) -> ssize_t = {
    match listed(fd, parts, count).and_then(|parts| taken(fd, parts, Offset::or_of_descriptor(offset), flags)) {
        Some(count) => count,
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::preadv2(fd, parts, count, offset, flags) },
    }
} }

exported! { [write] (fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t = {
    let part = [iovec { iov_base: bytes.cast_mut(), iov_len: len }];
    // SAFETY: the program's arguments, as they came.
    let kernel = || unsafe { real::write(fd, bytes, len) };
    plain::write(fd, || put(fd, &part, Offset::OfDescriptor, 0), refused, kernel)
} }

exported! { [pwrite, pwrite64] (fd: c_int, bytes: *const c_void, len: size_t, offset: off_t) -> ssize_t = {
    let part = [iovec { iov_base: bytes.cast_mut(), iov_len: len }];
    // SAFETY: the program's arguments, as they came.
    let kernel = || unsafe { real::pwrite(fd, bytes, len, offset) };
    plain::write(fd, || put(fd, &part, Offset::At(offset), 0), refused, kernel)
} }

exported! { [writev] (fd: c_int, parts: *const iovec, count: c_int) -> ssize_t = {
    // SAFETY: the program's arguments, as they came.
    let kernel = || unsafe { real::writev(fd, parts, count) };
    let image = || put_listed(fd, parts, count, Offset::OfDescriptor, 0, kernel);
    plain::write(fd, image, refused, kernel)
} }

exported! { [pwritev, pwritev64] (fd: c_int, parts: *const iovec, count: c_int, offset: off_t) -> ssize_t = {
    // SAFETY: the program's arguments, as they came.
    let kernel = || unsafe { real::pwritev(fd, parts, count, offset) };
    let image = || put_listed(fd, parts, count, Offset::At(offset), 0, kernel);
    plain::write(fd, image, refused, kernel)
} }

exported! { [pwritev2, pwritev64v2] (
    fd: c_int, parts: *const iovec, count: c_int, offset: off_t, flags: c_int
) -> ssize_t = {
    // SAFETY: the program's arguments, as they came.
    let kernel = || unsafe { real::pwritev2(fd, parts, count, offset, flags) };
    let image = || put_listed(fd, parts, count, Offset::or_of_descriptor(offset), flags, kernel);
    plain::write(fd, image, refused, kernel)
} }

// Calls that move bytes within the kernel would write the plain file. They fail as they do for files that cannot be written so, and the
// program goes on with `read` and `write`.

exported! { [copy_file_range] (
    from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, len: size_t, flags: c_uint
) -> ssize_t = {
    // SAFETY: the program's arguments, as they came.
    let kernel = || unsafe { real::copy_file_range(from, from_at, to, to_at, len, flags) };
    plain::write(to, || Some(refused(libc::EXDEV)), refused, kernel)
} }

exported! { [sendfile, sendfile64] (to: c_int, from: c_int, offset: *mut off_t, len: size_t) -> ssize_t = {
    // SAFETY: the program's arguments, as they came.
    let kernel = || unsafe { real::sendfile(to, from, offset, len) };
    plain::write(to, || Some(refused(libc::EINVAL)), refused, kernel)
} }

exported! { [splice] (
    from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, len: size_t, flags: c_uint
) -> ssize_t = {
    let before = inside::errno();
    // Into a file it comes from a pipe, which may stay empty for ever: whoever maps the file must not have to wait for that. So it is
    // waited for here, with nothing published. (A signal ends that, where the kernel might have gone on: poll(2) is never restarted.)
    let waits = settings::has_patterns() && !inside::is_here() && flags & libc::SPLICE_F_NONBLOCK == 0
        && atomic::is_regular(to) && !is_nonblocking(from);
    let flags = if waits { flags | libc::SPLICE_F_NONBLOCK } else { flags };
    // SAFETY: the program's arguments, as they came, but for one flag.
    let kernel = || unsafe { real::splice(from, from_at, to, to_at, len, flags) };
    loop {
        let moved = plain::write(to, || Some(refused(libc::EINVAL)), refused, kernel);
        if !waits || moved != -1 || inside::errno() != libc::EAGAIN {
            return moved;
        }
        let mut pipe = libc::pollfd { fd: from, events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure of this frame.
        if unsafe { libc::poll(&raw mut pipe, 1, -1) } < 0 {
            return -1;
        }
        inside::set_errno(before);
    }
} }

fn is_nonblocking(fd: c_int) -> bool {
    atomic::descriptor(fd)
        .and_then(|fd| rustix::fs::fcntl_getfl(fd).ok())
        .is_some_and(|flags| flags.contains(OFlags::NONBLOCK))
}

fn read_from(fd: c_int, bytes: *mut c_void, len: size_t) -> ssize_t {
    let part = [iovec { iov_base: bytes, iov_len: len }];
    match taken(fd, &part, Offset::OfDescriptor, 0) {
        Some(count) => count,
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::read(fd, bytes, len) },
    }
}

fn pread_from(fd: c_int, bytes: *mut c_void, len: size_t, offset: off_t) -> ssize_t {
    let part = [iovec { iov_base: bytes, iov_len: len }];
    match taken(fd, &part, Offset::At(offset), 0) {
        Some(count) => count,
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::pread(fd, bytes, len, offset) },
    }
}

/// Where a call reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offset {
    At(i64),
    OfDescriptor,
}

impl Offset {
    /// As preadv2(2) and pwritev2(2) have it.
    fn or_of_descriptor(offset: off_t) -> Offset {
        if offset == -1 { Offset::OfDescriptor } else { Offset::At(offset) }
    }
}

/// The parts of a call. `None`: it is the kernel's, to be done or to be refused.
fn listed<'parts>(fd: c_int, parts: *const iovec, count: c_int) -> Option<&'parts [iovec]> {
    if !atomic::concerns_us() || fd < 0 || parts.is_null() || !(1..=libc::UIO_MAXIOV).contains(&count) {
        return None;
    }
    // SAFETY: the program's list, which has `count` entries.
    Some(unsafe { slice::from_raw_parts(parts, count as usize) })
}

/// A call that reads: what it returns, or `None` where it is the kernel's.
fn taken(fd: c_int, parts: &[iovec], offset: Offset, flags: c_int) -> Option<ssize_t> {
    if !atomic::concerns_us() {
        return None;
    }
    counted(inside::answer(|| {
        let fd = atomic::file(fd)?;
        Some(match check(fd, OFlags::WRONLY, parts, flags, libc::RWF_HIPRI) {
            Err(errno) => Err(errno),
            Ok(_) => read_parts(fd, parts, offset)?,
        })
    }))
}

/// As [`put`]. Where the list is none the kernel says so.
fn put_listed(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: Offset,
    flags: c_int,
    kernel: impl Fn() -> ssize_t,
) -> Option<ssize_t> {
    match listed(fd, parts, count) {
        Some(parts) => put(fd, parts, offset, flags),
        None => Some(kernel()),
    }
}

/// A call that writes: what it returns, or `None` where it is the kernel's.
fn put(fd: c_int, parts: &[iovec], offset: Offset, flags: c_int) -> Option<ssize_t> {
    const KNOWN: c_int = libc::RWF_HIPRI | libc::RWF_DSYNC | libc::RWF_SYNC | libc::RWF_APPEND;
    if !atomic::concerns_us() {
        return None;
    }
    counted(inside::answer(|| {
        let fd = atomic::file(fd)?;
        let open = match check(fd, OFlags::RDONLY, parts, flags, KNOWN) {
            Err(errno) => return Some(Err(errno)),
            Ok(open) => open,
        };
        let appends = open.contains(OFlags::APPEND) || flags & libc::RWF_APPEND != 0;
        let written = match write_parts(fd, parts, offset, appends)? {
            Err(errno) => return Some(Err(errno)),
            Ok(written) => written,
        };
        // O_SYNC contains it. (The flag of that name in rustix asks for all of O_SYNC.)
        if open.bits() as c_int & libc::O_DSYNC != 0 || flags & (libc::RWF_DSYNC | libc::RWF_SYNC) != 0 {
            let synced = match posix::file::sync(fd) {
                Some(synced) => synced.map_err(|error| failed(&error)),
                // It went back to the kernel meanwhile: to make the call once more would append twice.
                None => rustix::fs::fdatasync(fd).map_err(|error| error.raw_os_error()),
            };
            return Some(synced.map(|()| written));
        }
        Some(Ok(written))
    }))
}

fn counted(answer: Option<Result<usize, c_int>>) -> Option<ssize_t> {
    answer.map(|done| done.map_or(-1, |count| count as ssize_t))
}

/// What the kernel would refuse; else the flags with which the descriptor was opened.
fn check(
    fd: BorrowedFd<'_>,
    forbidden: OFlags,
    parts: &[iovec],
    flags: c_int,
    known: c_int,
) -> Result<OFlags, c_int> {
    let open = rustix::fs::fcntl_getfl(fd).map_err(|error| error.raw_os_error())?;
    if open.contains(OFlags::PATH) || open & OFlags::RWMODE == forbidden {
        return Err(libc::EBADF);
    }
    if flags & !known != 0 {
        return Err(libc::EOPNOTSUPP);
    }
    let len = parts.iter().try_fold(0_usize, |len, part| len.checked_add(part.iov_len));
    match len {
        Some(len) if isize::try_from(len).is_ok() => Ok(open),
        _ => Err(libc::EINVAL),
    }
}

/// Two threads that use a descriptor's offset use it one after the other, as read(2) and write(2) promise; so do those that append.
static OFFSETS: PerProcess<()> = PerProcess::new();

fn read_parts(fd: BorrowedFd<'_>, parts: &[iovec], offset: Offset) -> Option<Result<usize, c_int>> {
    let one_at_a_time = (offset == Offset::OfDescriptor).then(|| OFFSETS.lock());
    let start = match position(fd, offset) {
        Ok(start) => start,
        Err(errno) => return Some(Err(errno)),
    };
    let mut done = 0;
    for part in parts.iter().filter(|part| part.iov_len > 0) {
        // SAFETY: the program's memory, which it gave for this; nobody else has a reference to it.
        let bytes = unsafe { slice::from_raw_parts_mut(part.iov_base.cast::<u8>(), part.iov_len) };
        let at = start + done as u64;
        let read = match posix::file::read_at(fd, bytes, at) {
            Some(read) => read.map_err(|error| failed(&error)),
            None if done == 0 => return None,
            // It went back to the kernel behind the first parts, whose bytes are in the plain file by now.
            None => rustix::io::pread(fd, bytes, at).map_err(|error| error.raw_os_error()),
        };
        match read {
            Ok(count) => {
                done += count;
                if count < part.iov_len {
                    break;
                }
            }
            Err(errno) if done == 0 => return Some(Err(errno)),
            Err(_) => break,
        }
    }
    if one_at_a_time.is_some() {
        seek(fd, start + done as u64);
    }
    Some(Ok(done))
}

fn write_parts(
    fd: BorrowedFd<'_>,
    parts: &[iovec],
    offset: Offset,
    appends: bool,
) -> Option<Result<usize, c_int>> {
    let moves = offset == Offset::OfDescriptor;
    let _one_at_a_time = (moves || appends).then(|| OFFSETS.lock());
    let start = if appends {
        posix::file::len(fd)?
    } else {
        match position(fd, offset) {
            Ok(start) => start,
            Err(errno) => return Some(Err(errno)),
        }
    };
    let mut done = 0;
    for part in parts.iter().filter(|part| part.iov_len > 0) {
        // SAFETY: the program's memory, which it gave for this, and does not change meanwhile.
        let bytes = unsafe { slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len) };
        let at = start + done as u64;
        let written = match posix::file::write_at(fd, bytes, at) {
            Some(written) => written.map_err(|error| failed(&error)),
            None if done == 0 => return None,
            None => write_rest(fd, bytes, at),
        };
        match written {
            Ok(count) => {
                done += count;
                if count < bytes.len() {
                    break;
                }
            }
            Err(errno) if done == 0 => return Some(Err(errno)),
            Err(_) => break,
        }
    }
    if moves {
        seek(fd, start + done as u64);
    }
    Some(Ok(done))
}

/// A part of a call whose file went back to the kernel behind the parts before: those are in the plain file by now. (By the kernel's own
/// call, in which no thread is cancelled.)
fn write_rest(fd: BorrowedFd<'_>, bytes: &[u8], at: u64) -> Result<usize, c_int> {
    loop {
        if let Some(_under_way) = posix::file::plain_write(fd).map_err(|error| failed(&error))? {
            return rustix::io::pwrite(fd, bytes, at).map_err(|error| error.raw_os_error());
        }
        // Mapped once more meanwhile.
        if let Some(written) = posix::file::write_at(fd, bytes, at) {
            return written.map_err(|error| failed(&error));
        }
    }
}

fn position(fd: BorrowedFd<'_>, offset: Offset) -> Result<u64, c_int> {
    match offset {
        Offset::At(offset) => u64::try_from(offset).map_err(|_| libc::EINVAL),
        Offset::OfDescriptor => {
            rustix::fs::seek(fd, SeekFrom::Current(0)).map_err(|error| error.raw_os_error())
        }
    }
}

fn seek(fd: BorrowedFd<'_>, offset: u64) {
    // A regular file has every offset that was just read from or written to.
    let _ = rustix::fs::seek(fd, SeekFrom::Start(offset));
}
