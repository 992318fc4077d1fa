//! Memory that commits against the plainest model: two byte vectors, one working and one committed.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use steadfast::{AtomicMapping, Tracker};

#[derive(Debug, Clone)]
enum Step {
    Store {
        at: usize,
        byte: u8,
    },
    StoreRun {
        at: usize,
        len: usize,
        byte: u8,
    },
    Edit {
        at: usize,
        len: usize,
        byte: u8,
    },
    Write {
        at: usize,
        len: usize,
        byte: u8,
    },
    Touch {
        at: usize,
    },
    Resize {
        len: usize,
    },
    /// By a little, so that it often stays within a page.
    ResizeBy {
        by: isize,
    },
    Commit,
    CommitRelaxed,
    CommitRange {
        at: usize,
        len: usize,
    },
    Rollback,
    Checkpoint,
    Transaction {
        at: usize,
        fail: bool,
    },
    Reopen,
    Drop,
}

const LEN_MAX: usize = 70_000;

fn step() -> impl Strategy<Value = Step> {
    let at = 0..LEN_MAX;
    prop_oneof![
        4 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Step::Store { at, byte }),
        2 => (at.clone(), 1..9000usize, any::<u8>()).prop_map(|(at, len, byte)| Step::StoreRun { at, len, byte }),
        4 => (at.clone(), 0..9000usize, any::<u8>()).prop_map(|(at, len, byte)| Step::Edit { at, len, byte }),
        4 => (at.clone(), 0..3000usize, any::<u8>()).prop_map(|(at, len, byte)| Step::Write { at, len, byte }),
        1 => at.clone().prop_map(|at| Step::Touch { at }),
        3 => (-3000..3000isize).prop_map(|by| Step::ResizeBy { by }),
        3 => prop_oneof![at.clone(), Just(0), (0..17usize).prop_map(|page| page * 4096)].prop_map(|len| Step::Resize { len }),
        5 => Just(Step::Commit),
        2 => Just(Step::CommitRelaxed),
        4 => (at.clone(), 0..20_000usize).prop_map(|(at, len)| Step::CommitRange { at, len }),
        3 => Just(Step::Rollback),
        2 => Just(Step::Checkpoint),
        2 => (at, any::<bool>()).prop_map(|(at, fail)| Step::Transaction { at, fail }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Drop),
    ]
}

struct Model {
    working: Vec<u8>,
    committed: Vec<u8>,
    /// It was shorter than the last commit meanwhile.
    cut: bool,
}

impl Model {
    fn resize(&mut self, len: usize) {
        self.working.resize(len, 0);
        self.cut |= len < self.committed.len();
    }

    fn commit(&mut self) {
        self.committed.clone_from(&self.working);
        self.cut = false;
    }

    fn roll_back(&mut self) {
        self.working.clone_from(&self.committed);
        self.cut = false;
    }
}

/// How a map is opened.
#[derive(Debug, Clone, Copy)]
struct How {
    view: bool,
    scrub: bool,
    tracker: Tracker,
}

fn open(path: &PathBuf, how: How, journal_bytes: u64) -> AtomicMapping {
    let options = AtomicMapping::options().create(true).journal_bytes(journal_bytes);
    let options = options.tracker(how.tracker).scrub(how.scrub);
    if how.view { open_view(options, path) } else { options.load(path).unwrap() }
}

#[allow(unsafe_code)]
fn open_view(options: steadfast::AtomicOptions, path: &PathBuf) -> AtomicMapping {
    // SAFETY: the file lies in a folder that this test made, and nothing else writes it while the map is open.
    unsafe { options.view(path) }.unwrap()
}

const JOURNAL_BYTES: u64 = 64 << 10;

fn play(steps: Vec<Step>, how: How) -> Result<(), TestCaseError> {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("state.bin");
    let start: Vec<u8> = (0..10_000u32).map(|at| (at % 255) as u8).collect();
    fs::write(&path, &start).unwrap();
    let mut model = Model { working: start.clone(), committed: start, cut: false };
    let mut map = open(&path, how, JOURNAL_BYTES);
    let mut last = map.status().last;
    for step in steps {
        let len = model.working.len();
        match step.clone() {
            Step::Store { at, byte } if len > 0 => {
                map[at % len] = byte;
                model.working[at % len] = byte;
            }
            Step::StoreRun { at, len: count, byte } if len > 0 => {
                let range = at % len..(at % len + count).min(len);
                map[range.clone()].fill(byte);
                model.working[range].fill(byte);
            }
            Step::Edit { at, len: count, byte } => {
                let range = at..at + count;
                match map.edit(range.clone()) {
                    Ok(bytes) => {
                        bytes.fill(byte);
                        model.working[range].fill(byte);
                    }
                    Err(_) => prop_assert!(range.end > len),
                }
            }
            Step::Write { at, len: count, byte } if len > 0 => {
                let range = at % len..(at % len + count).min(len);
                map.write_at(range.start, &vec![byte; range.len()]).unwrap();
                model.working[range].fill(byte);
            }
            // A read, and a store of what is there: neither may become part of a commit's difference.
            Step::Touch { at } if len > 0 => {
                let same = map[at % len];
                map[at % len..][..1].fill(same);
            }
            Step::Resize { len } => {
                map.resize(len).unwrap();
                model.resize(len);
            }
            Step::ResizeBy { by } => {
                let len = len.saturating_add_signed(by).min(LEN_MAX);
                map.resize(len).unwrap();
                model.resize(len);
            }
            Step::Commit | Step::CommitRelaxed => {
                let changed = model.working != model.committed;
                let id = if matches!(step, Step::Commit) {
                    map.commit().unwrap()
                } else {
                    map.commit_relaxed().unwrap()
                };
                prop_assert!(id > last || !changed, "a commit that changes something has a new number");
                prop_assert!(id >= last);
                last = id;
                model.commit();
            }
            Step::CommitRange { at, len: count } => {
                let range = at.min(len)..(at + count).min(len);
                let length_waits = model.cut || model.working.len() != model.committed.len();
                last = map.commit_range(range.clone()).unwrap();
                let pages = if length_waits || range == (0..len) {
                    0..len
                } else if range.is_empty() {
                    range
                } else {
                    range.start / 4096 * 4096..range.end.next_multiple_of(4096).min(len)
                };
                if length_waits {
                    model.commit();
                } else {
                    model.committed[pages.clone()].copy_from_slice(&model.working[pages]);
                }
            }
            Step::Rollback => {
                map.rollback().unwrap();
                model.roll_back();
            }
            Step::Checkpoint => {
                map.checkpoint().unwrap();
                prop_assert_eq!(
                    &fs::read(&path).unwrap(),
                    &model.committed,
                    "the plain file is the last commit"
                );
            }
            Step::Transaction { at, fail } if len > 0 => {
                let result: Result<(), steadfast::Error> = map.transaction(|map| {
                    map[at % len] ^= 0x55;
                    if fail {
                        return Err(steadfast::Error::new(
                            steadfast::ErrorKind::InvalidInput,
                            "transaction",
                            "refused",
                        ));
                    }
                    Ok(())
                });
                prop_assert_eq!(result.is_err(), fail);
                if fail {
                    model.roll_back();
                } else {
                    model.working[at % len] ^= 0x55;
                    model.commit();
                    last = map.status().last;
                }
            }
            Step::Reopen | Step::Drop => {
                if matches!(step, Step::Reopen) {
                    map.close().unwrap()
                } else {
                    drop(map)
                }
                prop_assert_eq!(&fs::read(&path).unwrap(), &model.committed, "a plain file is left");
                prop_assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing else");
                model.roll_back();
                map = open(&path, how, JOURNAL_BYTES);
                last = map.status().last;
            }
            _ => {}
        }
        prop_assert_eq!(map.len(), model.working.len());
        if map[..] != model.working[..] {
            let at = map.iter().zip(&model.working).position(|(a, b)| a != b);
            return Err(TestCaseError::fail(format!("after {step:?}: first difference at {at:?}")));
        }
    }
    let copy = folder.path().join("copy.bin");
    map.copy_to(&copy).unwrap();
    prop_assert_eq!(&fs::read(&copy).unwrap(), &model.committed, "a copy is the last commit");
    Ok(())
}

/// `STEADFAST_CASES` asks for a longer dose.
fn cases() -> u32 {
    std::env::var("STEADFAST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

/// The same for every way of finding stores.
fn play_with_each(steps: &[Step], view: bool, scrub: bool) -> Result<(), TestCaseError> {
    for tracker in TRACKERS {
        play(steps.to_vec(), How { view, scrub, tracker })
            .map_err(|error| TestCaseError::fail(format!("{tracker}: {error}")))?;
    }
    Ok(())
}

/// `Automatic` is the best that this machine has: write protection, where the kernel allows it.
const TRACKERS: [Tracker; 3] = [Tracker::Automatic, Tracker::PrivateCopies, Tracker::Declared];

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_loaded_map_is_the_model_however_stores_are_found(steps in prop::collection::vec(step(), 1..60)) {
        play_with_each(&steps, false, false)?;
    }

    #[test]
    fn a_view_is_the_model_however_stores_are_found(steps in prop::collection::vec(step(), 1..60)) {
        play_with_each(&steps, true, false)?;
    }

    #[test]
    fn a_map_that_is_scrubbed_is_the_model_however_stores_are_found(
        steps in prop::collection::vec(step(), 1..60),
        view in any::<bool>(),
    ) {
        play_with_each(&steps, view, true)?;
    }
}

/// What only happens with many pages: searches in pieces and on two threads, copies given back, pages that a view does not keep.
#[derive(Debug, Clone)]
enum Stride {
    /// One store in each of so many pages.
    Scatter {
        pages: usize,
        seed: usize,
    },
    Declare {
        pages: usize,
        seed: usize,
    },
    Fill {
        at: usize,
        len: usize,
        byte: u8,
    },
    Commit,
    Rollback,
    Checkpoint,
}

const LARGE_LEN: usize = 80 << 20;

fn stride() -> impl Strategy<Value = Stride> {
    prop_oneof![
        4 => (1..5_000usize, any::<u16>()).prop_map(|(pages, seed)| Stride::Scatter { pages, seed: seed.into() }),
        2 => (1..5_000usize, any::<u16>()).prop_map(|(pages, seed)| Stride::Declare { pages, seed: seed.into() }),
        2 => (0..LARGE_LEN, 0..4_000_000usize, any::<u8>()).prop_map(|(at, len, byte)| Stride::Fill { at, len, byte }),
        5 => Just(Stride::Commit),
        2 => Just(Stride::Rollback),
        1 => Just(Stride::Checkpoint),
    ]
}

fn play_large(strides: &[Stride], how: How) -> Result<(), TestCaseError> {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("state.bin");
    let start: Vec<u8> =
        (0..LARGE_LEN as u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    fs::write(&path, &start).unwrap();
    let mut model = Model { working: start.clone(), committed: start, cut: false };
    let mut map = open(&path, how, 4 << 20);
    for stride in strides {
        match *stride {
            Stride::Scatter { pages, seed } | Stride::Declare { pages, seed } => {
                for index in 0..pages {
                    let at = (index + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) % (LARGE_LEN - 8);
                    let bytes = (index * seed).to_le_bytes();
                    model.working[at..at + 8].copy_from_slice(&bytes);
                    if matches!(stride, Stride::Declare { .. }) {
                        map.write_at(at, &bytes).unwrap();
                    } else {
                        map[at..at + 8].copy_from_slice(&bytes);
                    }
                }
            }
            Stride::Fill { at, len, byte } => {
                let range = at..LARGE_LEN.min(at + len);
                map[range.clone()].fill(byte);
                model.working[range].fill(byte);
            }
            Stride::Commit => {
                map.commit().unwrap();
                model.committed.clone_from(&model.working);
            }
            Stride::Rollback => {
                map.rollback().unwrap();
                model.working.clone_from(&model.committed);
            }
            Stride::Checkpoint => map.checkpoint().unwrap(),
        }
        prop_assert!(map[..] == model.working[..], "after {:?}", stride);
    }
    map.close().unwrap();
    prop_assert!(fs::read(&path).unwrap() == model.committed, "the plain file is the last commit");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases().div_ceil(32), failure_persistence: None, max_shrink_iters: 30, ..ProptestConfig::default()
    })]

    #[test]
    fn a_large_map_is_the_model_however_stores_are_found(strides in prop::collection::vec(stride(), 1..25)) {
        for view in [false, true] {
            for tracker in [Tracker::Automatic, Tracker::PrivateCopies] {
                play_large(&strides, How { view, scrub: false, tracker })
                    .map_err(|error| TestCaseError::fail(format!("{tracker}, view {view}: {error}")))?;
            }
        }
    }
}

/// Found by the properties above: growth over a part of what was cut left pages of the file behind it.
#[test]
fn cut_and_regrown_in_part_then_rolled_back_then_moved() {
    use Step::{Resize, Rollback};
    for view in [false, true] {
        let steps = vec![Resize { len: 0 }, Resize { len: 1 }, Rollback, Resize { len: 12_289 }];
        play_with_each(&steps, view, false).unwrap();
    }
}

/// Found by the properties above and by review: bytes that were cut off within a page came back, at a split of the images, at a
/// rollback, or as the reason why a store of the same byte looked like none.
#[test]
fn cuts_within_a_page_stay_cut() {
    use Step::{Commit, Edit, Reopen, Resize, Rollback, Store, Write};
    let start_at = |at: usize| (at % 255) as u8;
    let cases: [&[Step]; 7] = [
        &[Write { at: 6000, len: 100, byte: 7 }, Resize { len: 6050 }, Resize { len: 8000 }, Commit, Reopen],
        &[Write { at: 10, len: 9, byte: 7 }, Store { at: 100, byte: 8 }, Rollback],
        &[Resize { len: 1 }, Resize { len: 4096 }, Rollback],
        &[Resize { len: 5000 }, Resize { len: 8000 }, Store { at: 0, byte: 2 }, Rollback],
        &[
            Edit { at: 4, len: 9, byte: 3 },
            Resize { len: 1 },
            Commit,
            Store { at: 0, byte: 7 },
            Commit,
            Resize { len: 4096 },
            Commit,
            Rollback,
        ],
        &[
            Resize { len: 5000 },
            Commit,
            Store { at: 0, byte: 1 },
            Resize { len: 8000 },
            Commit,
            Store { at: 7999, byte: 3 },
            Rollback,
        ],
        &[
            Resize { len: 5000 },
            Commit,
            Store { at: 0, byte: 1 },
            Commit,
            Resize { len: 8000 },
            Commit,
            Store { at: 5001, byte: start_at(5001) },
            Commit,
            Reopen,
        ],
    ];
    for steps in cases {
        for view in [false, true] {
            play_with_each(steps, view, false).unwrap();
            play_with_each(steps, view, true).unwrap();
        }
    }
}
