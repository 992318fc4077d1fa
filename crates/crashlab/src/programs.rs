//! Programs that were not made for it: killed in the middle of writing, unmodified, and judged byte for byte.
//!
//! | program | maps | makes durable |
//! |---|---|---|
//! | `python-mmap` | `mmap.mmap` | `flush` |
//! | `numpy-memmap` | `np.memmap` | `flush` |
//! | `java-force` | `FileChannel.map` | `MappedByteBuffer.force` |
//! | `lmdb-node` | npm's `lmdb`, `useWritemap: true` | `flushed` |
//! | `lmdb-python` | Python's `lmdb`, `writemap=True` | the commit of a transaction |
//!
//! The first three store records all over a file, version after version. The others rewrite all records of a database in each
//! transaction. Each says which version it has flushed; SIGKILL comes at a drawn moment. What is found after recovery must be all of one
//! version, and none older than the last one that was acknowledged.
//!
//! Without a library under them (`--preload`) the kernel's mapping is what they have: nothing is promised there, so what was found is
//! counted to be compared with, and is no violation.

mod database;
mod life;
pub(crate) mod scatter;
mod tally;

use std::path::{Path, PathBuf};
use std::time::Instant;

use ::programs::{Call, Program, Workshop};
use clap::Args;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::kills::{folder, rig, steadfast};
use crate::outcome::Failure;
use crate::workload::draws;
pub use tally::{Figures, Tally};

/// The files that the library is to make atomic.
pub(crate) const ATOMIC: &str = "*.bin:*/data.mdb";

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the choices begin: the same seed, the same choices, but not the same instants
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// So many runs of each program
    #[arg(long, default_value_t = 40)]
    pub runs: u64,
    /// Only these programs
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub only: Vec<Program>,
    /// The number of the first run: to see one run again
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// A folder on the file system to try it on [default: ./target, or the system's folder for temporary files]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The library to put under the programs (libsteadfast_preload.so) [default: none, and the kernel's mapping is counted]
    #[arg(long, value_name = "PATH")]
    pub preload: Option<PathBuf>,
    /// With the library: what it cannot honour is to fail
    #[arg(long, requires = "preload")]
    pub strict: bool,
    /// With the library: commits are not shown to those who read the plain file
    #[arg(long, requires = "preload")]
    pub unpublished: bool,
    /// The `steadfast` that recovers [default: built with cargo, beside this program]
    #[arg(long)]
    pub command: Option<PathBuf>,
    /// This program, where the one that runs is another (a test)
    #[arg(long, hide = true)]
    pub program: Option<PathBuf>,
    /// Let them end by themselves after some versions: they must be found whole
    #[arg(long, hide = true)]
    pub unkilled: bool,
    /// Change a byte before each judgement: it must be noticed
    #[arg(long, hide = true)]
    pub spoil: bool,
}

/// A program that is at hand, with what judges it.
struct Subject<'a> {
    program: Program,
    writer: Call,
    /// For a database.
    reader: Option<Call>,
    /// The command that recovers.
    steadfast: &'a Path,
    options: &'a Options,
}

/// One run, in a folder of its own.
struct Run<'a> {
    number: u64,
    folder: &'a Path,
    /// Of this run alone.
    random: ChaCha8Rng,
    /// What the program's contents are made of.
    seed: u64,
}

/// What a run's file was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Of this version throughout, and that is one it may be.
    Sound(u64),
    /// Of this version throughout, which is older than the last acknowledged one.
    Lost(u64),
    /// Of several versions, or of none.
    Torn(String),
    /// The program, the recovery or the library would not.
    Refused(String),
}

/// Tries it.
///
/// # Errors
///
/// With a library under the programs: a run that is torn or lost or refused. Without: what the rig needs and has not.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    let started = Instant::now();
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(rig("this program"))?,
    };
    let mut options = options.clone();
    if let Some(library) = &options.preload {
        options.preload = Some(library.canonicalize().map_err(rig("the library to preload"))?);
    }
    let dir = folder(options.dir.as_deref())?;
    let workshop = Workshop::beside(&program).map_err(|lacking| Failure::Lacking(lacking.to_string()))?;
    // Nothing leaves a journal without the library.
    let steadfast = match &options.preload {
        Some(_) => steadfast(options.command.as_deref(), &program)?,
        None => PathBuf::new(),
    };
    let mut figures = Figures::new(&options);
    for program in Program::ALL {
        if !options.only.is_empty() && !options.only.contains(&program) {
            continue;
        }
        let parts = workshop.writer(program).and_then(|writer| Ok((writer, workshop.reader(program)?)));
        match parts {
            Ok((writer, reader)) => {
                let subject = Subject { program, writer, reader, steadfast: &steadfast, options: &options };
                figures.programs.push(try_one(&subject, &dir)?);
            }
            Err(lacking) => figures.lacking.push(format!("{program}: {lacking}")),
        }
    }
    figures.seconds = started.elapsed().as_secs_f64();
    if figures.programs.is_empty() {
        return Err(Failure::Lacking(figures.lacking.join("; ")));
    }
    figures.violations = figures.programs.iter().map(Tally::broken).sum();
    if options.preload.is_some() && figures.violations > 0 {
        return Err(Failure::Violation(figures.to_string()));
    }
    Ok(figures)
}

/// All runs of one program.
fn try_one(subject: &Subject<'_>, dir: &Path) -> Result<Tally, Failure> {
    let Subject { program, options, .. } = subject;
    let mut tally = Tally::of(*program);
    for number in options.first..options.first + options.runs {
        let place = tempfile::Builder::new().prefix("crashlab-programs-").tempdir_in(dir);
        let place = place.map_err(rig("a folder"))?;
        // Numbers of one run do not depend on which others are tried.
        let mut seeds = draws(options.seed);
        let mut random = draws(seeds.random::<u64>() ^ number ^ ((*program as u64) << 56));
        // Below 2^53, which every language reads as it stands.
        let seed = random.random_range(0..1 << 53);
        let mut run = Run { number, folder: place.path(), random, seed };
        let found = life::run(subject, &mut run, &mut tally)?;
        let Some(what) = tally.add(&found) else { continue };
        let mut text = format!("run {number}: {what}");
        if let Some(library) = &options.preload {
            text += &format!(
                "; again: crashlab programs --only {program} --seed {} --first {number} --runs 1 --preload {}; files kept in {}",
                options.seed,
                library.display(),
                place.keep().display()
            );
        }
        tally.first = Some(text);
    }
    Ok(tally)
}
