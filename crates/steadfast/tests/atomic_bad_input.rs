//! Whatever stands against the promises is an error of the open or of the call that meets it: its kind is right, its text
//! names the file and says what to do, and nothing was lost, applied or left behind.

mod stage;

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use stage::{
    Model, Mounted, VERBS, assert_says, crash, folder, journal_of, lacking, open, options, picture,
    refusal_for_nobody,
};
use steadfast::store::{inspect, recover};
use steadfast::{AtomicMapping, AtomicOptions, ErrorKind};

#[test]
fn as_another_process() {
    stage::as_another_process();
}

/// Both verbs refuse, the words are said, and `folder` is as before.
#[track_caller]
fn refused(folder: &Path, options: AtomicOptions, path: &Path, kind: ErrorKind, words: &[&str]) {
    let before = picture(folder);
    for verb in VERBS {
        let error = open(verb, options.clone(), path).unwrap_err();
        assert_says(&error, kind, path, words);
        assert_eq!(picture(folder), before, "{verb:?}: the refusal changed something ({error})");
    }
}

fn plain(folder: &Path) -> PathBuf {
    let path = folder.join("state.bin");
    Model::plain().write(&path);
    path
}

fn fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting() {
    let folder = folder();
    let here = folder.path();
    refused(
        here,
        options(),
        &here.join("missing"),
        ErrorKind::NotFound,
        &["does not exist", "check the path"],
    );
    refused(here, options().create(true), &here.join("no/folder"), ErrorKind::NotFound, &["check the path"]);
    let sub = here.join("sub");
    fs::create_dir(&sub).unwrap();
    refused(here, options().create(true), &sub, ErrorKind::Unsupported, &["a directory"]);
    // Nobody holds its other end: an open that waits for one would never return.
    let pipe = here.join("fifo");
    fifo(&pipe);
    refused(here, options().create(true), &pipe, ErrorKind::Unsupported, &["a FIFO"]);
    refused(here, options().create(true), Path::new("/dev/null"), ErrorKind::Unsupported, &["a device"]);
    let dangling = here.join("dangling");
    symlink(here.join("nothing"), &dangling).unwrap();
    refused(here, options(), &dangling, ErrorKind::NotFound, &[]);
    refused(here, options().create(true), &dangling, ErrorKind::NotFound, &[]);
    let circle = here.join("circle");
    symlink(&circle, &circle).unwrap();
    refused(here, options().create(true), &circle, ErrorKind::InvalidInput, &[]);
    let file = plain(here);
    refused(here, options().create(true), &file.join("below"), ErrorKind::NotFound, &[]);
    let long = here.join("n".repeat(250));
    refused(here, options().create(true), &long, ErrorKind::InvalidInput, &[]);
}

#[test]
fn a_link_to_a_file_is_the_file_and_the_journal_stands_beside_that() {
    for verb in VERBS {
        let (here, there) = (folder(), folder());
        let path = plain(there.path());
        let link = here.path().join("link");
        symlink(&path, &link).unwrap();
        let mut map = open(verb, options(), &link).unwrap();
        stage::store(&mut map, 1);
        map.commit().unwrap();
        assert!(journal_of(&path).exists() && !journal_of(&link).exists());
        assert_eq!(map.path(), path.canonicalize().unwrap());
        map.close().unwrap();
        assert!(fs::read(&path).unwrap() == Model::after(&[1]).0);
        assert!(link.is_symlink());
    }
}

#[test]
fn an_empty_file_is_a_map_without_bytes() {
    for verb in VERBS {
        let folder = folder();
        let path = folder.path().join("state.bin");
        fs::write(&path, []).unwrap();
        let mut map = open(verb, options(), &path).unwrap();
        assert!(map.is_empty());
        map.resize(10).unwrap();
        map[9] = 1;
        map.commit().unwrap();
        map.close().unwrap();
        assert_eq!(fs::read(&path).unwrap(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}

#[test]
fn lengths_beyond_the_address_space_are_refused() {
    let folder = folder();
    let path = plain(folder.path());
    let new = folder.path().join("new.bin");
    for len in [usize::MAX, isize::MAX as usize + 1] {
        refused(folder.path(), options().len(len), &path, ErrorKind::InvalidInput, &["bytes"]);
        refused(folder.path(), options().create(true).len(len), &path, ErrorKind::InvalidInput, &[]);
        refused(folder.path(), options().create(true).len(len), &new, ErrorKind::InvalidInput, &[]);
        refused(folder.path(), options().reserve(len), &path, ErrorKind::InvalidInput, &[]);
    }
    for verb in VERBS {
        let mut map = open(verb, options(), &path).unwrap();
        stage::store(&mut map, 1);
        for len in [usize::MAX, isize::MAX as usize + 1] {
            assert_says(&map.resize(len).unwrap_err(), ErrorKind::InvalidInput, &path, &[]);
        }
        assert_says(&map.resize(isize::MAX as usize).unwrap_err(), ErrorKind::LimitExceeded, &path, &[]);
        assert!(map[..] == Model::after(&[1]).0);
        map.rollback().unwrap();
        map.close().unwrap();
    }
    let error = options().journal_bytes(u64::MAX).load(&path).unwrap_err();
    assert_says(&error, ErrorKind::InvalidInput, &path, &["journal"]);
}

#[test]
fn a_length_that_the_file_system_cannot_hold_is_not_committed() {
    let folder = folder();
    let path = plain(folder.path());
    // 32 TiB: twice what ext4 takes, and well within the address space.
    const LEN: usize = 32 << 40;
    if fs::File::create(folder.path().join("probe")).unwrap().set_len(LEN as u64).is_ok() {
        return lacking("a file system that refuses 32 TiB");
    }
    for verb in VERBS {
        let mut map = open(verb, options(), &path).unwrap();
        stage::store(&mut map, 1);
        map.resize(LEN).unwrap();
        let error = map.commit().unwrap_err();
        assert_says(&error, ErrorKind::NotCommitted, &path, &["nothing changed"]);
        map.resize(stage::LEN).unwrap();
        map.commit().unwrap();
        map.close().unwrap();
        assert!(fs::read(&path).unwrap() == Model::after(&[1]).0);
        Model::plain().write(&path);
    }
}

#[test]
fn ranges_that_are_not_within_the_map_are_refused() {
    let folder = folder();
    let path = plain(folder.path());
    let mut map = options().load(&path).unwrap();
    let len = map.len();
    #[allow(clippy::reversed_empty_ranges)]
    let inverted = 5..4;
    for (range, kind) in [
        (0..len + 1, ErrorKind::OutOfRange),
        (len + 1..len + 1, ErrorKind::OutOfRange),
        (usize::MAX - 1..usize::MAX, ErrorKind::OutOfRange),
        (inverted, ErrorKind::InvalidInput),
    ] {
        let error = map.edit(range.clone()).unwrap_err();
        assert_eq!(error.kind(), kind, "{range:?}: {error}");
        assert!(error.to_string().contains("state.bin"), "{error}");
    }
    assert_eq!(map.edit(0..=usize::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
    for (offset, kind) in [
        (len - 7, ErrorKind::OutOfRange),
        (len, ErrorKind::OutOfRange),
        (usize::MAX - 7, ErrorKind::InvalidInput),
        (usize::MAX, ErrorKind::InvalidInput),
    ] {
        assert_eq!(map.read_at(offset, &mut [0; 8]).unwrap_err().kind(), kind, "{offset}");
        assert_eq!(map.write_at(offset, &[9; 8]).unwrap_err().kind(), kind, "{offset}");
        assert_eq!(map.typed::<u64>(offset).unwrap_err().kind(), kind, "{offset}");
        assert_eq!(map.typed_mut::<u64>(offset).unwrap_err().kind(), kind, "{offset}");
    }
    for misaligned in [1, 4, len - 9] {
        assert_eq!(map.typed::<u64>(misaligned).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(map.typed_mut::<u64>(misaligned).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let before = map.status().last;
    assert_eq!(map.commit().unwrap(), before, "refused edits are no change");
    assert!(map[..] == Model::plain().0);
}

#[test]
fn what_another_user_may_not_do_is_said_to_them() {
    let folder = folder();
    let here = folder.path();
    let path = plain(here);
    let before = |mode: u32, folder_mode: u32| {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(here, Permissions::from_mode(folder_mode)).unwrap();
        picture(here)
    };
    for (mode, folder_mode, what) in [
        (0o600, 0o777, "an unreadable file"),
        (0o444, 0o777, "a read-only file"),
        (0o666, 0o755, "a folder that takes no journal"),
        (0o666, 0o700, "a folder that lets nobody in"),
    ] {
        let picture_before = before(mode, folder_mode);
        let Some((kind, text)) = refusal_for_nobody(&path) else { return };
        assert_eq!(kind, "PermissionDenied", "{what}: {text}");
        assert!(text.contains("state.bin") && text.contains("; "), "{what}: {text}");
        if folder_mode == 0o755 {
            assert!(text.contains("the folder must be writable"), "{text}");
        }
        assert_eq!(picture(here), picture_before, "{what}");
    }
}

#[test]
fn a_read_only_file_system_is_refused() {
    let folder = folder();
    let Some(mounted) = Mounted::ext4(&folder.path().join("image"), 16 << 20) else { return };
    let path = plain(mounted.path());
    mounted.remount("ro");
    let kind = ErrorKind::ReadOnly;
    refused(mounted.path(), options(), &path, kind, &["read-only", "remount"]);
    refused(mounted.path(), options().create(true), &mounted.path().join("new"), kind, &["read-only"]);
    // A pair that a crash left cannot be recovered there, and is not touched.
    mounted.remount("rw");
    crash(&path, "1 2");
    mounted.remount("ro");
    refused(mounted.path(), options(), &path, kind, &["read-only"]);
    mounted.remount("rw");
    assert!(options().load(&path).unwrap()[..] == Model::after(&[1, 2]).0);
}

#[test]
fn a_full_disk_is_not_committed_and_the_same_commit_succeeds_once_there_is_space() {
    for verb in VERBS {
        let folder = folder();
        let Some(mounted) = Mounted::ext4(&folder.path().join("image"), 16 << 20) else { return };
        let path = mounted.path().join("state.bin");
        fs::File::create(&path).unwrap().set_len(4 << 20).unwrap();
        let mut map = open(verb, options(), &path).unwrap();
        map.write_at(10, b"first").unwrap();
        let first = map.commit().unwrap();
        let ballast = mounted.fill();
        let fill = |map: &mut AtomicMapping| map.edit(1 << 20..(1 << 20) + 20_000).unwrap().fill(7);
        for _ in 0..3 {
            fill(&mut map);
            map[2 << 20] = 8;
            let error = map.commit().unwrap_err();
            assert_says(&error, ErrorKind::NotCommitted, &path, &["nothing changed", "free space"]);
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
            assert_eq!((map[1 << 20], map[2 << 20]), (7, 8), "the memory is as it was");
            assert_eq!(map.status().last, first);
            assert_eq!(map.status().latched, None);
        }
        // What has blocks can still be committed, and what is committed be taken home.
        map.rollback().unwrap();
        assert_eq!((map[1 << 20], map[2 << 20]), (0, 0));
        map.write_at(10, b"again").unwrap();
        map.commit().unwrap();
        map.checkpoint().unwrap();
        // A record larger than the journal needs a larger journal.
        fill(&mut map);
        map.edit(0..400_000).unwrap().fill(5);
        assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::NotCommitted);
        fs::remove_file(ballast).unwrap();
        map.commit().unwrap();
        map.close().unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(bytes[..400_000] == [5; 400_000] && bytes[1 << 20..(1 << 20) + 20_000] == [7; 20_000]);
        assert_eq!(bytes.len(), 4 << 20);
    }
}

#[test]
fn an_open_on_a_full_disk_leaves_nothing_behind() {
    let folder = folder();
    let Some(mounted) = Mounted::ext4(&folder.path().join("image"), 16 << 20) else { return };
    let path = plain(mounted.path());
    let crashed = mounted.path().join("crashed.bin");
    crash(&crashed, "1 2");
    let ballast = mounted.fill();
    let before = picture(mounted.path());
    for verb in VERBS {
        let new = mounted.path().join("new.bin");
        for path in [&path, &new, &crashed] {
            let error = open(verb, options().create(true), path).unwrap_err();
            assert_says(&error, ErrorKind::NoSpace, path, &["room"]);
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
            assert_eq!(picture(mounted.path()), before, "{error}");
        }
    }
    fs::remove_file(ballast).unwrap();
    options().load(&path).unwrap();
    assert!(options().load(&crashed).unwrap()[..] == Model::after(&[1, 2]).0);
}

#[test]
fn what_stands_in_the_journals_place_is_refused_and_left_alone() {
    for planted in ["garbage", "nothing", "folder", "fifo", "link", "dangling link"] {
        let folder = folder();
        let path = plain(folder.path());
        let journal = journal_of(&path);
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, b"not ours").unwrap();
        match planted {
            "garbage" => fs::write(&journal, vec![0x5a; 100_000]).unwrap(),
            "nothing" => fs::write(&journal, []).unwrap(),
            "folder" => fs::create_dir(&journal).unwrap(),
            "fifo" => fifo(&journal),
            "link" => symlink(&elsewhere, &journal).unwrap(),
            _ => symlink("nowhere", &journal).unwrap(),
        }
        refused(folder.path(), options(), &path, ErrorKind::Identity, &["move it away"]);
        let before = picture(folder.path());
        assert!(inspect(&path).unwrap().problem.is_some(), "{planted}");
        assert_eq!(picture(folder.path()), before);
    }
}

#[test]
fn a_journal_of_another_version_is_refused() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    crash(&path, "1 2");
    let file = fs::File::options().write(true).open(journal_of(&path)).unwrap();
    file.write_all_at(&2u32.to_le_bytes(), 8).unwrap();
    let words = ["version 2", "reads version 1", "recover with the version that wrote it"];
    refused(folder.path(), options(), &path, ErrorKind::Unsupported, &words);
    file.write_all_at(&1u32.to_le_bytes(), 8).unwrap();
    assert!(options().load(&path).unwrap()[..] == Model::after(&[1, 2]).0);
}

#[test]
fn a_cut_journal_is_refused() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    crash(&path, "1 2");
    let whole = fs::read(journal_of(&path)).unwrap();
    for len in [0, 1, 79, 80, 4096, 8192, 12_288, 12_289, whole.len() - 1] {
        fs::write(journal_of(&path), &whole[..len]).unwrap();
        let kind = if len < 80 { ErrorKind::Identity } else { ErrorKind::Corrupt };
        refused(folder.path(), options(), &path, kind, &[]);
    }
    fs::write(journal_of(&path), &whole).unwrap();
    assert!(options().load(&path).unwrap()[..] == Model::after(&[1, 2]).0);
}

#[test]
fn every_flipped_byte_of_a_journal_is_refused_or_means_nothing() {
    let kept = folder();
    let path = kept.path().join("state.bin");
    crash(&path, "1 ckpt 2 3 4");
    let journal = fs::read(journal_of(&path)).unwrap();
    let data = fs::read(&path).unwrap();
    let mark = stage::mark_of(&path);
    let report = inspect(&path).unwrap();
    let record = &report.records[1];
    let (start, end) = (record.journal_offset, record.journal_offset + record.record_bytes);
    let last = report.records[2].journal_offset;
    let want = Model::after(&[1, 2, 3, 4]).0;
    // The structures in full, and of what fills their blocks up a byte here and there.
    let every = |from: u64, bytes: u64| (from..from + bytes).chain((from + bytes..from + 4096).step_by(509));
    let header = every(0, 80);
    let anchors = every(4096, 64).chain(every(8192, 64));
    let records = (start..end).chain((end..last).step_by(509));
    let (mut refusals, mut harmless) = (0, 0);
    for at in header.chain(anchors).chain(records) {
        let mut flipped = journal.clone();
        flipped[at as usize] ^= 1 << (at % 8);
        fs::write(journal_of(&path), &flipped).unwrap();
        let before = picture(kept.path());
        match options().load(&path) {
            Ok(map) => {
                assert!(map[..] == want, "byte {at}: another state");
                map.close().unwrap();
                harmless += 1;
                fs::write(&path, &data).unwrap();
                if let Some(mark) = &mark {
                    stage::set_mark(&path, Some(mark));
                }
            }
            Err(error) => {
                let text = error.to_string();
                let kinds = [ErrorKind::Corrupt, ErrorKind::Identity, ErrorKind::Unsupported];
                assert!(kinds.contains(&error.kind()), "byte {at}: {text}");
                assert!(text.contains("state.bin") && text.contains("; "), "byte {at}: {text}");
                if (start..end).contains(&at) {
                    assert_says(
                        &error,
                        ErrorKind::Corrupt,
                        &path,
                        &["commit 3 ", &format!("offset {start} ")],
                    );
                }
                assert_eq!(picture(kept.path()), before, "byte {at}: the refusal changed something");
                refusals += 1;
            }
        }
    }
    assert!(refusals >= 80 + (end - start), "{refusals} refused, {harmless} without meaning");
    // The last record alone cannot be told from one that was never acknowledged: it is dropped, and said to be.
    let mut flipped = journal.clone();
    flipped[last as usize + 120] ^= 1;
    fs::write(journal_of(&path), &flipped).unwrap();
    let map = options().load(&path).unwrap();
    assert!(map[..] == Model::after(&[1, 2, 3]).0 && map.status().recovery.torn_tail);
}

#[test]
fn several_hard_links_are_refused_unless_asked_for() {
    let folder = folder();
    let path = plain(folder.path());
    let second = folder.path().join("second");
    fs::hard_link(&path, &second).unwrap();
    refused(folder.path(), options(), &path, ErrorKind::Unsupported, &["2 hard links", "allow_hard_links"]);
    for verb in VERBS {
        let mut map = open(verb, options().allow_hard_links(true), &path).unwrap();
        stage::store(&mut map, 1);
        map.commit().unwrap();
        // Under the other name it is the same file, and in use.
        let error = open(verb, options().allow_hard_links(true), &second).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        map.close().unwrap();
        assert!(fs::read(&second).unwrap() == Model::after(&[1]).0);
    }
    // After a crash the other name has no journal: refused, not taken for a plain file.
    let twice = folder.path().join("twice");
    fs::remove_file(&second).unwrap();
    crash(&path, "2");
    fs::hard_link(&path, &twice).unwrap();
    let allow = options().allow_hard_links(true);
    refused(folder.path(), allow, &twice, ErrorKind::Identity, &["its journal is missing"]);
    recover(&path, Default::default()).unwrap();
}

#[test]
fn memory_file_systems_are_refused_unless_asked_for() {
    let shm = Path::new("/dev/shm");
    let is_tmpfs = rustix::fs::statfs(shm).is_ok_and(|stat| stat.f_type as u64 == 0x0102_1994);
    if !is_tmpfs {
        return lacking("a tmpfs at /dev/shm");
    }
    let folder = tempfile::Builder::new().tempdir_in(shm).unwrap();
    let path = plain(folder.path());
    let words = ["tmpfs", "not durable", "allow_volatile"];
    refused(folder.path(), options(), &path, ErrorKind::Unsupported, &words);
    // A file that would only be created to be refused is not created.
    let new = folder.path().join("new.bin");
    refused(folder.path(), options().create(true).len(100), &new, ErrorKind::Unsupported, &words);
    for verb in VERBS {
        let mut map = open(verb, options().allow_volatile(true), &path).unwrap();
        stage::store(&mut map, 1);
        map.commit().unwrap();
        map.close().unwrap();
        assert!(fs::read(&path).unwrap() == Model::after(&[1]).0);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_journal_belongs_to_the_owner_of_its_file() {
    if !rustix::process::geteuid().is_root() {
        return lacking("root, to give a file away");
    }
    let folder = folder();
    let path = plain(folder.path());
    std::os::unix::fs::chown(&path, Some(stage::NOBODY), Some(stage::NOBODY)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    crash(&path, "1");
    let meta = journal_of(&path).metadata().unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (stage::NOBODY, stage::NOBODY, 0o640));
}

#[test]
fn a_name_that_journals_have_is_refused() {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for name in ["a.steadfast", "a.steadfast.fresh"] {
        let path = folder.path().join(name);
        std::fs::write(&path, b"not to be touched").unwrap();
        let error = steadfast::AtomicMapping::options().load(&path).unwrap_err();
        assert_eq!(error.kind(), steadfast::ErrorKind::InvalidInput, "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"not to be touched");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
