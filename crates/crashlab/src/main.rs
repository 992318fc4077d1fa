//! `crashlab`: see the library's page for what it breaks, and `docs/proof.md` for the figures.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use crashlab::outcome::{Telling, tell};
use crashlab::{block, corruption, cuts, failing, hands, kills, mutation, programs, sim, suites};

/// Tries to break steadfast, and says in figures how hard it tried.
///
/// Exit codes: 0 nothing was broken; 1 a promise was broken; 2 the rig failed; 77 this machine cannot do it.
#[derive(Parser)]
#[command(name = "crashlab", version)]
struct Arguments {
    /// The figures as one line of JSON
    #[arg(long, global = true)]
    json: bool,
    /// The figures as JSON in this file, beside what is printed
    #[arg(long, global = true, value_name = "PATH")]
    figures: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Power cuts under real file systems: every write and flush of a block device is recorded, and crash images are mounted
    Block(block::Options),
    /// A simulated disk at scale: crashes, torn and reordered writes, recoveries that crash as well
    Sim(sim::Options),
    /// Disks that answer with errors, simulated and under real file systems
    Failing(failing::Options),
    /// Journals whose bytes are not what was written
    Corrupt(corruption::Options),
    /// Processes that are killed
    Kill(kills::Options),
    /// Other hands, failing devices and full disks at work on files that are mapped
    Hands(hands::Options),
    /// Unmodified programs that are killed in the middle of writing: Python, NumPy, Java, LMDB
    Programs(programs::Options),
    /// Power cuts under unmodified programs: Python, NumPy, Java, with the library under them and without
    Cuts(cuts::Options),
    /// The tests that Python, NumPy and LMDB have of themselves, with and without a library under them
    Suites(suites::Options),
    /// The library with one of its steps or checks left out: the other parts must notice
    Mutate(mutation::Options),
}

fn main() -> ExitCode {
    let Arguments { json, figures, what } = Arguments::parse();
    let into = Telling { json, figures };
    match what {
        What::Block(options) => tell(block::run(&options), &into),
        What::Sim(options) => tell(sim::run(&options), &into),
        What::Failing(options) => tell(failing::run(&options), &into),
        What::Corrupt(options) => tell(corruption::run(&options), &into),
        What::Kill(options) => tell(kills::run(&options), &into),
        What::Hands(options) => tell(hands::run(&options), &into),
        What::Programs(options) => tell(programs::run(&options), &into),
        What::Cuts(options) => tell(cuts::run(&options), &into),
        What::Suites(options) => tell(suites::run(&options), &into),
        What::Mutate(options) => tell(mutation::run(&options), &into),
    }
}
