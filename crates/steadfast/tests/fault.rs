//! SIGBUS becomes an error: bytes that others take away are zeros, noted, named, and can be put back.
//!
//! # Safety
//!
//! Slices of mapped files that somebody else cuts are what this is about; each test is that somebody itself.
#![allow(unsafe_code)]

mod process;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use steadfast::{AtomicMapping, ErrorKind, Mapping, Protection};

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn page() -> usize {
    rustix::param::page_size()
}

/// A file of so many pages, each full of its number + 1.
fn numbered(folder: &Path, pages: usize) -> (PathBuf, File) {
    let path = folder.join("data.bin");
    let bytes: Vec<u8> = (0..pages).flat_map(|number| vec![number as u8 + 1; page()]).collect();
    std::fs::write(&path, bytes).unwrap();
    let others = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    (path, others)
}

/// All bytes, although others cut the file.
fn slice(map: &Mapping) -> &[u8] {
    // SAFETY: see the head of this file.
    unsafe { map.as_slice() }
}

fn typed(map: &Mapping, offset: usize) -> steadfast::Result<u64> {
    // SAFETY: as above.
    unsafe { map.typed::<u64>(offset) }.copied()
}

fn view(options: steadfast::AtomicOptions, path: &Path) -> AtomicMapping {
    // SAFETY: as above.
    unsafe { options.view(path) }.unwrap()
}

fn assert_names(error: &steadfast::Error, path: &Path, range: std::ops::Range<usize>) {
    assert_eq!(error.file(), Some(path), "{error}");
    assert_eq!(error.bytes(), Some(range.start as u64..range.end as u64), "{error}");
    assert!(error.to_string().contains("refresh"), "the way out: {error}");
}

#[test]
fn a_truncated_mapping_reads_zeros_says_so_and_takes_the_file_as_it_is() {
    let folder = folder();
    let (path, others) = numbered(folder.path(), 8);
    let mut map = Mapping::options().write(true).open(&path).unwrap();
    map.check().unwrap();
    let bytes = slice(&map);
    assert_eq!(bytes[5 * page()], 6);
    others.set_len(3 * page() as u64 + 10).unwrap();
    // Also where a load finds zeros without a fault.
    assert_eq!(bytes[3 * page() + 100], 0);
    assert_names(&map.check().unwrap_err(), &path, 3 * page() + 10..8 * page());
    assert_eq!(bytes[5 * page()], 0, "no signal");
    assert_eq!(bytes[2 * page()], 3, "what is left is right");

    let lost = 4 * page()..8 * page();
    let error = map.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);
    assert_names(&error, &path, lost.clone());
    for error in [
        map.read_at(7 * page(), &mut [0; 8]).unwrap_err(),
        map.write_at(4 * page(), b"lost").unwrap_err(),
        map.atomic::<AtomicU64>(4 * page()).unwrap_err(),
        map.atomics::<AtomicU64>(..).unwrap_err(),
        typed(&map, 6 * page()).unwrap_err(),
        map.sync(..).unwrap_err(),
        map.start_sync(..).unwrap_err(),
        map.redirty(..).unwrap_err(),
        map.resize(9 * page()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
    }
    map.sync(0..page()).unwrap();
    map.write_at(0, b"kept").unwrap();

    // Long enough again: yet what was stored to the zeros is nowhere.
    others.set_len(8 * page() as u64).unwrap();
    let error = map.sync(..).unwrap_err();
    assert_names(&error, &path, lost);
    map.refresh().unwrap();
    assert_eq!(map.len(), 8 * page());
    map.write_at(7 * page(), b"stored").unwrap();
    map.sync(..).unwrap();
    let now = std::fs::read(&path).unwrap();
    assert_eq!((&now[..4], &now[7 * page()..][..6]), (&b"kept"[..], &b"stored"[..]));
    map.close().unwrap();
}

#[test]
fn refresh_adopts_the_length_that_others_gave_the_file() {
    let folder = folder();
    let (path, others) = numbered(folder.path(), 4);
    for writable in [true, false] {
        let mut map = Mapping::options().write(writable).open(&path).unwrap();
        for pages in [6, 2, 0, 4] {
            others.set_len((pages * page()) as u64 + 7).unwrap();
            map.refresh().unwrap();
            assert_eq!(map.len(), pages * page() + 7);
            map.check().unwrap();
            let mut bytes = vec![0; map.len()];
            map.read_at(0, &mut bytes).unwrap();
        }
        others.set_len(4 * page() as u64).unwrap();
    }
    // A part of the file stays that part.
    let mut part = Mapping::options().offset(page() as u64).len(page()).open(&path).unwrap();
    others.set_len(9 * page() as u64).unwrap();
    part.refresh().unwrap();
    assert_eq!(part.len(), page());
    others.set_len(page() as u64 + 5).unwrap();
    part.refresh().unwrap();
    assert_eq!(part.len(), 5);
}

#[test]
fn a_private_mapping_is_told_as_well_and_keeps_what_it_stored_elsewhere() {
    let folder = folder();
    let (path, others) = numbered(folder.path(), 6);
    let mut map = Mapping::options().write(true).private(true).open(&path).unwrap();
    map.write_at(0, b"mine").unwrap();
    others.set_len(4 * page() as u64).unwrap();
    assert_eq!(slice(&map)[5 * page()], 0);
    assert_eq!(map.check().unwrap_err().kind(), ErrorKind::Truncated);
    map.refresh().unwrap();
    assert_eq!(map.len(), 4 * page());
    assert_eq!(&slice(&map)[..4], b"mine");
    assert_eq!(std::fs::read(&path).unwrap()[0], 1);
}

#[test]
fn damaged_pages_keep_their_protection() {
    let folder = folder();
    let (path, others) = numbered(folder.path(), 6);
    let mut map = Mapping::options().write(true).open(&path).unwrap();
    map.protect(2 * page()..4 * page(), Protection::READ).unwrap();
    map.protect(5 * page().., Protection::NONE).unwrap();
    others.set_len(0).unwrap();
    assert_eq!(process::load(map.as_ptr().wrapping_add(3 * page())), 0);
    let access = |at: usize| {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let address = map.as_ptr() as usize + at;
        let line = maps.lines().find(|line| {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let parse = |text| usize::from_str_radix(text, 16).unwrap();
            (parse(start)..parse(end)).contains(&address)
        });
        line.unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(
        [0, 2, 3, 4, 5].map(|number| access(number * page())),
        ["rw-p", "r--p", "r--p", "rw-p", "---p"]
    );
    others.set_len(6 * page() as u64).unwrap();
    map.refresh().unwrap();
    let access = |at: usize| map.write_at(at * page(), b"x").map_err(|error| error.kind());
    assert_eq!(access(1), Ok(()));
    assert_eq!(access(2), Err(ErrorKind::ReadOnly));
    assert_eq!(access(5), Err(ErrorKind::PermissionDenied));
}

#[test]
fn past_the_end_the_whole_tail_is_covered_at_once() {
    let folder = folder();
    let path = folder.path().join("sparse");
    let others = File::create(&path).unwrap();
    // More single pages than a process may have mappings (vm.max_map_count is 65,530 by default).
    let pages = 150_000;
    others.set_len((pages * page()) as u64).unwrap();
    let map = Mapping::options().open(&path).unwrap();
    others.set_len(0).unwrap();
    let bytes = slice(&map);
    assert!((0..pages).step_by(2).all(|number| bytes[number * page()] == 0));
    assert_eq!(map.check().unwrap_err().bytes(), Some(0..(pages * page()) as u64));
    let mappings = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    assert!(mappings < 10_000, "{mappings} mappings");
}

#[test]
fn a_cut_view_is_an_error_and_commits_nothing_over_the_zeros() {
    let folder = folder();
    let (path, others) = numbered(folder.path(), 8);
    for tracker in
        [steadfast::Tracker::Automatic, steadfast::Tracker::PrivateCopies, steadfast::Tracker::Declared]
    {
        others.set_len(8 * page() as u64).unwrap();
        let journal = path.with_extension("bin.steadfast");
        let mut map = view(AtomicMapping::options().tracker(tracker), &path);
        map[0] = 99;
        others.set_len(4 * page() as u64).unwrap();
        assert_eq!(map[6 * page()], 0, "no signal");
        let error = map.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated);
        assert_names(&error, &path, 4 * page()..8 * page());
        for error in [
            map.read_at(7 * page(), &mut [0]).unwrap_err(),
            map.write_at(7 * page(), &[1]).unwrap_err(),
            map.edit(7 * page()..8 * page()).unwrap_err(),
            map.typed::<u64>(7 * page()).unwrap_err(),
            map.typed_mut::<u64>(7 * page()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
        }
        assert_eq!(map[0], 99);
        let error = map.commit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignChange, "{error}");
        drop(map);
        assert!(journal.exists(), "a latched map deletes nothing");
        steadfast::recover(&path, steadfast::store::Resolution::Discard).unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            (0..4).flat_map(|n| vec![n + 1; page()]).collect::<Vec<u8>>()
        );
    }
}

/// `VmFlags` of the mapping that holds `address` (proc_pid_smaps(5)).
fn flags_at(address: usize) -> Vec<String> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut here = false;
    for line in smaps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        if let Some((start, end)) = range
            && let (Ok(start), Ok(end)) = (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
        {
            here = (start..end).contains(&address);
        }
        if let (true, Some(flags)) = (here, line.strip_prefix("VmFlags:")) {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("nothing is mapped at {address:x}");
}

#[test]
fn memory_is_kept_out_of_core_dumps_and_children_also_where_it_was_damaged() {
    let has = |address: *const u8| {
        let flags = flags_at(address as usize);
        let has = |flag: &str| flags.iter().any(|found| found == flag);
        (has("dd"), has("dc"))
    };
    let folder = folder();
    let (path, others) = numbered(folder.path(), 8);
    let plain = Mapping::options().open(&path).unwrap();
    assert_eq!(has(plain.as_ptr()), (false, false));
    drop(plain);
    let options = || Mapping::options().write(true).keep_from_dumps(true).keep_from_children(true);
    let mut map = options().open(&path).unwrap();
    map.resize(100 * page()).unwrap();
    let last = map.as_ptr().wrapping_add(99 * page());
    assert_eq!(has(map.as_ptr()), (true, true));
    assert_eq!(has(last), (true, true));
    others.set_len(8 * page() as u64).unwrap();
    assert_eq!(process::load(last), 0);
    assert_eq!(has(last), (true, true));
    map.refresh().unwrap();
    drop(map);

    let mut map = AtomicMapping::options().keep_from_dumps(true).load(&path).unwrap();
    assert_eq!(has(map.as_ptr()), (true, true));
    map[0] = 7;
    assert_eq!(has(map.as_ptr()), (true, true), "split");
    map.resize(1000 * page()).unwrap();
    assert_eq!(has(map.as_ptr().wrapping_add(999 * page())), (true, true));
    map.commit().unwrap();
    map.rollback().unwrap();
    assert_eq!(has(map.as_ptr()), (true, true));
    map.close().unwrap();
}

#[test]
fn a_child_is_refused_what_is_kept_from_it() {
    let folder = folder();
    let (path, _) = numbered(folder.path(), 2);
    let map = Mapping::options().write(true).keep_from_children(true).open(&path).unwrap();
    match process::fork() {
        0 => {
            let forked = |result: steadfast::Result<()>| matches!(result, Err(error) if error.kind() == ErrorKind::Forked);
            let right = forked(map.read_at(0, &mut [0; 8]))
                && forked(map.write_at(0, &[0; 8]))
                && forked(map.atomic::<AtomicU64>(0).map(drop))
                && forked(typed(&map, 0).map(drop));
            process::leave(if right { 0 } else { 1 });
        }
        child => {
            assert_eq!(process::wait(child), 0);
        }
    }
    map.write_at(0, b"ours").unwrap();
}

#[test]
fn a_child_that_has_the_pages_has_their_guard() {
    let folder = folder();
    let (path, others) = numbered(folder.path(), 4);
    let map = Mapping::options().write(true).open(&path).unwrap();
    let done = Mapping::options().len(8).anonymous().unwrap();
    let private = AtomicMapping::options().load(folder.path().join("data.bin")).err();
    assert_eq!(private.map(|error| error.kind()), Some(ErrorKind::Locked));
    others.set_len(0).unwrap();
    match process::fork() {
        0 => {
            let zero = process::load(map.as_ptr());
            let right = zero == 0 && map.check().is_err();
            drop(map);
            process::leave(if right { 0 } else { 1 });
        }
        child => {
            assert_eq!(process::wait(child), 0, "the child's access was answered in the child");
        }
    }
    assert_eq!(process::load(map.as_ptr()), 0);
    assert_eq!(map.check().unwrap_err().bytes(), Some(0..4 * page() as u64));
    done.atomic::<AtomicU64>(0).unwrap().store(1, Ordering::Relaxed);
}

/// As if the memory at `at` had failed: what the kernel says then (`BUS_MCEERR_AR`), said by the test.
fn poison(start: *const u8, at: usize) {
    // SAFETY: the page is this test's own.
    assert!(unsafe { steadfast::fault::answer(start as usize + at, 4) });
}

fn views_and_loads(folder: &Path) -> Vec<(PathBuf, AtomicMapping, &'static str)> {
    let trackers =
        [steadfast::Tracker::Automatic, steadfast::Tracker::PrivateCopies, steadfast::Tracker::Declared];
    let mut maps = Vec::new();
    for (number, tracker) in trackers.into_iter().enumerate() {
        for kind in ["view", "load"] {
            let folder = folder.join(format!("{kind}-{number}"));
            std::fs::create_dir(&folder).unwrap();
            let (path, _) = numbered(&folder, 8);
            let options = AtomicMapping::options().tracker(tracker);
            let map = if kind == "view" { view(options, &path) } else { options.load(&path).unwrap() };
            maps.push((path, map, kind));
        }
    }
    maps
}

#[test]
fn no_commit_goes_over_a_page_that_was_lost() {
    let folder = folder();
    for (path, mut map, kind) in views_and_loads(folder.path()) {
        // Declared edits: elsewhere they are committed.
        map.write_at(page(), b"one").unwrap();
        poison(map.as_ptr(), 4 * page());
        map.commit().unwrap();
        map.edit(3 * page() + 10..3 * page() + 20).unwrap().fill(9);
        poison(map.as_ptr(), 3 * page());
        let error = map.commit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotCommitted, "{kind}: {error}");
        assert_eq!(error.bytes(), Some(3 * page() as u64..4 * page() as u64), "{error}");
        assert!(error.to_string().contains("refresh"), "{error}");
        assert_eq!(map.refresh().unwrap_err().kind(), ErrorKind::InvalidInput);
        map.rollback().unwrap();
        map.check().unwrap();
        let expected: Vec<u8> = (0..8).flat_map(|n| vec![n + 1; page()]).collect();
        let expected = [&expected[..page()], b"one", &expected[page() + 3..]].concat();
        assert!(map[..] == expected, "{kind}: what was committed is back");

        // Stores that have to be found: zeros are never taken for one.
        map[2 * page()] = 77;
        poison(map.as_ptr(), 5 * page());
        assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::NotCommitted);
        assert_eq!(map.commit_async().unwrap_err().kind(), ErrorKind::NotCommitted);
        map.refresh().unwrap();
        assert_eq!((map[2 * page()], map[5 * page()]), (77, 6), "{kind}: what was stored elsewhere is kept");
        map.commit().unwrap();
        // What only the journal has comes back as well.
        poison(map.as_ptr(), 2 * page());
        map.refresh().unwrap();
        assert_eq!((map[2 * page()], map[2 * page() + 1]), (77, 3), "{kind}");
        map.rollback().unwrap();
        assert_eq!(map[2 * page()], 77);
        map.close().unwrap();
        let mut expected = expected;
        expected[2 * page()] = 77;
        assert!(std::fs::read(&path).unwrap() == expected, "{kind}");
    }
}

#[test]
fn a_damaged_map_does_not_move_and_can_be_cut() {
    let folder = folder();
    for (path, mut map, _) in views_and_loads(folder.path()) {
        poison(map.as_ptr(), 6 * page());
        assert_eq!(map.resize(1 << 20).unwrap_err().kind(), ErrorKind::Io);
        map.resize(2 * page()).unwrap();
        map.check().unwrap();
        map.commit().unwrap();
        map.check().unwrap();
        map.close().unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), 2 * page());
    }
}

#[test]
fn memory_that_fails_under_a_mapping_is_an_error_and_the_file_has_the_bytes() {
    let folder = folder();
    let (path, _) = numbered(folder.path(), 4);
    let mut map = Mapping::options().write(true).open(&path).unwrap();
    map.sync(..).unwrap();
    poison(map.as_ptr(), page() + 7);
    let error = map.read_at(0, &mut vec![0; 4 * page()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert_names(&error, &path, page()..2 * page());
    assert!(error.to_string().contains("hardware"), "{error}");
    assert_eq!(map.write_at(page(), b"x").unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(map.sync(..).unwrap_err().kind(), ErrorKind::Io);
    map.refresh().unwrap();
    assert_eq!(map.read_value::<u8>(page()).unwrap(), 2);
    map.sync(..).unwrap();
    poison(map.as_ptr(), 0);
    assert_eq!(map.close().unwrap_err().kind(), ErrorKind::Io, "what may be lost is told at the end, too");
}

#[test]
fn damage_that_a_refresh_passed_over_is_told_by_the_next_sync_once() {
    let folder = folder();
    let (path, others) = numbered(folder.path(), 6);
    let lose_a_store = || {
        let map = Mapping::options().write(true).open(&path).unwrap();
        others.set_len(0).unwrap();
        let lost = map.as_ptr().wrapping_add(3 * page());
        // SAFETY: within the map, whose guard answers.
        unsafe { lost.write_volatile(9) };
        others.set_len(6 * page() as u64).unwrap();
        map
    };
    // Nobody asked before the refresh.
    let mut map = lose_a_store();
    map.refresh().unwrap();
    map.sync(0..0).unwrap();
    let error = map.sync(..).unwrap_err();
    assert_eq!((error.kind(), error.bytes()), (ErrorKind::Truncated, Some(0..6 * page() as u64)), "{error}");
    map.sync(..).unwrap();
    map.close().unwrap();
    let mut map = lose_a_store();
    map.refresh().unwrap();
    assert_eq!(map.close().unwrap_err().kind(), ErrorKind::Truncated);
    // Somebody did.
    let mut map = lose_a_store();
    map.check().unwrap_err();
    map.refresh().unwrap();
    map.sync(..).unwrap();
    map.close().unwrap();
}
