//! A page as lines of text, for pipes and files: every row, whole names, nothing left out for want of room.

use super::names::{clean, width};
use super::page::{Cell, Page, Width};
use crate::stat::bar;

const BAR_CELLS: usize = 20;

/// Titles, so many rows at most, total, notes.
pub(super) fn lines(page: &Page<'_>, rows_max: usize) -> Vec<String> {
    let mut table: Vec<Vec<String>> = Vec::with_capacity(page.rows.len().min(rows_max) + 2);
    table.push(page.columns.iter().map(|column| column.title.to_owned()).collect());
    table.extend(page.rows.from(0, rows_max).map(|row| row.iter().map(text).collect()));
    table.push(page.total.iter().map(text).collect());
    let widths: Vec<usize> = (0..page.columns.len())
        .map(|number| {
            table.iter().filter_map(|row| row.get(number)).map(|text| width(text)).max().unwrap_or(0)
        })
        .collect();
    let mut lines: Vec<String> = table
        .iter()
        .map(|row| {
            let mut line = String::new();
            for (number, text) in row.iter().enumerate() {
                let gap = " ".repeat(widths[number].saturating_sub(width(text)));
                if number > 0 {
                    line.push_str("  ");
                }
                match page.columns[number].width {
                    Width::Number(_) => line.extend([gap.as_str(), text]),
                    Width::Bar | Width::Name => line.extend([text.as_str(), &gap]),
                }
            }
            line.trim_end().to_owned()
        })
        .collect();
    let left_out = page.rows.len().saturating_sub(rows_max);
    if left_out > 0 {
        lines.push(format!("and {left_out} more rows (--lines)"));
    }
    lines.extend(page.notes.iter().map(|note| clean(note)));
    lines
}

fn text(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Text(text) | Cell::Toned(text, _) => text.clone(),
        Cell::Bar(row) => bar::of(row, BAR_CELLS),
        Cell::Name(name, None) => clean(name),
        Cell::Name(name, Some((note, _))) => format!("{} ({note})", clean(name)),
    }
}
