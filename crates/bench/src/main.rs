//! The peers, side by side: one harness, one data set, the same stores in the same order.
//!
//! ```text
//! cargo run --release -p bench -- commit
//! ```
//!
//! Figures are of this machine, on the file system of `--dir`; the ratios are the point.

mod benches;
mod data;
mod disk;
mod harness;
mod machine;
mod peers;
mod process;
mod report;
mod shared_map;
mod watched_map;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use report::Row;

/// Any error: a benchmark has nobody who would tell them apart.
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(name = "bench", about = "Steadfast and its peers, side by side", version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
    #[command(flatten)]
    scale: Scale,
}

/// What all benchmarks take.
#[derive(Args)]
struct Scale {
    /// Where to work: a fresh folder in here, removed at the end.
    #[arg(long, global = true, default_value = ".")]
    dir: PathBuf,
    /// Size of the data set: bytes, or with KiB, MiB or GiB.
    #[arg(long, global = true, default_value = "256MiB", value_parser = bytes)]
    size: usize,
    /// One JSON array on standard output, and nothing else there.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Bench {
    /// What one commit of scattered stores costs
    Commit {
        /// Pages changed by a commit
        #[arg(long, value_delimiter = ',', default_value = "1,16,256,4096", value_parser = positive)]
        pages: Vec<usize>,
        /// Rounds after the warm-up (default: by pages)
        #[arg(long, value_parser = positive)]
        rounds: Option<usize>,
        /// Only these systems
        #[arg(long, value_delimiter = ',')]
        systems: Vec<String>,
    },
    /// Commits a second, checkpoints included, and what reaches the disk
    Sustained {
        /// Seconds for each system and count of pages
        #[arg(long, default_value_t = 30)]
        seconds: u32,
        /// Pages changed by a commit
        #[arg(long, value_delimiter = ',', default_value = "16,256", value_parser = positive)]
        pages: Vec<usize>,
    },
    /// What the first store to a resident page costs
    FirstStore {
        /// Rounds (default: by pages)
        #[arg(long, value_parser = positive)]
        rounds: Option<usize>,
    },
    /// Reads of resident maps
    Load {
        /// Rounds after the warm-up
        #[arg(long, default_value = "31", value_parser = positive)]
        rounds: usize,
    },
    /// What the SIGBUS guard costs
    Guard {
        /// Rounds after the warm-up
        #[arg(long, default_value = "31", value_parser = positive)]
        rounds: usize,
    },
    /// Views of a 64 MiB and a 64 GiB sparse file
    Sparse {
        /// Rounds after the warm-up
        #[arg(long, default_value = "10", value_parser = positive)]
        rounds: usize,
    },
    /// Whether commits grow slower over time
    Decay {
        /// Commits in all
        #[arg(long, default_value_t = 100_000)]
        commits: usize,
    },
    /// Recovery of a file whose writer was killed
    Recovery {
        /// Rounds
        #[arg(long, default_value = "5", value_parser = positive)]
        rounds: usize,
    },
    /// What finding plain stores costs at the least
    Search {
        /// Rounds after the warm-up (default: by pages)
        #[arg(long, value_parser = positive)]
        rounds: Option<usize>,
    },
    /// Many writers on one device
    Threads {
        /// Writers at once
        #[arg(long, value_delimiter = ',', default_value = "1,2,4,8", value_parser = positive)]
        threads: Vec<usize>,
        /// Rounds after the warm-up
        #[arg(long, default_value = "5", value_parser = positive)]
        rounds: usize,
    },
    /// Memory above the data while commits go on
    Memory {
        /// Seconds in all
        #[arg(long, default_value_t = 20)]
        seconds: u32,
    },
    /// Opens of clean files
    Open {
        /// Rounds
        #[arg(long, default_value = "9", value_parser = positive)]
        rounds: usize,
    },
    /// Flushes of programs that were not made for it: Python, NumPy, Java, LMDB
    Programs {
        /// Pages changed by a flush
        #[arg(long, value_delimiter = ',', default_value = "1,16,256", value_parser = positive)]
        pages: Vec<usize>,
        /// Rounds: each starts every program once more, under each library
        #[arg(long, default_value = "3", value_parser = positive)]
        rounds: usize,
        /// Only these programs
        #[arg(long, value_delimiter = ',', value_enum)]
        only: Vec<::programs::Program>,
        /// The library to put under them (libsteadfast_preload.so); without it the kernel's mapping is timed alone
        #[arg(long, value_name = "PATH")]
        preload: Option<PathBuf>,
    },
    /// What is in memory of files: `steadfast stat` beside vmtouch and fincore
    Looks {
        /// Rounds after the warm-up
        #[arg(long, default_value = "11", value_parser = positive)]
        rounds: usize,
        /// Files of the tree
        #[arg(long, default_value = "100000", value_parser = positive)]
        files: usize,
        /// The command (default: `steadfast` beside this program)
        #[arg(long, value_name = "PATH")]
        command: Option<PathBuf>,
    },
    /// The machine, and how each system is set up
    About,
    /// The part of `recovery` that dies
    #[command(hide = true)]
    WriteUntilKilled { path: PathBuf },
}

/// What a benchmark found.
struct Outcome {
    rows: Vec<Row>,
    /// What a reader must know about them.
    notes: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let scale = &cli.scale;
    let machine = machine::describe(&scale.dir)?;
    let machine = machine.iter().map(|(name, value)| format!("{name}: {value}"));
    let mut notes: Vec<String> = machine.collect();
    let outcome = match &cli.bench {
        Bench::Commit { pages, rounds, systems } => benches::commit::run(scale, pages, *rounds, systems)?,
        Bench::Sustained { seconds, pages } => benches::sustained::run(scale, *seconds, pages)?,
        Bench::FirstStore { rounds } => benches::first_store::run(scale, *rounds)?,
        Bench::Load { rounds } => benches::load::run(scale, *rounds)?,
        Bench::Guard { rounds } => benches::guard::run(scale, *rounds)?,
        Bench::Sparse { rounds } => benches::sparse::run(scale, *rounds)?,
        Bench::Decay { commits } => benches::decay::run(scale, *commits)?,
        Bench::Recovery { rounds } => benches::recovery::run(scale, *rounds)?,
        Bench::Search { rounds } => benches::search::run(scale, *rounds)?,
        Bench::Threads { threads, rounds } => benches::threads::run(scale, threads, *rounds)?,
        Bench::Memory { seconds } => benches::memory::run(scale, *seconds)?,
        Bench::Open { rounds } => benches::open::run(scale, *rounds)?,
        Bench::Programs { pages, rounds, only, preload } => {
            benches::programs::run(scale, pages, *rounds, only, preload.as_deref())?
        }
        Bench::Looks { rounds, files, command } => {
            benches::looks::run(scale, *rounds, *files, command.as_deref())?
        }
        Bench::About => benches::about::run(scale)?,
        Bench::WriteUntilKilled { path } => return benches::recovery::write_until_killed(path),
    };
    notes.extend(outcome.notes);
    report::print(&outcome.rows, &notes, scale.json)
}

/// `256MiB` and the like.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        unit => return Err(format!("the unit {unit} is not known: use KiB, MiB or GiB")),
    };
    let number: usize = digits.parse().map_err(|_| format!("{text} is not a size"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is beyond the address space"))
}

/// A count of at least one: of none there is no median.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text} is not a count of at least 1")),
        Ok(count) => Ok(count),
    }
}
