//! Pairs made by short sessions that use everything a journal can hold.

use std::sync::{Arc, OnceLock};

use steadfast::disk::SimDisk;
use steadfast::{AtomicMapping, Error};

use super::{DATA, Pair};
use crate::history::Content;

/// What a session does. Each stores other bytes.
#[derive(Debug, Clone, Copy)]
enum Do {
    /// So many bytes at each of these places, in one commit that is durable.
    Commit(&'static [usize], usize),
    /// The same, relaxed.
    Relaxed(&'static [usize], usize),
    /// Cuts to the first length, grows to the second, and commits.
    Lengths(usize, usize),
    /// A checkpoint of everything.
    Checkpoint,
    /// The program ends, and the next one goes on.
    Again,
}

use Do::{Again, Checkpoint, Commit, Lengths, Relaxed};

/// A pair with a name, and the states that its session went through.
#[derive(Debug, Clone)]
pub struct Base {
    /// What it shows.
    pub name: &'static str,
    /// As the session ended.
    pub pair: Pair,
    /// As it stood after each step before that, the journal alone: what a backup may bring back.
    pub earlier: Vec<Vec<u8>>,
    /// Every state.
    pub history: Vec<Content>,
}

/// 8 pages, so that a half takes four blocks: it wraps after a few commits.
const JOURNAL_BYTES: u64 = 8 * 4096;

type Session = (&'static str, bool, u32, &'static [Do]);

const SESSIONS: &[Session] = &[
    ("fresh", true, 0, &[]),
    ("three commits", true, 0, &[Commit(&[10], 20), Commit(&[5000, 40, 9000], 7), Commit(&[0], 1)]),
    (
        "after a checkpoint",
        true,
        0,
        &[Commit(&[10], 20), Checkpoint, Commit(&[5000, 40], 7), Commit(&[30, 33], 9), Commit(&[2], 1)],
    ),
    (
        "wrapped",
        true,
        100,
        &[
            Commit(&[1], 5),
            Commit(&[100], 5),
            Commit(&[200, 202], 5),
            Commit(&[300], 5),
            Commit(&[400], 5),
            Commit(&[500], 5),
            Commit(&[600], 5),
            Commit(&[700], 5),
            Commit(&[800], 5),
            Commit(&[900], 5),
            Commit(&[950], 5),
        ],
    ),
    (
        "both halves",
        true,
        0,
        &[
            Checkpoint,
            Commit(&[1], 5),
            Commit(&[100], 4000),
            Commit(&[300], 5),
            Commit(&[400], 5),
            Commit(&[500], 4500),
        ],
    ),
    (
        "lengths",
        true,
        0,
        &[
            Lengths(9000, 20_000),
            Commit(&[15_000, 9000], 300),
            Lengths(3000, 3000),
            Lengths(2000, 8192),
            Commit(&[8000], 100),
            Lengths(8192, 12_288),
        ],
    ),
    (
        "relaxed",
        true,
        0,
        &[
            Commit(&[10], 20),
            Relaxed(&[20], 20),
            Relaxed(&[30], 5000),
            Commit(&[1], 1),
            Relaxed(&[7], 3),
            Relaxed(&[9], 3),
        ],
    ),
    (
        "again",
        true,
        1,
        &[
            Commit(&[10], 20),
            Commit(&[8000], 200),
            Again,
            Commit(&[1, 1000], 4),
            Again,
            Commit(&[9], 9),
            Commit(&[19], 9),
        ],
    ),
    (
        "without marks",
        false,
        1,
        &[
            Commit(&[1], 5),
            Commit(&[100], 5),
            Checkpoint,
            Commit(&[200, 202], 5),
            Lengths(9000, 11_000),
            Commit(&[300], 5),
            Commit(&[500], 2000),
        ],
    ),
];

const INITIAL_BYTES: usize = 10_000;

/// The pairs of all sessions, the same each time.
pub fn bases() -> Result<&'static [Base], String> {
    static BASES: OnceLock<Result<Vec<Base>, String>> = OnceLock::new();
    let made = BASES.get_or_init(|| {
        let numbered = SESSIONS.iter().zip(1..);
        numbered
            .map(|(session, number)| {
                make(session, number).map_err(|error| format!("session {}: {error}", session.0))
            })
            .collect()
    });
    made.as_deref().map_err(Clone::clone)
}

fn make(&(name, marks, steps, script): &Session, number: u64) -> Result<Base, String> {
    let mut disk = if marks { SimDisk::new() } else { SimDisk::new().without_marks() };
    let initial: Vec<u8> = (0..INITIAL_BYTES).map(|at| (at % 251) as u8).collect();
    disk.put_file(DATA, &initial);
    let mut history = vec![Arc::new(initial)];
    let mut earlier = Vec::new();
    let mut map = open(&disk, steps).map_err(|error| error.to_string())?;
    for (count, step) in script.iter().enumerate() {
        earlier.extend(Pair::of(&disk, &history, number).map(|pair| pair.journal));
        if let Again = step {
            let next = disk.killed();
            map = open(&next, steps).map_err(|error| error.to_string())?;
            disk = next;
        } else {
            act(&mut map, *step, count as u8, &mut history).map_err(|error| error.to_string())?;
        }
    }
    // The program ends here: a map that is dropped would close the file.
    let pair = Pair::of(&disk.killed(), &history, number)?;
    Ok(Base { name, pair, earlier, history })
}

fn open(disk: &SimDisk, steps: u32) -> Result<AtomicMapping, Error> {
    AtomicMapping::options().journal_bytes(JOURNAL_BYTES).stepped(steps).load_on(Arc::new(disk.clone()), DATA)
}

fn act(map: &mut AtomicMapping, step: Do, count: u8, history: &mut Vec<Content>) -> Result<(), Error> {
    let mut fill = |map: &mut AtomicMapping, places: &[usize], bytes: usize| {
        for (index, &at) in places.iter().enumerate() {
            let byte = 1 + count * 16 + index as u8;
            map.edit(at..at + bytes)?.fill(byte);
        }
        history.push(Arc::new(map.to_vec()));
        Ok::<(), Error>(())
    };
    match step {
        Do::Commit(places, bytes) => {
            fill(map, places, bytes)?;
            map.commit()?;
        }
        Do::Relaxed(places, bytes) => {
            fill(map, places, bytes)?;
            map.commit_relaxed()?;
        }
        Do::Lengths(cut, len) => {
            map.resize(cut)?;
            map.resize(len)?;
            fill(map, &[], 0)?;
            map.commit()?;
        }
        Do::Checkpoint => map.checkpoint()?,
        Do::Again => {}
    }
    Ok(())
}
