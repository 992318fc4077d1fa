//! What was tried, in figures.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Part;

/// What was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Where the choices began.
    pub seed: u64,
    /// Each part that was tried.
    pub parts: Vec<Tally>,
    /// What this machine lacks, and what could not be tried because of it.
    pub lacking: Vec<String>,
    /// The first one ends it, so there are none here, but where faults were planted.
    pub violations: u64,
    /// How long all of it took.
    pub seconds: f64,
}

/// What was tried of one part.
#[derive(Debug, Clone, Serialize)]
pub struct Tally {
    /// Which.
    pub part: Part,
    /// So many rounds, by place and kind of map.
    pub rounds: BTreeMap<String, u64>,
    /// So many actions of the other hand, by name.
    pub actions: BTreeMap<String, u64>,
    /// What the processes that were judged counted.
    pub counts: Counts,
    /// So many processes were ended by a signal: none, unless the guard was left out on purpose.
    pub signal_deaths: u64,
    /// Rounds in which one was.
    pub died_in: Vec<u64>,
    /// What more faults than a process may have mappings for gave.
    pub flood: Option<String>,
}

/// What one process counted.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Loads that were judged.
    pub loads: u64,
    /// Stores that succeeded.
    pub stores: u64,
    /// Commits that were acknowledged.
    pub commits: u64,
    /// Calls that were refused: each had a reason.
    pub refused: u64,
    /// Commits that were refused.
    pub commits_refused: u64,
    /// Times that damaged pages were put back while work went on.
    pub refreshed: u64,
    /// Maps that took their file as the hand had left it.
    pub adopted: u64,
    /// Plain loads beyond the end of the file within its last page, of which no fault tells.
    pub unnamed: u64,
    /// Files that were recovered and judged.
    pub files_judged: u64,
    /// Journals that were laid over another file, to see what is recorded.
    pub journals_judged: u64,
    /// Journals of views that record zeros where the hand took bytes between two looks at the file: not promised, and counted.
    #[serde(default)]
    pub zeros_recorded: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        let Counts {
            loads,
            stores,
            commits,
            refused,
            commits_refused,
            refreshed,
            adopted,
            unnamed,
            files_judged,
            journals_judged,
            zeros_recorded,
        } = other;
        self.loads += loads;
        self.stores += stores;
        self.commits += commits;
        self.refused += refused;
        self.commits_refused += commits_refused;
        self.refreshed += refreshed;
        self.adopted += adopted;
        self.unnamed += unnamed;
        self.files_judged += files_judged;
        self.journals_judged += journals_judged;
        self.zeros_recorded += zeros_recorded;
    }
}

impl Tally {
    pub(super) fn of(part: Part) -> Tally {
        Tally {
            part,
            rounds: BTreeMap::new(),
            actions: BTreeMap::new(),
            counts: Counts::default(),
            signal_deaths: 0,
            died_in: Vec::new(),
            flood: None,
        }
    }

    /// All rounds.
    pub fn rounds(&self) -> u64 {
        self.rounds.values().sum()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |of: &BTreeMap<String, u64>| {
            of.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        for tally in &self.parts {
            let Counts {
                loads,
                stores,
                commits,
                refused,
                commits_refused,
                refreshed,
                adopted,
                unnamed,
                files_judged,
                journals_judged,
                zeros_recorded,
            } = tally.counts;
            writeln!(
                f,
                "{}: {} rounds ({}); the other hand: {}; {loads} loads judged, {stores} stores and {commits} commits acknowledged, \
                 {refused} calls and {commits_refused} commits refused, {refreshed} times refreshed at work, {adopted} times with the file as the hand had left it, {unnamed} plain loads behind \
                 a new end within its page, {files_judged} files and {journals_judged} journals judged ({zeros_recorded} of views hold what a cut between two looks left), {} signal deaths",
                tally.part,
                tally.rounds(),
                list(&tally.rounds),
                list(&tally.actions),
                tally.signal_deaths,
            )?;
            if let Some(flood) = &tally.flood {
                writeln!(f, "{}: {flood}", tally.part)?;
            }
        }
        for lacking in &self.lacking {
            writeln!(f, "NOT TESTED: this machine lacks {lacking}")?;
        }
        write!(f, "seed {}, {} violations, {:.1} s", self.seed, self.violations, self.seconds)
    }
}
