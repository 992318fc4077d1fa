//! Disks that fail without crashing, and then crash all the same.
//!
//! A sync that fails leaves pages that look clean: the next sync says success and writes nothing. A write may fail once or
//! for ever, wholly or in part. Whatever was acknowledged must survive; whatever was not must say so.

use std::sync::Arc;

use steadfast::disk::{CallKind, Disk, SimDisk, SyncPoint};
use steadfast::store::{Batch, CommitId, Extent, Flush, JournaledFile, JournaledFileOptions, Store};
use steadfast::{AtomicMapping, Error, ErrorKind};

use crate::images::{Count, Depth, check};
use crate::script::{FILE, JOURNAL, Log, Variant, disk, initial, run};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const FLAT: Depth = Depth { stop_recovery: false, samples: 6 };

/// Judges every image that a disk with failures behind it can leave.
fn judge(disk: &SimDisk, log: &Log, seed: u64, count: &mut Count) -> Result<(), String> {
    check(&disk.killed(), log, FLAT, seed, count).map_err(|error| format!("killed: {error}"))?;
    // Memory pressure throws falsely clean pages away: what is read back then is what the disk has.
    let evicted = disk.killed();
    evicted.evict();
    check(&evicted, log, FLAT, seed, count).map_err(|error| format!("killed, pages evicted: {error}"))?;
    for survivors in disk.power_cuts(seed, 6, 6) {
        check(&disk.power_cut(&survivors), log, FLAT, seed, count)
            .map_err(|error| format!("power cut {survivors}: {error}"))?;
    }
    Ok(())
}

/// Runs the workloads with one kind of failure at each place where it can strike, with and without a stop behind it.
fn every_place(what: &str, fail: impl Fn(&SimDisk, u64)) {
    let scrubbed = Variant { scrub: true, ..Variant::CHANGES };
    let published =
        [Variant::CHANGES, Variant::BACKGROUND].map(|variant| Variant { publish: true, ..variant });
    for variant in [Variant::CHANGES, Variant::BACKGROUND, scrubbed].into_iter().chain(published) {
        every_place_of(variant, what, &fail);
    }
}

fn every_place_of(variant: Variant, what: &str, fail: &dyn Fn(&SimDisk, u64)) {
    let mut count = Count::default();
    // There are fewer places where it can strike than operations.
    let places = {
        let undisturbed = disk();
        run(&undisturbed, &mut Log::new(&initial()), variant).unwrap();
        undisturbed.operations()
    };
    for place in 1..=places {
        let whole = disk();
        fail(&whole, place);
        let mut log = Log::new(&initial());
        let _ = run(&whole, &mut log, variant);
        let operations = whole.operations();
        let context = |error: String| format!("{what} {place} of {variant:?}: {error}");
        judge(&whole, &log, place, &mut count).unwrap_or_else(|error| panic!("{}", context(error)));
        for stop in (1..=operations).filter(|stop| (stop + place).is_multiple_of(5)) {
            let disk = disk();
            fail(&disk, place);
            disk.stop_at(stop);
            let mut log = Log::new(&initial());
            let _ = run(&disk, &mut log, variant);
            judge(&disk, &log, stop, &mut count)
                .unwrap_or_else(|error| panic!("stopped at operation {stop}: {}", context(error)));
        }
    }
    println!(
        "{what}, {:?}, scrubbed: {}: {places} places, {} images, 0 violations",
        variant.workload, variant.scrub, count.images
    );
}

#[test]
fn a_failed_sync_is_never_believed_later() {
    every_place("failing sync", |disk, place| disk.fail_sync(place));
}

#[test]
fn blocks_that_failed_once_are_not_believed_when_the_next_sync_succeeds() {
    every_place("failing sync, blocks stick", |disk, place| {
        disk.let_failed_blocks_stick();
        disk.fail_sync(place);
    });
}

#[test]
fn a_failed_write_loses_nothing_that_was_acknowledged() {
    every_place("failing write", |disk, place| disk.fail_write(place, EIO, place % 4));
}

#[test]
fn a_disk_that_dies_loses_nothing_that_was_acknowledged() {
    every_place("dying disk", |disk, place| disk.fail_writes_from(place, EIO));
}

fn open(disk: &SimDisk) -> AtomicMapping {
    AtomicMapping::options()
        .journal_bytes(1 << 15)
        .stepped(2)
        .load_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)
        .unwrap()
}

#[test]
fn after_a_failed_flush_the_commit_is_in_a_fresh_journal_and_work_goes_on() {
    let disk = disk();
    let mut map = open(&disk);
    map.edit(0..4).unwrap().fill(1);
    map.commit().unwrap();
    disk.fail_sync(1);
    map.edit(4..8).unwrap().fill(2);
    let second = map.commit().unwrap();
    assert!(second.get() > 2, "the commit in doubt got a new number");
    map.edit(8..12).unwrap().fill(3);
    map.commit().unwrap();
    let expect = map.to_vec();
    drop(map);
    assert_eq!(disk.read_file(FILE).unwrap(), expect);
}

#[test]
fn a_latched_map_reads_on_refuses_commit_and_rollback_and_deletes_nothing() {
    let disk = disk();
    let mut map = open(&disk);
    map.edit(0..4).unwrap().fill(1);
    map.commit().unwrap();
    disk.fail_writes_from(1, EIO);
    map.edit(0..4).unwrap().fill(2);
    assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::InDoubt);
    assert_eq!(&map[0..4], [2; 4], "memory is as it was");
    assert!(map.status().latched.is_some());
    disk.clear_failures();
    assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::Latched);
    assert_eq!(map.rollback().unwrap_err().kind(), ErrorKind::Latched);
    assert_eq!(map.checkpoint().unwrap_err().kind(), ErrorKind::Latched);
    assert_eq!(map.close().unwrap_err().kind(), ErrorKind::Latched);
    assert!(disk.exists(JOURNAL), "a latched map's close deletes nothing");
    let map = open(&disk);
    assert!(map[0..4] == [1; 4] || map[0..4] == [2; 4], "the next open decides");
}

#[test]
fn a_full_disk_is_not_committed_and_the_same_commit_succeeds_once_there_is_space() {
    let disk = SimDisk::new();
    disk.put_file(FILE, &[]);
    let mut map = AtomicMapping::options()
        .create(true)
        .len(64 << 12)
        .journal_bytes(1 << 16)
        .stepped(2)
        .load_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)
        .unwrap();
    map.edit(0..100).unwrap().fill(1);
    let before = map.commit().unwrap();
    // The data file is all hole behind the first page: the next pages need blocks, and there are none.
    disk.space(1);
    map.edit(8 << 12..20 << 12).unwrap().fill(2);
    let error = map.commit().unwrap_err();
    assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::NotCommitted, Some(ENOSPC)), "{error}");
    assert_eq!(map.status().last, before);
    assert_eq!(map[8 << 12], 2, "memory is as it was");
    // What is there can still be changed, by someone who did not ask for more.
    disk.space(1 << 30);
    assert!(map.commit().unwrap() > before);
    let expect = map.to_vec();
    map.close().unwrap();
    assert_eq!(disk.read_file(FILE).unwrap(), expect);
}

#[test]
fn back_pressure_of_a_failing_checkpoint_is_not_committed_and_never_a_hang() {
    let disk = disk();
    let mut map = open(&disk);
    let (mut refused, mut last) = (Vec::new(), Vec::new());
    for round in 0..40u8 {
        map.edit(0..3000).unwrap().fill(round);
        match map.commit() {
            Ok(_) => last = map.to_vec(),
            Err(error) => refused.push((round, error)),
        }
        // Every sync of a checkpoint fails from now on: the journal fills up and cannot be freed.
        if round == 1 {
            disk.fail_syncs_of(SyncPoint::Checkpoint);
        }
        if refused.len() > 4 {
            break;
        }
    }
    // The failure in the background is told once, and commits go on as long as there is room. Then none does.
    assert_eq!(refused.len(), 5, "a journal that cannot be freed fills up");
    for (_, error) in &refused {
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::NotCommitted, Some(EIO)), "{error}");
    }
    assert!(
        refused[0].1.to_string().contains("the last checkpoint in the background failed"),
        "{}",
        refused[0].1
    );
    assert!(refused[1].0 > refused[0].0 + 1, "commits went on between the two: {refused:?}");
    assert!(
        refused[1..].iter().all(|(_, error)| error.to_string().contains("the journal is full")),
        "{refused:?}"
    );
    assert!(map.status().checkpoint_error.is_some());
    disk.clear_failures();
    map.rollback().unwrap();
    assert_eq!(map[..], last);
    map.edit(0..3).unwrap().fill(77);
    map.commit().unwrap();
    assert_eq!(map.status().checkpoint_error, None);
}

#[test]
fn a_recovery_does_not_build_upon_pages_that_an_earlier_process_failed_to_write() {
    let disk = disk();
    disk.let_failed_blocks_stick();
    let mut map = open(&disk);
    map.edit(0..4).unwrap().fill(1);
    map.commit().unwrap();
    let expect = map.to_vec();
    disk.fail_syncs_of(SyncPoint::Checkpoint);
    assert_eq!(map.checkpoint().unwrap_err().kind(), ErrorKind::Io);
    let killed = disk.killed();
    drop(open(&killed));
    // Everything was closed with success: no power cut may take it back.
    for survivors in killed.power_cuts(1, 6, 6) {
        assert_eq!(killed.power_cut(&survivors).read_file(FILE).unwrap(), expect);
    }
}

#[test]
fn a_read_that_failed_is_not_taken_for_another_programs_hand() {
    let mut places = 0;
    for place in 1.. {
        let disk = disk();
        let mut map = open(&disk);
        map.resize(40_000).unwrap();
        map.edit(30_000..30_004).unwrap().fill(1);
        let before = disk.calls(Some(CallKind::Read));
        disk.fail_call(Some(CallKind::Read), place, EIO);
        let told = [map.commit().map(drop), map.checkpoint()];
        if disk.calls(Some(CallKind::Read)) - before < place {
            break;
        }
        places += 1;
        for error in told.into_iter().filter_map(Result::err) {
            assert!(
                matches!(error.kind(), ErrorKind::NotCommitted | ErrorKind::Io),
                "read {place}: {error:?}"
            );
        }
        map.commit().unwrap();
        map.checkpoint().unwrap();
        let expect = map.to_vec();
        map.close().unwrap();
        assert_eq!(disk.read_file(FILE).unwrap(), expect);
    }
    assert!(places >= 4, "{places} reads");
}

fn store(disk: &SimDisk, options: JournaledFileOptions) -> Result<JournaledFile, Error> {
    options.stepped(2).open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)
}

/// Commits the first bytes.
fn put(store: &mut JournaledFile, bytes: &[u8], flush: Flush) -> Result<CommitId, Error> {
    put_at(store, 0, bytes, flush)
}

fn put_at(store: &mut JournaledFile, at: usize, bytes: &[u8], flush: Flush) -> Result<CommitId, Error> {
    let len = store.committed_len();
    let extents = [Extent { offset: at as u64, len: bytes.len() as u32 }];
    store.commit(&Batch { len_min: len, len, extents: &extents, bytes }, flush)
}

#[test]
fn no_commit_follows_a_close_that_failed_half_way() {
    for point in [SyncPoint::Unmark, SyncPoint::JournalGone] {
        for disk in [SimDisk::new(), SimDisk::new().without_marks()] {
            disk.put_file(FILE, &initial());
            let mut file = store(&disk, JournaledFile::options()).unwrap();
            put(&mut file, b"abc", Flush::Now).unwrap();
            disk.fail_syncs_of(point);
            if file.close().is_ok() {
                // Nothing is unmarked where there are no marks.
                continue;
            }
            disk.clear_failures();
            assert_eq!(put(&mut file, b"xyz", Flush::Now).unwrap_err().kind(), ErrorKind::Latched);
            drop(file);
            let file = store(&disk.killed(), JournaledFile::options()).unwrap();
            let mut bytes = [0; 3];
            file.read_committed(&mut bytes, 0).unwrap();
            assert_eq!(&bytes, b"abc");
        }
    }
}

#[test]
fn an_open_that_failed_does_not_stand_against_the_next() {
    for disk in [SimDisk::new(), SimDisk::new().without_marks()] {
        disk.put_file("/other", &[0; 10]);
        disk.fail_syncs_of(SyncPoint::Mark);
        store(&disk, JournaledFile::options().create(true)).unwrap_err();
        disk.clear_failures();
        store(&disk, JournaledFile::options().create(true)).unwrap();
    }
}

#[test]
fn a_commit_that_is_not_yet_durable_is_read_from_memory_when_the_disk_lost_it() {
    let disk = disk();
    let mut file = store(&disk, JournaledFile::options()).unwrap();
    put(&mut file, b"abc", Flush::Later).unwrap();
    disk.fail_syncs_of(SyncPoint::Record);
    disk.fail_syncs_of(SyncPoint::FreshJournal);
    assert_eq!(put(&mut file, b"xyz", Flush::Now).unwrap_err().kind(), ErrorKind::InDoubt);
    disk.evict();
    let mut bytes = [0; 3];
    file.read_committed(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"abc");
}

#[test]
fn a_map_that_latches_while_it_makes_room_does_not_say_try_again() {
    let disk = disk();
    let mut map = open(&disk);
    for round in 0..8u8 {
        map.edit(0..3000).unwrap().fill(round);
        map.commit_relaxed().unwrap();
    }
    disk.fail_syncs_of(SyncPoint::Record);
    disk.fail_syncs_of(SyncPoint::FreshJournal);
    map.edit(0..3000).unwrap().fill(77);
    assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::InDoubt);
    assert!(map.status().latched.is_some());
}

/// A cut gives blocks back, and what is stored there afterwards needs new ones *before* it is acknowledged.
fn cut_and_fill_again(publish: bool, in_between: impl Fn(&SimDisk, &mut AtomicMapping)) {
    let disk = SimDisk::new();
    disk.put_file(FILE, &[]);
    let mut map = AtomicMapping::options()
        .create(true)
        .len(10 << 12)
        .publish(publish)
        .journal_bytes(1 << 18)
        .stepped(2)
        .load_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)
        .unwrap();
    map.edit(5 << 12..6 << 12).unwrap().fill(1);
    map.commit().unwrap();
    map.resize(2 << 12).unwrap();
    map.commit().unwrap();
    in_between(&disk, &mut map);
    map.resize(10 << 12).unwrap();
    map.edit(5 << 12..6 << 12).unwrap().fill(2);
    disk.space(1);
    match map.commit() {
        Ok(_) => map.checkpoint().unwrap(),
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotCommitted, "{error}"),
    }
}

#[test]
fn blocks_that_a_published_cut_gave_back_are_reserved_again() {
    cut_and_fill_again(true, |_, _| {});
}

#[test]
fn blocks_that_a_failed_checkpoint_gave_back_are_reserved_again() {
    cut_and_fill_again(false, |disk, map| {
        disk.fail_syncs_of(SyncPoint::Checkpoint);
        map.checkpoint().unwrap_err();
        disk.clear_failures();
    });
}

#[test]
fn publishing_takes_no_blocks_away_from_a_later_commit() {
    let disk = SimDisk::new();
    disk.put_file(FILE, &[7; 4 << 12]);
    let mut map = AtomicMapping::options()
        .publish(true)
        .journal_bytes(1 << 18)
        .stepped(2)
        .load_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)
        .unwrap();
    map.resize(2 << 12).unwrap();
    map.commit_relaxed().unwrap();
    map.resize(10 << 12).unwrap();
    map.edit(5 << 12..6 << 12).unwrap().fill(2);
    map.commit_relaxed().unwrap();
    disk.space(1);
    map.edit(0..1).unwrap().fill(2);
    map.commit().unwrap();
    assert_eq!(map.status().checkpoint_error, None);
    map.checkpoint().unwrap();
    assert_eq!(disk.read_file(FILE).unwrap(), map.to_vec());
}

/// The journal begins with the file header and two anchors, a block each; small records take a block each.
const FIRST_RECORD: usize = 3 * 4096;

fn damage(disk: &SimDisk, record: usize) -> SimDisk {
    let damaged = disk.killed();
    let mut journal = damaged.read_file(JOURNAL).unwrap();
    // The first byte of the body.
    journal[FIRST_RECORD + record * 4096 + 112] ^= 1;
    damaged.put_file(JOURNAL, &journal);
    damaged
}

#[test]
fn a_damaged_record_below_a_durable_one_is_corruption_and_the_last_one_a_torn_tail() {
    let disk = disk();
    let mut file = store(&disk, JournaledFile::options()).unwrap();
    for bytes in [b"abc", b"def", b"ghi"] {
        put(&mut file, bytes, Flush::Now).unwrap();
    }
    for record in [0, 1] {
        let refused = store(&damage(&disk, record), JournaledFile::options()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    }
    let torn = store(&damage(&disk, 2), JournaledFile::options()).unwrap();
    assert!(torn.status().recovery.torn_tail);
    assert_eq!(torn.status().recovery.last.get(), 2);
    // A fresh journal was whole before it had its name: there even the last record is missed.
    disk.fail_sync(1);
    put(&mut file, b"jkl", Flush::Now).unwrap();
    for record in 0..4 {
        let refused = store(&damage(&disk, record), JournaledFile::options()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    }
}

#[test]
fn a_lost_record_at_the_end_of_a_half_is_not_stepped_over() {
    let disk = disk();
    // No checkpoint in the background, which would flush them.
    let mut file = JournaledFile::options()
        .journal_bytes(1 << 15)
        .stepped(0)
        .open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)
        .unwrap();
    let mut state = initial();
    let mut states = Vec::new();
    // Three blocks of four, then a record of two that goes to the other half. The last two are not flushed.
    for (at, count, flush) in
        [(0, 3, Flush::Now), (10, 4, Flush::Now), (20, 5, Flush::Later), (30, 5000, Flush::Later)]
    {
        let bytes = vec![count as u8; count];
        put_at(&mut file, at, &bytes, flush).unwrap();
        state[at..at + count].copy_from_slice(&bytes);
        states.push(state.clone());
    }
    let mut found = [0; 4];
    for survivors in disk.power_cuts(1, 12, 12) {
        let file = store(&disk.power_cut(&survivors), JournaledFile::options()).unwrap();
        let mut bytes = vec![0; file.committed_len() as usize];
        file.read_committed(&mut bytes, 0).unwrap();
        let index = states.iter().position(|state| *state == bytes);
        found[index.unwrap_or_else(|| panic!("power cut {survivors}: a state that never was"))] += 1;
    }
    assert!(found[1] > 0 && found[2] > 0 && found[3] > 0, "{found:?}");
}

#[test]
fn a_cut_whose_flush_failed_still_cuts() {
    let disk = disk();
    let mut map = open(&disk);
    map.resize(100).unwrap();
    disk.fail_sync(1);
    map.commit().unwrap();
    map.resize(9000).unwrap();
    map.commit().unwrap();
    let expect = [&initial()[..100], &[0; 8900]].concat();
    assert_eq!(map[..], expect);
    map.close().unwrap();
    assert_eq!(disk.read_file(FILE).unwrap(), expect);
}
