//! Which mappings become atomic, and what happens to those that cannot.
//!
//! # Safety
//!
//! This file is trusted with [`posix::mmap_atomic`] (see `memory.rs`), and with descriptors by the numbers that the program gives: where
//! nothing is open under one, the kernel says so.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_int, c_void};
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{CWD, FileType, OFlags};
use steadfast::{AtomicMapping, Error, ErrorKind, posix};

use crate::memory::Request;
use crate::settings::{self, Settings};
use crate::{inside, owned};

/// The process that mapped something atomically last, or tried to; 0 while none has.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// May a file be mapped atomically in this process? One load where none ever was.
pub(crate) fn any() -> bool {
    let process = PROCESS.load(Ordering::Acquire);
    process != 0 && process == owned::pid()
}

/// As [`any`], for a call that the program makes.
pub(crate) fn concerns_us() -> bool {
    any() && !inside::is_here()
}

/// The descriptor, if it leads to a file that this process maps atomically.
pub(crate) fn file<'fd>(fd: c_int) -> Option<BorrowedFd<'fd>> {
    descriptor(fd).filter(|&fd| posix::file::is_atomic(fd))
}

/// A number of the program's as a descriptor.
pub(crate) fn descriptor<'fd>(fd: c_int) -> Option<BorrowedFd<'fd>> {
    if fd < 0 {
        return None;
    }
    // SAFETY: not -1, and used in calls only that say so where nothing is open under it.
    Some(unsafe { BorrowedFd::borrow_raw(fd) })
}

pub(crate) fn is_regular(fd: c_int) -> bool {
    descriptor(fd)
        .and_then(|fd| rustix::fs::fstat(fd).ok())
        .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

/// What became of a mapping that might be atomic.
#[derive(Debug)]
pub(crate) enum Found {
    Mapped(*mut c_void),
    /// With this errno.
    Refused(c_int),
    /// To the kernel.
    Passed,
}

/// A shared mapping of a regular file.
pub(crate) fn map(request: &Request) -> Found {
    if !settings::has_patterns() {
        return Found::Passed;
    }
    let found = map_once(request, true);
    // It was renamed meanwhile: by the name that it has now, if that is one of those.
    found.unwrap_or_else(|| map_once(request, false).unwrap_or(Found::Passed))
}

/// `None`: to be tried once more.
fn map_once(request: &Request, is_first: bool) -> Option<Found> {
    let settings = settings::get();
    let Some(file) = File::look(request.fd).filter(|file| settings.matches(&file.path)) else {
        return Some(Found::Passed);
    };
    if !file.is_read_write {
        if settings.strict && descriptor(request.fd).is_some_and(posix::file::is_atomic) {
            log::warn!(
                "{}: not mapped: it is mapped atomically, and one image cannot serve a mapping for reading alone as well; open it for \
                 reading and writing",
                file.path.display()
            );
            return Some(Found::Refused(libc::EBUSY));
        }
        log::info!("{}: passed on: its descriptor is for reading alone", file.path.display());
        return Some(Found::Passed);
    }
    // First: who writes to the file looks here, and must go to its image from the moment that there is one.
    PROCESS.store(owned::pid(), Ordering::Release);
    let options = AtomicMapping::options().publish(settings.publish).guard(false);
    let Request { address, len, prot, flags, fd, offset } = *request;
    // SAFETY: the program's arguments, as they came; that nobody else writes the file is promised (head of `memory.rs`).
    let mapped = unsafe { posix::mmap_atomic(address, len, prot, flags, fd, offset, &options) };
    match mapped {
        Ok(at) => {
            log::info!("{}: converted: {len} bytes from offset {offset} at {at:p}", file.path.display());
            Some(Found::Mapped(at))
        }
        Err(error) if is_first && error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(file.refused(fd, &error, settings)),
    }
}

/// The file that a descriptor leads to.
struct File {
    path: PathBuf,
    is_read_write: bool,
    is_unlinked: bool,
    identity: (u64, u64),
}

impl File {
    fn look(fd: c_int) -> Option<File> {
        let fd = descriptor(fd)?;
        let stat = rustix::fs::fstat(fd).ok()?;
        let flags = rustix::fs::fcntl_getfl(fd).ok()?;
        let mut path = path_of(fd)?;
        let is_unlinked = stat.st_nlink == 0;
        if is_unlinked {
            // The kernel's words for it.
            path = path.strip_suffix(b" (deleted)").unwrap_or(&path).to_vec();
        }
        Some(File {
            path: OsStr::from_bytes(&path).into(),
            is_read_write: flags & OFlags::RWMODE == OFlags::RDWR,
            is_unlinked,
            identity: (stat.st_dev, stat.st_ino),
        })
    }

    /// What cannot be, and what must not be.
    fn refused(&self, fd: c_int, error: &Error, settings: &Settings) -> Found {
        let path = self.path.display();
        let can_be_left_alone = match error.kind() {
            // Somebody else's commits would meet stores that they know nothing of.
            ErrorKind::Locked => {
                log::warn!("{path}: not mapped: {error}");
                return Found::Refused(libc::EAGAIN);
            }
            ErrorKind::Unsupported
            | ErrorKind::Busy
            // Its name is gone again and again.
            | ErrorKind::NotFound
            // Descriptors, addresses or memory: the kernel's mapping needs fewer of them.
            | ErrorKind::LimitExceeded
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnly
            | ErrorKind::InvalidInput => true,
            _ => false,
        };
        if settings.strict || !can_be_left_alone {
            log::warn!("{path}: not mapped: {error}");
            return Found::Refused(posix::errno(error));
        }
        // What is in memory alone, or goes away with its last descriptor, has no crash to be kept from; and arguments that are wrong are
        // found wrong by the kernel, too.
        if self.is_unlinked
            || has_no_name(fd)
            || error.kind() == ErrorKind::InvalidInput
            || self.is_in_memory()
        {
            log::info!("{path}: passed on: {error}");
        } else if !was_told(fd, error) && is_first(self.identity) {
            log::warn!("{path}: passed on to the kernel, not atomic: {error}");
        } else {
            log::info!("{path}: passed on again: {error}");
        }
        Found::Passed
    }

    fn is_in_memory(&self) -> bool {
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        self.path.as_os_str().as_bytes().starts_with(b"/memfd:")
            || rustix::fs::statfs(&self.path).is_ok_and(|found| matches!(found.f_type, TMPFS | RAMFS))
    }
}

/// As it is by now.
fn has_no_name(fd: c_int) -> bool {
    descriptor(fd).and_then(|fd| rustix::fs::fstat(fd).ok()).is_some_and(|stat| stat.st_nlink == 0)
}

/// That the file went back to the kernel was said when it did.
fn was_told(fd: c_int, error: &Error) -> bool {
    error.kind() == ErrorKind::Busy && descriptor(fd).is_some_and(posix::file::was_given_back)
}

/// Files of which it was said that they are passed on.
static TOLD: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// One line a file.
fn is_first(identity: (u64, u64)) -> bool {
    // A child that was forked while another thread was here says it once more, rather than wait.
    let Ok(mut told) = TOLD.try_lock() else { return true };
    let is_first = !told.contains(&identity);
    if is_first {
        told.push(identity);
    }
    is_first
}

/// Its last name is gone, and its inode may be another file's.
pub(crate) fn forget(identity: (u64, u64)) {
    if let Ok(mut told) = TOLD.try_lock() {
        told.retain(|&other| other != identity);
    }
}

/// Does a pattern match the path that a descriptor leads to? Allocates nothing, where the settings are known: a signal handler may have
/// interrupted an allocation. Of a path that is too long for one call, it might.
pub(crate) fn may_match(fd: BorrowedFd<'_>) -> bool {
    const LONGEST: usize = libc::PATH_MAX as usize;
    let mut link = [0; 32];
    // What is not written stays zero, and ends the name.
    let written = write!(&mut link[..31], "/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let (Ok(()), Ok(link)) = (written, CStr::from_bytes_until_nul(&link)) else { return true };
    let mut path = [0; LONGEST + 1];
    match rustix::fs::readlinkat_raw(CWD, link, &mut path[..LONGEST]) {
        Ok(len) if len == LONGEST => true,
        Ok(_) => CStr::from_bytes_until_nul(&path).map_or(true, |path| settings::get().matches_name(path)),
        Err(_) => true,
    }
}

/// The absolute path, as the kernel has it.
pub(crate) fn path_of(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let path = rustix::fs::readlink(Path::new(&link), Vec::new()).ok()?.into_bytes();
    path.starts_with(b"/").then_some(path)
}
