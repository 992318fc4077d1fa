//! `steadfast recover`: finish what a crash interrupted, or decide what the library will not decide alone.

use std::path::PathBuf;

use serde::Serialize;
use steadfast::Resolution;
use steadfast::store::JournaledFile;

use crate::failure::Failure;
use crate::output::{Out, counted};

/// Bring a file to its last commit after a crash
///
/// Replays the commits that the journal beside the file (FILE.steadfast) holds and removes the journal: a
/// plain file is left. Opening the file for commits does the same by itself; this is for everything else that
/// wants to read it.
///
/// A journal that does not belong to the file (a restored backup, a file copied or moved alone) is refused;
/// then choose --adopt or --discard, after making a copy of both.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data file (not its journal).
    file: PathBuf,
    /// Replay a journal although it does not belong to this file. Right if you know that it does.
    #[arg(long, conflicts_with = "discard")]
    adopt: bool,
    /// Throw the journal away: the file stays as it is, and commits that only the journal holds are lost. Whatever file or link has
    /// the journal's name is removed unread; a directory is not.
    #[arg(long)]
    discard: bool,
    /// Overwrite the journal with zeros before it is removed.
    #[arg(long)]
    scrub: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Done {
    file: String,
    journal_found: bool,
    replayed_commits: u64,
    last_commit: u64,
    torn_tail: bool,
    discarded: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let how = match (args.adopt, args.discard) {
        (true, _) => Resolution::Adopt,
        (_, true) => Resolution::Discard,
        _ => Resolution::Replay,
    };
    let recovery = JournaledFile::options().scrub(args.scrub).recover(&args.file, how)?;
    let done = Done {
        file: args.file.display().to_string(),
        journal_found: recovery.journal_found,
        replayed_commits: recovery.replayed_commits,
        last_commit: recovery.last.get(),
        torn_tail: recovery.torn_tail,
        discarded: recovery.discarded,
    };
    let mut out = Out::open();
    if args.json {
        out.json(&done)?;
    } else {
        out.line(done.sentence())?;
    }
    out.flush()
}

impl Done {
    fn sentence(&self) -> String {
        let file = &self.file;
        if self.discarded {
            return format!("{file}: the journal was discarded; the file is as it was");
        }
        if !self.journal_found {
            return format!("{file}: nothing to recover, no journal waits beside it");
        }
        let mut text = match self.replayed_commits {
            0 => format!("{file}: the file held every commit already"),
            some => format!("{file}: {} replayed", counted(some, "commit")),
        };
        if self.last_commit > 0 {
            text += &format!("; it is at commit {}", self.last_commit);
        }
        if self.torn_tail {
            text += "; an unfinished commit at the end was dropped (it was never acknowledged)";
        }
        text
    }
}
