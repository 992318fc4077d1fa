//! A disk that fails while an open recovers.

use rand::{Rng, RngExt};
use steadfast::disk::{CallKind, SimDisk};
use steadfast::{AtomicMapping, Error};

use super::{On, Place, disk_of, images, is_the_disks};
use crate::failing::matrix::Counts;
use crate::history::{History, Told};
use crate::workload::{Stage, Workload, play};

/// So many ends of a program are drawn for one that leaves something to recover.
const ENDS: usize = 16;

/// The disk of a program that ended somewhere in its workload with a journal left, and what it had been told. `None` where no end
/// that was drawn leaves one.
pub(super) fn image(
    workload: &Workload,
    plant: fn(&SimDisk),
    random: &mut impl Rng,
) -> Result<Option<(SimDisk, Vec<History>)>, String> {
    let whole = disk_of(workload, plant);
    play(workload, &On(&whole), &mut |_, _| {}).map_err(|error| format!("nothing failed, but {error}"))?;
    for _ in 0..ENDS {
        let disk = disk_of(workload, plant);
        disk.stop_at(random.random_range(1..=whole.operations().max(1)));
        let mut histories = super::playing::histories(workload);
        // However it ends: what it was told counts.
        let _ = play(workload, &On(&disk), &mut |map, told| histories[map].hear(told));
        let unsynced = disk.power_cuts(random.next_u64(), 4, 4);
        let image = match rand::seq::IteratorRandom::choose(unsynced, random) {
            Some(survivors) if random.random() => disk.power_cut(&survivors),
            _ => disk.killed(),
        };
        if (0..workload.maps.len()).any(|map| image.exists(super::journal(map))) {
            return Ok(Some((image, histories)));
        }
    }
    Ok(None)
}

/// How often an undisturbed recovery asks for this.
pub(super) fn calls(workload: &Workload, image: &SimDisk, kind: CallKind) -> u64 {
    let disk = image.killed();
    // One that is refused is the judge's affair, not the counter's.
    let opened: Vec<_> = (0..workload.maps.len()).map(|map| open(workload, &disk, map)).collect();
    let calls = disk.calls(Some(kind));
    drop(opened);
    calls
}

fn open(workload: &Workload, disk: &SimDisk, map: usize) -> Result<AtomicMapping, Error> {
    On(disk).open(map, &workload.maps[map], AtomicMapping::options().create(true).journal_bytes(1))
}

/// One place of the recovery of `image`.
pub(super) fn try_place(
    place: &Place<'_>,
    image: &SimDisk,
    histories: &[History],
    counts: &mut Counts,
) -> Result<(), String> {
    let mut random = place.draws();
    let disk = image.killed();
    place.inject(&disk, &mut random);
    let mut histories = histories.to_vec();
    let mut failed = false;
    let mut held = Vec::new();
    for (map, history) in histories.iter_mut().enumerate() {
        // Whatever happens, it need not be a plain file any more.
        history.closed = None;
        match open(place.workload, &disk, map) {
            Ok(opened) => {
                let shown = history.judge(&opened).map_err(|error| format!("map {map}: {error}"))?;
                history.hear(Told::Shown(shown));
                history.hear(Told::Opening);
                if random.random() {
                    match opened.close() {
                        Ok(()) => history.hear(Told::Closed),
                        Err(error) => failed |= accept(&error)?,
                    }
                } else if random.random() {
                    drop(opened);
                } else {
                    held.push(opened);
                }
            }
            Err(error) => failed |= accept(&error)?,
        }
    }
    if disk.calls(Some(place.kind())) < place.call {
        counts.not_struck += 1;
    } else {
        counts.recoveries += 1;
        counts.recoveries_failed += u64::from(failed);
    }
    counts.images += images::judge(&disk, &histories, 2, &mut random)?;
    disk.clear_failures();
    drop(held);
    counts.images += images::judge(&disk, &histories, 1, &mut random)?;
    Ok(())
}

fn accept(error: &Error) -> Result<bool, String> {
    let latched = error.kind() == steadfast::ErrorKind::Latched;
    if latched || is_the_disks(error) { Ok(true) } else { Err(format!("wrongly told: {error:?}")) }
}
