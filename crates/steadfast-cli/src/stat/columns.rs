//! The table: which columns, in which order, how wide.

use std::cmp::Ordering;

use clap::ValueEnum;
use unicode_width::UnicodeWidthStr;

use super::bar;
use super::row::{Row, Total, page_bytes};
use crate::failure::Failure;
use crate::output::{Out, counted, printable};
use crate::size;

/// Cells of the bar.
const BAR_CELLS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Column {
    /// Length of the file.
    Size,
    /// In memory.
    Resident,
    /// In memory, of a hundred.
    Percent,
    /// In memory and not yet written.
    Dirty,
    /// On its way to the device.
    Writing,
    /// Was in memory, as far as the kernel remembers.
    Evicted,
    /// Of that, what memory was short of.
    Recently,
    /// Pages of the file.
    Pages,
    /// Where in the file its pages are.
    Where,
    /// The name.
    Path,
}

/// What to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// The name.
    Path,
    /// Length of the file.
    Size,
    /// In memory.
    Resident,
    /// In memory, of a hundred.
    Percent,
    /// In memory and not yet written.
    Dirty,
    /// On its way to the device.
    Writing,
    /// Was in memory, as far as the kernel remembers.
    Evicted,
}

impl Order {
    pub(super) fn apply(self, rows: &mut [Row], reverse: bool) {
        let key: &dyn Fn(&Row) -> u64 = match self {
            Order::Path => &|_| 0,
            Order::Size => &|row| row.size_bytes,
            Order::Resident => &|row| row.resident_pages.unwrap_or(0),
            Order::Percent => &Row::resident_ppm,
            Order::Dirty => &|row| row.dirty_pages.unwrap_or(0),
            Order::Writing => &|row| row.write_back_pages.unwrap_or(0),
            Order::Evicted => &|row| row.evicted_pages.unwrap_or(0),
        };
        largest_first(rows, key, |one, other| one.path.cmp(&other.path), reverse);
    }
}

impl Column {
    pub(super) const DEFAULT: &[Column] = &[
        Column::Size,
        Column::Resident,
        Column::Percent,
        Column::Dirty,
        Column::Writing,
        Column::Evicted,
        Column::Where,
        Column::Path,
    ];

    fn title(self) -> &'static str {
        match self {
            Column::Size => "SIZE",
            Column::Resident => "RESIDENT",
            Column::Percent => "%",
            Column::Dirty => "DIRTY",
            Column::Writing => "WRITING",
            Column::Evicted => "EVICTED",
            Column::Recently => "RECENTLY",
            Column::Pages => "PAGES",
            Column::Where => "WHERE",
            Column::Path => "PATH",
        }
    }

    fn is_text(self) -> bool {
        matches!(self, Column::Where | Column::Path)
    }

    fn cell(self, row: &Row, exact: bool) -> String {
        let bytes = |pages| pages_cell(pages, exact);
        match self {
            Column::Size => size_cell(row.size_bytes, exact),
            Column::Resident => bytes(row.resident_pages),
            Column::Percent => percent(row.resident_pages, row.pages),
            Column::Dirty => bytes(row.dirty_pages),
            Column::Writing => bytes(row.write_back_pages),
            Column::Evicted => bytes(row.evicted_pages),
            Column::Recently => bytes(row.recently_evicted_pages),
            Column::Pages => row.pages.to_string(),
            Column::Where => bar::of(row, BAR_CELLS),
            Column::Path => printable(&row.path),
        }
    }

    fn of_total(self, total: &Total, exact: bool) -> String {
        let bytes = |pages| pages_cell(pages, exact);
        match self {
            Column::Size => size_cell(total.size_bytes, exact),
            Column::Resident => bytes(total.resident()),
            Column::Percent => percent(total.resident(), total.pages),
            Column::Dirty => bytes(total.dirty()),
            Column::Writing => bytes(total.write_back()),
            Column::Evicted => bytes(total.evicted()),
            Column::Recently => bytes(total.recently_evicted()),
            Column::Pages => total.pages.to_string(),
            Column::Where => String::new(),
            Column::Path => format!("total: {}", counted(total.files, "file")),
        }
    }
}

/// The largest key first, of equals as `by_name` has it; or all of it the other way round.
pub(crate) fn largest_first<T>(
    rows: &mut [T],
    key: impl Fn(&T) -> u64,
    by_name: impl Fn(&T, &T) -> Ordering,
    is_reversed: bool,
) {
    rows.sort_by(|one, other| key(other).cmp(&key(one)).then_with(|| by_name(one, other)));
    if is_reversed {
        rows.reverse();
    }
}

pub(crate) fn size_cell(bytes: u64, exact: bool) -> String {
    match bytes {
        _ if exact => bytes.to_string(),
        0 => "0".to_owned(),
        _ => size::short(bytes),
    }
}

/// `?` where nobody can tell.
pub(crate) fn pages_cell(pages: Option<u64>, exact: bool) -> String {
    pages.map_or_else(|| "?".to_owned(), |pages| size_cell(pages * page_bytes(), exact))
}

/// Whole, and 100 only where all of it is.
pub(crate) fn percent(resident: Option<u64>, pages: u64) -> String {
    match resident {
        None => "?".to_owned(),
        Some(_) if pages == 0 => "-".to_owned(),
        Some(0) => "0".to_owned(),
        Some(resident) => (resident * 100 / pages).max(1).to_string(),
    }
}

/// The table, the total, and why anything is unknown.
pub(super) fn print(
    out: &mut Out,
    columns: &[Column],
    rows: &[Row],
    total: &Total,
    exact: bool,
) -> Result<(), Failure> {
    let mut lines: Vec<Vec<String>> = Vec::with_capacity(rows.len() + 2);
    lines.push(columns.iter().map(|column| column.title().to_owned()).collect());
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| column.cell(row, exact)).collect()));
    lines.push(columns.iter().map(|column| column.of_total(total, exact)).collect());
    let widths: Vec<usize> = (0..columns.len())
        .map(|number| lines.iter().map(|line| line[number].width()).max().unwrap_or(0))
        .collect();
    for line in &lines {
        let mut text = String::new();
        for (number, cell) in line.iter().enumerate() {
            let gap = " ".repeat(widths[number].saturating_sub(cell.width()));
            if number > 0 {
                text.push_str("  ");
            }
            match columns[number].is_text() {
                true => text.extend([cell.as_str(), &gap]),
                false => text.extend([gap.as_str(), cell]),
            }
        }
        out.line(text.trim_end())?;
    }
    for (why, files) in &total.unknown {
        out.line(format!("?  {}: {why}", counted(*files, "file")))?;
    }
    Ok(())
}
