//! The files of a process: what it has mapped, and what it has open.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, statat};
use steadfast::residency::CachedFile;

use crate::failure::Failure;

pub(crate) type Found = (PathBuf, steadfast::Result<CachedFile>);

/// Each once, under the name that the kernel has for it.
pub(super) fn files_of(pid: u32) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for mapped in maps_of(pid).map_err(|error| unreadable(pid, "mapped", &error))? {
        if seen.insert((mapped.name.clone(), true)) {
            found.extend(mapped.open(pid));
        }
    }
    for (link, name) in open_files_of(pid).map_err(|error| unreadable(pid, "open", &error))? {
        if seen.insert((name.clone(), false)) {
            found.extend(file(&link, &name));
        }
    }
    Ok(found)
}

/// What a process has mapped of files, in the order of its addresses.
pub(crate) fn mappings_of(pid: u32) -> Result<Vec<(PathBuf, Range<usize>)>, Failure> {
    let maps = maps_of(pid).map_err(|error| unreadable(pid, "mapped", &error))?;
    Ok(maps.into_iter().map(|mapped| (mapped.name, mapped.memory)).collect())
}

/// A line of proc_pid_maps(5) that has a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) name: PathBuf,
    memory: Range<usize>,
    /// Device and inode, as the kernel writes them here: on some file systems (btrfs) not the device that stat(2) tells.
    pub(crate) place: String,
}

impl Mapped {
    /// What is mapped can be opened by its addresses, also if its name is gone; without rights to that, by its name.
    pub(crate) fn open(&self, pid: u32) -> Option<Found> {
        let link =
            PathBuf::from(format!("/proc/{pid}/map_files/{:x}-{:x}", self.memory.start, self.memory.end));
        file(&link, &self.name).or_else(|| file(&self.name, &self.name))
    }
}

/// Everything that a process has mapped of files, in the order of its addresses.
pub(crate) fn maps_of(pid: u32) -> io::Result<Vec<Mapped>> {
    let maps = std::fs::read(format!("/proc/{pid}/maps"))?;
    Ok(maps.split(|&byte| byte == b'\n').filter_map(mapping).collect())
}

/// What a process has open: a link through which it can be opened, and its name.
pub(crate) fn open_files_of(pid: u32) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
    Ok(entries
        .flatten()
        .map(|entry| {
            let name = std::fs::read_link(entry.path()).unwrap_or_else(|_| entry.path());
            (entry.path(), name)
        })
        .collect())
}

/// Addresses, access, offset, device, inode, and a name with whatever it holds.
fn mapping(line: &[u8]) -> Option<Mapped> {
    let name = line.iter().position(|&byte| byte == b'/')?;
    let mut fields = std::str::from_utf8(&line[..name]).ok()?.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    let place = fields.skip(2).collect::<Vec<_>>().join(" ");
    let name = PathBuf::from(OsStr::from_bytes(&line[name..]));
    Some(Mapped { name, memory: number(start)?..number(end)?, place })
}

fn unreadable(pid: u32, what: &str, error: &io::Error) -> Failure {
    Failure::Failed(format!(
        "cannot read what process {pid} has {what}: {error}; it must exist, and be yours"
    ))
}

/// A regular file; others have no pages of their own.
pub(crate) fn file(link: &Path, name: &Path) -> Option<Found> {
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
        let mapped =
            Mapped { name: "/a b/c (deleted)".into(), memory: 0x7f00..0x7f40, place: "fe:00 12".to_owned() };
        assert_eq!(mapping(line), Some(mapped));
        assert_eq!(mapping(b"7f00-7f40 rw-p 00000000 00:00 0 [heap]"), None);
        assert_eq!(mapping(b""), None);
    }
}
