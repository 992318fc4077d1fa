//! Every process, and the files that it has mapped or open.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, statat};
use rustix::io::Errno;
use steadfast::residency::CachedFile;

use crate::select::process::{Found, Mapped, file, maps_of, open_files_of};

/// A kernel thread (`PF_KTHREAD` of linux/sched.h, field 9 of proc_pid_stat(5)): it has no files of its own.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// One process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) command: String,
    /// The control group that its memory is counted in.
    pub(super) group: Option<PathBuf>,
    pub(super) files: HashSet<Identity>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) processes: Vec<Process>,
    /// Processes whose files this user may not see.
    pub(super) unreadable: u64,
    /// Files that a process has and that cannot be opened.
    pub(super) lost_files: u64,
}

/// Walks through /proc. `tell` hears of every file once.
pub(super) fn walk(
    group_of: impl Fn(u32) -> Option<PathBuf>,
    tell: &mut impl FnMut(&CachedFile),
) -> io::Result<Walk> {
    let mut walk = Walk::default();
    let mut files = Files { by_place: HashMap::new(), told: HashSet::new(), lost: HashSet::new() };
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some((command, is_kernel_thread)) = command_of(pid) else { continue };
        if is_kernel_thread {
            continue;
        }
        match files_of(pid, &mut files, tell) {
            Ok(found) => {
                walk.processes.push(Process { pid, command, group: group_of(pid), files: found });
            }
            Err(error) if is_end(&error) => {}
            Err(_) => walk.unreadable += 1,
        }
    }
    walk.lost_files = files.lost.len() as u64;
    Ok(walk)
}

/// It ended since it was found.
fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

struct Files {
    /// Files behind mappings, by what the kernel calls them there; `None` of those that cannot be opened.
    by_place: HashMap<String, Option<Identity>>,
    told: HashSet<Identity>,
    lost: HashSet<PathBuf>,
}

impl Files {
    fn mapped(&mut self, mapped: &Mapped, pid: u32, tell: &mut impl FnMut(&CachedFile)) -> Option<Identity> {
        if let Some(known) = self.by_place.get(&mapped.place) {
            return *known;
        }
        let identity = self.told(mapped.open(pid), tell, &mapped.name);
        self.by_place.insert(mapped.place.clone(), identity);
        identity
    }

    fn told(
        &mut self,
        found: Option<Found>,
        tell: &mut impl FnMut(&CachedFile),
        name: &Path,
    ) -> Option<Identity> {
        let Some((_, Ok(file))) = found else {
            // Memory that is mapped as if it were a device or a segment, and what this user may not open.
            if is_regular(name) {
                self.lost.insert(name.to_owned());
            }
            return None;
        };
        if self.told.insert(file.identity()) {
            tell(&file);
        }
        Some(file.identity())
    }
}

fn is_regular(path: &Path) -> bool {
    statat(CWD, path, AtFlags::empty())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

fn files_of(
    pid: u32,
    files: &mut Files,
    tell: &mut impl FnMut(&CachedFile),
) -> io::Result<HashSet<Identity>> {
    let mut found = HashSet::new();
    for mapped in maps_of(pid)? {
        found.extend(files.mapped(&mapped, pid, tell));
    }
    for (link, name) in open_files_of(pid)? {
        let Ok(stat) = statat(CWD, &link, AtFlags::empty()) else { continue };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            continue;
        }
        let identity = (stat.st_dev, stat.st_ino);
        if files.told.contains(&identity) {
            found.insert(identity);
        } else {
            found.extend(files.told(file(&link, &name), tell, &name));
        }
    }
    Ok(found)
}

/// Its name, and whether it is a thread of the kernel. `None` if it ended.
fn command_of(pid: u32) -> Option<(String, bool)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&stat))
}

/// `pid (name) state ppid pgrp session tty tpgid flags …`; the name may hold anything, parentheses too.
fn parse_stat(stat: &str) -> Option<(String, bool)> {
    let (start, end) = (stat.find('(')?, stat.rfind(')')?);
    let flags: u32 = stat.get(end + 1..)?.split_ascii_whitespace().nth(6)?.parse().ok()?;
    Some((stat.get(start + 1..end)?.to_owned(), flags & KERNEL_THREAD != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_and_kernel_threads_are_told_apart() {
        let user = "7 (a) b (c) S 1 7 7 0 -1 4194560 100";
        assert_eq!(parse_stat(user), Some(("a) b (c".to_owned(), false)));
        let kernel = "2 (kthreadd) S 0 0 0 0 -1 2129984 0";
        assert_eq!(parse_stat(kernel), Some(("kthreadd".to_owned(), true)));
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat(")("), None);
    }

    #[test]
    fn what_this_process_has_open_and_mapped_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (open, mapped) = (folder.path().join("open"), folder.path().join("mapped"));
        for path in [&open, &mapped] {
            std::fs::write(path, [7; 10_000]).unwrap();
        }
        let held = std::fs::File::open(&open).unwrap();
        let map = steadfast::Mapping::options().open(&mapped).unwrap();
        let mut told = HashMap::new();
        let walk = walk(|_| None, &mut |file| {
            told.insert(file.identity(), file.path().to_owned());
        })
        .unwrap();
        let own = walk.processes.iter().find(|process| process.pid == std::process::id()).unwrap();
        for path in [&open, &mapped] {
            let identity = CachedFile::open(path).unwrap().identity();
            assert!(own.files.contains(&identity), "{path:?}");
            assert!(told.contains_key(&identity), "{path:?}");
        }
        // Nobody has it open.
        let program = CachedFile::open(std::env::current_exe().unwrap()).unwrap().identity();
        assert!(own.files.contains(&program) && told.contains_key(&program));
        drop((held, map));
    }
}
