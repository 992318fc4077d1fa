//! Whether the size of a sparse file matters: a view of 64 GiB beside one of 64 MiB, with as many pages of data in each.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use steadfast::AtomicMapping;

use crate::data::{Edit, PAGE_BYTES, Random};
use crate::disk::Ground;
use crate::peers::steadfast::{Base, Stores, open_map, store};
use crate::report::Row;
use crate::{Outcome, Result, Scale, process};
use steadfast_cli::statistics::{Samples, micros};

/// Pages of data in either file: the small one is full, the large one has a page in every 4 MiB.
const SLOTS: usize = 1 << 14;

const FILES: [(&str, usize); 2] = [("64 MiB", SLOTS * PAGE_BYTES), ("64 GiB", 1 << 36)];

const PAGES: [usize; 2] = [1, 16];

const BURST: usize = 10;

struct View {
    /// Bytes from one page of data to the next.
    stride: usize,
    map: AtomicMapping,
    commits: Samples,
}

pub(crate) fn run(scale: &Scale, rounds: usize) -> Result<Outcome> {
    let ground = Ground::new(&scale.dir, scale.size, 0)?;
    let mut rows = Vec::new();
    for (stores, system) in
        [(Stores::Declared, "steadfast-view-declared"), (Stores::Plain, "steadfast-view-stores")]
    {
        let paths: Vec<PathBuf> = FILES
            .iter()
            .map(|(_, len)| {
                let path = ground.path(&format!("{system}-{len}"));
                write_slots(&path, *len)?;
                Ok(path)
            })
            .collect::<Result<_>>()?;
        rows.extend(measure(&ground, &paths, stores, system, rounds)?);
    }
    let notes = vec![
        format!(
            "Views of two files with {SLOTS} written pages each; stores go to these pages only, in both files in the same order."
        ),
        "Before the commits that count every page was stored to once (with 1 page a commit, a sixteenth of them); first_touch_p50_us \
         is the median of those commits."
            .to_owned(),
        "open_us and page_tables_kib are of the first open and of all that was done, one figure for each file; vs_small is the ratio \
         of the medians."
            .to_owned(),
    ];
    Ok(Outcome { rows, notes })
}

fn measure(
    ground: &Ground,
    paths: &[PathBuf],
    stores: Stores,
    system: &'static str,
    rounds: usize,
) -> Result<Vec<Row>> {
    let mut opens = Vec::new();
    let mut views = Vec::new();
    let mut tables_kib = Vec::new();
    for (path, (_, len)) in paths.iter().zip(FILES) {
        let before = process::status_kib("VmPTE")?;
        let start = Instant::now();
        let map = open_map(path, Base::View)?;
        opens.push(micros(start.elapsed()));
        tables_kib.push(process::status_kib("VmPTE")?.saturating_sub(before));
        views.push(View { stride: len / SLOTS, map, commits: Samples::default() });
    }
    let mut rows = Vec::new();
    let mut random = Random::new(3);
    for pages in PAGES {
        let first = first_touch(ground, &mut views, &mut tables_kib, stores, &mut random, pages)?;
        for view in &mut views {
            view.commits = Samples::default();
        }
        for round in 0..=rounds {
            let mut draw = || (random.below(SLOTS), random.next());
            let burst: Vec<Vec<(usize, u64)>> =
                (0..BURST).map(|_| (0..pages).map(|_| draw()).collect()).collect();
            for turn in 0..views.len() {
                let index = (round + turn) % views.len();
                let view = &mut views[index];
                let before = process::status_kib("VmPTE")?;
                for stored in &burst {
                    let edit = |&(slot, value): &(usize, u64)| Edit { offset: slot * view.stride, value };
                    let edits: Vec<Edit> = stored.iter().map(edit).collect();
                    store(&mut view.map, stores, &edits)?;
                    let start = Instant::now();
                    view.map.commit()?;
                    if round > 0 {
                        view.commits.add(start.elapsed());
                    }
                }
                tables_kib[index] += process::status_kib("VmPTE")?.saturating_sub(before);
                ground.settle()?;
            }
        }
        let small = views[0].commits.p50();
        for (index, view) in views.iter().enumerate() {
            let p50 = view.commits.p50();
            rows.push(
                Row::new("sparse", system)
                    .with("file", FILES[index].0)
                    .with("pages", pages)
                    .figure("p50_us", p50)
                    .figure("p99_us", view.commits.p99())
                    .figure("vs_small", p50 / small)
                    .figure("first_touch_p50_us", first[index])
                    .figure("open_us", opens[index])
                    .with("page_tables_kib", tables_kib[index]),
            );
        }
    }
    for view in views {
        view.map.close()?;
    }
    Ok(rows)
}

/// Every page of data is stored to once, before anything is counted: how many blocks a file has is not what is compared, and the
/// store learns of them page by page. The median of these commits is told apart.
fn first_touch(
    ground: &Ground,
    views: &mut [View],
    tables_kib: &mut [u64],
    stores: Stores,
    random: &mut Random,
    pages: usize,
) -> Result<Vec<f64>> {
    let mut slots: Vec<usize> = (0..SLOTS).collect();
    for last in (1..SLOTS).rev() {
        slots.swap(last, random.below(last + 1));
    }
    let mut medians = Vec::new();
    for (view, tables_kib) in views.iter_mut().zip(tables_kib) {
        let mut commits = Samples::default();
        let before = process::status_kib("VmPTE")?;
        // With one page a commit a part of them says enough; the next count goes over all.
        for slots in slots.chunks(pages).take(SLOTS / PAGES[PAGES.len() - 1]) {
            let edits: Vec<Edit> =
                slots.iter().map(|slot| Edit { offset: slot * view.stride, value: random.next() }).collect();
            store(&mut view.map, stores, &edits)?;
            let start = Instant::now();
            view.map.commit()?;
            commits.add(start.elapsed());
        }
        *tables_kib += process::status_kib("VmPTE")?.saturating_sub(before);
        medians.push(commits.p50());
        ground.settle()?;
    }
    Ok(medians)
}

/// A file of this length with so many written pages, evenly spread, durable.
fn write_slots(path: &Path, len: usize) -> Result<()> {
    let file = File::create_new(path)?;
    file.set_len(len as u64)?;
    let mut page = [0; PAGE_BYTES];
    let mut random = Random::new(4);
    for slot in 0..SLOTS {
        random.fill(&mut page);
        file.write_all_at(&page, (slot * (len / SLOTS)) as u64)?;
    }
    Ok(file.sync_all()?)
}
