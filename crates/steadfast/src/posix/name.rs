//! The name of a file that has an image, and what is done once it is lost: the file is removed or renamed, or another one has taken its
//! place. Nothing can be committed then that anybody would find, so it goes back to the kernel, which needs no name.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs;
use rustix::io::Errno;

use super::atomic::{AtomicFile, Identity, Image};
use super::map;
use crate::descriptors::opened;
use crate::error::{ErrorKind, Result};

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
    name: OsString,
    identity: Identity,
}

impl Place {
    /// `None` where that cannot be told: then only a file without any name has lost it.
    pub(super) fn of(path: &Path, identity: Identity) -> Option<Place> {
        let flags = fs::OFlags::PATH | fs::OFlags::DIRECTORY | fs::OFlags::CLOEXEC;
        let folder = fs::open(path.parent()?, flags, fs::Mode::empty()).map(opened).ok()?;
        let place = Place { folder, name: path.file_name()?.to_owned(), identity };
        (place.name() == Name::Kept).then_some(place)
    }

    fn name(&self) -> Name {
        match fs::statat(&self.folder, &self.name, fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if (stat.st_dev, stat.st_ino) == self.identity => Name::Kept,
            Ok(_) | Err(Errno::NOENT) => Name::Elsewhere,
            // Nobody can tell; what it stands in the way of says so.
            Err(_) => Name::Kept,
        }
    }
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
