//! The watched files as a page.

use clap::ValueEnum;

use super::Order;
use super::known::{Change, Known, Watched};
use crate::output::counted;
use crate::screen::{Cell, Column, Page, Rows, Tone, View, Width};
use crate::size;
use crate::stat::{self, percent, size_cell};

const PAGES: [Column; 7] = [
    Column::number("SIZE", 6, 0),
    Column::number("CACHED", 6, 0),
    Column::number("%", 4, 6),
    Column::number("DIRTY", 6, 0),
    Column::number("WRITING", 7, 9),
    Column::number("OUT/S", 7, 3),
    Column::number("EVICTED", 7, 10),
];
const JOURNAL: [Column; 3] =
    [Column::number("JOURNAL", 7, 2), Column::number("COMMITS", 8, 5), Column::number("COMM/S", 7, 8)];
const WHERE: Column = Column { title: "WHERE", width: Width::Bar, rank: 1 };
const PATH: Column = Column::name("PATH");

pub(super) fn orders() -> usize {
    Order::value_variants().len()
}

pub(super) fn order(view: &View) -> Order {
    Order::value_variants().get(view.order).copied().unwrap_or(Order::Path)
}

pub(super) fn of<'known>(known: &'known Known, view: &View) -> Page<'known> {
    let has_journals = known.files.values().any(|file| file.journal.is_some());
    let journal: &[Column] = if has_journals { &JOURNAL } else { &[] };
    let columns = [&PAGES[..], journal, &[WHERE, PATH]].concat();
    let sorted = known.sorted(view);
    let rows = Rows::new(sorted.len(), move |number| row(sorted[number].1, has_journals));
    let total = known.total();
    let mut notes: Vec<String> = Vec::new();
    if let Some(written) = known.machine_written_per_second {
        notes.push(format!("written back by the whole machine: {}/s", size::show(written as u64)));
    }
    notes.extend(total.unknown.iter().map(|(why, files)| format!("?  {}: {why}", counted(*files, "file"))));
    Page {
        title: format!("steadfast watch {}  every {:?}", known.title, known.interval()),
        columns,
        sorted: match order(view) {
            Order::Path => "PATH",
            Order::Size => "SIZE",
            Order::Cached => "CACHED",
            Order::Percent => "%",
            Order::Dirty => "DIRTY",
            Order::Writing => "WRITING",
            Order::Out => "OUT/S",
            Order::Commits => "COMMITS",
        },
        rows,
        total: total_row(known, &total, has_journals),
        notes,
        keys: &[],
    }
}

fn row(file: &Watched, has_journals: bool) -> Vec<Cell<'_>> {
    let note = file.change().map(|change| {
        let tone = match change {
            Change::Gone | Change::Unreadable => Tone::Wrong,
            _ => Tone::Notice,
        };
        (change.words(), tone)
    });
    let row = &file.row;
    let name = Cell::Name(row.path.clone(), note);
    if !file.is_there {
        let mut cells = vec![Cell::none(); PAGES.len() + if has_journals { JOURNAL.len() } else { 0 } + 1];
        cells.push(name);
        return cells;
    }
    let mut cells = vec![
        Cell::Text(size_cell(row.size_bytes, false)),
        Cell::pages(row.resident_pages),
        Cell::Text(percent(row.resident_pages, row.pages)),
        Cell::waiting(row.dirty_pages),
        Cell::waiting(row.write_back_pages),
        Cell::Text(rate(file.written_per_second)),
        Cell::pages(row.evicted_pages),
    ];
    if has_journals {
        cells.extend(journal(file));
    }
    cells.extend([Cell::Bar(row), name]);
    cells
}

fn journal(file: &Watched) -> [Cell<'_>; 3] {
    let Some(journal) = &file.journal else { return [Cell::none(), Cell::none(), Cell::none()] };
    let state = if journal.problem.is_some() {
        Cell::Toned("broken".to_owned(), Tone::Wrong)
    } else if journal.recovery_waits {
        Cell::Toned("waits".to_owned(), Tone::Waits)
    } else {
        Cell::Text(format!("{}%", percent(Some(journal.filled_bytes), journal.journal_bytes)))
    };
    let per_second = file.commits_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
    [state, Cell::Text(journal.last_commit.to_string()), Cell::Text(per_second)]
}

fn total_row(known: &Known, total: &stat::Total, has_journals: bool) -> Vec<Cell<'static>> {
    let rates: Vec<f64> = known.files.values().filter_map(|file| file.written_per_second).collect();
    let mut cells = vec![
        Cell::Text(size_cell(total.size_bytes, false)),
        Cell::pages(total.resident()),
        Cell::Text(percent(total.resident(), total.pages)),
        Cell::waiting(total.dirty()),
        Cell::waiting(total.write_back()),
        Cell::Text(rate((!rates.is_empty()).then(|| rates.iter().sum()))),
        Cell::pages(total.evicted()),
    ];
    if has_journals {
        let rates: Vec<f64> = known.files.values().filter_map(|file| file.commits_per_second).collect();
        let sum = if rates.is_empty() { "-".to_owned() } else { format!("{:.0}", rates.iter().sum::<f64>()) };
        cells.extend([Cell::none(), Cell::none(), Cell::Text(sum)]);
    }
    cells.extend([Cell::none(), Cell::Name(format!("total: {}", counted(total.files, "file")), None)]);
    cells
}

/// `-` before there is one.
fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| size_cell(rate as u64, false))
}
