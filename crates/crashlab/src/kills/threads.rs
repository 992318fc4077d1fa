//! A program with four threads and a map in each, killed.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::child::{Fork, Job};
use super::judge::{By, Ear, Heard, history, judge};
use super::process::{Moment, Process};
use super::script::Script;
use super::tally::Tally;
use super::{Run, rig, violation};
use crate::outcome::Failure;

const THREADS: usize = 4;
pub(super) const COMMITS: usize = 40;
const PAGES_MAX: usize = 24;

/// Kills it once, and judges every map.
pub(super) fn run(run: &mut Run<'_>, tally: &mut Tally) -> Result<(), Failure> {
    let scripts = write_files(run)?;
    let started = Instant::now();
    let mut child = start(run, &scripts, None)?;
    let share = run.share();
    let behind = run.random.random_range(1..COMMITS * THREADS * 2 / 3);
    let moment = match run.number % 3 {
        // The first is left alone: so the others know how long it takes.
        _ if tally.usual.is_zero() => Moment::Behind(usize::MAX, Duration::ZERO),
        0 => Moment::After(tally.usual.mul_f64(share)),
        1 => Moment::Behind(behind, Duration::ZERO),
        _ => Moment::Behind(behind, (tally.usual / COMMITS as u32).mul_f64(share)),
    };
    let mut ear = Ear::new(THREADS);
    child.until(moment, |line| ear.hear(line))?;
    let killed = child.kill()?;
    let over_after = started.elapsed();
    ear.hear_rest(&child.output.rest()?)?;
    tally.killed_mid_run += u64::from(killed);
    if !killed {
        tally.usual = if tally.usual.is_zero() { over_after } else { (tally.usual + over_after) / 2 };
        if !ear.files.iter().all(|file| file.closed && file.begun == COMMITS) {
            return violation("it ended well and has not closed all maps");
        }
    }
    judge_all(run, &scripts, &ear.files, tally)
}

/// The four files, plain.
pub(super) fn write_files(run: &mut Run<'_>) -> Result<Vec<Script>, Failure> {
    let seed = run.random.random();
    let scripts: Vec<Script> = (0..THREADS).map(|map| Script { seed, map, pages_max: PAGES_MAX }).collect();
    for script in &scripts {
        std::fs::write(run.folder.join(script.name()), script.initial()).map_err(rig("a file"))?;
    }
    Ok(scripts)
}

/// Starts the program.
pub(super) fn start(run: &Run<'_>, scripts: &[Script], fork: Option<Fork>) -> Result<Process, Failure> {
    let (folder, scripts) = (run.folder.to_owned(), scripts.to_vec());
    Process::with_job(run.program, &Job::Threads { folder, scripts, commits: COMMITS, fork })
}

/// Recovers and judges every map.
pub(super) fn judge_all(
    run: &mut Run<'_>,
    scripts: &[Script],
    heard: &[Heard],
    tally: &mut Tally,
) -> Result<(), Failure> {
    for (script, &heard) in scripts.iter().zip(heard) {
        let by = if run.random.random() { By::Opening } else { By::Recovering };
        judge(&run.folder.join(script.name()), &history(script, heard), by, run.spoil, tally)?;
    }
    Ok(())
}
