//! How systems are measured beside each other.
//!
//! A *round* gives each system a *burst* of commits with the same stores in the same order; the system that begins moves on by
//! one each round. So whatever else the machine does falls on all of them alike. The first round is a warm-up and is thrown away.
//! After each burst the file system is synced, outside the timing: what one system left in the page cache is not written
//! while the next one is timed.

use std::time::{Duration, Instant};

use crate::Result;
use crate::data::{self, Random};
use crate::disk::{Ground, WriteMeter};
use crate::peers::Peer;
use steadfast_cli::statistics::Samples;

/// A burst ends after this time however few commits it had: a slow system would only say the same again.
const BURST_TIME_MAX: Duration = Duration::from_millis(400);

/// The two parts of one commit.
pub(crate) struct Lap {
    /// The stores before it; for a database, the updates of the transaction.
    pub(crate) stores: Duration,
    /// The commit or flush alone.
    pub(crate) commit: Duration,
}

impl Lap {
    /// Times first the stores, then the commit of what they return.
    pub(crate) fn of<T>(
        stores: impl FnOnce() -> Result<T>,
        commit: impl FnOnce(T) -> Result<()>,
    ) -> Result<Lap> {
        let start = Instant::now();
        let stored = stores()?;
        let between = Instant::now();
        commit(stored)?;
        Ok(Lap { stores: between - start, commit: between.elapsed() })
    }
}

/// One system under test, and its timings.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) peer: Box<dyn Peer>,
    pub(crate) stores: Samples,
    pub(crate) commits: Samples,
    /// Flushes of the device meanwhile, where it counts them.
    pub(crate) flushes: Option<u64>,
}

impl Entry {
    pub(crate) fn new(name: &'static str, peer: Box<dyn Peer>) -> Entry {
        Entry { name, peer, stores: Samples::default(), commits: Samples::default(), flushes: None }
    }
}

/// How often everything is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) burst: usize,
}

impl Effort {
    /// Enough for a steady median; fewer where each commit takes long.
    pub(crate) fn for_pages(pages: usize, rounds: Option<usize>) -> Effort {
        let (usual, burst) = match pages {
            0..=16 => (12, 20),
            17..=256 => (8, 10),
            _ => (6, 4),
        };
        Effort { rounds: rounds.unwrap_or(usual), burst }
    }
}

/// Commits of `pages` stores each, in rounds. Earlier timings are forgotten.
pub(crate) fn measure(entries: &mut [Entry], ground: &Ground, pages: usize, effort: Effort) -> Result<()> {
    for entry in &mut *entries {
        (entry.stores, entry.commits, entry.flushes) = (Samples::default(), Samples::default(), None);
    }
    let meter = WriteMeter::of(ground.folder())?;
    let mut random = Random::new(pages as u64);
    let count = entries.len();
    for round in 0..=effort.rounds {
        let warm_up = round == 0;
        let burst = (0..effort.burst)
            .map(|_| data::scattered(&mut random, ground.len, pages))
            .collect::<Result<Vec<_>>>()?;
        for turn in 0..count {
            let entry = &mut entries[(round + turn) % count];
            let flushes_before = meter.flushes()?;
            let start = Instant::now();
            for edits in &burst {
                let lap = entry.peer.commit(edits).map_err(|error| format!("{}: {error}", entry.name))?;
                if !warm_up {
                    entry.stores.add(lap.stores);
                    entry.commits.add(lap.commit);
                }
                if start.elapsed() > BURST_TIME_MAX {
                    break;
                }
            }
            if let (Some(before), Some(after), false) = (flushes_before, meter.flushes()?, warm_up) {
                *entry.flushes.get_or_insert(0) += after - before;
            }
            ground.settle()?;
        }
    }
    Ok(())
}
