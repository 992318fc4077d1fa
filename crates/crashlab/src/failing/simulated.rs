//! Every fault of the simulated disk, at places drawn from each workload.

mod images;
mod playing;
mod recovery;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rand::seq::IteratorRandom;
use rand::{Rng, RngExt};
use steadfast::disk::{CallKind, Disk, SimDisk};
use steadfast::{AtomicMapping, AtomicOptions, Error, ErrorKind};

use super::matrix::{Answer, Counts, Fault, FileSystem, Operation, Row};
use crate::outcome::Failure;
use crate::workload::{MapPlan, Profile, Scale, Stage, Workload, draws};

/// Small enough for thousands of runs; large enough for both halves of a journal, and for growth across pages.
const SCALE: Scale = Scale { pages_max: 6, steps_max: 30, journal_pages_max: 16, views: false };
/// So many places of each workload for each fault.
const PLACES: usize = 8;
/// A place takes milliseconds.
const HANG: Duration = Duration::from_secs(120);

/// Lets the simulated disk fail in every way under `dose` workloads.
pub fn simulated(seed: u64, dose: u32) -> Result<Vec<Row>, Failure> {
    simulated_on(seed, dose, |_| {})
}

/// As `simulated`; `plant` may do something to each disk that it should not survive unnoticed.
fn simulated_on(seed: u64, dose: u32, plant: fn(&SimDisk)) -> Result<Vec<Row>, Failure> {
    let faults = Fault::all();
    let jobs: Vec<Workload> = (0..u64::from(dose))
        .map(|number| {
            let profile = Profile::ALL[number as usize % Profile::ALL.len()];
            Workload::generate(seed.wrapping_mul(1_000_003).wrapping_add(number), profile, SCALE)
        })
        .collect();
    let (jobs, next) = (Arc::new(jobs), Arc::new(AtomicUsize::new(0)));
    let (tell, told) = mpsc::channel();
    let at_work: Arc<Mutex<Vec<String>>> = Arc::default();
    for worker in 0..thread::available_parallelism().map_or(1, usize::from) {
        let (jobs, next, tell, at_work) =
            (Arc::clone(&jobs), Arc::clone(&next), tell.clone(), Arc::clone(&at_work));
        at_work.lock().unwrap_or_else(PoisonError::into_inner).push(String::new());
        // Not joined: one that hangs must not take the verdict along.
        thread::spawn(move || {
            let watch = |place: &Place<'_>| {
                if let Some(now) = at_work.lock().unwrap_or_else(PoisonError::into_inner).get_mut(worker) {
                    *now = place.to_string();
                }
            };
            while let Some(workload) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                for (row, fault) in Fault::all().into_iter().enumerate() {
                    let tried = try_fault(workload, fault, plant, &watch).map(|counts| (row, counts));
                    if tell.send(tried).is_err() {
                        return;
                    }
                }
            }
        });
    }
    drop(tell);
    let mut rows: Vec<Row> = faults
        .iter()
        .map(|&fault| Row { file_system: FileSystem::Sim, fault, counts: Counts::default() })
        .collect();
    for _ in 0..jobs.len() * rows.len() {
        match told.recv_timeout(HANG) {
            Ok(Ok((row, counts))) => rows[row].counts.add(&counts),
            Ok(Err(violation)) => return Err(Failure::Violation(violation)),
            Err(error) => {
                let places = at_work.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
                return Err(Failure::Violation(format!("no answer ({error}): {places}")));
            }
        }
    }
    Ok(rows)
}

/// Where a fault strikes: enough to see it again.
struct Place<'a> {
    workload: &'a Workload,
    fault: Fault,
    /// The so-manieth call of the fault's kind.
    call: u64,
    in_recovery: bool,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Workload { seed, profile, .. } = self.workload;
        let recovery = if self.in_recovery { ", in recovery" } else { "" };
        write!(f, "workload {seed} {profile}, {} at call {}{recovery}", self.fault, self.call)
    }
}

impl Place<'_> {
    /// The choices of this place, the same each time.
    fn draws(&self) -> impl Rng + use<> {
        let Fault { operation, answer, lasting } = self.fault;
        let number = (operation as u64 * 3 + answer as u64) * 2 + u64::from(lasting);
        draws(self.workload.seed ^ (number << 32) ^ (self.call << 40) ^ u64::from(self.in_recovery))
    }

    fn kind(&self) -> CallKind {
        match self.fault.operation {
            Operation::Read => CallKind::Read,
            Operation::Write => CallKind::Write,
            Operation::Flush => CallKind::Sync,
            Operation::Space => CallKind::Space,
            Operation::Names => CallKind::Name,
        }
    }

    /// Has the disk fail here.
    fn inject(&self, disk: &SimDisk, random: &mut impl Rng) {
        let os_error = if self.fault.answer == Answer::Enospc { ENOSPC } else { EIO };
        if self.fault.answer == Answer::Short {
            disk.let_failed_writes_begin(random.random_range(1..12));
        }
        match random.random_range(0..3) {
            0 => disk.let_failed_blocks_stick(),
            1 => disk.evict_on_failed_sync(),
            _ => {}
        }
        if self.fault.lasting {
            disk.fail_calls_from(Some(self.kind()), self.call, os_error);
        } else {
            disk.fail_call(Some(self.kind()), self.call, os_error);
        }
    }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// One fault at a sample of a workload's places, and of the places of a recovery.
fn try_fault(
    workload: &Workload,
    fault: Fault,
    plant: fn(&SimDisk),
    watch: &dyn Fn(&Place<'_>),
) -> Result<Counts, String> {
    let mut counts = Counts::default();
    for in_recovery in [false, true] {
        let mut place = Place { workload, fault, call: 0, in_recovery };
        let mut random = place.draws();
        let image = if in_recovery { recovery::image(workload, plant, &mut random)? } else { None };
        if in_recovery && image.is_none() {
            continue;
        }
        let calls = match &image {
            Some((disk, _)) => recovery::calls(workload, disk, place.kind()),
            None => playing::calls(workload, plant, place.kind()),
        };
        for call in (1..=calls).sample(&mut random, PLACES) {
            place.call = call;
            watch(&place);
            let tried = catch_unwind(AssertUnwindSafe(|| match &image {
                Some((disk, histories)) => recovery::try_place(&place, disk, histories, &mut counts),
                None => playing::try_place(&place, plant, &mut counts),
            }));
            tried
                .unwrap_or_else(|_| Err("it panicked".into()))
                .map_err(|violation| format!("{place}: {violation}"))?;
        }
    }
    Ok(counts)
}

/// The disk before the workload.
fn disk_of(workload: &Workload, plant: fn(&SimDisk)) -> SimDisk {
    let disk = SimDisk::new();
    let disk = if workload.seed % 5 == 4 { disk.without_marks() } else { disk };
    for (number, plan) in workload.maps.iter().enumerate() {
        if plan.initial_bytes.is_some() {
            disk.put_file(file(number), &workload.initial(number));
        }
    }
    plant(&disk);
    disk
}

fn file(map: usize) -> String {
    format!("/map{map}")
}

fn journal(map: usize) -> String {
    format!("/map{map}.steadfast")
}

struct On<'a>(&'a SimDisk);

impl Stage for On<'_> {
    fn open(&self, map: usize, plan: &MapPlan, options: AtomicOptions) -> Result<AtomicMapping, Error> {
        let disk = Arc::new(self.0.clone()) as Arc<dyn Disk>;
        options.stepped(plan.checkpoint_steps).load_on(disk, file(map))
    }
}

/// The disk reported an error, and the library must not take that for anything else.
fn is_the_disks(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::NoSpace)
}

#[cfg(test)]
mod tests {
    use steadfast::disk::SyncPoint;

    use super::*;

    #[test]
    fn a_failing_disk_breaks_no_promise() {
        let rows = simulated(1, 10).unwrap();
        let mut sum = Counts::default();
        rows.iter().for_each(|row| sum.add(&row.counts));
        let ends = sum.went_on + sum.not_committed + sum.in_doubt + sum.failed + sum.ended;
        assert_eq!(sum.places, ends);
        assert!(ends.min(sum.latched).min(sum.same_commit).min(sum.recoveries_failed) > 0, "{sum:?}");
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        assert_eq!(simulated(7, 2).unwrap(), simulated(7, 2).unwrap());
    }

    #[test]
    fn a_disk_that_lies_is_noticed() {
        let plants: [fn(&SimDisk); 4] = [
            |disk| disk.ignore_sync(SyncPoint::Record),
            |disk| disk.ignore_sync(SyncPoint::FreshJournal),
            |disk| disk.ignore_sync(SyncPoint::Checkpoint),
            |disk| disk.ignore_sync(SyncPoint::FreshJournalName),
        ];
        for (number, plant) in plants.into_iter().enumerate() {
            let violation = simulated_on(3, 6, plant);
            assert!(matches!(violation, Err(Failure::Violation(_))), "plant {number}: {violation:?}");
        }
    }
}
