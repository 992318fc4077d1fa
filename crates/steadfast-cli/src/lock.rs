//! `steadfast lock`: files that stay in memory until told.

use std::ops::{Bound, Range};

use serde::Serialize;
use steadfast::Mapping;

use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Out, counted};
use crate::select::Selection;
use crate::size::{self, ByteRange};

mod limits;

/// Keep files in memory
///
/// Reads files into memory and keeps them there for as long as it runs: until Ctrl-C, or a signal to end. Holes of sparse files are
/// left out. It looks at the limits first (RLIMIT_MEMLOCK, those of the control group, free memory), and names the one that is in the
/// way. When everything is locked it says so, in one line on standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Only these bytes of each file: A..B, A.. or ..B, with suffixes such as 64K or 1GiB. Default: all.
    #[arg(long, value_name = "A..B", value_parser = ByteRange::parse)]
    range: Option<ByteRange>,
    /// Print the line as JSON (docs/json.md). Default: a sentence.
    #[arg(long)]
    json: bool,
}

/// What is to be locked of one file.
struct Wanted {
    data: Vec<Range<u64>>,
    absent_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Answer {
    schema: u32,
    files: u64,
    locked_bytes: u64,
    pid: u32,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let range = args.range.unwrap_or(ByteRange::ALL).in_file();
    let selected = args.selection.ask(|file| {
        let absent = file.absent(range)?;
        Ok(Wanted { data: file.data(range)?, absent_bytes: bytes(&absent) })
    })?;
    if !selected.failed.is_empty() {
        return Err(Failure::Failed("nothing was locked".to_owned()));
    }
    let locked_bytes = selected.found.iter().map(|(_, file)| bytes(&file.data)).sum();
    limits::check(locked_bytes, selected.found.iter().map(|(_, file)| file.absent_bytes).sum())?;
    let mut maps = Vec::new();
    interrupt::wait_for_one(|| {
        for (path, file) in &selected.found {
            if file.data.is_empty() {
                continue;
            }
            let map = Mapping::options().open(path)?;
            for part in &file.data {
                let end = part.end.min(map.len() as u64);
                map.lock((Bound::Included(part.start as usize), Bound::Excluded(end as usize)))?;
            }
            maps.push(map);
        }
        let answer =
            Answer { schema: 1, files: selected.found.len() as u64, locked_bytes, pid: std::process::id() };
        let mut out = Out::open();
        if args.json {
            out.json(&answer)?;
        } else {
            out.line(format!(
                "locked {} of {}; they stay in memory until this ends (process {})",
                size::show(answer.locked_bytes),
                counted(answer.files, "file"),
                answer.pid
            ))?;
        }
        out.flush()
    })
}

fn bytes(parts: &[Range<u64>]) -> u64 {
    parts.iter().map(|part| part.end - part.start).sum()
}
