//! What the first store to a resident page costs: a fault, and what the fault does.

use std::time::Instant;

use steadfast::AtomicMapping;

use crate::data::{self, Edit, PAGE_BYTES, Random};
use crate::disk::{Ground, drop_from_cache};
use crate::peers::steadfast::{Base, Stores, open_map, store};
use crate::report::Row;
use crate::shared_map::SharedMap;
use crate::{Outcome, Result, Scale};
use steadfast_cli::statistics::{Samples, micros};

const PAGES: [usize; 3] = [16, 256, 4096];

/// How pages stand when they are stored to.
const WHEN: [&str; 2] = ["first-touch", "after-commit"];

/// One way to store, with its time for each page: at the first touch, and again after a commit.
struct Way {
    name: &'static str,
    map: AtomicMapping,
    stores: Stores,
    per_page: [Samples; 2],
}

pub(crate) fn run(scale: &Scale, rounds: Option<usize>) -> Result<Outcome> {
    let ground = Ground::new(&scale.dir, scale.size, 0)?;
    let mut shared =
        [open_shared(&ground, "map-shared", false)?, open_shared(&ground, "map-shared-random", true)?];
    let ways = [
        ("steadfast-stores", Base::Load, Stores::Plain),
        ("steadfast-declared", Base::Load, Stores::Declared),
        ("steadfast-view-stores", Base::View, Stores::Plain),
        ("steadfast-view-declared", Base::View, Stores::Declared),
    ];
    let mut ways = ways
        .into_iter()
        .map(|(name, base, stores)| {
            let map = open_map(&ground.data_file(name)?, base)?;
            data::touch(&map);
            Ok(Way { name, map, stores, per_page: Default::default() })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut random = Random::new(1);
    // Each page is touched first only once.
    let mut fresh = random.permutation(ground.len / PAGE_BYTES).into_iter();
    let mut rows = Vec::new();
    for pages in PAGES {
        let rounds = rounds.unwrap_or(match pages {
            0..=16 => 60,
            17..=256 => 30,
            _ => 8,
        });
        let mut after_msync: [Samples; 2] = Default::default();
        for way in &mut ways {
            way.per_page = Default::default();
        }
        for _ in 0..rounds {
            let edits: Vec<Edit> =
                fresh.by_ref().take(pages).map(|page| data::within(&mut random, page)).collect();
            if edits.len() < pages {
                break;
            }
            for when in 0..WHEN.len() {
                for ((_, shared), samples) in shared.iter_mut().zip(&mut after_msync) {
                    let start = Instant::now();
                    let bytes = shared.bytes_mut();
                    edits.iter().for_each(|edit| edit.store(bytes));
                    samples.push(micros(start.elapsed()) / pages as f64);
                    shared.sync()?;
                }
                for way in &mut ways {
                    let start = Instant::now();
                    store(&mut way.map, way.stores, &edits)?;
                    way.per_page[when].push(micros(start.elapsed()) / pages as f64);
                    way.map.commit()?;
                }
                ground.settle()?;
            }
        }
        if after_msync[0].count() == 0 {
            let note = "the data set has too few pages: ask for a larger --size";
            rows.push(Row::new("first-store", "all").with("pages", pages).with("note", note));
            continue;
        }
        let base = after_msync[0].p50();
        for ((name, _), samples) in shared.iter().zip(&after_msync) {
            let row = Row::new("first-store", name).with("pages", pages).with("when", "after-msync");
            rows.push(row.figure("p50_us_per_page", samples.p50()).figure("vs_shared", samples.p50() / base));
        }
        for way in &ways {
            for (when, samples) in WHEN.into_iter().zip(&way.per_page) {
                let row = Row::new("first-store", way.name).with("pages", pages).with("when", when);
                let p50 = samples.p50();
                rows.push(row.figure("p50_us_per_page", p50).figure("vs_shared", p50 / base));
            }
        }
    }
    for way in ways {
        way.map.close()?;
    }
    let notes = vec![
        "One store of 8 bytes to each of so many random resident pages; the time of all, divided by the pages.".to_owned(),
        "first-touch: never stored to since the open; after-commit: stored to, committed, and stored to again.".to_owned(),
        "map-shared: MAP_SHARED, stored to and synced with msync before; map-shared-random: the same over a file that was not in the page \
         cache, with MADV_RANDOM, so that its folios are single pages. vs_shared is against the former."
            .to_owned(),
    ];
    Ok(Outcome { rows, notes })
}

/// A shared map of which every page was stored to and synced: each first store from here on comes after an msync.
fn open_shared(ground: &Ground, name: &'static str, random: bool) -> Result<(&'static str, SharedMap)> {
    let path = ground.data_file(name)?;
    if random {
        drop_from_cache(&path)?;
    }
    let mut map = SharedMap::open(&path)?;
    if random {
        map.expect_random()?;
    }
    map.bytes_mut().iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = byte.wrapping_add(1));
    map.sync()?;
    Ok((name, map))
}
