//! Reads through a mapping, from the device and from memory.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast::residency::CachedFile;
use steadfast::{Advice, Mapping};

use super::kind::{Kind, RANDOM_BYTES};
use super::ledger::Ledger;
use super::steps::BURST_TIME_MAX;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::pattern::{self, mix};

/// Random reads of a round from the device, at most.
const COLD_READS: u64 = 64;
/// Random reads from memory take less than the clock can tell: so many are timed at once.
const BATCH: u32 = 64;
const BATCHES: u64 = 16;
/// So much is read in order between two looks for Ctrl-C.
const PIECE_BYTES: usize = 1 << 20;

/// The file that is read.
pub(super) struct Reads {
    path: PathBuf,
    file_bytes: u64,
}

impl Reads {
    pub(super) fn of(path: &Path, file_bytes: u64) -> Reads {
        Reads { path: path.to_owned(), file_bytes }
    }

    /// All four kinds, once each.
    pub(super) fn round(&self, key: u64, ledger: &mut Ledger, interrupt: &Interrupt) -> Result<(), Failure> {
        // A page that somebody has mapped cannot be evicted, so there is a new mapping after each eviction.
        if self.is_cold(Kind::RandomCold, ledger)? {
            let mapping = self.map()?;
            mapping.advise(.., Advice::Random)?;
            self.random_cold(words(&mapping)?, key, ledger);
            mapping.close()?;
        }
        let is_cold = self.is_cold(Kind::SequentialCold, ledger)?;
        let mapping = self.map()?;
        let words = words(&mapping)?;
        let Some(time) = in_order(words, interrupt) else { return Ok(()) };
        if is_cold {
            ledger.add(Kind::SequentialCold, time);
        }
        self.note_if_not_warm(ledger)?;
        let Some(time) = in_order(words, interrupt) else { return Ok(()) };
        ledger.add(Kind::SequentialWarm, time);
        self.random_warm(words, key, ledger);
        Ok(mapping.close()?)
    }

    fn map(&self) -> Result<Mapping, Failure> {
        // Nothing is stored; but only a writable mapping gives out atomics, and those are plain loads of the mapped pages.
        Ok(Mapping::options().write(true).open(&self.path)?)
    }

    /// Evicts the file, and looks whether that succeeded.
    fn is_cold(&self, kind: Kind, ledger: &mut Ledger) -> Result<bool, Failure> {
        let after = CachedFile::open(&self.path)?.evict(.., true)?.after;
        match (after.resident, after.unknown) {
            (Some(0), _) => return Ok(true),
            (Some(stayed), _) => ledger.refuse(
                kind,
                format!(
                    "{stayed} of {} pages cannot be evicted, so no read of the file is cold",
                    after.pages
                ),
            ),
            (None, Some(unknown)) => {
                ledger.refuse(kind, format!("nobody can tell what is in memory: {unknown}"))
            }
            (None, None) => ledger.refuse(kind, "nobody can tell what is in memory"),
        }
        Ok(false)
    }

    fn note_if_not_warm(&self, ledger: &mut Ledger) -> Result<(), Failure> {
        let counts = CachedFile::open(&self.path)?.counts(..)?;
        if counts.resident.is_some_and(|resident| resident < counts.pages) {
            ledger.note("Memory was too short to keep the whole file: some of the warm reads were not.");
        }
        Ok(())
    }

    fn random_cold(&self, words: &[AtomicU64], key: u64, ledger: &mut Ledger) {
        let pages = self.file_bytes / rustix::param::page_size() as u64;
        let mut places = pattern::scattered(key, self.file_bytes, COLD_READS.min(pages));
        // Out of order, or a disk that turns would have an easy way.
        places.sort_by_key(|place| mix(key, *place as u64));
        let begun = Instant::now();
        for place in places {
            let timer = Instant::now();
            read_at(words, place);
            ledger.add(Kind::RandomCold, timer.elapsed());
            if begun.elapsed() > BURST_TIME_MAX {
                break;
            }
        }
    }

    fn random_warm(&self, words: &[AtomicU64], key: u64, ledger: &mut Ledger) {
        for batch in 0..BATCHES {
            let places: Vec<usize> = (0..BATCH)
                .map(|read| (mix(mix(key, batch), read.into()) % self.file_bytes) as usize)
                .collect();
            let timer = Instant::now();
            places.into_iter().for_each(|place| read_at(words, place));
            ledger.add_mean(Kind::RandomWarm, timer.elapsed(), BATCH);
        }
    }
}

fn words(mapping: &Mapping) -> Result<&[AtomicU64], Failure> {
    Ok(mapping.atomics::<AtomicU64>(..)?)
}

/// Reads the 4 KiB that hold the byte at `place`.
fn read_at(words: &[AtomicU64], place: usize) {
    let count = RANDOM_BYTES as usize / size_of::<u64>();
    let first = place / RANDOM_BYTES as usize * count;
    read(&words[first..first + count]);
}

fn read(words: &[AtomicU64]) {
    black_box(words.iter().fold(0, |sum, word| sum ^ word.load(Ordering::Relaxed)));
}

/// The whole file in order; `None` if that was interrupted.
fn in_order(words: &[AtomicU64], interrupt: &Interrupt) -> Option<Duration> {
    let timer = Instant::now();
    for piece in words.chunks(PIECE_BYTES / size_of::<u64>()) {
        read(piece);
        if interrupt.is_asked() {
            return None;
        }
    }
    Some(timer.elapsed())
}
