//! `steadfast bench`: what memory-mapped files cost on this disk, for whoever decides whether to use them.

mod chart;
mod destination;
#[cfg(test)]
mod in_browser;
mod kind;
mod ledger;
mod page;
mod reads;
mod report;
mod rounds;
mod scale;
mod steps;
mod table;
mod words;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use steadfast::disk::{Disk, Durability, RealDisk};

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::open;
use crate::output::{Out, Progress, printable};
use crate::place::{Device, Machine, mount_of};
use crate::size;
use crate::work_folder::{Folder, Purpose, check_space};

use destination::Destination;
use kind::PAGES;
use ledger::Ledger;
use report::{Place, Report};
use rounds::Enough;
use steps::Bench;

/// The least size of the files: as many pages as are changed at once must fit.
const SIZE_BYTES_MIN: u64 = 1 << 20;
/// How long it takes if nobody says otherwise.
const SECONDS: Duration = Duration::from_secs(20);

/// What memory-mapped files cost on this disk
///
/// Measures, in a folder of its own in DIR: the disk's limit (an append of 4 KiB, made durable), msync and all-or-nothing
/// commits of 1, 16 and 256 scattered pages, opening an atomic map, and reads in order and at random, from the disk and from
/// memory. All of it takes turns; medians and 99th percentiles are of the same run. The folder is removed at the end, also
/// after Ctrl-C, which ends it early and prints what was measured (exit code 130).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to measure in: it decides which disk is tried. Default: the current folder.
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
    /// The size of each of the four files that are mapped, such as 1GiB; at least 1MiB. Default: 64MiB.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", hide_default_value = true, value_parser = file_size)]
    size: u64,
    /// Measure for about so many seconds altogether (a fraction is fine). Default: 20, or as long as --rounds take.
    #[arg(long, value_name = "SECONDS", value_parser = open::seconds)]
    seconds: Option<Duration>,
    /// Measure so many rounds, after one that is thrown away. Default: as many as there is time for.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Print the answer as JSON (docs/json.md). Default: a table.
    #[arg(long)]
    json: bool,
    /// Write a report for a browser to this file as well, charts included; one that exists is replaced. Default: no report.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn file_size(text: &str) -> Result<u64, String> {
    let page_bytes = rustix::param::page_size() as u64;
    let least = PAGES.into_iter().fold(SIZE_BYTES_MIN, |least, pages| least.max(pages * page_bytes));
    match size::parse(text)? {
        bytes if bytes < least => Err(format!("the files need {} or more", size::show(least))),
        bytes => bytes.checked_next_multiple_of(page_bytes).ok_or_else(|| "no file has this size".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    let (begun, date) = (Instant::now(), SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default());
    let place = look_at(&args.dir)?;
    check_space(&args.dir, steps::needed_bytes(args.size), "give a smaller --size or another folder")?;
    // Before anything is measured: nobody should wait for a report that cannot be written.
    let destination = args.html.as_deref().map(Destination::open).transpose()?;
    let seconds = args.seconds.or(args.rounds.is_none().then_some(SECONDS));
    let enough =
        Enough { rounds: args.rounds, until: seconds.and_then(|seconds| begun.checked_add(seconds)) };

    let mut ledger = Ledger::default();
    let rounds = measure(&args.dir, args.size, enough, &mut ledger, &interrupt)?;

    let (rows, notes) = report::rows_of(&ledger, args.size);
    let report = Report {
        schema: 1,
        version: env!("CARGO_PKG_VERSION"),
        date: words::date(date.as_secs()),
        command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        place,
        file_bytes: args.size,
        rounds,
        seconds: begun.elapsed().as_secs_f64(),
        interrupted: interrupt.is_asked(),
        limit_us: report::limit_of(&ledger),
        rows,
        notes,
    };
    let mut out = Out::open();
    if args.json {
        out.json(&report)?;
    } else {
        table::print(&report, &mut out)?;
    }
    if let Some(destination) = destination {
        let path = destination.write(&page::render(&report))?;
        if !args.json {
            out.line(format!("\nThe report is in {}", printable(&path.display().to_string())))?;
        }
    }
    out.flush()?;
    if report.interrupted {
        return Err(Failure::Code(
            130,
            "interrupted: these figures are of what had been measured".to_owned(),
        ));
    }
    Ok(())
}

/// Measures in a folder that is gone on return.
fn measure(
    dir: &Path,
    file_bytes: u64,
    enough: Enough,
    ledger: &mut Ledger,
    interrupt: &Interrupt,
) -> Result<u32, Failure> {
    let progress = Progress::new();
    let say = |text: &str| progress.say(text);
    let folder = Folder::create(dir, Purpose::Bench, false)?;
    let Some(mut bench) = Bench::prepare(folder.path(), file_bytes, ledger, interrupt, &say)? else {
        return Ok(0);
    };
    let rounds = rounds::measure(&mut bench, enough, file_bytes, ledger, interrupt, &say)?;
    say("cleaning up");
    bench.close()?;
    Ok(rounds)
}

fn look_at(dir: &Path) -> Result<Place, Failure> {
    let failed =
        |error: std::io::Error| Failure::Failed(format!("cannot measure in {}: {error}", dir.display()));
    if !std::fs::metadata(dir).map_err(failed)?.is_dir() {
        return Err(Failure::Usage(format!(
            "{} is not a folder: name the folder to measure in",
            dir.display()
        )));
    }
    let durable = match RealDisk.durability(dir).map_err(failed)? {
        Durability::Local => Some(true),
        Durability::Volatile(_) => Some(false),
        Durability::Network(_) => None,
    };
    let folder = dir.canonicalize().map_err(failed)?;
    Ok(Place {
        folder: folder.display().to_string(),
        file_system: mount_of(dir).map_err(failed)?.map_or_else(|| "unknown".to_owned(), |mount| mount.kind),
        durable,
        device: Device::under(dir).map_err(failed)?,
        machine: Machine::here(),
    })
}
