//! Writes and syncs that fail: what was acknowledged stays, what is in doubt says so, and nothing that failed is believed.

use std::sync::Arc;

use steadfast::ErrorKind;
use steadfast::disk::{Disk, SimDisk, Survivors, SyncPoint};
use steadfast::store::{Batch, Extent, Flush, JournaledFile, Store};

use super::journal_bytes::{JournalBytes, record_at};
use super::rig::{
    BLOCK, FILE, Found, JOURNAL, LEN, commit, disk, fits, initial, killed, on, open, opened, options, plain,
    put, read, recovers, refused, refused_pair, same,
};
use super::script::Variant;
use super::stops::{BACKGROUND, CHANGES, images};
use super::watched::Watched;
use crate::history::{History, difference};

pub(super) fn all() -> Found {
    in_doubt()?;
    renewed_journals()?;
    anchors()?;
    background_anchors()?;
    tickets_behind_an_anchor()?;
    published_elsewhere()?;
    recovered_and_published()?;
    records_of_parts()?;
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

pub(super) fn epoch(disk: &SimDisk) -> Result<u64, String> {
    JournalBytes::of(disk).map(|journal| journal.u64(32))
}

/// The anchor of a checkpoint fails: a fresh journal is in place when it returns.
fn anchors() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    let begun = epoch(&disk)?;
    disk.fail_syncs_of(SyncPoint::Anchor);
    fits(store.checkpoint(), "a checkpoint whose anchor fails")?;
    if epoch(&disk)? != begun + 1 {
        return Err("the journal goes on behind an anchor that failed".into());
    }
    disk.clear_failures();
    commit(&mut store, &mut state, 4, b"two")?;
    recovers(&disk, &state, "a commit behind an anchor that failed")?;
    fits(store.close(), "close")
}

/// Without direct I/O an anchor's sync is that of all records, and takes their pages with it when it fails: no ticket is told of a
/// sync behind it.
fn tickets_behind_an_anchor() -> Found {
    for count in 1..8u8 {
        let disk = disk();
        disk.evict_on_failed_sync();
        let watched = Watched::through_the_page_cache(&disk);
        let mut store = opened(options(1).open_on(watched, FILE))?;
        let mut state = initial();
        commit(&mut store, &mut state, 0, b"one")?;
        disk.fail_syncs_of(SyncPoint::Anchor);
        fits(store.start_checkpoint(), "a checkpoint in the background")?;
        let mut tickets = Vec::new();
        for round in 0..count {
            let at = 10 * usize::from(round) + 10;
            let extents = [Extent { offset: at as u64, len: 4 }];
            let batch =
                Batch { len_min: LEN as u64, len: LEN as u64, extents: &extents, bytes: &[round + 1; 4] };
            let ticket = store.commit_async(&batch).map_err(|error| format!("a ticket: {error}"))?;
            state[at..at + 4].fill(round + 1);
            tickets.push(ticket);
        }
        disk.clear_failures();
        for ticket in tickets {
            ticket.wait().map_err(|error| format!("a ticket behind an anchor that failed: {error}"))?;
        }
        let left = open(&disk.power_cut(&Survivors::none()), 0)?;
        same(&read(&left)?, &state, "tickets behind an anchor that failed")?;
    }
    Ok(())
}

/// The anchor of a checkpoint in the background fails: the very next commit begins a fresh journal, numbers go on, and a stop on
/// the way there loses nothing.
fn background_anchors() -> Found {
    let prepared = || -> Result<(SimDisk, JournaledFile, Vec<u8>), String> {
        let disk = disk();
        let mut store = open(&disk, 100)?;
        let mut state = initial();
        for round in 0..3u8 {
            commit(&mut store, &mut state, 20 * usize::from(round), &[round; 5])?;
        }
        disk.fail_syncs_of(SyncPoint::Anchor);
        fits(store.start_checkpoint(), "a checkpoint in the background")?;
        disk.clear_failures();
        Ok((disk, store, state))
    };
    let (disk, mut store, mut state) = prepared()?;
    let (before, begun) = (store.status().last, epoch(&disk)?);
    let operations = disk.operations();
    let next = put(&mut store, 7, b"next", Flush::Now).map_err(|error| error.to_string())?;
    let operations = disk.operations() - operations;
    state[7..11].copy_from_slice(b"next");
    if next <= before {
        return Err(format!("after commit {before} came commit {next}"));
    }
    if epoch(&disk)? != begun + 1 {
        return Err("a commit went behind an anchor that failed".into());
    }
    recovers(&disk, &state, "a fresh journal behind an anchor that failed")?;
    for stop in 1..=operations {
        let (disk, mut store, before) = prepared()?;
        disk.stop_at(stop);
        let _ = put(&mut store, 7, b"next", Flush::Now);
        for survivors in disk.power_cuts(stop, 6, 12) {
            let image = disk.power_cut(&survivors);
            let what = format!("behind an anchor that failed, stopped at {stop}, power cut {survivors}");
            let found = read(&open(&image, 0).map_err(|error| format!("{what}: {error}"))?)?;
            if found != before && found != state {
                return Err(format!("{what}: {}", difference(&found, &state)));
            }
        }
    }
    Ok(())
}

/// What went into a fresh journal is published like everything else.
fn published_elsewhere() -> Found {
    let disk = disk();
    let mut store = opened(options(0).publish(true).open_on(on(&disk), FILE))?;
    let mut state = initial();
    disk.fail_write(1, 5, 0);
    commit(&mut store, &mut state, 0, b"elsewhere")?;
    same(&disk.read_file(FILE).unwrap_or_default(), &state, "published after a record that failed")?;
    fits(store.close(), "close")
}

/// Commits that are found in the journal are not in the data file before they are published there.
fn recovered_and_published() -> Found {
    let (disk, states) = killed(disk(), 3)?;
    let state = states.last().cloned().unwrap_or_default();
    let mut store = opened(options(0).publish(true).open_on(on(&disk), FILE))?;
    fits(store.checkpoint(), "a checkpoint of what was recovered")?;
    let journal = disk.read_file(JOURNAL).unwrap_or_default();
    for survivors in disk.power_cuts(1, 6, 6) {
        let image = disk.power_cut(&survivors);
        let what = format!("recovered to be published, and checkpointed, power cut {survivors}");
        same(&image.read_file(JOURNAL).unwrap_or_default(), &journal, &what)?;
        recovers(&image, &state, &what)?;
    }
    fits(store.close(), "close")
}

/// Records that are too large to be put together in memory are flushed like all others.
fn records_of_parts() -> Found {
    const LARGE: usize = (4 << 20) + BLOCK;
    let disk = SimDisk::new();
    disk.put_file(FILE, &vec![1; LARGE]);
    let mut store =
        opened(JournaledFile::options().journal_bytes(4 * LARGE as u64).stepped(0).open_on(on(&disk), FILE))?;
    let mut state = vec![1; LARGE];
    commit(&mut store, &mut state, 0, &[2; LARGE])?;
    for survivors in disk.power_cuts(1, 2, 2) {
        recovers(&disk.power_cut(&survivors), &state, &format!("a large record, power cut {survivors}"))?;
    }
    fits(store.close(), "close")
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

/// A commit, and a checkpoint of it whose sync fails, with blocks that stick; `through` is that disk, as the store sees it.
fn checkpoint_failed(
    disk: &SimDisk,
    through: Arc<dyn Disk>,
    publish: bool,
) -> Result<(JournaledFile, Vec<u8>), String> {
    disk.let_failed_blocks_stick();
    let mut store = opened(options(0).publish(publish).open_on(through, FILE))?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    disk.fail_syncs_of(SyncPoint::Checkpoint);
    refused(store.checkpoint(), ErrorKind::Io, "", "a checkpoint whose sync fails")?;
    Ok((store, state))
}

/// Blocks whose first write failed stay unwritten until their page is dropped.
fn stuck_pages() -> Found {
    for publish in [false, true] {
        let disk = disk();
        let (mut store, state) = checkpoint_failed(&disk, on(&disk), publish)?;
        disk.clear_failures();
        fits(store.checkpoint(), "the checkpoint after one that failed")?;
        fits(store.close(), "close")?;
        stays(&disk, &state, &format!("closed after a checkpoint that failed (published: {publish})"))?;
    }
    Ok(())
}

/// Somebody maps those pages, so that dropping them has no effect at first: only reading back tells.
fn held_pages() -> Found {
    let disk = disk();
    let watched = Watched::new(&disk);
    let (mut store, state) = checkpoint_failed(&disk, watched.clone(), false)?;
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
    let (_store, state) = checkpoint_failed(&disk, on(&disk), false)?;
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
