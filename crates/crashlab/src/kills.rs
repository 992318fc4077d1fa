//! Processes that are killed.
//!
//! | part | kills |
//! |---|---|
//! | `command` | `steadfast apply`, driven through a pipe, and `steadfast recover` after it |
//! | `threads` | a program with four threads and a map in each |
//! | `fork` | the same, after it forked: the child lives on, with copies of all descriptors |
//! | `lock` | the holder of a lock that others wait for, and those who wait |
//!
//! The choices (what is written, when and whom to kill) come from the seed; how far a process is by then does not. So the
//! same seed tries the same things again, but does not hit the same instruction.

mod child;
mod command;
mod fork;
pub(crate) mod judge;
mod lock;
pub(crate) mod process;
mod raw;
pub(crate) mod script;
mod tally;
mod threads;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::{Args, ValueEnum};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::outcome::Failure;
use crate::workload::draws;
pub use tally::{Figures, Tally};

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the choices begin: the same seed, the same choices, but not the same instants
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// So many runs of each part
    #[arg(long, default_value_t = 40)]
    pub runs: u64,
    /// Only these parts
    #[arg(long, value_enum, value_name = "PART")]
    pub part: Vec<Part>,
    /// The number of the first run: to see one run again
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// A folder on the file system to try it on [default: ./target, or the system's folder for temporary files]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The `steadfast` to kill [default: built with cargo, beside this program]
    #[arg(long)]
    pub command: Option<PathBuf>,
    /// This program, where the one that runs is another (a test)
    #[arg(long, hide = true)]
    pub program: Option<PathBuf>,
    /// Change a byte before each judgement: it must be noticed
    #[arg(long, hide = true)]
    pub spoil: bool,
    /// Be one of the processes that are killed
    #[arg(long, hide = true)]
    pub child: Option<String>,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The command.
    Command,
    /// A program of several threads.
    Threads,
    /// A program that forked.
    Fork,
    /// Who holds a lock, and who waits for it.
    Lock,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 4] = [Part::Command, Part::Threads, Part::Fork, Part::Lock];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Command => "command",
            Part::Threads => "threads",
            Part::Fork => "fork",
            Part::Lock => "lock",
        })
    }
}

/// One run of one part, in a folder of its own.
struct Run<'a> {
    number: u64,
    folder: &'a Path,
    /// Of this run alone.
    random: ChaCha8Rng,
    program: &'a Path,
    spoil: bool,
}

impl Run<'_> {
    /// A part of something, anywhere from none to all.
    fn share(&mut self) -> f64 {
        self.random.random_range(0.0..1.0)
    }
}

/// For `map_err`: the rig's own failure.
pub(crate) fn rig<E: fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure + '_ {
    move |error| Failure::Rig(format!("{what}: {error}"))
}

fn violation<T>(what: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Violation(what.into()))
}

/// Tries it.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    if let Some(job) = &options.child {
        child::work(job);
    }
    let started = Instant::now();
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(rig("this program"))?,
    };
    let dir = folder(options.dir.as_deref())?;
    // Whoever is left behind by a killed process becomes a child of this one, and is waited for.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(rig("subreaper"))?;
    let mut figures = Figures::new(options.seed);
    for part in Part::ALL {
        if !options.part.is_empty() && !options.part.contains(&part) {
            continue;
        }
        let steadfast = match part {
            Part::Command => steadfast(options.command.as_deref(), &program)?,
            _ => PathBuf::new(),
        };
        let mut tally = Tally::of(part);
        for number in options.first..options.first + options.runs {
            let place = tempfile::Builder::new().prefix("crashlab-kill-").tempdir_in(&dir);
            let place = place.map_err(rig("a folder"))?;
            // Numbers of one run do not depend on which others are tried.
            let mut seeds = draws(options.seed);
            let random = draws(seeds.random::<u64>() ^ number ^ ((part as u64) << 56));
            let mut run =
                Run { number, folder: place.path(), random, program: &program, spoil: options.spoil };
            let done = match part {
                Part::Command => command::run(&mut run, &steadfast, &mut tally),
                Part::Threads => threads::run(&mut run, &mut tally),
                Part::Fork => fork::run(&mut run, &mut tally),
                Part::Lock => lock::run(&mut run, &mut tally),
            };
            tally.runs += 1;
            if let Err(Failure::Violation(what)) = done {
                return violation(format!(
                    "kill --part {part} --seed {} --first {number} --runs 1: {what}; the files are kept in {}",
                    options.seed,
                    place.keep().display()
                ));
            }
            done?;
        }
        figures.parts.push(tally);
    }
    figures.seconds = started.elapsed().as_secs_f64();
    Ok(figures)
}

/// Where the runs have their folders: where a kill tells something, since files outlive their process.
pub(crate) fn folder(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let target = Path::new("target");
    let dir = match asked {
        Some(dir) => dir.to_owned(),
        None if target.is_dir() => target.to_owned(),
        None => std::env::temp_dir(),
    };
    // Names in a violation are to be found from anywhere.
    let dir = dir.canonicalize().map_err(rig("the folder for the runs"))?;
    let is_memory = match steadfast::disk::Disk::durability(&steadfast::disk::RealDisk, &dir) {
        Ok(durability) => durability != steadfast::disk::Durability::Local,
        Err(error) => return Err(rig("the folder for the runs")(error)),
    };
    if is_memory {
        let what = format!("a folder on a local disk ({} is on none); give one with --dir", dir.display());
        return Err(Failure::Lacking(what));
    }
    Ok(dir)
}

/// The command, as old as the sources.
pub(crate) fn steadfast(asked: Option<&Path>, program: &Path) -> Result<PathBuf, Failure> {
    if let Some(asked) = asked {
        return asked.canonicalize().map_err(rig("the command"));
    }
    let lacking = |why: String| {
        let how = "cargo build -p steadfast-cli, and --command PATH";
        Failure::Lacking(format!("the `steadfast` command ({why}): {how}"))
    };
    let profile = program.parent().ok_or_else(|| lacking("no folder to build it in".into()))?;
    let target = profile.parent().ok_or_else(|| lacking("no folder to build it in".into()))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", "steadfast-cli", "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let built = built.map_err(|error| lacking(format!("{cargo:?}: {error}")))?;
    if !built.status.success() {
        return Err(lacking(String::from_utf8_lossy(&built.stderr).into_owned()));
    }
    profile.join("steadfast").canonicalize().map_err(|error| lacking(error.to_string()))
}
