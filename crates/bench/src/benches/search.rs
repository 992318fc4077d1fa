//! What finding stores costs at the least: the kernel's search, and reading the pages that it found.
//!
//! A commit of plain stores cannot be faster than this and one flush; what is left of it is the library's own.

use std::hint::black_box;
use std::time::Instant;

use crate::data::{self, PAGE_BYTES, Random};
use crate::disk::Ground;
use crate::harness::Effort;
use crate::report::Row;
use crate::shared_map::SharedMap;
use crate::watched_map::WatchedMap;
use crate::{Outcome, Result, Scale};
use steadfast_cli::statistics::Samples;

const PAGES: [usize; 4] = [1, 16, 256, 4096];

pub(crate) fn run(scale: &Scale, rounds: Option<usize>) -> Result<Outcome> {
    let ground = Ground::new(&scale.dir, scale.size, PAGES[PAGES.len() - 1])?;
    let path = ground.data_file("search")?;
    let committed = SharedMap::open(&path)?;
    data::touch(committed.bytes());
    let note = "The file is mapped privately, all of its pages are mapped and write-protected (userfaultfd, WP_ASYNC). scan: one \
                PAGEMAP_SCAN that gets and protects the written pages of all of it. compare: reading each of them and the page that it is a \
                copy of, with memcmp, on one thread."
        .to_owned();
    let mut rows = Vec::new();
    for pages in PAGES {
        rows.push(match measure(&path, committed.bytes(), pages, Effort::for_pages(pages, rounds)) {
            Ok(row) => row,
            Err(error) => Row::new("search", "kernel").with("pages", pages).with("note", error.to_string()),
        });
    }
    Ok(Outcome { rows, notes: vec![note] })
}

fn measure(path: &std::path::Path, committed: &[u8], pages: usize, effort: Effort) -> Result<Row> {
    // Anew for each count: pages that were copied once are found as fast, and take memory.
    let mut watched = WatchedMap::open(path)?;
    let mut random = Random::new(pages as u64);
    let (mut scans, mut compares) = (Samples::default(), Samples::default());
    for round in 0..=effort.rounds {
        for _ in 0..effort.burst {
            let edits = data::scattered(&mut random, committed.len(), pages)?;
            let bytes = watched.bytes_mut();
            edits.iter().for_each(|edit| edit.store(bytes));
            let mut found = Vec::with_capacity(pages);
            let start = Instant::now();
            watched.take_written(&mut found)?;
            let scan = start.elapsed();
            let count: usize = found.iter().map(|run| run.len() / PAGE_BYTES).sum();
            if count != pages {
                return Err(format!("{count} pages were found, {pages} were stored to").into());
            }
            let bytes = watched.bytes_mut();
            let start = Instant::now();
            let differing = found
                .iter()
                .flat_map(|run| run.clone().step_by(256))
                .filter(|&at| bytes[at..at + 256] != committed[at..at + 256])
                .count();
            let compare = start.elapsed();
            black_box(differing);
            if round > 0 {
                scans.add(scan);
                compares.add(compare);
            }
        }
    }
    Ok(Row::new("search", "kernel")
        .with("pages", pages)
        .figure("scan_p50_us", scans.p50())
        .figure("compare_p50_us", compares.p50())
        .with("samples", scans.count()))
}
