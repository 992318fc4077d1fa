//! The process that is going to be killed: it commits for as long as it lives.

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use super::model::Model;
use crate::failure::Failure;
use crate::open::{self, OpenArgs};

/// How the file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verb {
    /// Into private memory.
    Load,
    /// Through the page cache.
    View,
}

/// How edits are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stores {
    /// Each is declared, so that a commit need not search.
    Declared,
    /// Plain stores into the slice: the commit finds them.
    Plain,
    /// Both in the same commit.
    Mixed,
}

impl Verb {
    /// They take turns.
    pub(crate) fn of_round(number: u32) -> Verb {
        if number % 2 == 1 { Verb::Load } else { Verb::View }
    }
}

impl Stores {
    /// They take turns, at half the pace of the verbs, so that each meets each.
    pub(crate) fn of_round(number: u32) -> Stores {
        [Stores::Declared, Stores::Plain, Stores::Mixed][(number.saturating_sub(1) / 2 % 3) as usize]
    }
}

/// Commits edits until it is killed. Started by `tour`, not by people.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    file: PathBuf,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    size: u64,
    /// The number of the first commit.
    #[arg(long)]
    first: u64,
    #[arg(long)]
    verb: Verb,
    #[arg(long)]
    stores: Stores,
    /// The process that started this one.
    #[arg(long)]
    parent: i32,
    #[arg(long)]
    allow_volatile: bool,
}

/// Runs the command: for each commit it prints `begin N`, then `done N ID` once it is acknowledged.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    die_with_the_parent(args.parent)?;
    let model = Model::new(args.seed, args.size);
    let options = OpenArgs::volatile(args.allow_volatile).options();
    let mut map = match args.verb {
        Verb::Load => options.load(&args.file)?,
        Verb::View => open::view(options, &args.file)?,
    };
    // Not through `Out`: its buffer would keep acknowledgements that the parent must see, and each line must
    // be one write (a pipe takes up to 4096 bytes whole), so that a kill leaves no half line that could be
    // misread.
    let mut stdout = std::io::stdout().lock();
    let gone = |_| Failure::PipeClosed;
    for n in args.first.. {
        if let Some(len) = model.resize(n) {
            map.resize(
                usize::try_from(len).map_err(|_| Failure::Failed("the file is too long".to_owned()))?,
            )?;
        }
        for (k, edit) in model.edits(n).enumerate() {
            // No overflow: an edit lies within the file, whose length is a usize.
            let range = edit.start as usize..edit.start as usize + edit.len;
            let declared = match args.stores {
                Stores::Declared => true,
                Stores::Plain => false,
                Stores::Mixed => k % 2 == 0,
            };
            if declared {
                edit.fill(map.edit(range)?);
            } else {
                edit.fill(&mut map[range]);
            }
        }
        stdout.write_all(format!("begin {n}\n").as_bytes()).map_err(gone)?;
        let id = map.commit()?;
        stdout.write_all(format!("done {n} {}\n", id.get()).as_bytes()).map_err(gone)?;
    }
    Ok(())
}

/// Without the parent nobody would ever stop this process.
fn die_with_the_parent(parent: i32) -> Result<(), Failure> {
    let fail =
        |error: rustix::io::Errno| Failure::Failed(format!("cannot ask to die with the parent: {error}"));
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(fail)?;
    // It may have died before we asked.
    if rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero).map(|pid| pid.get())
        != Some(parent)
    {
        return Err(Failure::PipeClosed);
    }
    Ok(())
}
