//! Writes and syncs that fail: what was acknowledged stays, what is in doubt says so, and nothing that failed is believed.

use steadfast::ErrorKind;
use steadfast::disk::{SimDisk, SyncPoint};
use steadfast::store::{Flush, Store};

use super::journal_bytes::{JournalBytes, record_at};
use super::rig::{
    FILE, Found, JOURNAL, commit, disk, fits, initial, on, open, opened, options, plain, put, read, recovers,
    refused, refused_pair, same,
};
use super::script::Variant;
use super::stops::{BACKGROUND, CHANGES, images};
use super::watched::Watched;
use crate::history::History;

pub(super) fn all() -> Found {
    in_doubt()?;
    renewed_journals()?;
    half_closed()?;
    stuck_pages()?;
    held_pages()?;
    inherited_pages()
}

fn in_doubt() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    put(&mut store, 0, b"abc", Flush::Later).map_err(|error| error.to_string())?;
    state[..3].copy_from_slice(b"abc");
    disk.fail_syncs_of(SyncPoint::Record);
    disk.fail_syncs_of(SyncPoint::FreshJournal);
    let failed = put(&mut store, 0, b"xyz", Flush::Now);
    refused(failed, ErrorKind::InDoubt, "the next open decides", "neither flushed nor replaced")?;
    same(&read(&store)?, &state, "what failed is not read as committed")?;
    disk.clear_failures();
    refused(put(&mut store, 0, b"more", Flush::Now), ErrorKind::Latched, "", "a commit after one in doubt")?;
    refused(store.close(), ErrorKind::Latched, "", "a close after a commit in doubt")?;
    if !disk.exists(JOURNAL) {
        return Err("a close after a commit in doubt removed the journal".into());
    }
    Ok(())
}

fn renewed_journals() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    disk.fail_sync(1);
    let doubt = put(&mut store, 4, b"two", Flush::Now).map_err(|error| error.to_string())?;
    state[4..7].copy_from_slice(b"two");
    if doubt.get() < 3 {
        return Err(format!("the commit in doubt has number {doubt}, which the old journal may hold"));
    }
    recovers(&disk, &state, "a fresh journal")?;
    // It was whole before it had its name: even its last record cannot be missing.
    let mut journal = JournalBytes::of(&disk)?;
    journal.0[record_at(1) + 120] ^= 1;
    let image = journal.put_on(&disk);
    refused_pair(&image, ErrorKind::Corrupt, "damaged or missing", "the last record of a fresh journal")?;
    fits(store.close(), "close")?;
    plain(&disk, &state, "closed")
}

/// No commit follows a close that failed half way.
fn half_closed() -> Found {
    for point in [SyncPoint::Unmark, SyncPoint::JournalGone] {
        let disk = disk();
        let mut store = open(&disk, 0)?;
        let mut state = initial();
        commit(&mut store, &mut state, 0, b"one")?;
        disk.fail_syncs_of(point);
        if store.close().is_ok() {
            return Err(format!("{point:?} failed and close says success"));
        }
        disk.clear_failures();
        refused(
            put(&mut store, 0, b"two", Flush::Now),
            ErrorKind::Latched,
            "",
            "a commit after half a close",
        )?;
        drop(store);
        recovers(&disk, &state, "half a close")?;
    }
    Ok(())
}

/// Every image that power cuts leave of a closed file is this one.
fn stays(disk: &SimDisk, want: &[u8], what: &str) -> Found {
    for survivors in disk.power_cuts(1, 6, 6) {
        plain(&disk.power_cut(&survivors), want, &format!("{what}, power cut {survivors}"))?;
    }
    Ok(())
}

/// Blocks whose first write failed stay unwritten until their page is dropped.
fn stuck_pages() -> Found {
    let disk = disk();
    disk.let_failed_blocks_stick();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    disk.fail_syncs_of(SyncPoint::Checkpoint);
    refused(store.checkpoint(), ErrorKind::Io, "", "a checkpoint whose sync fails")?;
    disk.clear_failures();
    fits(store.checkpoint(), "the checkpoint after one that failed")?;
    fits(store.close(), "close")?;
    stays(&disk, &state, "closed after a checkpoint that failed")
}

/// Somebody maps those pages, so that dropping them has no effect at first: only reading back tells.
fn held_pages() -> Found {
    let disk = disk();
    disk.let_failed_blocks_stick();
    let watched = Watched::new(&disk);
    let mut store = opened(options(0).open_on(watched.clone(), FILE))?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    disk.fail_syncs_of(SyncPoint::Checkpoint);
    refused(store.checkpoint(), ErrorKind::Io, "", "a checkpoint whose sync fails")?;
    disk.clear_failures();
    watched.hold_pages(1);
    let unwritten = "does not hold what was written";
    refused(store.checkpoint(), ErrorKind::Io, unwritten, "a sync that succeeded and wrote nothing")?;
    fits(store.close(), "close")?;
    stays(&disk, &state, "closed after pages that could not be dropped")
}

/// The process before this one ended over a failed sync.
fn inherited_pages() -> Found {
    let disk = disk();
    disk.let_failed_blocks_stick();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    disk.fail_syncs_of(SyncPoint::Checkpoint);
    refused(store.checkpoint(), ErrorKind::Io, "", "a checkpoint whose sync fails")?;
    let killed = disk.killed();
    drop(opened(options(0).open_on(on(&killed), FILE))?);
    stays(&killed, &state, "recovered after a sync that failed")
}

/// One failure at each place where it can strike, with and without an end behind it.
pub(super) fn everywhere(seed: u64) -> Found {
    let kinds: [fn(&SimDisk, u64); 3] = [
        |disk, place| disk.fail_sync(place),
        |disk, place| {
            disk.let_failed_blocks_stick();
            disk.fail_sync(place);
        },
        |disk, place| disk.fail_write(place, 5, place % 4),
    ];
    for variant in [BACKGROUND, CHANGES, Variant { steps: 100, ..BACKGROUND }] {
        let places = variant.operations()?;
        for (kind, fail) in kinds.iter().enumerate() {
            for place in 1..=places {
                let whole = variant.disk();
                fail(&whole, place);
                let mut history = History::new(initial());
                let _ = variant.play(&whole, &mut history);
                let context = |error: String| format!("failure {kind} at {place} of {variant:?}: {error}");
                after(&whole, &history, seed ^ place).map_err(context)?;
                let operations = whole.operations();
                for stop in (1..=operations).filter(|stop| (stop + place).is_multiple_of(17)) {
                    let disk = variant.disk();
                    fail(&disk, place);
                    disk.stop_at(stop);
                    let mut history = History::new(initial());
                    let _ = variant.play(&disk, &mut history);
                    after(&disk, &history, seed ^ stop)
                        .map_err(|error| context(format!("stopped at {stop}: {error}")))?;
                }
            }
        }
    }
    Ok(())
}

fn after(disk: &SimDisk, history: &History, seed: u64) -> Found {
    let evicted = disk.killed();
    evicted.evict();
    super::stops::image(&evicted, history, seed)
        .map_err(|error| format!("killed, pages evicted: {error}"))?;
    images(disk, history, seed, 3, 2)
}
