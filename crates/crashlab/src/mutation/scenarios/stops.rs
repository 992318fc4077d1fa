//! A scripted workload stopped at each of its operations, with what a kill and power cuts leave.

use steadfast::disk::SimDisk;
use steadfast::store::Store;

use super::rig::{FILE, Found, initial, open, plain, read, same};
use super::script::{Variant, background, changes};
use crate::history::History;

pub(super) const CHANGES: Variant = Variant { steps: 2, publish: false, marks: true, script: changes };
pub(super) const BACKGROUND: Variant = Variant { steps: 1, script: background, ..CHANGES };

pub(super) fn all(seed: u64) -> Found {
    let variants = [
        CHANGES,
        BACKGROUND,
        Variant { publish: true, ..CHANGES },
        Variant { marks: false, ..CHANGES },
        Variant { steps: 100, ..BACKGROUND },
        Variant { publish: true, steps: 100, ..BACKGROUND },
    ];
    for variant in variants {
        variant_stops(variant, seed)?;
    }
    Ok(())
}

fn variant_stops(variant: Variant, seed: u64) -> Found {
    for operation in 1..=variant.operations()? + 1 {
        for torn in [None, Some(512)] {
            let disk = variant.disk();
            match torn {
                None => disk.stop_at(operation),
                Some(bytes) => disk.stop_within(operation, bytes),
            }
            let mut history = History::new(initial());
            let _ = variant.play(&disk, &mut history);
            images(&disk, &history, seed ^ operation, 4, 4)
                .map_err(|error| format!("{variant:?} stopped at {operation} {torn:?}: {error}"))?;
        }
    }
    Ok(())
}

/// What a kill leaves, and power cuts.
pub(super) fn images(
    disk: &SimDisk,
    history: &History,
    seed: u64,
    sample_above: usize,
    samples: usize,
) -> Found {
    image(&disk.killed(), history, seed).map_err(|error| format!("killed: {error}"))?;
    for survivors in disk.power_cuts(seed, sample_above, samples) {
        image(&disk.power_cut(&survivors), history, seed)
            .map_err(|error| format!("power cut {survivors}: {error}"))?;
    }
    Ok(())
}

/// Everything that must hold for one image.
pub(super) fn image(disk: &SimDisk, history: &History, seed: u64) -> Found {
    if let Some(closed) = history.closed {
        plain(disk, &history.states[closed], "after a close that returned")?;
    }
    let mut store = open(disk, 1)?;
    let found = read(&store)?;
    history.judge(&found)?;
    same(&disk.read_file(FILE).unwrap_or_default(), &found, "the plain file after recovery")?;
    // What was shown stays.
    for survivors in disk.power_cuts(seed, 2, 1) {
        let again = open(&disk.power_cut(&survivors), 1)?;
        same(&read(&again)?, &found, "shown, and another state after a power cut")?;
    }
    store.close().map_err(|error| format!("close after recovery: {error}"))?;
    plain(disk, &found, "recovered and closed")?;
    for survivors in disk.power_cuts(seed, 2, 1) {
        plain(&disk.power_cut(&survivors), &found, "recovered, closed, power cut")?;
    }
    Ok(())
}
