//! The page cache as a page: by file, by process, by control group.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::By;
use super::answer::Answer;
use super::look::{File, Look, Sum};
use crate::output::counted;
use crate::screen::{Cell, Column, Page, Shown, View};
use crate::size;
use crate::stat::{self, largest_first, page_bytes, percent, size_cell};

/// Rows where there is no screen.
const PLAIN_LINES: usize = 20;

const FILES: [Column; 7] = [
    Column::number("CACHED", 6, 0),
    Column::number("%", 4, 2),
    Column::number("DIRTY", 6, 1),
    Column::number("WRITING", 7, 4),
    Column::number("SIZE", 6, 3),
    Column::number("PROCS", 5, 5),
    Column::name("PATH"),
];
const PROCESSES: [Column; 6] = [
    Column::number("CACHED", 6, 0),
    Column::number("DIRTY", 6, 1),
    Column::number("WRITING", 7, 3),
    Column::number("FILES", 6, 2),
    Column::number("PID", 8, 0),
    Column::name("COMMAND"),
];
const GROUPS: [Column; 9] = [
    Column::number("CACHED", 6, 0),
    Column::number("DIRTY", 6, 1),
    Column::number("WRITING", 7, 6),
    Column::number("FILES", 6, 4),
    Column::number("PROCS", 6, 5),
    // As the kernel counts: what the group was the first to bring in, whoever has it open.
    Column::number("FILE", 6, 0),
    Column::number("F-DIRTY", 7, 2),
    Column::number("F-WRITE", 7, 3),
    Column::name("CGROUP"),
];

/// What the last look saw, and how it is shown.
pub(super) struct Known {
    interval: Duration,
    lines: Option<usize>,
    pub(super) round: u64,
    pub(super) look: Look,
}

impl Known {
    pub(super) fn new(interval: Duration, lines: Option<usize>) -> Known {
        Known { interval, lines, round: 0, look: Look::default() }
    }

    pub(super) fn files(&self, view: &View) -> Vec<&File> {
        let key: &dyn Fn(&File) -> u64 = match FILES.get(view.order).map_or("", |column| column.title) {
            "%" => &|file| file.row.resident_ppm(),
            "DIRTY" => &|file| file.row.dirty_pages.unwrap_or(0),
            "WRITING" => &|file| file.row.write_back_pages.unwrap_or(0),
            "SIZE" => &|file| file.row.size_bytes,
            "PROCS" => &|file| file.processes,
            "PATH" => &|_| 0,
            _ => &|file| file.row.resident_pages.unwrap_or(0),
        };
        let mut files: Vec<_> = self.look.files.iter().collect();
        let by_name = |one: &&File, other: &&File| one.row.path.cmp(&other.row.path);
        largest_first(&mut files, |file| key(file), by_name, view.is_reversed());
        files
    }

    pub(super) fn sums(&self, view: &View) -> Vec<&Sum> {
        let (sums, columns): (_, &[Column]) = match by(view) {
            By::Process => (&self.look.processes, &PROCESSES),
            _ => (&self.look.groups, &GROUPS),
        };
        let key: &dyn Fn(&Sum) -> u64 = match columns.get(view.order).map_or("", |column| column.title) {
            "DIRTY" => &|sum| sum.total.dirty_pages,
            "WRITING" => &|sum| sum.total.write_back_pages,
            "FILES" => &|sum| sum.total.files,
            "PROCS" => &|sum| sum.processes,
            "PID" => &|sum| u64::from(sum.pid.unwrap_or(0)),
            "FILE" => &|sum| sum.counted.file.unwrap_or(0),
            "F-DIRTY" => &|sum| sum.counted.dirty.unwrap_or(0),
            "F-WRITE" => &|sum| sum.counted.write_back.unwrap_or(0),
            "COMMAND" | "CGROUP" => &|_| 0,
            _ => &|sum| sum.total.resident_pages,
        };
        let mut sums: Vec<_> = sums.iter().collect();
        let by_name = |one: &&Sum, other: &&Sum| (&one.name, one.pid).cmp(&(&other.name, other.pid));
        largest_first(&mut sums, |sum| key(sum), by_name, view.is_reversed());
        sums
    }

    pub(super) fn found_bytes(&self) -> u64 {
        self.look.total.resident_pages * page_bytes()
    }

    fn notes(&self) -> Vec<String> {
        let look = &self.look;
        let mut found = format!("found {}", size::show(self.found_bytes()));
        if let Some(cached) = look.cached_bytes.filter(|&cached| cached > 0) {
            let share = self.found_bytes() as f64 * 100.0 / cached as f64;
            found.push_str(&format!(" of {} in the page cache: {share:.0}%", size::show(cached)));
        }
        let mut walked = format!("{} looked at", counted_processes(look.process_count));
        if look.unreadable_processes > 0 {
            walked.push_str(&format!(", {} unreadable by this user", look.unreadable_processes));
        }
        if look.lost_files > 0 {
            walked.push_str(&format!("; {} could not be opened", counted(look.lost_files, "file")));
        }
        let mut notes = vec![found, walked];
        notes.extend(
            look.total.unknown.iter().map(|(why, files)| format!("?  {}: {why}", counted(*files, "file"))),
        );
        notes
    }
}

fn counted_processes(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

pub(super) fn by(view: &View) -> By {
    By::value_variants().get(view.kind).copied().unwrap_or(By::File)
}

fn columns(by: By) -> &'static [Column] {
    match by {
        By::File => &FILES,
        By::Process => &PROCESSES,
        By::Cgroup => &GROUPS,
    }
}

impl Shown for Known {
    type Look = Look;

    fn take(&mut self, look: Look) {
        self.look = look;
        self.round += 1;
    }

    fn page(&self, view: &View) -> Page<'_> {
        let by = by(view);
        let columns = columns(by);
        let mut rows: Vec<Vec<Cell<'_>>> = match by {
            By::File => self.files(view).into_iter().map(file_row).collect(),
            By::Process => self.sums(view).into_iter().map(process_row).collect(),
            By::Cgroup => self.sums(view).into_iter().map(group_row).collect(),
        };
        rows.truncate(self.lines.unwrap_or(usize::MAX));
        let name = by.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        Page {
            title: format!("steadfast top by {name}  every {:?}", self.interval),
            columns: columns.to_vec(),
            sorted: columns.get(view.order).map_or("", |column| column.title),
            rows: rows.into(),
            total: self.total(by),
            notes: self.notes(),
            keys: &[("b", "by file, by process, by control group")],
        }
    }

    fn answer(&self, view: &View) -> impl Serialize {
        Answer::of(self, view)
    }

    fn choices(&self, view: &View) -> (usize, usize) {
        (columns(by(view)).len(), By::value_variants().len())
    }

    fn plain_lines(&self) -> usize {
        self.lines.unwrap_or(PLAIN_LINES)
    }

    fn complaints(&self) -> Vec<String> {
        self.look.failed.iter().map(|(_, error)| error.clone()).collect()
    }
}

impl Known {
    /// All files once: the rows of processes and groups share files, and add up to more.
    fn total(&self, by: By) -> Vec<Cell<'_>> {
        let total = &self.look.total;
        let files = format!("total: {}", counted(total.files, "file"));
        let [cached, dirty, writing] = pages_of(total);
        match by {
            By::File => vec![
                cached,
                Cell::Text(percent(total.resident(), total.pages)),
                dirty,
                writing,
                Cell::Text(size_cell(total.size_bytes, false)),
                Cell::none(),
                Cell::Name(files, None),
            ],
            By::Process => {
                let count = Cell::Text(total.files.to_string());
                vec![
                    cached,
                    dirty,
                    writing,
                    count,
                    Cell::none(),
                    Cell::Name("total, each once".to_owned(), None),
                ]
            }
            By::Cgroup => {
                let mut cells = vec![cached, dirty, writing, Cell::Text(total.files.to_string())];
                cells.push(Cell::Text(self.look.process_count.to_string()));
                cells.extend([Cell::none(), Cell::none(), Cell::none()]);
                cells.push(Cell::Name("total, each once".to_owned(), None));
                cells
            }
        }
    }
}

fn file_row(file: &File) -> Vec<Cell<'_>> {
    let row = &file.row;
    vec![
        Cell::pages(row.resident_pages),
        Cell::Text(percent(row.resident_pages, row.pages)),
        Cell::waiting(row.dirty_pages),
        Cell::waiting(row.write_back_pages),
        Cell::Text(size_cell(row.size_bytes, false)),
        Cell::Text(file.processes.to_string()),
        Cell::Name(row.path.clone(), None),
    ]
}

fn process_row(sum: &Sum) -> Vec<Cell<'_>> {
    let [cached, dirty, writing] = pages_of(&sum.total);
    vec![
        cached,
        dirty,
        writing,
        Cell::Text(sum.total.files.to_string()),
        Cell::Text(sum.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        Cell::Name(sum.name.clone(), None),
    ]
}

fn group_row(sum: &Sum) -> Vec<Cell<'_>> {
    let bytes = |bytes: Option<u64>| {
        Cell::Text(bytes.map_or_else(|| "?".to_owned(), |bytes| size_cell(bytes, false)))
    };
    let [cached, dirty, writing] = pages_of(&sum.total);
    vec![
        cached,
        dirty,
        writing,
        Cell::Text(sum.total.files.to_string()),
        Cell::Text(sum.processes.to_string()),
        bytes(sum.counted.file),
        bytes(sum.counted.dirty),
        bytes(sum.counted.write_back),
        Cell::Name(sum.name.clone(), None),
    ]
}

/// In memory, dirty, being written.
fn pages_of(total: &stat::Total) -> [Cell<'static>; 3] {
    [Cell::pages(total.resident()), Cell::waiting(total.dirty()), Cell::waiting(total.write_back())]
}
