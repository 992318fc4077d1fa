//! Folders, by several threads, each file opened from its folder: a path is looked up once, and no link is followed on the way.
//!
//! Each thread has descriptors of its own: with one table for all they would wait for each other at every open and close (measured on
//! two processors, 100,000 files: 0.21 s with one table, 0.15 s so).
//!
//! # Safety
//!
//! This file is trusted with unshare(2) in threads that it starts: what they open they close themselves, no descriptor goes from one
//! to another, and what was open before is open in all of them.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Order;
use ignore::overrides::Override;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, openat, statat};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use steadfast::residency::{CachedFile, Opener};

/// Of a folder with more entries than this several threads open the files.
const NAMES_PER_PARCEL: usize = 1024;

/// What is asked of each file, and which of them are.
pub(super) struct Walk<'all, T, Q> {
    pub(super) question: Q,
    pub(super) globs: &'all Override,
    pub(super) one_file_system: bool,
    /// Nothing is met twice but what has several names.
    meets_all_once: bool,
    order: Order,
    /// Hears of every folder that is read.
    tell_folder: &'all (dyn Fn(&Path) + Sync),
    opener: Opener,
    work: Mutex<Work>,
    changed: Condvar,
    /// Of each thread: they are many, and are not copied together.
    answers: Mutex<Vec<Vec<super::Answer<T>>>>,
}

#[derive(Default)]
struct Work {
    /// The last one first: what is deep is done before what is wide.
    parcels: Vec<Parcel>,
    threads_at_work: usize,
}

enum Parcel {
    /// A name that was given.
    Root(PathBuf),
    Folder {
        path: PathBuf,
        device: u64,
    },
    Files {
        folder: PathBuf,
        names: Vec<CString>,
    },
}

struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl<'all, T: Send, Q: Fn(&CachedFile) -> steadfast::Result<T> + Sync> Walk<'all, T, Q> {
    pub(super) fn new(
        question: Q,
        globs: &'all Override,
        one_file_system: bool,
        meets_all_once: bool,
        order: Order,
        tell_folder: &'all (dyn Fn(&Path) + Sync),
    ) -> Walk<'all, T, Q> {
        Walk {
            question,
            globs,
            one_file_system,
            meets_all_once,
            order,
            tell_folder,
            opener: Opener::default(),
            work: Mutex::default(),
            changed: Condvar::new(),
            answers: Mutex::default(),
        }
    }

    /// An answer for everything that was given or lies below it.
    pub(super) fn run(self, roots: Vec<PathBuf>, threads: usize) -> Vec<Vec<super::Answer<T>>> {
        // One file is looked at before a second thread has started.
        let is_one_file = matches!(&roots[..], [root] if !root.is_dir());
        let threads = if is_one_file { 1 } else { threads };
        self.work().parcels = roots.into_iter().rev().map(Parcel::Root).collect();
        std::thread::scope(|scope| {
            for _ in 1..threads {
                let started = std::thread::Builder::new().spawn_scoped(scope, || {
                    // SAFETY: this thread was started here, and has been handed no descriptor (see the head of this file). Where it
                    // cannot be, it goes on with the table of all.
                    let _ = unsafe { unshare_unsafe(UnshareFlags::FILES) };
                    self.work_through();
                });
                // Those that could be started do the work.
                if started.is_err() {
                    break;
                }
            }
            self.work_through();
        });
        self.answers.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_through(&self) {
        let mut answers: Vec<Vec<super::Answer<T>>> = Vec::new();
        let mut work = self.work();
        loop {
            if let Some(parcel) = work.parcels.pop() {
                work.threads_at_work += 1;
                drop(work);
                let mut of_parcel = Vec::new();
                self.open_parcel(parcel, &mut of_parcel);
                answers.push(of_parcel);
                work = self.work();
                work.threads_at_work -= 1;
            } else if work.threads_at_work == 0 {
                // Nobody is left who could find more.
                self.changed.notify_all();
                break;
            } else {
                work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
            }
        }
        drop(work);
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).append(&mut answers);
    }

    fn add(&self, parcel: Parcel) {
        self.work().parcels.push(parcel);
        self.changed.notify_one();
    }

    fn open_parcel(&self, parcel: Parcel, answers: &mut Vec<super::Answer<T>>) {
        match parcel {
            Parcel::Root(path) => match statat(CWD, &path, AtFlags::empty()) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    self.read_folder(path, None, answers);
                }
                _ => {
                    let opened = self.opener.open(&path);
                    answers.push((path, opened.and_then(|file| self.ask(&file))));
                }
            },
            Parcel::Folder { path, device } => self.read_folder(path, Some(device), answers),
            Parcel::Files { folder, names } => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                match openat(CWD, &folder, flags, Mode::empty()) {
                    Ok(fd) => {
                        let folder = Folder { fd, path: folder };
                        names.iter().for_each(|name| self.open_file(&folder, name, answers));
                    }
                    // Gone since it was read.
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => answers.push(unreadable(folder, error)),
                }
            }
        }
    }

    /// `above` is the device of the folder that it lies in.
    fn read_folder(&self, path: PathBuf, above: Option<u64>, answers: &mut Vec<super::Answer<T>>) {
        let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, above.is_some());
        let fd = match openat(CWD, &path, flags, Mode::empty()) {
            Ok(fd) => fd,
            // Gone since the folder above was read.
            Err(rustix::io::Errno::NOENT) if above.is_some() => return,
            Err(error) => return answers.push(unreadable(path, error)),
        };
        let device = match rustix::fs::fstat(&fd) {
            Ok(stat) => stat.st_dev,
            Err(error) => return answers.push(unreadable(path, error)),
        };
        if self.one_file_system && above.is_some_and(|above| above != device) {
            return;
        }
        (self.tell_folder)(&path);
        let folder = Folder { fd, path };
        let mut names = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 32 << 10];
        let mut entries = RawDir::new(&folder.fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    answers.push(unreadable(folder.path.clone(), error));
                    break;
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match kind_of(folder.fd.as_fd(), name, entry.file_type()) {
                FileType::Directory => {
                    let path = below(&folder.path, name);
                    if !self.globs.matched(&path, true).is_ignore() {
                        self.add(Parcel::Folder { path, device });
                    }
                }
                FileType::RegularFile => names.push(name.to_owned()),
                _ => {}
            }
            if names.len() >= NAMES_PER_PARCEL {
                let folder = folder.path.clone();
                self.add(Parcel::Files { folder, names: std::mem::take(&mut names) });
            }
        }
        names.iter().for_each(|name| self.open_file(&folder, name, answers));
    }

    fn open_file(&self, folder: &Folder, name: &CStr, answers: &mut Vec<super::Answer<T>>) {
        let path = below(&folder.path, name);
        if self.globs.matched(&path, false).is_ignore() {
            return;
        }
        match self.opener.open_regular_at(folder.fd.as_fd(), name, path) {
            Ok(file) => {
                let answer = self.ask(&file);
                // A name that nobody wants to see goes where it was made.
                let is_wanted = self.order == Order::ByName || answer.is_err();
                let path = file.into_path();
                answers.push((if is_wanted { path } else { PathBuf::new() }, answer));
            }
            // Gone since the folder was read: as if it had never been there.
            Err(error) if error.kind() == steadfast::ErrorKind::NotFound => {}
            Err(error) => answers.push((below(&folder.path, name), Err(error))),
        }
    }

    fn ask(&self, file: &CachedFile) -> steadfast::Result<(Option<(u64, u64)>, T)> {
        let may_be_met_again = !self.meets_all_once || file.links() > 1;
        Ok((may_be_met_again.then(|| file.identity()), (self.question)(file)?))
    }
}

fn below(folder: &Path, name: &CStr) -> PathBuf {
    folder.join(OsStr::from_bytes(name.to_bytes()))
}

/// Some file systems do not say in the folder.
fn kind_of(folder: BorrowedFd<'_>, name: &CStr, told: FileType) -> FileType {
    if told != FileType::Unknown {
        return told;
    }
    let looked = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    looked.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}

fn unreadable<T>(path: PathBuf, error: rustix::io::Errno) -> super::Answer<T> {
    let error = steadfast::Error::from_io("read", error.into()).path(&path);
    (path, Err(error))
}
