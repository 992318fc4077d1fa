//! `steadfast watch`: files as they are read, stored to, written back, committed, replaced.

use std::time::Instant;

use clap::ValueEnum;

use crate::failure::Failure;
use crate::screen::{Rounds, View, show};
use crate::select::Selection;

mod answer;
mod journal;
mod known;
mod look;
mod page;

/// Watch what of files is in memory, dirty, and being written, as it changes
///
/// Shows the files, and everything below folders, and follows them: growth, files that are replaced by others of the same name, new
/// files, files that vanish. `?` stands where nobody can tell. OUT/S is what waits less than a look before, so at least that much was
/// written; what was stored meanwhile hides some of it. Beside files that are open for commits it shows how full their journal is, and
/// their commits.
///
/// Without a terminal it prints one look as plain text, and ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Sort by this column, the largest first (names: from A); `s` changes it. Default: path.
    #[arg(long, value_name = "COLUMN", default_value = "path", hide_default_value = true)]
    sort: Order,
    /// Turn the order around; `r` does so, too. Default: off.
    #[arg(short, long)]
    reverse: bool,
    #[command(flatten)]
    rounds: Rounds,
}

/// What to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The name.
    Path,
    /// Length of the file.
    Size,
    /// In memory.
    Cached,
    /// In memory, of a hundred.
    Percent,
    /// In memory and not yet written.
    Dirty,
    /// On its way to the device.
    Writing,
    /// Written in a second.
    Out,
    /// The last commit.
    Commits,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let selection = args.selection.listed()?;
    let order = Order::value_variants().iter().position(|order| *order == args.sort).unwrap_or(0);
    let view = View::new(0, order, args.reverse);
    let known = known::Known::new(&selection, args.rounds.interval);
    let mut looker = look::Looker::new(selection, Instant::now());
    show(known, move || looker.look(), view, &args.rounds)
}
