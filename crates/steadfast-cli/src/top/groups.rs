//! Control groups: which one a process's memory is counted in, and what the kernel counts there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where groups that count memory are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// One for everything (cgroup v2).
    Unified(PathBuf),
    /// One of several, for memory (cgroup v1).
    Memory(PathBuf),
}

/// Bytes, as the kernel counts them: the group and those below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) file: Option<u64>,
    pub(super) dirty: Option<u64>,
    pub(super) write_back: Option<u64>,
}

impl Hierarchy {
    /// From proc_pid_mountinfo(5). Where memory is in a hierarchy of its own, the unified one does not count it.
    pub(super) fn of_this_machine() -> Option<Hierarchy> {
        Hierarchy::of(&std::fs::read_to_string("/proc/self/mountinfo").ok()?)
    }

    fn of(mounts: &str) -> Option<Hierarchy> {
        let mut unified = None;
        for mount in mounts.lines() {
            let Some((place, kind)) = mount.split_once(" - ") else { continue };
            let Some(point) = place.split(' ').nth(4) else { continue };
            let mut kind = kind.split(' ');
            match (kind.next(), kind.nth(1)) {
                (Some("cgroup"), Some(options)) if options.split(',').any(|option| option == "memory") => {
                    return Some(Hierarchy::Memory(point.into()));
                }
                (Some("cgroup2"), _) => unified = unified.or_else(|| Some(Hierarchy::Unified(point.into()))),
                _ => {}
            }
        }
        unified
    }

    /// The group of a process, from its root (cgroups(7), /proc/PID/cgroup).
    pub(super) fn group_of(&self, pid: u32) -> Option<PathBuf> {
        self.group_in(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
    }

    fn group_in(&self, text: &str) -> Option<PathBuf> {
        text.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
            let is_it = match self {
                Hierarchy::Unified(_) => number == "0",
                Hierarchy::Memory(_) => controllers.split(',').any(|controller| controller == "memory"),
            };
            is_it.then(|| PathBuf::from(group))
        })
    }

    /// What the kernel counts in a group: nothing where it does not.
    pub(super) fn counted(&self, group: &Path) -> Counted {
        let (Hierarchy::Unified(point) | Hierarchy::Memory(point)) = self;
        let group = group.strip_prefix("/").unwrap_or(group);
        let text = std::fs::read_to_string(point.join(group).join("memory.stat")).unwrap_or_default();
        self.parse(&text)
    }

    fn parse(&self, text: &str) -> Counted {
        let numbers: HashMap<&str, u64> = text
            .lines()
            .filter_map(|line| {
                line.split_once(' ').and_then(|(name, number)| Some((name, number.parse().ok()?)))
            })
            .collect();
        let names = match self {
            Hierarchy::Unified(_) => ["file", "file_dirty", "file_writeback"],
            Hierarchy::Memory(_) => ["total_cache", "total_dirty", "total_writeback"],
        };
        let [file, dirty, write_back] = names.map(|name| numbers.get(name).copied());
        Counted { file, dirty, write_back }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const MEMORY: &str = "33 32 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn memory_is_counted_where_its_controller_is() {
        let unified = Hierarchy::Unified("/sys/fs/cgroup".into());
        let memory = Hierarchy::Memory("/sys/fs/cgroup/memory".into());
        assert_eq!(Hierarchy::of(UNIFIED), Some(unified.clone()));
        assert_eq!(Hierarchy::of(&format!("{UNIFIED}{MEMORY}")), Some(memory.clone()));
        assert_eq!(Hierarchy::of("22 1 8:1 / / rw - ext4 /dev/sda1 rw\nnonsense\n"), None);

        let process = "9:name=systemd:/a\n4:cpu,memory:/b:c\n0::/d\n";
        assert_eq!(unified.group_in(process), Some("/d".into()));
        assert_eq!(memory.group_in(process), Some("/b:c".into()));
        assert_eq!(memory.group_in("0::/d\n"), None);
    }

    #[test]
    fn what_the_kernel_counts_is_told_and_nothing_made_up() {
        let unified = Hierarchy::Unified("/".into());
        let text = "anon 1\nfile 2\nfile_mapped 9\nfile_dirty 3\nfile_writeback 4\n";
        let counted = Counted { file: Some(2), dirty: Some(3), write_back: Some(4) };
        assert_eq!(unified.parse(text), counted);
        assert_eq!(unified.parse(""), Counted::default());
        let memory = Hierarchy::Memory("/".into());
        assert_eq!(memory.parse("cache 1\ntotal_cache 2\ntotal_dirty 3\ntotal_writeback 4\n"), counted);
    }
}
