//! What commits cost here, beside `msync` of the same pages and beside the least that durability can cost.
//!
//! The three take turns, so that whatever else the machine does meets all of them. Each stores 8 bytes in
//! each of some scattered pages and makes that durable: as declared edits and a commit (all or nothing), as
//! stores into a shared mapping and a sync (not atomic), and, for comparison, one append of 4 KiB and a
//! flush.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use steadfast::Mapping;

use super::folder::Folder;
use super::model::{self, Model};
use crate::failure::Failure;
use crate::open::{self, OpenArgs};

/// How many pages a commit touches.
const PAGES: [u64; 3] = [1, 16, 256];
/// Rounds of each, at most and at least (a slow disk runs out of time before).
const ROUNDS_MAX: usize = 25;
const ROUNDS_MIN: usize = 3;
/// Time for the rounds of one number of pages.
const TIME_MAX: Duration = Duration::from_secs(4);
/// The part of the file in which pages are touched; the mapping that is synced is a copy of it.
const SPAN_BYTES_MAX: u64 = 256 << 20;
/// The file that is appended to: written beforehand, as a journal is, so that an append changes no metadata.
const APPEND_BYTES: u64 = 4 << 20;
const APPEND_BLOCK_BYTES: usize = 4096;

/// The table.
#[derive(Debug, Serialize)]
pub(crate) struct Costs {
    /// One row a number of pages.
    pub(crate) rows: Vec<Row>,
    /// Median of one append of 4 KiB and a flush.
    pub(crate) append_us: f64,
}

/// Medians for one number of pages.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) pages: u64,
    pub(crate) rounds: usize,
    pub(crate) commit_us: f64,
    pub(crate) msync_us: f64,
    pub(crate) append_us: f64,
}

/// Space that [`measure`] needs beside the file.
pub(crate) fn extra_bytes(file_bytes: u64) -> u64 {
    file_bytes.min(SPAN_BYTES_MAX) + APPEND_BYTES
}

/// Measures. `file` is any file of about the model's first length.
pub(crate) fn measure(
    folder: &Folder,
    file: &Path,
    model: &Model,
    allow_volatile: bool,
) -> Result<Costs, Failure> {
    let io = |error: std::io::Error| {
        Failure::Failed(format!("cannot measure in {}: {error}", folder.path().display()))
    };
    // Both files are at least so long: resizes keep close to the first length.
    let span = (model.base_bytes() - model.base_bytes() / 64).min(SPAN_BYTES_MAX);
    let page_bytes = rustix::param::page_size() as u64;
    let synced = folder.path().join("msync.bin");
    super::write_base(&synced, model, span).map_err(io)?;
    let append = File::create_new(folder.path().join("append.bin")).map_err(io)?;
    append.write_all_at(&vec![1; APPEND_BYTES as usize], 0).map_err(io)?;
    append.sync_all().map_err(io)?;

    let mapping = Mapping::options().write(true).open(&synced)?;
    let mut map = open::view(OpenArgs::volatile(allow_volatile).options(), file)?;
    let mut rows = Vec::new();
    let (mut draws, mut appended) = (0, 0);
    let mut append_all = Vec::new();
    for pages in PAGES {
        // A small file has no more.
        let pages = pages.min(span / page_bytes);
        let started = Instant::now();
        let (mut commit, mut msync, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        while commit.len() < ROUNDS_MAX && (commit.len() < ROUNDS_MIN || started.elapsed() < TIME_MAX) {
            draws += 1;
            let offsets: Vec<usize> = (0..pages)
                .map(|k| {
                    let draw = model::mix(model::mix(model.seed(), draws), k);
                    // A stratum of its own for each page: scattered, and none twice.
                    let stratum = span / page_bytes / pages;
                    let page = k * stratum + draw % stratum;
                    (page * page_bytes + (draw >> 32) % (page_bytes - 8)) as usize
                })
                .collect();
            let bytes = draws.to_le_bytes();

            let timer = Instant::now();
            for &offset in &offsets {
                map.edit(offset..offset + bytes.len())?.copy_from_slice(&bytes);
            }
            map.commit()?;
            commit.push(micros(timer));

            let timer = Instant::now();
            for &offset in &offsets {
                mapping.write_at(offset, &bytes)?;
            }
            mapping.sync(..)?;
            msync.push(micros(timer));

            let block = [draws as u8; APPEND_BLOCK_BYTES];
            let timer = Instant::now();
            append.write_all_at(&block, appended % APPEND_BYTES).map_err(io)?;
            append.sync_data().map_err(io)?;
            bare.push(micros(timer));
            appended += block.len() as u64;
        }
        append_all.extend_from_slice(&bare);
        rows.push(Row {
            pages,
            rounds: commit.len(),
            commit_us: median(&mut commit),
            msync_us: median(&mut msync),
            append_us: median(&mut bare),
        });
    }
    mapping.close()?;
    map.close()?;
    Ok(Costs { rows, append_us: median(&mut append_all) })
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
