//! Maps on the machine's own file systems.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};

use steadfast::{AtomicMapping, AtomicOptions, Error};

use crate::workload::{MapPlan, Stage};

/// Opens by `load` or by `view`.
///
/// # Errors
///
/// Those of the library.
pub fn open(view: bool, options: AtomicOptions, path: &Path) -> Result<AtomicMapping, Error> {
    if !view {
        return options.load(path);
    }
    // SAFETY: the file lies in a folder that the rig made for itself, and nothing else writes it while the map is open.
    unsafe { options.view(path) }
}

/// Files in a folder, by the number of their map.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// Where the file of this number is.
    pub fn path(&self, file: usize) -> PathBuf {
        self.0.join(format!("file{file}"))
    }
}

impl Stage for Folder {
    fn open(&self, map: usize, plan: &MapPlan, options: AtomicOptions) -> Result<AtomicMapping, Error> {
        open(plan.view, options, &self.path(map))
    }
}
