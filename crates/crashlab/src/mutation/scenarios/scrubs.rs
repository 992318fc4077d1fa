//! Journals that are scrubbed: what was committed over is gone when the call returns, and nothing else is.

use std::path::Path;

use steadfast::ErrorKind;
use steadfast::disk::{Access, Disk, SimDisk, Survivors, SyncPoint};
use steadfast::store::{Batch, Extent, Flush, JournaledFile, JournaledFileOptions, Resolution, Store};

use super::failures::epoch;
use super::rig::{
    BLOCK, FILE, FRESH, Found, JOURNAL, LEN, commit, fits, initial, on, opened, options, plain, put,
    recovers, refused,
};

const SECRET: &[u8; 16] = b"behind the stove";

pub(super) fn all() -> Found {
    by_name()?;
    cuts()?;
    closed()?;
    replaced()?;
    replaced_for_a_ticket()?;
    recovered()?;
    discarded()?;
    unfinished()?;
    failed()?;
    shorter_limits()
}

fn scrubbing() -> JournaledFileOptions {
    options(0).scrub(true)
}

/// A file in which a secret was committed, and committed over.
fn kept() -> Result<(SimDisk, JournaledFile, Vec<u8>), String> {
    let disk = SimDisk::new();
    disk.keep_freed_blocks();
    disk.put_file(FILE, &initial());
    let mut store = opened(scrubbing().open_on(on(&disk), FILE))?;
    let mut state = initial();
    commit(&mut store, &mut state, 100, SECRET)?;
    commit(&mut store, &mut state, 100, &[1; 16])?;
    Ok((disk, store, state))
}

/// Nothing that is durable holds it.
fn gone(disk: &SimDisk, what: &str) -> Found {
    let places = disk.power_cut(&Survivors::none()).find_on_medium(SECRET);
    if places.is_empty() { Ok(()) } else { Err(format!("{what}: a secret is left in {places:?}")) }
}

/// After a rollback, and after a checkpoint by name.
fn by_name() -> Found {
    let calls: [fn(&mut JournaledFile) -> steadfast::Result<()>; 2] =
        [|store| store.scrub(), |store| store.checkpoint()];
    for call in calls {
        let (disk, mut store, mut state) = kept()?;
        fits(call(&mut store), "a scrub")?;
        gone(&disk, "scrubbed")?;
        recovers(&disk.power_cut(&Survivors::none()), &state, "scrubbed")?;
        commit(&mut store, &mut state, 7, b"and on")?;
        recovers(&disk.power_cut(&Survivors::none()), &state, "a commit behind a scrub")?;
        fits(store.close(), "close")?;
    }
    Ok(())
}

fn cuts() -> Found {
    let (disk, mut store, mut state) = kept()?;
    commit(&mut store, &mut state, LEN - 20, SECRET)?;
    let len = (LEN - 20) as u64;
    let cut = Batch { len_min: len, len, extents: &[], bytes: &[] };
    store.commit(&cut, Flush::Later).map_err(|error| format!("cut: {error}"))?;
    gone(&disk, "cut")?;
    state.truncate(LEN - 20);
    recovers(&disk.power_cut(&Survivors::none()), &state, "cut")?;
    fits(store.close(), "close")
}

fn closed() -> Found {
    let (disk, mut store, state) = kept()?;
    fits(store.close(), "close")?;
    gone(&disk, "closed")?;
    plain(&disk, &state, "closed")
}

fn grow(store: &mut JournaledFile, state: &mut Vec<u8>) -> steadfast::Result<()> {
    *state = vec![7; 8 * BLOCK];
    let extents = [Extent { offset: 0, len: 8 * BLOCK as u32 }];
    let len = state.len() as u64;
    store.commit(&Batch { len_min: LEN as u64, len, extents: &extents, bytes: state }, Flush::Now).map(drop)
}

/// A larger journal takes the place of one that holds it. Where that cannot be overwritten at once it is told, and done by the next
/// call.
fn replaced() -> Found {
    let (disk, mut store, mut state) = kept()?;
    fits(grow(&mut store, &mut state), "a larger journal")?;
    gone(&disk, "a larger journal")?;
    fits(store.close(), "close")?;

    let (disk, mut store, mut state) = kept()?;
    disk.fail_syncs_of(SyncPoint::Scrub);
    refused(grow(&mut store, &mut state), ErrorKind::NotScrubbed, "may still be", "a journal that is left")?;
    disk.clear_failures();
    recovers(&disk.power_cut(&Survivors::none()), &state, "a commit that could not scrub")?;
    commit(&mut store, &mut state, 7, b"and on")?;
    gone(&disk, "the next call")?;
    fits(store.close(), "close")
}

/// The flush of a ticket fails: what is pending is read from the old journal, which is then overwritten, although nobody calls.
fn replaced_for_a_ticket() -> Found {
    let (disk, mut store, mut state) = kept()?;
    let old = disk.open(Path::new(JOURNAL), Access::Read).map_err(|error| error.to_string())?;
    let extents = [Extent { offset: 3, len: 5 }];
    let batch = Batch { len_min: LEN as u64, len: LEN as u64, extents: &extents, bytes: b"later" };
    let ticket = store.commit_async(&batch).map_err(|error| format!("a ticket: {error}"))?;
    state[3..8].copy_from_slice(b"later");
    disk.fail_sync(1);
    ticket.wait().map_err(|error| format!("a ticket in a fresh journal: {error}"))?;
    recovers(&disk.power_cut(&Survivors::none()), &state, "a ticket in a fresh journal")?;
    let mut bytes = vec![0; 1 << 20];
    let count = old.read_at(&mut bytes, 0).map_err(|error| error.to_string())?;
    if bytes[..count].windows(SECRET.len()).any(|part| part == SECRET) {
        return Err("a journal that was given up holds a secret when the ticket is told".into());
    }
    fits(store.close(), "close")
}

fn recovered() -> Found {
    let (disk, _store, state) = kept()?;
    let image = disk.killed();
    let mut store = opened(scrubbing().open_on(on(&image), FILE))?;
    gone(&image, "recovered")?;
    fits(store.close(), "close")?;
    plain(&image, &state, "recovered and closed")
}

fn discarded() -> Found {
    let (disk, _store, _) = kept()?;
    let image = disk.killed();
    fits(scrubbing().recover_on(on(&image), FILE, Resolution::Discard).map(drop), "discard")?;
    gone(&image, "discarded")?;
    plain(&image, &initial(), "discarded")
}

/// A left-over of an open that was stopped, and one of a growth that failed.
fn unfinished() -> Found {
    let disk = SimDisk::new();
    disk.keep_freed_blocks();
    disk.put_file(FILE, &initial());
    disk.put_file(FRESH, SECRET);
    let mut store = opened(scrubbing().open_on(on(&disk), FILE))?;
    gone(&disk, "an unfinished journal")?;
    fits(store.close(), "close")
}

/// Pages of a scrub that failed look clean: no record goes there, and zeros are not built upon them.
fn failed() -> Found {
    let (disk, mut store, mut state) = kept()?;
    disk.let_failed_blocks_stick();
    let begun = epoch(&disk)?;
    disk.fail_syncs_of(SyncPoint::Scrub);
    refused(store.scrub(), ErrorKind::NotScrubbed, "may still be", "a scrub whose sync fails")?;
    disk.clear_failures();
    commit(&mut store, &mut state, 7, b"and on")?;
    recovers(&disk.power_cut(&Survivors::none()), &state, "a commit behind a scrub that failed")?;
    if epoch(&disk)? != begun + 1 {
        return Err("the journal goes on behind a scrub that failed".into());
    }
    gone(&disk, "the call behind a scrub that failed")?;
    fits(store.close(), "close")
}

/// Whoever recovers may be allowed to write less than the one whose journal it is.
fn shorter_limits() -> Found {
    let disk = SimDisk::new();
    disk.put_file(FILE, &initial());
    let mut store = opened(scrubbing().journal_bytes(1 << 18).open_on(on(&disk), FILE))?;
    put(&mut store, 3, b"abc", Flush::Now).map_err(|error| error.to_string())?;
    let image = disk.killed();
    image.longest(1 << 17);
    let recovered = scrubbing().open_on(on(&image), FILE);
    if image.is_stopped() {
        return Err("a journal that may not be written to its end: ended by SIGXFSZ".into());
    }
    refused(recovered, ErrorKind::NotScrubbed, "may still be", "a journal that may not be written to its end")
}
