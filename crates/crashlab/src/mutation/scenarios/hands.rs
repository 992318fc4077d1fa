//! Other programs that write, rename and lock while a file is open, or just as it is opened.

use std::sync::Arc;

use steadfast::ErrorKind;
use steadfast::disk::{Disk, SimDisk};
use steadfast::store::{Flush, Store};

use super::rig::{
    BLOCK, FILE, FRESH, Found, JOURNAL, LEN, commit, disk, fits, initial, on, open, opened, options, plain,
    put, read, recovers, refused, same,
};
use super::watched::Watched;

pub(super) fn all() -> Found {
    locks()?;
    names_that_change()?;
    created_and_taken_up()?;
    before_a_checkpoint()?;
    before_a_background_checkpoint()?;
    while_a_checkpoint_writes()?;
    as_a_checkpoint_ends()?;
    before_a_close()?;
    before_a_reservation()?;
    left_to_others()?;
    renamed_and_back()?;
    before_it_is_published()?;
    while_what_is_published_is_synced()?;
    before_a_fresh_journals_mark()?;
    while_a_journal_is_replaced()
}

fn locks() -> Found {
    let disk = disk();
    let store = open(&disk, 0)?;
    refused(options(0).open_on(on(&disk), FILE), ErrorKind::Locked, "in use", "a second writer")?;
    drop(store);
    // Whoever had the file before us left it longer.
    let watched = Watched::before_lock(&disk, |disk| {
        let mut longer = initial();
        longer.extend([5; 100]);
        disk.put_file(FILE, &longer);
    });
    let mut store = opened(options(0).open_on(watched, FILE))?;
    let mut want = initial();
    want.extend([5; 100]);
    same(&read(&store)?, &want, "a file that grew while we waited for the lock")?;
    fits(store.close(), "close")
}

/// The name goes to another file between `open` and lock.
fn names_that_change() -> Found {
    let disk = disk();
    let watched = Watched::before_lock(&disk, |disk| {
        disk.put_file("/other", &[7; 500]);
        let _ = disk.rename("/other".as_ref(), FILE.as_ref());
    });
    let store = opened(options(0).open_on(watched, FILE))?;
    same(&read(&store)?, &[7; 500], "a name that went to another file while we waited for the lock")
}

/// An open that created its file and failed removes it, unless somebody wrote to it meanwhile.
fn created_and_taken_up() -> Found {
    for taken_up in [false, true] {
        let disk = SimDisk::new();
        let watched = Watched::before_lock(&disk, move |disk| {
            if taken_up {
                disk.put_file(FILE, b"somebody's");
            }
            disk.space(BLOCK as u64);
        });
        let opened = options(0).create(true).open_on(watched, FILE);
        refused(opened, ErrorKind::NoSpace, "establish the journal", "no room for a journal")?;
        let left = disk.read_file(FILE);
        if left.as_deref() != taken_up.then_some(&b"somebody's"[..]) {
            return Err(format!("created, taken up {taken_up}, failed: {left:?} is left"));
        }
    }
    Ok(())
}

/// A file that another program changed is left to it, journal and all, only where it still has its name.
fn left_to_others() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    scribble(&disk);
    refused(store.check_unchanged(), ErrorKind::ForeignChange, "another program", "a changed file")?;
    disk.put_file("/other", &[7; 500]);
    disk.rename("/other".as_ref(), FILE.as_ref()).map_err(|error| error.to_string())?;
    refused(store.leave_to_others(), ErrorKind::ForeignChange, "another file", "left without its name")?;
    if disk.read_file(JOURNAL).is_none() {
        return Err(
            "a file without its name was left to others: the journal beside the other one is gone".into()
        );
    }
    Ok(())
}

/// Where it is allowed a file may be renamed and have its attributes changed, and nothing else.
fn renamed_and_back() -> Found {
    for hand in 0..4 {
        let disk = disk();
        let coarse = Watched::saying(&disk, |_, stat| stat.modified_ns = 0);
        let watched: Arc<dyn Disk> = if hand == 2 { coarse } else { on(&disk) };
        let mut store = opened(options(0).may_be_renamed(true).open_on(watched, FILE))?;
        let mut state = initial();
        commit(&mut store, &mut state, 0, b"one")?;
        for (from, to) in [(FILE, "/other"), ("/other", FILE)] {
            disk.rename(from.as_ref(), to.as_ref()).map_err(|error| error.to_string())?;
        }
        match hand {
            0 => {
                commit(&mut store, &mut state, 100, b"two")?;
                fits(store.close(), "close")?;
                plain(&disk, &state, "renamed and back")?;
                continue;
            }
            1 => scribble(&disk),
            // Where times are coarse the length tells.
            2 => disk.put_file(FILE, &[1; LEN + 1]),
            _ => disk.put_mark(FILE, None).map_err(|error| error.to_string())?,
        }
        let what = format!("renamed and back, and changed by hand {hand}");
        refused(store.check_unchanged(), ErrorKind::ForeignChange, "another program", &what)?;
    }
    Ok(())
}

fn scribble(disk: &SimDisk) {
    let mut bytes = disk.read_file(FILE).unwrap_or_default();
    bytes.reverse();
    disk.put_file(FILE, &bytes);
}

fn before_a_checkpoint() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    commit(&mut store, &mut initial(), 0, b"one")?;
    scribble(&disk);
    refused(store.checkpoint(), ErrorKind::ForeignChange, "changed the data file", "another program wrote")?;
    // Where times are coarse the length tells.
    let coarse = super::rig::disk();
    let watched = Watched::saying(&coarse, |_, stat| stat.changed_ns = 0);
    let mut store = opened(options(0).open_on(watched, FILE))?;
    commit(&mut store, &mut initial(), 0, b"one")?;
    coarse.put_file(FILE, &[1; LEN + 1]);
    refused(store.check_unchanged(), ErrorKind::ForeignChange, "length", "another program appended")?;
    let coarse = super::rig::disk();
    let watched = Watched::saying(&coarse, |_, stat| stat.changed_ns = 0);
    let mut store = opened(options(0).open_on(watched, FILE))?;
    commit(&mut store, &mut initial(), 0, b"one")?;
    coarse.put_file(FILE, &[1; LEN + 1]);
    refused(store.checkpoint(), ErrorKind::ForeignChange, "length", "another program appended")
}

fn before_a_background_checkpoint() -> Found {
    let disk = disk();
    let mut store = open(&disk, 100)?;
    let mut state = initial();
    for round in 0..4 {
        commit(&mut store, &mut state, 10 * round, b"abc")?;
    }
    scribble(&disk);
    let scribbled = disk.read_file(FILE).unwrap_or_default();
    for round in 0..8 {
        if put(&mut store, 10 * round, b"xyz", Flush::Now).is_err() {
            return same(
                &disk.read_file(FILE).unwrap_or_default(),
                &scribbled,
                "written over another's bytes",
            );
        }
    }
    Err("another program wrote, and a checkpoint in the background did not see it".into())
}

/// A cut while a checkpoint in the background is at work takes what that one wrote, and what the journal lets go of at its end.
fn while_a_checkpoint_writes() -> Found {
    for steps in [1, 2, 3] {
        let disk = disk();
        let mut store = open(&disk, steps)?;
        let mut state = initial();
        let mut round = 0;
        // Until the first of its bytes stand in the file.
        while disk.read_file(FILE).is_none_or(|bytes| bytes == initial()) {
            commit(&mut store, &mut state, LEN - 200 - 3 * round, b"abc")?;
            round += 1;
            if round > 50 {
                return Err("no checkpoint has begun".into());
            }
        }
        let cut = disk.read_file(FILE).unwrap_or_default()[..100].to_vec();
        disk.put_file(FILE, &cut);
        let noticed = (0..50).any(|_| {
            put(&mut store, 0, b"xyz", Flush::Now)
                .is_err_and(|error| matches!(error.kind(), ErrorKind::Latched | ErrorKind::ForeignChange))
        });
        if !noticed || !store.status().changed_by_others {
            return Err(format!("cut while a checkpoint wrote, {steps} steps at a time: nobody noticed"));
        }
    }
    Ok(())
}

/// A cut at any moment of a checkpoint that somebody waits for, up to the last look.
fn as_a_checkpoint_ends() -> Found {
    for look in 1.. {
        let disk = disk();
        let watched = Watched::new(&disk);
        let mut store = opened(options(0).open_on(Arc::clone(&watched) as Arc<dyn Disk>, FILE))?;
        let mut state = initial();
        for (at, bytes) in [(0, b"one"), (LEN - 3, b"two"), (5000, b"333")] {
            commit(&mut store, &mut state, at, bytes)?;
        }
        watched.set_hand(look, |disk| {
            let cut = disk.read_file(FILE).unwrap_or_default()[..100].to_vec();
            disk.put_file(FILE, &cut);
        });
        let checkpointed = store.checkpoint();
        if watched.is_hand_left() {
            return fits(checkpointed, "checkpoint");
        }
        if !matches!((checkpointed, store.close()), (Err(error), _) | (_, Err(error)) if error.kind() == ErrorKind::ForeignChange)
        {
            return Err(format!("cut before look {look} of a checkpoint: nobody noticed"));
        }
    }
    Ok(())
}

fn before_a_close() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    commit(&mut store, &mut initial(), 0, b"one")?;
    fits(store.checkpoint(), "checkpoint")?;
    scribble(&disk);
    refused(store.close(), ErrorKind::ForeignChange, "changed the data file", "another program wrote")?;
    // Another file has the name, with a journal of its own that is not ours to remove.
    let disk = super::rig::disk();
    let mut store = open(&disk, 0)?;
    disk.put_file("/other", &[7; 500]);
    disk.rename("/other".as_ref(), FILE.as_ref()).map_err(|error| error.to_string())?;
    refused(store.close(), ErrorKind::ForeignChange, "another file has its name", "the name went elsewhere")?;
    if !disk.exists(JOURNAL) {
        return Err("the name went elsewhere: the journal there was removed".into());
    }
    Ok(())
}

/// A commit that gives the file blocks changes its change time: what another program did before must not be hidden by that.
fn before_a_reservation() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    commit(&mut store, &mut initial(), 0, b"one")?;
    scribble(&disk);
    let put = put(&mut store, LEN - 3, b"two", Flush::Now);
    refused(
        put,
        ErrorKind::ForeignChange,
        "changed the data file",
        "another program wrote before a reservation",
    )
}

fn while_a_journal_is_replaced() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    disk.put_file("/other", &[7; 500]);
    disk.rename("/other".as_ref(), FILE.as_ref()).map_err(|error| error.to_string())?;
    let before = disk.read_file(JOURNAL);
    disk.fail_sync(1);
    if put(&mut store, 10, b"two", Flush::Now).is_ok() {
        return Err("the name went elsewhere, and a fresh journal took the place of the one there".into());
    }
    let epoch =
        |journal: &Option<Vec<u8>>| journal.as_ref().and_then(|bytes| bytes.get(32..40).map(<[u8]>::to_vec));
    if epoch(&disk.read_file(JOURNAL)) != epoch(&before) || disk.exists(FRESH) {
        return Err("the name went elsewhere, and the journal there was replaced".into());
    }
    Ok(())
}

/// What another program left is what the file holds, and the journal has everything.
fn is_left_alone(disk: &SimDisk, store: &dyn Store, state: &[u8], scribbled: &[u8], what: &str) -> Found {
    let status = store.status();
    if !status.changed_by_others {
        return Err(format!("{what}: nobody noticed"));
    }
    if status.checkpointed.get() > 0 {
        return Err(format!("{what}: the journal let go of commits"));
    }
    same(&disk.read_file(FILE).unwrap_or_default(), scribbled, what)?;
    recovers(&disk.killed(), state, what).map(drop)
}

/// A commit that is shown changes the file itself: what another program did before must not be hidden by that. (Its blocks are reserved:
/// nobody looks for those.)
fn before_it_is_published() -> Found {
    let disk = disk();
    let mut store = opened(options(0).publish(true).open_on(on(&disk), FILE))?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, &[1; LEN])?;
    let scribbled = vec![9; LEN];
    disk.put_file(FILE, &scribbled);
    commit(&mut store, &mut state, 0, b"one")?;
    is_left_alone(&disk, &store, &state, &scribbled, "another program wrote before a commit was published")
}

/// What is only synced is not written again either: the journal is to keep what another program took from the file.
fn while_what_is_published_is_synced() -> Found {
    let disk = disk();
    let mut store = opened(options(1).publish(true).open_on(on(&disk), FILE))?;
    let mut state = initial();
    let mark = disk.mark_of(FILE);
    commit(&mut store, &mut state, 0, &[1; LEN])?;
    for round in 0.. {
        if disk.mark_of(FILE) != mark {
            break;
        }
        if round > 50 {
            return Err("no checkpoint has begun".into());
        }
        commit(&mut store, &mut state, 10 * round, b"abc")?;
    }
    let scribbled = vec![9; LEN];
    disk.put_file(FILE, &scribbled);
    // Not durable, so nothing is published; the checkpoint gets on all the same.
    fits(put(&mut store, 0, b"abc", Flush::Later).map(drop), "a relaxed commit")?;
    state[..3].copy_from_slice(b"abc");
    is_left_alone(&disk, &store, &state, &scribbled, "another program wrote before the end of a sync")
}

/// The mark of a journal that takes another's place changes the file's times.
fn before_a_fresh_journals_mark() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, &[1; LEN])?;
    let scribbled = vec![9; LEN];
    disk.put_file(FILE, &scribbled);
    disk.fail_sync(1);
    commit(&mut store, &mut state, 0, b"one")?;
    is_left_alone(&disk, &store, &state, &scribbled, "another program wrote before a journal was replaced")
}
