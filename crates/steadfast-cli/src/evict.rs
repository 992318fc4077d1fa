//! `steadfast evict`: files out of memory, and what stayed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Out, counted};
use crate::select::Selection;
use crate::size::{self, ByteRange};

/// Let go of the memory that files take
///
/// Lets go of pages that are clean. What is dirty stays, unless --sync writes it back first; what a process has mapped, or locked,
/// stays as well. The answer says how much went, how much is still dirty, and how much is in use. No byte of any file changes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Only these bytes of each file: A..B, A.. or ..B, with suffixes such as 64K or 1GiB. Default: all.
    #[arg(long, value_name = "A..B", value_parser = ByteRange::parse)]
    range: Option<ByteRange>,
    /// Write back what is dirty, and wait for that, before it goes. Default: what is dirty stays.
    #[arg(long)]
    sync: bool,
    /// Print the answer as JSON (docs/json.md). Default: a sentence.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Answer {
    schema: u32,
    files: u64,
    failed_files: u64,
    /// Files of which nobody can tell.
    unknown_files: u64,
    evicted_bytes: u64,
    still_dirty_bytes: u64,
    in_use_bytes: u64,
    /// Stayed, and nobody can tell whether it is dirty or in use.
    unexplained_bytes: u64,
    interrupted: bool,
    /// What is known of the unexplained bytes.
    #[serde(skip)]
    reasons: BTreeMap<String, u64>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // Whoever types the names can end it as ever.
    let selection = args.selection.listed()?;
    let interrupt = Interrupt::listen()?;
    let range = args.range.unwrap_or(ByteRange::ALL).in_file();
    let selected = selection.ask(|file| {
        let asked = interrupt.is_asked();
        if asked { Ok(None) } else { file.evict(range, args.sync).map(Some) }
    })?;
    let page_bytes = rustix::param::page_size() as u64;
    let mut answer = Answer {
        schema: 1,
        failed_files: selected.failed.len() as u64,
        interrupted: interrupt.is_asked(),
        ..Answer::default()
    };
    for evicted in selected.found.into_iter().filter_map(|(_, evicted)| evicted) {
        answer.files += 1;
        answer.unknown_files += u64::from(evicted.pages().is_none());
        answer.evicted_bytes += evicted.pages().unwrap_or(0) * page_bytes;
        answer.still_dirty_bytes += evicted.still_dirty().unwrap_or(0) * page_bytes;
        answer.in_use_bytes += evicted.in_use().unwrap_or(0) * page_bytes;
        if let (None, Some(stayed @ 1..), Some(why)) =
            (evicted.in_use(), evicted.after.resident, evicted.after.unknown)
        {
            answer.unexplained_bytes += stayed * page_bytes;
            *answer.reasons.entry(why.to_string()).or_default() += stayed * page_bytes;
        }
    }
    let mut out = Out::open();
    if args.json {
        out.json(&answer)?;
    } else {
        out.line(answer.sentence(args.sync))?;
    }
    out.flush()?;
    if answer.interrupted {
        return Err(Failure::Code(130, "interrupted: other files were not touched".to_owned()));
    }
    if answer.failed_files > 0 { Err(Failure::No) } else { Ok(()) }
}

impl Answer {
    fn sentence(&self, synced: bool) -> String {
        let mut text =
            format!("evicted {} of {}", size::show(self.evicted_bytes), counted(self.files, "file"));
        if self.still_dirty_bytes > 0 {
            let way = if synced { "" } else { " (--sync writes it back first)" };
            text.push_str(&format!("; {} still dirty{way}", size::show(self.still_dirty_bytes)));
        }
        if self.in_use_bytes > 0 {
            let bytes = size::show(self.in_use_bytes);
            text.push_str(&format!("; {bytes} in use: mapped or locked by a process, or read again"));
        }
        for (why, bytes) in &self.reasons {
            text.push_str(&format!("; {} stayed: {why}", size::show(*bytes)));
        }
        if self.unknown_files > 0 {
            text.push_str(&format!("; of {} nobody can tell", counted(self.unknown_files, "file")));
        }
        text
    }
}
