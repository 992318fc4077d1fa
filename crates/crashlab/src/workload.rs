//! What a program does with its maps, drawn from a seed.
//!
//! The same workload can be played on a simulated disk and on a real file system; who plays it says how a map is opened
//! ([`Stage`]) and hears what happens ([`Told`](crate::history::Told)).

mod play;

use std::fmt;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use steadfast::Tracker;

pub use play::{Left, Played, Stage, play, play_on};

/// Of the workload, not of the system.
pub const PAGE: usize = 4096;

/// What a workload does most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Declared edits of a few bytes: sub-page records.
    Edits,
    /// Plain stores that the kernel has to find.
    Stores,
    /// Whole pages and runs of them.
    FullPages,
    /// Growth and shrinking, within a page and across many.
    Lengths,
    /// Tickets and relaxed commits that share flushes.
    Tickets,
    /// A journal that is full every few commits: it wraps, and commits wait for checkpoints.
    Wrap,
    /// Checkpoints by name and in the background, between commits.
    Checkpoints,
    /// Three files at once.
    SeveralMaps,
    /// Files that are created, closed and opened again.
    Sessions,
    /// Everything.
    Mixed,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 10] = [
        Profile::Edits,
        Profile::Stores,
        Profile::FullPages,
        Profile::Lengths,
        Profile::Tickets,
        Profile::Wrap,
        Profile::Checkpoints,
        Profile::SeveralMaps,
        Profile::Sessions,
        Profile::Mixed,
    ];
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How large the files are, and how much is done with them.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// A file never becomes longer than this.
    pub pages_max: usize,
    /// At most so many steps; at least a third of it.
    pub steps_max: usize,
    /// The journal's size is drawn between 8 pages and this.
    pub journal_pages_max: u64,
    /// Some maps are opened by `view`, which needs a kernel's file.
    pub views: bool,
}

/// How one file is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MapPlan {
    /// What the file holds before; `None` if the first open creates it.
    pub initial_bytes: Option<usize>,
    /// The length that the first open asks for.
    pub len: usize,
    /// By `view` and not by `load`.
    pub view: bool,
    /// Commits are shown to readers of the plain file.
    pub publish: bool,
    /// How plain stores are found.
    #[serde(serialize_with = "as_text")]
    pub tracker: Tracker,
    /// Size of the journal.
    pub journal_bytes: u64,
    /// Where nothing runs in the background: steps of a checkpoint with each commit.
    pub checkpoint_steps: u32,
}

fn as_text<S: serde::Serializer>(tracker: &Tracker, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(tracker)
}

/// One thing that is done. Places and counts are cut to the map's length when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// `edit` and fill.
    Edit {
        /// Where.
        at: usize,
        /// How many bytes.
        len: usize,
    },
    /// `write_at`.
    Write {
        /// Where.
        at: usize,
        /// How many bytes.
        len: usize,
    },
    /// Stores through the slice.
    Store {
        /// Where.
        at: usize,
        /// How many bytes.
        len: usize,
    },
    /// One byte in each of so many pages, all over the map.
    Scatter {
        /// How many pages.
        pages: usize,
    },
    /// To this length.
    Resize {
        /// The length.
        len: usize,
    },
    /// Longer or shorter by a little: often within a page.
    ResizeBy {
        /// How much.
        by: isize,
    },
    /// `commit`.
    Commit,
    /// `commit_relaxed`.
    CommitRelaxed,
    /// `commit_async`; the ticket is kept.
    CommitAsync,
    /// Waits for the tickets, the last one first if asked to.
    Wait {
        /// From the last ticket to the first.
        backwards: bool,
    },
    /// `rollback`.
    Rollback,
    /// `transaction`, which fails if asked to.
    Transaction {
        /// Where it stores a byte.
        at: usize,
        /// It returns an error.
        fail: bool,
    },
    /// `checkpoint`.
    Checkpoint,
    /// `close`, and open again.
    Reopen,
}

/// One step: what is done with which map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which map.
    pub map: usize,
    /// What.
    pub action: Action,
}

/// Maps, and what is done with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// From which it was drawn.
    pub seed: u64,
    /// What it does most.
    pub profile: Profile,
    /// The maps.
    pub maps: Vec<MapPlan>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// At the end every map is closed.
    pub close: bool,
}

/// Random numbers of a seed: the same on every machine.
pub fn draws(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

impl Workload {
    /// The workload of this seed.
    pub fn generate(seed: u64, profile: Profile, scale: Scale) -> Workload {
        let mut random = draws(seed);
        let maps = match profile {
            Profile::SeveralMaps => 3,
            Profile::Mixed => 1 + usize::from(random.random_ratio(1, 4)),
            _ => 1,
        };
        let maps: Vec<MapPlan> = (0..maps).map(|_| map_plan(&mut random, profile, scale)).collect();
        let count = random.random_range(scale.steps_max.div_ceil(3)..=scale.steps_max);
        let weighted = weights(profile);
        let steps = (0..count)
            .map(|_| Step {
                map: random.random_range(0..maps.len()),
                action: action(&mut random, &weighted, profile, scale),
            })
            .collect();
        Workload { seed, profile, maps, steps, close: random.random_ratio(2, 3) }
    }

    /// What a file holds at first.
    pub fn initial(&self, map: usize) -> Vec<u8> {
        let bytes = self.maps.get(map).and_then(|plan| plan.initial_bytes).unwrap_or(0);
        (0..bytes).map(|at| (at % 251) as u8).collect()
    }
}

fn map_plan(random: &mut impl Rng, profile: Profile, scale: Scale) -> MapPlan {
    let bytes_max = scale.pages_max * PAGE;
    let fresh = match profile {
        Profile::Sessions => random.random_ratio(1, 2),
        _ => random.random_ratio(1, 8),
    };
    let initial_bytes = (!fresh).then(|| random.random_range(1..=bytes_max * 2 / 3));
    let len = match initial_bytes {
        Some(bytes) if random.random_ratio(1, 2) => bytes,
        bytes => random.random_range(bytes.unwrap_or(1)..=bytes_max),
    };
    let journal_pages = match profile {
        Profile::Wrap | Profile::Checkpoints => 8,
        _ => random.random_range(8..=scale.journal_pages_max.max(8)),
    };
    let trackers: &[Tracker] = match profile {
        Profile::Edits => &[Tracker::Automatic, Tracker::Declared],
        _ => &[Tracker::Automatic, Tracker::Automatic, Tracker::PrivateCopies, Tracker::Declared],
    };
    MapPlan {
        initial_bytes,
        len,
        view: scale.views && random.random_ratio(1, 3),
        publish: random.random_ratio(1, 6),
        tracker: trackers.choose(random).copied().unwrap_or(Tracker::Automatic),
        journal_bytes: journal_pages * PAGE as u64,
        checkpoint_steps: [0, 1, 1, 2, 3, 100].choose(random).copied().unwrap_or(1),
    }
}

/// What is drawn how often.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Edit,
    Write,
    Store,
    Scatter,
    Resize,
    ResizeBy,
    Commit,
    CommitRelaxed,
    CommitAsync,
    Wait,
    Rollback,
    Transaction,
    Checkpoint,
    Reopen,
}

fn weights(profile: Profile) -> Vec<Kind> {
    use Kind::*;
    // Everything happens everywhere, now and then.
    let mut weights = vec![
        (Edit, 6),
        (Write, 3),
        (Store, 4),
        (Scatter, 1),
        (Resize, 1),
        (ResizeBy, 1),
        (Commit, 8),
        (CommitRelaxed, 2),
        (CommitAsync, 2),
        (Wait, 1),
        (Rollback, 1),
        (Transaction, 1),
        (Checkpoint, 1),
        (Reopen, 1),
    ];
    let more: &[(Kind, usize)] = match profile {
        Profile::Edits => &[(Edit, 20), (Write, 10), (Commit, 15)],
        Profile::Stores => &[(Store, 20), (Scatter, 8), (Commit, 12)],
        Profile::FullPages => &[(Store, 8), (Edit, 8), (Commit, 6)],
        Profile::Lengths => &[(Resize, 10), (ResizeBy, 10), (Commit, 8), (Store, 4)],
        Profile::Tickets => &[(CommitAsync, 15), (CommitRelaxed, 8), (Wait, 6), (Edit, 8)],
        Profile::Wrap => &[(Edit, 10), (Commit, 25), (CommitRelaxed, 5)],
        Profile::Checkpoints => &[(Checkpoint, 8), (Commit, 15), (CommitAsync, 4), (Edit, 8)],
        Profile::Sessions => &[(Reopen, 8)],
        Profile::SeveralMaps | Profile::Mixed => &[],
    };
    weights.extend_from_slice(more);
    weights.into_iter().flat_map(|(kind, times)| std::iter::repeat_n(kind, times)).collect()
}

fn action(random: &mut impl Rng, weighted: &[Kind], profile: Profile, scale: Scale) -> Action {
    let bytes_max = scale.pages_max * PAGE;
    let at = random.random_range(0..bytes_max);
    let large = match profile {
        Profile::FullPages => random.random_ratio(2, 3),
        _ => random.random_ratio(1, 10),
    };
    let (at, len) = if large {
        // Whole pages, most of them from a page's start.
        let at = if random.random_ratio(3, 4) { at / PAGE * PAGE } else { at };
        (at, random.random_range(1..=scale.pages_max) * PAGE)
    } else {
        let most = [8, 64, 600].choose(random).copied().unwrap_or(8);
        (at, random.random_range(1..=most))
    };
    match weighted.choose(random).copied().unwrap_or(Kind::Commit) {
        Kind::Edit => Action::Edit { at, len },
        Kind::Write => Action::Write { at, len },
        Kind::Store => Action::Store { at, len },
        Kind::Scatter => Action::Scatter { pages: random.random_range(1..=scale.pages_max) },
        Kind::Resize => {
            let len = random.random_range(0..=bytes_max);
            Action::Resize { len: if random.random_ratio(1, 3) { len / PAGE * PAGE } else { len } }
        }
        Kind::ResizeBy => Action::ResizeBy { by: random.random_range(-3000..=3000_i32) as isize },
        Kind::Commit => Action::Commit,
        Kind::CommitRelaxed => Action::CommitRelaxed,
        Kind::CommitAsync => Action::CommitAsync,
        Kind::Wait => Action::Wait { backwards: random.random() },
        Kind::Rollback => Action::Rollback,
        Kind::Transaction => Action::Transaction { at, fail: random.random() },
        Kind::Checkpoint => Action::Checkpoint,
        Kind::Reopen => Action::Reopen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_workload() {
        let scale = Scale { pages_max: 6, steps_max: 30, journal_pages_max: 16, views: true };
        for profile in Profile::ALL {
            let one = Workload::generate(7, profile, scale);
            assert_eq!(one, Workload::generate(7, profile, scale));
            assert_ne!(one.steps, Workload::generate(8, profile, scale).steps);
        }
    }
}
