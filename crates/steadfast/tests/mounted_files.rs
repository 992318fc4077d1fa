//! A file that is mounted by itself, as containers have single files: its journal lies beside the name that it is mounted over,
//! and where the file really lies nobody finds it.

mod stage;

use std::fs;
use std::path::Path;

use stage::{Bound, Model, Mounted, VERBS, assert_says, folder, journal_of, lacking, open, options, picture};
use steadfast::store::{Resolution, inspect, recover};
use steadfast::{ErrorKind, Mapping};

#[test]
fn as_another_process() {
    stage::as_another_process();
}

/// `file` is mounted over a name in a folder of its own.
fn mounted_by_itself(file: &Path, words: &[&str]) {
    let here = folder();
    let name = here.path().join("mounted.bin");
    fs::write(&name, b"").unwrap();
    Model::plain().write(file);
    let bound = match Bound::over(&name, file) {
        Ok(bound) => bound,
        Err(what) => return lacking(&what),
    };
    let before = picture(here.path());
    for verb in VERBS {
        let error = open(verb, options().create(true), &name).unwrap_err();
        assert_says(&error, ErrorKind::Unsupported, &name, words);
        assert_says(&error, ErrorKind::Unsupported, &name, &["where it really lies", "allow_other_device"]);
        assert_eq!(picture(here.path()), before);
    }
    // Where it really lies it is a file like any other.
    options().load(file).unwrap().close().unwrap();

    // Whoever asks for it gets what that means: a journal under this name, which recovers, and none under the other.
    let mut other = stage::other_process("anywhere 1 ckpt 2 3 kill", &name, None);
    other.child.wait().unwrap();
    assert!(journal_of(&name).exists() && !journal_of(file).exists());
    let error = options().load(file).unwrap_err();
    assert_says(&error, ErrorKind::Identity, file, &["its journal is missing", "--discard"]);
    let report = inspect(&name).unwrap();
    assert!(report.problem.is_none() && report.recovery_waits && report.records.len() == 2, "{report:?}");
    let map = options().allow_other_device(true).load(&name).unwrap();
    assert_eq!(map.status().recovery.replayed_commits, 2);
    assert!(map[..] == Model::after(&[1, 2, 3]).0);
    drop(map);
    // As does whoever recovers by name.
    let mut other = stage::other_process("anywhere 4 kill", &name, None);
    other.child.wait().unwrap();
    recover(&name, Resolution::Replay).unwrap();
    assert!(!journal_of(&name).exists() && stage::mark_of(&name).is_none());
    drop(bound);
    assert!(fs::read(file).unwrap() == Model::after(&[1, 2, 3, 4]).0);
}

#[test]
fn a_file_that_is_mounted_by_itself_is_refused_unless_asked_for() {
    let there = folder();
    // The same device: only the kernel's number of the mount tells.
    mounted_by_itself(&there.path().join("state.bin"), &["it is mounted by itself"]);
    let Some(mounted) = Mounted::ext4(&there.path().join("image"), 16 << 20) else { return };
    mounted_by_itself(&mounted.path().join("state.bin"), &["on another device", "mounted by itself"]);
}

#[test]
fn a_folder_that_is_mounted_is_a_folder_like_any_other() {
    let (here, there) = (folder(), folder());
    let bound = match Bound::over(here.path(), there.path()) {
        Ok(bound) => bound,
        Err(what) => return lacking(&what),
    };
    let path = here.path().join("state.bin");
    stage::crash(&path, "1 2");
    // The pair is found under either name of the folder.
    let other = there.path().join("state.bin");
    let map = options().load(&other).unwrap();
    assert!(map[..] == Model::after(&[1, 2]).0);
    assert_eq!(options().load(&path).unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!(Mapping::options().write(true).open(&path).unwrap_err().kind(), ErrorKind::Locked);
    map.close().unwrap();
    drop(bound);
    assert_eq!(picture(there.path()).len(), 1);
}
