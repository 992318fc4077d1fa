//! The file systems of the rig's own that the files stand on, and what the hand does to them as a whole.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fuser::{BackgroundSession, INodeNo};
use rustix::fs::FallocateFlags;
use rustix::mount::{MountFlags, UnmountFlags};
use tempfile::TempDir;

use super::plan::{Action, Place};
use super::server::Files;
use crate::block::file_system::output;
use crate::outcome::Failure;

/// How large a small file system is.
const SMALL_BYTES: u64 = 16 << 20;

fn rig(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Rig(format!("{what}: {error}"))
}

/// A mount. Taken down when dropped.
#[derive(Debug)]
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = rustix::mount::unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("could not unmount {}: {error}", self.0.display());
        }
    }
}

/// What stands under the files of a part.
pub(super) struct Ground {
    served: Option<Served>,
    small: Vec<Mounted>,
    // The last to go.
    folder: TempDir,
}

struct Served {
    files: Files,
    session: Option<BackgroundSession>,
    at: PathBuf,
    /// Where the kernel lists the connections of such file systems.
    connections: PathBuf,
    _fusectl: Option<Mounted>,
}

impl Ground {
    pub(super) fn new(folder: TempDir) -> Ground {
        Ground { served: None, small: Vec::new(), folder }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn make(&self, name: &str) -> Result<PathBuf, Failure> {
        let at = self.path().join(name);
        fs::create_dir(&at).map_err(|error| rig("a folder", error))?;
        Ok(at)
    }

    /// Serves a file system of our own.
    pub(super) fn serve(&mut self) -> Result<PathBuf, Failure> {
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::Lacking("root: mounting needs it".into()));
        }
        let at = self.make("served")?;
        let files = Files::new();
        let session = files
            .serve(&at)
            .map_err(|error| Failure::Lacking(format!("a FUSE mount at {}: {error}", at.display())))?;
        let (connections, fusectl) = self.connections()?;
        self.served =
            Some(Served { files, session: Some(session), at: at.clone(), connections, _fusectl: fusectl });
        Ok(at)
    }

    fn connections(&self) -> Result<(PathBuf, Option<Mounted>), Failure> {
        let usual = PathBuf::from("/sys/fs/fuse/connections");
        if fs::read_dir(&usual).is_ok_and(|mut entries| entries.next().is_some()) {
            return Ok((usual, None));
        }
        let at = self.make("connections")?;
        rustix::mount::mount("none", &at, "fusectl", MountFlags::empty(), None)
            .map_err(|error| Failure::Lacking(format!("a mount of fusectl: {error}")))?;
        Ok((at.clone(), Some(Mounted(at))))
    }

    /// The files of what is served.
    pub(super) fn files(&self) -> Option<&Files> {
        self.served.as_ref().map(|served| &served.files)
    }

    /// A small tmpfs.
    pub(super) fn memory(&mut self) -> Result<PathBuf, Failure> {
        let at = self.make("tmpfs")?;
        let options = format!("size={SMALL_BYTES}");
        let options = std::ffi::CString::new(options).map_err(|error| rig("options", error))?;
        rustix::mount::mount("none", &at, "tmpfs", MountFlags::empty(), options.as_c_str())
            .map_err(|error| Failure::Lacking(format!("a mount of tmpfs: {error}")))?;
        self.small.push(Mounted(at.clone()));
        Ok(at)
    }

    /// A small ext4, made and mounted with these options besides.
    pub(super) fn ext4(&mut self, name: &str, make: &[&str], mount: &str) -> Result<PathBuf, Failure> {
        let lacking = |error: String| Failure::Lacking(format!("{name}: {error}"));
        let image = self.path().join(format!("{name}.image"));
        let made = File::create(&image).and_then(|file| file.set_len(SMALL_BYTES));
        made.map_err(|error| rig("an image", error))?;
        let mut mkfs = Command::new("mkfs.ext4");
        output(mkfs.args(["-q", "-m", "0"]).args(make).arg(&image), 0).map_err(lacking)?;
        let at = self.make(name)?;
        let options = format!("loop,{mount}");
        output(Command::new("mount").args(["-o", options.trim_end_matches(',')]).args([&image, &at]), 0)
            .map_err(lacking)?;
        self.small.push(Mounted(at.clone()));
        Ok(at)
    }

    /// Does what concerns a whole file system.
    pub(super) fn act(&mut self, action: Action, place: Place, folder: &Path) -> Result<(), Failure> {
        if place == Place::Small {
            let root = folder.parent().unwrap_or(folder);
            return match action {
                Action::Fill => fill(root),
                Action::Free => free(root),
                _ => Ok(()),
            };
        }
        let Some(served) = &mut self.served else { return Ok(()) };
        match action {
            Action::FailReads(of) => {
                served.files.fail_reads(Some(of));
                served.forget();
            }
            Action::FailWrites => served.files.fail_writes(true),
            Action::Forget => served.forget(),
            Action::Heal => served.heal(),
            Action::Gone => served.abort()?,
            _ => {}
        }
        Ok(())
    }

    /// Everything is well again.
    pub(super) fn make_good(&mut self, place: Place) -> Result<(), Failure> {
        match (&mut self.served, place) {
            (Some(served), Place::Served) => {
                served.heal();
                served.mount_again()
            }
            (_, Place::Small) => self.small.iter().try_for_each(|mounted| free(&mounted.0)),
            _ => Ok(()),
        }
    }
}

impl Served {
    fn heal(&self) {
        self.files.fail_reads(None);
        self.files.fail_writes(false);
    }

    /// The kernel drops what it has cached, and reads it again when it is wanted.
    fn forget(&self) {
        let Some(session) = &self.session else { return };
        let notifier = session.notifier();
        for ino in self.files.inodes() {
            // One that the kernel does not know has nothing cached.
            let _ = notifier.inval_inode(INodeNo(ino), 0, 0);
        }
    }

    /// As if the server had died.
    fn abort(&mut self) -> Result<(), Failure> {
        let device = fs::metadata(&self.at).map_err(|error| rig("the mount", error))?.dev();
        let connection = self.connections.join(rustix::fs::minor(device).to_string()).join("abort");
        fs::write(&connection, b"1").map_err(|error| rig(&connection.display().to_string(), error))?;
        self.session = None;
        Ok(())
    }

    fn mount_again(&mut self) -> Result<(), Failure> {
        if self.session.is_some() {
            return Ok(());
        }
        // Those who had files there may have them still.
        let _ = rustix::mount::unmount(&self.at, UnmountFlags::DETACH);
        self.session = Some(self.files.serve(&self.at).map_err(|error| rig("a FUSE mount", error))?);
        Ok(())
    }
}

const BALLAST: &str = "ballast";

/// Takes every byte that is left.
fn fill(root: &Path) -> Result<(), Failure> {
    let ballast = File::options().append(true).create(true).open(root.join(BALLAST));
    // No room for another file.
    let Ok(mut ballast) = ballast else { return Ok(()) };
    let mut chunk = SMALL_BYTES;
    while chunk >= 4096 {
        let len = ballast.metadata().map_err(|error| rig("ballast", error))?.len();
        if rustix::fs::fallocate(&ballast, FallocateFlags::empty(), len, chunk).is_err() {
            chunk /= 2;
        }
    }
    // What a last block has left, and what was promised to nobody.
    while ballast.write(&[1; 512]).is_ok_and(|count| count > 0) {}
    Ok(())
}

fn free(root: &Path) -> Result<(), Failure> {
    match fs::remove_file(root.join(BALLAST)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(rig("ballast", error)),
        _ => Ok(()),
    }
}
