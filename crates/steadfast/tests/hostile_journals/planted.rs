//! What others may put in a journal's place.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown, symlink};

use rustix::fs::{CWD, FileType, makedev, mknodat};
use steadfast::ErrorKind;
use steadfast::store::{Resolution, recover};

use crate::stage::{Bound, Model, assert_says, fresh_of, lacking, mark_of, options, picture};
use crate::ways_in::{Pair, STRANGER, answers, needs_root, users};

/// What `--discard` does about a row.
#[derive(Clone, Copy, PartialEq)]
enum Discard {
    Removes,
    Refuses,
}
use Discard::{Refuses, Removes};

/// A name, what is planted (an error says what this machine lacks for it), what must be said, and whether `--discard` removes it.
type Planted = (&'static str, fn(&Pair) -> Result<(), String>, &'static [&'static str], Discard);

const PLANTED: &[Planted] = &[
    (
        "another user's journal",
        |pair| {
            needs_root()?;
            chown(&pair.journal, Some(STRANGER), None).unwrap();
            Ok(())
        },
        &["belongs to user 4242, the file to user", "let user 4242 recover it", "--discard"],
        Removes,
    ),
    (
        "another user's journal that nobody else may read",
        |pair| {
            needs_root()?;
            chown(&pair.journal, Some(STRANGER), Some(STRANGER)).unwrap();
            pair.mode(&pair.journal, 0o600);
            Ok(())
        },
        &["belongs to user 4242, the file to user"],
        Removes,
    ),
    (
        "a link to a sound journal",
        |pair| {
            symlink(pair.elsewhere.join("journal"), pair.away()).unwrap();
            Ok(())
        },
        &["a symbolic link", "is not a journal of this file", "move it away"],
        Removes,
    ),
    (
        "a link to a file that others guard",
        |pair| {
            fs::write(pair.elsewhere.join("passwd"), b"root:x:0:0").unwrap();
            pair.mode(&pair.elsewhere.join("passwd"), 0o600);
            symlink(pair.elsewhere.join("passwd"), pair.away()).unwrap();
            Ok(())
        },
        &["a symbolic link"],
        Removes,
    ),
    (
        "a dangling link",
        |pair| {
            symlink("nowhere", pair.away()).unwrap();
            Ok(())
        },
        &["a symbolic link"],
        Removes,
    ),
    ("a FIFO", |pair| pair.node(FileType::Fifo, 0), &["a FIFO", "move it away"], Removes),
    ("a socket", |pair| pair.node(FileType::Socket, 0), &["a socket"], Removes),
    ("a device", |pair| pair.node(FileType::CharacterDevice, makedev(1, 5)), &["a device"], Removes),
    (
        "a directory",
        |pair| {
            fs::create_dir(pair.away()).unwrap();
            pair.give(&pair.journal);
            Ok(())
        },
        &["a directory", "move it away"],
        Refuses,
    ),
    (
        "a journal that everybody may write",
        |pair| {
            pair.mode(&pair.journal, 0o646);
            Ok(())
        },
        &["(mode 646) may be written by others than the file (mode 644)", "chmod", "--discard"],
        Removes,
    ),
    (
        "a journal that its group may write",
        |pair| {
            pair.mode(&pair.journal, 0o664);
            Ok(())
        },
        &["(mode 664) may be written by others than the file (mode 644)"],
        Removes,
    ),
    (
        "a journal that another group may write",
        |pair| {
            needs_root()?;
            chown(&pair.journal, None, Some(STRANGER)).unwrap();
            pair.mode(&pair.journal, 0o664);
            pair.mode(&pair.path, 0o664);
            Ok(())
        },
        &["written by another group (4242)", "chown"],
        Removes,
    ),
    (
        "a journal with a second name",
        |pair| {
            fs::hard_link(&pair.journal, pair.elsewhere.join("second")).unwrap();
            Ok(())
        },
        &["2 hard links"],
        Removes,
    ),
    (
        "a journal that is mounted",
        |pair| {
            let kept = pair.elsewhere.join("journal");
            fs::copy(&pair.journal, &kept).unwrap();
            pair.give(&kept);
            pair.bound.set(Some(Bound::over(&pair.journal, &kept)?));
            Ok(())
        },
        &["another device or mount than its folder", "unmount it"],
        Refuses,
    ),
];

#[test]
fn what_is_planted_in_a_journals_place_is_refused_to_everybody() {
    for user in users() {
        for (row, plant, words, discard) in PLANTED {
            let pair = Pair::new(user);
            if let Err(what) = plant(&pair) {
                lacking(&format!("{what} ({row})"));
                continue;
            }
            pair.refused(row, ErrorKind::Identity, words);

            // The explicit way out reads nothing of it: it takes the name away, and what a link leads to stays.
            let (data, elsewhere) = (fs::read(&pair.path).unwrap(), picture(&pair.elsewhere));
            match (recover(&pair.path, Resolution::Discard), discard) {
                (Ok(done), Removes) => {
                    assert!(done.discarded && done.replayed_commits == 0, "{row}: {done:?}");
                    assert!(pair.journal.symlink_metadata().is_err(), "{row}: it is still there");
                    assert_eq!(mark_of(&pair.path), None, "{row}");
                }
                (Err(error), Refuses) => {
                    let text = error.to_string();
                    assert_eq!(error.kind(), ErrorKind::Identity, "{row}: {text}");
                    assert!(
                        text.contains("is not removed") && text.contains("move it away"),
                        "{row}: {text}"
                    );
                    assert!(pair.journal.exists() && mark_of(&pair.path).is_some(), "{row}");
                }
                (other, _) => panic!("{row}, discarded: {other:?}"),
            }
            assert!(fs::read(&pair.path).unwrap() == data, "{row}: something was replayed");
            assert_eq!(picture(&pair.elsewhere), elsewhere, "{row}");
        }
        // Beside all this: what was planted nowhere is believed.
        Pair::new(user).is_fine("a pair that nobody touched", &[1, 2, 3]);
    }
}

#[test]
fn what_is_planted_in_the_place_of_a_fresh_journal_is_never_followed_or_written() {
    for planted in
        ["link", "dangling link", "fifo", "file", "another user's file", "second name", "directory"]
    {
        let pair = Pair::new(None);
        let fresh = fresh_of(&pair.path);
        let target = pair.elsewhere.join("target");
        fs::write(&target, b"not ours").unwrap();
        match planted {
            "link" => symlink(&target, &fresh).unwrap(),
            "dangling link" => symlink(pair.elsewhere.join("nothing"), &fresh).unwrap(),
            "fifo" => mknodat(CWD, &fresh, FileType::Fifo, 0o666.into(), 0).unwrap(),
            "second name" => fs::hard_link(&target, &fresh).unwrap(),
            "directory" => fs::create_dir(&fresh).unwrap(),
            _ => fs::write(&fresh, b"planted").unwrap(),
        }
        if planted.starts_with("another") {
            if let Err(what) = needs_root() {
                lacking(&what);
                continue;
            }
            chown(&fresh, Some(STRANGER), Some(STRANGER)).unwrap();
        }
        let there = picture(&pair.elsewhere);
        // Open throughout: whoever held what was planted must not hold the journal.
        let held = (planted.ends_with("file")).then(|| File::options().append(true).open(&fresh).unwrap());
        if planted == "directory" {
            let before = picture(pair.folder.path());
            let error = recover(&pair.path, Resolution::Replay).unwrap_err();
            assert_says(&error, ErrorKind::Identity, &fresh, &["taken by a directory", "move it away"]);
            assert_eq!(picture(pair.folder.path()), before);
            continue;
        }
        let map = options().load(&pair.path).unwrap();
        let meta = pair.journal.symlink_metadata().unwrap();
        assert!(meta.is_file() && fresh.symlink_metadata().is_err(), "{planted}");
        if let Some(held) = held {
            assert_ne!(
                held.metadata().unwrap().ino(),
                meta.ino(),
                "{planted}: the planted file is the journal"
            );
        }
        assert!(map[..] == Model::after(&[1, 2, 3]).0);
        map.close().unwrap();
        assert_eq!(picture(&pair.elsewhere), there, "{planted}: what a link leads to was touched");
    }
    // Nor is anything removed beside a journal that is refused.
    let pair = Pair::new(None);
    fs::write(fresh_of(&pair.path), b"left over").unwrap();
    fs::hard_link(&pair.journal, pair.elsewhere.join("second")).unwrap();
    pair.refused("a left-over beside what is refused", ErrorKind::Identity, &["2 hard links"]);
}

#[test]
fn another_files_journal_is_refused_to_everybody() {
    for user in users() {
        let (pair, other) = (Pair::new(user), Pair::new(user));
        fs::write(&pair.journal, fs::read(&other.journal).unwrap()).unwrap();
        let before = picture(pair.folder.path());
        // To adopt it is the explicit way out.
        for [way, kind, text] in answers(&pair.path, user, &[("STEADFAST_NO_ADOPTION", "1")]) {
            assert_eq!(kind, "Identity", "{way}: {text}");
            assert!(text.contains("belongs to another file") && text.contains("--adopt"), "{way}: {text}");
        }
        assert!(picture(pair.folder.path()) == before);
    }
}
