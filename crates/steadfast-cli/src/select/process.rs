//! The files of a process: what it has mapped, and what it has open.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, statat};
use steadfast::residency::CachedFile;

use crate::failure::Failure;

type Found = (PathBuf, steadfast::Result<CachedFile>);

/// Each once, under the name that the kernel has for it.
pub(super) fn files_of(pid: u32) -> Result<Vec<Found>, Failure> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let failed = |what: &str, error: std::io::Error| {
        Failure::Failed(format!(
            "cannot read what process {pid} has {what}: {error}; it must exist, and be yours"
        ))
    };
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    // What is mapped can be opened by its addresses, also if its name is gone; without rights to that, by its name.
    let maps = std::fs::read_to_string(process.join("maps")).map_err(|error| failed("mapped", error))?;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(addresses), Some(path)) = (fields.next(), fields.nth(4)) else { continue };
        if !path.starts_with('/') {
            continue;
        }
        let name = line.find(path).map_or(path, |at| &line[at..]);
        if !seen.insert((name.to_owned(), true)) {
            continue;
        }
        let link = process.join("map_files").join(addresses);
        found.extend(file(&link, Path::new(name)).or_else(|| file(Path::new(name), Path::new(name))));
    }
    let open = std::fs::read_dir(process.join("fd")).map_err(|error| failed("open", error))?;
    for entry in open.flatten() {
        let name = std::fs::read_link(entry.path()).unwrap_or_else(|_| entry.path());
        if seen.insert((name.to_string_lossy().into_owned(), false)) {
            found.extend(file(&entry.path(), &name));
        }
    }
    Ok(found)
}

/// A regular file; others have no pages of their own.
fn file(link: &Path, name: &Path) -> Option<Found> {
    let is_regular = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
    let looked = statat(CWD, link, rustix::fs::AtFlags::empty()).ok()?;
    if !is_regular(looked.st_mode) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened: OwnedFd = openat(CWD, link, flags, Mode::empty()).ok()?;
    let is_still = fstat(&opened).is_ok_and(|stat| is_regular(stat.st_mode));
    is_still.then(|| (name.to_owned(), CachedFile::of(opened, name)))
}
