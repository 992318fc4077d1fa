//! Memory above the data while commits go on, beside its bound.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::data::{self, PAGE_BYTES, Random};
use crate::disk::Ground;
use crate::peers::steadfast::{Base, Stores, open_map};
use crate::report::Row;
use crate::{Outcome, Result, Scale, process};

const PAGES: usize = 256;

/// Above twice the bytes committed since the last checkpoint.
const ALLOWANCE_BYTES: u64 = 16 << 20;

pub(crate) fn run(scale: &Scale, seconds: u32) -> Result<Outcome> {
    let mut rows = Vec::new();
    for (system, stores) in [("steadfast-declared", Stores::Declared), ("steadfast-stores", Stores::Plain)] {
        rows.push(one(scale, system, stores, Duration::from_secs(seconds.into()) / 2)?);
    }
    let notes = vec![
        format!("Commits of {PAGES} whole random pages to a load map; whole pages, so that bytes committed and pages changed agree."),
        "Memory is private pages (RssAnon, VmSwap), memory files (all their blocks, mapped or not) and page tables (VmPTE), less what \
         the harness had before the open, less the data."
            .to_owned(),
        format!("The bound is twice the bytes committed since the last checkpoint, plus {ALLOWANCE_BYTES}."),
    ];
    Ok(Outcome { rows, notes })
}

/// The moment at which memory came nearest to its bound, or went furthest beyond.
#[derive(Clone, Copy, Default)]
struct Peak {
    above_bytes: u64,
    bound_bytes: u64,
}

impl Peak {
    fn fill(self) -> f64 {
        self.above_bytes as f64 / self.bound_bytes as f64
    }
}

fn one(scale: &Scale, system: &str, stores: Stores, time: Duration) -> Result<Row> {
    let ground = Ground::new(&scale.dir, scale.size, PAGES)?;
    let path = ground.data_file(system)?;
    let before = in_use()?;
    let mut map = open_map(&path, Base::Load)?;
    let mut random = Random::new(7);
    let mut page = vec![0; PAGE_BYTES];
    let mut since_checkpoint = VecDeque::new();
    let (mut nearest, mut peak_bytes, mut commits) = (Peak::default(), 0, 0u64);
    let start = Instant::now();
    while start.elapsed() < time {
        random.fill(&mut page);
        for edit in data::scattered(&mut random, ground.len, PAGES)? {
            let at = edit.offset / PAGE_BYTES * PAGE_BYTES;
            match stores {
                Stores::Declared => map.write_at(at, &page)?,
                Stores::Plain => map[at..at + PAGE_BYTES].copy_from_slice(&page),
            }
        }
        since_checkpoint.push_back(map.commit()?);
        commits += 1;
        // Asked before the checkpoint's progress: what is freed in between only makes the bound smaller.
        let above_bytes = in_use()?.saturating_sub(before + ground.len as u64);
        let checkpointed = map.status().checkpointed;
        while since_checkpoint.front().is_some_and(|id| *id <= checkpointed) {
            since_checkpoint.pop_front();
        }
        let committed = (since_checkpoint.len() * PAGES * PAGE_BYTES) as u64;
        let now = Peak { above_bytes, bound_bytes: 2 * committed + ALLOWANCE_BYTES };
        peak_bytes = peak_bytes.max(above_bytes);
        if nearest.bound_bytes == 0 || now.fill() > nearest.fill() {
            nearest = now;
        }
    }
    map.close()?;
    Ok(Row::new("memory", system)
        .with("pages", PAGES)
        .with("commits", commits)
        .with("peak_bytes", peak_bytes)
        .with("nearest_bytes", nearest.above_bytes)
        .with("nearest_bound_bytes", nearest.bound_bytes)
        .figure("vs_bound", nearest.fill()))
}

fn in_use() -> Result<u64> {
    let kib =
        process::status_kib("RssAnon")? + process::status_kib("VmSwap")? + process::status_kib("VmPTE")?;
    Ok(kib * 1024 + process::memory_file_bytes()?)
}
