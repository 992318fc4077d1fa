//! The file that the report goes to.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Open from the start, and untouched until there is a report.
pub(super) struct Destination {
    path: PathBuf,
    file: File,
    /// It was not there before: without a report it goes again.
    is_new: bool,
    is_written: bool,
}

impl Destination {
    pub(super) fn open(path: &Path) -> Result<Destination, Failure> {
        let mut options = File::options();
        options.write(true);
        let (opened, is_new) = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (options.open(path), false),
            opened => (opened, true),
        };
        let file = opened.map_err(|error| cannot_write(path, &error))?;
        Ok(Destination { path: path.to_owned(), file, is_new, is_written: false })
    }

    /// Replaces what was there.
    pub(super) fn write(mut self, page: &str) -> Result<PathBuf, Failure> {
        let mut write = || {
            // A pipe or a device has no length.
            if self.file.metadata()?.is_file() {
                self.file.set_len(0)?;
            }
            self.file.write_all(page.as_bytes())
        };
        write().map_err(|error| cannot_write(&self.path, &error))?;
        self.is_written = true;
        Ok(self.path.clone())
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if self.is_new && !self.is_written {
            // An empty file, or half a report: better none. If it cannot be removed, the failure has been told already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write the report to {}: {error}", path.display()))
}
