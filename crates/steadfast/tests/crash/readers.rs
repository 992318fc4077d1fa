//! What a reader is shown of what a crash left is what recovery makes, and no power cut takes it away again.

use std::sync::Arc;

use steadfast::disk::{Disk, SimDisk, SyncPoint};
use steadfast::store::{Batch, CommitId, Extent, Flush, JournaledFile, Resolution, Store, recover_on};
use steadfast::{AtomicMapping, Error, Tracker};

use crate::images::difference;
use crate::script::{FILE, JOURNAL, Log, Variant, disk, initial, run};

fn on(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// What recovery makes of a disk.
fn recovered(disk: &SimDisk) -> Result<(CommitId, Vec<u8>), Error> {
    let disk = disk.killed();
    let recovery = recover_on(on(&disk), FILE, Resolution::Replay)?;
    Ok((recovery.last, disk.read_file(FILE).unwrap_or_default()))
}

/// Looks at one image. `is_sound` says that no flush failed before: then nothing is changed at all by looking.
fn check(image: &SimDisk, is_sound: bool, seed: u64) -> Result<(), String> {
    let disk = image.killed();
    let picture = |disk: &SimDisk| (disk.read_file(FILE), disk.mark_of(FILE), disk.read_file(JOURNAL));
    let before = picture(&disk);
    let first = recovered(&disk);
    let shown = AtomicMapping::options().read_only(true).load_on(on(&disk), FILE);
    if is_sound && picture(&disk) != before {
        return Err("looking changed something".into());
    }
    let shown = match (shown, first) {
        (Ok(shown), Ok(_)) => shown,
        (Err(shown), Err(recovery)) if shown.to_string() == recovery.to_string() => return Ok(()),
        (shown, recovery) => return Err(format!("shown {shown:?}, recovered {recovery:?}")),
    };
    let judge = |what: &str, found: Result<(CommitId, Vec<u8>), Error>| match found {
        Ok((_, bytes)) if bytes[..] == shown[..] => Ok(()),
        Ok((last, bytes)) => Err(format!(
            "{what} made commit {last} of what was shown as {}: {}",
            shown.status().last,
            difference(&bytes, &shown)
        )),
        Err(error) => Err(format!("{what}: {error}")),
    };
    judge("recovery", recovered(&disk))?;
    if is_sound {
        judge("recovery without a reader before it", recovered(image))?;
    }
    for survivors in disk.power_cuts(seed, 3, 4) {
        judge(&format!("power cut {survivors} and recovery"), recovered(&disk.power_cut(&survivors)))?;
    }
    Ok(())
}

fn every_stop(variant: Variant, marks: bool) -> Result<u64, String> {
    let disk = || {
        if marks {
            return disk();
        }
        let bare = SimDisk::new().without_marks();
        bare.put_file(FILE, &initial());
        bare
    };
    let mut images = 0;
    for stop in 1.. {
        let disk = disk();
        disk.stop_at(stop);
        let ended = run(&disk, &mut Log::new(&initial()), variant).is_ok();
        check(&disk, true, stop).map_err(|error| format!("stopped at {stop}: {error}"))?;
        images += 1;
        for survivors in disk.power_cuts(stop, 3, 3) {
            check(&disk.power_cut(&survivors), true, stop)
                .map_err(|error| format!("stopped at {stop}, power cut {survivors}: {error}"))?;
            images += 1;
        }
        if ended {
            break;
        }
    }
    Ok(images)
}

#[test]
fn a_reader_is_shown_what_recovery_makes_and_no_power_cut_takes_it_away() {
    for variant in [Variant::CHANGES, Variant::BACKGROUND] {
        for (publish, marks) in [(false, true), (true, true), (false, false)] {
            let variant = Variant { publish, tracker: Tracker::Declared, ..variant };
            let images = every_stop(variant, marks).unwrap_or_else(|error| panic!("{variant:?}: {error}"));
            println!("{:?}, published {publish}, marks {marks}: {images} images", variant.workload);
        }
    }
}

/// A session in which the `failing`-th sync fails, stopped at an operation. `false` if it came to its end.
fn session(disk: &SimDisk, failing: u64, stop: u64) -> bool {
    let work = || -> Result<(), Error> {
        let options = JournaledFile::options().journal_bytes(8 * 4096).stepped(2);
        let mut store = options.open_on(on(disk), FILE)?;
        for (number, flush) in (1..).zip([Flush::Now, Flush::Later, Flush::Later, Flush::Now, Flush::Now]) {
            let extents = [Extent { offset: 100 * number, len: 50 }];
            let len = store.committed_len();
            let bytes = [number as u8; 50];
            store.commit(&Batch { len_min: len, len, extents: &extents, bytes: &bytes }, flush)?;
        }
        store.checkpoint()
    };
    disk.fail_sync(failing);
    disk.stop_at(stop);
    let _ = work();
    disk.is_stopped()
}

fn with_a_failure(ignored: Option<SyncPoint>, marks: bool) -> Result<u64, String> {
    let mut images = 0;
    for failing in 1..16 {
        for stop in 1.. {
            let disk = if marks { SimDisk::new() } else { SimDisk::new().without_marks() };
            disk.put_file(FILE, &initial());
            let stopped = session(&disk, failing, stop);
            let image = disk.killed();
            if let Some(point) = ignored {
                image.ignore_sync(point);
            }
            check(&image, false, stop).map_err(|error| {
                format!(
                    "sync {failing} failed, stopped at {stop}: {error}; unsynced: {:?}",
                    disk.unsynced_trace()
                )
            })?;
            images += 1;
            if !stopped {
                break;
            }
        }
    }
    Ok(images)
}

#[test]
fn the_same_holds_after_a_flush_that_failed() {
    for marks in [true, false] {
        let images = with_a_failure(None, marks).unwrap();
        println!("marks {marks}: {images} images");
    }
}

#[test]
fn every_sync_of_a_reader_is_needed() {
    for point in [SyncPoint::Shown, SyncPoint::ShownName] {
        let error = with_a_failure(Some(point), true).expect_err("left out and nothing was lost");
        println!("without {point:?}: {error}");
    }
}
