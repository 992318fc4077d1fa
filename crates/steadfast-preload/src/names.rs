//! Calls that take a file's name away, or give it another: a file that is mapped atomically stands beside its journal by that name.
//!
//! # Safety
//!
//! This file is trusted with the exported names, whose signatures are those of the C library's headers, and with paths that the program
//! hands over as C strings.
//!
//! A file whose name is gone goes back to the kernel behind the call, and its journal goes. One that is about to be renamed goes before it,
//! so that it is a plain file by its new name: a crash between the two finds it whole.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use steadfast::posix;

use crate::memory::failed;
use crate::{atomic, inside, real};

exported! { [unlink] (path: *const c_char) -> c_int = {
    if !concerns_us([Named { folder: libc::AT_FDCWD, path }]) {
        // SAFETY: the program's argument, as it came.
        return unsafe { real::unlink(path) };
    }
    let before = inside::errno();
    // SAFETY: the program's argument, as it came.
    removed(path, before, unsafe { real::unlink(path) })
} }

exported! { [unlinkat] (folder: c_int, path: *const c_char, flags: c_int) -> c_int = {
    if !concerns_us([Named { folder, path }]) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::unlinkat(folder, path, flags) };
    }
    let before = inside::errno();
    // SAFETY: the program's arguments, as they came.
    removed(path, before, unsafe { real::unlinkat(folder, path, flags) })
} }

exported! { [remove] (path: *const c_char) -> c_int = {
    if !concerns_us([Named { folder: libc::AT_FDCWD, path }]) {
        // SAFETY: the program's argument, as it came.
        return unsafe { real::remove(path) };
    }
    let before = inside::errno();
    // SAFETY: the program's argument, as it came.
    removed(path, before, unsafe { real::remove(path) })
} }

exported! { [rename] (from: *const c_char, to: *const c_char) -> c_int = {
    if !concerns_us([Named { folder: libc::AT_FDCWD, path: from }, Named { folder: libc::AT_FDCWD, path: to }]) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::rename(from, to) };
    }
    if let Some(Err(_)) = before(Named { folder: libc::AT_FDCWD, path: from }, Named { folder: libc::AT_FDCWD, path: to }, 0) {
        return -1;
    }
    // SAFETY: the program's arguments, as they came.
    taken(unsafe { real::rename(from, to) })
} }

exported! { [renameat] (from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char) -> c_int = {
    if !concerns_us([Named { folder: from_folder, path: from }, Named { folder: to_folder, path: to }]) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::renameat(from_folder, from, to_folder, to) };
    }
    if let Some(Err(_)) = before(Named { folder: from_folder, path: from }, Named { folder: to_folder, path: to }, 0) {
        return -1;
    }
    // SAFETY: the program's arguments, as they came.
    taken(unsafe { real::renameat(from_folder, from, to_folder, to) })
} }

exported! { [renameat2] (
    from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char, flags: c_uint
) -> c_int = {
    if !concerns_us([Named { folder: from_folder, path: from }, Named { folder: to_folder, path: to }]) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::renameat2(from_folder, from, to_folder, to, flags) };
    }
    if let Some(Err(_)) = before(Named { folder: from_folder, path: from }, Named { folder: to_folder, path: to }, flags) {
        return -1;
    }
    // SAFETY: the program's arguments, as they came.
    taken(unsafe { real::renameat2(from_folder, from, to_folder, to, flags) })
} }

/// Is one of these mapped atomically, or named as a journal? Other files' names are the kernel's, in signal handlers too: nothing is waited
/// for, and nothing allocated.
fn concerns_us<const N: usize>(names: [Named; N]) -> bool {
    atomic::concerns_us()
        && names.into_iter().any(|named| {
            named.at(|_, path| path.to_bytes().ends_with(b".steadfast").then_some(())).is_some()
                || named
                    .identity()
                    .is_some_and(|(device, inode)| posix::file::is_atomic_at_a_glance(device, inode))
        })
}

/// Behind a call that removes a name. A journal that is gone already is no error: whoever empties a folder has seen it there, and removed
/// its file a moment ago.
fn removed(path: *const c_char, errno_before: c_int, done: c_int) -> c_int {
    if done != 0 && inside::errno() == libc::ENOENT && atomic::concerns_us() && !path.is_null() {
        // SAFETY: the kernel has read it as a path.
        let path = unsafe { CStr::from_ptr(path) };
        if path.to_bytes().ends_with(b".steadfast") {
            inside::set_errno(errno_before);
            return 0;
        }
    }
    taken(done)
}

/// Behind a call that may have taken a name away. What goes wrong is said in a line, and tried again by the next commit.
fn taken(done: c_int) -> c_int {
    if done == 0 && atomic::concerns_us() {
        inside::quietly(|| {
            if let Err(error) = posix::file::notice_lost_names() {
                failed(&error);
            }
        });
    }
    done
}

/// A path as a call names it.
#[derive(Clone, Copy)]
struct Named {
    folder: c_int,
    path: *const c_char,
}

impl Named {
    /// The file itself, by a path alone: closing it gives back no lock of the program's (fcntl(2)).
    fn open(self) -> Option<OwnedFd> {
        self.at(|folder, path| {
            rustix::fs::openat(folder, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                .ok()
        })
    }

    fn identity(self) -> Option<(u64, u64)> {
        self.at(|folder, path| {
            let stat = rustix::fs::statat(folder, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((stat.st_dev, stat.st_ino))
        })
    }

    /// The device of the folder that it lies in, or is to lie in.
    fn device(self) -> Option<u64> {
        self.at(|folder, path| {
            let path = path.to_bytes();
            let parent = match path.iter().rposition(|&byte| byte == b'/') {
                Some(at) => &path[..=at],
                None => b".",
            };
            Some(rustix::fs::statat(folder, parent, AtFlags::empty()).ok()?.st_dev)
        })
    }

    fn at<T>(self, look: impl FnOnce(std::os::fd::BorrowedFd<'_>, &CStr) -> Option<T>) -> Option<T> {
        if self.path.is_null() {
            return None;
        }
        // SAFETY: a path is a C string, or the program has asked for a fault.
        let path = unsafe { CStr::from_ptr(self.path) };
        if self.folder == libc::AT_FDCWD {
            return look(CWD, path);
        }
        look(atomic::descriptor(self.folder)?, path)
    }
}

/// Before a rename: what is mapped atomically goes back to the kernel. `None`: nothing to do with us.
fn before(from: Named, to: Named, flags: c_uint) -> Option<Result<(), c_int>> {
    if !atomic::concerns_us() {
        return None;
    }
    inside::answer(|| {
        let (source, target) = (from.identity(), to.identity());
        // What the kernel refuses, or does nothing for, is none of ours: a target that must not be there, or lies on another device
        // or nowhere; and the same file.
        let must_not_be_there = flags & libc::RENAME_NOREPLACE != 0;
        if source == target || (target.is_some() && must_not_be_there) || source?.0 != to.device()? {
            return None;
        }
        let exchanged = (flags & libc::RENAME_EXCHANGE != 0).then_some(to);
        for named in [Some(from), exchanged].into_iter().flatten() {
            if let Some(file) = named.open()
                && let Some(Err(error)) = posix::file::give_back(file.as_fd())
            {
                return Some(Err(failed(&error)));
            }
        }
        None
    })
}
