//! File and journal that do not belong together, each in a way that only one check can see; and the ways out.

use steadfast::disk::{Access, Disk, SimDisk, SyncPoint};
use steadfast::store::{Batch, Flush, Resolution, Store, recover_on};
use steadfast::{Error, ErrorKind};

use super::journal_bytes::{JournalBytes, record_at};
use super::rig::{
    BLOCK, FILE, FRESH, Found, JOURNAL, LEN, commit, disk, fits, initial, killed, on, open, plain, recovers,
    refused_pair,
};

pub(super) fn all() -> Found {
    strangers()?;
    counted_marks()?;
    other_inodes()?;
    without_a_mark()?;
    other_lengths()?;
    appended()?;
    older_journals()?;
    left_overs()?;
    discards()?;
    adoptions()?;
    adopted_lengths()
}

fn marked(disk: &SimDisk, mark: Option<&[u8]>) -> Result<SimDisk, String> {
    let disk = disk.killed();
    disk.put_mark(FILE, mark).map_err(|error| error.to_string())?;
    Ok(disk)
}

fn strangers() -> Found {
    let (disk, _) = killed(SimDisk::new(), 3)?;
    let (other, _) = killed(SimDisk::new(), 3)?;
    let image = JournalBytes::of(&other)?.put_on(&disk);
    refused_pair(&image, ErrorKind::Identity, "belongs to another file", "another file's journal")?;

    let image = marked(&disk, None)?;
    refused_pair(
        &image,
        ErrorKind::Identity,
        "does not carry the journal's mark",
        "a journal without its mark",
    )?;

    let image = disk.killed();
    image.remove(JOURNAL.as_ref()).map_err(|error| error.to_string())?;
    refused_pair(&image, ErrorKind::Identity, "its journal is missing", "a mark without its journal")
}

/// A mark with this number at this place.
fn renumbered(disk: &SimDisk, at: usize, number: u64) -> Result<SimDisk, String> {
    let mut mark = disk.mark_of(FILE).ok_or("no mark")?;
    mark[at..at + 8].copy_from_slice(&number.to_le_bytes());
    marked(disk, Some(&mark))
}

fn counted_marks() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    fits(store.checkpoint(), "checkpoint")?;
    commit(&mut store, &mut state, 10, b"two")?;
    recovers(&disk, &state, "a checkpoint and a commit")?;
    let image = renumbered(&disk, 32, 9)?;
    refused_pair(&image, ErrorKind::Identity, "different times", "a mark of another epoch")?;
    let image = renumbered(&disk, 40, 0)?;
    refused_pair(&image, ErrorKind::Identity, "older than its journal", "a file from before the checkpoint")?;
    let image = renumbered(&disk, 40, 3)?;
    refused_pair(&image, ErrorKind::Identity, "journal is older", "a journal from before the checkpoint")
}

/// Gives the data file's name to another file of the same bytes.
fn replaced(disk: &SimDisk) -> Result<SimDisk, String> {
    let disk = disk.killed();
    disk.put_file("/new", &disk.read_file(FILE).unwrap_or_default());
    disk.rename("/new".as_ref(), FILE.as_ref()).map_err(|error| error.to_string())?;
    Ok(disk)
}

fn other_inodes() -> Found {
    let (disk, states) = killed(SimDisk::new().without_marks(), 2)?;
    recovers(&disk, &states[2], "without marks")?;
    refused_pair(&replaced(&disk)?, ErrorKind::Identity, "another inode", "a file that was replaced")
}

/// A journal that was written where there were no marks.
fn without_a_mark() -> Found {
    let (disk, states) = killed(SimDisk::new(), 2)?;
    let mut journal = JournalBytes::of(&disk)?;
    journal.set_u32(12, 0);
    journal.chain_anew(2);
    refused_pair(
        &journal.put_on(&disk),
        ErrorKind::Identity,
        "written without one",
        "a mark that it knows not",
    )?;
    // And where nothing was committed there is nothing to lose.
    let (disk, _) = killed(SimDisk::new(), 0)?;
    recovers(&marked(&disk, None)?, &states[0], "an empty journal without its mark").map(drop)
}

fn other_lengths() -> Found {
    let (disk, states) = killed(SimDisk::new(), 2)?;
    for len in [LEN - 1, LEN + 1] {
        let image = disk.killed();
        let mut bytes = states[0].clone();
        bytes.resize(len, 0);
        image.put_file(FILE, &bytes);
        refused_pair(&image, ErrorKind::Identity, "another program changed it", "another length")?;
    }
    Ok(())
}

/// Somebody appended, and not beyond what the journal knows: those bytes are no commit's.
fn appended() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let batch = Batch { len_min: LEN as u64, len: LEN as u64 + 300, extents: &[], bytes: &[] };
    store.commit(&batch, Flush::Now).map_err(|error| error.to_string())?;
    let image = disk.killed();
    image.put_file(FILE, &[&initial()[..], &[7; 100]].concat());
    recovers(&image, &[&initial()[..], &[0; 300]].concat(), "bytes that somebody appended").map(drop)
}

/// A journal that was put back from before another took its place.
fn older_journals() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    let before = JournalBytes::of(&disk)?;
    disk.fail_sync(1);
    commit(&mut store, &mut state, 10, b"two")?;
    recovers(&disk, &state, "a journal in place of one that failed")?;
    let image = before.put_on(&disk);
    refused_pair(&image, ErrorKind::Identity, "different times", "a journal from before a failure")?;

    let (disk, mut states) = killed(SimDisk::new(), 0)?;
    let before = JournalBytes::of(&disk)?;
    for step in [b"one", b"two"] {
        let mut store = open(&disk, 0)?;
        commit(&mut store, &mut states[0], 30, step)?;
        let image = before.put_on(&disk);
        let kept = disk.killed();
        drop(store);
        if step == b"two" {
            break;
        }
        refused_pair(&image, ErrorKind::Identity, "different times", "a journal from before a recovery")?;
        recovers(&kept, &states[0], "a recovery and a commit")?;
    }
    Ok(())
}

/// An unfinished journal is deleted and never replayed.
fn left_overs() -> Found {
    let (disk, states) = killed(SimDisk::new(), 2)?;
    let (other, _) = killed(SimDisk::new(), 3)?;
    let journal = JournalBytes::of(&other)?;
    disk.put_file(FRESH, &journal.0);
    recovers(&disk, &states[2], "a whole journal that never got its name")?;
    let bare = SimDisk::new();
    bare.put_file(FILE, &states[0]);
    bare.put_file(FRESH, &journal.0[..5 * BLOCK]);
    recovers(&bare, &states[0], "half a journal beside a plain file").map(drop)
}

fn gone(what: &str) -> impl Fn(Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

/// What `--discard` returned from stays done.
fn discards() -> Found {
    let (disk, states) = killed(SimDisk::new(), 2)?;
    recover_on(on(&disk), FILE, Resolution::Discard).map_err(gone("discard"))?;
    plain(&disk, &states[0], "a discard")?;
    for survivors in disk.power_cuts(1, 12, 40) {
        plain(&disk.power_cut(&survivors), &states[0], &format!("power cut {survivors} after a discard"))?;
    }
    // Stopped anywhere it can be asked for again, and what is begun there is safe from what it left.
    for stop in 1..6 {
        let (disk, _) = killed(SimDisk::new(), 0)?;
        disk.put_mark(FILE, None).map_err(|error| error.to_string())?;
        disk.stop_at(stop);
        let _ = recover_on(on(&disk), FILE, Resolution::Replay);
        for survivors in disk.power_cuts(1, 12, 40) {
            recovers(
                &disk.power_cut(&survivors),
                &states[0],
                &format!("power cut {survivors} within a discard"),
            )?;
        }
    }
    Ok(())
}

/// An adoption is not begun, or any open ends it.
fn adoptions() -> Found {
    for stop in 1.. {
        let (disk, states) = killed(SimDisk::new(), 2)?;
        let disk = marked(&disk, None)?;
        let before = (disk.read_file(FILE), disk.read_file(JOURNAL));
        disk.stop_at(stop);
        let adopted = recover_on(on(&disk), FILE, Resolution::Adopt);
        for survivors in disk.power_cuts(stop, 6, 12) {
            let image = disk.power_cut(&survivors);
            let what = format!("an adoption stopped at {stop}, power cut {survivors}");
            if adopted.is_ok() {
                plain(&image, &states[2], &what)?;
                continue;
            }
            match recover_on(on(&image), FILE, Resolution::Replay) {
                Ok(_) => plain(&image, &states[2], &what)?,
                Err(error) if (image.read_file(FILE), image.read_file(JOURNAL)) != before => {
                    return Err(format!("{what}: {error}"));
                }
                Err(_) => {
                    recover_on(on(&image), FILE, Resolution::Adopt).map_err(gone(&what))?;
                    plain(&image, &states[2], &what)?;
                }
            }
        }
        if adopted.is_ok() {
            break;
        }
    }
    Ok(())
}

fn adopted_lengths() -> Found {
    for disk in [SimDisk::new(), SimDisk::new().without_marks()] {
        let (disk, states) = killed(disk, 0)?;
        let file = disk.open(FILE.as_ref(), Access::ReadWrite).map_err(|error| error.to_string())?;
        file.write_at(&[b"appended by somebody"], LEN as u64)
            .and_then(|()| file.sync(SyncPoint::Copy))
            .map_err(|error| error.to_string())?;
        drop(file);
        recover_on(on(&disk), FILE, Resolution::Adopt).map_err(gone("adopt"))?;
        for survivors in disk.power_cuts(1, 12, 40) {
            let what = format!("an adopted file of another length, power cut {survivors}");
            plain(&disk.power_cut(&survivors), &states[0], &what)?;
        }
    }
    // Nor is a damaged chain adopted.
    let (disk, _) = killed(SimDisk::new(), 3)?;
    let mut journal = JournalBytes::of(&disk)?;
    journal.0[record_at(0) + 120] ^= 1;
    let image = journal.put_on(&disk);
    match recover_on(on(&image), FILE, Resolution::Adopt) {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(()),
        other => Err(format!("a damaged chain was adopted: {other:?}")),
    }?;
    Ok(())
}
