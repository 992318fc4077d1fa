//! Whose the journal is, and the file: what a journal may be replayed over, and where one may be made.

use std::path::Path;
use std::sync::Arc;

use steadfast::ErrorKind;
use steadfast::disk::{Access, Disk, FileKind, FileStat, SimDisk};
use steadfast::store::{Batch, Flush, Resolution, Store, recover_on};

use super::journal_bytes::{JournalBytes, record_at};
use super::rig::{
    FILE, Found, JOURNAL, LEN, commit, disk, initial, killed, on, open, options, plain, recovers, refused,
};
use super::watched::Watched;

pub(super) fn all() -> Found {
    strangers()?;
    swapped_before_it_is_opened()?;
    swapped_behind_it()?;
    discards()?;
    files_mounted_by_themselves()?;
    files_with_two_names()?;
    owners()?;
    lengths()
}

/// Nobody who runs this.
const STRANGER: u32 = 4242;

type Restat = fn(&Path, &mut FileStat);

fn of_journal(path: &Path) -> bool {
    path == Path::new(JOURNAL)
}

fn refused_when(disk: &SimDisk, restat: Restat, words: &str, what: &str) -> Found {
    let disk = disk.killed();
    let before = (disk.read_file(FILE), disk.mark_of(FILE), disk.read_file(JOURNAL));
    let result = recover_on(Watched::saying(&disk, restat), FILE, Resolution::Adopt);
    refused(result, ErrorKind::Identity, words, what)?;
    if (disk.read_file(FILE), disk.mark_of(FILE), disk.read_file(JOURNAL)) != before {
        return Err(format!("{what}: refused, and something was changed"));
    }
    Ok(())
}

fn strangers() -> Found {
    let (disk, states) = killed(SimDisk::new(), 1)?;
    recovers(&disk, &states[1], "killed")?;
    let cases: [(&str, Restat, &str); 6] = [
        (
            "a FIFO with the journal's name",
            |path, stat| {
                if of_journal(path) {
                    stat.kind = FileKind::Fifo;
                }
            },
            "a FIFO that is not a journal of this file",
        ),
        (
            "a journal of another device",
            |path, stat| {
                if of_journal(path) {
                    stat.device = 9;
                }
            },
            "another device or mount",
        ),
        (
            "a journal with two names",
            |path, stat| {
                if of_journal(path) {
                    stat.links = 2;
                }
            },
            "2 hard links",
        ),
        (
            "another user's journal",
            |path, stat| {
                if of_journal(path) {
                    stat.owner.0 = STRANGER;
                }
            },
            "belongs to user 4242",
        ),
        (
            "a journal that everybody may write",
            |path, stat| stat.mode = if of_journal(path) { 0o666 } else { 0o664 },
            "may be written by others",
        ),
        (
            "a journal that another group may write",
            |path, stat| {
                stat.mode = 0o664;
                if of_journal(path) {
                    stat.owner.1 = STRANGER;
                }
            },
            "by another group",
        ),
    ];
    for (what, restat, words) in cases {
        refused_when(&disk, restat, words, what)?;
    }
    Ok(())
}

/// The name is fine, and a moment later it is a stranger's.
fn swapped_before_it_is_opened() -> Found {
    let (disk, _) = killed(SimDisk::new(), 1)?;
    let watched = Watched::before_journal(&disk, |disk| {
        if let Ok(journal) = disk.open(JOURNAL.as_ref(), Access::ReadWrite) {
            let _ = journal.set_owner((STRANGER, STRANGER), 0o644);
        }
    });
    let result = recover_on(watched, FILE, Resolution::Replay);
    refused(
        result,
        ErrorKind::Identity,
        "belongs to user 4242",
        "a journal that was swapped before it was opened",
    )
}

/// What was judged and scanned is what is replayed.
fn swapped_behind_it() -> Found {
    let (disk, states) = killed(SimDisk::new(), 2)?;
    let mut other = JournalBytes::of(&disk)?;
    other.0[record_at(0)..].fill(0);
    let watched = Watched::behind_journal(&disk, move |disk| {
        disk.put_file("/other", &other.0);
        let _ = disk.rename("/other".as_ref(), JOURNAL.as_ref());
    });
    let what = "a journal whose name went to another file behind the open";
    recover_on(watched, FILE, Resolution::Replay).map_err(|error| format!("{what}: {error}"))?;
    plain(&disk, &states[2], what)
}

/// The way out for all this reads nothing, and takes away what is one file.
fn discards() -> Found {
    let (disk, states) = killed(SimDisk::new(), 1)?;
    let cases: [(&str, Restat); 2] = [
        ("a directory", |path, stat| {
            if of_journal(path) {
                stat.kind = FileKind::Directory;
            }
        }),
        ("something mounted", |path, stat| {
            if of_journal(path) {
                stat.mount = Some(9);
            }
        }),
    ];
    for (what, restat) in cases {
        let image = disk.killed();
        let result = recover_on(Watched::saying(&image, restat), FILE, Resolution::Discard);
        refused(result, ErrorKind::Identity, "is not removed", &format!("{what} discarded"))?;
        if !image.exists(JOURNAL) || image.mark_of(FILE).is_none() {
            return Err(format!("{what} discarded: refused, and something was changed"));
        }
    }
    let strange = Watched::saying(&disk, |path, stat| {
        if of_journal(path) {
            (stat.kind, stat.links, stat.mode, stat.owner) =
                (FileKind::Symlink, 2, 0o777, (STRANGER, STRANGER));
        }
    });
    recover_on(strange, FILE, Resolution::Discard).map_err(|error| format!("a link discarded: {error}"))?;
    plain(&disk, &states[0], "a link discarded")
}

fn files_mounted_by_themselves() -> Found {
    let cases: [(&str, Restat, &str); 2] = [
        (
            "a file of another device than its folder",
            |path, stat| {
                if path == Path::new(FILE) {
                    stat.device = 9;
                }
            },
            "on another device",
        ),
        (
            "a file of another mount than its folder",
            |path, stat| {
                if path == Path::new(FILE) {
                    stat.mount = Some(9);
                }
            },
            "it is mounted by itself",
        ),
    ];
    for (what, restat, words) in cases {
        let disk = disk();
        let watched = Watched::saying(&disk, restat);
        let open = options(0).open_on(Arc::clone(&watched) as Arc<dyn Disk>, FILE);
        refused(open, ErrorKind::Unsupported, words, what)?;
        // And where that is allowed, what a crash leaves is recovered.
        let allowed =
            || options(0).allow_other_device(true).open_on(Arc::clone(&watched) as Arc<dyn Disk>, FILE);
        let mut store = super::rig::opened(allowed())?;
        let mut state = initial();
        commit(&mut store, &mut state, 0, b"one")?;
        let image = disk.killed();
        recover_on(Watched::saying(&image, restat), FILE, Resolution::Replay)
            .map_err(|error| format!("{what}, recovered: {error}"))?;
        plain(&image, &state, what)?;
    }
    Ok(())
}

/// Under the file's other name its journal would not be found.
fn files_with_two_names() -> Found {
    let watched = Watched::saying(&disk(), |path, stat| {
        if path == Path::new(FILE) {
            stat.links = 2;
        }
    });
    refused(
        options(0).open_on(watched, FILE),
        ErrorKind::Unsupported,
        "2 hard links",
        "a file with two names",
    )
}

/// A journal is whose the file is.
fn owners() -> Found {
    let disk = disk();
    let file = disk.open(FILE.as_ref(), Access::ReadWrite).map_err(|error| error.to_string())?;
    file.set_owner((STRANGER, 7), 0o640).map_err(|error| error.to_string())?;
    let mut store = open(&disk, 0)?;
    commit(&mut store, &mut initial(), 0, b"one")?;
    let journal = disk.stat(JOURNAL.as_ref()).map_err(|error| error.to_string())?;
    if (journal.owner, journal.mode) != ((STRANGER, 7), 0o640) {
        return Err(format!("the journal of {STRANGER}'s file: {journal:?}"));
    }
    Ok(())
}

/// A journal that is sound in all else says a length that the file cannot have.
fn lengths() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let batch = Batch { len_min: LEN as u64, len: 200_000, extents: &[], bytes: &[] };
    store.commit(&batch, Flush::Now).map_err(|error| error.to_string())?;
    let image = disk.killed();
    image.longest(100_000);
    let before = (image.read_file(FILE), image.mark_of(FILE), image.read_file(JOURNAL));
    let what = "a length that the file cannot have";
    refused(recover_on(on(&image), FILE, Resolution::Replay), ErrorKind::NoSpace, "recover", what)?;
    if image.is_stopped() || (image.read_file(FILE), image.mark_of(FILE), image.read_file(JOURNAL)) != before
    {
        return Err(format!("{what}: refused, and something was changed"));
    }
    Ok(())
}
