//! File and journal belong together or are refused: after a crash, what a copy, a restore, a rename or a stray hand did to
//! either is noticed, nothing is changed, and the two explicit ways out do what they say.

mod stage;

use std::fs;
use std::path::{Path, PathBuf};

use stage::{MARK, Model, VERBS, assert_says, copy_all, crash, folder, journal_of, open, options, picture};
use steadfast::store::{Resolution, inspect, recover};
use steadfast::{CommitId, ErrorKind};

#[test]
fn as_another_process() {
    stage::as_another_process();
}

/// A pair as a crash leaves it: three commits, the first of them checkpointed, and stores that were not committed.
fn crashed() -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join("state.bin");
    crash(&path, "1 ckpt 2 3 u4");
    (folder, path)
}

fn held() -> Model {
    Model::after(&[1, 2, 3])
}

#[track_caller]
fn recovers(path: &Path) {
    let map = options().load(path).unwrap();
    assert!(map[..] == held().0);
    assert_eq!(map.status().recovery.replayed_commits, 2);
    assert_eq!(map.status().last, CommitId::new(3));
    map.close().unwrap();
    assert!(fs::read(path).unwrap() == held().0);
    assert_eq!(stage::mark_of(path), None, "no mark after close");
    assert!(!journal_of(path).exists(), "no journal after close");
}

/// Every way in refuses the pair, says the words, and changes nothing at all.
#[track_caller]
fn refused(path: &Path, words: &[&str]) {
    let folder = path.parent().unwrap();
    let before = picture(folder);
    for verb in VERBS {
        let error = open(verb, options().create(true), path).unwrap_err();
        assert_says(&error, ErrorKind::Identity, path, words);
        assert!(error.to_string().contains("--discard"), "{error}");
    }
    assert_says(&recover(path, Resolution::Replay).unwrap_err(), ErrorKind::Identity, path, words);
    let report = inspect(path).unwrap();
    assert_eq!(report.problem.unwrap().kind(), ErrorKind::Identity);
    assert!(!report.recovery_waits);
    assert_eq!(picture(folder), before, "a refusal changed something");
}

#[test]
fn a_crashed_pair_recovers_by_every_way_in() {
    for verb in VERBS {
        let (_folder, path) = crashed();
        let report = inspect(&path).unwrap();
        assert!(report.marked && report.journal_found && report.recovery_waits, "{report:?}");
        assert_eq!(report.records.len(), 2);
        let map = open(verb, options(), &path).unwrap();
        assert!(map[..] == held().0, "{verb:?}");
        drop(map);
        assert!(fs::read(&path).unwrap() == held().0);
    }
    let (_folder, path) = crashed();
    let recovery = recover(&path, Resolution::Replay).unwrap();
    assert_eq!((recovery.replayed_commits, recovery.last), (2, CommitId::new(3)));
    assert!(fs::read(&path).unwrap() == held().0);
    assert!(!journal_of(&path).exists() && stage::mark_of(&path).is_none());
}

#[test]
fn a_pair_copied_with_its_attributes_recovers() {
    let (_folder, path) = crashed();
    let elsewhere = folder();
    let copy = elsewhere.path().join("copy.bin");
    copy_all(&path, &copy);
    copy_all(&journal_of(&path), &journal_of(&copy));
    recovers(&copy);
    recovers(&path);
}

#[test]
fn a_pair_renamed_together_recovers() {
    let (folder, path) = crashed();
    let renamed = folder.path().join("renamed.bin");
    fs::rename(&path, &renamed).unwrap();
    fs::rename(journal_of(&path), journal_of(&renamed)).unwrap();
    recovers(&renamed);
}

#[test]
fn a_file_renamed_alone_is_refused_under_either_name() {
    let (folder, path) = crashed();
    let renamed = folder.path().join("renamed.bin");
    fs::rename(&path, &renamed).unwrap();
    refused(&renamed, &["its journal is missing"]);
    // Under the old name there is nothing; created anew, it is not what the journal belongs to.
    let before = picture(folder.path());
    let error = options().load(&path).unwrap_err();
    assert_says(&error, ErrorKind::NotFound, &path, &[]);
    let error = options().create(true).len(stage::LEN).load(&path).unwrap_err();
    assert_says(&error, ErrorKind::Identity, &path, &["does not carry the journal's mark"]);
    assert_eq!(picture(folder.path()), before);
    fs::rename(&renamed, &path).unwrap();
    recovers(&path);
}

#[test]
fn an_older_copy_beside_a_newer_journal_is_refused() {
    // The copy was made while the file was open, before a checkpoint brought commits into it.
    for with_mark in [true, false] {
        let folder = folder();
        let path = folder.path().join("state.bin");
        Model::plain().write(&path);
        let mut other = stage::other_process("1 ready ckpt 2 3 kill", &path, None);
        other.until_ready();
        let older = stage::folder();
        let copy = older.path().join("copy.bin");
        if with_mark {
            copy_all(&path, &copy)
        } else {
            fs::copy(&path, &copy).map(|_| ()).unwrap()
        }
        other.go_on();
        other.child.wait().unwrap();
        let newer = older.path().join("newer.bin");
        copy_all(&path, &newer);

        copy_all(&copy, &path);
        if with_mark {
            refused(&path, &["older than its journal", "restored from a copy"]);
        } else {
            stage::set_mark(&path, None);
            refused(&path, &["does not carry the journal's mark"]);
        }
        copy_all(&newer, &path);
        recovers(&path);
    }
}

#[test]
fn an_older_journal_beside_a_newer_file_is_refused() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut other = stage::other_process("1 ready 2 ckpt 3 kill", &path, None);
    other.until_ready();
    let older = folder.path().join("journal.old");
    fs::copy(journal_of(&path), &older).unwrap();
    other.go_on();
    other.child.wait().unwrap();
    fs::copy(&older, journal_of(&path)).unwrap();
    refused(&path, &["the journal is older than the file"]);
}

#[test]
fn a_missing_journal_is_refused() {
    let (_folder, path) = crashed();
    let kept = path.with_extension("kept");
    fs::rename(journal_of(&path), &kept).unwrap();
    refused(&path, &["its journal is missing", "commits may be lacking"]);
    fs::rename(&kept, journal_of(&path)).unwrap();
    recovers(&path);
}

#[test]
fn another_files_journal_is_refused() {
    let (_folder, path) = crashed();
    let (_other_folder, other) = crashed();
    let own = path.with_extension("own");
    fs::rename(journal_of(&path), &own).unwrap();
    fs::copy(journal_of(&other), journal_of(&path)).unwrap();
    refused(&path, &["belongs to another file"]);
    fs::rename(&own, journal_of(&path)).unwrap();
    recovers(&path);

    // Beside a plain file that was never open for commits.
    let plain = path.with_extension("plain");
    Model::plain().write(&plain);
    fs::copy(journal_of(&other), journal_of(&plain)).unwrap();
    refused(&plain, &["does not carry the journal's mark"]);
}

#[test]
fn a_file_replaced_by_rename_is_refused() {
    let (_folder, path) = crashed();
    let new = path.with_extension("new");
    Model::plain().write(&new);
    fs::rename(&new, &path).unwrap();
    refused(&path, &["it was replaced or restored"]);
}

#[test]
fn a_file_cut_or_grown_after_the_crash_is_refused() {
    for len in [0, 1, stage::LEN - 1, stage::LEN + 1, 1 << 20] {
        let (_folder, path) = crashed();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(len as u64).unwrap();
        refused(&path, &["another program changed it", &format!("{len} bytes")]);
        // Cut short, the way back is the length that it had; what was cut off is gone, and that was not our doing.
        file.set_len(stage::LEN as u64).unwrap();
        recover(&path, Resolution::Replay).unwrap();
    }
}

#[test]
fn a_mark_of_another_version_is_refused() {
    let (_folder, path) = crashed();
    let mark = stage::mark_of(&path).unwrap();
    let mut newer = mark.clone();
    newer[0] += 1;
    for strange in [newer, mark[..10].to_vec(), vec![7; 200], vec![]] {
        stage::set_mark(&path, Some(&strange));
        refused(&path, &[MARK]);
    }
    stage::set_mark(&path, Some(&mark));
    recovers(&path);
}

#[test]
fn adopt_replays_a_sound_journal_over_the_file_that_is_there() {
    let (_folder, path) = crashed();
    // Restored from a backup that knew commit 1, without attributes, and one byte shorter.
    let backup = path.with_extension("backup");
    let mut bytes = Model::after(&[1]).0;
    bytes.pop();
    fs::write(&backup, &bytes).unwrap();
    fs::rename(&backup, &path).unwrap();
    refused(&path, &[]);
    let recovery = recover(&path, Resolution::Adopt).unwrap();
    assert_eq!((recovery.replayed_commits, recovery.discarded), (2, false));
    let mut want = held().0;
    // The byte that was missing is a zero: no commit spoke of it.
    want[stage::LEN - 1] = 0;
    assert!(fs::read(&path).unwrap() == want);
    assert!(!journal_of(&path).exists() && stage::mark_of(&path).is_none());
}

#[test]
fn adopt_of_a_journal_without_records_gives_the_file_its_length_back() {
    for change in [-10i64, 10] {
        let folder = folder();
        let path = folder.path().join("state.bin");
        // Killed with everything checkpointed; then another program cuts the file, or appends to it.
        crash(&path, "1 ckpt");
        let mut want = Model::after(&[1]).0;
        let len = want.len() as u64;
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(len.checked_add_signed(change).unwrap()).unwrap();
        let recovery = recover(&path, Resolution::Adopt).unwrap();
        assert_eq!(recovery.replayed_commits, 0);
        if change < 0 {
            want[len as usize - 10..].fill(0);
        }
        assert!(fs::read(&path).unwrap() == want);
    }
}

#[test]
fn adopt_waives_identity_and_not_soundness() {
    let (folder, path) = crashed();
    // The first record behind the checkpoint: a later one proves that it was durable.
    let report = inspect(&path).unwrap();
    let offset = report.records[0].journal_offset;
    let mut journal = fs::read(journal_of(&path)).unwrap();
    journal[offset as usize + 130] ^= 1;
    fs::write(journal_of(&path), &journal).unwrap();
    let before = picture(folder.path());
    let error = recover(&path, Resolution::Adopt).unwrap_err();
    assert_says(&error, ErrorKind::Corrupt, &path, &[&format!("offset {offset}"), "commit 2"]);
    assert_eq!(picture(folder.path()), before);
    // Nor can a journal be adopted that is not there.
    fs::remove_file(journal_of(&path)).unwrap();
    let error = recover(&path, Resolution::Adopt).unwrap_err();
    assert_says(&error, ErrorKind::Identity, &path, &["its journal is missing"]);
}

#[test]
fn discard_keeps_the_file_as_it_stands() {
    let (_folder, path) = crashed();
    let bytes = fs::read(&path).unwrap();
    assert!(bytes == Model::after(&[1]).0, "commits 2 and 3 are in the journal alone");
    let recovery = recover(&path, Resolution::Discard).unwrap();
    assert!(recovery.discarded && recovery.replayed_commits == 0);
    assert!(fs::read(&path).unwrap() == bytes);
    assert!(!journal_of(&path).exists() && stage::mark_of(&path).is_none());
    // And so it does where the journal is missing or cannot be read.
    for journal in [None, Some(&b"garbage"[..])] {
        let (_folder, path) = crashed();
        let bytes = fs::read(&path).unwrap();
        match journal {
            None => fs::remove_file(journal_of(&path)).unwrap(),
            Some(garbage) => fs::write(journal_of(&path), garbage).unwrap(),
        }
        assert!(recover(&path, Resolution::Discard).unwrap().discarded);
        assert!(fs::read(&path).unwrap() == bytes);
        assert!(!journal_of(&path).exists() && stage::mark_of(&path).is_none());
        options().load(&path).unwrap();
    }
}

#[test]
fn recovery_of_a_plain_file_changes_nothing() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let before = picture(folder.path());
    for how in [Resolution::Replay, Resolution::Adopt, Resolution::Discard] {
        let recovery = recover(&path, how).unwrap();
        assert!(!recovery.journal_found && !recovery.discarded, "{how:?}: {recovery:?}");
        assert_eq!(picture(folder.path()), before);
    }
}

#[test]
fn an_unfinished_fresh_journal_is_deleted_and_never_replayed() {
    let (_folder, path) = crashed();
    // Half a journal, and a whole one that would replay something else.
    let (_other_folder, other) = crashed();
    let journal = fs::read(journal_of(&other)).unwrap();
    for leftover in [&journal[..5000], &journal] {
        let copy_at = folder();
        let copy = copy_at.path().join("state.bin");
        copy_all(&path, &copy);
        copy_all(&journal_of(&path), &journal_of(&copy));
        fs::write(stage::fresh_of(&copy), leftover).unwrap();
        recovers(&copy);
        assert_eq!(picture(copy_at.path()).len(), 1, "one plain file is left");
    }
    // Beside a plain file too.
    let plain = path.with_extension("plain");
    Model::plain().write(&plain);
    fs::write(stage::fresh_of(&plain), &journal).unwrap();
    options().load(&plain).unwrap().close().unwrap();
    assert!(fs::read(&plain).unwrap() == Model::plain().0);
    assert!(!stage::fresh_of(&plain).exists());
}

#[test]
fn an_empty_journal_without_a_mark_is_harmless() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    crash(&path, "open");
    // A crash between the journal's name and the mark, or between the mark's end and the journal's.
    stage::set_mark(&path, None);
    let map = options().load(&path).unwrap();
    assert_eq!(map.status().recovery.replayed_commits, 0);
    assert!(map[..] == Model::plain().0);
    map.close().unwrap();
    assert_eq!(picture(folder.path()).len(), 1);
}

#[test]
fn after_close_there_is_neither_mark_nor_journal() {
    for verb in VERBS {
        let folder = folder();
        let path = folder.path().join("state.bin");
        Model::plain().write(&path);
        let before = picture(folder.path());
        let mut map = open(verb, options(), &path).unwrap();
        assert!(stage::mark_of(&path).is_some() && journal_of(&path).exists(), "while it is open");
        stage::store(&mut map, 1);
        map.rollback().unwrap();
        map.close().unwrap();
        assert_eq!(picture(folder.path()), before, "{verb:?}: nothing was committed");
        let mut map = open(verb, options(), &path).unwrap();
        stage::store(&mut map, 1);
        map.commit().unwrap();
        map.close().unwrap();
        assert!(fs::read(&path).unwrap() == Model::after(&[1]).0);
        assert_eq!(stage::mark_of(&path), None);
        assert_eq!(picture(folder.path()).len(), 1);
    }
}
