//! `steadfast tour`: the main job, shown on the user's own disk.
//!
//! A child process commits scattered edits to a file of real size; this process kills it in the middle,
//! recovers the file, and compares every byte with what must be there. Then what a commit costs here, beside
//! `msync` of the same pages. SIGKILL shows what a killed process leaves; what a power cut leaves is shown by
//! the library's own tests.

mod check;
pub(crate) mod child;
mod costs;
mod model;
mod report;
mod round;

use std::path::PathBuf;
use std::time::Instant;

use crate::failure::Failure;
use crate::output::{self, Out, Progress};
use crate::work_folder::{Folder, Purpose, check_space};
use crate::{memory, pattern, size};

use child::{Stores, Verb};
use model::Model;
use report::{Phases, Report};

/// What the library's journal may need beside the files, generously.
const JOURNAL_BYTES: u64 = 256 << 20;

/// The smallest file that is worth the tour: enough pages to scatter edits over.
const SIZE_BYTES_MIN: u64 = 1 << 20;

/// See it survive kill -9, and what that costs, on your own disk
///
/// In a fresh folder, a child process commits thousands of scattered edits to a file that is not all zeros,
/// and is killed in mid-commit. Then the file is recovered and every byte compared with what must be there:
/// the last acknowledged commit, or the one in flight, whole. After several rounds of this, what a commit
/// costs here is measured beside msync of the same pages. Takes less than a minute and cleans up after
/// itself. Exit code 1 if any byte is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder in which a fresh folder is made: it decides which disk is tried.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The size of the file: a number of bytes, or with a suffix such as 64MiB.
    #[arg(long, default_value = "1GiB", value_parser = file_size)]
    size: u64,
    /// How many times the child is killed.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    rounds: u32,
    /// Draw edits and moments from this number, rather than from chance.
    #[arg(long)]
    seed: Option<u64>,
    /// Print one JSON object at the end, and no table.
    #[arg(long)]
    json: bool,
    /// Accept a file system that keeps nothing over a power cut (tmpfs) or leaves it to a server (NFS).
    #[arg(long)]
    allow_volatile: bool,
    /// Leave the folder behind, for a look at its files.
    #[arg(long)]
    keep: bool,
}

fn file_size(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        bytes if bytes < SIZE_BYTES_MIN => Err("a tour needs a file of 1MiB or more".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let started = Instant::now();
    let progress = Progress::new();
    let mut out = Out::open();
    let seed = args.seed.unwrap_or_else(random);
    let model = Model::new(seed, args.size);
    let bytes =
        [args.size, costs::extra_bytes(args.size), JOURNAL_BYTES].into_iter().fold(0, u64::saturating_add);
    check_space(&args.dir, bytes, "give a smaller --size or another --dir")?;
    let folder = Folder::create(&args.dir, Purpose::Tour, args.keep)?;
    let file = folder.path().join("tour.bin");

    if !args.json {
        out.line(format!("{} in {}, seed {seed}", size::show(args.size), folder.path().display()))?;
        out.flush()?;
    }
    let mut report = Report::new(args.size, seed);

    progress.say("writing the file");
    let phase = Instant::now();
    write_base(&file, &model, args.size)
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", file.display())))?;
    report.phases_ms.write = Phases::since(phase);

    let phase = Instant::now();
    // A `load` keeps the file in memory, and what was changed a second time; a third part is left to
    // everybody else.
    let load_fits = memory::available_bytes().is_none_or(|bytes| bytes / 3 >= args.size);
    if !load_fits && args.rounds > 0 {
        output::note(
            "note: too little memory to load the file, so every round uses a view; try a smaller --size",
        );
    }
    let mut first = 1;
    for number in 1..=args.rounds {
        progress.say(&format!("round {number} of {}", args.rounds));
        let plan = round::Plan {
            number,
            first,
            verb: if load_fits { Verb::of_round(number) } else { Verb::View },
            stores: Stores::of_round(number),
            allow_volatile: args.allow_volatile,
        };
        let done = round::run(&plan, &file, &model, &progress)?;
        progress.clear();
        if !args.json {
            if number == 1 {
                out.line(report::RoundReport::header())?;
            }
            out.line(done.row())?;
            out.flush()?;
        }
        let wrong = done.wrong.is_some();
        first = done.commit + 1;
        report.rounds.push(done);
        if wrong {
            break;
        }
    }
    report.phases_ms.rounds = Phases::since(phase);

    if report.wrong().is_none() {
        progress.say("measuring what commits cost");
        let phase = Instant::now();
        report.costs = Some(costs::measure(&folder, &file, &model, args.allow_volatile)?);
        report.phases_ms.costs = Phases::since(phase);
    }
    progress.say("cleaning up");
    let phase = Instant::now();
    let kept = args.keep.then(|| folder.path().display().to_string());
    drop(folder);
    report.phases_ms.cleanup = Phases::since(phase);
    report.conclude();
    report.seconds = started.elapsed().as_secs_f64();
    progress.clear();

    if args.json {
        out.json(&report)?;
    } else {
        report.print(&mut out)?;
        if let Some(folder) = kept {
            out.line(format!("The files stay in {folder}"))?;
        }
    }
    out.flush()?;
    match report.wrong() {
        None => Ok(()),
        Some(wrong) => Err(Failure::Failed(wrong)),
    }
}

/// Writes the file's first state and makes it durable, as a user's file would be.
fn write_base(path: &std::path::Path, model: &Model, bytes: u64) -> std::io::Result<()> {
    pattern::write_file(path, bytes, |at, part| {
        model.base(at, part);
        Ok(())
    })
}

/// A seed from the kernel or, where that fails, from the clock: it only has to differ from run to run.
fn random() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        // Short seeds are easier to type again.
        Ok(8) => u64::from_le_bytes(bytes) >> 32,
        _ => std::time::UNIX_EPOCH.elapsed().map_or(1, |elapsed| u64::from(elapsed.subsec_nanos())),
    }
}
