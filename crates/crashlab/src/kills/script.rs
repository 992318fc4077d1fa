//! What a process that will be killed does with one file: drawn from a seed, so that who kills it knows every state.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use steadfast::{AtomicMapping, AtomicOptions, Error, Tracker};

use crate::workload::{PAGE, draws};

/// One file's commits, without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    /// Which of the files of this seed.
    pub(crate) map: usize,
    /// The file never becomes longer than this.
    pub(crate) pages_max: usize,
}

/// How bytes are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Through the slice: the library has to find it.
    Store,
    /// `edit`.
    Edit,
    /// `write_at`.
    Write,
    /// `edit`, and the same byte everywhere.
    Fill,
}

/// One thing that is done between two commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// To this length.
    Resize(usize),
    /// Bytes change.
    Put { how: How, at: usize, len: usize },
}

/// How a commit is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `commit`.
    Now,
    /// `commit_relaxed`: the next one that is acknowledged acknowledges it.
    Relaxed,
    /// `commit_async`: another thread waits for the ticket.
    Ticket,
}

/// Everything from one commit to the next.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Done first, and rolled back.
    pub(crate) undone: Option<Op>,
    pub(crate) ops: Vec<Op>,
    pub(crate) way: Way,
    /// `checkpoint` after it.
    pub(crate) checkpoint: bool,
}

impl Script {
    /// Random numbers for one purpose: the same, whichever others were drawn before.
    fn draws(&self, purpose: u64) -> impl Rng + use<> {
        let mut seeds = draws(self.seed ^ ((self.map as u64) << 48));
        draws(seeds.random::<u64>() ^ purpose)
    }

    /// The file's name within the run's folder.
    pub(crate) fn name(&self) -> String {
        format!("state-{}", self.map)
    }

    /// What the file holds at first.
    pub(crate) fn initial(&self) -> Vec<u8> {
        let len = self.draws(u64::MAX).random_range(1..=self.pages_max * PAGE / 2);
        let mut bytes = vec![0; len];
        put(&mut bytes, How::Write, 0, 0);
        bytes
    }

    /// How the file is opened. Journals are small, so that checkpoints are under way all the time.
    pub(crate) fn options(&self) -> AtomicOptions {
        let mut random = self.draws(u64::MAX - 1);
        let trackers = [Tracker::Automatic, Tracker::Automatic, Tracker::PrivateCopies, Tracker::Declared];
        AtomicMapping::options()
            .tracker(trackers.choose(&mut random).copied().unwrap_or_default())
            .publish(random.random_ratio(1, 5))
            .journal_bytes(random.random_range(8..=24) * PAGE as u64)
    }

    /// The last file of the four is a view, the others are loaded.
    pub(crate) fn is_view(&self) -> bool {
        self.map % 4 == 3
    }

    /// What leads to state `n` of a file that is `len` bytes long in the state before it.
    pub(crate) fn change(&self, n: usize, len: usize) -> Change {
        let mut random = self.draws(n as u64);
        let bytes_max = self.pages_max * PAGE;
        let mut now = len;
        let op = |random: &mut dyn Rng, now: &mut usize| {
            if random.random_ratio(1, 12) {
                *now = match random.random_range(0..3) {
                    0 => random.random_range(1..=bytes_max),
                    1 => random.random_range(1..=bytes_max / PAGE) * PAGE,
                    _ => (*now + random.random_range(0..6000)).saturating_sub(3000).clamp(1, bytes_max),
                };
                return Op::Resize(*now);
            }
            let how = [How::Store, How::Store, How::Edit, How::Write, How::Fill].choose(random);
            let most = [8, 64, 600, 3 * PAGE].choose(random).copied().unwrap_or(8);
            let at = random.random_range(0..*now);
            let len = random.random_range(1..=most).min(*now - at);
            Op::Put { how: how.copied().unwrap_or(How::Edit), at, len }
        };
        let undone = random.random_ratio(1, 15).then(|| op(&mut random, &mut len.clone()));
        let ops = (0..random.random_range(1..=5)).map(|_| op(&mut random, &mut now)).collect();
        let way = match random.random_range(0..6) {
            0..=2 => Way::Now,
            3 => Way::Relaxed,
            _ => Way::Ticket,
        };
        Change { undone, ops, way, checkpoint: random.random_ratio(1, 25) }
    }

    /// The state `n`, from the one before it.
    pub(crate) fn advance(&self, state: &mut Vec<u8>, n: usize) {
        for op in self.change(n, state.len()).ops {
            match op {
                Op::Resize(len) => state.resize(len, 0),
                Op::Put { how, at, len } => put(&mut state[at..at + len], how, at, n),
            }
        }
    }
}

/// Does to a map what [`Script::advance`] does to a vector.
pub(crate) fn perform(map: &mut AtomicMapping, op: Op, n: usize) -> Result<(), Error> {
    match op {
        Op::Resize(len) => map.resize(len)?,
        Op::Put { how: How::Store, at, len } => put(&mut map[at..at + len], How::Store, at, n),
        Op::Put { how: How::Write, at, len } => map.write_at(at, &bytes_of(How::Write, at, len, n))?,
        Op::Put { how, at, len } => put(map.edit(at..at + len)?, how, at, n),
    }
    Ok(())
}

/// The bytes that commit `n` puts at an offset.
pub(crate) fn bytes_of(how: How, at: usize, len: usize, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    put(&mut bytes, how, at, n);
    bytes
}

/// No zeros: a lost store shows against a hole. No byte like its neighbour: a misplaced one shows against its place.
fn put(bytes: &mut [u8], how: How, at: usize, n: usize) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        let place = if how == How::Fill { 0 } else { (at + index) * 7 };
        *byte = 1 + ((n * 97 + place) % 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_what_the_script_says() {
        let folder = tempfile::tempdir().unwrap();
        let script = Script { seed: 3, map: 0, pages_max: 8 };
        let path = folder.path().join("a");
        let mut state = script.initial();
        std::fs::write(&path, &state).unwrap();
        let mut map = script.options().allow_volatile(true).load(&path).unwrap();
        for n in 1..=60 {
            let change = script.change(n, map.len());
            assert!(!change.ops.is_empty());
            for op in change.ops {
                perform(&mut map, op, n).unwrap();
            }
            script.advance(&mut state, n);
            assert!(map[..] == state[..], "state {n}");
            map.commit_relaxed().unwrap();
        }
    }
}
