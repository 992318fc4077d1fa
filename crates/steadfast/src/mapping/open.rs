//! From a path or a descriptor to an open file that may be mapped: the right kind, the right identity, the lock.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::MappingOptions;
use crate::descriptors::opened;
use crate::error::{Error, ErrorKind, Result};
use crate::names::{self, MARK};
use crate::sys::lock::Lock;
use crate::{holder, sys};

const OPERATION: &str = "open";

/// How often the file at a path may be replaced under our eyes before we give up.
const ATTEMPTS: usize = 8;

/// Pauses while another process holds the lock: the first, doubled up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_LAST: Duration = Duration::from_millis(50);

/// A regular file, locked if it is to be written.
#[derive(Debug)]
pub(super) struct Opened {
    fd: OwnedFd,
    path: Option<PathBuf>,
    created: Option<NewName>,
}

/// The name of a file that we created. Removed again when dropped.
#[derive(Debug)]
pub(super) struct NewName {
    folder: OwnedFd,
    name: OsString,
    identity: (u64, u64),
    kept: bool,
}

impl Opened {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn len(&self) -> Result<u64> {
        Ok(fs::fstat(&self.fd).map_err(os_error)?.st_size as u64)
    }

    /// The descriptor, the path, and for a file that we created its folder. From here on the file stays.
    pub(super) fn keep(self) -> (OwnedFd, Option<PathBuf>, Option<OwnedFd>) {
        (self.fd, self.path, self.created.and_then(NewName::keep))
    }
}

impl NewName {
    fn keep(mut self) -> Option<OwnedFd> {
        self.kept = true;
        self.folder.try_clone().map(opened).ok()
    }
}

impl Drop for NewName {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Only if the name is still our file's.
        let here = fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        if here.is_ok_and(|stat| identity(&stat) == self.identity)
            && let Err(error) = fs::unlinkat(&self.folder, &self.name, AtFlags::empty())
        {
            log::error!("cannot remove {} again: {error}", Path::new(&self.name).display());
        }
    }
}

/// Opens the file at `path` as `options` want it.
pub(super) fn by_path(options: &MappingOptions, path: &Path) -> Result<Opened> {
    for _ in 0..ATTEMPTS {
        let Some(opened) = open_once(options, path)? else { continue };
        if options.is_shared_writer() {
            take_lock(opened.fd(), opened.path.as_deref(), options.lock_timeout)?;
            // Whoever held the lock may have put another file in this place.
            let now = fs::statat(fs::CWD, path, AtFlags::empty());
            if now.is_ok_and(|now| fs::fstat(&opened.fd).is_ok_and(|ours| identity(&now) == identity(&ours)))
            {
                refuse_waiting_journal(opened.fd(), opened.path.as_deref())?;
            } else {
                continue;
            }
        } else {
            tell_of_journal(opened.fd(), opened.path.as_deref());
        }
        return Ok(opened);
    }
    Err(Error::new(ErrorKind::Busy, OPERATION, "another file was put in its place again and again")
        .advice("find out who replaces it, and try again"))
}

/// Opens the file of a descriptor once more, or duplicates it.
pub(super) fn by_fd(options: &MappingOptions, fd: BorrowedFd<'_>, path: Option<PathBuf>) -> Result<Opened> {
    let stat = fs::fstat(fd).map_err(os_error)?;
    check_regular(&stat)?;
    // The descriptor is a permission: opening it once more must not turn it into a larger one.
    let flags = fs::fcntl_getfl(fd).map_err(os_error)?;
    let access = flags & OFlags::RWMODE;
    if flags.contains(OFlags::PATH) || access == OFlags::WRONLY {
        return Err(Error::new(
            ErrorKind::PermissionDenied,
            OPERATION,
            "the descriptor does not allow reading",
        )
        .advice("mapping needs a descriptor opened for reading, even to store"));
    }
    if options.is_shared_writer() && access != OFlags::RDWR {
        return Err(Error::new(
            ErrorKind::PermissionDenied,
            OPERATION,
            "the descriptor does not allow writing",
        )
        .advice("open the descriptor for reading and writing"));
    }
    let again = fs::open(format!("/proc/self/fd/{}", fd.as_raw_fd()), open_flags(options), Mode::empty())
        .map(opened)
        .ok()
        .filter(|again| fs::fstat(again).is_ok_and(|again| identity(&again) == identity(&stat)));
    let fd = match again {
        Some(again) => again,
        None => rustix::io::fcntl_dupfd_cloexec(fd, 0).map(opened).map_err(os_error)?,
    };
    if options.is_shared_writer() {
        take_lock(fd.as_fd(), path.as_deref(), options.lock_timeout)?;
        refuse_waiting_journal(fd.as_fd(), path.as_deref())?;
    } else {
        tell_of_journal(fd.as_fd(), path.as_deref());
    }
    Ok(Opened { fd, path, created: None })
}

/// The path of a descriptor's file, if it still has that name.
pub(super) fn path_of(fd: BorrowedFd<'_>) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    let there = fs::statat(fs::CWD, &path, AtFlags::empty()).ok()?;
    (identity(&there) == identity(&fs::fstat(fd).ok()?)).then_some(path)
}

pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn os_error(error: Errno) -> Error {
    Error::from_io(OPERATION, error.into())
}

fn open_flags(options: &MappingOptions) -> OFlags {
    // NONBLOCK: if a FIFO or device takes the file's place between the look and the open, the open must not wait.
    let always = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    always | if options.is_shared_writer() { OFlags::RDWR } else { OFlags::RDONLY }
}

/// One attempt; `None` if the name changed its meaning meanwhile.
fn open_once(options: &MappingOptions, path: &Path) -> Result<Option<Opened>> {
    // Looked at before it is opened: opening a device or a FIFO can already do something.
    match fs::statat(fs::CWD, path, AtFlags::empty()) {
        Ok(_) if options.create_new => {
            return Err(Error::from_io(OPERATION, Errno::EXIST.into())
                .advice("choose another name, or use `create` to open what exists"));
        }
        Ok(stat) => check_regular(&stat)?,
        Err(Errno::NOENT) if fs::statat(fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok() => {
            return Err(Error::new(
                ErrorKind::NotFound,
                OPERATION,
                "it is a symbolic link to something that does not exist",
            )
            .source_io(Errno::NOENT.into())
            .advice("repair or remove the link"));
        }
        Err(Errno::NOENT) if options.may_create() => return create(options, path),
        Err(error) => return Err(os_error(error)),
    }
    let fd = match fs::open(path, open_flags(options), Mode::empty()).map(opened) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::TXTBSY) => {
            return Err(Error::new(ErrorKind::Busy, OPERATION, "it is a program that is running")
                .source_io(Errno::TXTBSY.into())
                .advice("end the program, or write a new file and rename it"));
        }
        Err(error) => return Err(os_error(error)),
    };
    let stat = fs::fstat(&fd).map_err(os_error)?;
    check_regular(&stat)?;
    // Absolute, for the journal beside it and for messages after a change of the working directory.
    let path = path_of(fd.as_fd()).or_else(|| path.canonicalize().ok());
    Ok(Some(Opened { fd, path, created: None }))
}

fn create(options: &MappingOptions, path: &Path) -> Result<Option<Opened>> {
    let name =
        path.file_name().filter(|_| !path.as_os_str().as_bytes().ends_with(b"/")).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, OPERATION, "the path names no file")
                .advice("give the path of a file")
        })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The folder is held open: the first sync makes the new name durable in it.
    let folder_flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match fs::open(folder, folder_flags | OFlags::RDONLY, Mode::empty()) {
        // A folder that may be searched and written but not read cannot be synced; see `SyncCalls::sync_folder`.
        Err(Errno::ACCESS) => fs::open(folder, folder_flags | OFlags::PATH, Mode::empty()),
        result => result,
    }
    .map(opened)
    .map_err(|error| os_error(error).advice("create the folder first, and see to its permissions"))?;
    let flags = open_flags(options) | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let fd = match fs::openat(&folder, name, flags, Mode::from_raw_mode(0o666)).map(opened) {
        Ok(fd) => fd,
        Err(Errno::EXIST) => return Ok(None),
        Err(error) => return Err(os_error(error)),
    };
    let stat = fs::fstat(&fd).map_err(os_error)?;
    let created = NewName { folder, name: name.to_owned(), identity: identity(&stat), kept: false };
    let path = path_of(fd.as_fd()).or_else(|| path.canonicalize().ok());
    Ok(Some(Opened { fd, path, created: Some(created) }))
}

fn check_regular(stat: &Stat) -> Result<()> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Socket => "a socket",
        _ => "a special file",
    };
    Err(Error::new(ErrorKind::Unsupported, OPERATION, format!("it is {what}"))
        .advice("only regular files can be mapped"))
}

/// Takes the shared lock that every writable mapping holds, waiting up to `timeout` for one who commits.
///
/// A file system without locks is no error: two mappings do the file no harm, and where it cannot be locked nobody can commit to it.
/// But from another machine somebody may, who is not kept out.
fn take_lock(fd: BorrowedFd<'_>, path: Option<&Path>, timeout: Duration) -> Result<()> {
    let deadline = Instant::now().checked_add(timeout);
    let mut pause = PAUSE_FIRST;
    loop {
        match sys::lock::try_lock(fd, Lock::Shared) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if sys::lock::is_not_to_be_had(&error) => {
                let file = path.unwrap_or(Path::new("a file without a name")).display();
                log::warn!(
                    "{file}: its file system cannot lock files ({error}); the writable mapping keeps nobody out who opens it for \
                     commits elsewhere"
                );
                return Ok(());
            }
            Err(error) => return Err(Error::from_io(OPERATION, error)),
        }
        let left = deadline.map_or(PAUSE_LAST, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(is_locked(fd));
        }
        // The kernel's waiting call (F_OFD_SETLKW) knows no timeout.
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

fn is_locked(fd: BorrowedFd<'_>) -> Error {
    let holders = match fs::fstat(fd) {
        Ok(stat) => holder::holders(stat.st_dev, stat.st_ino),
        Err(_) => Vec::new(),
    };
    Error::new(
        ErrorKind::Locked,
        OPERATION,
        format!("it is open for commits by {}", holder::in_words(&holders)),
    )
    .advice("close it there, wait with `lock_timeout`, or map it for reading")
}

/// A mark, and a journal beside the file: it is open for commits, or was when its writer ended.
fn find_journal(fd: BorrowedFd<'_>, path: Option<&Path>) -> (Option<PathBuf>, bool) {
    let marked = match fs::fgetxattr(fd, MARK, &mut [0_u8; 256]) {
        Ok(_) | Err(Errno::RANGE) => true,
        // No such attribute, or a file system without attributes.
        Err(_) => false,
    };
    let journal = path.map(names::journal);
    (journal.filter(|journal| journal.symlink_metadata().is_ok()), marked)
}

/// Reading is allowed; but what is read is not the last commit.
fn tell_of_journal(fd: BorrowedFd<'_>, path: Option<&Path>) {
    let (found, marked) = find_journal(fd, path);
    if found.is_some() || marked {
        log::info!(
            "{}: mapped for reading while commits stand in its journal: this is the plain file, perhaps in the middle of a \
             checkpoint; `AtomicMapping::options().read_only(true)` shows the last commit",
            path.unwrap_or(Path::new("a file")).display()
        );
    }
}

/// We hold the lock, so nobody commits: a mark or a journal is what somebody who died has left.
fn refuse_waiting_journal(fd: BorrowedFd<'_>, path: Option<&Path>) -> Result<()> {
    let (found, marked) = find_journal(fd, path);
    let reason = match (&found, marked) {
        (None, false) => return Ok(()),
        (Some(journal), _) => format!("the journal {} waits for recovery", journal.display()),
        (None, true) => "it carries the mark of a journal that waits for recovery".to_owned(),
    };
    let file = path.map_or("FILE".into(), |path| path.display().to_string());
    Err(Error::new(ErrorKind::RecoveryNeeded, OPERATION, reason)
        .advice(format!("run `steadfast recover {file}`, or map it for reading")))
}
