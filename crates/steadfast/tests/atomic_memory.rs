//! The memory of a map: what is stored is found, however it was stored; what is committed is shown, kept and given back;
//! large maps cost what is changed in them and no more.

mod stage;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use stage::{VERBS, Verb, assert_says, folder, journal_of, open, options, picture};
use steadfast::{AtomicMapping, CommitId, Error, ErrorKind, Mapping};

#[test]
fn as_another_process() {
    stage::as_another_process();
}

fn mapped(verb: Verb, len: usize) -> (tempfile::TempDir, std::path::PathBuf, AtomicMapping) {
    let folder = folder();
    let path = folder.path().join("state.bin");
    let map = open(verb, options().create(true).len(len), &path).unwrap();
    (folder, path, map)
}

#[track_caller]
fn same(have: &[u8], want: &[u8], what: &str) {
    if have != want {
        let at = have.iter().zip(want).position(|(a, b)| a != b);
        panic!("{what}: {} and {} bytes, first difference at {at:?}", have.len(), want.len());
    }
}

#[test]
fn edits_beyond_what_private_pages_may_take_keep_their_bytes() {
    const LEN: usize = 24 << 20;
    const PIECE: usize = 4 << 20;
    for verb in VERBS {
        let (_folder, path, mut map) = mapped(verb, LEN);
        let mut want = vec![0; LEN];
        // 80 MiB of declared edits in all, some of them not committed when others are.
        for round in 0..20 {
            let at = (round * 5 * PIECE / 3 + round * 777) % (LEN - PIECE);
            map.edit(at..at + PIECE).unwrap().fill(round as u8 + 1);
            want[at..at + PIECE].fill(round as u8 + 1);
            map.commit().unwrap();
            // Stores after the commit that gave memory back.
            map.write_at(at + 1, b"behind").unwrap();
            want[at + 1..at + 7].copy_from_slice(b"behind");
            if round % 6 == 5 {
                map.rollback().unwrap();
                want[at + 1..at + 7].fill(round as u8 + 1);
            }
            if round % 5 == 0 {
                same(&map, &want, "while it works");
            }
        }
        same(&map, &want, "in the end");
        map.commit().unwrap();
        map.close().unwrap();
        same(&fs::read(&path).unwrap(), &want, "the plain file");
    }
}

#[test]
fn growth_beyond_the_region_moves_uncommitted_stores_along() {
    for verb in VERBS {
        let (_folder, path, mut map) = mapped(verb, 10_000);
        let mut want = vec![0; 10_000];
        for (round, len) in [30_000, 31_001, 300_000, 5, 2_000_000, 3_333_333].into_iter().enumerate() {
            let value = round as u8 + 1;
            // One store that is committed, one found by the kernel and one declared that are not when the memory moves.
            let last = want.len() - 1;
            map.write_at(last / 2, &[value]).unwrap();
            want[last / 2] = value;
            map.commit().unwrap();
            map[last] = value;
            map.write_at(1, &[value]).unwrap();
            want[last] = value;
            want[1] = value;
            map.resize(len).unwrap();
            want.resize(len, 0);
            same(&map, &want, "after the move");
            map[len - 1] = 99;
            want[len - 1] = 99;
        }
        let id = map.commit().unwrap();
        same(&map, &want, "after the commit");
        map.resize(9_000_000).unwrap();
        map[8_999_999] = 1;
        map.rollback().unwrap();
        assert_eq!(map.status().last, id);
        same(&map, &want, "after the rollback");
        map.close().unwrap();
        same(&fs::read(&path).unwrap(), &want, "the plain file");
    }
}

/// Declared edits alone, so that the images stay one memory; growth in place and a cut on the way, so that it is several mappings.
fn growth_by_declared_edits() {
    let (_folder, path, mut map) = mapped(Verb::Load, 10_000);
    let mut want = vec![0; 10_000];
    for (round, len) in
        [30_000, 31_001, 300_000, 5, 2_000_000, 12_000_001, 40_000_000].into_iter().enumerate()
    {
        let value = round as u8 + 1;
        for at in [0, want.len() / 3, want.len() - 1] {
            map.write_at(at, &[value]).unwrap();
            want[at] = value;
        }
        if round % 2 == 0 {
            map.commit().unwrap();
        }
        map.resize(len).unwrap();
        want.resize(len, 0);
        same(&map, &want, "after the move");
    }
    map.commit().unwrap();
    map.resize(90_000_000).unwrap();
    map.write_at(89_999_999, &[1]).unwrap();
    map.rollback().unwrap();
    same(&map, &want, "after the rollback");
    map.close().unwrap();
    same(&fs::read(&path).unwrap(), &want, "the plain file");
}

#[test]
fn memory_moves_whole_whether_the_kernel_moves_it_or_not() {
    growth_by_declared_edits();
    let copied = std::thread::spawn(|| {
        stage::forbid::forbid(libc::SYS_mremap);
        growth_by_declared_edits();
    });
    copied.join().unwrap();
}

/// Atomic stores, since the commit's copy is to them what another process is.
#[test]
#[allow(unsafe_code)]
fn stores_that_race_with_commits_are_in_one_of_them() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    for verb in VERBS {
        const LEN: usize = 1 << 20;
        let (_folder, path, mut map) = mapped(verb, LEN);
        let start = map.as_mut_ptr() as usize;
        let counter = |at: usize| {
            // SAFETY: the map outlives the thread, nobody resizes it, no slice of it lives, and these words are only used as atomics.
            unsafe { AtomicU64::from_ptr((start as *mut u64).wrapping_add(at * 500)) }
        };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=2000 {
                    (0..200).for_each(|at| counter(at).store(round, Ordering::Relaxed));
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                map.commit().unwrap();
            }
        });
        map.commit().unwrap();
        map.close().unwrap();
        let committed = fs::read(&path).unwrap();
        let last = 2000_u64.to_ne_bytes();
        assert!(committed.chunks_exact(4000).take(200).all(|chunk| chunk[..8] == last));
    }
}

#[test]
fn reserved_addresses_keep_the_memory_in_its_place() {
    for verb in VERBS {
        let folder = folder();
        let path = folder.path().join("state.bin");
        let mut map = open(verb, options().create(true).len(100).reserve(64 << 20), &path).unwrap();
        let start = map.as_ptr();
        for len in [5000, 1 << 20, 3, 64 << 20, 4096] {
            map.resize(len).unwrap();
            map[len - 1] = 7;
            assert_eq!(map.as_ptr(), start, "{len}");
            map.commit().unwrap();
        }
        map.resize(1000).unwrap();
        map.rollback().unwrap();
        assert_eq!(map.as_ptr(), start);
    }
}

#[test]
#[allow(unsafe_code)]
fn stores_through_a_raw_pointer_are_found() {
    for verb in VERBS {
        let (_folder, path, mut map) = mapped(verb, 50_000);
        let pointer = map.as_mut_ptr();
        let mut want = vec![0; 50_000];
        for round in 0..5u8 {
            let at = 9_999 * usize::from(round);
            // SAFETY: within the map, which has not moved, and no reference to it lives.
            unsafe { pointer.wrapping_add(at).write(round + 1) };
            want[at] = round + 1;
            let before = map.status().last;
            assert!(map.commit().unwrap() > before);
            map.checkpoint().unwrap();
            // SAFETY: as above.
            unsafe { pointer.wrapping_add(at + 1).write(77) };
            map.rollback().unwrap();
            same(&map, &want, "after a rollback");
        }
        map.close().unwrap();
        same(&fs::read(&path).unwrap(), &want, "the plain file");
    }
}

#[test]
fn published_commits_are_seen_by_readers_of_the_plain_file() {
    for verb in VERBS {
        let folder = folder();
        let path = folder.path().join("state.bin");
        fs::write(&path, vec![0; 20_000]).unwrap();
        let mut map = open(verb, options().publish(true), &path).unwrap();
        let reader = Mapping::options().open(&path).unwrap();
        let mut seen = [0; 3];
        for value in 1..4u8 {
            map.write_at(5000, &[value; 3]).unwrap();
            reader.read_at(5000, &mut seen).unwrap();
            assert_eq!(seen, [value - 1; 3], "what is not committed is not shown");
            map.commit().unwrap();
            reader.read_at(5000, &mut seen).unwrap();
            assert_eq!(seen, [value; 3]);
            same(&fs::read(&path).unwrap(), &map, "read(2)");
        }
        map.write_at(100, b"later").unwrap();
        map.commit_relaxed().unwrap();
        assert_eq!(fs::read(&path).unwrap()[100], 0, "what is not durable is not shown");
        map.resize(30_000).unwrap();
        map.commit().unwrap();
        same(&fs::read(&path).unwrap(), &map, "the relaxed commit came with the flush");
        assert_eq!(map.status().checkpoint_error, None);
    }
    // Without it the plain file is behind until a checkpoint.
    let (_folder, path, mut map) = mapped(Verb::Load, 100);
    map[0] = 1;
    map.commit().unwrap();
    assert_ne!(fs::read(&path).unwrap().first(), Some(&1));
    map.checkpoint().unwrap();
    assert_eq!(fs::read(&path).unwrap()[0], 1);
}

#[test]
fn relaxed_commits_are_durable_with_the_next_flush() {
    for by in ["commit", "empty commit", "checkpoint"] {
        let (_folder, _path, mut map) = mapped(Verb::Load, 10_000);
        let first = map.commit().unwrap();
        map[0] = 1;
        let relaxed = map.commit_relaxed().unwrap();
        map[1] = 1;
        let second = map.commit_relaxed().unwrap();
        assert!(first < relaxed && relaxed < second);
        assert_eq!((map.status().last, map.status().durable), (second, first));
        match by {
            "commit" => {
                map[2] = 1;
                assert!(map.commit().unwrap() > second);
            }
            "empty commit" => assert_eq!(map.commit().unwrap(), second),
            _ => map.checkpoint().unwrap(),
        }
        assert!(map.status().durable >= second, "{by}");
        assert_eq!(map.status().durable, map.status().last);
    }
    // A kill is no power cut: what the journal's page cache holds is found, and made durable before it is shown.
    let folder = folder();
    let path = folder.path().join("state.bin");
    stage::crash(&path, "1 ~2 ~3 u4");
    let map = options().load(&path).unwrap();
    same(&map, &stage::Model::after(&[1, 2, 3]).0, "after a kill");
}

#[test]
fn a_copy_is_the_last_commit_while_changes_stand() {
    for verb in VERBS {
        let (folder, path, mut map) = mapped(verb, 300_000);
        map[7] = 1;
        map[299_999] = 2;
        map.commit().unwrap();
        let committed = map.to_vec();
        map[7] = 99;
        map.edit(200_000..250_000).unwrap().fill(3);
        map.resize(1_000_000).unwrap();
        let copy = folder.path().join("copy.bin");
        for _ in 0..2 {
            // The second time it replaces the first.
            map.copy_to(&copy).unwrap();
            same(&fs::read(&copy).unwrap(), &committed, "the copy");
            assert_eq!(stage::mark_of(&copy), None);
        }
        assert!(copy.metadata().unwrap().blocks() * 512 < 200_000, "zeros take no space");
        assert_eq!(map[7], 99, "the changes still stand");
        // Refused: the file itself by any name, its journal, the journal's other name, a folder, a FIFO.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let crashed = folder.path().join("crashed.bin");
        stage::crash(&crashed, "1");
        let before = picture(folder.path());
        for target in
            [&path, &link, &journal_of(&path), &stage::fresh_of(&path), &fifo, &folder.path().to_path_buf()]
        {
            let error = map.copy_to(target).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{}: {error}", target.display());
            assert!(error.to_string().contains("; "), "does not say what to do: {error}");
        }
        assert_says(
            &map.copy_to(&crashed).unwrap_err(),
            ErrorKind::RecoveryNeeded,
            &crashed,
            &["steadfast recover"],
        );
        let nowhere = folder.path().join("no/such/folder");
        assert_says(&map.copy_to(&nowhere).unwrap_err(), ErrorKind::NotFound, &nowhere, &[]);
        assert_eq!(picture(folder.path()), before);
        map.commit().unwrap();
        map.close().unwrap();
    }
}

#[test]
fn a_transaction_commits_on_ok_and_rolls_back_on_error_and_panic() {
    for verb in VERBS {
        let (_folder, path, mut map) = mapped(verb, 10_000);
        let id = map
            .transaction(|map| {
                map[0] = 1;
                Ok::<_, Error>(map.status().last)
            })
            .unwrap();
        assert!(map.status().durable > id);
        let refused = map.transaction(|map| {
            map[0] = 2;
            map.resize(20_000)?;
            map[15_000] = 2;
            Err::<(), _>(Error::new(ErrorKind::Busy, "test", "no"))
        });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!((map[0], map.len()), (1, 10_000));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            map.transaction(|map| {
                map[0] = 3;
                map.resize(1).unwrap();
                assert!(map.len() > 1, "on purpose");
                Ok::<(), Error>(())
            })
        }));
        assert!(panicked.is_err());
        assert_eq!((map[0], map.len()), (1, 10_000));
        map.transaction(|map| map.write_at(1, &[1])).unwrap();
        map.close().unwrap();
        assert_eq!(fs::read(&path).unwrap()[..3], [1, 1, 0]);
    }
}

#[test]
fn a_map_without_bytes_works() {
    for verb in VERBS {
        let (_folder, path, mut map) = mapped(verb, 0);
        assert!(map.is_empty() && map.iter().next().is_none());
        map.edit(..).unwrap();
        map.write_at(0, &[]).unwrap();
        map.read_at(0, &mut []).unwrap();
        assert_eq!(map.edit(0..1).unwrap_err().kind(), ErrorKind::OutOfRange);
        map[..].fill(1);
        let id = map.commit().unwrap();
        map.rollback().unwrap();
        map.checkpoint().unwrap();
        map.resize(5000).unwrap();
        map[4999] = 1;
        assert!(map.commit().unwrap() > id);
        map.resize(0).unwrap();
        map.rollback().unwrap();
        assert_eq!(map[4999], 1);
        map.resize(0).unwrap();
        map.commit().unwrap();
        map.close().unwrap();
        assert_eq!(path.metadata().unwrap().len(), 0);
    }
}

#[test]
fn a_view_of_a_sparse_terabyte_opens_fast_and_stays_sparse() {
    const LEN: usize = 1 << 40;
    let folder = folder();
    let path = folder.path().join("state.bin");
    fs::File::create(&path).unwrap().set_len(LEN as u64).unwrap();
    let started = Instant::now();
    let mut map = open(Verb::View, options(), &path).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2), "opening took {:?}", started.elapsed());
    let at = LEN / 2 + 123;
    map.write_at(at, b"hello").unwrap();
    map.write_at(LEN - 3, b"end").unwrap();
    map.commit().unwrap();
    assert_eq!((&map[at..at + 5], &map[LEN - 3..], map[1 << 30]), (&b"hello"[..], &b"end"[..], 0));
    map.close().unwrap();
    assert!(started.elapsed() < Duration::from_secs(4), "all of it took {:?}", started.elapsed());
    let meta = path.metadata().unwrap();
    assert_eq!(meta.len(), LEN as u64);
    assert!(meta.blocks() * 512 <= 64 << 10, "{} blocks", meta.blocks());

    // Cut and grown again in one commit: all of it reads as zeros, and takes no more space than before.
    let mut map = open(Verb::View, options(), &path).unwrap();
    assert_eq!(&map[at..at + 5], b"hello");
    map.resize(1).unwrap();
    map.resize(LEN).unwrap();
    map.commit().unwrap();
    map.close().unwrap();
    let meta = path.metadata().unwrap();
    assert_eq!(meta.len(), LEN as u64);
    assert!(meta.blocks() * 512 <= 64 << 10, "{} blocks", meta.blocks());
    let file = fs::File::open(&path).unwrap();
    let mut bytes = [1; 5];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, at as u64).unwrap();
    assert_eq!(bytes, [0; 5]);
}

#[test]
#[allow(unsafe_code)]
fn descriptors_open_what_their_path_would() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    fs::write(&path, b"plain bytes").unwrap();
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut map = options().load_fd(&file).unwrap();
    assert_eq!(map.path(), path.canonicalize().unwrap());
    map[0] = b'P';
    map.commit().unwrap();
    map.close().unwrap();
    // SAFETY: nothing else writes the file.
    let mut map = unsafe { options().view_fd(&file) }.unwrap();
    map.write_at(6, b"B").unwrap();
    map.commit().unwrap();
    map.close().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"Plain Bytes");
    fs::remove_file(&path).unwrap();
    let error = options().load_fd(&file).unwrap_err();
    assert_says(&error, ErrorKind::NotFound, Path::new("state.bin"), &["a name"]);
    // Another file that took the name is not meant.
    fs::write(&path, b"other").unwrap();
    // SAFETY: as above.
    let error = unsafe { options().view_fd(&file) }.unwrap_err();
    assert_says(&error, ErrorKind::NotFound, Path::new("state.bin"), &["a name"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn commit_numbers_grow_and_begin_anew_after_close() {
    for verb in VERBS {
        let (_folder, path, mut map) = mapped(verb, 10_000);
        let mut last = map.status().last;
        for round in 1..40u8 {
            map[0] = round;
            let id = map.commit().unwrap();
            assert!(id > last);
            assert_eq!(map.commit().unwrap(), id, "nothing changed since");
            map[0] = round;
            assert_eq!(map.commit().unwrap(), id, "the same byte once more is no change");
            last = id;
            if round % 9 == 0 {
                map.checkpoint().unwrap();
                assert_eq!(map.status().checkpointed, id);
            }
        }
        map.close().unwrap();
        let mut map = open(verb, options(), &path).unwrap();
        assert_eq!(map.status().last, CommitId::new(0));
        map[0] = 99;
        assert_eq!(map.commit().unwrap(), CommitId::new(1));
    }
    // But not after a crash: the journal lives on.
    let folder = folder();
    let path = folder.path().join("state.bin");
    stage::crash(&path, "1 2 3");
    let mut map = options().load(&path).unwrap();
    map[0] = 99;
    assert_eq!(map.commit().unwrap(), CommitId::new(4));
}

#[test]
fn a_commit_larger_than_the_journal_gets_a_larger_journal() {
    for verb in VERBS {
        let (_folder, path, mut map) = mapped(verb, 3 << 20);
        let small = map.status().journal_bytes;
        map.write_at(0, b"before").unwrap();
        map.commit().unwrap();
        let mut want = map.to_vec();
        map.edit(100..2 << 20).unwrap().fill(7);
        want[100..2 << 20].fill(7);
        let id = map.commit().unwrap();
        assert!(map.status().journal_bytes > small && map.status().durable == id);
        map[5] = 1;
        want[5] = 1;
        map.commit().unwrap();
        same(&map, &want, "in memory");
        map.close().unwrap();
        same(&fs::read(&path).unwrap(), &want, "the plain file");
    }
}
