//! With `scrub(true)` nothing that was committed over is found in any block of any journal, once the call that scrubs has returned:
//! on a real file system, through a descriptor that was opened before, and on the simulated disk, where what is durable can be seen.
//!
//! Every case is played without the option too, and must then find what it looks for.

mod stage;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stage::{VERBS, Verb, copy_all, fresh_of, journal_of};
use steadfast::disk::{Access, Disk, DiskFile, RealDisk, SimDisk, Survivors, SyncPoint};
use steadfast::store::{CommitId, JournaledFile, JournaledFileOptions, Resolution};
use steadfast::{AtomicMapping, AtomicOptions, ErrorKind};

const PAGE: usize = 4096;
const LEN: usize = 4 * PAGE;
const SECRET: &[u8; 20] = b"the fox knows a hole";
const EIO: i32 = 5;

fn contains(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|part| part == SECRET)
}

/// A disk with a file on it, and journals that stay open whatever becomes of their names.
struct Stage {
    disk: Arc<dyn Disk>,
    sim: Option<SimDisk>,
    path: PathBuf,
    verb: Verb,
    scrub: bool,
    held: Vec<Box<dyn DiskFile>>,
    _folder: Option<tempfile::TempDir>,
}

impl Stage {
    fn real(verb: Verb, scrub: bool) -> Stage {
        let folder = stage::folder();
        let path = folder.path().canonicalize().unwrap().join("data");
        std::fs::write(&path, [1; LEN]).unwrap();
        let (disk, folder) = (Arc::new(RealDisk), Some(folder));
        Stage { disk, sim: None, path, verb, scrub, held: Vec::new(), _folder: folder }
    }

    fn simulated(scrub: bool) -> Stage {
        let sim = SimDisk::new();
        sim.keep_freed_blocks();
        sim.put_file("/data", &[1; LEN]);
        let (disk, path) = (Arc::new(sim.clone()), PathBuf::from("/data"));
        Stage { disk, sim: Some(sim), path, verb: Verb::Load, scrub, held: Vec::new(), _folder: None }
    }

    fn options(&self) -> AtomicOptions {
        AtomicMapping::options().journal_bytes(8 * PAGE as u64).scrub(self.scrub)
    }

    fn store_options(&self) -> JournaledFileOptions {
        JournaledFile::options().journal_bytes(8 * PAGE as u64).scrub(self.scrub)
    }

    fn open(&mut self) -> AtomicMapping {
        let map = match self.sim {
            Some(_) => self.options().load_on(Arc::clone(&self.disk), &self.path).unwrap(),
            None => stage::open(self.verb, self.options(), &self.path).unwrap(),
        };
        self.hold(&journal_of(&self.path));
        map
    }

    fn hold(&mut self, path: &Path) {
        self.held.push(self.disk.open(path, Access::Read).unwrap());
    }

    /// Is it in any journal that was ever open, or anywhere on the medium but in the data file?
    fn finds(&self) -> bool {
        let durable = self.sim.as_ref().is_some_and(|sim| {
            let cut = sim.power_cut(&Survivors::none());
            cut.find_on_medium(SECRET).iter().any(|place| place != "/data")
        });
        durable || self.finds_in_held()
    }

    fn finds_in_held(&self) -> bool {
        self.held.iter().any(|file| {
            let mut bytes = vec![0; file.stat().unwrap().len as usize];
            assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
            contains(&bytes)
        })
    }
}

/// A secret is committed and committed over.
fn keep(map: &mut AtomicMapping) {
    map.write_at(10, SECRET).unwrap();
    map.commit().unwrap();
    map.edit(0..100).unwrap().fill(2);
    map.commit().unwrap();
}

/// Played with and without the option, on a real file by either verb, and on the simulated disk. What the case returns stays open
/// while it is looked for the secret.
#[track_caller]
fn only_without(case: fn(&mut Stage) -> Option<AtomicMapping>) {
    let played = |mut stage: Stage, what: &str| {
        let scrub = stage.scrub;
        let _open = case(&mut stage);
        assert_eq!(stage.finds(), !scrub, "{what}, scrub: {scrub}");
    };
    for scrub in [false, true] {
        for verb in VERBS {
            played(Stage::real(verb, scrub), &format!("{verb:?}"));
        }
        played(Stage::simulated(scrub), "simulated");
    }
    // The zeros are in the page cache then: they must be durable when the call returns.
    let mut stage = Stage::simulated(true);
    stage.sim.as_ref().unwrap().ignore_sync(SyncPoint::Scrub);
    let _open = case(&mut stage);
    assert!(stage.finds(), "without the sync of the zeros nothing is missed");
}

#[test]
fn a_rollback_leaves_nothing_that_was_committed_over() {
    only_without(|stage| {
        let mut map = stage.open();
        keep(&mut map);
        map.edit(0..3).unwrap().fill(9);
        map.rollback().unwrap();
        assert_eq!(&map[..101], [[2; 100].as_slice(), &[1]].concat());
        // What is looked at is the journal, not what closing it would do.
        assert!(stage.disk.stat(&journal_of(&stage.path)).is_ok());
        let found = stage.finds();
        map.edit(5..6).unwrap().fill(3);
        map.commit().unwrap();
        assert_eq!(found, stage.finds());
        Some(map)
    });
}

#[test]
fn a_commit_that_cuts_leaves_nothing_of_what_it_cut_off() {
    only_without(|stage| {
        let mut map = stage.open();
        map.write_at(LEN - 50, SECRET).unwrap();
        map.commit().unwrap();
        map.resize(LEN - PAGE).unwrap();
        map.commit().unwrap();
        map.edit(LEN - PAGE - 8..LEN - PAGE).unwrap().fill(7);
        map.commit().unwrap();
        assert_eq!(map.len(), LEN - PAGE);
        Some(map)
    });
}

#[test]
fn so_does_one_that_cuts_for_a_while_relaxed_or_with_a_ticket() {
    fn cut(stage: &mut Stage, commit: fn(&mut AtomicMapping) -> CommitId) -> Option<AtomicMapping> {
        let mut map = stage.open();
        map.write_at(LEN - 50, SECRET).unwrap();
        map.commit().unwrap();
        map.resize(PAGE).unwrap();
        map.resize(LEN).unwrap();
        map[PAGE] = 8;
        let id = commit(&mut map);
        assert!(!stage.scrub || map.status().checkpointed == id, "durable and in the data file");
        assert_eq!(map[PAGE..], [[8].as_slice(), &[0; LEN - PAGE - 1]].concat());
        Some(map)
    }
    only_without(|stage| cut(stage, |map| map.commit_relaxed().unwrap()));
    only_without(|stage| cut(stage, |map| map.commit_async().unwrap().wait().unwrap()));
}

#[test]
fn a_checkpoint_by_name_leaves_nothing_that_was_committed_over() {
    only_without(|stage| {
        let mut map = stage.open();
        keep(&mut map);
        map.checkpoint().unwrap();
        Some(map)
    });
}

#[test]
fn close_and_drop_leave_nothing_that_was_committed_over() {
    only_without(|stage| {
        let mut map = stage.open();
        keep(&mut map);
        map.close().unwrap();
        assert!(stage.disk.stat(&journal_of(&stage.path)).is_err());
        None
    });
    only_without(|stage| {
        let mut map = stage.open();
        keep(&mut map);
        drop(map);
        None
    });
}

#[test]
fn a_journal_that_is_replaced_by_a_larger_one_is_left_without_it() {
    only_without(|stage| {
        let mut map = stage.open();
        keep(&mut map);
        map.resize(8 * PAGE).unwrap();
        map[..8 * PAGE].fill(3);
        map.commit().unwrap();
        Some(map)
    });
}

/// A pair that a crash left, to be opened under another name.
fn crashed(stage: &mut Stage) {
    let mut map = stage.open();
    keep(&mut map);
    stage.held.clear();
    match &stage.sim {
        Some(sim) => {
            let left = sim.killed();
            (stage.disk, stage.sim) = (Arc::new(left.clone()), Some(left));
        }
        None => {
            let copy = stage.path.with_file_name("copy");
            copy_all(&stage.path, &copy);
            copy_all(&journal_of(&stage.path), &journal_of(&copy));
            stage.path = copy;
        }
    }
    drop(map);
    stage.hold(&journal_of(&stage.path.clone()));
    assert!(stage.finds());
}

#[test]
fn a_recovery_leaves_nothing_in_the_journal_that_it_found_or_in_its_own() {
    only_without(|stage| {
        crashed(stage);
        let map = stage.open();
        assert_eq!(map.status().recovery.replayed_commits, 2);
        Some(map)
    });
    only_without(|stage| {
        crashed(stage);
        let recovery =
            stage.store_options().recover_on(Arc::clone(&stage.disk), &stage.path, Resolution::Replay);
        assert_eq!(recovery.unwrap().replayed_commits, 2);
        None
    });
}

#[test]
fn a_journal_that_is_discarded_is_overwritten() {
    only_without(|stage| {
        crashed(stage);
        let recovery =
            stage.store_options().recover_on(Arc::clone(&stage.disk), &stage.path, Resolution::Discard);
        assert!(recovery.unwrap().discarded);
        None
    });
}

#[test]
fn an_unfinished_journal_is_overwritten_before_it_is_removed() {
    only_without(|stage| {
        let fresh = fresh_of(&stage.path);
        let file = stage.disk.open(&fresh, Access::CreateNew { mode: 0o600 }).unwrap();
        file.write_at(&[&[0; 9000], SECRET], 0).unwrap();
        file.sync(SyncPoint::FreshJournal).unwrap();
        stage.disk.sync_dir(fresh.parent().unwrap(), SyncPoint::FreshJournalName).unwrap();
        stage.hold(&fresh);
        drop(stage.open());
        assert!(stage.disk.stat(&fresh).is_err());
        None
    });
}

/// What was never acknowledged stands in a journal that was given up.
#[test]
fn after_a_flush_that_failed_the_journal_that_was_given_up_is_overwritten() {
    for scrub in [false, true] {
        let mut stage = Stage::simulated(scrub);
        let sim = stage.sim.clone().unwrap();
        let mut map = stage.open();
        sim.fail_sync(1);
        map.write_at(10, SECRET).unwrap();
        map.commit().unwrap();
        // The fresh journal holds it, as the last commit.
        stage.hold(&journal_of(&stage.path.clone()));
        map.edit(0..100).unwrap().fill(2);
        map.commit().unwrap();
        map.rollback().unwrap();
        assert_eq!(stage.finds(), !scrub);
        map.close().unwrap();
        assert_eq!(stage.finds(), !scrub);
    }
}

/// And by the one who waits for a ticket, when nobody else calls.
#[test]
fn after_a_tickets_flush_that_failed_the_journal_is_overwritten_at_once() {
    for scrub in [false, true] {
        let mut stage = Stage::simulated(scrub);
        let sim = stage.sim.clone().unwrap();
        let mut map = stage.options().stepped(1).load_on(Arc::clone(&stage.disk), &stage.path).unwrap();
        stage.hold(&journal_of(&stage.path.clone()));
        map.write_at(10, SECRET).unwrap();
        let ticket = map.commit_async().unwrap();
        sim.fail_sync(1);
        ticket.wait().unwrap();
        assert_eq!(sim.find_on_medium(SECRET), ["/data.steadfast"], "it is the last commit");
        assert_eq!(stage.finds_in_held(), !scrub);
    }
}

#[test]
fn a_rollback_where_nothing_was_recorded_costs_nothing() {
    let mut stage = Stage::simulated(true);
    let sim = stage.sim.clone().unwrap();
    let mut map = stage.open();
    let before = sim.operations();
    map[5] = 5;
    map.rollback().unwrap();
    assert_eq!(sim.operations(), before);
    map[5] = 5;
    map.commit().unwrap();
    map.rollback().unwrap();
    let before = sim.operations();
    map[5] = 6;
    map.rollback().unwrap();
    assert_eq!((sim.operations(), map[5]), (before, 5));
    // And nowhere does it without the option.
    let mut stage = Stage::simulated(false);
    let sim = stage.sim.clone().unwrap();
    let mut map = stage.open();
    map[5] = 5;
    map.commit().unwrap();
    let before = sim.operations();
    map[5] = 6;
    map.rollback().unwrap();
    assert_eq!(sim.operations(), before);
}

#[test]
fn a_scrub_that_fails_says_so_loses_nothing_and_is_done_by_the_next_call() {
    type Call = fn(&mut AtomicMapping) -> steadfast::Result<()>;
    let calls: [(&str, Call); 5] = [
        ("rollback", AtomicMapping::rollback),
        ("checkpoint", AtomicMapping::checkpoint),
        ("a cut", |map| {
            map.resize(PAGE)?;
            map.commit().map(drop)
        }),
        ("a relaxed cut", |map| {
            map.resize(PAGE)?;
            map.commit_relaxed().map(drop)
        }),
        ("a larger journal", |map| {
            map.resize(8 * PAGE)?;
            map[..8 * PAGE].fill(3);
            map.commit().map(drop)
        }),
    ];
    for (what, call) in calls {
        let mut stage = Stage::simulated(true);
        let sim = stage.sim.clone().unwrap();
        let mut map = stage.open();
        keep(&mut map);
        sim.fail_syncs_of(SyncPoint::Scrub);
        let error = call(&mut map).unwrap_err();
        assert_eq!(
            (error.kind(), error.raw_os_error()),
            (ErrorKind::NotScrubbed, Some(EIO)),
            "{what}: {error}"
        );
        assert!(error.to_string().contains("counts, but") && error.to_string().contains("; "), "{error}");
        assert!(stage.finds(), "{what}");
        let expect = map.to_vec();
        // It counts: it is what a rollback returns to, and what a crash leaves.
        let left = stage.options().load_on(Arc::new(sim.power_cut(&Survivors::none())), "/data").unwrap();
        assert_eq!(left[..], expect, "{what}");
        drop(left);
        sim.clear_failures();
        map.edit(..1).unwrap().fill(99);
        map.rollback().unwrap();
        assert_eq!(map[..], expect, "{what}");
        assert!(!stage.finds(), "{what}: the next call tries again");
        map.edit(3..4).unwrap().fill(98);
        map.commit().unwrap();
        let expect = map.to_vec();
        map.close().unwrap();
        assert_eq!(sim.read_file("/data").unwrap(), expect, "{what}");
    }
}

#[test]
fn a_close_that_could_not_scrub_removes_nothing_and_may_be_called_again() {
    use steadfast::store::{Batch, Extent, Flush, Store};
    let mut stage = Stage::simulated(true);
    let sim = stage.sim.clone().unwrap();
    let mut store = stage.store_options().open_on(Arc::clone(&stage.disk), "/data").unwrap();
    stage.hold("/data.steadfast".as_ref());
    let mut put = |bytes: &[u8; 20]| {
        let extents = [Extent { offset: 0, len: 20 }];
        let batch = Batch { len_min: LEN as u64, len: LEN as u64, extents: &extents, bytes };
        store.commit(&batch, Flush::Now).unwrap();
    };
    put(SECRET);
    put(&[2; 20]);
    sim.fail_syncs_of(SyncPoint::Scrub);
    let error = store.close().unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::NotScrubbed, "close"), "{error}");
    assert!(sim.exists("/data.steadfast") && sim.mark_of("/data").is_some());
    assert!(stage.finds());
    sim.clear_failures();
    store.close().unwrap();
    assert!(!stage.finds());
    assert!(!sim.exists("/data.steadfast") && sim.mark_of("/data").is_none());
}
