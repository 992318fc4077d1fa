//! `steadfast lock`: files that stay in memory until told.

use std::ops::{Bound, Range};
use std::path::PathBuf;

use serde::Serialize;
use steadfast::Mapping;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Out, counted};
use crate::select::Selection;
use crate::size::{self, ByteRange};

mod limits;

/// So much is locked at once.
const PIECE_BYTES: u64 = 16 << 20;

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
    let selection = args.selection.listed()?;
    let interrupt = Interrupt::listen()?;
    let range = args.range.unwrap_or(ByteRange::ALL).in_file();
    let selected = selection.ask(|file| {
        if interrupt.is_asked() {
            return Ok(Wanted { data: Vec::new(), absent_bytes: 0 });
        }
        let absent = file.absent(range)?;
        Ok(Wanted { data: file.data(range)?, absent_bytes: bytes(&absent) })
    })?;
    if !selected.failed.is_empty() {
        return Err(Failure::Failed("nothing was locked".to_owned()));
    }
    let locked_bytes = selected.found.iter().map(|(_, file)| bytes(&file.data)).sum();
    limits::check(locked_bytes, selected.found.iter().map(|(_, file)| file.absent_bytes).sum())?;
    let maps = lock(&selected.found, &interrupt)?;
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
    out.flush()?;
    interrupt.wait()?;
    drop(maps);
    Ok(())
}

/// Locked for as long as what is returned lives.
fn lock(files: &[(PathBuf, Wanted)], interrupt: &Interrupt) -> Result<Vec<Mapping>, Failure> {
    let mut maps = Vec::new();
    for (path, file) in files.iter().filter(|(_, file)| !file.data.is_empty()) {
        let map = Mapping::options().open(path)?;
        for part in &file.data {
            let end = part.end.min(map.len() as u64);
            let mut at = part.start;
            while at < end {
                if interrupt.is_asked() {
                    break;
                }
                // What the kernel locks at once it reads to the end, whoever asks it to stop.
                let next = end.min(at + PIECE_BYTES);
                map.lock((Bound::Included(at as usize), Bound::Excluded(next as usize)))?;
                at = next;
            }
        }
        maps.push(map);
    }
    if interrupt.is_asked() {
        return Err(Failure::Code(130, "interrupted: nothing is locked any more".to_owned()));
    }
    Ok(maps)
}

fn bytes(parts: &[Range<u64>]) -> u64 {
    parts.iter().map(|part| part.end - part.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_ends_locking_between_two_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![1; 8192]).unwrap();
        let files = [(path, Wanted { data: vec![0..8192; 1], absent_bytes: 0 })];
        assert!(matches!(lock(&files, &Interrupt::asked()), Err(Failure::Code(130, _))));
    }
}
