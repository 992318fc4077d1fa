//! Calls that take a file's name away, or give it another: a file that is mapped atomically stands beside its journal by that name.
//!
//! # Safety
//!
//! This file is trusted with the exported names, whose signatures are those of the C library's headers, and with paths that the program
//! hands over as C strings.
//!
//! What the call takes a name from goes back to the kernel before it, so that a plain file is left and no journal, wherever the process is
//! killed. What is lost all the same (another process was faster, or the disk was full) goes back behind it.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint};
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

use rustix::fs::{AtFlags, CWD, FileType, Stat};
use steadfast::posix;
use steadfast::posix::file::NameChange;

use crate::memory::failed;
use crate::{atomic, inside, real};

exported! { [unlink] (path: *const c_char) -> c_int = {
    // SAFETY: the program's argument, as it came.
    removed(Named { folder: libc::AT_FDCWD, path }, 0, || unsafe { real::unlink(path) })
} }

exported! { [unlinkat] (folder: c_int, path: *const c_char, flags: c_int) -> c_int = {
    // SAFETY: the program's arguments, as they came.
    removed(Named { folder, path }, flags, || unsafe { real::unlinkat(folder, path, flags) })
} }

exported! { [remove] (path: *const c_char) -> c_int = {
    // SAFETY: the program's argument, as it came.
    removed(Named { folder: libc::AT_FDCWD, path }, 0, || unsafe { real::remove(path) })
} }

exported! { [rename] (from: *const c_char, to: *const c_char) -> c_int = {
    let (source, target) = (Named { folder: libc::AT_FDCWD, path: from }, Named { folder: libc::AT_FDCWD, path: to });
    // SAFETY: the program's arguments, as they came.
    renamed(source, target, 0, || unsafe { real::rename(from, to) })
} }

exported! { [renameat] (from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char) -> c_int = {
    let (source, target) = (Named { folder: from_folder, path: from }, Named { folder: to_folder, path: to });
    // SAFETY: the program's arguments, as they came.
    renamed(source, target, 0, || unsafe { real::renameat(from_folder, from, to_folder, to) })
} }

exported! { [renameat2] (
    from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char, flags: c_uint
) -> c_int = {
    let (source, target) = (Named { folder: from_folder, path: from }, Named { folder: to_folder, path: to });
    // SAFETY: the program's arguments, as they came.
    renamed(source, target, flags, || unsafe { real::renameat2(from_folder, from, to_folder, to, flags) })
} }

/// Is one of these mapped atomically, was it, or is it named as a journal? Other files' names are the kernel's, in signal handlers too: nothing is waited
/// for, and nothing allocated.
fn concerns_us<const N: usize>(names: [Named; N]) -> bool {
    atomic::concerns_us()
        && names.into_iter().any(|named| {
            named.at(|_, path| path.to_bytes().ends_with(b".steadfast").then_some(())).is_some()
                || named
                    .stat()
                    .is_some_and(|stat| posix::file::is_known_at_a_glance(stat.st_dev, stat.st_ino))
        })
}

/// A file whose name the call is about to take away.
#[derive(Clone, Copy)]
struct Loss {
    device: u64,
    inode: u64,
    is_last: bool,
    was_atomic: bool,
}

fn removed(named: Named, flags: c_int, call: impl FnOnce() -> c_int) -> c_int {
    if !concerns_us([named]) {
        return call();
    }
    let before = inside::errno();
    let loss = match inside::answer(|| named.stat().map(|stat| Loss::prepare(named, &stat))) {
        Some(Err(_)) => return -1,
        Some(Ok(loss)) => Some(loss),
        None => None,
    };
    let done = call();
    if done != 0 && inside::errno() == libc::ENOENT && flags & libc::AT_REMOVEDIR == 0 && went_before(named) {
        inside::set_errno(before);
        return 0;
    }
    taken(done, named, loss, true)
}

fn renamed(from: Named, to: Named, flags: c_uint, call: impl FnOnce() -> c_int) -> c_int {
    if !concerns_us([from, to]) {
        return call();
    }
    let loss = match inside::answer(|| prepare_rename(from, to, flags)) {
        Some(Err(_)) => return -1,
        Some(Ok(loss)) => loss,
        None => None,
    };
    taken(call(), to, loss, false)
}

/// `None`: nothing to do with us.
fn prepare_rename(from: Named, to: Named, flags: c_uint) -> Option<Result<Option<Loss>, c_int>> {
    let (source, target) = (from.stat(), to.stat());
    let identity = |stat: &Stat| (stat.st_dev, stat.st_ino);
    // What the kernel refuses, or does nothing for, is none of ours: a target that must not be there, or lies on another device
    // or nowhere; and the same file.
    let must_not_be_there = flags & libc::RENAME_NOREPLACE != 0;
    let is_same = source.as_ref().map(identity) == target.as_ref().map(identity);
    if is_same || (target.is_some() && must_not_be_there) || source?.st_dev != to.parent()?.0 {
        return None;
    }
    if let Err(code) = give_back(NameChange::Renamed, from, &source?) {
        return Some(Err(code));
    }
    Some(match target {
        Some(target) if flags & libc::RENAME_EXCHANGE != 0 => {
            give_back(NameChange::Renamed, to, &target).map(|_| None)
        }
        // A folder does not take a file's place.
        Some(target) if FileType::from_raw_mode(source?.st_mode) != FileType::Directory => {
            Loss::prepare(to, &target).map(Some)
        }
        _ => Ok(None),
    })
}

/// Was it mapped atomically?
fn give_back(change: NameChange, named: Named, stat: &Stat) -> Result<bool, c_int> {
    // Of several names one is that beside which the journal stands; the others are no matter.
    if stat.st_nlink > 1
        && let Some((folder, name)) = named.entry()
        && !posix::file::goes_by((stat.st_dev, stat.st_ino), folder, OsStr::from_bytes(&name))
    {
        return Ok(false);
    }
    match posix::file::give_back_before(change, stat.st_dev, stat.st_ino) {
        None => Ok(false),
        Some(Ok(())) => Ok(true),
        // Removed it is all the same, and given back behind the call.
        Some(Err(error)) if change == NameChange::Removed => {
            log::info!("{error}");
            Ok(true)
        }
        Some(Err(error)) => Err(failed(&error)),
    }
}

impl Loss {
    /// What has several names is found by another one afterwards.
    fn prepare(named: Named, stat: &Stat) -> Result<Loss, c_int> {
        let is_last = stat.st_nlink <= 1;
        let change = if is_last { NameChange::Removed } else { NameChange::Renamed };
        let was_atomic = give_back(change, named, stat)?;
        Ok(Loss { device: stat.st_dev, inode: stat.st_ino, is_last, was_atomic })
    }
}

/// Behind a call that may have taken a name away. What goes wrong is said in a line, and tried again by the next commit.
fn taken(done: c_int, named: Named, loss: Option<Loss>, is_removed: bool) -> c_int {
    inside::quietly(|| {
        if done != 0 {
            if let Some(Loss { is_last: true, was_atomic: true, .. }) = loss {
                log::warn!(
                    "{}: it was to be removed, and was not: from here on it is the kernel's, and msync is not atomic",
                    named.shown()
                );
            }
            return;
        }
        if let Some(loss) = loss {
            if loss.is_last {
                posix::file::removed(loss.device, loss.inode);
                atomic::forget((loss.device, loss.inode));
            }
            if loss.was_atomic && is_removed {
                note_journal(named);
            }
        }
        if let Err(error) = posix::file::notice_lost_names() {
            failed(&error);
        }
    });
    done
}

/// A name in a folder, by the folder's device and inode.
type Entry = ((u64, u64), Vec<u8>);

/// Journals that went with files which the program removed, the last ones: whoever empties a folder has seen them there, and removes them
/// in turn.
static GONE: Mutex<VecDeque<Entry>> = Mutex::new(VecDeque::new());
const GONE_MAX: usize = 4096;

fn note_journal(named: Named) {
    let Some((folder, mut name)) = named.entry() else { return };
    name.extend_from_slice(b".steadfast");
    // A child that was forked while another thread was here does without, rather than wait.
    if let Ok(mut gone) = GONE.try_lock() {
        if gone.len() == GONE_MAX {
            gone.pop_front();
        }
        gone.push_back((folder, name));
    }
}

/// Is it a journal that went with its file? Once each.
fn went_before(named: Named) -> bool {
    let found = inside::answer(|| {
        let entry = named.entry()?;
        let mut gone = GONE.try_lock().ok()?;
        let at = gone.iter().position(|other| *other == entry)?;
        gone.remove(at);
        Some(Ok(()))
    });
    found.is_some()
}

/// A path as a call names it.
#[derive(Clone, Copy)]
struct Named {
    folder: c_int,
    path: *const c_char,
}

impl Named {
    fn stat(self) -> Option<Stat> {
        self.at(|folder, path| rustix::fs::statat(folder, path, AtFlags::SYMLINK_NOFOLLOW).ok())
    }

    /// Device and inode of the folder that it lies in, or is to lie in.
    fn parent(self) -> Option<(u64, u64)> {
        Some(self.entry()?.0)
    }

    fn entry(self) -> Option<Entry> {
        self.at(|folder, path| {
            let path = path.to_bytes();
            let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
                Some(at) => path.split_at(at + 1),
                None => (&b"."[..], path),
            };
            let stat = rustix::fs::statat(folder, parent, AtFlags::empty()).ok()?;
            Some(((stat.st_dev, stat.st_ino), name.to_vec()))
        })
    }

    fn shown(self) -> String {
        self.at(|_, path| Some(path.to_string_lossy().into_owned())).unwrap_or_default()
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
