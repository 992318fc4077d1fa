//! A simulated disk, at scale: random workloads, stopped where the seed says, and every image judged.

mod case;
mod figures;
mod going_on;
mod judge;
mod shrink;
#[cfg(test)]
mod tests;
mod walk;

use std::num::{NonZeroUsize, ParseIntError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::Args;
use steadfast::disk::SyncPoint;

use crate::outcome::Failure;
use crate::workload::Profile;
use case::{Case, case_seed};
use figures::Tally;
pub use figures::{Figures, OfProfile};
use walk::{Depth, Violation};

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the choices begin: the same seed, the same cases
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many states are to be recovered and judged
    #[arg(long, default_value_t = 1_000_000)]
    pub states: u64,
    /// How many threads do it; as many as there are processors if not given
    #[arg(long)]
    pub threads: Option<NonZeroUsize>,
    /// This case only, as it was tried before
    #[arg(long, value_name = "SEED", value_parser = number)]
    pub case: Option<u64>,
}

/// Decimal, or hexadecimal with 0x before it.
fn number(text: &str) -> Result<u64, ParseIntError> {
    text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16))
}

/// Tries it.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    if let Some(seed) = options.case {
        return one(seed);
    }
    let threads = options.threads.or_else(|| thread::available_parallelism().ok());
    attempt(options.seed, options.states, threads.map_or(1, NonZeroUsize::get))
}

/// Cases of this seed, until at least so many states were judged.
pub fn attempt(seed: u64, states: u64, threads: usize) -> Result<Figures, Failure> {
    let begun = Instant::now();
    let tallies = search(seed, states, threads, None)?.map_err(|found| told(&found.case, found.violation))?;
    Ok(Figures::new(seed, &tallies, begun.elapsed().as_secs_f64()))
}

/// One case once more, exactly as it was.
fn one(seed: u64) -> Result<Figures, Failure> {
    let begun = Instant::now();
    let case = Case::of_seed(seed);
    let tally = case.walk(Depth::ONE_OF_MANY).map_err(|violation| told(&case, violation))?;
    let tallies =
        Profile::ALL.map(|profile| if profile == case.workload.profile { tally } else { Tally::default() });
    Ok(Figures::new(seed, &tallies, begun.elapsed().as_secs_f64()))
}

/// By profile.
type Tallies = [Tally; Profile::ALL.len()];

/// A case that broke a promise.
#[derive(Debug)]
struct Found {
    number: u64,
    case: Case,
    violation: Violation,
}

/// Of several cases that break a promise, the one with the lowest number is returned, whoever was first.
fn search(
    seed: u64,
    states: u64,
    threads: usize,
    ignored: Option<SyncPoint>,
) -> Result<Result<Tallies, Box<Found>>, Failure> {
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut tallies = Tallies::default();
        while done.load(Ordering::Relaxed) < states && !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let case = Case { ignored, ..Case::of_seed(case_seed(seed, number)) };
            match case.walk(Depth::ONE_OF_MANY) {
                Ok(tally) => {
                    done.fetch_add(tally.states, Ordering::Relaxed);
                    tallies[(number % Profile::ALL.len() as u64) as usize].add(tally);
                }
                Err(violation) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(Box::new(Found { number, case, violation }));
                }
            }
        }
        Ok(tallies)
    };
    let results = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join()).collect::<Result<Vec<_>, _>>()
    });
    let results = results.map_err(|_| Failure::Rig("a worker of the simulation panicked".into()))?;
    let mut all = Tallies::default();
    let mut first: Option<Box<Found>> = None;
    for result in results {
        match result {
            Ok(tallies) => all.iter_mut().zip(tallies).for_each(|(all, more)| all.add(more)),
            Err(found) if first.as_ref().is_none_or(|first| found.number < first.number) => {
                first = Some(found)
            }
            Err(_) => {}
        }
    }
    Ok(first.map_or(Ok(all), Err))
}

/// A violation with all that is needed to see it again.
fn told(case: &Case, violation: Violation) -> Failure {
    let seen = violation.to_string();
    let steps = case.workload.steps.len();
    let shrunk = shrink::shrink(case, violation);
    Failure::Violation(format!(
        "simulated disk, case {seed:#x} ({profile}): {seen}\n\
         replay: crashlab sim --case {seed:#x}\n\
         {steps} steps were shrunk to {} ({} tries):\n{}\n  {}\n  its operations: {}",
        shrunk.case.workload.steps.len(),
        shrunk.tries,
        shrunk.text(),
        shrunk.violation,
        shrunk.case.trace(shrunk.violation.stop).join(", "),
        seed = case.seed,
        profile = case.workload.profile,
    ))
}
