//! What other programs, failing devices and full disks do to files that are mapped.
//!
//! | part | meanwhile |
//! |---|---|
//! | `truncate` | another process cuts the file, makes it longer again, punches holes into it, replaces it, removes it |
//! | `eio` | a file system of our own cannot read or write any more, forgets what it had cached, or is gone |
//! | `full` | a small file system is filled to the last byte, and there is space again; a limit on file sizes |
//!
//! Four threads work on a `Mapping`, or on several `AtomicMapping`s. They do so in a process of its own, which judges what it finds; that
//! it lives is judged here. What is done and when (after so much work) comes from the seed; how the processes interleave does not.

mod atomic;
mod child;
mod control;
mod flood;
mod found;
mod hand;
mod mapping;
mod places;
mod plan;
mod raw;
mod server;
mod tally;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::outcome::Failure;
use child::Rounds;
use control::Control;
use hand::End;
use places::Ground;
use plan::Place;
pub use tally::{Counts, Figures, Tally};

/// So many rounds are one process's.
const BATCH: u64 = 50;
const SIGBUS: i32 = 7;

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the choices begin: the same seed, the same choices, but not the same instants
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// So many rounds of each part
    #[arg(long, default_value_t = 400)]
    pub rounds: u64,
    /// Only these parts
    #[arg(long, value_enum, value_name = "PART")]
    pub only: Vec<Part>,
    /// The number of the first round: to see one again
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// A folder on the file system to try it on [default: ./target, or the system's folder for temporary files]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// This program, where the one that runs is another (a test)
    #[arg(long, hide = true)]
    pub program: Option<PathBuf>,
    /// Without the guard: processes must die
    #[arg(long, hide = true)]
    pub unguarded: bool,
    /// Be the process that is judged
    #[arg(long, hide = true)]
    pub child: Option<String>,
}

/// What is done to the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// They are cut, punched, replaced, removed.
    Truncate,
    /// They cannot be read or written.
    Eio,
    /// There is no space for them.
    Full,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 3] = [Part::Truncate, Part::Eio, Part::Full];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Truncate => "truncate",
            Part::Eio => "eio",
            Part::Full => "full",
        })
    }
}

fn rig(what: &str, error: impl fmt::Display) -> Failure {
    Failure::Rig(format!("{what}: {error}"))
}

/// Tries it.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    if let Some(job) = &options.child {
        child::work(job);
    }
    let started = Instant::now();
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| rig("this program", error))?,
    };
    let dir = folder(options.dir.as_deref())?;
    let mut figures =
        Figures { seed: options.seed, parts: Vec::new(), lacking: Vec::new(), violations: 0, seconds: 0.0 };
    for part in Part::ALL {
        if !options.only.is_empty() && !options.only.contains(&part) {
            continue;
        }
        let folder = tempfile::Builder::new().prefix("crashlab-hands-").tempdir_in(&dir);
        let mut ground = Ground::new(folder.map_err(|error| rig("a folder", error))?);
        match try_part(part, options, &program, &mut ground, &mut figures.lacking) {
            Ok(tally) => {
                figures.violations += tally.signal_deaths;
                figures.parts.push(tally);
            }
            Err(Failure::Lacking(what)) if options.only.is_empty() => {
                figures.lacking.push(format!("{what} ({part})"))
            }
            Err(failure) => return Err(failure),
        }
    }
    figures.seconds = started.elapsed().as_secs_f64();
    Ok(figures)
}

fn folder(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let target = Path::new("target");
    let dir = match asked {
        Some(dir) => dir.to_owned(),
        None if target.is_dir() => target.to_owned(),
        None => std::env::temp_dir(),
    };
    dir.canonicalize().map_err(|error| rig("the folder for the rounds", error))
}

fn try_part(
    part: Part,
    options: &Options,
    program: &Path,
    ground: &mut Ground,
    lacking: &mut Vec<String>,
) -> Result<Tally, Failure> {
    let places = places(part, ground, lacking)?;
    let scratch = ground.path().join("scratch");
    std::fs::create_dir(&scratch).map_err(|error| rig("a folder", error))?;
    let at = ground.path().join("control");
    let control = Control::open(&at).map_err(|error| rig("the control page", error))?;
    let mut tally = Tally::of(part);
    let end = options.first + options.rounds;
    let mut first = options.first;
    while first < end {
        let rounds = Rounds {
            part,
            seed: options.seed,
            first,
            end: end.min(first + BATCH),
            places: places.clone(),
            scratch: scratch.clone(),
            control: at.clone(),
            guard: !options.unguarded,
        };
        let again = |what: String| {
            Failure::Violation(format!(
                "hands --only {part} --seed {} --first N --rounds 1, {what}",
                options.seed
            ))
        };
        match hand::play(program, &rounds, &control, ground, &mut tally) {
            Ok(End::Well) => first = rounds.end,
            Ok(End::Signal(SIGBUS, number)) if options.unguarded => {
                tally.signal_deaths += 1;
                tally.died_in.push(number);
                first = number + 1;
                let _ = std::fs::remove_dir_all(rounds.folder(number));
            }
            Ok(End::Signal(signal, number)) => {
                return Err(again(format!("round {number}: the process was ended by signal {signal}")));
            }
            Err(Failure::Violation(what)) => return Err(again(what)),
            Err(failure) => return Err(failure),
        }
    }
    if let Some(files) = ground.files() {
        files.fail_reads(Some(0));
        let at = places.first().map(|(_, path)| path.join(server::LARGE)).unwrap_or_default();
        let text = hand::flood(program, &at)?;
        tally.flood = Some(format!("{text}; {} reads and writes failed in all", files.failed()));
        files.fail_reads(None);
    }
    Ok(tally)
}

/// What is lacking for a quota: the limit on file sizes stands in for it.
fn quota(ground: &mut Ground) -> Result<String, Failure> {
    let make = ["-O", "quota,project", "-E", "quotatype=prjquota"];
    match ground.ext4("ext4-quota", &make, "prjquota") {
        Ok(_) => Ok("a way to set the project quota that its ext4 could have (full)".into()),
        Err(Failure::Lacking(what)) => {
            let line = what.lines().next().unwrap_or_default();
            Ok(format!(
                "project quotas: {line} (the kernel needs QFMT_V2 for ext4, XFS_QUOTA for XFS) (full)"
            ))
        }
        Err(failure) => Err(failure),
    }
}

/// Where the files of a part are, in turn.
fn places(
    part: Part,
    ground: &mut Ground,
    lacking: &mut Vec<String>,
) -> Result<Vec<(Place, PathBuf)>, Failure> {
    let on_disk = ground.path().to_owned();
    match part {
        Part::Truncate => {
            let mut places = vec![(Place::Disk, on_disk)];
            match ground.memory() {
                // Twice as often: there a commit costs next to nothing.
                Ok(memory) => places.extend([(Place::Memory, memory.clone()), (Place::Memory, memory)]),
                Err(Failure::Lacking(what)) => lacking.push(format!("{what} ({part}, in memory)")),
                Err(failure) => return Err(failure),
            }
            Ok(places)
        }
        Part::Eio => Ok(vec![(Place::Served, ground.serve()?)]),
        Part::Full => {
            let mut places = vec![(Place::Limited, on_disk)];
            for place in [ground.memory(), ground.ext4("ext4", &[], "")] {
                match place {
                    Ok(at) => places.push((Place::Small, at)),
                    Err(Failure::Lacking(what)) => lacking.push(format!("{what} ({part})")),
                    Err(failure) => return Err(failure),
                }
            }
            lacking.push(quota(ground)?);
            Ok(places)
        }
    }
}
