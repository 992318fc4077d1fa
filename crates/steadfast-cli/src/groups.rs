//! Control groups: which one a process's memory is counted in, and what the kernel counts there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where groups that count memory are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// One for everything (cgroup v2).
    Unified(PathBuf),
    /// One of several, for memory (cgroup v1).
    Memory(PathBuf),
}

/// Bytes, as the kernel counts them: the group and those below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) file: Option<u64>,
    pub(crate) dirty: Option<u64>,
    pub(crate) write_back: Option<u64>,
}

/// Room in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// What is free, and what could be made free by letting go of files.
    pub(crate) spare_bytes: u64,
    /// Of that, files in memory that may go.
    pub(crate) file_bytes: u64,
}

impl Room {
    /// What could be read in while `present_bytes`, which may be among the files in memory, stay there.
    pub(crate) fn beside(self, present_bytes: u64) -> u64 {
        self.spare_bytes.saturating_sub(present_bytes.min(self.file_bytes))
    }
}

/// The tightest limit of this process's control groups.
pub(crate) fn own_room() -> Option<(Room, PathBuf)> {
    let hierarchy = Hierarchy::of_this_machine()?;
    hierarchy.tightest(&hierarchy.group_of(std::process::id())?)
}

/// Lines of a name and a number.
fn numbers_in(text: &str) -> HashMap<&str, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, number) = line.split_once(' ')?;
            Some((name, number.parse().ok()?))
        })
        .collect()
}

impl Hierarchy {
    /// From proc_pid_mountinfo(5). Where memory is in a hierarchy of its own, the unified one does not count it.
    pub(crate) fn of_this_machine() -> Option<Hierarchy> {
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
    pub(crate) fn group_of(&self, pid: u32) -> Option<PathBuf> {
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
    pub(crate) fn counted(&self, group: &Path) -> Counted {
        self.parse(&std::fs::read_to_string(self.folder_of(group).join("memory.stat")).unwrap_or_default())
    }

    /// What could still be read into memory by a process of a group, and of all above it: the tightest of them. `None` where
    /// nothing is limited.
    pub(crate) fn tightest(&self, group: &Path) -> Option<(Room, PathBuf)> {
        let rooms = group.ancestors().filter_map(|group| Some((self.room_in(group)?, group.to_owned())));
        rooms.min_by_key(|(room, _)| room.spare_bytes)
    }

    fn room_in(&self, group: &Path) -> Option<Room> {
        let folder = self.folder_of(group);
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let number = |name: &str| text(name).trim().parse::<u64>().ok();
        let [limit, used] = match self {
            Hierarchy::Unified(_) => ["memory.max", "memory.current"],
            Hierarchy::Memory(_) => ["memory.limit_in_bytes", "memory.usage_in_bytes"],
        };
        let [inactive, active] = match self {
            Hierarchy::Unified(_) => ["inactive_file", "active_file"],
            Hierarchy::Memory(_) => ["total_inactive_file", "total_active_file"],
        };
        let (limit, used) = (number(limit)?, number(used).unwrap_or(0));
        let counted = text("memory.stat");
        let counted = numbers_in(&counted);
        let file_bytes = [inactive, active].iter().filter_map(|name| counted.get(name)).sum();
        Some(Room { spare_bytes: limit.saturating_sub(used.saturating_sub(file_bytes)), file_bytes })
    }

    fn folder_of(&self, group: &Path) -> PathBuf {
        let (Hierarchy::Unified(point) | Hierarchy::Memory(point)) = self;
        point.join(group.strip_prefix("/").unwrap_or(group))
    }

    fn parse(&self, text: &str) -> Counted {
        let numbers = numbers_in(text);
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

    #[test]
    fn the_tightest_limit_above_a_process_counts_and_files_that_may_go_are_room() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let room = |spare_bytes, file_bytes| Room { spare_bytes, file_bytes };
        write("a/memory.max", "1000\n");
        write("a/memory.current", "900\n");
        write("a/memory.stat", "file 500\ninactive_file 300\nactive_file 100\nshmem 50\n");
        write("a/b/memory.max", "max\n");
        write("a/b/c/memory.max", "800\n");
        write("a/b/c/memory.current", "10\n");
        let unified = Hierarchy::Unified(dir.path().to_owned());
        assert_eq!(unified.tightest(Path::new("/a/b/c")), Some((room(500, 400), "/a".into())));
        assert_eq!(unified.tightest(Path::new("/elsewhere")), None);
        write("v1/memory.limit_in_bytes", "1000\n");
        write("v1/memory.usage_in_bytes", "900\n");
        write("v1/memory.stat", "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 0\n");
        let memory = Hierarchy::Memory(dir.path().to_owned());
        assert_eq!(memory.tightest(Path::new("/v1")), Some((room(400, 300), "/v1".into())));
        // What is there already may be among the files that would have to go.
        assert_eq!([0, 100, 1000].map(|present| room(400, 300).beside(present)), [400, 300, 100]);
    }
}
