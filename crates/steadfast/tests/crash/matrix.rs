//! A stop at every operation of the workload.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use steadfast::Tracker;
use steadfast::disk::{SimDisk, SyncPoint};

use crate::images::{Count, Depth, check};
use crate::script::{Log, Variant, Workload, disk, initial, run};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) variant: Variant,
    pub(crate) marks: bool,
    pub(crate) ignored: Option<SyncPoint>,
    pub(crate) depth: Depth,
    /// Recoveries are stopped in the images of every so many operations.
    pub(crate) nest_every: u64,
    pub(crate) sample_above: usize,
}

impl Matrix {
    fn disk(&self) -> SimDisk {
        let disk = if self.marks {
            disk()
        } else {
            let bare = SimDisk::new().without_marks();
            bare.put_file(crate::script::FILE, &initial());
            bare
        };
        if self.variant.workload == Workload::Secrets {
            disk.keep_freed_blocks();
        }
        if let Some(point) = self.ignored {
            disk.ignore_sync(point);
        }
        disk
    }

    /// Operations of the whole workload, when nothing stops it.
    fn operations(&self) -> u64 {
        let disk = self.disk();
        let mut log = Log::new(&initial());
        run(&disk, &mut log, self.variant).expect("the workload runs to its end");
        disk.operations()
    }

    /// All images of a stop at `operation`.
    fn stopped_at(&self, operation: u64, torn_bytes: Option<u64>) -> Result<Count, String> {
        let mut count = Count::default();
        let disk = self.disk();
        match torn_bytes {
            None => disk.stop_at(operation),
            Some(bytes) => disk.stop_within(operation, bytes),
        }
        let mut log = Log::new(&initial());
        let _ = run(&disk, &mut log, self.variant);
        let context = |error: String| {
            let trace = disk.trace();
            format!(
                "stopped at operation {operation} {torn_bytes:?}: {error}\nunsynced: {:?}\n{}",
                disk.unsynced_trace(),
                trace.join("\n")
            )
        };
        let nested = Depth { stop_recovery: operation.is_multiple_of(self.nest_every), ..self.depth };
        check(&disk.killed(), &log, nested, operation, &mut count)
            .map_err(|error| context(format!("killed: {error}")))?;
        for (index, survivors) in
            disk.power_cuts(operation, self.sample_above, self.depth.samples).enumerate()
        {
            // Recoveries are stopped in a few of the subsets: the first, and some that vary from stop to stop.
            let nest = nested.stop_recovery && (index == 0 || (index as u64 + operation).is_multiple_of(61));
            let depth = Depth { stop_recovery: nest, ..nested };
            check(&disk.power_cut(&survivors), &log, depth, operation, &mut count)
                .map_err(|error| context(format!("power cut {survivors}: {error}")))?;
        }
        Ok(count)
    }

    /// Every stop; the first violation ends it.
    pub(crate) fn walk(&self) -> Result<Count, String> {
        let operations = self.operations();
        let next = AtomicU64::new(1);
        let failed = AtomicBool::new(false);
        let work = || {
            let mut count = Count::default();
            loop {
                let operation = next.fetch_add(1, Ordering::Relaxed);
                if operation > operations + 1 || failed.load(Ordering::Relaxed) {
                    return Ok(count);
                }
                // Not at all, and torn: a kill in the middle of a write leaves a part of it.
                for torn in [None, Some(512), Some(4608)] {
                    match self.stopped_at(operation, torn) {
                        Ok(more) => count.add(more),
                        Err(error) => {
                            failed.store(true, Ordering::Relaxed);
                            return Err(error);
                        }
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(work);
            let mine = work();
            let theirs = other.join().expect("no panic");
            let mut count = mine?;
            count.add(theirs?);
            Ok(count)
        })
    }
}

pub(crate) const FULL: Matrix = Matrix {
    variant: Variant::CHANGES,
    marks: true,
    ignored: None,
    depth: Depth { stop_recovery: true, samples: 40 },
    nest_every: 1,
    sample_above: 12,
};

pub(crate) fn report(name: &str, count: Count) {
    println!(
        "{name}: {} images, {} of them inside a recovery; {} held the commit in flight; 0 violations",
        count.images, count.in_recovery, count.new_commit_found
    );
}

#[test]
fn a_crash_at_any_operation_leaves_the_last_commit_or_the_one_in_flight() {
    match FULL.walk() {
        Ok(count) => report("crash matrix", count),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_same_holds_while_checkpoints_are_under_way() {
    // From a checkpoint that never gets done in time to one that is done at once.
    for steps in [0, 1, 3, 100] {
        let matrix = Matrix {
            variant: Variant { steps, ..Variant::BACKGROUND },
            nest_every: if steps == 1 { 1 } else { 7 },
            sample_above: if steps == 1 { 10 } else { 6 },
            ..FULL
        };
        match matrix.walk() {
            Ok(count) => report(&format!("crash matrix, {steps} steps of a checkpoint a commit"), count),
            Err(error) => panic!("{steps} steps a commit: {error}"),
        }
    }
}

#[test]
fn the_same_holds_however_stores_are_found() {
    for tracker in [Tracker::PrivateCopies, Tracker::Declared] {
        for variant in [Variant::CHANGES, Variant::BACKGROUND] {
            let matrix =
                Matrix { variant: Variant { tracker, ..variant }, nest_every: 7, sample_above: 8, ..FULL };
            match matrix.walk() {
                Ok(count) => report(&format!("crash matrix, {tracker}, {:?}", variant.workload), count),
                Err(error) => panic!("{tracker}, {:?}: {error}", variant.workload),
            }
        }
    }
}

#[test]
fn the_same_holds_when_commits_are_published_to_the_plain_file() {
    for variant in [Variant::CHANGES, Variant::BACKGROUND] {
        let variant = Variant { publish: true, ..variant };
        let matrix = Matrix { variant, sample_above: 6, nest_every: 7, ..FULL };
        match matrix.walk() {
            Ok(count) => report(&format!("crash matrix, published, {:?}", variant.workload), count),
            Err(error) => panic!("{:?}: {error}", variant.workload),
        }
    }
}

#[test]
fn the_same_holds_on_a_file_system_without_extended_attributes() {
    let matrix = Matrix { marks: false, sample_above: 6, nest_every: 7, ..FULL };
    match matrix.walk() {
        Ok(count) => report("crash matrix, without marks", count),
        Err(error) => panic!("{error}"),
    }
}

/// The syncs of a commit, a checkpoint, an open and a close. Each is left out in turn, and the matrix must see it.
#[test]
fn every_sync_is_needed() {
    // Those of scrubs, copies and readers have tests of their own.
    use SyncPoint::{Copy, CopyName, Scrub, Shown, ShownName};
    let points =
        SyncPoint::ALL.iter().filter(|point| !matches!(point, Scrub | Copy | CopyName | Shown | ShownName));
    for &point in points {
        let matrix = Matrix { ignored: Some(point), sample_above: 8, nest_every: 3, ..FULL };
        match matrix.walk() {
            Ok(count) => panic!("{point:?} was left out and {} images held", count.images),
            Err(error) => println!("without {point:?}: {}", error.lines().next().unwrap_or_default()),
        }
    }
}
