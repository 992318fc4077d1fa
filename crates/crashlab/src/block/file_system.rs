//! The file systems, and a mount of one on a disk of our own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fuser::BackgroundSession;
use rustix::fs::{Advice, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use serde::Serialize;
use tempfile::TempDir;

use super::device::Device;
use super::media::Media;
use crate::outcome::Failure;

/// So long a file system may be busy with what is not ours.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(10);

/// In the rig's failure where a file system cannot be mounted any more, not even after its own repair.
pub(crate) const UNMOUNTABLE: &str = "did not survive the power cut";

/// A file system that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// ext4, as mkfs makes it.
    Ext4,
    /// XFS, as mkfs makes it.
    Xfs,
    /// btrfs, as mkfs makes it on one device.
    Btrfs,
}

impl FileSystem {
    /// All of them.
    pub const ALL: [FileSystem; 3] = [FileSystem::Ext4, FileSystem::Xfs, FileSystem::Btrfs];

    /// As the kernel names it.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
            FileSystem::Btrfs => "btrfs",
        }
    }

    /// Not much more than the smallest that mkfs makes.
    pub(super) fn bytes(self) -> u64 {
        match self {
            FileSystem::Ext4 => 48 << 20,
            FileSystem::Xfs => 320 << 20,
            FileSystem::Btrfs => 144 << 20,
        }
    }

    /// Where a disk writes all of a block or nothing, or the file system itself is lost. btrfs makes an `fsync` durable by its first
    /// super block alone: torn, it leaves the other copies, which know nothing of that `fsync`.
    pub fn never_torn(self) -> &'static [u64] {
        match self {
            FileSystem::Ext4 | FileSystem::Xfs => &[],
            FileSystem::Btrfs => &[64 << 10, 64 << 20],
        }
    }

    pub(super) fn mkfs(self, device: &Path) -> Command {
        let mut command = Command::new(format!("mkfs.{}", self.name()));
        match self {
            // What the kernel would do later in the background is done now: it is not what is looked at.
            FileSystem::Ext4 => {
                command.args(["-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", "-J", "size=4"])
            }
            FileSystem::Xfs => command.args(["-q", "-K", "-f"]),
            FileSystem::Btrfs => command.args(["-q", "-K", "-f"]),
        };
        command.arg(device);
        command
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A disk of our own with a file system, and the place where it is mounted. Everything is taken down when it is dropped.
#[derive(Debug)]
pub struct Rig {
    file_system: FileSystem,
    /// The disk.
    pub device: Device,
    /// A file system that was just made, unmounted.
    pub fresh: Media,
    loop_device: PathBuf,
    mounted: bool,
    folder: TempDir,
    // Ends when it is dropped: after the loop device was detached.
    session: Option<BackgroundSession>,
}

impl Rig {
    /// Sets everything up.
    ///
    /// # Errors
    ///
    /// [`Failure::Lacking`] says what is missing here.
    pub fn new(file_system: FileSystem) -> Result<Rig, Failure> {
        lacks(file_system)?;
        let folder = tempfile::Builder::new()
            .prefix("crashlab-")
            .tempdir()
            .map_err(|error| Failure::Rig(format!("no folder to work in: {error}")))?;
        let rig = |what: &str, error: &dyn fmt::Display| Failure::Rig(format!("{what}: {error}"));
        let at = folder.path().join("disk");
        for place in [&at, &folder.path().join("mount")] {
            std::fs::create_dir(place).map_err(|error| rig("no folder", &error))?;
        }
        let device = Device::new(Media::blank(file_system.bytes()));
        let (session, disk) = device
            .serve(&at)
            .map_err(|error| Failure::Lacking(format!("a FUSE mount at {}: {error}", at.display())))?;
        let loop_device = output(Command::new("losetup").args(["-f", "--show"]).arg(&disk), 0)
            .map_err(|error| Failure::Lacking(format!("a loop device: {error}")))?;
        let mut made = Rig {
            file_system,
            fresh: Media::blank(0),
            device,
            loop_device: loop_device.into(),
            mounted: false,
            folder,
            session: Some(session),
        };
        output(&mut file_system.mkfs(&made.loop_device), 0).map_err(|error| rig("mkfs", &error))?;
        made.fresh = made.device.media();
        Ok(made)
    }

    /// Which file system it is.
    pub fn file_system(&self) -> FileSystem {
        self.file_system
    }

    /// Where the file system's root is while it is mounted.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Mounts; the file system recovers by itself what a power cut left.
    pub fn mount(&mut self) -> Result<(), Failure> {
        self.mount_as_it_is().map_err(|error| Failure::Rig(format!("mount of {}: {error}", self.file_system)))
    }

    /// As `mount`; where the file system refuses what a power cut left of it, its own repair is run first. Says whether it was.
    pub fn mount_or_repair(&mut self) -> Result<bool, Failure> {
        let Err(refused) = self.mount_as_it_is() else { return Ok(false) };
        let repair = match self.file_system {
            // A super block that is torn between its two sectors has a wrong checksum, and another copy elsewhere.
            FileSystem::Ext4 => output(Command::new("e2fsck").arg("-fy").arg(&self.loop_device), 1),
            FileSystem::Xfs => output(Command::new("xfs_repair").arg(&self.loop_device), 0),
            FileSystem::Btrfs => Err("and it has no repair that keeps what was synced".to_owned()),
        };
        let file_system = self.file_system;
        let failed = |error: String| Failure::Rig(format!("{file_system} {UNMOUNTABLE}: {refused}; {error}"));
        repair.map_err(failed)?;
        self.mount_as_it_is().map_err(|error| failed(format!("repaired: {error}")))?;
        Ok(true)
    }

    fn mount_as_it_is(&mut self) -> rustix::io::Result<()> {
        let name = self.file_system.name();
        // The last one to close a block device empties its cache. Another program that looks at all devices may have this one
        // open, and what it held before would be read then.
        let device = rustix::fs::open(&self.loop_device, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::fadvise(&device, 0, None, Advice::DontNeed)?;
        drop(device);
        rustix::mount::mount(&self.loop_device, self.root(), name, MountFlags::NOATIME, None)?;
        self.mounted = true;
        Ok(())
    }

    /// Unmounts: the loop device forgets what it had cached.
    pub fn unmount(&mut self) -> Result<(), Failure> {
        unmount(&self.root())
            .map_err(|error| Failure::Rig(format!("umount of {}: {error}", self.file_system)))?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A disk that was told to fail does not let go.
        self.device.fail(None);
        if self.mounted && rustix::mount::unmount(self.root(), UnmountFlags::DETACH).is_err() {
            eprintln!("could not unmount {}", self.root().display());
        }
        if let Err(error) = output(Command::new("losetup").arg("-d").arg(&self.loop_device), 0) {
            eprintln!("could not detach {}: {error}", self.loop_device.display());
        }
        // Another program that looks at all devices may still have the loop device open: it goes when that lets go of it.
        if let Some(session) = self.session.take()
            && session.umount_and_join().is_err()
            && let Err(error) = rustix::mount::unmount(self.folder.path().join("disk"), UnmountFlags::DETACH)
        {
            eprintln!("could not end the disk: {error}");
        }
    }
}

/// Unmounts, as soon as nobody else uses what is mounted there.
pub(crate) fn unmount(place: &Path) -> rustix::io::Result<()> {
    let deadline = Instant::now() + UNMOUNT_PATIENCE;
    loop {
        match rustix::mount::unmount(place, UnmountFlags::empty()) {
            // A process that another thread starts has copies of all descriptors until it becomes another program.
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::yield_now(),
            done => return done,
        }
    }
}

/// What this machine lacks for a rig.
pub fn lacks(file_system: FileSystem) -> Result<(), Failure> {
    let lacking = |what: String| Err(Failure::Lacking(what));
    if !rustix::process::geteuid().is_root() {
        return lacking("root: mounting and loop devices need it".into());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return lacking(device.to_owned());
        }
    }
    for program in ["losetup", &format!("mkfs.{}", file_system.name())] {
        if Command::new(program).arg("-V").output().is_err() {
            let package = match file_system {
                _ if program == "losetup" => "util-linux",
                FileSystem::Ext4 => "e2fsprogs",
                FileSystem::Xfs => "xfsprogs",
                FileSystem::Btrfs => "btrfs-progs",
            };
            return lacking(format!("{program} (Debian: apt-get install {package})"));
        }
    }
    Ok(())
}

/// What a command printed, or why it failed: an exit code above `code_max`.
pub(crate) fn output(command: &mut Command, code_max: i32) -> Result<String, String> {
    let done = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if done.status.code().is_none_or(|code| code > code_max) {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}
