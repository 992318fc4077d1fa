//! One look at the whole machine: files, and sums of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use steadfast::residency::CachedFile;

use super::processes::{self, Identity, Process, Walk};
use crate::failure::Failure;
use crate::groups::{Counted, Hierarchy};
use crate::memory;
use crate::select::Selection;
use crate::stat;

/// What one look saw.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Since the first.
    pub(super) at: Duration,
    pub(super) files: Vec<File>,
    pub(super) processes: Vec<Sum>,
    pub(super) groups: Vec<Sum>,
    pub(super) total: stat::Total,
    pub(super) process_count: u64,
    pub(super) unreadable_processes: u64,
    pub(super) lost_files: u64,
    /// What the kernel says of the whole cache.
    pub(super) cached_bytes: Option<u64>,
    pub(super) failed: Vec<(PathBuf, String)>,
}

/// A file in the cache.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) row: stat::Row,
    /// Processes that have it.
    pub(super) processes: u64,
}

/// Files of a process, or of all processes of a group.
#[derive(Debug, Clone, Default)]
pub(super) struct Sum {
    pub(super) name: String,
    pub(super) pid: Option<u32>,
    pub(super) processes: u64,
    pub(super) total: stat::Total,
    pub(super) counted: Counted,
}

/// Looks again and again.
pub(super) struct Looker {
    named: Option<Selection>,
    start: Instant,
}

impl Looker {
    pub(super) fn new(named: Option<Selection>, start: Instant) -> Looker {
        Looker { named, start }
    }

    pub(super) fn look(&mut self) -> Result<Look, Failure> {
        let hierarchy = Hierarchy::of_this_machine();
        let group_of = |pid| hierarchy.as_ref()?.group_of(pid);
        let mut rows = HashMap::new();
        let walk = processes::walk(group_of, &mut |file| {
            rows.extend(row(file).map(|row| (file.identity(), row)));
        })
        .map_err(|error| {
            Failure::Failed(format!("cannot walk through /proc: {error}; it must be mounted"))
        })?;
        let mut failed = Vec::new();
        if let Some(named) = &self.named {
            let selected = named.ask_quietly(|file| Ok((file.identity(), row(file))))?;
            for (_, (identity, row)) in selected.found {
                if let Some(row) = row {
                    rows.entry(identity).or_insert(row);
                }
            }
            failed = selected.failed;
        }
        let counted = |group: &Path| hierarchy.as_ref().map(|all| all.counted(group)).unwrap_or_default();
        let mut look = sum(rows, walk, counted);
        (look.at, look.cached_bytes, look.failed) = (self.start.elapsed(), memory::cached_bytes(), failed);
        Ok(look)
    }
}

/// `None` of a file that was cut while it was looked at.
fn row(file: &CachedFile) -> Option<stat::Row> {
    Some(stat::Row::new(file.path().to_owned(), file.len(), file.counts(..).ok()?, Vec::new()))
}

/// What each file is to its processes, and they to their groups.
pub(super) fn sum(
    rows: HashMap<Identity, stat::Row>,
    walk: Walk,
    counted: impl Fn(&Path) -> Counted,
) -> Look {
    let mut users: HashMap<Identity, u64> = HashMap::new();
    let mut groups: BTreeMap<&Path, (Vec<&Process>, HashSet<Identity>)> = BTreeMap::new();
    for process in &walk.processes {
        for file in &process.files {
            *users.entry(*file).or_default() += 1;
        }
        if let Some(group) = &process.group {
            let (processes, files) = groups.entry(group).or_default();
            processes.push(process);
            files.extend(&process.files);
        }
    }
    let total_of =
        |files: &HashSet<Identity>| stat::Total::of(files.iter().filter_map(|file| rows.get(file)), 0);
    let processes = walk.processes.iter().map(|process| Sum {
        name: process.command.clone(),
        pid: Some(process.pid),
        processes: 1,
        total: total_of(&process.files),
        counted: Counted::default(),
    });
    let groups = groups.iter().map(|(group, (processes, files))| Sum {
        name: group.display().to_string(),
        pid: None,
        processes: processes.len() as u64,
        total: total_of(files),
        counted: counted(group),
    });
    Look {
        processes: processes.collect(),
        groups: groups.collect(),
        total: stat::Total::of(rows.values(), 0),
        process_count: walk.processes.len() as u64,
        unreadable_processes: walk.unreadable,
        lost_files: walk.lost_files,
        files: rows
            .into_iter()
            .map(|(identity, row)| File { row, processes: users.get(&identity).copied().unwrap_or(0) })
            .collect(),
        ..Look::default()
    }
}
