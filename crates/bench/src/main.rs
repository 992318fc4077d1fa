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
mod report;
mod shared_map;
mod stats;

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
        #[arg(long, value_delimiter = ',', default_value = "1,16,256,4096")]
        pages: Vec<usize>,
        /// Rounds after the warm-up (default: by pages)
        #[arg(long)]
        rounds: Option<usize>,
        /// Only these systems
        #[arg(long, value_delimiter = ',')]
        systems: Vec<String>,
    },
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
