//! What the SIGBUS guard costs: on a load, on a checked read, at an open, and when it is needed.
//!
//! # Safety
//!
//! `memmap2` and `as_slice` ask that nothing else changes the file under the map: it is in a folder of the benchmark's own.
//! The one file that is cut is read as volatile bytes.
#![allow(unsafe_code)]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use steadfast::{AtomicMapping, Mapping};

use super::load::{RANDOM_READS, READS};
use crate::data::{self, PAGE_BYTES, Random};
use crate::disk::Ground;
use crate::report::Row;
use crate::{Outcome, Result, Scale};
use steadfast_cli::statistics::Samples;

/// Checked reads in one timing.
const CHECKED_READS: usize = 1 << 15;
const OPENS: usize = 64;
/// Length of the file that is cut.
const CUT_BYTES: u64 = 1 << 30;

pub(crate) fn run(scale: &Scale, rounds: usize) -> Result<Outcome> {
    let ground = Ground::new(&scale.dir, scale.size, 0)?;
    let path = ground.data_file("data")?;
    let mut rows = loads(&path, rounds)?;
    rows.extend(checked_reads(&path, &ground.data_file("load")?, rounds)?);
    rows.extend(opens(&path, rounds)?);
    rows.push(faults(&ground.path("cut"), rounds)?);
    let notes = vec![
        "Resident maps. Plain loads are the loops of `load`; checked reads are 8 bytes at random places."
            .to_owned(),
        "fault: a file of 1 GiB is cut to nothing, and the first access past its end is answered.".to_owned(),
    ];
    Ok(Outcome { rows, notes })
}

/// The columns of a table of times, the first of them the one that the others are compared with.
fn rows(
    access: &str,
    figure: &'static str,
    ratio: &'static str,
    names: &[&str],
    times: &[Samples],
    per: f64,
) -> Vec<Row> {
    let base = times[0].p50();
    let row = |(name, samples): (&&str, &Samples)| {
        Row::new("guard", name)
            .with("access", access)
            .figure(figure, samples.p50() * per)
            .figure(ratio, samples.p50() / base)
            .with("samples", samples.count())
    };
    names.iter().zip(times).map(row).collect()
}

fn loads(path: &Path, rounds: usize) -> Result<Vec<Row>> {
    let file = File::open(path)?;
    // SAFETY: the file is in a folder of our own; nothing else writes or truncates it.
    let peer = unsafe { memmap2::Mmap::map(&file)? };
    let guarded = Mapping::options().open(path)?;
    let unguarded = Mapping::options().guard(false).open(path)?;
    // SAFETY: as above.
    let guarded_bytes = unsafe { guarded.as_slice() };
    // SAFETY: as above.
    let unguarded_bytes = unsafe { unguarded.as_slice() };
    let names = ["memmap2", "steadfast-mapping", "steadfast-mapping, guard(false)"];
    let maps = [&*peer, guarded_bytes, unguarded_bytes];
    let words = peer.len() / 8;
    let mut numbers = Random::new(2);
    let places: Vec<u32> = (0..RANDOM_READS)
        .map(|_| u32::try_from(numbers.below(words)))
        .collect::<Result<_, _>>()
        .map_err(|_| "the data set is too large for this benchmark: at most 32 GiB")?;
    maps.iter().for_each(|map| data::touch(map));
    let mut found = Vec::new();
    for (access, reads) in READS {
        let mut times: [Samples; 3] = Default::default();
        for round in 0..=rounds {
            for turn in 0..maps.len() {
                let index = (round + turn) % maps.len();
                let start = Instant::now();
                black_box(reads(black_box(maps[index]), black_box(&places)));
                if round > 0 {
                    times[index].add(start.elapsed());
                }
            }
        }
        let count = if access == "random" { RANDOM_READS } else { words };
        let access = format!("loads, {access}");
        found.extend(rows(&access, "p50_ns", "vs_memmap2", &names, &times, 1e3 / count as f64));
    }
    Ok(found)
}

fn checked_reads(path: &Path, load_path: &Path, rounds: usize) -> Result<Vec<Row>> {
    let file = File::open(path)?;
    let guarded = Mapping::options().open(path)?;
    let unguarded = Mapping::options().guard(false).open(path)?;
    let load = AtomicMapping::options().load(load_path)?;
    let mut numbers = Random::new(3);
    let places: Vec<usize> = (0..CHECKED_READS).map(|_| numbers.below(guarded.len() / 8) * 8).collect();
    type Read<'a> = Box<dyn Fn(usize, &mut [u8]) -> Result<()> + 'a>;
    let reads: [(&str, Read<'_>); 4] = [
        ("pread", Box::new(|at, to| Ok(file.read_exact_at(to, at as u64)?))),
        ("steadfast-mapping", Box::new(|at, to| Ok(guarded.read_at(at, to)?))),
        ("steadfast-mapping, guard(false)", Box::new(|at, to| Ok(unguarded.read_at(at, to)?))),
        ("steadfast-load", Box::new(|at, to| Ok(load.read_at(at, to)?))),
    ];
    let mut times: [Samples; 4] = Default::default();
    for round in 0..=rounds {
        for turn in 0..reads.len() {
            let index = (round + turn) % reads.len();
            let start = Instant::now();
            for &at in &places {
                let mut bytes = [0; 8];
                reads[index].1(black_box(at), &mut bytes)?;
                black_box(bytes);
            }
            if round > 0 {
                times[index].add(start.elapsed());
            }
        }
    }
    let names: Vec<&str> = reads.iter().map(|(name, _)| *name).collect();
    let found =
        rows("checked read of 8 bytes", "p50_ns", "vs_pread", &names, &times, 1e3 / CHECKED_READS as f64);
    drop(reads);
    load.close()?;
    Ok(found)
}

fn opens(path: &Path, rounds: usize) -> Result<Vec<Row>> {
    let names = ["memmap2", "steadfast-mapping", "steadfast-mapping, guard(false)"];
    let mut times: [Samples; 3] = Default::default();
    for round in 0..=rounds {
        for turn in 0..names.len() {
            let index = (round + turn) % names.len();
            let start = Instant::now();
            for _ in 0..OPENS {
                match index {
                    0 => {
                        let file = File::open(path)?;
                        // SAFETY: the file is in a folder of our own; nothing else writes or truncates it.
                        black_box(unsafe { memmap2::Mmap::map(&file)? });
                    }
                    1 => drop(black_box(Mapping::options().open(path)?)),
                    _ => drop(black_box(Mapping::options().guard(false).open(path)?)),
                }
            }
            if round > 0 {
                times[index].add(start.elapsed());
            }
        }
    }
    Ok(rows("open and close for reading", "p50_us", "vs_memmap2", &names, &times, 1.0 / OPENS as f64))
}

fn faults(path: &Path, rounds: usize) -> Result<Row> {
    let file = File::create_new(path)?;
    let mut times = Samples::default();
    for _ in 0..rounds {
        file.set_len(CUT_BYTES)?;
        let map = Mapping::options().open(path)?;
        let middle = map.as_ptr().wrapping_add(CUT_BYTES as usize / 2 / PAGE_BYTES * PAGE_BYTES);
        file.set_len(0)?;
        let start = Instant::now();
        // SAFETY: within the map, whose guard answers.
        black_box(unsafe { middle.read_volatile() });
        times.add(start.elapsed());
        if map.check().is_ok() {
            return Err("the cut was not noticed".into());
        }
    }
    let row = Row::new("guard", "steadfast-mapping").with("access", "fault, 1 GiB past the end");
    Ok(row.figure("p50_us", times.p50()).with("samples", times.count()))
}
