//! `steadfast top`: which files take the page cache, and who has them.

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;

use crate::failure::Failure;
use crate::screen::{Rounds, View, show};
use crate::select::Selection;

mod answer;
mod look;
mod page;
mod processes;
#[cfg(test)]
mod tests;

/// See which files take the page cache, by file, process or control group
///
/// The kernel has no list of the files in its cache, so they are found by walking: what every process has mapped or open, as far as
/// this user may read that, and the PATHs that are named, with everything below folders. A line says how much of the cache was found, and
/// how many processes could not be read; what remains are files that nobody has open, or has that this user may not see.
///
/// A file counts once in each row, and so in several rows where several processes have it.
///
/// Without a terminal it prints one look as plain text, and ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders to look at besides what processes have. Default: none.
    paths: Vec<PathBuf>,
    /// What a row is: file, process or cgroup; `b` changes it. Default: file.
    #[arg(long, value_name = "ROW", default_value = "file", hide_default_value = true)]
    by: By,
    /// How many rows at most. Default: all on a screen, 20 without one.
    #[arg(long, value_name = "COUNT")]
    lines: Option<usize>,
    #[command(flatten)]
    rounds: Rounds,
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// A file.
    File,
    /// A process.
    Process,
    /// A control group.
    Cgroup,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let kind = By::value_variants().iter().position(|by| *by == args.by).unwrap_or(0);
    let known = page::Known::new(args.rounds.interval, args.lines);
    let named = (!args.paths.is_empty()).then(|| Selection::of(&args.paths));
    let mut looker = look::Looker::new(named, Instant::now());
    show(known, move || looker.look(), View::new(kind, 0, false), &args.rounds)
}
