//! Many writers on one device: all at once, beside the same commits one after another.

use std::thread;
use std::time::{Duration, Instant};

use steadfast::AtomicMapping;

use crate::data::{self, Edit, Random};
use crate::disk::Ground;
use crate::peers::steadfast::{Base, Stores, open_map, store};
use crate::report::Row;
use crate::{Outcome, Result, Scale};
use steadfast_cli::statistics::Samples;

/// Each writer's own data set.
const FILE_BYTES: usize = 16 << 20;

const PAGES: usize = 16;

/// Commits of each writer in one timing.
const COMMITS: usize = 200;

/// With tickets, so many commits share a wait.
const TICKETS: usize = 8;

#[derive(Clone, Copy)]
enum Commit {
    Now,
    Ticket,
}

struct Writer {
    map: AtomicMapping,
    random: Random,
}

pub(crate) fn run(scale: &Scale, threads: &[usize], rounds: usize) -> Result<Outcome> {
    let ground = Ground::new(&scale.dir, FILE_BYTES, PAGES)?;
    let most = threads.iter().copied().max().unwrap_or(1);
    let mut writers = (0..most)
        .map(|number| {
            let map = open_map(&ground.data_file(&format!("writer-{number}"))?, Base::Load)?;
            Ok(Writer { map, random: Random::new(number as u64) })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut rows = Vec::new();
    for (commit, system) in [(Commit::Now, "steadfast-commit"), (Commit::Ticket, "steadfast-commit-async")] {
        for &count in threads {
            let writers = &mut writers[..count];
            let mut together = Samples::default();
            let mut in_turn = Samples::default();
            // The first round warms up.
            for round in 0..=rounds {
                let times = (all_together(writers, commit)?, one_after_another(writers, commit)?);
                ground.settle()?;
                if round > 0 {
                    together.add(times.0);
                    in_turn.add(times.1);
                }
            }
            rows.push(
                Row::new("threads", system)
                    .with("threads", count)
                    .figure("together_us", together.p50())
                    .figure("one_after_another_us", in_turn.p50())
                    .figure("vs_one_after_another", together.p50() / in_turn.p50())
                    .figure("commits_per_s", 1e6 * (count * COMMITS) as f64 / together.p50()),
            );
        }
    }
    for writer in writers {
        writer.map.close()?;
    }
    let notes = vec![
        format!("Each thread has a map of its own and makes {COMMITS} commits of {PAGES} declared edits."),
        format!("steadfast-commit-async waits for its tickets after every {TICKETS} commits."),
    ];
    Ok(Outcome { rows, notes })
}

fn all_together(writers: &mut [Writer], commit: Commit) -> Result<Duration> {
    let work: Vec<_> = writers.iter_mut().map(prepare).collect::<Result<_>>()?;
    let start = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = work
            .iter()
            .zip(&mut *writers)
            .map(|(work, writer)| scope.spawn(|| write(&mut writer.map, work, commit)))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a writer panicked")?)
    })?;
    Ok(start.elapsed())
}

fn one_after_another(writers: &mut [Writer], commit: Commit) -> Result<Duration> {
    let work: Vec<_> = writers.iter_mut().map(prepare).collect::<Result<_>>()?;
    let start = Instant::now();
    for (work, writer) in work.iter().zip(writers) {
        write(&mut writer.map, work, commit)?;
    }
    Ok(start.elapsed())
}

/// What a writer will store, decided outside the timing.
fn prepare(writer: &mut Writer) -> Result<Vec<Vec<Edit>>> {
    (0..COMMITS).map(|_| data::scattered(&mut writer.random, FILE_BYTES, PAGES)).collect()
}

fn write(map: &mut AtomicMapping, work: &[Vec<Edit>], commit: Commit) -> Result<()> {
    match commit {
        Commit::Now => {
            for edits in work {
                store(map, Stores::Declared, edits)?;
                map.commit()?;
            }
        }
        Commit::Ticket => {
            for some in work.chunks(TICKETS) {
                let mut tickets = Vec::with_capacity(TICKETS);
                for edits in some {
                    store(map, Stores::Declared, edits)?;
                    tickets.push(map.commit_async()?);
                }
                for ticket in tickets {
                    ticket.wait()?;
                }
            }
        }
    }
    Ok(())
}
