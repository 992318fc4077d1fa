//! The folder under test: its file system, its device, and what is written to it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, syncfs};
use tempfile::TempDir;

use crate::Result;

/// Where a benchmark works, and how large its data set is.
pub(crate) struct Ground {
    // Removed, with all that is in it, when the benchmark is done.
    folder: TempDir,
    /// For `syncfs`.
    handle: File,
    /// Bytes of the data set.
    pub(crate) len: usize,
    /// The most pages that one commit will have.
    pub(crate) pages_max: usize,
}

impl Ground {
    /// A fresh folder below `dir`.
    pub(crate) fn new(dir: &Path, len: usize, pages_max: usize) -> Result<Ground> {
        let folder = tempfile::Builder::new()
            .prefix("steadfast-bench-")
            .tempdir_in(dir)
            .map_err(|error| format!("cannot work in {}: {error}", dir.display()))?;
        let handle = File::open(folder.path())?;
        Ok(Ground { folder, handle, len, pages_max })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// A durable file of random bytes as large as the data set.
    pub(crate) fn data_file(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        crate::data::write_file(&path, self.len)?;
        Ok(path)
    }

    /// Waits until nothing of this file system is left to be written.
    pub(crate) fn settle(&self) -> Result<()> {
        Ok(syncfs(&self.handle)?)
    }

    /// An error's text without the place where the benchmark happened to run.
    pub(crate) fn without_place(&self, text: &str) -> String {
        let place = self.folder().canonicalize().unwrap_or_else(|_| self.folder().to_owned());
        text.replace(&format!("{}/", place.display()), "")
            .replace(&format!("{}/", self.folder().display()), "")
    }
}

/// Counts bytes that reach the device.
pub(crate) enum WriteMeter {
    /// `/sys/dev/block/MAJOR:MINOR/stat`: all that the device wrote, metadata and other programs included.
    Device(PathBuf),
    /// `/proc/self/io`: what this process caused to be written; where the file system has no device of its own.
    Process,
}

impl WriteMeter {
    pub(crate) fn of(folder: &Path) -> Result<WriteMeter> {
        let dev = steadfast_cli::place::device_of(folder)?;
        let stat = PathBuf::from(format!("/sys/dev/block/{dev}/stat"));
        Ok(if stat.exists() { WriteMeter::Device(stat) } else { WriteMeter::Process })
    }

    pub(crate) fn source(&self) -> &'static str {
        match self {
            WriteMeter::Device(_) => "device sectors written",
            WriteMeter::Process => "write_bytes of this process",
        }
    }

    pub(crate) fn bytes(&self) -> Result<u64> {
        match self {
            // The seventh figure is sectors written, of 512 bytes whatever the device.
            WriteMeter::Device(path) => Ok(figure(path, 7)? * 512),
            WriteMeter::Process => {
                let io = fs::read_to_string("/proc/self/io")?;
                let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
                Ok(line.ok_or("/proc/self/io has no write_bytes")?.trim().parse()?)
            }
        }
    }

    /// Flushes that the device has completed, for whomever; `None` where there is no device to ask.
    pub(crate) fn flushes(&self) -> Result<Option<u64>> {
        match self {
            WriteMeter::Device(path) => figure(path, 16).map(Some),
            WriteMeter::Process => Ok(None),
        }
    }
}

/// A figure of a device's `stat` file, counted from 1 as the kernel's documentation does.
fn figure(stat: &Path, number: usize) -> Result<u64> {
    let stat = fs::read_to_string(stat)?;
    let figure = stat.split_whitespace().nth(number - 1).ok_or("the device's stat file is too short")?;
    Ok(figure.parse()?)
}

/// Drops a file's pages from the page cache, so that reading it means reading the device. Durable first: dirty pages stay.
pub(crate) fn drop_from_cache(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}
