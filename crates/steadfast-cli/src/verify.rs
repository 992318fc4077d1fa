//! `steadfast verify`: is the journal sound, and does a recovery wait?

use std::path::PathBuf;

use serde::Serialize;

use crate::failure::Failure;
use crate::log::{Problem, Writer};
use crate::output::{self, Out, counted};

/// Check whether the journal of a file is sound
///
/// Reads the whole journal beside the file (FILE.steadfast) and checks every record. Changes nothing. Exit
/// code 0: sound, whether or not a recovery waits (the next open does it). Exit code 1: not sound, with the
/// reason.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data file (not its journal).
    file: PathBuf,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    file: String,
    sound: bool,
    recovery_waits: bool,
    journal_found: bool,
    commits: u64,
    last_commit: u64,
    torn_tail: bool,
    writer: Option<Writer>,
    problem: Option<Problem>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let report = steadfast::inspect(&args.file)?;
    let last = report.records.last().map_or(report.checkpointed_through, |record| record.id);
    let answer = Answer {
        file: report.data_file.display().to_string(),
        sound: report.problem.is_none(),
        recovery_waits: report.recovery_waits,
        journal_found: report.journal_found,
        commits: report.records.len() as u64,
        last_commit: last.get(),
        torn_tail: report.torn_tail,
        writer: Writer::of(&report),
        problem: Problem::of(&report),
    };
    let mut out = Out::open();
    if args.json {
        out.json(&answer)?;
    } else if answer.sound {
        out.line(answer.sentence())?;
    } else if let Some(error) = &report.problem {
        output::complain(&error.to_string());
    }
    out.flush()?;
    if answer.sound { Ok(()) } else { Err(Failure::No) }
}

impl Answer {
    fn sentence(&self) -> String {
        let file = &self.file;
        if let Some(writer) = &self.writer {
            return format!("{file}: sound, {}", writer.sentence());
        }
        if self.recovery_waits {
            let torn =
                if self.torn_tail { ", then an unfinished one that was never acknowledged" } else { "" };
            return format!(
                "{file}: sound, and a recovery waits ({} in the journal{torn}): steadfast recover {file}",
                counted(self.commits, "commit")
            );
        }
        if self.journal_found {
            return format!("{file}: sound, with an empty journal");
        }
        format!("{file}: sound, a plain file without a journal")
    }
}
