//! A writer that gets on by itself between any two calls of a reader, on a simulated disk: the same for the same seed.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use steadfast::disk::{Access, Disk, DiskFile, Durability, FileStat, Lock, SimDisk, SyncPoint};
use steadfast::store::{Batch, Extent, Flush, JournaledFile, JournaledFileOptions, Store};
use steadfast::{AtomicMapping, ErrorKind};

const FILE: &str = "/data";
const PAGE: usize = 4096;

/// The bytes of state `number`: whole pages of it and some more, all of them its number.
fn bytes_of(number: u64) -> Vec<u8> {
    // From less than a page to more than what is read at once.
    let len = [300, 9_000, 70_000, 20_000][number as usize % 4] + number as usize % 7 * 8;
    number.to_le_bytes().repeat(len / 8)
}

/// A writer, and what it does next.
#[derive(Debug)]
struct Writer {
    disk: SimDisk,
    options: JournaledFileOptions,
    store: Option<JournaledFile>,
    number: u64,
    /// How many steps it takes at each call of the reader, again and again.
    pace: Vec<u8>,
    calls: usize,
    step: u64,
}

impl Writer {
    fn open(&self) -> JournaledFile {
        self.options.clone().open_on(Arc::new(self.disk.clone()), FILE).unwrap()
    }

    fn gets_on(&mut self) {
        let steps = self.pace[self.calls % self.pace.len()];
        self.calls += 1;
        (0..steps).for_each(|_| self.take_a_step());
    }

    fn take_a_step(&mut self) {
        self.step += 1;
        let Some(store) = &mut self.store else {
            self.store = Some(self.open());
            return;
        };
        if self.step.is_multiple_of(13) {
            return store.checkpoint().unwrap();
        }
        if self.step.is_multiple_of(31) {
            store.close().unwrap();
            self.store = None;
            return;
        }
        self.number += 1;
        let (before, bytes) = (store.committed_len(), bytes_of(self.number));
        let len = bytes.len() as u64;
        // In pages, the last one first.
        let mut extents: Vec<Extent> = (0..len)
            .step_by(PAGE)
            .map(|offset| Extent { offset, len: (len - offset).min(PAGE as u64) as u32 })
            .collect();
        extents.reverse();
        let bytes: Vec<u8> = extents
            .iter()
            .flat_map(|extent| &bytes[extent.offset as usize..][..extent.len as usize])
            .copied()
            .collect();
        let batch = Batch { len_min: before.min(len), len, extents: &extents, bytes: &bytes };
        let flush = if self.step.is_multiple_of(3) { Flush::Later } else { Flush::Now };
        store.commit(&batch, flush).unwrap();
    }
}

/// The disk as the reader has it.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Writer>>);

#[derive(Debug)]
struct SharedFile {
    file: Box<dyn DiskFile>,
    shared: Shared,
}

impl Shared {
    fn call(&self) -> SimDisk {
        let mut writer = self.0.lock().unwrap();
        writer.gets_on();
        writer.disk.clone()
    }
}

/// Whatever a reader must not ask for.
fn never() -> ! {
    panic!("a reader changes nothing")
}

impl Disk for Shared {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        assert_eq!(access, Access::Read, "a reader needs no permission to write");
        let file = self.call().open(path, access)?;
        Ok(Box::new(SharedFile { file, shared: self.clone() }))
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.call().stat(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.call().resolve(path)
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        never()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        never()
    }

    fn sync_dir(&self, folder: &Path, point: SyncPoint) -> io::Result<()> {
        assert_eq!(point, SyncPoint::ShownName);
        self.call().sync_dir(folder, point)
    }

    fn durability(&self, path: &Path) -> io::Result<Durability> {
        self.call().durability(path)
    }
}

impl DiskFile for SharedFile {
    fn stat(&self) -> io::Result<FileStat> {
        self.shared.call();
        self.file.stat()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.shared.call();
        self.file.read_at(buf, offset)
    }

    fn sync_data(&self, point: SyncPoint) -> io::Result<()> {
        assert_eq!(point, SyncPoint::Shown);
        self.shared.call();
        self.file.sync_data(point)
    }

    fn drop_clean_pages(&self) -> io::Result<()> {
        self.shared.call();
        self.file.drop_clean_pages()
    }

    fn mark(&self) -> io::Result<Option<Vec<u8>>> {
        self.shared.call();
        self.file.mark()
    }

    fn write_at(&self, _parts: &[&[u8]], _offset: u64) -> io::Result<()> {
        never()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        never()
    }

    fn reserve(&self, _range: Range<u64>) -> io::Result<Range<u64>> {
        never()
    }

    fn zero(&self, _range: Range<u64>) -> io::Result<()> {
        never()
    }

    fn sync(&self, _point: SyncPoint) -> io::Result<()> {
        never()
    }

    fn set_mark(&self, _mark: Option<&[u8]>) -> io::Result<()> {
        never()
    }

    fn try_lock(&self, _lock: Lock) -> io::Result<bool> {
        never()
    }

    fn unlock(&self) -> io::Result<()> {
        never()
    }

    fn keep_in_place(&self) -> io::Result<()> {
        never()
    }

    fn set_owner(&self, _owner: (u32, u32), _mode: u32) -> io::Result<()> {
        never()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Looks so many times; how often there was a state to see.
fn looks(count: usize, options: JournaledFileOptions, pace: Vec<u8>, marks: bool) -> usize {
    let disk = if marks { SimDisk::new() } else { SimDisk::new().without_marks() };
    disk.put_file(FILE, &bytes_of(0));
    let mut writer = Writer { disk, options, store: None, number: 0, pace, calls: 0, step: 0 };
    writer.store = Some(writer.open());
    let shared = Shared(Arc::new(Mutex::new(writer)));
    let number = || shared.0.lock().unwrap().number;
    let mut seen = 0;
    for _ in 0..count {
        let before = number();
        let disk: Arc<dyn Disk> = Arc::new(shared.clone());
        match AtomicMapping::options().read_only(true).load_on(disk, FILE) {
            Ok(map) => {
                let first = u64::from_le_bytes(map[..8].try_into().unwrap());
                assert!(map[..] == bytes_of(first), "not whole: it begins with {first}");
                assert!((before..=number()).contains(&first), "{first} of {before} to {}", number());
                seen += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
        }
    }
    seen
}

fn options() -> impl Strategy<Value = JournaledFileOptions> {
    (prop::sample::select(vec![8, 40, 100, 300]), any::<bool>(), 0..6u32).prop_map(
        |(blocks, publish, steps)| {
            JournaledFile::options().journal_bytes(blocks * PAGE as u64).publish(publish).stepped(steps)
        },
    )
}

/// Mostly nothing, so that a reader comes to its end now and then.
fn pace() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 5]), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_a_writer_does_between_two_calls_a_reader_sees_one_whole_commit(
        options in options(), pace in pace(), marks in any::<bool>()
    ) {
        looks(6, options, pace, marks);
    }
}

#[test]
fn a_reader_comes_to_its_end_beside_a_writer_that_commits_now_and_then() {
    let options = || JournaledFile::options().journal_bytes(300 * PAGE as u64).stepped(1);
    assert_eq!(looks(40, options(), vec![0; 1], true), 40);
    for pause in [20, 50] {
        let pace = [vec![0; pause], vec![1]].concat();
        let seen = looks(40, options(), pace, true);
        assert!(seen >= 30, "{seen} of 40 with a commit every {pause} calls");
    }
}

#[test]
fn a_writer_that_checkpoints_faster_than_the_file_is_read_is_named_as_the_reason() {
    let disk = SimDisk::new();
    disk.put_file(FILE, &bytes_of(0));
    let options = JournaledFile::options().journal_bytes(8 * PAGE as u64).stepped(100);
    let mut writer = Writer { disk, options, store: None, number: 0, pace: vec![3], calls: 0, step: 0 };
    writer.store = Some(writer.open());
    let disk: Arc<dyn Disk> = Arc::new(Shared(Arc::new(Mutex::new(writer))));
    let error = AtomicMapping::options().read_only(true).load_on(disk, FILE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    let text = error.to_string();
    assert!(
        text.contains("checkpoint") && text.contains("; try again") && text.contains("publish"),
        "{text}"
    );
}
