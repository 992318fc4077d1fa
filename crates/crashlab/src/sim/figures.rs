//! What was tried, in figures.

use std::fmt;

use serde::Serialize;

use crate::workload::Profile;

/// What one case adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) cases: u64,
    pub(super) stops: u64,
    pub(super) states: u64,
    pub(super) in_recovery: u64,
    pub(super) gone_on: u64,
    pub(super) new_commit_found: u64,
    pub(super) torn: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.cases += other.cases;
        self.stops += other.stops;
        self.states += other.states;
        self.in_recovery += other.in_recovery;
        self.gone_on += other.gone_on;
        self.new_commit_found += other.new_commit_found;
        self.torn += other.torn;
    }
}

/// What was tried of one profile.
#[derive(Debug, Clone, Serialize)]
pub struct OfProfile {
    /// Which.
    pub profile: Profile,
    /// Workloads.
    pub cases: u64,
    /// Images that were recovered and judged.
    pub states: u64,
}

/// What was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Where the choices began.
    pub seed: u64,
    /// Workloads.
    pub cases: u64,
    /// Places at which one of them was stopped.
    pub stops: u64,
    /// Images that were recovered and judged.
    pub states: u64,
    /// Those that were left by a recovery that was stopped as well.
    pub in_recovery: u64,
    /// Their share of all.
    pub in_recovery_share: f64,
    /// Those that were left by a program that went on after a recovery, and was stopped once more.
    pub gone_on: u64,
    /// States in which a commit was found that had not been acknowledged.
    pub new_commit_found: u64,
    /// States with a torn write.
    pub torn: u64,
    /// By profile.
    pub by_profile: Vec<OfProfile>,
    /// How long it took.
    pub seconds: f64,
    /// How fast that was.
    pub states_per_second: f64,
}

impl Figures {
    /// `tallies` are in the order of [`Profile::ALL`].
    pub(super) fn new(seed: u64, tallies: &[Tally], seconds: f64) -> Figures {
        let mut all = Tally::default();
        tallies.iter().for_each(|tally| all.add(*tally));
        let by_profile = Profile::ALL.into_iter().zip(tallies).map(|(profile, tally)| OfProfile {
            profile,
            cases: tally.cases,
            states: tally.states,
        });
        Figures {
            seed,
            cases: all.cases,
            stops: all.stops,
            states: all.states,
            in_recovery: all.in_recovery,
            in_recovery_share: all.in_recovery as f64 / all.states.max(1) as f64,
            gone_on: all.gone_on,
            new_commit_found: all.new_commit_found,
            torn: all.torn,
            by_profile: by_profile.collect(),
            seconds,
            states_per_second: all.states as f64 / seconds.max(1e-9),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "simulated disk, seed {}: {} states of {} workloads stopped at {} places, 0 violations",
            self.seed, self.states, self.cases, self.stops
        )?;
        writeln!(
            f,
            "  inside a recovery: {} ({:.1} %); gone on after one: {}; with a torn write: {}; a commit found that was in flight: {}",
            self.in_recovery,
            self.in_recovery_share * 100.0,
            self.gone_on,
            self.torn,
            self.new_commit_found
        )?;
        write!(f, "  states by profile:")?;
        for of in &self.by_profile {
            write!(f, " {} {}", of.profile, of.states)?;
        }
        writeln!(f)?;
        write!(f, "  {:.1} s, {:.0} states/s", self.seconds, self.states_per_second)
    }
}
