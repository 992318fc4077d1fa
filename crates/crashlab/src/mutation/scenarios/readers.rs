//! Readers: beside a writer that does its work at the worst moment, of what a failed flush left, and of what no writer wrote.

use std::sync::{Arc, Mutex, PoisonError};

use steadfast::disk::{Disk, FileKind, SimDisk};
use steadfast::store::{Batch, Extent, Flush, JournaledFile, Resolution, Store, recover_on};
use steadfast::{AtomicMapping, Error, ErrorKind};

use super::journal_bytes::{JournalBytes, Record, record_at};
use super::rig::{FILE, Found, JOURNAL, LEN, initial, killed, on, open, options, recovers, refused, same};
use super::watched::Watched;

pub(super) fn all() -> Found {
    beside_writers()?;
    after_failures()?;
    what_is_cut_off()?;
    what_is_no_journal()
}

fn read(disk: Arc<dyn Disk>) -> Result<AtomicMapping, Error> {
    AtomicMapping::options().read_only(true).load_on(disk, FILE)
}

/// Longer than what a reader reads at once.
const LONG: usize = 150_000;

/// State `number`: each commit so far has left a word near either end.
fn state(number: u64) -> Vec<u8> {
    let mut bytes = vec![5; LONG];
    for commit in 1..=number {
        for at in places(commit) {
            bytes[at..at + 8].copy_from_slice(&commit.to_le_bytes());
        }
    }
    bytes
}

fn places(commit: u64) -> [usize; 2] {
    let at = 5000 * commit as usize;
    [at, LONG - at]
}

fn commit_both(store: &mut JournaledFile, commit: u64) -> Result<(), Error> {
    let extents = places(commit).map(|at| Extent { offset: at as u64, len: 8 });
    let len = LONG as u64;
    let bytes = commit.to_le_bytes().repeat(2);
    store.commit(&Batch { len_min: len, len, extents: &extents, bytes: &bytes }, Flush::Now).map(drop)
}

type Writer = Option<JournaledFile>;

/// What a writer has done when a reader comes, and what it does while the reader is at work.
struct Scene {
    name: &'static str,
    marks: bool,
    before: fn(&SimDisk) -> Result<Writer, Error>,
    meanwhile: fn(&SimDisk, &mut Writer) -> Result<(), Error>,
}

/// As far as the first place of the oldest commit that is not checkpointed: what was read, the length, and one run.
const STEPS: u32 = 3;

fn writer(disk: &SimDisk, steps: u32) -> Result<Writer, Error> {
    options(steps).open_on(on(disk), FILE).map(Some)
}

fn begun(disk: &SimDisk, steps: u32) -> Result<Writer, Error> {
    let mut store = options(steps).open_on(on(disk), FILE)?;
    commit_both(&mut store, 1)?;
    Ok(Some(store))
}

fn with(
    writer: &mut Writer,
    work: impl FnOnce(&mut JournaledFile) -> Result<(), Error>,
) -> Result<(), Error> {
    writer.as_mut().map_or(Ok(()), work)
}

const SCENES: &[Scene] = &[
    Scene {
        name: "commits",
        marks: true,
        before: |disk| begun(disk, 0),
        meanwhile: |_, writer| with(writer, |store| (2..5).try_for_each(|commit| commit_both(store, commit))),
    },
    Scene {
        // With marks, the mark says it as well.
        name: "a checkpoint that comes to its end",
        marks: false,
        before: |disk| begun(disk, 0),
        meanwhile: |_, writer| {
            with(writer, |store| {
                commit_both(store, 2)?;
                store.checkpoint()?;
                commit_both(store, 3)
            })
        },
    },
    Scene {
        name: "a checkpoint under way",
        marks: true,
        before: |disk| begun(disk, STEPS),
        meanwhile: |_, writer| {
            with(writer, |store| {
                commit_both(store, 2)?;
                store.start_checkpoint()
            })
        },
    },
    Scene {
        name: "a whole session",
        marks: true,
        before: |_| Ok(None),
        meanwhile: |disk, slot| {
            *slot = begun(disk, 0)?;
            with(slot, Store::close)
        },
    },
    Scene {
        name: "the beginning of a session",
        marks: false,
        before: |_| Ok(None),
        meanwhile: |disk, slot| {
            *slot = begun(disk, STEPS)?;
            with(slot, Store::start_checkpoint)
        },
    },
    Scene {
        name: "the end of a session",
        marks: true,
        before: |disk| begun(disk, 0),
        meanwhile: |_, writer| with(writer, Store::close),
    },
    Scene {
        name: "another journal in place of one that failed",
        marks: false,
        before: |disk| begun(disk, STEPS),
        meanwhile: |disk, writer| {
            with(writer, |store| {
                disk.fail_sync(1);
                commit_both(store, 2)?;
                commit_both(store, 3)?;
                store.start_checkpoint()
            })
        },
    },
    Scene {
        name: "the mark of a journal that took its place just before",
        marks: true,
        before: |disk| {
            // As an open leaves it between the two.
            let other = disk.killed();
            let _writer = writer(&other, 0)?;
            disk.put_file(JOURNAL, &other.read_file(JOURNAL).unwrap_or_default());
            Ok(None)
        },
        meanwhile: |disk, _| {
            let failed = |error| Error::from_io("prepare", error);
            // The same journal's next moments: its mark, and a commit.
            let mut journal = JournalBytes(disk.read_file(JOURNAL).unwrap_or_default());
            let record = Record {
                id: 1,
                predecessor: journal.u64(72),
                durable_through: 0,
                len: LONG as u64,
                extents: places(1).map(|at| (at as u64, 8)).to_vec(),
                payload: 1_u64.to_le_bytes().repeat(2),
            };
            journal.put_record(record_at(0), &record);
            disk.put_mark(FILE, Some(&mark_for(&journal))).map_err(failed)?;
            disk.put_file(JOURNAL, &journal.0);
            Ok(())
        },
    },
];

/// The mark that belongs to a journal of which nothing is checkpointed.
fn mark_for(journal: &JournalBytes) -> Vec<u8> {
    let mut mark = vec![0; 48];
    mark[0] = 1;
    mark[16..32].copy_from_slice(&journal.0[16..32]);
    mark[32..40].copy_from_slice(&journal.u64(32).to_le_bytes());
    mark
}

/// The writer's hand comes before each call of the reader in turn: one whole state is seen, and never an error.
fn beside_writers() -> Found {
    for scene in SCENES {
        for call in 1.. {
            let disk = if scene.marks { SimDisk::new() } else { SimDisk::new().without_marks() };
            disk.put_file(FILE, &state(0));
            let what = format!("{} before call {call} of a reader", scene.name);
            let failed = |error: Error| format!("{what}: {error}");
            let store = Arc::new(Mutex::new((scene.before)(&disk).map_err(failed)?));
            let told = Arc::new(Mutex::new(Ok(())));
            let (meanwhile, writer, telling) = (scene.meanwhile, Arc::clone(&store), Arc::clone(&told));
            let watched = Watched::before_call(&disk, call, move |disk| {
                let did = meanwhile(disk, &mut writer.lock().unwrap_or_else(PoisonError::into_inner));
                *telling.lock().unwrap_or_else(PoisonError::into_inner) = did;
            });
            let shown = read(Arc::clone(&watched) as Arc<dyn Disk>).map_err(failed)?;
            std::mem::replace(&mut *told.lock().unwrap_or_else(PoisonError::into_inner), Ok(()))
                .map_err(failed)?;
            if !(0..8).any(|number| shown[..] == state(number)) {
                let last = shown.status().last;
                same(&shown, &state(last.get()), &format!("{what}, shown as commit {last}"))?;
            }
            if watched.never_came() {
                break;
            }
        }
    }
    Ok(())
}

/// A session in which a sync fails, stopped somewhere: what a reader is then shown no power cut takes away.
fn after_failures() -> Found {
    for marks in [true, false] {
        for failing in 1..9 {
            for stop in 1.. {
                let disk = if marks { SimDisk::new() } else { SimDisk::new().without_marks() };
                disk.put_file(FILE, &state(0));
                disk.fail_sync(failing);
                disk.stop_at(stop);
                if let Ok(Some(mut store)) = writer(&disk, 0) {
                    let _ = (1..4).try_for_each(|commit| commit_both(&mut store, commit));
                }
                let image = disk.killed();
                let what = format!("sync {failing} failed, stopped at {stop}");
                let shown = read(on(&image)).map_err(|error| format!("{what}: {error}"))?;
                for survivors in image.power_cuts(stop, 4, 6) {
                    let cut = image.power_cut(&survivors);
                    recover_on(on(&cut), FILE, Resolution::Replay)
                        .map_err(|error| format!("{what}: {error}"))?;
                    let found = cut.read_file(FILE).unwrap_or_default();
                    same(&found, &shown, &format!("{what}, shown, and then power cut {survivors}"))?;
                }
                if !disk.is_stopped() {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// What a commit cut off does not come back, nor does what lies behind the end of the last checkpoint.
fn what_is_cut_off() -> Found {
    let disk = super::rig::disk();
    let mut store = open(&disk, 0)?;
    let grown = [&initial()[..1000], &[0; 4000]].concat();
    let batch = Batch { len_min: 1000, len: 5000, extents: &[], bytes: &[] };
    store.commit(&batch, Flush::Now).map_err(|error| error.to_string())?;
    let shown = read(on(&disk)).map_err(|error| error.to_string())?;
    same(&shown, &grown, "a cut and growth")?;

    // A record that speaks of a smallest length which the data never had.
    let (disk, _) = killed(SimDisk::new(), 0)?;
    let mut journal = JournalBytes::of(&disk)?;
    let record = Record {
        id: 1,
        predecessor: journal.u64(72),
        durable_through: 0,
        len: LEN as u64 + 300,
        extents: vec![(0, 1)],
        payload: vec![0],
    };
    journal.put_record(record_at(0), &record);
    let image = journal.put_on(&disk);
    image.put_file(FILE, &[&initial()[..], &[7; 100]].concat());
    let want = [&initial()[..], &[0; 300]].concat();
    let shown = read(on(&image)).map_err(|error| error.to_string())?;
    same(&shown, &want, "bytes that somebody appended")?;
    recovers(&image, &want, "bytes that somebody appended, and a reader").map(drop)
}

fn what_is_no_journal() -> Found {
    let (disk, states) = killed(SimDisk::new(), 1)?;
    let shown = read(on(&disk)).map_err(|error| error.to_string())?;
    same(&shown, &states[1], "killed")?;
    let words = "is not a journal of this file";
    let fifo = Watched::saying(&disk, |path, stat| {
        if path == std::path::Path::new(JOURNAL) {
            stat.kind = FileKind::Fifo;
        }
    });
    refused(read(fifo), ErrorKind::Identity, words, "a FIFO with the journal's name")?;
    let elsewhere = Watched::saying(&disk, |path, stat| {
        if path == std::path::Path::new(JOURNAL) {
            stat.device = 9;
        }
    });
    refused(read(elsewhere), ErrorKind::Identity, words, "a journal of another device")
}
