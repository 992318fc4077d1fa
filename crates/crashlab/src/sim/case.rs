//! One case: a workload, the disk under it, and where it is stopped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use steadfast::disk::{Disk, SimDisk, SyncPoint};
use steadfast::{AtomicMapping, AtomicOptions, Error};

use crate::history::{History, Told};
use crate::workload::{MapPlan, Profile, Scale, Stage, Workload, draws, play};

/// Small files and few steps: many short workloads find more than few long ones, and what they find is read more easily.
const SCALE: Scale = Scale { pages_max: 5, steps_max: 24, journal_pages_max: 16, views: false };

/// Everything that happens in a case follows from this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) workload: Workload,
    /// The disk has room for marks.
    pub(super) marks: bool,
    /// A planted bug: syncs for this purpose do nothing.
    pub(super) ignored: Option<SyncPoint>,
}

/// Where the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop {
    /// At this operation; one past the last is the end of the workload.
    pub(super) operation: u64,
    /// So many bytes of it still happen, if it is a write.
    pub(super) within: u64,
}

/// What a workload left.
pub(super) struct Played {
    pub(super) disk: SimDisk,
    pub(super) histories: Vec<History>,
    pub(super) error: Option<Error>,
    /// A commit was *not committed*.
    pub(super) refused: bool,
}

/// The seed of the case of this number. Its last decimal is the profile's number, so that all profiles get their turn.
pub(super) fn case_seed(seed: u64, number: u64) -> u64 {
    (mixed(&[seed, number]) >> 4) / 10 * 10 + number % Profile::ALL.len() as u64
}

/// One number of several, by splitmix64's steps.
pub(super) fn mixed(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |mixed, part| {
        let mut mixed = (mixed ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// The name of the data file of the map of this number.
pub(super) fn file(map: usize) -> String {
    format!("/data{map}")
}

impl Case {
    pub(super) fn of_seed(seed: u64) -> Case {
        let profile = Profile::ALL[(seed % Profile::ALL.len() as u64) as usize];
        let workload = Workload::generate(mixed(&[seed, 1]), profile, SCALE);
        Case { seed, workload, marks: draws(mixed(&[seed, 2])).random_ratio(4, 5), ignored: None }
    }

    /// Choices of one stop do not depend on what was drawn for others: a shorter workload meets the same ones.
    pub(super) fn draws(&self, stop: Stop) -> ChaCha8Rng {
        draws(mixed(&[self.seed, 3, stop.operation, stop.within]))
    }

    fn disk(&self) -> SimDisk {
        let disk = if self.marks { SimDisk::new() } else { SimDisk::new().without_marks() };
        for (map, plan) in self.workload.maps.iter().enumerate() {
            if plan.initial_bytes.is_some() {
                disk.put_file(file(map), &self.workload.initial(map));
            }
        }
        if let Some(point) = self.ignored {
            disk.ignore_sync(point);
        }
        disk
    }

    /// Plays until the stop, if there is one.
    pub(super) fn play(&self, stop: Option<Stop>, trace: bool) -> Played {
        let disk = self.disk();
        if trace {
            disk.keep_trace();
        }
        if let Some(stop) = stop {
            disk.stop_within(stop.operation, stop.within);
        }
        let maps = 0..self.workload.maps.len();
        let mut histories: Vec<History> = maps.map(|map| History::new(self.workload.initial(map))).collect();
        let mut refused = false;
        let error = play(&self.workload, &OnSim(&disk), &mut |map, told| {
            refused |= matches!(told, Told::NotCommitted);
            histories[map].hear(told);
        })
        .err();
        Played { disk, histories, error, refused }
    }

    /// The operations before the stop and the one that it is in, for reading.
    pub(super) fn trace(&self, stop: Option<Stop>) -> Vec<String> {
        // Where it panics there is nothing to tell.
        catch_unwind(AssertUnwindSafe(|| self.play(stop, true).disk.trace())).unwrap_or_default()
    }

    /// Every place to stop at, the end included: before an operation, and in the middle of a write.
    pub(super) fn stops(&self) -> Result<Vec<Stop>, String> {
        let whole = self.play(None, true);
        if let Some(error) = whole.error {
            return Err(format!("an error although nothing went wrong: {error}"));
        }
        if whole.refused {
            return Err("a commit was refused although nothing went wrong".to_owned());
        }
        let mut stops = Vec::new();
        for (line, operation) in whole.disk.trace().iter().zip(1..) {
            let written = written(line);
            let torn = [512, 4608].into_iter().filter(|within| *within < written);
            stops.extend(std::iter::once(0).chain(torn).map(|within| Stop { operation, within }));
        }
        stops.push(Stop { operation: whole.disk.operations() + 1, within: 0 });
        Ok(stops)
    }
}

/// How many bytes an operation of a trace writes: `write data0 4096+512`.
fn written(line: &str) -> u64 {
    line.strip_prefix("write ")
        .and_then(|rest| rest.rsplit_once('+'))
        .and_then(|(_, bytes)| bytes.parse().ok())
        .unwrap_or(0)
}

struct OnSim<'a>(&'a SimDisk);

impl Stage for OnSim<'_> {
    fn open(&self, map: usize, plan: &MapPlan, options: AtomicOptions) -> Result<AtomicMapping, Error> {
        options.stepped(plan.checkpoint_steps).load_on(Arc::new(self.0.clone()) as Arc<dyn Disk>, file(map))
    }
}
