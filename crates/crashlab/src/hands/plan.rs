//! What happens in a round: drawn from the seed, so that both processes know it.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::Part;
use crate::workload::{PAGE, draws};

/// Files are never longer than this.
pub(super) const PAGES_MAX: usize = 64;

/// What the other hand does to the files of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Makes them so many bytes long: shorter, or longer again.
    SetLen(u64),
    /// Makes a hole of these bytes.
    Punch(u64, u64),
    /// Puts another file in their place.
    Replace,
    /// Removes their names.
    Remove,
    /// Reads of these pages fail: of all if the number is 0, of about one in so many otherwise. What is cached is dropped.
    FailReads(u64),
    /// Writes fail.
    FailWrites,
    /// Both go well again.
    Heal,
    /// What is cached is dropped.
    Forget,
    /// The server of the mount is gone.
    Gone,
    /// Another file takes all space that is left.
    Fill,
    /// And gives it back.
    Free,
}

impl Action {
    /// Can it be the reason that the byte at `at` is zero?
    pub(super) fn takes(self, at: u64) -> bool {
        match self {
            Action::SetLen(len) => at >= len,
            Action::Punch(from, to) => (from..to).contains(&at),
            _ => false,
        }
    }

    /// Can bytes that were stored be lost on their way to the device, so that older ones are found?
    pub(super) fn loses_stores(self) -> bool {
        matches!(self, Action::FailWrites | Action::Gone)
    }

    /// Is another file at the path after it, or none?
    pub(super) fn takes_name(self) -> bool {
        matches!(self, Action::Replace | Action::Remove)
    }
}

/// On what the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// One `Mapping` and four threads.
    Mapping,
    /// Several `AtomicMapping`s, a writer and a reader for each.
    Atomic,
}

/// Where the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// On the file system of the rig's folder.
    Disk,
    /// In memory.
    Memory,
    /// On a file system of the rig's own, served by itself.
    Served,
    /// On a small file system of this type.
    Small,
    /// Under a limit on file sizes.
    Limited,
}

/// A round.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) on: On,
    pub(super) pages: usize,
    /// Each at this much progress.
    pub(super) actions: Vec<(u64, Action)>,
    /// So many things are done by each thread.
    pub(super) ops: u64,
    /// The file is a hole at first.
    pub(super) sparse: bool,
    /// For whatever else is drawn.
    pub(super) seed: u64,
}

impl Plan {
    pub(super) fn draw(part: Part, seed: u64, round: u64) -> Plan {
        let mut seeds = draws(seed ^ ((part as u64) << 56));
        let mut random = draws(seeds.random::<u64>() ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let on = if random.random_ratio(1, 2) { On::Mapping } else { On::Atomic };
        let pages = random.random_range(1..=PAGES_MAX / 2);
        let ops = random.random_range(20..=60);
        let all = match on {
            On::Mapping => 4 * ops,
            On::Atomic => 3 * ops,
        };
        let mut at: Vec<u64> = (0..random.random_range(1..=5)).map(|_| random.random_range(0..all)).collect();
        at.sort_unstable();
        let mut gone = false;
        let mut actions: Vec<(u64, Action)> = Vec::new();
        for at in at {
            let action = match part {
                Part::Truncate => taken(&mut random, pages),
                Part::Eio => failed(&mut random),
                Part::Full if actions.last().is_some_and(|last| last.1 == Action::Fill) => Action::Free,
                Part::Full => Action::Fill,
            };
            if !gone {
                actions.push((at, action));
            }
            gone |= action == Action::Gone;
            // Truncated and at once made longer again: no fault tells of it.
            if let (Action::SetLen(_), true) = (action, random.random_ratio(1, 3)) {
                actions.push((at, Action::SetLen((pages * PAGE) as u64)));
            }
        }
        Plan { on, pages, actions, ops, sparse: part == Part::Full, seed: random.random() }
    }

    /// May a byte be zero because of the actions of these numbers?
    pub(super) fn takes(&self, at: u64, actions: std::ops::Range<u64>) -> bool {
        let actions = actions.start as usize..(actions.end as usize).min(self.actions.len());
        self.actions.get(actions).is_some_and(|actions| actions.iter().any(|(_, action)| action.takes(at)))
    }

    pub(super) fn has(&self, what: impl Fn(Action) -> bool) -> bool {
        self.actions.iter().any(|&(_, action)| what(action))
    }
}

/// What is taken away.
fn taken(random: &mut impl Rng, pages: usize) -> Action {
    let len = (pages * PAGE) as u64;
    // Between words: each is taken or not.
    match random.random_range(0..20) {
        0..3 => Action::SetLen(0),
        3..7 => Action::SetLen(random.random_range(0..=pages) as u64 * PAGE as u64),
        7..12 => Action::SetLen(random.random_range(0..=len / 8) * 8),
        12..14 => Action::SetLen(random.random_range(len / 8..=(PAGES_MAX * PAGE) as u64 / 8) * 8),
        14..18 => {
            let (a, b) = (random.random_range(0..len / 8), random.random_range(0..len / 8));
            Action::Punch(a.min(b) * 8, (a.max(b) + 1) * 8)
        }
        18 => Action::Replace,
        _ => Action::Remove,
    }
}

fn failed(random: &mut impl Rng) -> Action {
    let few = [0, 0, 2, 5].choose(random).copied().unwrap_or(0);
    match random.random_range(0..24) {
        0..10 => Action::FailReads(few),
        10..14 => Action::FailWrites,
        14..19 => Action::Heal,
        19..22 => Action::Forget,
        _ => Action::Gone,
    }
}
