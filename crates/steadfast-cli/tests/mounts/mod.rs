//! File systems of our own on files (loop devices), where that is allowed, and what of them a power cut would leave.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of 4 KiB blocks: its files have small pages where whoever reads says that it reads here and there.
    Ext4,
    /// Large folios.
    Xfs,
}

/// Unmounted when it goes.
pub(crate) struct Mounted {
    kind: Kind,
    image: PathBuf,
    pub(crate) path: PathBuf,
    /// Last: it is emptied once nothing is mounted in it.
    folder: TempDir,
}

impl Mounted {
    /// `None`, said on standard error, where it cannot be.
    pub(crate) fn new(kind: Kind) -> Option<Mounted> {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let image = folder.path().join("image");
        let (program, bytes) = match kind {
            Kind::Ext4 => ("mkfs.ext4", 96 << 20),
            Kind::Xfs => ("mkfs.xfs", 320 << 20),
        };
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let options: &[&str] = match kind {
            Kind::Ext4 => &["-q", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
            Kind::Xfs => &["-q", "-K"],
        };
        done(Command::new(program).args(options).arg(&image))?;
        Mounted::of(kind, image, folder)
    }

    fn of(kind: Kind, image: PathBuf, folder: TempDir) -> Option<Mounted> {
        let path = folder.path().join("mounted");
        fs::create_dir(&path).unwrap();
        let options = match kind {
            // What nobody syncs stays where it is meanwhile.
            Kind::Ext4 => "loop,commit=600",
            Kind::Xfs => "loop,nouuid",
        };
        done(Command::new("mount").args(["-o", options]).args([&image, &path]))?;
        Some(Mounted { kind, image, path, folder })
    }

    /// What the device has by now, as a file system of its own: what would be found after a power cut.
    pub(crate) fn after_power_cut(&self) -> Mounted {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let image = folder.path().join("image");
        fs::copy(&self.image, &image).unwrap();
        Mounted::of(self.kind, image, folder).expect("the other could be mounted")
    }

    /// Of a file system in memory, of so many bytes.
    pub(crate) fn in_memory(bytes: u64) -> Option<InMemory> {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let size = format!("size={bytes}");
        done(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()))?;
        Some(InMemory { folder })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).status();
    }
}

/// A tmpfs, unmounted when it goes.
pub(crate) struct InMemory {
    folder: TempDir,
}

impl InMemory {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).status();
    }
}

/// Without a word, or with what was lacking.
pub(crate) fn done(command: &mut Command) -> Option<()> {
    let why = match command.output() {
        Ok(output) if output.status.success() => return Some(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    eprintln!("lacks a mount of its own: {command:?}: {why}");
    None
}
