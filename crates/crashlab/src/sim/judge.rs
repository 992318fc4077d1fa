//! Recovering an image, and judging what comes out.

use std::sync::Arc;

use rand::{Rng, RngExt};
use steadfast::AtomicMapping;
use steadfast::disk::{Disk, SimDisk, Survivors};
use steadfast::store::{JournaledFile, Store};

use super::case::file;
use super::figures::Tally;
use super::walk::cuts;
use crate::history::{Content, History, difference};

/// What is known of one file when the program ended.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) history: History,
    /// It was not there at first, and whoever comes next may create it as well.
    pub(super) created: bool,
}

/// A file that is open again, and the content that it shows.
struct Recovered {
    store: JournaledFile,
    shown: Content,
}

fn on(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// Everything that must hold for one image. With `nest`, the recovery is stopped at each of its operations too, and what that
/// leaves is judged as well.
pub(super) fn check(
    image: &SimDisk,
    known: &[Known],
    nest: bool,
    random: &mut impl Rng,
    tally: &mut Tally,
) -> Result<(), String> {
    tally.states += 1;
    for (map, known) in known.iter().enumerate() {
        if let Some(closed) = known.history.closed {
            if known.created && known.history.last() == 0 {
                nothing(image, map)?;
            } else {
                plain(image, map, &known.history.states[closed])
                    .map_err(|error| format!("after a close that returned: {error}"))?;
            }
        }
    }
    if nest {
        check_stopped_recovery(image, known, random, tally)?;
    }
    let disk = image.killed();
    let mut maps = Vec::with_capacity(known.len());
    open(&disk, known, &mut maps)?;
    let mut newer = false;
    for (map, (recovered, known)) in maps.iter().zip(known).enumerate() {
        let state = known.history.judge(&recovered.shown).map_err(|error| format!("map {map}: {error}"))?;
        newer |= state > known.history.durable;
        if disk.read_file(file(map)).as_ref() != Some(&recovered.shown) {
            return Err(format!("map {map}: after recovery the plain file is not what was shown"));
        }
    }
    tally.new_commit_found += u64::from(newer);
    check_that_it_stays(&disk, &maps, random)?;
    close(&disk, maps, random)
}

/// What was shown once is there for ever, whatever happens next.
fn check_that_it_stays(disk: &SimDisk, maps: &[Recovered], random: &mut impl Rng) -> Result<(), String> {
    for survivors in cuts(disk, 2, random) {
        again(&disk.power_cut(&survivors), maps)
            .map_err(|error| format!("power cut {survivors} after recovery: {error}"))?;
    }
    let killed = disk.killed();
    // Through a mapping now and then: it is what programs see.
    let result = if random.random_ratio(1, 16) { mapped(&killed, maps) } else { again(&killed, maps) };
    result.map_err(|error| format!("second recovery: {error}"))
}

fn close(disk: &SimDisk, maps: Vec<Recovered>, random: &mut impl Rng) -> Result<(), String> {
    let mut closed = Vec::with_capacity(maps.len());
    for (map, mut recovered) in maps.into_iter().enumerate() {
        recovered.store.close().map_err(|error| format!("map {map}: close after recovery: {error}"))?;
        closed.push(recovered.shown);
    }
    let all_plain =
        |disk: &SimDisk| closed.iter().enumerate().try_for_each(|(map, shown)| plain(disk, map, shown));
    all_plain(disk).map_err(|error| format!("after recovery and close: {error}"))?;
    for survivors in cuts(disk, 4, random) {
        all_plain(&disk.power_cut(&survivors))
            .map_err(|error| format!("power cut {survivors} after recovery and close: {error}"))?;
    }
    Ok(())
}

fn check_stopped_recovery(
    image: &SimDisk,
    known: &[Known],
    random: &mut impl Rng,
    tally: &mut Tally,
) -> Result<(), String> {
    let has_journal = (0..known.len()).any(|map| image.exists(journal(map)));
    for stop in 1.. {
        let within = [0, 512, 4608][random.random_range(0..3)];
        let disk = image.killed();
        disk.stop_within(stop, within);
        let mut maps = Vec::new();
        let opened = open(&disk, known, &mut maps);
        if !disk.is_stopped() {
            give_up(&disk, maps);
            // If it failed by itself, so it does without a stop, and is judged there.
            return Ok(());
        }
        drop(opened);
        // A map that was open already has shown what it holds.
        let mut known: Vec<Known> = known.to_vec();
        for (map, recovered) in maps.iter().enumerate() {
            let state = known[map].history.judge(&recovered.shown);
            let state = state.map_err(|error| format!("map {map}: {error}"))?;
            let history = &mut known[map].history;
            history.states = vec![Arc::clone(&history.states[state])];
            history.durable = 0;
        }
        for known in &mut known {
            known.history.closed = None;
        }
        drop(maps);
        let context = |how: &str, error: String| {
            format!("recovery stopped at its operation {stop} (within {within} bytes), {how}: {error}")
        };
        // Where nothing was left to recover it was only an open.
        let in_recovery = u64::from(has_journal);
        tally.in_recovery += in_recovery;
        check(&disk.killed(), &known, false, random, tally).map_err(|error| context("killed", error))?;
        for survivors in cuts(&disk, 2, random) {
            tally.in_recovery += in_recovery;
            tally.torn += u64::from(is_torn(&survivors));
            check(&disk.power_cut(&survivors), &known, false, random, tally)
                .map_err(|error| context(&format!("power cut {survivors}"), error))?;
        }
    }
    Ok(())
}

/// Whether the last surviving write is torn.
pub(super) fn is_torn(survivors: &Survivors) -> bool {
    survivors.to_string().contains("torn")
}

/// Opens one map after the other for commits; those that were opened are in `maps` whatever happens.
fn open(disk: &SimDisk, known: &[Known], maps: &mut Vec<Recovered>) -> Result<(), String> {
    for (map, known) in known.iter().enumerate() {
        // Creating it anew would hide that it is gone, if it was empty.
        let gone = !disk.exists(file(map));
        if gone && known.history.durable > 0 {
            return Err(format!("map {map}: the data file is gone"));
        }
        maps.push(recover(disk, map, known.created)?);
    }
    Ok(())
}

fn recover(disk: &SimDisk, map: usize, create: bool) -> Result<Recovered, String> {
    let store = JournaledFile::options()
        .create(create)
        .journal_bytes(1)
        .stepped(1)
        .open_on(on(disk), file(map))
        .map_err(|error| format!("map {map}: recovery refused: {error}"))?;
    let mut bytes = vec![0; store.committed_len() as usize];
    store
        .read_committed(&mut bytes, 0)
        .map_err(|error| format!("map {map}: cannot read what was recovered: {error}"))?;
    Ok(Recovered { store, shown: Arc::new(bytes) })
}

/// A recovery of the same files once more shows the same.
fn again(disk: &SimDisk, maps: &[Recovered]) -> Result<(), String> {
    let mut opened = Vec::with_capacity(maps.len());
    let result = maps.iter().enumerate().try_for_each(|(map, before)| {
        let recovered = recover(disk, map, false)?;
        let result = same(map, &recovered.shown, &before.shown);
        opened.push(recovered);
        result
    });
    give_up(disk, opened);
    result
}

fn mapped(disk: &SimDisk, maps: &[Recovered]) -> Result<(), String> {
    maps.iter().enumerate().try_for_each(|(map, before)| {
        let opened = AtomicMapping::options().journal_bytes(1).stepped(1).load_on(on(disk), file(map));
        let opened = opened.map_err(|error| format!("map {map}: load refused: {error}"))?;
        same(map, &opened, &before.shown)
    })
}

fn same(map: usize, got: &[u8], want: &[u8]) -> Result<(), String> {
    if got == want {
        return Ok(());
    }
    Err(format!("map {map}: not what was shown before: {}", difference(got, want)))
}

/// Stores that are dropped end their files' sessions; nobody will look at these.
fn give_up(disk: &SimDisk, maps: Vec<Recovered>) {
    disk.stop_at(1);
    drop(maps);
}

fn journal(map: usize) -> String {
    format!("{}.steadfast", file(map))
}

/// A plain file with this content, and nothing beside it.
fn plain(disk: &SimDisk, map: usize, want: &[u8]) -> Result<(), String> {
    let (journal, mark) = (disk.exists(journal(map)), disk.mark_of(file(map)).is_some());
    if journal || mark {
        return Err(format!("map {map}: left behind: journal {journal}, mark {mark}"));
    }
    match disk.read_file(file(map)) {
        Some(bytes) if bytes == want => Ok(()),
        Some(bytes) => Err(format!("map {map}: the plain file differs: {}", difference(&bytes, want))),
        None => Err(format!("map {map}: the data file is gone")),
    }
}

/// Nobody touched this map.
fn nothing(disk: &SimDisk, map: usize) -> Result<(), String> {
    if disk.exists(file(map)) || disk.exists(journal(map)) {
        return Err(format!("map {map}: there although it was never opened"));
    }
    Ok(())
}
