//! Files that lose their name while they are open, and are let go of without it.

use std::path::Path;

use steadfast::ErrorKind;
use steadfast::disk::{Access, CallKind, Disk, Lock, SimDisk, SyncPoint};
use steadfast::store::{Batch, Extent, Flush, JournaledFile, Store};

use super::rig::{
    BLOCK, FILE, Found, JOURNAL, LEN, commit, disk, fits, initial, on, open, opened, options, put, read,
    refused, same,
};
use crate::history::difference;

const MOVED: &str = "/moved";

pub(super) fn all() -> Found {
    moved()?;
    moved_with_its_journal()?;
    shorter_before_and_longer_since()?;
    noticed_before()?;
    another_hand()?;
    scrubbed()?;
    half_done()?;
    marks_that_stay()?;
    journals_of_others()?;
    files_of_others()?;
    stops()
}

fn rename(disk: &SimDisk, from: &str, to: &str) -> Found {
    disk.rename(from.as_ref(), to.as_ref()).map_err(|error| format!("{from} to {to}: {error}"))
}

/// What is not committed: some bytes at the end.
const REST: &[u8] = b"not committed";
const REST_AT: usize = LEN - REST.len();

fn let_go(store: &mut JournaledFile) -> steadfast::Result<()> {
    let extents = [Extent { offset: REST_AT as u64, len: REST.len() as u32 }];
    let len = store.committed_len();
    store.close_without_name(&Batch { len_min: len, len, extents: &extents, bytes: REST })
}

fn with_rest(state: &[u8]) -> Vec<u8> {
    let mut want = state.to_vec();
    want[REST_AT..].copy_from_slice(REST);
    want
}

/// A plain file under its new name, and nothing beside the old one.
fn plain_elsewhere(disk: &SimDisk, want: &[u8], what: &str) -> Found {
    if disk.exists(JOURNAL) || disk.mark_of(MOVED).is_some() {
        return Err(format!("{what}: journal {}, mark {:?}", disk.exists(JOURNAL), disk.mark_of(MOVED)));
    }
    same(&disk.read_file(MOVED).unwrap_or_default(), want, what)
}

fn moved() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    commit(&mut store, &mut state, 5000, b"two")?;
    rename(&disk, FILE, MOVED)?;
    fits(let_go(&mut store), "let go of")?;
    fits(let_go(&mut store), "and once more")?;
    drop(store);
    plain_elsewhere(&disk, &with_rest(&state), "a file that was renamed")?;
    fits(
        opened(options(0).open_on(on(&disk), MOVED)).map_or_else(|_| Ok(()), |mut store| store.close()),
        "again",
    )
}

/// As a folder that is renamed takes both along, and something else stands under the old path by now: a larger journal, a close and letting
/// go of it go by the new one.
fn moved_with_its_journal() -> Found {
    for without_name in [false, true] {
        let disk = disk();
        let mut store =
            opened(options(0).journal_bytes(1 << 16).may_be_renamed(true).open_on(on(&disk), FILE))?;
        let mut state = initial();
        commit(&mut store, &mut state, 0, b"one")?;
        rename(&disk, FILE, MOVED)?;
        rename(&disk, JOURNAL, "/moved.steadfast")?;
        disk.put_file(FILE, b"another");
        disk.put_file(JOURNAL, b"another's journal");
        fits(store.moved_to(MOVED.as_ref()), "moved")?;
        if store.path() != Path::new(MOVED) {
            return Err(format!("moved, and called {}", store.path().display()));
        }
        let large: Vec<u8> =
            (0..LEN as u32).flat_map(|at| at.wrapping_mul(0x9E37_79B1).to_le_bytes()).collect();
        for part in large.chunks(LEN / 2) {
            commit(&mut store, &mut state, 0, part)?;
        }
        fits(if without_name { let_go(&mut store) } else { store.close() }, "closed where it is")?;
        drop(store);
        let want = if without_name { with_rest(&state) } else { state };
        same(&disk.read_file(MOVED).unwrap_or_default(), &want, "moved with its journal")?;
        if disk.exists("/moved.steadfast") || disk.mark_of(MOVED).is_some() {
            return Err("moved with its journal, which is there still, or the mark".into());
        }
        same(&disk.read_file(FILE).unwrap_or_default(), b"another", "another's file")?;
        same(&disk.read_file(JOURNAL).unwrap_or_default(), b"another's journal", "another's journal")?;
    }
    Ok(())
}

/// What is not committed made the file shorter for a while, and then longer.
fn shorter_before_and_longer_since() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 7000, b"one")?;
    rename(&disk, FILE, MOVED)?;
    let extents = [Extent { offset: LEN as u64 + 500, len: 4 }];
    let rest = Batch { len_min: 6000, len: LEN as u64 + 1000, extents: &extents, bytes: b"rest" };
    fits(store.close_without_name(&rest), "let go of")?;
    state.truncate(6000);
    state.resize(LEN + 1000, 0);
    state[LEN + 500..LEN + 504].copy_from_slice(b"rest");
    plain_elsewhere(&disk, &state, "a length that was not committed")
}

/// The loss was taken for another program's hand, or was in the way of something else.
fn noticed_before() -> Found {
    for by_close in [false, true] {
        let disk = disk();
        let mut store = open(&disk, 0)?;
        let mut state = initial();
        commit(&mut store, &mut state, 0, b"one")?;
        if by_close {
            fits(store.checkpoint(), "checkpoint")?;
        }
        rename(&disk, FILE, MOVED)?;
        let noticed = if by_close { store.close() } else { store.check_unchanged() };
        refused(noticed, ErrorKind::ForeignChange, "", "a file without its name")?;
        refused(put(&mut store, 0, b"two", Flush::Now), ErrorKind::Latched, "", "a commit after that")?;
        fits(let_go(&mut store), "let go of after that")?;
        plain_elsewhere(&disk, &with_rest(&state), "let go of after it was noticed")?;
    }
    Ok(())
}

/// Another program cut the file as well: nothing is written over that.
fn another_hand() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    // Where it has its blocks, so that nothing else looks.
    commit(&mut store, &mut initial(), REST_AT, b"one")?;
    fits(store.checkpoint(), "checkpoint")?;
    rename(&disk, FILE, MOVED)?;
    disk.put_file(MOVED, &[1; 100]);
    refused(let_go(&mut store), ErrorKind::ForeignChange, "length", "renamed and cut by another program")?;
    same(&disk.read_file(MOVED).unwrap_or_default(), &[1; 100], "written over another's bytes")
}

fn scrubbed() -> Found {
    let disk = SimDisk::new();
    disk.keep_freed_blocks();
    disk.put_file(FILE, &initial());
    let mut store = opened(options(0).scrub(true).open_on(on(&disk), FILE))?;
    let mut state = initial();
    commit(&mut store, &mut state, 100, b"a secret word")?;
    commit(&mut store, &mut state, 100, &[1; 13])?;
    rename(&disk, FILE, MOVED)?;
    fits(let_go(&mut store), "let go of")?;
    match disk.killed().find_on_medium(b"a secret word") {
        places if places.is_empty() => Ok(()),
        places => Err(format!("a file without its name was let go of, and a secret is left in {places:?}")),
    }
}

/// What failed half-way is gone on with, and no commit comes in between, although the file has its name back.
fn half_done() -> Found {
    for point in [SyncPoint::Unmark, SyncPoint::JournalGone] {
        let disk = disk();
        let mut store = open(&disk, 0)?;
        let mut state = initial();
        commit(&mut store, &mut state, 0, b"one")?;
        rename(&disk, FILE, MOVED)?;
        disk.fail_syncs_of(point);
        if let_go(&mut store).is_ok() {
            return Err(format!("{point:?} failed, and nobody was told"));
        }
        disk.clear_failures();
        rename(&disk, MOVED, FILE)?;
        refused(put(&mut store, 0, b"two", Flush::Now), ErrorKind::Latched, "", "a commit after half a way")?;
        same(&read(&store)?, &state, "read after half a way")?;
        rename(&disk, FILE, MOVED)?;
        fits(let_go(&mut store), "the second try")?;
        plain_elsewhere(&disk, &with_rest(&state), "the second try")?;
    }
    Ok(())
}

/// A mark that cannot be removed is an error where the file is found by another name, and no matter where it has none.
fn marks_that_stay() -> Found {
    for is_gone in [false, true] {
        let disk = disk();
        let mut store = open(&disk, 0)?;
        let mut state = initial();
        commit(&mut store, &mut state, 0, b"one")?;
        // Which writes the mark, too.
        fits(store.checkpoint(), "checkpoint")?;
        match is_gone {
            true => disk.remove(Path::new(FILE)).map_err(|error| error.to_string())?,
            false => rename(&disk, FILE, MOVED)?,
        }
        disk.fail_call(Some(CallKind::Name), 1, libc::EPERM);
        match (let_go(&mut store), is_gone) {
            (Ok(()), true) if !disk.exists(JOURNAL) => {}
            (Err(_), false) if disk.exists(JOURNAL) => {
                fits(let_go(&mut store), "the second try")?;
                plain_elsewhere(&disk, &with_rest(&state), "the second try")?;
            }
            (done, _) => {
                return Err(format!(
                    "the mark stays, without any name {is_gone}: {:?}",
                    done.map_err(|error| error.to_string())
                ));
            }
        }
    }
    Ok(())
}

/// What stands in the journal's place is another's by now, whether or not there is a file.
fn journals_of_others() -> Found {
    for has_file in [false, true] {
        let disk = disk();
        let mut store = open(&disk, 0)?;
        commit(&mut store, &mut initial(), 0, b"one")?;
        rename(&disk, FILE, MOVED)?;
        if has_file {
            disk.put_file(FILE, b"another");
        }
        disk.put_file("/journal", b"another's journal");
        rename(&disk, "/journal", JOURNAL)?;
        fits(let_go(&mut store), "let go of")?;
        let left = disk.read_file(JOURNAL).ok_or("another's journal was removed")?;
        same(&left, b"another's journal", "another's journal")?;
        if has_file {
            same(&disk.read_file(FILE).unwrap_or_default(), b"another", "another's file")?;
        }
    }
    Ok(())
}

/// Who has the file that has the name now is about to see to the journal himself.
fn files_of_others() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    commit(&mut store, &mut initial(), 0, b"one")?;
    rename(&disk, FILE, MOVED)?;
    disk.put_file(FILE, b"another");
    let another = disk.open(FILE.as_ref(), Access::ReadWrite).map_err(|error| error.to_string())?;
    another.try_lock(Lock::Exclusive).map_err(|error| error.to_string())?;
    fits(let_go(&mut store), "let go of")?;
    if !disk.exists(JOURNAL) {
        return Err("the journal was removed under the hands of who has the file in its place".into());
    }
    drop(another);
    // And that one begins.
    let mut other = open(&disk, 0)?;
    commit(&mut other, &mut b"another".to_vec(), 0, b"one")?;
    fits(other.close(), "close the other")
}

/// Stopped anywhere, and with whatever a power cut leaves: put together again, file and journal bring the last commit.
fn stops() -> Found {
    for operation in 1.. {
        let disk = disk();
        let mut store = open(&disk, 0)?;
        let mut state = initial();
        commit(&mut store, &mut state, 0, b"one")?;
        commit(&mut store, &mut state, BLOCK + 10, b"two")?;
        rename(&disk, FILE, MOVED)?;
        disk.sync_dir(Path::new("/"), SyncPoint::CopyName).map_err(|error| error.to_string())?;
        disk.stop_at(operation);
        let done = let_go(&mut store);
        std::mem::forget(store);
        let images = disk.power_cuts(operation, 6, 6).map(|survivors| disk.power_cut(&survivors));
        for image in images.chain([disk.killed()]) {
            if image.exists(JOURNAL) {
                rename(&image, JOURNAL, "/moved.steadfast")?;
            }
            let found = steadfast::store::recover_on(on(&image), MOVED, steadfast::Resolution::Replay);
            let found = found.map_err(|error| format!("stopped at {operation}: {error}"));
            found?;
            let bytes = image.read_file(MOVED).unwrap_or_default();
            if bytes.get(..REST_AT) != Some(&state[..REST_AT]) {
                return Err(format!("stopped at {operation}: {}", difference(&bytes, &state)));
            }
        }
        if done.is_ok() {
            return Ok(());
        }
    }
    Ok(())
}
