//! What commits cost here, beside `msync` of the same pages and beside the least that durability can cost.
//!
//! The three take turns, so that whatever else the machine does meets all of them. Each stores 8 bytes in
//! each of some scattered pages and makes that durable: as declared edits and a commit (all or nothing), as
//! stores into a shared mapping and a sync (not atomic), and, for comparison, one append of 4 KiB and a
//! flush.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use steadfast::Mapping;

use super::model::Model;
use crate::append::{self, Append, Way};
use crate::failure::Failure;
use crate::open::{self, OpenArgs};
use crate::pattern::{self, mix};
use crate::statistics::Samples;
use crate::work_folder::Folder;

/// How many pages a commit touches.
const PAGES: [u64; 3] = [1, 16, 256];
/// Rounds of each, at most and at least (a slow disk runs out of time before).
const ROUNDS_MAX: usize = 25;
const ROUNDS_MIN: usize = 3;
/// Time for the rounds of one number of pages.
const TIME_MAX: Duration = Duration::from_secs(4);
/// The part of the file in which pages are touched; the mapping that is synced is a copy of it.
const SPAN_BYTES_MAX: u64 = 256 << 20;

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
    file_bytes.min(SPAN_BYTES_MAX) + append::ROOM_BYTES
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
    let mut append = Append::create(&folder.path().join("append.bin"), Way::Cached).map_err(io)?;

    let mapping = Mapping::options().write(true).open(&synced)?;
    let mut map = open::view(OpenArgs::volatile(allow_volatile).options(), file)?;
    let mut rows = Vec::new();
    let mut draws = 0;
    let mut append_all = Samples::default();
    for pages in PAGES {
        // A small file has no more.
        let pages = pages.min(span / page_bytes);
        let started = Instant::now();
        let [mut commit, mut msync, mut bare] = <[Samples; 3]>::default();
        while commit.count() < ROUNDS_MAX && (commit.count() < ROUNDS_MIN || started.elapsed() < TIME_MAX) {
            draws += 1;
            let offsets = pattern::scattered(mix(model.seed(), draws), span, pages);
            let bytes = draws.to_le_bytes();

            let timer = Instant::now();
            for &offset in &offsets {
                map.edit(offset..offset + bytes.len())?.copy_from_slice(&bytes);
            }
            map.commit()?;
            commit.add(timer.elapsed());

            let timer = Instant::now();
            for &offset in &offsets {
                mapping.write_at(offset, &bytes)?;
            }
            mapping.sync(..)?;
            msync.add(timer.elapsed());

            bare.add(append.once(draws as u8).map_err(io)?);
        }
        append_all.extend(&bare);
        rows.push(Row {
            pages,
            rounds: commit.count(),
            commit_us: commit.p50(),
            msync_us: msync.p50(),
            append_us: bare.p50(),
        });
    }
    mapping.close()?;
    map.close()?;
    Ok(Costs { rows, append_us: append_all.p50() })
}
