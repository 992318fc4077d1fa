//! The library with one of its steps or checks left out: the suite must notice, whichever it is.
//!
//! `crashlab mutate` builds this program anew with the feature `mutate`, in which every sync, check and step of an order is a switch,
//! asks it for the list, and starts it once for each switch with that one out. The list is the code's own.

mod children;
mod report;
mod scenarios;
mod suite;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::outcome::Failure;
pub use report::Figures;
pub use suite::Suite;

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the choices begin: the same seed, the same run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only switches whose names contain this; may be given more than once
    #[arg(long)]
    pub only: Vec<String>,
    /// Only switches of this kind
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,
    /// Only every so-many-th switch
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: u64,
    /// Who is to notice
    #[arg(long, value_enum, default_value = "scenarios")]
    pub by: Suite,
    /// How much the suite tries
    #[arg(long, default_value_t = 1)]
    pub dose: u64,
    /// What the program that was built anew is asked for.
    #[arg(long, hide = true)]
    child: Option<children::Task>,
}

/// What a switch leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
pub enum Kind {
    /// A sync
    Sync,
    /// A step of an order
    Step,
    /// A condition, which is taken for granted
    Check,
}

/// A switch, as the program that has it tells of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Switch {
    /// Its name.
    pub name: String,
    /// What it leaves out.
    pub kind: Kind,
    /// File and line.
    pub place: String,
}

/// Leaves out one after the other, and runs the suite.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    if let Some(task) = options.child {
        return children::answer(task, options);
    }
    let program = children::build()?;
    let mut switches = children::switches(&program)?;
    let in_code = switches.len();
    let only = &options.only;
    switches.retain(|switch| only.is_empty() || only.iter().any(|part| switch.name.contains(part.as_str())));
    switches.retain(|switch| options.kind.is_none_or(|kind| kind == switch.kind));
    let mut count = 0;
    switches.retain(|_| {
        count += 1;
        (count - 1) % options.sample == 0
    });
    if switches.is_empty() {
        return Err(Failure::Rig(format!("none of the {in_code} switches is as asked for")));
    }
    // What fails by itself would catch everything.
    let whole = children::try_one(&program, None, None, options)?;
    if !matches!(whole.end, children::End::Passed) {
        return Err(Failure::Rig(format!("the suite fails with nothing left out: {whole:?}")));
    }
    let tried = children::try_all(&program, &switches, &whole, options)?;
    let mut figures = Figures::new(options, in_code, tried.len());
    for (switch, attempt) in switches.into_iter().zip(tried) {
        figures.add(switch, attempt);
    }
    if figures.missed.is_empty() {
        return Ok(figures);
    }
    Err(Failure::Violation(figures.to_string()))
}
