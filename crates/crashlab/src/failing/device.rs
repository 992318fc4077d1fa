//! Real file systems over a device that fails: what the library is told then, and what is there once the device is well again.
//!
//! Maps are loaded here, never viewed: a page that cannot be read is a signal, and that has its own chapter.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rand::seq::IteratorRandom;
use rand::{Rng, RngExt};
use steadfast::{AtomicMapping, ErrorKind};

use super::matrix::{Answer, Counts, Fault, FileSystem, Operation, Row};
use crate::block::check::check;
use crate::block::device::{self, DeviceFault};
use crate::block::file_system::{self, Rig};
use crate::block::images::{self, Cut, Image};
use crate::block::media::Media;
use crate::block::record::prepare;
use crate::history::{History, Told};
use crate::outcome::Failure;
use crate::real::Folder;
use crate::workload::{Played, Profile, Scale, Workload, draws, play_on};

const SCALE: Scale = Scale { pages_max: 16, steps_max: 60, journal_pages_max: 24, views: false };
/// So many places of each workload for each fault.
const PLACES: usize = 3;
/// So many power cuts of a place, besides the one at its end.
const CUTS: usize = 2;
/// One workload of the simulated disk's dose in so many: a place takes a hundred times as long here.
const ONE_OF_THE_DOSE: u32 = 5;

/// A file system with less room than this is full: no journal fits.
const FULL_BYTES: u64 = 32 << 10;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What a device, and a file system that is full, are capable of.
fn faults() -> Vec<Fault> {
    let of_the_device = |fault: &Fault| match (fault.operation, fault.answer) {
        (Operation::Read | Operation::Write, _) | (Operation::Flush, Answer::Eio) => true,
        // The file system is full, until there is room again.
        (Operation::Space, Answer::Enospc) => fault.lasting,
        _ => false,
    };
    Fault::all().into_iter().filter(of_the_device).collect()
}

/// Tries every fault under one file system.
///
/// # Errors
///
/// The first violation, or what this machine lacks.
pub fn run(file_system: FileSystem, seed: u64, dose: u32) -> Result<Vec<Row>, Failure> {
    let real = match file_system {
        FileSystem::Sim => return Err(Failure::Rig("the simulated disk has no device".into())),
        FileSystem::Ext4 => file_system::FileSystem::Ext4,
        FileSystem::Xfs => file_system::FileSystem::Xfs,
        FileSystem::Btrfs => file_system::FileSystem::Btrfs,
    };
    let mut rig = Rig::new(real)?;
    let mut rows: Vec<Row> =
        faults().into_iter().map(|fault| Row { file_system, fault, counts: Counts::default() }).collect();
    for number in 0..u64::from(dose.div_ceil(ONE_OF_THE_DOSE)) {
        let mut random = draws(seed);
        random.set_stream(number);
        let profile = Profile::ALL.into_iter().choose(&mut random).unwrap_or(Profile::Mixed);
        let workload = Workload::generate(random.random(), profile, SCALE);
        let mut trial = Trial::new(&mut rig, &workload)?;
        for row in &mut rows {
            for place in trial.places(row.fault).sample(&mut random, PLACES) {
                trial.try_place(row.fault, place, &mut random, &mut row.counts).map_err(|failure| {
                    match failure {
                        Failure::Violation(what) => Failure::Violation(format!(
                            "{what}\n  {real}, seed {seed}, workload {number}, {} at {place}: {workload:?}",
                            row.fault
                        )),
                        other => other,
                    }
                })?;
            }
        }
    }
    Ok(rows)
}

/// One workload, and the disk before it.
struct Trial<'a> {
    rig: &'a mut Rig,
    workload: &'a Workload,
    before: Media,
    /// Reads, writes, flushes and commits of the undisturbed run.
    counts: [u64; 4],
}

impl<'a> Trial<'a> {
    fn new(rig: &'a mut Rig, workload: &'a Workload) -> Result<Trial<'a>, Failure> {
        let files: Vec<Option<Vec<u8>>> = workload
            .maps
            .iter()
            .enumerate()
            .map(|(number, plan)| plan.initial_bytes.map(|_| workload.initial(number)))
            .collect();
        prepare(rig, &files)?;
        let mut trial = Trial { before: rig.device.media(), rig, workload, counts: [0; 4] };
        trial.rig.device.insert(trial.before.clone());
        trial.rig.mount()?;
        trial.rig.device.fail(None);
        let mut commits = 0;
        let played = play_on(trial.workload, &Folder(trial.rig.root()), &mut |_, told| {
            commits += u64::from(matches!(told, Told::Begun(_)));
        });
        let device = &trial.rig.device;
        trial.counts = [
            device.served(device::Operation::Read),
            device.served(device::Operation::Write),
            device.served(device::Operation::Flush),
            commits,
        ];
        let outcome = played.outcome.map_err(|error| format!("a workload failed on a sound disk: {error}"));
        drop(played.left);
        trial.rig.unmount()?;
        outcome.map_err(Failure::Violation)?;
        Ok(trial)
    }

    /// After so many operations the fault strikes.
    fn places(&self, fault: Fault) -> std::ops::Range<u64> {
        let [reads, writes, flushes, commits] = self.counts;
        0..match fault.operation {
            Operation::Read => reads,
            Operation::Write => writes,
            Operation::Flush => flushes,
            Operation::Space | Operation::Names => commits,
        }
    }

    fn histories(&self) -> Vec<History> {
        (0..self.workload.maps.len()).map(|map| History::new(self.workload.initial(map))).collect()
    }

    fn try_place(
        &mut self,
        fault: Fault,
        place: u64,
        random: &mut impl Rng,
        counts: &mut Counts,
    ) -> Result<(), Failure> {
        self.rig.device.insert(self.before.clone());
        self.rig.mount()?;
        let mut histories = self.histories();
        self.rig.device.record(histories.clone());
        let mut full = Full { ballast: self.rig.root().join("ballast"), taken: false, was_full: false };
        let mut begun = 0;
        if fault.operation != Operation::Space {
            self.rig.device.fail(Some(of_device(fault, place)));
        }
        let device = self.rig.device.clone();
        let (mut refusals, mut same_commit, mut refused) = (0, 0, false);
        let played = play_on(self.workload, &Folder(self.rig.root()), &mut |map, told| {
            match &told {
                Told::Begun(_) => {
                    begun += 1;
                    if fault.operation == Operation::Space && begun == place + 1 {
                        full.take();
                    }
                }
                // The same commit is tried once more, with the device well again and room on the disk.
                Told::NotCommitted => {
                    refusals += 1;
                    refused = true;
                    device.fail(None);
                    full.give();
                }
                Told::Durable(_) if std::mem::take(&mut refused) => same_commit += 1,
                _ => {}
            }
            device.tell(map, told.clone());
            if let Some(history) = histories.get_mut(map) {
                history.hear(told);
            }
        });
        let log = device.take_log().ok_or_else(|| Failure::Rig("nothing was recorded".into()))?;
        let struck = if fault.operation == Operation::Space { full.was_full } else { device.failed() > 0 };
        if struck {
            counts.places += 1;
            counts.same_commit += same_commit;
        } else {
            counts.not_struck += 1;
        }
        let mut none = Counts::default();
        let looked = look(&played, refusals, &mut histories, if struck { counts } else { &mut none });
        // What is in the page cache and was never written is lost, or is written now: the file system decides.
        self.rig.device.fail(None);
        full.give();
        drop(played);
        self.rig.unmount()?;
        looked.map_err(Failure::Violation)?;
        let cut = Cut { position: 0, survivors: Vec::new(), unflushed: 0, tear: None };
        let image = Image { cut, media: self.rig.device.media(), histories };
        counts.images += 1;
        check(self.rig, &image, random)?;
        if fault.operation == Operation::Space {
            // Whoever recovers there needs the room that the ballast takes, and is told so.
            return Ok(());
        }
        // Or the power goes before anybody writes again what a flush that failed did not make durable.
        let never_torn = self.rig.file_system().never_torn();
        let mut cuts = vec![images::at_the_end(&log)];
        cuts.extend(images::draw(&log, never_torn, CUTS, random));
        images::in_order(&mut cuts);
        for image in images::develop(&log, &cuts) {
            counts.images += 1;
            check(self.rig, &image, random).map_err(|failure| match failure {
                Failure::Violation(what) => Failure::Violation(format!("{what}\n  power {}", image.cut)),
                other => other,
            })?;
        }
        Ok(())
    }
}

fn of_device(fault: Fault, after: u64) -> DeviceFault {
    DeviceFault {
        operation: match fault.operation {
            Operation::Read => device::Operation::Read,
            Operation::Flush => device::Operation::Flush,
            _ => device::Operation::Write,
        },
        os_error: if fault.answer == Answer::Enospc { ENOSPC } else { EIO },
        after,
        lasting: fault.lasting,
        short: fault.answer == Answer::Short,
    }
}

/// A file that takes all the room there is.
struct Full {
    ballast: PathBuf,
    taken: bool,
    was_full: bool,
}

impl Full {
    fn take(&mut self) {
        self.taken = true;
        // Whatever fails here, the disk is as full as it gets.
        let _ = fill(&self.ballast);
        let left = self.ballast.parent().and_then(|folder| rustix::fs::statvfs(folder).ok());
        self.was_full |= left.is_some_and(|left| left.f_bavail * left.f_frsize < FULL_BYTES);
    }

    fn give(&mut self) {
        if std::mem::take(&mut self.taken) {
            let _ = fs::remove_file(&self.ballast);
        }
    }
}

/// As long as there is room for large pieces, then for small ones.
fn fill(ballast: &Path) -> std::io::Result<()> {
    let mut file = fs::File::options().append(true).create(true).open(ballast)?;
    for piece in [1 << 20, 1 << 14, 1 << 9] {
        let bytes = vec![1; piece];
        while file.write_all(&bytes).is_ok() {}
        // Delayed allocation finds out only now.
        if let Err(error) = file.sync_all() {
            let _ = error;
        }
    }
    Ok(())
}

/// What was told must be told rightly, and a latched map reads on, refuses everything else and keeps its journal.
fn look(
    played: &Played,
    refusals: u64,
    histories: &mut [History],
    counts: &mut Counts,
) -> Result<(), String> {
    let latched = |map: &AtomicMapping| map.status().latched.is_some();
    match &played.outcome {
        Ok(()) if refusals > 0 => counts.not_committed += 1,
        Ok(()) => counts.went_on += 1,
        Err(error) if error.kind() == ErrorKind::InDoubt => {
            counts.in_doubt += 1;
            let whose = played.left.iter().find(|left| left.commit_failed).and_then(|left| left.map.as_ref());
            if whose.is_some_and(|map| !latched(map)) {
                return Err(format!("in doubt and not latched: {error}"));
            }
        }
        Err(error) if error.raw_os_error().is_some() || error.kind() == ErrorKind::Latched => {
            counts.failed += 1
        }
        Err(error) => return Err(format!("wrongly told: {error:?}")),
    }
    if matches!(&played.outcome, Err(error) if error.kind() == ErrorKind::Latched) {
        // Refused for good: it was not even tried.
        for (left, history) in played.left.iter().zip(histories.iter_mut()) {
            if left.commit_failed {
                history.hear(Told::NotCommitted);
            }
        }
    }
    for (left, history) in played.left.iter().zip(histories.iter()) {
        let Some(map) = left.map.as_ref().filter(|map| latched(map)) else { continue };
        counts.latched += 1;
        let in_doubt = matches!(&played.outcome, Err(error) if error.kind() == ErrorKind::InDoubt);
        if in_doubt && left.commit_failed && history.states.last().is_none_or(|state| map[..] != **state) {
            return Err("in doubt, and memory is not what was to be committed".into());
        }
    }
    Ok(())
}
