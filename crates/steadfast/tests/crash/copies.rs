//! A copy is the old file or the new one, whole, wherever it is stopped.

use std::sync::Arc;

use steadfast::AtomicMapping;
use steadfast::disk::{Disk, SimDisk, SyncPoint};

use crate::script::{FILE, disk};

const COPY: &str = "/copy";
const OLD: &[u8] = b"what was there before";

fn world(ignored: Option<SyncPoint>) -> (SimDisk, AtomicMapping) {
    let disk = disk();
    disk.put_file(COPY, OLD);
    if let Some(point) = ignored {
        disk.ignore_sync(point);
    }
    let mut map = AtomicMapping::options()
        .journal_bytes(1 << 16)
        .load_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)
        .unwrap();
    map.edit(100..200).unwrap().fill(7);
    map.commit().unwrap();
    (disk, map)
}

fn judge(disk: &SimDisk, new: &[u8], returned: bool) -> Result<(), String> {
    let found = disk.read_file(COPY).ok_or("the copy's name is gone")?;
    match (found == new, found == OLD, returned) {
        (true, ..) | (_, true, false) => Ok(()),
        (false, old, _) => {
            Err(format!("{} bytes, the old file: {old}, the call had returned: {returned}", found.len()))
        }
    }
}

fn every_stop(ignored: Option<SyncPoint>) -> Result<(), String> {
    for stop in 1.. {
        let (disk, map) = world(ignored);
        let new = map.to_vec();
        disk.stop_at(stop);
        let returned = map.copy_to(COPY).is_ok();
        // The map's own close is another test's subject: only the copy's operations are counted.
        let images = disk.killed();
        judge(&images, &new, returned)?;
        for survivors in disk.power_cuts(stop, 12, 40) {
            judge(&disk.power_cut(&survivors), &new, returned)
                .map_err(|error| format!("stopped at {stop}, power cut {survivors}: {error}"))?;
        }
        if returned {
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn a_copy_is_the_old_file_or_the_new_one_whole() {
    every_stop(None).unwrap();
}

#[test]
fn every_sync_of_a_copy_is_needed() {
    for point in [SyncPoint::Copy, SyncPoint::CopyName] {
        let error = every_stop(Some(point)).expect_err("left out and nothing was lost");
        println!("without {point:?}: {error}");
    }
}
