//! The page cache as a line of JSON (docs/screens.md).

use clap::ValueEnum;
use serde::Serialize;

use super::By;
use super::look::{File, Sum};
use super::page::{Known, by};
use crate::screen::{Shown, View};
use crate::stat::page_bytes;

/// A line of JSON: a round.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    schema: u32,
    round: u64,
    seconds: f64,
    by: String,
    page_cache_bytes: Option<u64>,
    found_bytes: u64,
    files: u64,
    processes: u64,
    unreadable_processes: u64,
    unreadable_files: u64,
    rows: Vec<Row>,
    rows_left_out: u64,
}

impl Answer {
    pub(super) fn of(known: &Known, view: &View) -> Answer {
        let by = by(view);
        let lines = known.plain_lines();
        let (count, rows) = match by {
            By::File => {
                let files = known.files(view);
                (files.len(), files.into_iter().take(lines).map(Row::of_file).collect::<Vec<_>>())
            }
            _ => {
                let sums = known.sums(view);
                (sums.len(), sums.into_iter().take(lines).map(|sum| Row::of_sum(sum, by)).collect())
            }
        };
        Answer {
            schema: 1,
            round: known.round,
            seconds: known.look.at.as_secs_f64(),
            by: by.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default(),
            page_cache_bytes: known.look.cached_bytes,
            found_bytes: known.found_bytes(),
            files: known.look.total.files,
            processes: known.look.process_count,
            unreadable_processes: known.look.unreadable_processes,
            unreadable_files: known.look.lost_files,
            rows_left_out: (count - rows.len()) as u64,
            rows,
        }
    }
}

/// A file, a process or a group: what a kind has not is left out.
#[derive(Debug, Default, Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<String>,
    /// `null` where nobody can tell.
    cached_bytes: Option<u64>,
    dirty_bytes: Option<u64>,
    write_back_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    processes: u64,
    /// As the kernel counts a group, with those below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<Kernel>,
}

#[derive(Debug, Serialize)]
struct Kernel {
    file_bytes: Option<u64>,
    file_dirty_bytes: Option<u64>,
    file_write_back_bytes: Option<u64>,
}

impl Row {
    fn of_file(file: &File) -> Row {
        let bytes = |pages: Option<u64>| pages.map(|pages| pages * page_bytes());
        Row {
            path: Some(file.row.path.clone()),
            cached_bytes: bytes(file.row.resident_pages),
            dirty_bytes: bytes(file.row.dirty_pages),
            write_back_bytes: bytes(file.row.write_back_pages),
            size_bytes: Some(file.row.size_bytes),
            processes: file.processes,
            ..Row::default()
        }
    }

    fn of_sum(sum: &Sum, by: By) -> Row {
        let bytes = |pages: Option<u64>| pages.map(|pages| pages * page_bytes());
        let is_group = by == By::Cgroup;
        Row {
            pid: sum.pid,
            command: (!is_group).then(|| sum.name.clone()),
            cgroup: is_group.then(|| sum.name.clone()),
            cached_bytes: bytes(sum.total.resident()),
            dirty_bytes: bytes(sum.total.dirty()),
            write_back_bytes: bytes(sum.total.write_back()),
            files: Some(sum.total.files),
            processes: sum.processes,
            kernel: is_group.then_some(Kernel {
                file_bytes: sum.counted.file,
                file_dirty_bytes: sum.counted.dirty,
                file_write_back_bytes: sum.counted.write_back,
            }),
            ..Row::default()
        }
    }
}
