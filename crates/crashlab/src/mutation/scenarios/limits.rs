//! Disks that are full and files that may not become longer: met before anything happened, or not at all.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use steadfast::disk::SimDisk;
use steadfast::store::{Batch, Extent, Flush, JournaledFile, Resolution, Store, recover_on};
use steadfast::{AtomicMapping, Error, ErrorKind};

use super::rig::{
    BLOCK, FILE, Found, JOURNAL_BYTES, LEN, commit, disk, fits, initial, on, open, options, plain, put,
    refused, same,
};
use super::watched::Watched;

const ENOSPC: i32 = 28;
/// A thread that is to do something has done it by then.
const PROMPT: Duration = Duration::from_secs(20);

pub(super) fn all() -> Found {
    full_disks()?;
    full_for_the_journal()?;
    bounded_journals()?;
    cut_and_fill_again(true, |_, _| Ok(()))?;
    cut_and_fill_again(false, |disk, store| {
        disk.fail_syncs_of(steadfast::disk::SyncPoint::Checkpoint);
        refused(store.checkpoint(), ErrorKind::Io, "", "a checkpoint whose sync fails")?;
        disk.clear_failures();
        Ok(())
    })?;
    published_cuts()?;
    published_cuts_beside()?;
    longest_files()?;
    bad_batches()
}

fn change(
    store: &mut JournaledFile,
    len: usize,
    edits: &[(usize, usize)],
    flush: Flush,
) -> Result<(), Error> {
    let len_min = store.committed_len().min(len as u64);
    let extents: Vec<Extent> =
        edits.iter().map(|&(at, count)| Extent { offset: at as u64, len: count as u32 }).collect();
    let bytes = vec![9; edits.iter().map(|edit| edit.1).sum()];
    store.commit(&Batch { len_min, len: len as u64, extents: &extents, bytes: &bytes }, flush).map(drop)
}

fn sparse(len: usize, publish: bool) -> Result<(SimDisk, JournaledFile), String> {
    let disk = SimDisk::new();
    disk.put_file(FILE, &[]);
    let mut store =
        super::rig::opened(options(2).journal_bytes(1 << 18).publish(publish).open_on(on(&disk), FILE))?;
    fits(change(&mut store, len, &[], Flush::Now), "growth")?;
    Ok((disk, store))
}

/// A full disk is *not committed*, and the same commit succeeds once there is space.
fn full_disks() -> Found {
    let (disk, mut store) = sparse(20 * BLOCK, false)?;
    disk.space(1);
    let error = change(&mut store, 20 * BLOCK, &[(8 * BLOCK, 3 * BLOCK)], Flush::Now);
    match &error {
        Err(error) if (error.kind(), error.raw_os_error()) == (ErrorKind::NotCommitted, Some(ENOSPC)) => {}
        other => return Err(format!("a full disk: {other:?}")),
    }
    disk.space(1 << 30);
    fits(change(&mut store, 20 * BLOCK, &[(8 * BLOCK, 3 * BLOCK)], Flush::Now), "space again")?;
    fits(store.close(), "close")
}

/// No room for a journal, or for a larger one: nothing is left of the attempt.
fn full_for_the_journal() -> Found {
    let disk = disk();
    disk.space(5 * BLOCK as u64);
    refused(
        options(0).open_on(on(&disk), FILE),
        ErrorKind::Io,
        "establish the journal",
        "no room for a journal",
    )
    .or_else(|found| if found.contains("establish the journal") { Ok(()) } else { Err(found) })?;
    plain(&disk, &initial(), "no room for a journal")?;
    disk.space(1 << 20);
    let mut store = open(&disk, 0)?;
    disk.space(20 * BLOCK as u64);
    let large = change(&mut store, 12 * BLOCK, &[(0, 10 * BLOCK)], Flush::Now);
    refused(large, ErrorKind::NotCommitted, "no room", "no room for a larger journal")?;
    if disk.exists(super::rig::FRESH) {
        return Err("no room for a larger journal: half of it is left".into());
    }
    fits(store.close(), "close")
}

/// Where nothing fails, a journal whose size was asked for keeps it, and commits are counted one by one.
fn bounded_journals() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    for round in 1..40u8 {
        commit(&mut store, &mut state, usize::from(round), &[round; 9])?;
        let status = store.status();
        if (status.last.get(), status.journal_bytes) != (u64::from(round), JOURNAL_BYTES) {
            return Err(format!("after {round} commits the journal is {status:?}"));
        }
    }
    for round in [8, 9, 10usize] {
        let last = store.status().last.get();
        state.resize(14 * BLOCK, 0);
        state[..(round + 3) * BLOCK].fill(9);
        fits(change(&mut store, 14 * BLOCK, &[(0, (round + 3) * BLOCK)], Flush::Now), "a large commit")?;
        fits(change(&mut store, 14 * BLOCK, &[(0, 9)], Flush::Now), "a small commit")?;
        if store.status().last.get() != last + 2 {
            return Err(format!("a larger journal took the way of a failure: {:?}", store.status()));
        }
    }
    fits(store.close(), "close")?;
    plain(&disk, &state, "closed")
}

/// A cut gives blocks back, and what is stored there afterwards needs new ones before it is acknowledged.
fn cut_and_fill_again(publish: bool, in_between: fn(&SimDisk, &mut JournaledFile) -> Found) -> Found {
    let (disk, mut store) = sparse(10 * BLOCK, publish)?;
    fits(change(&mut store, 10 * BLOCK, &[(5 * BLOCK, BLOCK)], Flush::Now), "commit")?;
    fits(change(&mut store, 2 * BLOCK, &[], Flush::Now), "cut")?;
    in_between(&disk, &mut store)?;
    disk.space(1);
    match change(&mut store, 10 * BLOCK, &[(5 * BLOCK, BLOCK)], Flush::Now) {
        Err(error) if error.kind() == ErrorKind::NotCommitted => Ok(()),
        Err(error) => Err(format!("a full disk: {error}")),
        Ok(()) => fits(store.checkpoint(), "acknowledged, and no room for it"),
    }
}

/// Publishing a cut takes no blocks away from a later commit that has them.
fn published_cuts() -> Found {
    let disk = SimDisk::new();
    disk.put_file(FILE, &[7; 4 * BLOCK]);
    let mut store =
        super::rig::opened(options(2).journal_bytes(1 << 18).publish(true).open_on(on(&disk), FILE))?;
    fits(change(&mut store, 2 * BLOCK, &[], Flush::Later), "cut")?;
    fits(change(&mut store, 10 * BLOCK, &[(5 * BLOCK, BLOCK)], Flush::Later), "growth")?;
    disk.space(1);
    fits(change(&mut store, 10 * BLOCK, &[(0, 1)], Flush::Now), "commit")?;
    if let Some(error) = store.status().checkpoint_error {
        return Err(format!("blocks that were promised are gone: {error}"));
    }
    fits(store.checkpoint(), "checkpoint")
}

/// Nor from one that is recorded while the cut is being flushed.
fn published_cuts_beside() -> Found {
    let disk = SimDisk::new();
    disk.put_file(FILE, &[7; 4 * BLOCK]);
    let (flushing, begun) = mpsc::channel();
    let (recorded, go_on) = mpsc::channel::<()>();
    let watched = Watched::before_records(&disk, move |_| {
        // Who went away waits no longer.
        let _ = flushing.send(());
        let _ = go_on.recv();
    });
    let options = JournaledFile::options().journal_bytes(1 << 18).publish(true);
    let mut store = super::rig::opened(options.open_on(watched, FILE))?;
    let cut = Batch { len_min: 2 * BLOCK as u64, len: 2 * BLOCK as u64, extents: &[], bytes: &[] };
    let ticket = store.commit_async(&cut).map_err(|error| format!("cut: {error}"))?;
    begun.recv_timeout(PROMPT).map_err(|_| "nobody flushes the cut")?;
    fits(change(&mut store, 10 * BLOCK, &[(5 * BLOCK, BLOCK)], Flush::Later), "growth")?;
    drop(recorded);
    ticket.wait().map_err(|error| format!("cut: {error}"))?;
    disk.space(1);
    fits(change(&mut store, 10 * BLOCK, &[(0, 1)], Flush::Now), "commit")?;
    if let Some(error) = store.status().checkpoint_error {
        return Err(format!("blocks that were promised are gone: {error}"));
    }
    fits(store.close(), "close")
}

/// `RLIMIT_FSIZE`: an error, and never the signal.
fn longest_files() -> Found {
    let alive = |disk: &SimDisk, what: &str| {
        if disk.is_stopped() { Err(format!("{what}: ended by SIGXFSZ")) } else { Ok(()) }
    };
    let short = disk();
    short.longest(5 * BLOCK as u64);
    let opened = options(0).open_on(on(&short), FILE);
    alive(&short, "a journal that may not be so long")?;
    if opened.is_ok() {
        return Err("a journal that may not be so long".into());
    }
    plain(&short, &initial(), "a journal that may not be so long")?;

    let disk = disk();
    let mut store = open(&disk, 0)?;
    disk.longest(11 * BLOCK as u64);
    refused(
        change(&mut store, 12 * BLOCK, &[], Flush::Now),
        ErrorKind::NotCommitted,
        "cannot become that long",
        "a file that may not be so long",
    )?;
    fits(change(&mut store, 10 * BLOCK, &[(9 * BLOCK, 5)], Flush::Now), "within the limit")?;
    // The file is longer than this process may write: what lies within its length may be beyond the limit.
    let long = SimDisk::new();
    long.put_file(FILE, &[3; 20 * BLOCK]);
    let mut longer = open(&long, 0)?;
    long.longest(15 * BLOCK as u64);
    let beyond = change(&mut longer, 20 * BLOCK, &[(18 * BLOCK, 4)], Flush::Now);
    refused(beyond, ErrorKind::NotCommitted, "no room in the data file", "bytes beyond the limit")?;

    // Who recovers may be allowed less than who committed.
    let image = disk.killed();
    image.longest(9 * BLOCK as u64 + 3);
    let recovered = recover_on(on(&image), FILE, Resolution::Replay);
    alive(&image, "a recovery that may not write so far")?;
    if recovered.is_ok() {
        return Err("a recovery that may not write so far: done".into());
    }
    // It may write its journal, and not all of the data.
    let long = SimDisk::new();
    long.put_file(FILE, &[3; 20 * BLOCK]);
    let mut store = open(&long, 0)?;
    fits(change(&mut store, 20 * BLOCK, &[(18 * BLOCK, 4)], Flush::Now), "far behind")?;
    let image = long.killed();
    image.longest(15 * BLOCK as u64);
    let recovered = options(0).open_on(on(&image), FILE);
    alive(&image, "a recovery that may not write all of the data")?;
    refused(recovered, ErrorKind::NoSpace, "checkpoint", "a recovery that may not write all of the data")
}

/// A batch that speaks of what is not there.
fn bad_batches() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    if put(&mut store, LEN - 1, b"beyond", Flush::Now).is_ok() {
        return Err("a batch beyond its length was taken".into());
    }
    // An empty commit makes what is before it durable, mapped or not.
    let mut state = initial();
    put(&mut store, 3, b"abc", Flush::Later).map_err(|error| error.to_string())?;
    state[3..6].copy_from_slice(b"abc");
    fits(change(&mut store, LEN, &[], Flush::Now), "an empty commit")?;
    let image = disk.power_cut(&steadfast::disk::Survivors::none());
    same(&super::rig::read(&open(&image, 0)?)?, &state, "a relaxed commit before an empty one")?;
    drop(store);
    copies()
}

/// A copy is the old file or the new one, whole.
fn copies() -> Found {
    const COPY: &str = "/copy";
    for stop in 1.. {
        let disk = disk();
        disk.put_file(COPY, b"old");
        let map = AtomicMapping::options().journal_bytes(JOURNAL_BYTES).load_on(on(&disk), FILE);
        let mut map = map.map_err(|error| error.to_string())?;
        map.edit(100..200).map_err(|error| error.to_string())?.fill(7);
        map.commit().map_err(|error| error.to_string())?;
        let new = Arc::new(map.to_vec());
        disk.stop_at(stop);
        let returned = map.copy_to(COPY).is_ok();
        for survivors in disk.power_cuts(stop, 12, 40) {
            let found = disk.power_cut(&survivors).read_file(COPY);
            let whole = found.as_ref() == Some(&*new) || (!returned && found.as_deref() == Some(b"old"));
            if !whole {
                return Err(format!("a copy stopped at {stop}, power cut {survivors}: neither old nor new"));
            }
        }
        if returned {
            break;
        }
    }
    Ok(())
}
