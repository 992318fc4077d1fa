//! `open` and its kin: what a crash left beside a file is brought into it before anybody reads it.
//!
//! # Safety
//!
//! This file is trusted with the exported names, whose signatures are those of the C library's headers (the mode is a named parameter
//! here: see `real.rs`), and with paths that the program hands over as C strings.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::mode_t;
use rustix::fs::{CWD, Mode, OFlags};
use steadfast::posix::file::PlainWrite;
use steadfast::{ErrorKind, Resolution, posix};

use crate::memory::failed;
use crate::plain::holding;
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
#[derive(Debug)]
pub(crate) enum Ready {
    /// The call, as it came; one that cuts a file, while this is held.
    Plain(Option<ManuallyDrop<Cut>>),
    /// The file is mapped atomically: what cuts it must be a commit.
    Mapped,
}

/// A call that is about to cut a plain file (`plain.rs`), and a descriptor of that.
type Cut = (PlainWrite<'static>, OwnedFd);

fn opened(folder: c_int, path: *const c_char, flags: c_int, open: impl Fn(c_int) -> c_int + Copy) -> c_int {
    // A path alone reads nothing.
    if !settings::has_patterns() || inside::is_here() || flags & libc::O_PATH != 0 {
        return open(flags);
    }
    let follow = flags & libc::O_NOFOLLOW == 0;
    let cuts = flags & libc::O_TRUNC != 0;
    match inside::answer(|| prepare(folder, path, follow, cuts)) {
        None | Some(Ok(Ready::Plain(None))) => open(flags),
        Some(Ok(Ready::Plain(Some(cut)))) => holding(cut, || open(flags)),
        Some(Ok(Ready::Mapped)) if !cuts => open(flags),
        Some(Ok(Ready::Mapped)) => {
            let fd = open(flags & !libc::O_TRUNC);
            let cut = inside::answer(|| Some(emptied(atomic::descriptor(fd)?)));
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

/// As `O_TRUNC`, of a file that is mapped atomically, unless it went back to the kernel meanwhile.
fn emptied(fd: BorrowedFd<'_>) -> Result<(), c_int> {
    loop {
        if let Some(done) = posix::file::set_len(fd, 0) {
            return done.map_err(|error| failed(&error));
        }
        if let Some(_under_way) = posix::file::plain_write(fd).map_err(|error| failed(&error))? {
            return rustix::fs::ftruncate(fd, 0).map_err(|error| error.raw_os_error());
        }
    }
}

/// Brings a file that a pattern matches to its last commit, if a journal stands beside it. `None`: nothing to do with us. `cuts`: the call
/// that comes next cuts the file.
pub(crate) fn prepare(
    folder: c_int,
    path: *const c_char,
    follow: bool,
    cuts: bool,
) -> Option<Result<Ready, c_int>> {
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
    if !atomic::may_match(file.as_fd()) {
        return None;
    }
    let path = atomic::path_of(file.as_fd())?;
    let path = Path::new(OsStr::from_bytes(&path));
    if !settings::get().matches(path) {
        return None;
    }
    start::ensure();
    if atomic::any() && posix::file::is_atomic(file.as_fd()) {
        return Some(Ok(Ready::Mapped));
    }
    if let Err(errno) = recovered(path) {
        return Some(Err(errno));
    }
    if !cuts {
        return Some(Ok(Ready::Plain(None)));
    }
    // SAFETY: `file`, which is closed once the call is not under way any more: they are dropped in this order.
    let fd = unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) };
    Some(match posix::file::plain_write(fd) {
        Ok(Some(write)) => Ok(Ready::Plain(Some(ManuallyDrop::new((write, file))))),
        Ok(None) if atomic::any() => Ok(Ready::Mapped),
        // A child of vfork(2) sees its parent's images, and has no part in them.
        Ok(None) => Ok(Ready::Plain(None)),
        Err(error) => Err(failed(&error)),
    })
}

/// Recovers a file, if a journal stands beside it.
fn recovered(path: &Path) -> Result<(), c_int> {
    let mut journal = path.as_os_str().to_os_string();
    journal.push(".steadfast");
    if rustix::fs::lstat(Path::new(&journal)).is_err() {
        return Ok(());
    }
    // It may be that of a file which had this name before, and which this process maps still: then it goes now.
    if atomic::any()
        && let Err(error) = posix::file::notice_lost_names()
    {
        log::warn!("{error}");
    }
    if rustix::fs::lstat(Path::new(&journal)).is_err() {
        return Ok(());
    }
    match steadfast::recover(path, Resolution::Replay) {
        Ok(recovery) => {
            log::info!(
                "{}: recovered: {} commits replayed, {} is the last",
                path.display(),
                recovery.replayed_commits,
                recovery.last.get()
            );
            Ok(())
        }
        // Who commits to it has recovered it. What it has committed is shown by itself, if it is asked to.
        Err(error) if error.kind() == ErrorKind::Locked => {
            log::info!("{}: not recovered: {error}", path.display());
            Ok(())
        }
        Err(error) => {
            log::warn!("{}: not opened: {error}", path.display());
            Err(posix::errno(&error))
        }
    }
}
