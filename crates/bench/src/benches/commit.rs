//! What one commit costs, beside the limits and the peers.

use crate::data::PAGE_BYTES;
use crate::disk::Ground;
use crate::harness::{self, Effort, Entry};
use crate::peers;
use crate::report::Row;
use crate::{Outcome, Result, Scale};

/// Measures every system at every count of pages.
pub(crate) fn run(
    scale: &Scale,
    pages: &[usize],
    rounds: Option<usize>,
    systems: &[String],
) -> Result<Outcome> {
    let systems = peers::select(systems)?;
    let pages_max = pages.iter().copied().max().unwrap_or(1);
    let ground = Ground::new(&scale.dir, scale.size, pages_max)?;
    let mut refused = Vec::new();
    let mut entries = Vec::new();
    for &system in &systems {
        match peers::open(system, &ground) {
            Ok(entry) => entries.push(entry),
            Err(reason) => refused.push((system.name, reason)),
        }
    }
    let mut rows = Vec::new();
    for &pages in pages {
        harness::measure(&mut entries, &ground, pages, Effort::for_pages(pages, rounds))?;
        for system in &systems {
            let entry = entries.iter().find(|entry| entry.name == system.name);
            let row = Row::new("commit", system.name).with("pages", pages);
            rows.push(match entry {
                Some(entry) => measured(row, &entries, entry),
                None => {
                    let reason = refused.iter().find(|(name, _)| *name == system.name);
                    row.with("note", reason.map_or("", |(_, reason)| reason.as_str()))
                }
            });
        }
    }
    for entry in entries {
        entry.peer.close().map_err(|error| format!("{}: close: {error}", entry.name))?;
    }
    let mut notes = peers::setups(&systems);
    notes.push(format!(
        "Stores are of 8 bytes, one in each of so many random pages of {PAGE_BYTES} bytes; for the databases, updates of so many \
         random records of 256 bytes, one from each of those pages. The data, {} bytes, was loaded and read before.",
        scale.size
    ));
    notes.push("flushes_per_commit counts all flushes of the device meanwhile, other programs' and checkpoints' too.".to_owned());
    notes.push("p50_us and p99_us are the commit alone, store_p50_us the stores before it.".to_owned());
    notes.push(
        "Between bursts the file system is synced, outside the timing, so that nobody pays for another's write-back."
            .to_owned(),
    );
    Ok(Outcome { rows, notes })
}

fn measured(row: Row, entries: &[Entry], entry: &Entry) -> Row {
    let of = |name: &str| entries.iter().find(|entry| entry.name == name).map(|entry| entry.commits.p50());
    // The faster of two ways to do the least that must be done.
    let faster = |names: [&str; 2]| names.into_iter().filter_map(of).min_by(f64::total_cmp);
    let p50 = entry.commits.p50();
    let slower_than = |least: Option<f64>| least.map(|least| p50 / least);
    let faster_than = |other: Option<f64>| other.map(|other| other / p50);
    row.figure("p50_us", p50)
        .figure("p99_us", entry.commits.p99())
        .figure("store_p50_us", entry.stores.p50())
        .with("samples", entry.commits.count())
        .figure_if(
            "flushes_per_commit",
            entry.flushes.map(|flushes| flushes as f64 / entry.commits.count() as f64),
        )
        .figure_if("vs_limit", slower_than(faster(["limit-buffered", "limit-direct"])))
        .figure_if("vs_full_pages", slower_than(faster(["full-pages-buffered", "full-pages-direct"])))
        .figure_if("vs_msync", faster_than(of("msync")))
        .figure_if("vs_memmap2", faster_than(of("memmap2")))
        .figure_if("vs_memmap2_random", faster_than(of("memmap2-random")))
}
