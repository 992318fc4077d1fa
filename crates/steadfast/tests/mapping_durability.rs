//! What `sync`, `start_sync` and `invalidate` promise, on a real file system.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use steadfast::{Advice, ErrorKind, Mapping, PageState};

/// Long enough for a slow disk, shorter than the 30 seconds after which the kernel writes by itself.
const DEADLINE: Duration = Duration::from_secs(20);

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn page() -> usize {
    rustix::param::page_size()
}

fn map_of(folder: &tempfile::TempDir, pages: usize) -> Mapping {
    let path = folder.path().join("data.bin");
    Mapping::options().write(true).create(true).len(pages * page()).open(path).unwrap()
}

/// Pages not yet on the device; `None` where the kernel does not tell.
fn unwritten(map: &Mapping) -> Option<usize> {
    let residency = map.residency(..).unwrap();
    Some(residency.dirty()? + residency.write_back()?)
}

#[test]
fn ms_sync_is_durable_with_size_and_directory_entry() {
    // What the call makes the kernel do, and in which order, is tested beside the code. Here: that it reaches the disk.
    let folder = folder();
    let map = map_of(&folder, 64);
    // The first sync of a new file writes all of it.
    map.write_at(0, &vec![1; 64 * page()]).unwrap();
    map.sync(..1).unwrap();
    assert!(unwritten(&map).is_none_or(|pages| pages == 0));
    map.write_at(0, &vec![7; 64 * page()]).unwrap();
    let Some(before) = unwritten(&map) else { return eprintln!("lacks cachestat") };
    assert_eq!(before, 64, "the test sees dirty pages");
    map.sync(3 * page() + 5..5 * page() + 1).unwrap();
    assert_eq!(unwritten(&map), Some(61), "rounded outwards to pages 3, 4 and 5");
    map.sync(..).unwrap();
    assert_eq!(unwritten(&map), Some(0));
}

#[test]
fn enomem_for_a_hole_names_it_after_the_mapped_rest_was_synced() {
    let folder = folder();
    let map = map_of(&folder, 2);
    map.write_at(page(), b"dirty").unwrap();
    assert_ne!(unwritten(&map), Some(0));
    let error = map.sync(page()..3 * page()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert_eq!(error.bytes(), Some(2 * page() as u64..3 * page() as u64), "{error}");
    assert!(matches!(unwritten(&map), Some(0) | None), "the mapped rest was synced");
    let error = map.sync(5 * page()..6 * page()).unwrap_err();
    assert_eq!(error.bytes(), Some(5 * page() as u64..6 * page() as u64), "{error}");
}

#[test]
fn a_range_that_makes_no_sense_syncs_nothing() {
    let folder = folder();
    let map = map_of(&folder, 2);
    map.write_at(0, b"dirty").unwrap();
    #[expect(clippy::reversed_empty_ranges)]
    let inverted = map.sync(5..4).unwrap_err();
    assert_eq!(inverted.kind(), ErrorKind::InvalidInput);
    assert_eq!(map.sync(..=usize::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_ne!(unwritten(&map), Some(0));
}

#[test]
fn ms_async_really_starts_write_out() {
    let folder = folder();
    let map = map_of(&folder, 256);
    map.write_at(0, &vec![7; 256 * page()]).unwrap();
    let Some(before) = unwritten(&map) else { return eprintln!("lacks cachestat") };
    assert_eq!(before, 256);
    let ticket = map.start_sync(..).unwrap();
    // Nobody waits on the ticket and nobody syncs: the pages get clean all the same.
    let started = Instant::now();
    while unwritten(&map) != Some(0) {
        assert!(started.elapsed() < DEADLINE, "{:?} pages are still dirty", unwritten(&map));
        std::thread::yield_now();
    }
    ticket.wait().unwrap();
    assert!(ticket.is_done());
}

#[test]
fn start_sync_returns_at_once_whatever_is_dirty() {
    let folder = folder();
    let map = map_of(&folder, 16 << 10);
    // The thread starts with the first ticket; that is not what is measured.
    map.start_sync(..0).unwrap().wait().unwrap();
    // A busy machine may take the processor away in the middle: the best of some tries counts.
    let at_once = (0..10).any(|_| {
        map.write_at(0, &vec![7; 64 << 20]).unwrap();
        let started = Instant::now();
        let ticket = map.start_sync(..).unwrap();
        let returned = started.elapsed();
        ticket.wait().unwrap();
        let durable = started.elapsed();
        eprintln!("returned after {returned:?}, durable after {durable:?}");
        returned * 10 < durable
    });
    assert!(at_once);
}

#[test]
fn a_sync_of_private_or_anonymous_memory_is_refused() {
    let folder = folder();
    let shared = map_of(&folder, 1);
    let private = Mapping::options().write(true).private(true).open(shared.path().unwrap()).unwrap();
    let anonymous = Mapping::options().len(page()).anonymous().unwrap();
    for mut map in [private, anonymous] {
        assert_eq!(map.sync(..).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(map.start_sync(..).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(map.redirty(..).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(map.invalidate(..).unwrap_err().kind(), ErrorKind::InvalidInput);
        map.close().unwrap();
    }
}

#[test]
fn redirty_makes_pages_dirty_and_changes_nothing() {
    let folder = folder();
    let mut map = map_of(&folder, 4);
    let bytes: Vec<u8> = (0..4 * page()).map(|at| (at % 251) as u8).collect();
    map.write_at(0, &bytes).unwrap();
    map.sync(..).unwrap();
    let Some(0) = unwritten(&map) else { return eprintln!("lacks cachestat") };
    // Pages that are protected are no exception: it is about the file.
    map.protect(.., steadfast::Protection::READ).unwrap();
    map.redirty(page() + 1..3 * page()).unwrap();
    assert_eq!(unwritten(&map), Some(2));
    let mut back = vec![0; bytes.len()];
    map.read_at(0, &mut back).unwrap();
    assert!(back == bytes);
    map.sync(..).unwrap();
    assert_eq!(unwritten(&map), Some(0));
    std::fs::File::options().write(true).open(map.path().unwrap()).unwrap().set_len(0).unwrap();
    assert_eq!(map.redirty(..).unwrap_err().kind(), ErrorKind::Truncated);
}

#[test]
fn ms_invalidate_rereads_what_is_on_disk() {
    let folder = folder();
    let mut map = map_of(&folder, 1024);
    let bytes: Vec<u8> = (0..1024 * page()).map(|at| (at / page()) as u8).collect();
    map.write_at(0, &bytes).unwrap();
    if map.residency(..).unwrap().resident() != Some(1024) {
        return eprintln!("lacks a kernel that tells what is cached");
    }
    // A few pages in the middle, dirty ones, whatever units the cache keeps them in.
    map.invalidate(300 * page() + 1..302 * page()).unwrap();
    let gone = map.residency(300 * page()..302 * page()).unwrap();
    assert_eq!((gone.resident(), gone.spans()[0].state), (Some(0), PageState::Absent));
    // All, page by page, through plain loads.
    map.invalidate(..).unwrap();
    assert_eq!(map.residency(..).unwrap().resident(), Some(0));
    let mut back = vec![0; bytes.len()];
    map.read_at(0, &mut back).unwrap();
    assert!(back == bytes, "the next access reads the disk");
    assert_ne!(map.residency(..).unwrap().resident(), Some(0));
}

#[test]
fn ms_invalidate_of_locked_pages_is_busy() {
    let folder = folder();
    let mut map = map_of(&folder, 8);
    map.write_at(0, &vec![7; 8 * page()]).unwrap();
    map.lock(page()..2 * page()).unwrap();
    let error = map.invalidate(..).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    map.unlock(..).unwrap();
    map.invalidate(..).unwrap();
}

/// The role of the other process in `ms_invalidate_names_pages_that_another_process_maps`.
fn hold_pages(path: &str) {
    let map = Mapping::options().open(path).unwrap();
    map.advise(4 * page()..6 * page(), Advice::PopulateRead).unwrap();
    println!("holding");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn other_process(test: &str, path: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("STEADFAST_OTHER_PROCESS", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn ms_invalidate_names_pages_that_another_process_maps() {
    if let Ok(path) = std::env::var("STEADFAST_OTHER_PROCESS") {
        return hold_pages(&path);
    }
    let folder = folder();
    let mut map = map_of(&folder, 16);
    map.write_at(0, &vec![7; 16 * page()]).unwrap();
    if map.residency(..).unwrap().resident() != Some(16) {
        return eprintln!("lacks a kernel that tells what is cached");
    }
    let mut other = other_process("ms_invalidate_names_pages_that_another_process_maps", map.path().unwrap());
    let mut output = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(output.any(|line| line.unwrap().ends_with("holding")), "the other process gets there");

    let error = map.invalidate(..).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    let held = error.bytes().unwrap();
    let (start, end) = (4 * page() as u64, 6 * page() as u64);
    assert!(held.start <= start && start < held.end, "{held:?} holds the first page of {start}..{end}");

    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    map.invalidate(..).unwrap();
    assert_eq!(map.residency(..).unwrap().resident(), Some(0));
}
