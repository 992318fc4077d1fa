//! A program that is started again after a crash, works on, and crashes once more.

use std::sync::Arc;

use rand::{Rng, RngExt};
use steadfast::disk::{Disk, SimDisk};
use steadfast::{AtomicMapping, Error, ErrorKind};

use super::case::file;
use super::figures::Tally;
use super::judge::{Known, check, is_torn};
use super::walk::cuts;
use crate::history::{History, Told};
use crate::workload::PAGE;

/// Recovers the image by loading it, commits to what was found, stops somewhere, and judges what that leaves.
pub(super) fn go_on(
    image: &SimDisk,
    known: &[Known],
    random: &mut impl Rng,
    tally: &mut Tally,
) -> Result<(), String> {
    let disk = image.killed();
    let mut maps = Vec::with_capacity(known.len());
    let mut next = Vec::with_capacity(known.len());
    for (map, known) in known.iter().enumerate() {
        if known.history.durable > 0 && !disk.exists(file(map)) {
            return Err(format!("map {map}: the data file is gone"));
        }
        let opened = AtomicMapping::options()
            .create(known.created)
            .journal_bytes(8 * PAGE as u64)
            .stepped(random.random_range(0..3))
            .load_on(Arc::new(disk.clone()) as Arc<dyn Disk>, file(map))
            .map_err(|error| format!("map {map}: load refused: {error}"))?;
        known.history.judge(&opened).map_err(|error| format!("map {map}: {error}"))?;
        next.push(Known {
            history: History { closed: None, ..History::new(opened.to_vec()) },
            created: false,
        });
        maps.push(opened);
    }
    let (stop, within) = (random.random_range(1..=24), [0, 512, 4608][random.random_range(0..3)]);
    disk.stop_within(stop, within);
    for count in 0..random.random_range(1..=8) {
        let map = random.random_range(0..maps.len());
        match act(&mut maps[map], &mut next[map].history, count, random) {
            Ok(()) => {}
            Err(_) if disk.is_stopped() => break,
            Err(error) => return Err(format!("map {map}: an error before the stop: {error}")),
        }
    }
    let context = |how: &str, error: String| {
        format!(
            "went on after recovery, stopped at operation {stop} from there (within {within} bytes), {how}: {error}"
        )
    };
    tally.gone_on += 1;
    check(&disk.killed(), &next, false, random, tally).map_err(|error| context("killed", error))?;
    for survivors in cuts(&disk, 3, random) {
        tally.gone_on += 1;
        tally.torn += u64::from(is_torn(&survivors));
        check(&disk.power_cut(&survivors), &next, false, random, tally)
            .map_err(|error| context(&format!("power cut {survivors}"), error))?;
    }
    // What the maps do when they are dropped is of no use.
    disk.stop_at(1);
    Ok(())
}

/// A change, and most of the time a commit.
fn act(
    map: &mut AtomicMapping,
    history: &mut History,
    count: u8,
    random: &mut impl Rng,
) -> Result<(), Error> {
    if random.random_ratio(1, 4) {
        let len = random.random_range(1..=3 * PAGE);
        map.resize(len)?;
    }
    if !map.is_empty() {
        let start = random.random_range(0..map.len());
        let end = map.len().min(start + [1, 50, PAGE][random.random_range(0..3)]);
        map.edit(start..end)?.fill(101 + count);
    }
    let kind = random.random_range(0..6);
    if kind == 0 {
        return Ok(());
    }
    history.hear(Told::Begun(Arc::new(map.to_vec())));
    let result = if kind == 1 { map.commit_relaxed() } else { map.commit() };
    match result {
        Ok(_) if kind == 1 => {}
        Ok(_) => history.hear(Told::Durable(history.last())),
        Err(error) => {
            if error.kind() == ErrorKind::NotCommitted {
                history.hear(Told::NotCommitted);
            }
            return Err(error);
        }
    }
    if kind == 2 {
        map.checkpoint()?;
    }
    Ok(())
}
