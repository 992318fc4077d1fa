//! `steadfast stat`: what of files is in memory, what is dirty, and where.

use serde::Serialize;
use steadfast::residency::{CachedFile, Counts};

use crate::failure::Failure;
use crate::output::{self, Out, counted};
use crate::select::Selection;
use crate::size::{self, ByteRange, Share};

pub(crate) mod bar;
mod columns;
mod row;

use columns::{Column, Order};
pub(crate) use columns::{largest_first, pages_cell, percent, size_cell};
#[cfg(test)]
pub(crate) use row::Part;
pub(crate) use row::{Row, Total, page_bytes};

/// See what of files is in memory, dirty, or being written
///
/// Looks at files, and at everything below folders, without reading or mapping a byte of them. `?` stands where nobody can tell, and
/// the reason below the table. The last column but one shows where in the file its pages are, from start to end: how full a part's
/// bar is, is how much of it is in memory; `!` marks parts with dirty pages.
///
/// With --min-resident or --max-dirty the exit code is 1 if the total does not hold them, or if nobody can tell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Only these bytes of each file: A..B, A.. or ..B, with suffixes such as 64K or 1GiB. Default: all.
    #[arg(long, value_name = "A..B", value_parser = ByteRange::parse)]
    range: Option<ByteRange>,
    /// Columns, in their order. Default: size,resident,percent,dirty,writing,evicted,where,path.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    columns: Vec<Column>,
    /// Sort by this column, the largest first (names: from A). Default: path.
    #[arg(long, value_name = "COLUMN", default_value = "path", hide_default_value = true)]
    sort: Order,
    /// Turn the order around. Default: off.
    #[arg(short, long)]
    reverse: bool,
    /// Only the last line: the total. Default: a line for each file, too.
    #[arg(short, long)]
    total: bool,
    /// Parts that a file is shown in. Default: 20.
    #[arg(long, value_name = "COUNT", default_value_t = 20, hide_default_value = true)]
    parts: usize,
    /// Exact numbers of bytes. Default: rounded, in binary units.
    #[arg(long)]
    bytes: bool,
    /// Print the answer as JSON (docs/json.md). Default: a table.
    #[arg(long)]
    json: bool,
    /// Fail unless so much of the total is in memory, such as 90%. Default: not asked.
    #[arg(long, value_name = "PERCENT", value_parser = Share::parse)]
    min_resident: Option<Share>,
    /// Fail if more than this is dirty or being written, such as 64MiB. Default: not asked.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_dirty: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Answer<'rows> {
    schema: u32,
    page_bytes: u64,
    files: &'rows [Row],
    total: &'rows Total,
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    path: String,
    error: String,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let range = args.range.unwrap_or(ByteRange::ALL).in_file();
    let columns = if args.columns.is_empty() { Column::DEFAULT } else { &args.columns };
    let wants_parts = !args.total && (args.json || columns.contains(&Column::Where));
    let look = |file: &CachedFile| {
        let counts = file.counts(range)?;
        let parts =
            if wants_parts && args.parts > 0 { parts(file, range, &counts, args.parts)? } else { Vec::new() };
        Ok((file.len(), counts, parts))
    };
    let selected = if args.total { args.selection.ask_unordered(look)? } else { args.selection.ask(look)? };
    let failed = selected.failed.len();
    let looks = selected.found.into_iter();
    let rows = looks.map(|(path, (len, counts, parts))| Row::new(path, len, counts, parts));
    let (mut rows, total) = if args.total {
        (Vec::new(), Total::of(rows, failed))
    } else {
        let rows: Vec<_> = rows.collect();
        let total = Total::of(&rows, failed);
        (rows, total)
    };
    args.sort.apply(&mut rows, args.reverse);
    let mut out = Out::open();
    if args.json {
        let failed = selected.failed.iter();
        out.json(&Answer {
            schema: 1,
            page_bytes: page_bytes(),
            files: &rows,
            total: &total,
            failed: failed
                .map(|(path, error)| Failed { path: path.display().to_string(), error: error.clone() })
                .collect(),
        })?;
    } else {
        columns::print(&mut out, columns, &rows, &total, args.bytes)?;
    }
    out.flush()?;
    let holds = asserted(args, &total);
    if holds && selected.failed.is_empty() { Ok(()) } else { Err(Failure::No) }
}

/// Where the pages are, from start to end. Nothing needs to be asked of a file that is wholly in memory, or not at all.
pub(crate) fn parts(
    file: &CachedFile,
    range: (std::ops::Bound<u64>, std::ops::Bound<u64>),
    counts: &Counts,
    parts: usize,
) -> steadfast::Result<Vec<Counts>> {
    if counts.resident.is_none() || counts.resident == Some(0) {
        return Ok(Vec::new());
    }
    file.buckets(range, parts)
}

fn asserted(args: &Args, total: &Total) -> bool {
    let mut holds = true;
    if let Some(least) = args.min_resident {
        match total.resident_share() {
            Some(share) if share >= least.get() => {}
            Some(share) => {
                output::complain(&format!("{:.1}% is in memory, not {least}", share * 100.0));
                holds = false;
            }
            None => {
                output::complain(&format!(
                    "of {} nobody can tell whether {least} is in memory",
                    counted(total.unknown_files, "file")
                ));
                holds = false;
            }
        }
    }
    if let Some(most) = args.max_dirty {
        match total.unwritten_bytes() {
            Some(unwritten) if unwritten <= most => {}
            Some(unwritten) => {
                output::complain(&format!(
                    "{} wait to be written, more than {}",
                    size::show(unwritten),
                    size::show(most)
                ));
                holds = false;
            }
            None => {
                output::complain("nobody can tell how much of it is dirty");
                holds = false;
            }
        }
    }
    holds
}
