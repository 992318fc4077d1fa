//! `steadfast advise`: a word to the kernel about files, or about what a process has mapped of them.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;
use steadfast::residency::{ProcessAdvice, advise_process};

use crate::failure::Failure;
use crate::output::{Out, counted};
use crate::select::Selection;
use crate::select::process::mappings_of;
use crate::size::{self, ByteRange};

/// Say to the kernel what is wanted of files
///
/// Of files: `will-need` has them read in the background, and returns at once; `dont-need` lets go of what is clean. (`steadfast warm`
/// and `evict` do the same, wait, and say what came of it.) Advice such as \"sequential\" lasts only as long as the descriptor that it
/// is given through, so that a command cannot give it.
///
/// With --of, of what a process has mapped of them, or of all that it has mapped of files if none is named.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The advice.
    advice: Advice,
    #[command(flatten)]
    selection: Selection,
    /// Only these bytes of each file: A..B, A.. or ..B, with suffixes such as 64K or 1GiB. Default: all.
    #[arg(long, value_name = "A..B", value_parser = ByteRange::parse, conflicts_with = "of")]
    range: Option<ByteRange>,
    /// The process whose mappings are meant. Default: the files themselves.
    #[arg(long, value_name = "PID")]
    of: Option<u32>,
    /// Print the answer as JSON (docs/json.md). Default: a sentence.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Advice {
    /// Read it in, in the background.
    WillNeed,
    /// Let go of what is clean (of files).
    DontNeed,
    /// Make it the first to go when memory is short (with --of).
    Cold,
    /// Write back what is dirty and let go of it now (with --of).
    PageOut,
    /// Make it huge pages, as far as possible (with --of).
    Collapse,
}

#[derive(Debug, Serialize)]
struct Answer {
    schema: u32,
    files: u64,
    failed_files: u64,
    /// Bytes of mappings that the advice reached; of files nothing is told.
    reached_bytes: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let answer = match (args.of, args.advice) {
        (Some(pid), advice) => of_process(args, pid, advice)?,
        (None, Advice::WillNeed | Advice::DontNeed) => of_files(args)?,
        (None, _) => {
            return Err(Failure::Usage(
                "this advice is about the mappings of a process: name it with --of PID".to_owned(),
            ));
        }
    };
    let mut out = Out::open();
    match answer.reached_bytes {
        _ if args.json => out.json(&answer)?,
        Some(reached) => {
            out.line(format!("advised about {} that are mapped", size::show(reached)))?;
        }
        None => out.line(format!("advised about {}", counted(answer.files, "file")))?,
    }
    out.flush()?;
    if answer.failed_files > 0 { Err(Failure::No) } else { Ok(()) }
}

fn of_files(args: &Args) -> Result<Answer, Failure> {
    let range = args.range.unwrap_or(ByteRange::ALL).in_file();
    let selected = args.selection.ask(|file| match args.advice {
        Advice::WillNeed => file.will_need(range),
        _ => file.evict(range, false).map(drop),
    })?;
    Ok(Answer {
        schema: 1,
        files: selected.found.len() as u64,
        failed_files: selected.failed.len() as u64,
        reached_bytes: None,
    })
}

fn of_process(args: &Args, pid: u32, advice: Advice) -> Result<Answer, Failure> {
    let advice = match advice {
        Advice::WillNeed => ProcessAdvice::WillNeed,
        Advice::Cold => ProcessAdvice::Cold,
        Advice::PageOut => ProcessAdvice::PageOut,
        Advice::Collapse => ProcessAdvice::Collapse,
        Advice::DontNeed => {
            return Err(Failure::Usage(
                "a process's memory cannot be taken away: say page-out or cold".to_owned(),
            ));
        }
    };
    let mut memory: Vec<(PathBuf, Range<usize>)> = mappings_of(pid)?;
    let mut failed_files = 0;
    if !args.selection.is_empty() {
        let selected = args.selection.ask(|_| Ok(()))?;
        failed_files = selected.failed.len() as u64;
        let named: HashSet<_> = selected.found.iter().map(|(path, ())| canonical(path)).collect();
        memory.retain(|(path, _)| named.contains(path));
    }
    let mut files: Vec<_> = memory.iter().map(|(path, _)| path).collect();
    files.dedup();
    let files = files.len() as u64;
    let ranges: Vec<_> = memory.iter().map(|(_, range)| range.clone()).collect();
    let reached_bytes = Some(if ranges.is_empty() { 0 } else { advise_process(pid, &ranges, advice)? });
    Ok(Answer { schema: 1, files, failed_files, reached_bytes })
}

fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
