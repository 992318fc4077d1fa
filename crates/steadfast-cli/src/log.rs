//! `steadfast log`: what the journal beside a file holds.

use std::path::PathBuf;

use serde::Serialize;
use steadfast::JournalReport;

use crate::failure::Failure;
use crate::output::{self, Out};
use crate::size;

/// Show what the journal of a file holds
///
/// Lists the commits in the journal beside the file (FILE.steadfast), oldest first. Changes nothing, and may
/// be used while another program has the file open. A file that was closed properly has no journal.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data file (not its journal).
    file: PathBuf,
    /// Print one JSON object with everything.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Listing {
    file: String,
    journal: String,
    journal_found: bool,
    marked: bool,
    format_version: Option<u32>,
    identity: Option<String>,
    epoch: Option<u64>,
    journal_bytes: u64,
    checkpointed_through: u64,
    recovery_waits: bool,
    torn_tail: bool,
    writer: Option<Writer>,
    problem: Option<Problem>,
    commits: Vec<Commit>,
}

#[derive(Debug, Serialize)]
struct Commit {
    commit: u64,
    journal_offset: u64,
    record_bytes: u64,
    extents: u64,
    changed_bytes: u64,
    file_bytes_min: u64,
    file_bytes: u64,
    durable_through: u64,
}

/// Who has the file open for commits.
#[derive(Debug, Serialize)]
pub(crate) struct Writer {
    pid: u32,
    command: String,
}

impl Writer {
    /// From the library's report.
    pub(crate) fn of(report: &JournalReport) -> Option<Writer> {
        report.writer.as_ref().map(|holder| Writer { pid: holder.pid, command: holder.command.clone() })
    }

    /// In words.
    pub(crate) fn sentence(&self) -> String {
        format!("open for commits by process {} ({})", self.pid, self.command)
    }
}

/// What is wrong with a journal.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    kind: String,
    message: String,
}

impl Problem {
    /// From the library's report.
    pub(crate) fn of(report: &JournalReport) -> Option<Problem> {
        report
            .problem
            .as_ref()
            .map(|error| Problem { kind: error.kind().to_string(), message: error.to_string() })
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let report = steadfast::inspect(&args.file)?;
    let listing = Listing {
        file: report.data_file.display().to_string(),
        journal: report.journal.display().to_string(),
        journal_found: report.journal_found,
        marked: report.marked,
        format_version: report.format_version,
        identity: report.identity.clone(),
        epoch: report.epoch,
        journal_bytes: report.journal_bytes,
        checkpointed_through: report.checkpointed_through.get(),
        recovery_waits: report.recovery_waits,
        torn_tail: report.torn_tail,
        writer: Writer::of(&report),
        problem: Problem::of(&report),
        commits: report
            .records
            .iter()
            .map(|record| Commit {
                commit: record.id.get(),
                journal_offset: record.journal_offset,
                record_bytes: record.record_bytes,
                extents: record.extents,
                changed_bytes: record.changed_bytes,
                file_bytes_min: record.len_min,
                file_bytes: record.len,
                durable_through: record.durable_through.get(),
            })
            .collect(),
    };
    let mut out = Out::open();
    if args.json {
        out.json(&listing)?;
    } else {
        listing.print(&mut out)?;
    }
    out.flush()?;
    match &listing.problem {
        None => Ok(()),
        // In JSON it has been said already.
        Some(problem) => {
            if !args.json {
                output::complain(&problem.message);
            }
            Err(Failure::No)
        }
    }
}

impl Listing {
    fn print(&self, out: &mut Out) -> Result<(), Failure> {
        if !self.journal_found {
            // A file that carries a mark without a journal is a problem, and said as one.
            return out.line(format!("{}: no journal beside it", self.file));
        }
        let version = self.format_version.map_or_else(|| "?".to_owned(), |version| version.to_string());
        out.line(format!(
            "journal      {}, {}, format {version}",
            self.journal,
            size::show(self.journal_bytes)
        ))?;
        if let Some(identity) = &self.identity {
            let epoch = self.epoch.map_or_else(|| "?".to_owned(), |epoch| epoch.to_string());
            let marked = if self.marked { "" } else { " (the file carries no mark)" };
            out.line(format!("identity     {identity}, epoch {epoch}{marked}"))?;
        }
        out.line(format!("in the file  every commit through {}", self.checkpointed_through))?;
        if let Some(writer) = &self.writer {
            out.line(format!("in use       {}", writer.sentence()))?;
        } else if self.recovery_waits {
            out.line(format!("recovery     waits: steadfast recover {}", self.file))?;
        }
        if !self.commits.is_empty() {
            let header = [
                "commit",
                "journal offset",
                "record bytes",
                "extents",
                "changed bytes",
                "file bytes",
                "durable through",
            ];
            let [commit, offset, record, extents, changed, file, durable] = header;
            out.line(format!(
                "\n{commit:>8} {offset:>14} {record:>12} {extents:>8} {changed:>13} {file:>15} {durable:>15}"
            ))?;
        }
        for one in &self.commits {
            out.line(format!(
                "{:>8} {:>14} {:>12} {:>8} {:>13} {:>15} {:>15}",
                one.commit,
                one.journal_offset,
                one.record_bytes,
                one.extents,
                one.changed_bytes,
                one.file_bytes,
                one.durable_through
            ))?;
        }
        if self.torn_tail {
            out.line("then an unfinished commit, never acknowledged")?;
        }
        Ok(())
    }
}
