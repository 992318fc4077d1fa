//! Recoveries that are stopped, and the recoveries after them as well.

use steadfast::disk::{SimDisk, Survivors};
use steadfast::store::{Flush, JournaledFile};

use super::rig::{FILE, Found, commit, disk, initial, on, open, options, put, read, same};

pub(super) fn all(seed: u64) -> Found {
    let (image, state) = replaced_and_killed()?;
    twice_stopped(&image, &state, seed)?;
    let (image, state) = file_that_nobody_synced()?;
    same(&read(&open(&image, 0)?)?, &state, "a file that was written, not synced, and opened for commits")?;
    relaxed_and_killed(seed)
}

/// A session that had its journal replaced, and one more commit.
fn replaced_and_killed() -> Result<(SimDisk, Vec<u8>), String> {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    for bytes in [b"two", b"six"] {
        disk.fail_sync(1);
        commit(&mut store, &mut state, 10, bytes)?;
    }
    Ok((disk.killed(), state))
}

fn reopen(disk: &SimDisk) -> Option<JournaledFile> {
    options(1).open_on(on(disk), FILE).ok()
}

/// The first is killed and the second loses its power, each at every operation. The third must succeed.
fn twice_stopped(image: &SimDisk, state: &[u8], seed: u64) -> Found {
    for first in 1.. {
        let disk = image.killed();
        disk.stop_at(first);
        drop(reopen(&disk));
        let done = !disk.is_stopped();
        for second in 1.. {
            let again = disk.killed();
            again.stop_at(second);
            drop(reopen(&again));
            let whole = !again.is_stopped();
            for survivors in again.power_cuts(seed, 3, 2).chain([Survivors::all()]) {
                let what = format!("recoveries stopped at {first} and {second}, power cut {survivors}");
                let third =
                    open(&again.power_cut(&survivors), 1).map_err(|error| format!("{what}: {error}"))?;
                same(&read(&third)?, state, &what)?;
            }
            if whole {
                break;
            }
        }
        if done {
            return Ok(());
        }
    }
    Ok(())
}

/// What another program wrote before, and did not sync, is what the commits stand upon.
fn file_that_nobody_synced() -> Result<(SimDisk, Vec<u8>), String> {
    use steadfast::disk::{Access, Disk};
    let disk = SimDisk::new().without_marks();
    disk.put_file(FILE, &initial());
    let file = disk.open(FILE.as_ref(), Access::ReadWrite).map_err(|error| error.to_string())?;
    file.write_at(&[&[77; 500]], 8000).map_err(|error| error.to_string())?;
    drop(file);
    let mut state = initial();
    state[8000..8500].fill(77);
    let mut store = open(&disk, 0)?;
    commit(&mut store, &mut state, 5, b"abc")?;
    Ok((disk.power_cut(&Survivors::none()), state))
}

/// Records that only the page cache holds: once shown by a recovery, they stay.
fn relaxed_and_killed(seed: u64) -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    for (at, bytes) in [(0, b"one"), (7, b"two")] {
        put(&mut store, at, bytes, Flush::Later).map_err(|error| error.to_string())?;
        state[at..at + 3].copy_from_slice(bytes);
    }
    let image = disk.killed();
    drop(store);
    let store = open(&image, 0)?;
    same(&read(&store)?, &state, "relaxed commits after a kill")?;
    for survivors in image.power_cuts(seed, 6, 6) {
        let again = open(&image.power_cut(&survivors), 0)?;
        same(&read(&again)?, &state, "shown after a kill, and lost by a power cut")?;
    }
    Ok(())
}
