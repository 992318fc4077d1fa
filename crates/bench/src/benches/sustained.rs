//! Commits a second over a long run, checkpoints included, and what reaches the disk for each byte changed.

use std::time::{Duration, Instant};

use crate::data::{self, Random};
use crate::disk::{Ground, WriteMeter};
use crate::peers::{self, System};
use crate::report::Row;
use crate::{Outcome, Result, Scale};

const SYSTEMS: [&str; 7] =
    ["steadfast-declared", "steadfast-stores", "memmap2", "memmap2-random", "lmdb", "redb", "sqlite-wal"];

/// Each system runs twice, the second time in reverse order: a machine that grows slower meanwhile is nobody's advantage.
const LAPS: u32 = 2;

#[derive(Default)]
struct Tally {
    commits: u64,
    time: Duration,
    disk_bytes: u64,
}

pub(crate) fn run(scale: &Scale, seconds: u32, pages: &[usize]) -> Result<Outcome> {
    let systems = peers::select(&SYSTEMS.map(str::to_owned))?;
    let mut rows = Vec::new();
    let mut source = "";
    for &pages in pages {
        let mut tallies: Vec<Tally> = systems.iter().map(|_| Tally::default()).collect();
        let mut refused: Vec<Option<String>> = vec![None; systems.len()];
        for lap in 0..LAPS {
            let forwards = 0..systems.len();
            let order: Vec<usize> = if lap % 2 == 0 { forwards.collect() } else { forwards.rev().collect() };
            for index in order {
                let time = Duration::from_secs(seconds.into()) / LAPS;
                match one_lap(scale, systems[index], pages, time, &mut tallies[index])? {
                    Lap::Done(meter) => source = meter,
                    Lap::Refused(reason) => refused[index] = Some(reason),
                }
            }
        }
        let per_second = |tally: &Tally| tally.commits as f64 / tally.time.as_secs_f64();
        let memmap2 = systems.iter().position(|system| system.name == "memmap2");
        let memmap2 = memmap2.map(|index| per_second(&tallies[index]));
        for ((system, tally), reason) in systems.iter().zip(&tallies).zip(refused) {
            let row = Row::new("sustained", system.name).with("pages", pages);
            rows.push(match reason {
                Some(reason) => row.with("note", reason),
                None => {
                    let disk_bytes = tally.disk_bytes as f64 / tally.commits as f64;
                    row.figure("commits_per_s", per_second(tally))
                        .figure_if("vs_memmap2", memmap2.map(|memmap2| per_second(tally) / memmap2))
                        .figure("disk_bytes_per_commit", disk_bytes)
                        .figure("disk_bytes_per_changed_byte", disk_bytes / (8 * pages) as f64)
                        .with("commits", tally.commits)
                }
            });
        }
    }
    let mut notes = peers::setups(&systems);
    notes.push(format!(
        "Commits a second over {seconds} s in {LAPS} laps; the time includes the stores, and the final checkpoint and close."
    ));
    notes.push(format!(
        "Bytes on the disk are {source}, up to the end of a sync of the file system; changed bytes are 8 for each store, for the \
         databases too."
    ));
    Ok(Outcome { rows, notes })
}

enum Lap {
    /// Where the bytes on the disk were counted.
    Done(&'static str),
    Refused(String),
}

/// A fresh data set each lap: no system inherits the holes and the fragments of an earlier one.
fn one_lap(scale: &Scale, system: &System, pages: usize, time: Duration, tally: &mut Tally) -> Result<Lap> {
    let ground = Ground::new(&scale.dir, scale.size, pages)?;
    let meter = WriteMeter::of(ground.folder())?;
    let mut entry = match peers::open(system, &ground) {
        Ok(entry) => entry,
        Err(reason) => return Ok(Lap::Refused(reason)),
    };
    let in_system = |error| format!("{}: {error}", system.name);
    let mut random = Random::new(pages as u64);
    for _ in 0..10 {
        let edits = data::scattered(&mut random, ground.len, pages)?;
        entry.peer.commit(&edits).map_err(in_system)?;
    }
    ground.settle()?;
    let written_before = meter.bytes()?;
    let mut spent = Duration::ZERO;
    while spent < time {
        // Which pages is decided outside the timing.
        let edits = data::scattered(&mut random, ground.len, pages)?;
        let lap = entry.peer.commit(&edits).map_err(in_system)?;
        spent += lap.stores + lap.commit;
        tally.commits += 1;
    }
    let closing = Instant::now();
    entry.peer.close().map_err(in_system)?;
    tally.time += spent + closing.elapsed();
    ground.settle()?;
    tally.disk_bytes += meter.bytes()?.saturating_sub(written_before);
    Ok(Lap::Done(meter.source()))
}
