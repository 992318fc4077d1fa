//! Addresses that are kept: pointers that nobody knows of lead to memory, never into nothing, and never to a file that is closed.
//!
//! # Safety
//!
//! This file is trusted to load and store through pointers into maps that keep their addresses, while nothing else uses them.
#![allow(unsafe_code)]

use steadfast::{AtomicMapping, AtomicOptions, ErrorKind, Mapping};

const PAGE: usize = 4096;

fn options() -> AtomicOptions {
    AtomicMapping::options()
        .create(true)
        .len(4 * PAGE)
        .reserve(16 * PAGE)
        .keep_addresses(true)
        .allow_volatile(true)
}

fn load(first: *const u8, at: usize) -> u8 {
    // SAFETY: within memory of a map that keeps its addresses (the callers), and nobody stores meanwhile.
    unsafe { first.wrapping_add(at).read_volatile() }
}

fn store(first: *const u8, at: usize, byte: u8) {
    // SAFETY: as in `load`, and writable.
    unsafe { first.wrapping_add(at).cast_mut().write_volatile(byte) }
}

fn view(options: AtomicOptions, path: &std::path::Path) -> steadfast::Result<AtomicMapping> {
    // SAFETY: the file is in a folder of the test's own.
    unsafe { options.view(path) }
}

#[test]
fn bytes_that_a_resize_cut_off_read_as_zeros_and_stores_there_go_nowhere() {
    type Way = fn(&std::path::Path) -> AtomicMapping;
    let ways: [(&str, Way); 2] =
        [("load", |path| options().load(path).unwrap()), ("view", |path| view(options(), path).unwrap())];
    for (name, open) in ways {
        for raw in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            let mut map = open(&path);
            map.edit(..).unwrap().fill(7);
            map.commit().unwrap();
            let first = if raw { map.as_mut_ptr() } else { map.as_ptr().cast_mut() };
            map.resize(PAGE).unwrap();
            store(first, 3 * PAGE, 9);
            map.commit().unwrap();
            assert_eq!(load(first, 3 * PAGE), 0, "{name}");
            store(first, 3 * PAGE, 9);
            map.resize(4 * PAGE).unwrap();
            assert_eq!(map.as_ptr(), first.cast_const(), "growth moves nothing");
            assert!(map[PAGE..].iter().all(|&byte| byte == 0), "{name}: new bytes are zeros");
            map.rollback().unwrap();
            assert_eq!(load(first, 3 * PAGE), 0);
            map.close().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), [7; PAGE]);
        }
    }
}

#[test]
fn growth_beyond_what_is_reserved_is_refused_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut map = options().load(folder.path().join("a")).unwrap();
    let (first, reserved_bytes) = (map.as_ptr(), map.reserved_bytes());
    let error = map.resize(reserved_bytes + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("reserve more"), "{error}");
    assert_eq!((map.len(), map.as_ptr()), (4 * PAGE, first));
    map.resize(reserved_bytes).unwrap();
    map.commit().unwrap();
    assert_eq!((map.as_ptr(), map.committed_len()), (first, reserved_bytes));

    let options =
        Mapping::options().write(true).create(true).len(PAGE).reserve(2 * PAGE).keep_addresses(true);
    let mut map = options.open(folder.path().join("b")).unwrap();
    let first = map.as_ptr();
    assert_eq!(map.resize(map.reserved_bytes() + 1).unwrap_err().kind(), ErrorKind::LimitExceeded);
    map.resize(map.reserved_bytes()).unwrap();
    assert_eq!(map.as_ptr(), first);
}

#[test]
fn memory_outlives_a_closed_map_and_reaches_its_file_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (loaded, viewed) = (folder.path().join("a"), folder.path().join("b"));
    let maps = [(options().load(&loaded).unwrap(), &loaded), (view(options(), &viewed).unwrap(), &viewed)];
    for (mut map, path) in maps {
        let first = map.as_mut_ptr();
        store(first, 5, 5);
        map.commit().unwrap();
        store(first, 6, 6);
        let (memory, closed) = map.close_keeping_memory();
        closed.unwrap();
        assert_eq!((load(first, 5), load(first, 6)), (5, 6), "it is as it was");
        store(first, 7, 7);
        store(first, 3 * PAGE, 7);
        let file = std::fs::read(path).unwrap();
        assert_eq!(file[5..8], [5, 0, 0], "and the file is the last commit's");
        assert_eq!(file[3 * PAGE], 0);
        assert!(!folder.path().join("a.steadfast").exists(), "a plain file is left");
        // Open to others again.
        options().load(path).unwrap().close().unwrap();
        drop(memory);
    }
}

#[test]
fn a_closed_mapping_leaves_zeros_and_lets_go_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let options = Mapping::options().write(true).create(true).len(2 * PAGE).keep_addresses(true);
    let mut map = options.open(&path).unwrap();
    let first = map.as_ptr();
    store(first, PAGE, 3);
    map.resize(PAGE).unwrap();
    assert_eq!(load(first, PAGE), 0, "cut off");
    store(first, 0, 4);
    let (memory, closed) = map.close_keeping_memory();
    closed.unwrap();
    assert_eq!((load(first, 0), load(first, PAGE)), (0, 0));
    store(first, 0, 5);
    assert_eq!(std::fs::read(&path).unwrap()[0], 4);
    // Its lock is gone: others may commit.
    AtomicMapping::options().allow_volatile(true).load(&path).unwrap().close().unwrap();
    drop(memory);
}

#[test]
fn what_a_refresh_leaves_behind_reads_as_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let mut map = options().load(&path).unwrap();
    let first = map.as_mut_ptr();
    store(first, 0, 1);
    map.commit().unwrap();
    map.checkpoint().unwrap();
    std::fs::write(&path, vec![8; 2 * PAGE]).unwrap();
    store(first, 1, 1);
    assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::ForeignChange);
    map.refresh().unwrap();
    assert_eq!(map[PAGE], 8);
    assert_ne!(map.as_ptr(), first.cast_const(), "it lies elsewhere");
    assert_eq!((load(first, 0), load(first, PAGE)), (0, 0));
    store(first, 0, 2);
    assert_ne!(map[0], 2);
    assert_eq!(map.reserved_bytes(), 16 * PAGE, "as much is reserved again");
}
