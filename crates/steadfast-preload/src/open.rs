//! `open` and its kin: what a crash left beside a file is brought into it before anybody reads it.
//!
//! # Safety
//!
//! This file is trusted with the exported names, whose signatures are those of the C library's headers (the mode is a named parameter
//! here: see `real.rs`), and with paths that the program hands over as C strings.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::mode_t;
use rustix::fs::{CWD, Mode, OFlags};
use steadfast::{ErrorKind, Resolution, posix};

use crate::{atomic, inside, real, settings, start};

exported! { [open, open64] (path: *const c_char, flags: c_int, mode: mode_t) -> c_int = {
    // SAFETY: the program's arguments, as they came.
    opened(libc::AT_FDCWD, path, flags, |flags| unsafe { real::open(path, flags, mode) })
} }

exported! { [__open_2, __open64_2] (path: *const c_char, flags: c_int) -> c_int = {
    // SAFETY: the program's arguments, as they came.
    opened(libc::AT_FDCWD, path, flags, |flags| unsafe { real::open(path, flags, 0) })
} }

exported! { [openat, openat64] (folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = {
    // SAFETY: the program's arguments, as they came.
    opened(folder, path, flags, |flags| unsafe { real::openat(folder, path, flags, mode) })
} }

exported! { [__openat_2, __openat64_2] (folder: c_int, path: *const c_char, flags: c_int) -> c_int = {
    // SAFETY: the program's arguments, as they came.
    opened(folder, path, flags, |flags| unsafe { real::openat(folder, path, flags, 0) })
} }

exported! { [creat, creat64] (path: *const c_char, mode: mode_t) -> c_int = {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    // SAFETY: the program's arguments, as they came.
    opened(libc::AT_FDCWD, path, flags, |flags| unsafe { real::open(path, flags, mode) })
} }

/// What is left to do once a path is [prepared](prepare).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The call, as it came.
    Plain,
    /// The file is mapped atomically: what cuts it must be a commit.
    Mapped,
}

fn opened(folder: c_int, path: *const c_char, flags: c_int, open: impl Fn(c_int) -> c_int) -> c_int {
    // A path alone reads nothing.
    if !settings::has_patterns() || inside::is_here() || flags & libc::O_PATH != 0 {
        return open(flags);
    }
    let follow = flags & libc::O_NOFOLLOW == 0;
    match inside::answer(|| prepare(folder, path, follow)) {
        None | Some(Ok(Ready::Plain)) => open(flags),
        Some(Ok(Ready::Mapped)) if flags & libc::O_TRUNC == 0 => open(flags),
        Some(Ok(Ready::Mapped)) => {
            let fd = open(flags & !libc::O_TRUNC);
            let cut = inside::answer(|| {
                let done = posix::file::set_len(atomic::descriptor(fd)?, 0);
                Some(match done {
                    Some(done) => done.map_err(|error| crate::memory::failed(&error)),
                    // It went back to the kernel meanwhile.
                    // SAFETY: a number and a length.
                    None if unsafe { real::ftruncate(fd, 0) } == 0 => Ok(()),
                    None => Err(inside::errno()),
                })
            });
            if let Some(Err(errno)) = cut {
                // SAFETY: it was opened just now, and nobody knows it yet.
                unsafe { real::close(fd) };
                inside::set_errno(errno);
                return -1;
            }
            fd
        }
        Some(Err(_)) => -1,
    }
}

/// Brings a file that a pattern matches to its last commit, if a journal stands beside it. `None`: nothing to do with us.
pub(crate) fn prepare(folder: c_int, path: *const c_char, follow: bool) -> Option<Result<Ready, c_int>> {
    if path.is_null() {
        return None;
    }
    // SAFETY: a path is a C string, or the program has asked for a fault.
    let path = unsafe { CStr::from_ptr(path) };
    // Allocators and the C library read these; nothing there is mapped atomically.
    if [&b"/proc/"[..], b"/sys/", b"/dev/"].iter().any(|start| path.to_bytes().starts_with(start)) {
        return None;
    }
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !follow);
    // By a path alone, so that closing it gives back no lock of the program's (fcntl(2)).
    let file = if folder == libc::AT_FDCWD {
        rustix::fs::openat(CWD, path, flags, Mode::empty())
    } else {
        rustix::fs::openat(atomic::descriptor(folder)?, path, flags, Mode::empty())
    };
    let file = file.ok()?;
    let path = atomic::path_of(file.as_fd())?;
    let path = Path::new(OsStr::from_bytes(&path));
    if !settings::get().matches(path) {
        return None;
    }
    start::ensure();
    if atomic::any() && posix::file::is_atomic(file.as_fd()) {
        return Some(Ok(Ready::Mapped));
    }
    let mut journal = path.as_os_str().to_os_string();
    journal.push(".steadfast");
    if rustix::fs::lstat(Path::new(&journal)).is_err() {
        return None;
    }
    // It may be that of a file which had this name before, and which this process maps still: then it goes now.
    if atomic::any()
        && let Err(error) = posix::file::notice_lost_names()
    {
        log::warn!("{error}");
    }
    if rustix::fs::lstat(Path::new(&journal)).is_err() {
        return None;
    }
    match steadfast::recover(path, Resolution::Replay) {
        Ok(recovery) => {
            log::info!(
                "{}: recovered: {} commits replayed, {} is the last",
                path.display(),
                recovery.replayed_commits,
                recovery.last.get()
            );
            Some(Ok(Ready::Plain))
        }
        // Who commits to it has recovered it. What it has committed is shown by itself, if it is asked to.
        Err(error) if error.kind() == ErrorKind::Locked => {
            log::info!("{}: not recovered: {error}", path.display());
            None
        }
        Err(error) => {
            log::warn!("{}: not opened: {error}", path.display());
            Some(Err(posix::errno(&error)))
        }
    }
}
