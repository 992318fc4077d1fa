//! The name of a file that has an image, and what is done once it is lost: the file is removed or renamed, or another one has taken its
//! place. Nothing can be committed then that anybody would find, so it goes back to the kernel, which needs no name.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs;
use rustix::io::Errno;

use super::atomic::{AtomicFile, Identity, Image};
use super::map;
use crate::descriptors::opened;
use crate::error::{Error, ErrorKind, Result};

/// What has become of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Kept,
    /// The file is found under another one.
    Elsewhere,
    /// It has none any more.
    Gone,
}

/// Where the file was found when it was opened. The folder is held, so that it may be renamed, the journal with it; and looked into by
/// those who are in another root by now.
#[derive(Debug)]
pub(super) struct Place {
    folder: OwnedFd,
    folder_path: PathBuf,
    name: OsString,
    identity: Identity,
}

impl Place {
    /// Of an open file, by the path that the kernel has for it at this moment. It may be another one a moment later: then the name is lost.
    pub(super) fn of(fd: BorrowedFd<'_>, identity: Identity) -> Result<Place> {
        Place::at(path_of(fd).map_err(|error| Error::from_io("mmap", error))?, identity)
    }

    /// Of a file that was opened by this path since: if it is another one, what stands beside it stands there.
    pub(super) fn opened_by(self, path: &Path) -> Place {
        if self.folder_path.join(&self.name) == path {
            return self;
        }
        // Else it is not found any more, as the next call says.
        Place::at(path.to_owned(), self.identity).unwrap_or(self)
    }

    fn at(path: PathBuf, identity: Identity) -> Result<Place> {
        let (Some(folder_path), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(ErrorKind::Unsupported, "mmap", "it lies in no folder").path(path));
        };
        let flags = fs::OFlags::PATH | fs::OFlags::DIRECTORY | fs::OFlags::CLOEXEC;
        let folder = fs::open(folder_path, flags, fs::Mode::empty()).map(opened);
        let folder = folder.map_err(|error| Error::from_io("mmap", error.into()).path(&path))?;
        Ok(Place { folder, folder_path: folder_path.to_owned(), name: name.to_owned(), identity })
    }

    /// The path by which the file is to be looked for, if the folder has another one than before.
    pub(super) fn moved(&mut self) -> Option<PathBuf> {
        let path = path_of(self.folder.as_fd()).ok()?;
        if path == self.folder_path {
            return None;
        }
        // Not of a folder that is gone, or beyond this process's root.
        let (here, there) = (fs::fstat(&self.folder).ok()?, fs::stat(&path).ok()?);
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) {
            return None;
        }
        self.folder_path = path;
        Some(self.folder_path.join(&self.name))
    }

    /// Is it the name in this folder?
    pub(super) fn is(&self, folder: Identity, name: &[u8]) -> bool {
        let here = fs::fstat(&self.folder).map(|stat| (stat.st_dev, stat.st_ino));
        self.name.as_bytes() == name && here.is_ok_and(|here| here == folder)
    }

    pub(super) fn name(&self) -> Name {
        match fs::statat(&self.folder, &self.name, fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if (stat.st_dev, stat.st_ino) == self.identity => Name::Kept,
            Ok(_) | Err(Errno::NOENT) => Name::Elsewhere,
            // Nobody can tell; what it stands in the way of says so.
            Err(_) => Name::Kept,
        }
    }
}

/// As the kernel has it.
fn path_of(fd: BorrowedFd<'_>) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Of a file with this descriptor, found there.
pub(super) fn name_of(fd: Option<BorrowedFd<'_>>, place: Option<&Place>) -> Name {
    let links = fd.and_then(|fd| fs::fstat(fd).ok()).map(|stat| stat.st_nlink);
    match (links, place) {
        (Some(0), _) => Name::Gone,
        (_, Some(place)) => place.name(),
        _ => Name::Kept,
    }
}

/// Does what commits, or what a file without a name would stand in the way of. `None`: the file is the kernel's, since now or before.
pub(super) fn committing<T>(
    file: &AtomicFile,
    call: impl Fn(&mut Image<'_>) -> Result<T>,
) -> Result<Option<T>> {
    loop {
        let Some(mut image) = file.image() else { return Ok(None) };
        if image.name() == Name::Kept {
            image.follow()?;
            match call(&mut image) {
                // It was lost between the look and the commit.
                Err(error)
                    if matches!(error.kind(), ErrorKind::ForeignChange | ErrorKind::Latched)
                        && image.name() != Name::Kept => {}
                done => return done.map(Some),
            }
        }
        drop(image);
        map::notice_lost_name(file)?;
    }
}
