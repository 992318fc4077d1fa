//! Reads of resident pages: every map is a `&[u8]`, and the same loops run over each.
//!
//! # Safety
//!
//! `memmap2` asks that nothing else changes the file under its map: it is in a folder of the benchmark's own.
#![allow(unsafe_code)]

use std::fs::File;
use std::hint::black_box;
use std::time::Instant;

use crate::data::{self, Random};
use crate::disk::Ground;
use crate::peers::steadfast::{Base, open_map};
use crate::report::Row;
use crate::{Outcome, Result, Scale};
use steadfast_cli::statistics::Samples;

/// Random reads in one timing.
pub(super) const RANDOM_READS: usize = 1 << 20;

/// A loop over a map, and what it is called.
pub(super) type Reads = (&'static str, fn(&[u8], &[u32]) -> u64);

pub(super) const READS: [Reads; 2] = [("sequential", sequential), ("random", random)];

pub(crate) fn run(scale: &Scale, rounds: usize) -> Result<Outcome> {
    let ground = Ground::new(&scale.dir, scale.size, 0)?;
    let file = File::open(ground.data_file("memmap2")?)?;
    // SAFETY: the file is in a folder of our own; nothing else writes or truncates it.
    let peer = unsafe { memmap2::Mmap::map(&file)? };
    let load = open_map(&ground.data_file("load")?, Base::Load)?;
    let view = open_map(&ground.data_file("view")?, Base::View)?;
    let maps: [(&str, &[u8]); 3] = [("memmap2", &peer), ("steadfast-load", &load), ("steadfast-view", &view)];
    let mut numbers = Random::new(2);
    let words = ground.len / 8;
    let places: Vec<u32> = (0..RANDOM_READS)
        .map(|_| u32::try_from(numbers.below(words)))
        .collect::<Result<_, _>>()
        .map_err(|_| "the data set is too large for this benchmark: at most 32 GiB")?;
    for (_, map) in maps {
        data::touch(map);
    }
    let mut rows = Vec::new();
    for (access, reads) in READS {
        let mut times: [Samples; 3] = Default::default();
        // The first round warms up; the map that begins moves on.
        for round in 0..=rounds {
            for turn in 0..maps.len() {
                let index = (round + turn) % maps.len();
                let start = Instant::now();
                black_box(reads(black_box(maps[index].1), black_box(&places)));
                if round > 0 {
                    times[index].add(start.elapsed());
                }
            }
        }
        let base = times[0].p50();
        let count = if access == "random" { RANDOM_READS } else { words };
        for ((name, _), samples) in maps.iter().zip(&times) {
            let p50 = samples.p50();
            rows.push(
                Row::new("load", name)
                    .with("access", access)
                    .figure("p50_ns_per_read", 1e3 * p50 / count as f64)
                    .figure("vs_memmap2", p50 / base)
                    .with("samples", samples.count()),
            );
        }
    }
    load.close()?;
    view.close()?;
    let notes = vec!["Reads of 8 bytes over resident maps; the same code over a &[u8] for each.".to_owned()];
    Ok(Outcome { rows, notes })
}

#[inline(never)]
fn sequential(map: &[u8], _: &[u32]) -> u64 {
    let (words, _) = map.as_chunks::<8>();
    words.iter().fold(0, |sum, word| sum ^ u64::from_le_bytes(*word))
}

#[inline(never)]
fn random(map: &[u8], places: &[u32]) -> u64 {
    let (words, _) = map.as_chunks::<8>();
    places.iter().fold(0, |sum, &place| sum ^ u64::from_le_bytes(words[place as usize]))
}
