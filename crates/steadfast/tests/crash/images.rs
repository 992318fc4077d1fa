//! Recovering an image, and judging what comes out.

use std::sync::Arc;

use steadfast::disk::{Disk, SimDisk};
use steadfast::store::{JournaledFile, Store};

use crate::script::{FILE, JOURNAL, Log};
use crate::secrets::{self, Secret};

/// How far an image is followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Stop the recovery at each of its operations too, with images of its own.
    pub(crate) stop_recovery: bool,
    /// Subsets sampled where there are more than twelve unsynced operations.
    pub(crate) samples: usize,
}

/// How much was looked at.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) images: u64,
    pub(crate) in_recovery: u64,
    pub(crate) new_commit_found: u64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Count) {
        self.images += other.images;
        self.in_recovery += other.in_recovery;
        self.new_commit_found += other.new_commit_found;
    }
}

/// Opens the image for commits; the state that is found is returned.
fn open(disk: &SimDisk, log: &Log) -> Result<(JournaledFile, Vec<u8>), String> {
    let store = JournaledFile::options()
        .journal_bytes(1)
        .scrub(log.secret.is_some())
        .stepped(1)
        .open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)
        .map_err(|error| format!("recovery refused: {error}"))?;
    let mut bytes = vec![0; store.committed_len() as usize];
    store
        .read_committed(&mut bytes, 0)
        .map_err(|error| format!("cannot read what was recovered: {error}"))?;
    Ok((store, bytes))
}

fn plain(disk: &SimDisk, want: &[u8], when: &str) -> Result<(), String> {
    if disk.exists(JOURNAL) || disk.mark_of(FILE).is_some() {
        return Err(format!(
            "{when}: journal {}, mark {}",
            disk.exists(JOURNAL),
            disk.mark_of(FILE).is_some()
        ));
    }
    match disk.read_file(FILE) {
        Some(bytes) if bytes == want => Ok(()),
        Some(bytes) => Err(format!("{when}: {} bytes, {}", bytes.len(), difference(&bytes, want))),
        None => Err(format!("{when}: the data file is gone")),
    }
}

pub(crate) fn difference(got: &[u8], want: &[u8]) -> String {
    match got.iter().zip(want).position(|(a, b)| a != b) {
        Some(at) => format!("first difference at {at}: {} for {}", got[at], want[at]),
        None => format!("lengths {} and {}", got.len(), want.len()),
    }
}

/// Which allowed state is this?
fn judge(log: &Log, bytes: &[u8]) -> Result<usize, String> {
    let allowed = log.allowed();
    allowed.clone().rev().find(|&index| log.states[index] == bytes).ok_or_else(|| {
        let newest = log.states.iter().rposition(|state| state == bytes);
        format!(
            "found {} ({} bytes), allowed {allowed:?} ({})",
            newest.map_or("a state that never was".into(), |index| format!("state {index}")),
            bytes.len(),
            difference(bytes, &log.states[*allowed.end()])
        )
    })
}

/// Everything that must hold for one image.
pub(crate) fn check(
    image: &SimDisk,
    log: &Log,
    depth: Depth,
    seed: u64,
    count: &mut Count,
) -> Result<(), String> {
    count.images += 1;
    if let Some(closed) = log.closed {
        plain(image, &log.states[closed], "after a close that returned")?;
    }
    let left = secrets::judge(image, log)?;
    if depth.stop_recovery {
        check_stopped_recovery(image, log, seed, count)?;
    }
    // To its end: what is shown then must stay, whatever happens next.
    let disk = image.killed();
    let (store, found) = open(&disk, log)?;
    let index = judge(log, &found)?;
    count.new_commit_found += u64::from(index > log.durable);
    if disk.read_file(FILE).as_deref() != Some(found.as_slice()) {
        return Err("after recovery the plain file is not what was shown".into());
    }
    let shown = Log { states: vec![found.clone()], durable: 0, closed: None, secret: log.secret };
    for survivors in disk.power_cuts(seed, 4, 2) {
        let (again, bytes) = open(&disk.power_cut(&survivors), log)
            .map_err(|error| format!("power cut {survivors} after recovery: {error}"))?;
        judge(&shown, &bytes).map_err(|error| format!("power cut {survivors} after recovery: {error}"))?;
        drop(again);
    }
    // A second recovery of the same journal is the same state.
    let (again, bytes) = open(&disk.killed(), log).map_err(|error| format!("second recovery: {error}"))?;
    judge(&shown, &bytes).map_err(|error| format!("second recovery: {error}"))?;
    drop(again);
    let mut store = store;
    store.close().map_err(|error| format!("close after recovery: {error}"))?;
    drop(store);
    plain(&disk, &found, "after recovery and close")?;
    for survivors in disk.power_cuts(seed, 4, 2) {
        let cut = disk.power_cut(&survivors);
        plain(&cut, &found, "power cut after recovery and close")?;
        secrets::judge_closed(&cut, log, &left, &found)?;
    }
    Ok(())
}

fn check_stopped_recovery(image: &SimDisk, log: &Log, seed: u64, count: &mut Count) -> Result<(), String> {
    let flat = Depth { stop_recovery: false, samples: 2 };
    let secret = log.secret.map(|secret| Secret { replacing: true, ..secret });
    let log = Log { states: log.states.clone(), durable: log.durable, closed: None, secret };
    for stop in 1.. {
        let disk = image.killed();
        disk.stop_at(stop);
        let opened = open(&disk, &log);
        if !disk.is_stopped() {
            return Ok(());
        }
        drop(opened);
        let context = |error: String| format!("recovery stopped at its operation {stop}: {error}");
        count.in_recovery += 1;
        check(&disk.killed(), &log, flat, seed, count).map_err(context)?;
        for survivors in disk.power_cuts(seed ^ stop, 4, 3) {
            count.in_recovery += 1;
            check(&disk.power_cut(&survivors), &log, flat, seed, count).map_err(|error| {
                format!("recovery stopped at its operation {stop}, power cut {survivors}: {error}")
            })?;
        }
    }
    Ok(())
}
