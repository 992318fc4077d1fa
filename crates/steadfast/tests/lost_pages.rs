//! What a page that is gone may do at the wrong moment: while images are split, in a child, between two opens of a file.
//!
//! # Safety
//!
//! Pages are taken away by the tests themselves, from maps that nobody else uses.
#![allow(unsafe_code)]

#[path = "stage/forbid.rs"]
mod forbid;
mod process;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mm::{MapFlags, ProtFlags, mmap};
use steadfast::disk::{CallKind, SimDisk};
use steadfast::{AtomicMapping, ErrorKind, Mapping};

const PAGES: usize = 8;

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn page() -> usize {
    rustix::param::page_size()
}

/// Each page full of its number + 1.
fn numbered() -> Vec<u8> {
    (0..PAGES).flat_map(|number| vec![number as u8 + 1; page()]).collect()
}

fn file(folder: &Path) -> PathBuf {
    let path = folder.join("data.bin");
    std::fs::write(&path, numbered()).unwrap();
    path
}

/// As if the memory at `at` had failed: what the kernel says then (`BUS_MCEERR_AR`), said by the test.
fn poison(start: *const u8, at: usize) {
    // SAFETY: the page is this test's own.
    assert!(unsafe { steadfast::fault::answer(start as usize + at, 4) });
}

type Way = (&'static str, fn(&mut AtomicMapping));

/// Ways that part a loaded map's two images.
fn ways_to_split() -> [Way; 3] {
    [
        ("a plain store", |map| map[0] = 99),
        ("a raw pointer", |map| {
            map.as_mut_ptr();
        }),
        ("a large edit", |map| map.edit(PAGES * page()..).unwrap().fill(0)),
    ]
}

#[test]
fn a_lost_page_stays_lost_when_the_images_are_parted() {
    for (way, split) in ways_to_split() {
        let folder = folder();
        let path = file(folder.path());
        let mut map =
            AtomicMapping::options().create(true).len(PAGES * page() + (2 << 20)).load(&path).unwrap();
        map.write_at(5 * page() + 1, b"declared").unwrap();
        map.commit().unwrap();
        map.write_at(3 * page(), b"kept").unwrap();
        poison(map.as_ptr(), 5 * page());
        split(&mut map);
        let mut byte = [0];
        assert_eq!(map.read_at(5 * page(), &mut byte).unwrap_err().kind(), ErrorKind::Io, "{way}");
        map.check().unwrap_err();
        map.refresh().unwrap();
        assert_eq!(map[5 * page()], 6, "{way}: what was committed is back");
        assert_eq!(&map[5 * page() + 1..5 * page() + 9], b"declared", "{way}");
        assert_eq!(&map[3 * page()..3 * page() + 4], b"kept", "{way}: an edit elsewhere is kept");
        map.rollback().unwrap();
        let mut expected = numbered();
        expected[5 * page() + 1..5 * page() + 9].copy_from_slice(b"declared");
        assert!(map[..PAGES * page()] == expected, "{way}: so it is after a rollback");
    }
}

#[test]
fn a_lost_page_that_is_cut_off_comes_back_with_a_rollback() {
    let folder = folder();
    let path = file(folder.path());
    let mut map = AtomicMapping::options().load(&path).unwrap();
    poison(map.as_ptr(), 6 * page());
    map.resize(2 * page()).unwrap();
    // Parts the images, and covers what was cut off with zeros.
    map.resize(PAGES * page()).unwrap();
    assert_eq!(map[6 * page()], 0);
    map.rollback().unwrap();
    map.check().unwrap();
    assert!(map[..] == numbered());
}

#[test]
fn refresh_brings_nothing_back_that_was_cut_off() {
    let folder = folder();
    let path = file(folder.path());
    let mut map = AtomicMapping::options().load(&path).unwrap();
    map.resize(100).unwrap();
    map.resize(PAGES * page()).unwrap();
    for at in [0, 6 * page()] {
        poison(map.as_ptr(), at);
        let refreshed = map.refresh();
        if refreshed.is_ok() {
            map.check().unwrap();
            assert!(
                map[page()..].iter().all(|&byte| byte == 0),
                "what was cut off is zeros until it is committed"
            );
        }
    }
    // The cut itself needs no page.
    map.commit().unwrap();
    map.refresh().unwrap();
    map.check().unwrap();
    let memory = map[..].to_vec();
    assert!(memory[..100] == numbered()[..100] && memory[100..].iter().all(|&byte| byte == 0));
    map.close().unwrap();
    assert!(std::fs::read(&path).unwrap() == memory, "memory and file are one");
}

#[test]
fn a_childs_own_map_is_guarded_where_its_parent_had_one() {
    let folder = folder();
    let path = file(folder.path());
    let own = folder.path().join("own.bin");
    std::fs::write(&own, numbered()).unwrap();
    let map = Mapping::options().keep_from_children(true).open(&path).unwrap();
    let child = process::fork();
    if child == 0 {
        // The parent's map is still there as a value; its addresses are free.
        let mut others = Vec::new();
        for _ in 0..1000 {
            let mine = Mapping::options().open(&own).unwrap();
            if mine.as_ptr() == map.as_ptr() {
                std::fs::OpenOptions::new().write(true).open(&own).unwrap().set_len(0).unwrap();
                let zero = process::load(mine.as_ptr());
                process::leave(if zero == 0 && mine.check().is_err() { 0 } else { 1 });
            }
            others.push(mine);
        }
        process::leave(2);
    }
    let status = process::wait(child);
    assert_eq!(process::signal_of(status), None);
    assert_eq!(status, 0, "2 << 8: the kernel never gave the child those addresses");
}

#[test]
fn a_refresh_that_is_tried_again_loses_nothing_that_another_process_committed() {
    let folder = folder();
    let path = file(folder.path());
    let mut map = AtomicMapping::options().load(&path).unwrap();
    map[0] = 7;
    map.commit().unwrap();
    map.checkpoint().unwrap();
    // Another program writes the file, and something stands against opening it again.
    let mut changed = std::fs::read(&path).unwrap();
    changed[page()] = 55;
    std::fs::write(&path, &changed).unwrap();
    map[1] = 1;
    assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::ForeignChange);
    let link = folder.path().join("link");
    std::fs::hard_link(&path, &link).unwrap();
    map.refresh().unwrap_err();
    std::fs::remove_file(&link).unwrap();
    // Now another process opens it, commits, and dies.
    let child = process::fork();
    if child == 0 {
        let committed = AtomicMapping::options().load(&path).and_then(|mut other| {
            other[2 * page()] = 123;
            other.commit()?;
            std::mem::forget(other);
            Ok(())
        });
        process::leave(if committed.is_ok() { 0 } else { 1 });
    }
    assert_eq!(process::wait(child), 0);
    if map.refresh().is_ok() {
        assert_eq!(map[2 * page()], 123, "it was acknowledged");
        drop(map);
    } else {
        drop(map);
    }
    let found = AtomicMapping::options().load(&path).unwrap();
    assert_eq!(found[2 * page()], 123, "it was acknowledged");
}

#[test]
fn a_lost_page_behind_the_committed_end_keeps_no_images_together() {
    let folder = folder();
    let path = file(folder.path());
    let mut map = AtomicMapping::options().load(&path).unwrap();
    map.resize((PAGES + 4) * page()).unwrap();
    poison(map.as_ptr(), (PAGES + 2) * page());
    map[0] = 99;
    assert_eq!(map.status().latched, None);
    assert_eq!(
        map.check().unwrap_err().bytes(),
        Some(((PAGES + 2) * page()) as u64..((PAGES + 3) * page()) as u64)
    );
    map.rollback().unwrap();
    assert!(map[..] == numbered());
    map.close().unwrap();
}

/// One mapping for all of it: page by page it would take hours.
#[test]
fn a_tail_of_a_terabyte_is_put_back_at_once() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    let others = std::fs::File::create(&path).unwrap();
    let len = 1 << 40;
    others.set_len(len as u64).unwrap();
    // SAFETY: nobody stores to the file; that somebody cuts it is what this is about.
    let mut map = unsafe { AtomicMapping::options().view(&path) }.unwrap();
    map.write_at(10 * page(), b"committed").unwrap();
    map.commit().unwrap();
    others.set_len(page() as u64).unwrap();
    assert_eq!(map[len - 1], 0);
    assert_eq!(map.check().unwrap_err().bytes(), Some(page() as u64..len as u64));
    others.set_len(len as u64).unwrap();
    // It is another program's file by now: what stands there is not the last commit.
    assert_eq!(map.rollback().unwrap_err().kind(), ErrorKind::ForeignChange);
    map.refresh().unwrap();
    map.check().unwrap();
    assert_eq!(&map[10 * page()..10 * page() + 9], b"committed", "what only the journal has is back");
}

/// The file still has, behind the committed end, what the commit cut off.
#[test]
fn refresh_of_a_view_brings_nothing_back_that_a_commit_cut_off() {
    let folder = folder();
    let path = file(folder.path());
    // SAFETY: nobody else changes the file.
    let mut map = unsafe { AtomicMapping::options().view(&path) }.unwrap();
    map.resize(3 * page() + 100).unwrap();
    map.commit().unwrap();
    map.resize(PAGES * page()).unwrap();
    poison(map.as_ptr(), 3 * page());
    map.refresh().unwrap();
    map.check().unwrap();
    assert_eq!(map[3 * page() + 99..3 * page() + 201], [&[4][..], &[0; 101]].concat());
    map[0] = 99;
    map.commit().unwrap();
    map.close().unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[3 * page() + 100..], vec![0; 5 * page() - 100]);
}

#[test]
fn a_rollback_that_cannot_read_one_page_puts_no_other_back() {
    let disk = SimDisk::new();
    disk.put_file("/data.bin", &numbered());
    let mut map = AtomicMapping::options().load_on(Arc::new(disk.clone()), "/data.bin").unwrap();
    map[0] = 1;
    map.commit().unwrap();
    map.resize(100).unwrap();
    map.resize(PAGES * page()).unwrap();
    poison(map.as_ptr(), 2 * page());
    poison(map.as_ptr(), 6 * page());
    disk.fail_call(Some(CallKind::Read), 2, libc::EIO);
    map.rollback().unwrap_err();
    disk.clear_failures();
    assert_eq!(map[2 * page()], 0, "what was cut off is back");
    assert_eq!(map.check().unwrap_err().bytes(), Some(2 * page() as u64..3 * page() as u64));
    map.rollback().unwrap();
    assert_eq!((map[2 * page()], map[6 * page()]), (3, 7));
}

#[test]
fn a_rollback_that_is_refused_has_rolled_nothing_back() {
    let cut = |path: &Path| {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(page() as u64).unwrap();
    };
    let folder = folder();
    let path = file(folder.path());
    let mut map = AtomicMapping::options().load(&path).unwrap();
    map.write_at(0, b"edit").unwrap();
    poison(map.as_ptr(), 5 * page());
    cut(&path);
    map.rollback().unwrap_err();
    assert_eq!(&map[..4], b"edit");
    drop(map);

    let folder = self::folder();
    let path = file(folder.path());
    // SAFETY: nobody stores to the file; that somebody cuts it is what this is about.
    let mut map = unsafe { AtomicMapping::options().view(&path) }.unwrap();
    map.write_at(0, b"first").unwrap();
    map.write_at(5 * page(), b"second").unwrap();
    cut(&path);
    assert_eq!(map.rollback().unwrap_err().kind(), ErrorKind::ForeignChange);
    assert_eq!(&map[..5], b"first");
}

/// After the pages are placed the kernel may still refuse what keeps them from children.
#[test]
fn pages_whose_advice_is_refused_count_as_damaged_still() {
    for as_view in [false, true] {
        let folder = folder();
        let path = file(folder.path());
        let mut map = if as_view {
            // SAFETY: nobody else changes the file.
            unsafe { AtomicMapping::options().view(&path) }.unwrap()
        } else {
            AtomicMapping::options().load(&path).unwrap()
        };
        map.write_at(5 * page(), b"committed").unwrap();
        map.commit().unwrap();
        poison(map.as_ptr(), 5 * page());
        std::thread::scope(|scope| {
            let refreshing = scope.spawn(|| {
                forbid::refuse(
                    libc::SYS_madvise,
                    forbid::When::Is(2, libc::MADV_DONTFORK as u32),
                    libc::EAGAIN,
                );
                map.refresh()
            });
            refreshing.join().unwrap().unwrap_err();
        });
        map.check().unwrap_err();
        map.refresh().unwrap();
        assert_eq!(&map[5 * page()..][..9], b"committed");
    }
}

/// Puts a page at this place of which the kernel can give no byte: one behind the end of a file.
fn take_away(start: *mut u8, at: usize) {
    let empty = tempfile::tempfile().unwrap();
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
    let place = start.wrapping_add(at).cast();
    // SAFETY: the page is one of a map of this test's own, of which nobody has a reference.
    unsafe { mmap(place, page(), access, flags, &empty, 0) }.unwrap();
}

#[test]
fn a_page_that_is_lost_before_it_is_copied_is_named_and_nothing_is_committed() {
    let folder = folder();
    let path = file(folder.path());
    let mut map = AtomicMapping::options().load(&path).unwrap();
    let start = map.as_mut_ptr();
    for number in [1, 3, 5, 7] {
        // SAFETY: within the map, which nobody else uses.
        unsafe { start.wrapping_add(number * page()).write_volatile(200) };
    }
    // The others wait: they are copied together.
    map.commit_range(page()..2 * page()).unwrap();
    take_away(start, 5 * page());
    let error = map.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotCommitted, "{error}");
    let place = format!("{}..{}", 5 * page(), 6 * page());
    assert!(error.to_string().contains(&place), "{error}");
    drop(map);
    let map = AtomicMapping::options().load(&path).unwrap();
    let mut expected = numbered();
    expected[page()] = 200;
    assert!(map[..] == expected, "neither what was stored elsewhere nor zeros in its place");
}
