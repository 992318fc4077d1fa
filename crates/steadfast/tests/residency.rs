//! What is in memory of a file, by what the test itself put there, against the real kernel.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Advice, fadvise};
use steadfast::PageState;
use steadfast::residency::{CachedFile, Unknown};

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn page() -> u64 {
    rustix::param::page_size() as u64
}

/// A file of so many pages on the disk, none of them in memory.
fn cold(folder: &tempfile::TempDir, pages: u64) -> (PathBuf, File) {
    let path = folder.path().join("data.bin");
    std::fs::write(&path, vec![1; (pages * page()) as usize]).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    file.sync_all().unwrap();
    let evicted = CachedFile::open(&path).unwrap().evict(.., true).unwrap();
    assert!(evicted.after.resident.is_none_or(|resident| resident == 0), "{evicted:?}");
    // From here on one page is read or written at a time.
    fadvise(&file, 0, None, Advice::Random).unwrap();
    (path, file)
}

fn knows_dirty(path: &Path) -> bool {
    let known = CachedFile::open(path).unwrap().counts(..).unwrap().dirty.is_some();
    if !known {
        eprintln!("lacks cachestat");
    }
    known
}

fn bytes(pages: Range<u64>) -> Range<u64> {
    pages.start * page()..pages.end * page()
}

#[test]
fn resident_dirty_and_absent_pages_are_counted_to_the_page() {
    let folder = folder();
    let (path, file) = cold(&folder, 1000);
    if !knows_dirty(&path) {
        return;
    }
    for number in [7, 8, 500, 999] {
        file.read_exact_at(&mut [0; 1], number * page()).unwrap();
    }
    for number in [20, 21, 22, 700] {
        file.write_all_at(&vec![2; page() as usize], number * page()).unwrap();
    }
    let looked = CachedFile::open(&path).unwrap();
    let counts = looked.counts(..).unwrap();
    assert_eq!((counts.pages, counts.resident, counts.dirty), (1000, Some(8), Some(4)), "{counts:?}");
    assert_eq!((counts.write_back, counts.unknown), (Some(0), None));
    let of = |state| -> Vec<_> {
        looked
            .spans(..)
            .unwrap()
            .into_iter()
            .filter(|span| span.state == state)
            .map(|span| span.range)
            .collect()
    };
    assert_eq!(of(PageState::Resident), [bytes(7..9), bytes(500..501), bytes(999..1000)]);
    assert_eq!(of(PageState::Dirty), [bytes(20..23), bytes(700..701)]);
    let absent: u64 = of(PageState::Absent).iter().map(|range| range.end - range.start).sum();
    assert_eq!(absent, 992 * page());
    // Parts of it, rounded outwards and clipped to the end.
    assert_eq!(looked.counts(20 * page() + 1..22 * page() + 1).unwrap().dirty, Some(3));
    assert_eq!(looked.counts(999 * page()..).unwrap().resident, Some(1));
    assert_eq!(looked.counts(2000 * page()..3000 * page()).unwrap().pages, 0);
    assert_eq!(looked.counts(5..5).unwrap().resident, looked.counts(..page()).unwrap().resident);
    assert!(looked.counts(Range { start: 9, end: 3 }).unwrap_err().to_string().contains("ends before"));
}

#[test]
fn buckets_show_where_the_pages_are_and_add_up() {
    let folder = folder();
    let (path, file) = cold(&folder, 1003);
    if !knows_dirty(&path) {
        return;
    }
    for number in [0, 500, 1002] {
        file.write_all_at(&vec![2; page() as usize], number * page()).unwrap();
    }
    let looked = CachedFile::open(&path).unwrap();
    for count in [1, 2, 7, 200, 1003, 5000] {
        let buckets = looked.buckets(.., count).unwrap();
        assert_eq!(buckets.len(), count.min(1003));
        assert_eq!(buckets.iter().map(|bucket| bucket.pages).sum::<u64>(), 1003);
        assert_eq!(buckets.iter().filter_map(|bucket| bucket.dirty).sum::<u64>(), 3);
        let (least, most) = (buckets.iter().map(|bucket| bucket.pages))
            .fold((u64::MAX, 0), |(least, most), pages| (least.min(pages), most.max(pages)));
        assert!(most - least <= 1, "{least} to {most}");
        assert_eq!(buckets.first().unwrap().dirty.map(|dirty| dirty > 0), Some(true));
        assert_eq!(buckets.last().unwrap().dirty.map(|dirty| dirty > 0), Some(true));
    }
    assert_eq!(looked.buckets(.., 0).unwrap(), []);
    assert_eq!(looked.buckets(500 * page()..501 * page(), 9).unwrap().len(), 1);
}

#[test]
fn a_dirty_page_is_counted_with_the_unit_that_is_written_with_it() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    std::fs::write(&path, vec![1; 4 << 20]).unwrap();
    if !knows_dirty(&path) {
        return;
    }
    let map = steadfast::Mapping::options().write(true).open(&path).unwrap();
    map.sync(..).unwrap();
    map.write_at(1 << 20, &[9]).unwrap();
    let looked = CachedFile::open(&path).unwrap();
    let counts = looked.counts(..).unwrap();
    let spans = looked.spans(..).unwrap();
    let dirty: Vec<_> = spans.iter().filter(|span| span.state == PageState::Dirty).collect();
    let span_pages: u64 = dirty.iter().map(|span| (span.range.end - span.range.start) / page()).sum();
    assert_eq!(counts.dirty, Some(span_pages), "{spans:?}");
    assert!(dirty.iter().any(|span| span.range.contains(&(1 << 20))), "{spans:?}");
}

#[test]
fn eviction_keeps_what_is_dirty_unless_it_is_synced_first() {
    let folder = folder();
    let (path, file) = cold(&folder, 100);
    if !knows_dirty(&path) {
        return;
    }
    file.read_exact_at(&mut [0; 1], 0).unwrap();
    file.write_all_at(&vec![2; page() as usize], 50 * page()).unwrap();
    let looked = CachedFile::open(&path).unwrap();
    let evicted = looked.evict(..40 * page(), false).unwrap();
    assert_eq!((evicted.pages(), evicted.still_dirty(), evicted.in_use()), (Some(1), Some(0), Some(0)));
    assert_eq!(looked.counts(..).unwrap().dirty, Some(1), "out of the range, and not touched");
    let evicted = looked.evict(.., true).unwrap();
    assert_eq!(evicted.pages(), Some(1), "{evicted:?}");
    assert_eq!(looked.counts(..).unwrap().resident, Some(0));
    assert_eq!(std::fs::read(&path).unwrap()[50 * page() as usize], 2);
}

#[test]
fn eviction_says_what_is_in_use() {
    let folder = folder();
    let (path, _file) = cold(&folder, 100);
    if !knows_dirty(&path) {
        return;
    }
    let map = steadfast::Mapping::options().open(&path).unwrap();
    map.lock(10 * page() as usize..13 * page() as usize).unwrap();
    let looked = CachedFile::open(&path).unwrap();
    let evicted = looked.evict(.., true).unwrap();
    assert!(evicted.in_use() >= Some(3), "{evicted:?}");
    let stayed = looked.counts(10 * page()..13 * page()).unwrap();
    assert_eq!(stayed.resident, Some(3));
    drop(map);
    assert_eq!(looked.evict(.., false).unwrap().after.resident, Some(0));
}

#[test]
fn warming_reads_what_is_absent_and_no_holes() {
    let folder = folder();
    let (path, file) = cold(&folder, 600);
    // A hole behind it, and data behind that.
    file.set_len(5000 * page()).unwrap();
    file.write_all_at(&vec![3; page() as usize], 4000 * page()).unwrap();
    file.sync_all().unwrap();
    let looked = CachedFile::open(&path).unwrap();
    looked.evict(.., true).unwrap();
    file.read_exact_at(&mut [0; 1], 5 * page()).unwrap();
    let absent = looked.absent(..).unwrap();
    let absent_bytes: u64 = absent.iter().map(|part| part.end - part.start).sum();
    assert_eq!(absent_bytes, 600 * page(), "{absent:?}: 599 pages, and one behind the hole");
    let mut told = Vec::new();
    let warmed = looked
        .warm(.., |warming| {
            told.push(warming);
            true
        })
        .unwrap();
    assert_eq!((warmed.read_bytes, warmed.is_complete), (600 * page(), true));
    assert_eq!(told.last().unwrap().read_bytes, told[0].absent_bytes);
    assert_eq!(looked.counts(..600 * page()).unwrap().resident, Some(600));
    assert_eq!(looked.counts(4000 * page()..4001 * page()).unwrap().resident, Some(1));
    assert!(warmed.after.resident.unwrap() < 2000, "holes were read: {warmed:?}");
    // What is there is not read again.
    assert_eq!(looked.warm(.., |_| true).unwrap().read_bytes, 0);
}

#[test]
fn warming_can_be_ended() {
    let folder = folder();
    let (path, _file) = cold(&folder, 1024);
    let looked = CachedFile::open(&path).unwrap();
    let warmed = looked.warm(.., |_| false).unwrap();
    assert!(!warmed.is_complete && warmed.read_bytes > 0 && warmed.read_bytes < 1024 * page(), "{warmed:?}");
}

#[test]
fn nothing_is_claimed_of_what_has_no_pages() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for (path, why) in [
        (folder.path(), Unknown::NotRegular),
        (&pipe, Unknown::NotRegular),
        (Path::new("/dev/null"), Unknown::NotRegular),
        (Path::new("/proc/self/status"), Unknown::NoPageCache),
        (Path::new("/proc/self/maps"), Unknown::NoPageCache),
    ] {
        let looked = CachedFile::open(path).unwrap();
        let counts = looked.counts(..).unwrap();
        assert_eq!(
            (counts.resident, counts.dirty, counts.unknown),
            (None, None, Some(why)),
            "{}",
            path.display()
        );
        assert_eq!(looked.evict(.., true).unwrap().pages(), None);
        assert_eq!(looked.warm(.., |_| true).unwrap().read_bytes, 0);
    }
    let empty = folder.path().join("empty");
    std::fs::write(&empty, []).unwrap();
    let counts = CachedFile::open(&empty).unwrap().counts(..).unwrap();
    assert_eq!((counts.pages, counts.resident, counts.dirty), (0, Some(0), Some(0)), "not: all to the end");
}

#[test]
fn a_file_in_memory_is_resident_and_dirty_means_nothing() {
    let Ok(folder) = tempfile::Builder::new().tempdir_in("/dev/shm") else {
        return eprintln!("lacks /dev/shm");
    };
    let path = folder.path().join("data.bin");
    std::fs::write(&path, vec![1; 10 * page() as usize]).unwrap();
    let looked = CachedFile::open(&path).unwrap();
    let counts = looked.counts(..).unwrap();
    assert_eq!((counts.resident, counts.dirty, counts.write_back), (Some(10), None, None));
    assert_eq!(counts.unknown, Some(Unknown::InMemory));
    assert_eq!(looked.spans(..).unwrap().len(), 1);
    assert_eq!(looked.spans(..).unwrap()[0].state, PageState::Resident);
}

#[test]
fn nothing_is_claimed_of_other_peoples_files() {
    let test = "nothing_is_claimed_of_other_peoples_files";
    if let Ok(path) = std::env::var("STEADFAST_NOBODY") {
        let looked = CachedFile::open(path).unwrap();
        let counts = looked.counts(..).unwrap();
        // Older kernels tell everybody; none may say that all is there because it will not tell.
        if counts.resident.is_none() {
            assert_eq!(counts.unknown, Some(Unknown::NotYours));
            assert_eq!(looked.spans(..).unwrap()[0].state, PageState::Unknown);
        } else {
            assert_eq!(counts.resident, Some(1));
        }
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return eprintln!("lacks root, who alone can become nobody");
    }
    use std::os::unix::process::CommandExt;
    let (folder, program) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&folder, &program] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = folder.path().join("data.bin");
    std::fs::write(&path, vec![1; 100 * page() as usize]).unwrap();
    let file = File::open(&path).unwrap();
    file.sync_all().unwrap();
    CachedFile::open(&path).unwrap().evict(.., true).unwrap();
    fadvise(&file, 0, None, Advice::Random).unwrap();
    file.read_exact_at(&mut [0; 1], 0).unwrap();
    let copy = program.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let status = Command::new(copy)
        .args(["--exact", test, "--nocapture"])
        .env("STEADFAST_NOBODY", &path)
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .status()
        .unwrap();
    assert!(status.success());
}

/// An overlay that is taken down at the end.
struct Overlay(PathBuf);

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn of_an_overlay_only_presence_is_told_and_it_is_true() {
    let folder = folder();
    let parts = ["lower", "upper", "work", "merged"].map(|name| folder.path().join(name));
    parts.iter().for_each(|part| std::fs::create_dir(part).unwrap());
    let [lower, upper, work, merged] = &parts;
    std::fs::write(lower.join("data.bin"), vec![1; 100 * page() as usize]).unwrap();
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let mounted =
        Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(merged).output();
    if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
        return eprintln!("lacks overlay mounts: {mounted:?}");
    }
    let _overlay = Overlay(merged.clone());
    let path = merged.join("data.bin");
    let file = File::open(&path).unwrap();
    let below = CachedFile::open(lower.join("data.bin")).unwrap();
    below.evict(.., true).unwrap();
    fadvise(&file, 0, None, Advice::Random).unwrap();
    for number in [3, 4, 90] {
        file.read_exact_at(&mut [0; 1], number * page()).unwrap();
    }
    let looked = CachedFile::open(&path).unwrap();
    let counts = looked.counts(..).unwrap();
    assert_eq!((counts.resident, counts.dirty), (Some(3), None), "{counts:?}");
    assert_eq!(counts.unknown, Some(Unknown::DirtyNotTold));
    let resident: Vec<_> = looked
        .spans(..)
        .unwrap()
        .into_iter()
        .filter(|span| span.state == PageState::Resident)
        .map(|span| span.range)
        .collect();
    assert_eq!(resident, [bytes(3..5), bytes(90..91)]);
}

#[test]
fn a_sparse_terabyte_is_looked_at_without_walking_it() {
    let folder = folder();
    let path = folder.path().join("sparse.bin");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    if file.set_len(1 << 40).is_err() {
        return eprintln!("lacks a file system with files of a terabyte");
    }
    file.write_all_at(b"x", 1 << 39).unwrap();
    let looked = CachedFile::open(&path).unwrap();
    if !knows_dirty(&path) {
        return;
    }
    assert_eq!(looked.counts(..).unwrap().dirty, Some(1));
    let buckets = looked.buckets(.., 200).unwrap();
    assert_eq!(buckets.iter().position(|bucket| bucket.dirty == Some(1)), Some(100));
    let spans = looked.spans(..).unwrap();
    let dirty: Vec<_> = spans.iter().filter(|span| span.state == PageState::Dirty).collect();
    assert_eq!(dirty.len(), 1);
    assert_eq!(dirty[0].range, bytes((1 << 39) / page()..(1 << 39) / page() + 1));
}
