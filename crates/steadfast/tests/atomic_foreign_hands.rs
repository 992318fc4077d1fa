//! Another program's hands on a data file that is open for commits: noticed at the next commit that searches, checkpoint or
//! close, refused from then on, and nothing of what they did is overwritten or deleted. `refresh` takes the file as it is.
//!
//! # Safety
//!
//! This file is trusted with opening views, whose contract it then breaks by writing the file: no slice of a map lives meanwhile.
#![allow(unsafe_code)]

mod stage;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use stage::{Model, assert_says, folder, journal_of, options, picture, until};
use steadfast::store::{Resolution, inspect, recover};
use steadfast::{AtomicMapping, AtomicOptions, ErrorKind};

/// What another program does. Repeated until the file system's clock has moved on: a change within one tick of it cannot
/// be told from our own.
fn by_another_hand(path: &Path, hand: impl Fn(&fs::File)) {
    let changed = || path.metadata().map(|meta| (meta.ctime(), meta.ctime_nsec(), meta.len())).unwrap();
    let before = changed();
    let file = fs::File::options().write(true).open(path).unwrap();
    until("the change time moves", || {
        hand(&file);
        changed() != before
    });
}

type Hand = (&'static str, fn(&fs::File));

const HANDS: [Hand; 5] = [
    ("writes", |file| file.write_all_at(b"foreign", 20_000).unwrap()),
    ("truncates", |file| file.set_len(4097).unwrap()),
    ("empties", |file| file.set_len(0).unwrap()),
    ("grows", |file| file.set_len(1 << 20).unwrap()),
    ("touches", |file| file.set_modified(std::time::SystemTime::now()).unwrap()),
];

/// A loaded map with one durable commit and stores for the next, and the folder after the foreign hand.
fn disturbed(hand: fn(&fs::File)) -> (tempfile::TempDir, std::path::PathBuf, AtomicMapping) {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut map = options().load(&path).unwrap();
    stage::store(&mut map, 1);
    map.commit().unwrap();
    stage::store_plainly(&mut map, 2);
    by_another_hand(&path, hand);
    (folder, path, map)
}

#[test]
fn a_foreign_hand_is_noticed_by_the_next_commit_of_stores_and_nothing_is_overwritten() {
    for (what, hand) in HANDS {
        let (folder, path, mut map) = disturbed(hand);
        let before = picture(folder.path());
        let error = map.commit().unwrap_err();
        assert_says(
            &error,
            ErrorKind::ForeignChange,
            &path,
            &["another program", "nothing was written over it"],
        );
        assert!(map.status().latched.is_some(), "{what}");
        // Latched: whatever is tried from here on.
        for error in [
            map.commit().unwrap_err(),
            map.commit_relaxed().unwrap_err(),
            map.rollback().unwrap_err(),
            map.checkpoint().unwrap_err(),
            map.copy_to(folder.path().join("copy")).unwrap_err(),
        ] {
            assert_says(&error, ErrorKind::Latched, &path, &["another program", "open the file again"]);
        }
        assert!(map[..] == Model::after(&[1, 2]).0, "{what}: the memory is as the program left it");
        let error = map.close().unwrap_err();
        assert_says(&error, ErrorKind::Latched, &path, &[]);
        assert_eq!(picture(folder.path()), before, "{what}: the file, its mark and its journal stay");
        assert!(journal_of(&path).exists());
    }
}

/// Their commits make no call but the write that is durable: they go to the journal alone, which no other program touched.
#[test]
fn declared_edits_are_committed_until_the_checkpoint_notices_a_foreign_hand() {
    for (what, hand) in HANDS {
        let (folder, path, mut map) = disturbed(hand);
        map.rollback().unwrap();
        let before = picture(folder.path());
        stage::store(&mut map, 3);
        let id = map.commit().unwrap();
        assert!(map[..] == Model::after(&[1, 3]).0, "{what}");
        assert_says(&map.checkpoint().unwrap_err(), ErrorKind::ForeignChange, &path, &["another program"]);
        drop(map);
        let report = inspect(&path).unwrap();
        assert_eq!(report.records.last().map(|record| record.id), Some(id), "{what}: it is in the journal");
        let mut after = picture(folder.path());
        after.retain(|name, _| !name.to_string_lossy().ends_with(".steadfast"));
        assert!(
            after.iter().all(|(name, file)| before.get(name) == Some(file)),
            "{what}: nothing else changed"
        );
    }
}

/// What is not captured yet may have been taken from a view: its pages are the file's.
#[test]
fn a_commit_of_a_view_notices_a_foreign_hand_even_if_all_was_declared() {
    for (what, hand) in HANDS {
        let folder = folder();
        let path = folder.path().join("state.bin");
        Model::plain().write(&path);
        let mut map = view(options(), &path);
        // Blocks that are known leave nothing else to look at.
        for byte in [1, 2] {
            map.write_at(30, &[byte]).unwrap();
            map.commit().unwrap();
        }
        map.write_at(30, &[3]).unwrap();
        by_another_hand(&path, hand);
        let error = map.commit().unwrap_err();
        assert_says(&error, ErrorKind::ForeignChange, &path, &["another program"]);
        assert_eq!(map.status().last.get(), 2, "{what}");
    }
}

#[test]
fn a_foreign_hand_is_noticed_by_the_next_checkpoint() {
    for (what, hand) in HANDS {
        let (folder, path, mut map) = disturbed(hand);
        let before = picture(folder.path());
        let error = map.checkpoint().unwrap_err();
        assert_says(&error, ErrorKind::ForeignChange, &path, &[]);
        drop(map);
        assert_eq!(picture(folder.path()), before, "{what}");
    }
}

#[test]
fn a_foreign_hand_is_noticed_by_close_and_by_drop_which_delete_nothing() {
    for (what, hand) in HANDS {
        for dropped in [false, true] {
            let (folder, path, map) = disturbed(hand);
            let before = picture(folder.path());
            if dropped {
                drop(map);
            } else {
                assert_says(&map.close().unwrap_err(), ErrorKind::ForeignChange, &path, &[]);
            }
            assert_eq!(picture(folder.path()), before, "{what}");
        }
    }
    // Also where nothing was committed.
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let map = options().load(&path).unwrap();
    by_another_hand(&path, HANDS[0].1);
    let before = picture(folder.path());
    assert_says(&map.close().unwrap_err(), ErrorKind::ForeignChange, &path, &[]);
    assert_eq!(picture(folder.path()), before);
}

#[test]
fn loaded_memory_survives_the_truncation_of_its_file() {
    let (_folder, path, mut map) = disturbed(|file| file.set_len(0).unwrap());
    assert!(map[..] == Model::after(&[1, 2]).0);
    assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::ForeignChange);
    // All of it can be read and stored to, and so kept elsewhere.
    map.edit(..).unwrap().reverse();
    map.edit(..).unwrap().reverse();
    assert!(map[..] == Model::after(&[1, 2]).0);
    assert_eq!(path.metadata().unwrap().len(), 0);
}

#[test]
fn the_next_open_after_a_foreign_length_refuses_and_after_foreign_bytes_replays() {
    for (what, hand) in HANDS {
        let (folder, path, mut map) = disturbed(hand);
        map.commit().unwrap_err();
        drop(map);
        let before = picture(folder.path());
        if ["truncates", "empties", "grows"].contains(&what) {
            assert_says(
                &options().load(&path).unwrap_err(),
                ErrorKind::Identity,
                &path,
                &["another program"],
            );
            assert!(inspect(&path).unwrap().problem.is_some());
            assert_eq!(picture(folder.path()), before, "{what}");
            recover(&path, Resolution::Discard).unwrap();
            options().load(&path).unwrap().close().unwrap();
            continue;
        }
        let map = options().load(&path).unwrap();
        let mut want = Model::after(&[1]).0;
        if what == "writes" {
            want[20_000..20_007].copy_from_slice(b"foreign");
        }
        assert!(
            map[..] == want,
            "{what}: commits are replayed, and what they did not change is as it was found"
        );
    }
}

#[test]
fn publishing_and_checkpoints_of_our_own_are_no_foreign_hand() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut map = options().publish(true).load(&path).unwrap();
    // Reading changes the access time, and nothing that counts.
    for number in 0..60 {
        stage::store(&mut map, number);
        map.commit().unwrap();
        drop(fs::read(&path).unwrap());
        if number % 7 == 0 {
            map.checkpoint().unwrap();
        }
        map.resize(stage::LEN + number as usize * 100).unwrap();
    }
    map.commit().unwrap();
    map.close().unwrap();
}

fn view(options: AtomicOptions, path: &Path) -> AtomicMapping {
    // SAFETY: breaking this promise is what these tests are about.
    unsafe { options.view(path).unwrap() }
}

/// Opens as `load` or `view`.
fn open(as_view: bool, path: &Path) -> AtomicMapping {
    let options = AtomicMapping::options();
    if as_view { view(options, path) } else { options.load(path).unwrap() }
}

#[test]
fn refresh_takes_what_another_program_left_with_its_length() {
    for view in [false, true] {
        for len in [0, 5, 3000, 100_000] {
            let folder = stage::folder();
            let path = folder.path().join("state.bin");
            fs::write(&path, vec![1; 20_000]).unwrap();
            let mut map = open(view, &path);
            map[7] = 7;
            // Memory that was moved and grown is let go of as well.
            map.resize(50_000).unwrap();
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            fs::write(&path, &bytes).unwrap();
            assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::ForeignChange);
            assert!(map.status().changed_by_others);
            map.refresh().unwrap();
            assert!(map[..] == bytes, "view: {view}, {len} bytes");
            map.check().unwrap();
            assert!(map.status().latched.is_none());
            map.resize(len + 1).unwrap();
            map[len] = 9;
            map.commit().unwrap();
            map.rollback().unwrap();
            assert_eq!(map[len], 9);
            map.close().unwrap();
            assert_eq!(fs::read(&path).unwrap(), [bytes, vec![9]].concat());
        }
    }
}

#[test]
fn refresh_makes_commits_again_that_the_plain_file_lacked() {
    for view in [false, true] {
        let folder = stage::folder();
        let path = folder.path().join("state.bin");
        fs::write(&path, vec![1; 20_000]).unwrap();
        let mut map = open(view, &path);
        map.write_at(100, b"committed").unwrap();
        map.commit().unwrap();
        fs::write(&path, vec![2; 10]).unwrap();
        map.write_at(200, b"lost").unwrap();
        assert_eq!(map.checkpoint().unwrap_err().kind(), ErrorKind::ForeignChange);
        assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::Latched);
        map.refresh().unwrap();
        let mut expected = vec![0; 20_000];
        expected[..10].fill(2);
        expected[100..109].copy_from_slice(b"committed");
        assert!(map[..] == expected, "view: {view}");
        map.close().unwrap();
        assert!(fs::read(&path).unwrap() == expected);
    }
}

/// A loaded map whose file another program changed, which a commit has noticed.
fn changed() -> (tempfile::TempDir, std::path::PathBuf, AtomicMapping) {
    let folder = folder();
    let path = folder.path().join("state.bin");
    fs::write(&path, vec![1; 5000]).unwrap();
    let mut map = open(false, &path);
    fs::write(&path, b"changed").unwrap();
    map[0] = 2;
    map.commit().unwrap_err();
    (folder, path, map)
}

#[test]
fn refresh_does_not_take_another_file_for_this_one() {
    let (folder, path, mut map) = changed();
    fs::rename(&path, folder.path().join("moved")).unwrap();
    fs::write(&path, b"a stranger").unwrap();
    let error = map.refresh().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignChange, "{error}");
    assert_eq!(map[0], 2, "the memory is what it was");
    drop(map);
    assert_eq!(fs::read(&path).unwrap(), b"a stranger");
}

#[test]
fn a_refresh_that_cannot_open_the_file_leaves_the_memory_readable_and_may_be_tried_again() {
    let (folder, path, mut map) = changed();
    let link = folder.path().join("link");
    fs::hard_link(&path, &link).unwrap();
    map.refresh().unwrap_err();
    assert_eq!((map[0], map[4999]), (2, 1));
    for error in [map.commit().unwrap_err(), map.rollback().unwrap_err(), map.checkpoint().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Latched, "{error}");
    }
    assert_eq!(map.refresh().unwrap_err().kind(), ErrorKind::Unsupported);
    fs::remove_file(link).unwrap();
    map.refresh().unwrap();
    assert_eq!(&map[..], b"changed");
    map.close().unwrap();
}

/// What a checkpoint in the background wrote, and what is let go of at its end, goes with the cut.
#[test]
fn a_cut_while_a_checkpoint_writes_in_the_background_is_noticed_before_the_journal_lets_go() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    let (page, pages) = (4096, 64);
    fs::write(&path, vec![9; pages * page]).unwrap();
    let mut map = options().journal_bytes(256 << 10).stepped(1).load(&path).unwrap();
    let mut number = 0;
    let mut commit = |map: &mut AtomicMapping, among: usize| {
        number += 1;
        map.write_at(number % among * page, &[number as u8 | 1; 2048]).unwrap();
        map.commit().map(drop)
    };
    while fs::read(&path).unwrap()[60 * page] == 9 {
        commit(&mut map, pages).unwrap();
    }
    fs::File::options().write(true).open(&path).unwrap().set_len(page as u64).unwrap();
    let before = map.status().checkpointed;
    let error = loop {
        if let Err(error) = commit(&mut map, 1) {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::Latched | ErrorKind::ForeignChange), "{error}");
    assert!(map.status().changed_by_others, "{error}");
    assert_eq!(map.status().checkpointed, before, "the journal has let go");
}
