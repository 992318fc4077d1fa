//! The files of a process: what it has mapped, and what it has open.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, statat};
use steadfast::residency::CachedFile;

use crate::failure::Failure;

type Found = (PathBuf, steadfast::Result<CachedFile>);

/// Each once, under the name that the kernel has for it.
pub(super) fn files_of(pid: u32) -> Result<Vec<Found>, Failure> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    // What is mapped can be opened by its addresses, also if its name is gone; without rights to that, by its name.
    for (name, memory) in mappings_of(pid)? {
        if seen.insert((name.clone(), true)) {
            let link = process.join(format!("map_files/{:x}-{:x}", memory.start, memory.end));
            found.extend(file(&link, &name).or_else(|| file(&name, &name)));
        }
    }
    let open = std::fs::read_dir(process.join("fd")).map_err(|error| unreadable(pid, "open", &error))?;
    for entry in open.flatten() {
        let name = std::fs::read_link(entry.path()).unwrap_or_else(|_| entry.path());
        if seen.insert((name.clone(), false)) {
            found.extend(file(&entry.path(), &name));
        }
    }
    Ok(found)
}

/// What a process has mapped of files, in the order of its addresses (proc_pid_maps(5)).
pub(crate) fn mappings_of(pid: u32) -> Result<Vec<(PathBuf, Range<usize>)>, Failure> {
    let maps =
        std::fs::read(format!("/proc/{pid}/maps")).map_err(|error| unreadable(pid, "mapped", &error))?;
    Ok(maps.split(|&byte| byte == b'\n').filter_map(mapping).collect())
}

/// Addresses, access, offset, device, inode, and a name with whatever it holds.
fn mapping(line: &[u8]) -> Option<(PathBuf, Range<usize>)> {
    let name = line.iter().position(|&byte| byte == b'/')?;
    let (start, end) = std::str::from_utf8(line.split(|&byte| byte == b' ').next()?).ok()?.split_once('-')?;
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    Some((PathBuf::from(OsStr::from_bytes(&line[name..])), number(start)?..number(end)?))
}

fn unreadable(pid: u32, what: &str, error: &std::io::Error) -> Failure {
    Failure::Failed(format!(
        "cannot read what process {pid} has {what}: {error}; it must exist, and be yours"
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_have_names_with_spaces_and_those_without_a_file_have_none() {
        let line = b"7f00-7f40 r--s 00001000 fe:00 12 /a b/c (deleted)";
        assert_eq!(mapping(line), Some(("/a b/c (deleted)".into(), 0x7f00..0x7f40)));
        assert_eq!(mapping(b"7f00-7f40 rw-p 00000000 00:00 0 [heap]"), None);
        assert_eq!(mapping(b""), None);
    }
}
