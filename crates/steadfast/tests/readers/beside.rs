//! Beside a writer that commits, checkpoints, grows, shrinks, closes and opens again as fast as it can.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use steadfast::{AtomicMapping, AtomicOptions, ErrorKind};

use crate::read;
use crate::stage::{DEADLINE, Model, Other, folder, journal_of, options, other_process, picture, until};

/// Commit `number` makes the file this long, and every eight bytes of it the number.
fn len_of(number: u64) -> usize {
    8 * (1 + (number.wrapping_mul(2_654_435_761) % 12_000) as usize)
}

/// The number whose commit this is, whole.
#[track_caller]
fn number_of(bytes: &[u8]) -> u64 {
    let first = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes.len(), len_of(first), "the length is not that of commit {first}");
    for (index, word) in bytes.chunks_exact(8).enumerate() {
        let found = u64::from_le_bytes(word.try_into().unwrap());
        assert_eq!(found, first, "byte {} of {} is of another commit", index * 8, bytes.len());
    }
    first
}

/// So many commits are to be seen.
const SEEN_MIN: u64 = 100;

/// What the writer may be doing, and what readers saw of it.
#[derive(Default)]
struct Scene {
    over: AtomicBool,
    /// The last commit that was acknowledged.
    acknowledged: AtomicU64,
    /// The last that was begun.
    begun: AtomicU64,
    seen: AtomicU64,
    busy: AtomicU64,
}

impl Scene {
    /// At least so many commits, and until the readers, who may come late to the processor, have seen enough of them.
    fn write(&self, options: &AtomicOptions, path: &Path, commits: u64, session: u64) {
        let started = Instant::now();
        let is_enough = || self.seen.load(Ordering::Relaxed) >= SEEN_MIN || started.elapsed() > DEADLINE;
        let mut map = options.clone().load(path).unwrap();
        for number in 1.. {
            if number > commits && is_enough() {
                break;
            }
            self.begun.store(number, Ordering::SeqCst);
            map.resize(len_of(number)).unwrap();
            let page = number.to_le_bytes().repeat(map.len() / 8);
            // Now as one edit, now for the kernel to find.
            if number % 2 == 0 {
                map.write_at(0, &page).unwrap()
            } else {
                map.copy_from_slice(&page)
            }
            match number % 5 {
                0 => {
                    let ticket = map.commit_async().unwrap();
                    ticket.wait().unwrap();
                }
                1 => {
                    map.commit_relaxed().unwrap();
                    map.commit().unwrap();
                }
                _ => drop(map.commit().unwrap()),
            }
            self.acknowledged.store(number, Ordering::SeqCst);
            if number % session == 0 {
                map.close().unwrap();
                map = options.clone().load(path).unwrap();
            }
        }
        self.over.store(true, Ordering::SeqCst);
    }

    fn look_again_and_again(&self, path: &Path) {
        let started = Instant::now();
        let mut last = 0;
        while !self.over.load(Ordering::SeqCst) {
            assert!(started.elapsed() < 4 * DEADLINE, "the writer never comes to its end");
            let at_least = self.acknowledged.load(Ordering::SeqCst);
            let map = match read(path) {
                Ok(map) => map,
                Err(error) if error.kind() == ErrorKind::Busy => {
                    self.busy.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Err(error) => panic!("{error:?}"),
            };
            let number = number_of(&map);
            let at_most = self.begun.load(Ordering::SeqCst);
            assert!((at_least..=at_most).contains(&number), "{number} of {at_least} to {at_most}");
            assert!(number >= last, "back from {last} to {number}");
            self.seen.fetch_add(u64::from(number > last), Ordering::Relaxed);
            last = number;
        }
    }

    fn play(options: AtomicOptions, session: u64) {
        const COMMITS: u64 = 600;
        let folder = folder();
        let path = folder.path().join("state.bin");
        fs::write(&path, 0_u64.to_le_bytes()).unwrap();
        assert_eq!(len_of(0), 8);
        let scene = Scene::default();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| scene.look_again_and_again(&path));
            }
            scene.write(&options, &path, COMMITS, session);
        });
        let (seen, busy) = (scene.seen.into_inner(), scene.busy.into_inner());
        println!("{seen} distinct commits seen by two readers, {busy} times busy");
        assert!(seen >= SEEN_MIN, "{seen} distinct commits seen, {busy} times busy");
    }
}

#[test]
fn a_reader_beside_a_writer_sees_whole_commits_and_never_an_older_one() {
    // A checkpoint for nearly every commit, and journals that come and go.
    Scene::play(AtomicMapping::options().journal_bytes(192 << 10), 40);
}

#[test]
fn so_it_does_when_the_writer_publishes() {
    Scene::play(AtomicMapping::options().journal_bytes(192 << 10).publish(true), 1000);
}

#[test]
fn so_it_does_while_journals_grow_with_the_commits() {
    // Larger records than the journal has halves: it is replaced by a larger one in every session.
    Scene::play(AtomicMapping::options().journal_bytes(32 << 10), 3);
}

#[test]
fn a_reader_changes_nothing_and_keeps_what_it_was_shown() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut writer = options().load(&path).unwrap();
    crate::stage::store(&mut writer, 1);
    let id = writer.commit().unwrap();
    let before = picture(folder.path());
    let mut reader = read(&path).unwrap();
    assert!(reader[..] == Model::after(&[1]).0);
    let status = reader.status();
    assert_eq!((status.last, status.durable), (id, id));
    assert_eq!(picture(folder.path()), before, "a look changed something");

    // The writer goes on, and the reader's memory does not.
    crate::stage::store(&mut writer, 2);
    writer.commit().unwrap();
    writer.checkpoint().unwrap();
    assert!(reader[..] == Model::after(&[1]).0);
    // Stores are private, and a rollback throws them away; all by themselves, and among edits.
    reader[7] ^= 1;
    reader.edit(5000..9000).unwrap().fill(3);
    reader.resize(10).unwrap();
    reader.resize(100_000).unwrap();
    reader.rollback().unwrap();
    assert!(reader[..] == Model::after(&[1]).0);
    assert!(writer[..] == Model::after(&[1, 2]).0);
    assert!(read(&path).unwrap()[..] == Model::after(&[1, 2]).0);
    reader[7] ^= 1;
    let copy = folder.path().join("copy.bin");
    reader.copy_to(&copy).unwrap();
    assert!(fs::read(&copy).unwrap() == Model::after(&[1]).0, "a copy is the commit without what was stored");
    reader.close().unwrap();
    writer.close().unwrap();
    assert!(fs::read(&path).unwrap() == Model::after(&[1, 2]).0);
    assert!(!journal_of(&path).exists());
}

#[test]
fn a_relaxed_commit_is_durable_once_it_was_shown() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut writer = options().load(&path).unwrap();
    crate::stage::store(&mut writer, 1);
    let id = writer.commit_relaxed().unwrap();
    let reader = read(&path).unwrap();
    assert_eq!((reader.status().last, reader.status().durable), (id, id));
    assert!(reader[..] == Model::after(&[1]).0);
}

/// Another process than the writer's.
#[test]
fn a_reader_of_another_process_sees_the_last_commit() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut writer: Other = other_process("1 ckpt 2 u3 ready 4 ready close", &path, None);
    writer.until_ready();
    let reader = read(&path).unwrap();
    assert!(reader[..] == Model::after(&[1, 2]).0);
    let by_descriptor = fs::File::open(&path).unwrap();
    let again = AtomicMapping::options().read_only(true).load_fd(&by_descriptor).unwrap();
    assert!(again[..] == Model::after(&[1, 2]).0);
    writer.go_on();
    writer.until_ready();
    assert!(read(&path).unwrap()[..] == Model::after(&[1, 2, 3, 4]).0);
    writer.go_on();
    until("a plain file", || !journal_of(&path).exists());
    assert!(read(&path).unwrap()[..] == Model::after(&[1, 2, 3, 4]).0);
    writer.succeeds();
}

#[test]
fn refresh_shows_what_was_committed_since() {
    let folder = crate::stage::folder();
    let path = folder.path().join("state.bin");
    let mut writer = crate::stage::options().create(true).len(10_000).load(&path).unwrap();
    let mut reader = crate::read(&path).unwrap();
    for round in 1..5_u8 {
        writer.resize(10_000 * usize::from(round)).unwrap();
        let last = writer.len() - 1;
        writer.write_at(last, &[round]).unwrap();
        let id = writer.commit().unwrap();
        // Stores of a reader's own are its own, and go.
        reader[0] = 99;
        reader.refresh().unwrap();
        assert_eq!((reader.len(), reader[last], reader[0]), (writer.len(), round, 0));
        assert_eq!(reader.status().last, id);
    }
}
