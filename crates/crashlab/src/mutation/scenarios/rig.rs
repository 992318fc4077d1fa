//! What all scenarios need: a file, its states, and what must be found of them.

use std::sync::Arc;

use steadfast::disk::{Disk, SimDisk};
use steadfast::store::{
    Batch, CommitId, Extent, Flush, JournaledFile, JournaledFileOptions, Resolution, Store, recover_on,
};
use steadfast::{Error, ErrorKind, Recovery};

use crate::history::difference;
use crate::outcome::Failure;

pub(super) const FILE: &str = "/data";
pub(super) const JOURNAL: &str = "/data.steadfast";
pub(super) const FRESH: &str = "/data.steadfast.fresh";
/// A block of the format.
pub(super) const BLOCK: usize = 4096;
/// Halves of four blocks: the smallest.
pub(super) const JOURNAL_BYTES: u64 = 8 * BLOCK as u64;
pub(super) const LEN: usize = 9000;

/// What a scenario found, if it is not what it wants.
pub(super) type Found = Result<(), String>;

pub(super) fn told(found: Found) -> Result<(), Failure> {
    found.map_err(Failure::Violation)
}

pub(super) fn initial() -> Vec<u8> {
    (0..LEN).map(|at| (at % 251) as u8).collect()
}

pub(super) fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.put_file(FILE, &initial());
    disk
}

pub(super) fn on(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

pub(super) fn options(steps: u32) -> JournaledFileOptions {
    JournaledFile::options().journal_bytes(JOURNAL_BYTES).stepped(steps)
}

/// An open that must succeed.
pub(super) fn open(disk: &SimDisk, steps: u32) -> Result<JournaledFile, String> {
    opened(options(steps).open_on(on(disk), FILE))
}

pub(super) fn opened(store: Result<JournaledFile, Error>) -> Result<JournaledFile, String> {
    store.map_err(|error| format!("cannot open: {error}"))
}

pub(super) fn put(
    store: &mut JournaledFile,
    at: usize,
    bytes: &[u8],
    flush: Flush,
) -> Result<CommitId, Error> {
    let len = store.committed_len();
    let extents = [Extent { offset: at as u64, len: bytes.len() as u32 }];
    store.commit(&Batch { len_min: len, len, extents: &extents, bytes }, flush)
}

/// A commit that must succeed, and what it makes of `state`.
pub(super) fn commit(store: &mut JournaledFile, state: &mut [u8], at: usize, bytes: &[u8]) -> Found {
    put(store, at, bytes, Flush::Now).map_err(|error| format!("cannot commit: {error}"))?;
    state[at..at + bytes.len()].copy_from_slice(bytes);
    Ok(())
}

pub(super) fn fits(did: Result<(), Error>, what: &str) -> Found {
    did.map_err(|error| format!("{what}: {error}"))
}

/// An error of this kind that says these words.
pub(super) fn refused<T>(result: Result<T, Error>, kind: ErrorKind, words: &str, what: &str) -> Found {
    match result {
        Ok(_) => Err(format!("{what}: not refused")),
        Err(error) if error.kind() == kind && error.to_string().contains(words) => Ok(()),
        Err(error) => {
            Err(format!("{what}: refused as {:?}, not as {kind:?} ({words}): {error}", error.kind()))
        }
    }
}

/// The pair is refused, and nothing is changed.
pub(super) fn refused_pair(disk: &SimDisk, kind: ErrorKind, words: &str, what: &str) -> Found {
    let disk = disk.killed();
    let before = (disk.read_file(FILE), disk.mark_of(FILE), disk.read_file(JOURNAL));
    refused(recover_on(on(&disk), FILE, Resolution::Replay), kind, words, what)?;
    if (disk.read_file(FILE), disk.mark_of(FILE), disk.read_file(JOURNAL)) != before {
        return Err(format!("{what}: refused, and something was changed"));
    }
    Ok(())
}

pub(super) fn same(found: &[u8], want: &[u8], what: &str) -> Found {
    if found == want { Ok(()) } else { Err(format!("{what}: {}", difference(found, want))) }
}

/// A plain file of these bytes is left, and nothing beside it.
pub(super) fn plain(disk: &SimDisk, want: &[u8], what: &str) -> Found {
    for name in [JOURNAL, FRESH] {
        if disk.exists(name) {
            return Err(format!("{what}: {name} is left"));
        }
    }
    if disk.mark_of(FILE).is_some() {
        return Err(format!("{what}: the mark is left"));
    }
    same(&disk.read_file(FILE).ok_or_else(|| format!("{what}: the file is gone"))?, want, what)
}

/// Recovery of the disk brings these bytes.
pub(super) fn recovers(disk: &SimDisk, want: &[u8], what: &str) -> Result<Recovery, String> {
    let disk = disk.killed();
    let recovery =
        recover_on(on(&disk), FILE, Resolution::Replay).map_err(|error| format!("{what}: {error}"))?;
    plain(&disk, want, what)?;
    Ok(recovery)
}

pub(super) fn read(store: &JournaledFile) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; store.committed_len() as usize];
    store.read_committed(&mut bytes, 0).map_err(|error| format!("cannot read: {error}"))?;
    Ok(bytes)
}

/// A file with so many commits in its journal, as a kill leaves it; and all its states.
pub(super) fn killed(disk: SimDisk, commits: u8) -> Result<(SimDisk, Vec<Vec<u8>>), String> {
    disk.put_file(FILE, &initial());
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    let mut states = vec![state.clone()];
    for number in 0..commits {
        commit(&mut store, &mut state, 100 * usize::from(number), &[200 + number; 7])?;
        states.push(state.clone());
    }
    Ok((disk.killed(), states))
}
