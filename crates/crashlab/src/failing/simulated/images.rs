//! The states in which a disk may be found, and what must hold for each.

use std::sync::Arc;

use rand::Rng;
use rand::seq::IteratorRandom;
use steadfast::disk::{Disk, SimDisk, Survivors};
use steadfast::store::{JournaledFile, Store};

use super::{file, journal};
use crate::history::{History, difference};

/// Judges what a kill, with or without memory pressure behind it, and power cuts would leave now. Says how many that were.
pub(super) fn judge(
    disk: &SimDisk,
    histories: &[History],
    samples: usize,
    random: &mut impl Rng,
) -> Result<u64, String> {
    check(&disk.killed(), histories, random).map_err(|error| format!("killed: {error}"))?;
    // Memory pressure throws falsely clean pages away: what is read back then is what the disk has.
    let evicted = disk.killed();
    evicted.evict();
    check(&evicted, histories, random).map_err(|error| format!("killed, pages evicted: {error}"))?;
    let cuts = cuts(disk, samples, random);
    let images = 2 + cuts.len() as u64;
    for survivors in cuts {
        check(&disk.power_cut(&survivors), histories, random)
            .map_err(|error| format!("power cut {survivors} of {:?}: {error}", disk.unsynced_trace()))?;
    }
    Ok(images)
}

/// The one that loses everything, and some others.
fn cuts(disk: &SimDisk, samples: usize, random: &mut impl Rng) -> Vec<Survivors> {
    let others = disk.power_cuts(random.next_u64(), 6, 6).sample(random, samples);
    std::iter::once(Survivors::none()).chain(others).collect()
}

/// Everything that must hold for one image.
fn check(image: &SimDisk, histories: &[History], random: &mut impl Rng) -> Result<(), String> {
    for (map, history) in histories.iter().enumerate() {
        if let Some(closed) = history.closed {
            let want = history.states.get(closed).ok_or("no such state")?;
            plain(image, map, want).map_err(|error| format!("closed and not plain: {error}"))?;
        }
    }
    let disk = image.killed();
    let mut shown = Vec::new();
    let mut stores = Vec::new();
    for (map, history) in histories.iter().enumerate() {
        let (store, found) = open(&disk, map)?;
        history.judge(&found).map_err(|error| format!("map {map}: {error}"))?;
        if disk.read_file(file(map)).as_ref() != Some(&found) {
            return Err(format!("map {map}: the plain file is not what was recovered"));
        }
        stores.push(store);
        shown.push(found);
    }
    // What was shown stays, whatever happens next.
    let mut later = cuts(&disk, 1, random);
    later.push(Survivors::all());
    for survivors in later {
        same(&disk.power_cut(&survivors), &shown)
            .map_err(|error| format!("power cut {survivors} after recovery: {error}"))?;
    }
    same(&disk.killed(), &shown).map_err(|error| format!("second recovery: {error}"))?;
    for (map, store) in stores.iter_mut().enumerate() {
        store.close().map_err(|error| format!("map {map}: close after recovery: {error}"))?;
    }
    for (map, found) in shown.iter().enumerate() {
        plain(&disk, map, found).map_err(|error| format!("after recovery and close: {error}"))?;
        plain(&disk.power_cut(&Survivors::none()), map, found)
            .map_err(|error| format!("power cut after recovery and close: {error}"))?;
    }
    Ok(())
}

fn same(disk: &SimDisk, shown: &[Vec<u8>]) -> Result<(), String> {
    for (map, want) in shown.iter().enumerate() {
        let (_, found) = open(disk, map)?;
        if found != *want {
            return Err(format!("map {map}: {}", difference(&found, want)));
        }
    }
    Ok(())
}

/// Opens a file for commits. One that never got a durable name is made anew, and empty.
fn open(disk: &SimDisk, map: usize) -> Result<(JournaledFile, Vec<u8>), String> {
    let store = JournaledFile::options()
        .create(true)
        .journal_bytes(1)
        .stepped(1)
        .open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, file(map))
        .map_err(|error| format!("map {map}: recovery refused: {error:?}"))?;
    let mut bytes = vec![0; store.committed_len() as usize];
    store.read_committed(&mut bytes, 0).map_err(|error| format!("map {map}: not to be read: {error}"))?;
    Ok((store, bytes))
}

fn plain(disk: &SimDisk, map: usize, want: &[u8]) -> Result<(), String> {
    let companions = (disk.exists(journal(map)), disk.mark_of(file(map)).is_some());
    if companions != (false, false) {
        return Err(format!("map {map}: (journal, mark) {companions:?}"));
    }
    match disk.read_file(file(map)) {
        Some(bytes) if bytes == want => Ok(()),
        None if want.is_empty() => Ok(()),
        Some(bytes) => Err(format!("map {map}: {}", difference(&bytes, want))),
        None => Err(format!("map {map}: the data file is gone")),
    }
}
