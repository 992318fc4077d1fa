//! Of what a crash has left, on a read-only file system, without permission to write, and of what is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use steadfast::store::{Resolution, recover};
use steadfast::{CommitId, ErrorKind};

use crate::read;
use crate::stage::{
    MARK, Model, Mounted, assert_says, copy_all, crash, folder, journal_of, mark_of, options, picture,
    set_mark,
};

#[test]
fn after_a_crash_a_reader_sees_what_recovery_then_makes() {
    for script in ["u1", "1 2 ~3 u4", "1 ckpt 2 3 u4", "1 ~2 ~3 ckpt", "~1"] {
        let folder = folder();
        let path = folder.path().join("state.bin");
        crash(&path, script);
        let before = picture(folder.path());
        let shown = read(&path).unwrap();
        assert_eq!(picture(folder.path()), before, "{script}: a look changed something");
        let recovery = recover(&path, Resolution::Replay).unwrap();
        assert!(fs::read(&path).unwrap() == shown[..], "{script}");
        assert_eq!(recovery.last, shown.status().last, "{script}");
        assert!(read(&path).unwrap()[..] == shown[..], "{script}: of the plain file");
    }
}

#[test]
fn a_reader_needs_permission_to_read_and_no_more() {
    if !rustix::process::geteuid().is_root() {
        return crate::stage::lacking("root, to become another user");
    }
    let folder = folder();
    let path = folder.path().join("state.bin");
    crash(&path, "1 2 u3");
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(journal_of(&path), Permissions::from_mode(0o444)).unwrap();
    let Some(heard) = crate::stage::heard_by_nobody("reads", &path) else { return };
    assert_eq!(heard, format!("commit 2, sum {:x}", crate::stage::sum(&Model::after(&[1, 2]).0)));
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    let heard = crate::stage::heard_by_nobody("reads", &path).unwrap();
    assert!(heard.starts_with("PermissionDenied|") && heard.contains("; check the owner"), "{heard}");
}

#[test]
fn a_read_only_file_system_is_read() {
    let folder = folder();
    let Some(mounted) = Mounted::ext4(&folder.path().join("image"), 16 << 20) else { return };
    let path = mounted.path().join("state.bin");
    crash(&path, "1 ckpt 2 u3");
    mounted.remount("ro");
    let before = picture(mounted.path());
    let map = read(&path).unwrap();
    assert!(map[..] == Model::after(&[1, 2]).0);
    assert_eq!(map.status().last, CommitId::new(2));
    assert_eq!(picture(mounted.path()), before);
    map.close().unwrap();
    mounted.remount("rw");
}

#[test]
fn a_live_writer_is_read_through_a_read_only_bind_mount() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut writer = options().load(&path).unwrap();
    crate::stage::store(&mut writer, 1);
    writer.commit().unwrap();
    let Some(mounted) = Mounted::new(&["--bind", &folder.path().to_string_lossy()]) else { return };
    mounted.remount("bind,ro");
    let there = mounted.path().join("state.bin");
    assert_eq!(options().load(&there).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert!(read(&there).unwrap()[..] == Model::after(&[1]).0);
    crate::stage::store(&mut writer, 2);
    writer.commit_relaxed().unwrap();
    assert!(read(&there).unwrap()[..] == Model::after(&[1, 2]).0);
}

#[track_caller]
fn refused_as_a_writer_is(path: &Path, kind: ErrorKind) {
    let folder = path.parent().unwrap();
    let before = picture(folder);
    let error = read(path).unwrap_err();
    assert_says(&error, kind, path, &[]);
    assert_eq!(picture(folder), before, "a refusal changed something");
    let writers = options().load(path).unwrap_err();
    assert_eq!((writers.kind(), writers.to_string()), (error.kind(), error.to_string()));
}

#[test]
fn what_does_not_belong_together_is_refused_as_a_writer_is() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    crash(&path, "1 ckpt 2 3");
    let (journal, mark) = (journal_of(&path), mark_of(&path).unwrap());
    let whole = fs::read(&journal).unwrap();

    // A mark without its journal, and a journal without its mark.
    fs::rename(&journal, folder.path().join("away")).unwrap();
    refused_as_a_writer_is(&path, ErrorKind::Identity);
    fs::rename(folder.path().join("away"), &journal).unwrap();
    set_mark(&path, None);
    refused_as_a_writer_is(&path, ErrorKind::Identity);
    // Another file's journal.
    set_mark(&path, Some(&mark));
    let other = folder.path().join("other.bin");
    crash(&other, "4");
    fs::copy(journal_of(&other), &journal).unwrap();
    refused_as_a_writer_is(&path, ErrorKind::Identity);
    // Another length.
    fs::write(&journal, &whole).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(crate::stage::LEN as u64 + 1).unwrap();
    refused_as_a_writer_is(&path, ErrorKind::Identity);
    file.set_len(crate::stage::LEN as u64).unwrap();
    // Something else in the journal's place, and under its name.
    fs::remove_file(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    refused_as_a_writer_is(&path, ErrorKind::Identity);
    fs::remove_dir(&journal).unwrap();
    fs::write(&journal, &whole).unwrap();
    refused_as_a_writer_is(&journal, ErrorKind::InvalidInput);
    assert!(read(&path).unwrap()[..] == Model::after(&[1, 2, 3]).0, "{MARK} and journal are back");
}

/// Every block of a journal, damaged in turn, means the same to a reader as to recovery.
#[test]
fn a_damaged_journal_is_refused_or_read_as_recovery_reads_it() {
    let kept = folder();
    let path = kept.path().join("state.bin");
    crash(&path, "1 ckpt 2 3 ~4 5");
    let blocks = fs::metadata(journal_of(&path)).unwrap().len() / 4096;
    let mut refused = 0;
    for block in 0..blocks.min(12) {
        for at in [0, 40, 150] {
            let folder = folder();
            let copy = folder.path().join("state.bin");
            copy_all(&path, &copy);
            let mut bytes = fs::read(journal_of(&path)).unwrap();
            bytes[(block * 4096 + at) as usize] ^= 4;
            fs::write(journal_of(&copy), bytes).unwrap();
            let before = picture(folder.path());
            let shown = read(&copy);
            assert_eq!(picture(folder.path()), before);
            match (shown, recover(&copy, Resolution::Replay)) {
                (Ok(shown), Ok(recovery)) => {
                    assert_eq!(shown.status().last, recovery.last);
                    assert!(fs::read(&copy).unwrap() == shown[..]);
                }
                (Err(error), Err(theirs)) => {
                    assert_eq!(error.to_string(), theirs.to_string());
                    refused += 1;
                }
                (shown, theirs) => panic!("block {block}, byte {at}: {shown:?} and {theirs:?}"),
            }
        }
    }
    assert!(refused > 4, "{refused}");
}
