//! `steadfast warm`: files into memory, without waiting for the first who needs them.

use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{self, Out, counted};
use crate::select::Selection;
use crate::size::{self, ByteRange};

pub(crate) mod pool;

use pool::{Pace, Pieces};

/// Read files into memory
///
/// Reads what is absent, and only that; holes of sparse files are left out. Several threads read, in the order of the names. Stays
/// in memory for as long as the kernel keeps it: `steadfast lock` keeps it there. After Ctrl-C it says what was read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Only these bytes of each file: A..B, A.. or ..B, with suffixes such as 64K or 1GiB. Default: all.
    #[arg(long, value_name = "A..B", value_parser = ByteRange::parse)]
    range: Option<ByteRange>,
    #[command(flatten)]
    pace: PaceArgs,
    /// Print the answer as JSON (docs/json.md). Default: a sentence.
    #[arg(long)]
    json: bool,
}

/// How fast, and how much.
#[derive(Debug, clap::Args)]
pub(crate) struct PaceArgs {
    /// Read at most so much a second, such as 100MiB. Default: as fast as the disk can.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    rate: Option<u64>,
    /// Read at most so much altogether. Default: all.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max: Option<u64>,
    /// How many reads are under way at once. Default: 4.
    #[arg(long, value_name = "COUNT", default_value_t = 4, hide_default_value = true)]
    readers: usize,
}

impl PaceArgs {
    pub(crate) fn pace(&self) -> Pace {
        Pace { bytes_per_second: self.rate, bytes_max: self.max, readers: self.readers.max(1) }
    }
}

/// What is to be read of one file.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) path: PathBuf,
    pub(crate) absent: Vec<Range<u64>>,
}

/// What a warming did.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) schema: u32,
    pub(crate) files: u64,
    pub(crate) failed_files: u64,
    /// Bytes that were absent, holes left out.
    pub(crate) absent_bytes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) interrupted: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // Whoever types the names can end it as ever.
    let selection = args.selection.listed()?;
    let interrupt = Interrupt::listen()?;
    let range = args.range.unwrap_or(ByteRange::ALL).in_file();
    let selected = selection.ask(|file| {
        let asked = interrupt.is_asked();
        if asked { Ok(Vec::new()) } else { file.absent(range) }
    })?;
    let failed = selected.failed.len() as u64;
    let wanted: Vec<_> = selected.found.into_iter().map(|(path, absent)| Wanted { path, absent }).collect();
    let answer = read(&wanted, failed, args.pace.pace(), &interrupt);
    tell(&answer, args.json)
}

/// Reads all of it, with progress on standard error.
pub(crate) fn read(wanted: &[Wanted], failed_files: u64, pace: Pace, interrupt: &Interrupt) -> Answer {
    let pieces = Pieces::of(wanted, pace.bytes_max);
    warn_if_it_does_not_fit(pieces.bytes());
    let done = pieces.read(pace, interrupt);
    Answer {
        schema: 1,
        files: wanted.len() as u64,
        failed_files: failed_files + done.failed_files,
        absent_bytes: wanted.iter().flat_map(|file| &file.absent).map(|part| part.end - part.start).sum(),
        read_bytes: done.read_bytes,
        interrupted: interrupt.is_asked(),
    }
}

/// Says it, and how it ends.
pub(crate) fn tell(answer: &Answer, json: bool) -> Result<(), Failure> {
    let mut out = Out::open();
    if json {
        out.json(answer)?;
    } else {
        out.line(format!(
            "read {} of {} that were absent, in {}",
            size::show(answer.read_bytes),
            size::show(answer.absent_bytes),
            counted(answer.files, "file")
        ))?;
    }
    out.flush()?;
    if answer.interrupted {
        return Err(Failure::Code(130, "interrupted".to_owned()));
    }
    if answer.failed_files > 0 { Err(Failure::No) } else { Ok(()) }
}

/// What does not fit pushes out what came before it.
fn warn_if_it_does_not_fit(bytes: u64) {
    let of_machine = crate::memory::available_bytes()
        .map(|available| (available, format!("{} of memory are free", size::show(available))));
    let of_group = crate::groups::own_room().map(|(room, group)| {
        let spare = room.spare_bytes;
        (spare, format!("the control group {} has room for {}", group.display(), size::show(spare)))
    });
    let tightest = of_machine.into_iter().chain(of_group).min();
    if let Some((_, limit)) = tightest.filter(|(available, _)| bytes > *available) {
        output::complain(&format!(
            "{} are to be read and {limit}: what is read first may be gone before the end (--max)",
            size::show(bytes)
        ));
    }
}
