//! What was tried, in figures.

use std::fmt;
use std::time::Duration;

use ::programs::Program;
use serde::Serialize;

use super::{Found, Options};

/// What was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Where the choices began.
    pub seed: u64,
    /// Did the library stand under the programs?
    pub preload: bool,
    /// Were commits shown to readers of the plain file?
    pub published: bool,
    /// Each program that was tried.
    pub programs: Vec<Tally>,
    /// What this machine lacks.
    pub lacking: Vec<String>,
    /// Runs that were torn, lost or refused. Without the library nothing was promised.
    pub violations: u64,
    /// How long all of it took.
    pub seconds: f64,
}

/// What was tried of one program.
#[derive(Debug, Clone, Serialize)]
pub struct Tally {
    /// Which.
    pub program: Program,
    /// So many runs.
    pub runs: u64,
    /// So many were killed with their map in hand, while they stored or flushed.
    pub killed_at_work: u64,
    /// So many were killed before they had it.
    pub killed_at_start: u64,
    /// Versions that were acknowledged.
    pub acknowledged: u64,
    /// So often a version was found that was begun and not yet acknowledged.
    pub in_flight_kept: u64,
    /// Mappings that the library made atomic, by its log.
    pub converted: u64,
    /// So many kills left a journal,
    pub journals: u64,
    /// which `steadfast recover` went through
    pub recovered_by_command: u64,
    /// or the program's next start.
    pub recovered_by_program: u64,
    /// Files that are of one version throughout, and one that they may be.
    pub sound: u64,
    /// Files that are of several versions, or of none.
    pub torn: u64,
    /// Files of a version that is older than the last acknowledged one.
    pub lost: u64,
    /// Programs or recoveries that ended with an error.
    pub refused: u64,
    /// The first that was not sound.
    pub first: Option<String>,
    /// How long it takes to the first store.
    #[serde(skip)]
    pub(super) usual_start: Duration,
    /// How long a version takes: kills are aimed with it.
    #[serde(skip)]
    pub(super) usual_version: Duration,
}

impl Figures {
    pub(super) fn new(options: &Options) -> Figures {
        Figures {
            seed: options.seed,
            preload: options.preload.is_some(),
            published: !options.unpublished,
            programs: Vec::new(),
            lacking: Vec::new(),
            violations: 0,
            seconds: 0.0,
        }
    }
}

impl Tally {
    pub(super) fn of(program: Program) -> Tally {
        Tally {
            program,
            runs: 0,
            killed_at_work: 0,
            killed_at_start: 0,
            acknowledged: 0,
            in_flight_kept: 0,
            converted: 0,
            journals: 0,
            recovered_by_command: 0,
            recovered_by_program: 0,
            sound: 0,
            torn: 0,
            lost: 0,
            refused: 0,
            first: None,
            usual_start: Duration::ZERO,
            usual_version: Duration::ZERO,
        }
    }

    /// Counts a run, and says what is wrong with it if it is the first with which something is.
    pub(super) fn add(&mut self, found: &Found) -> Option<String> {
        self.runs += 1;
        let first = self.broken() == 0;
        let what = match found {
            Found::Sound(_) => {
                self.sound += 1;
                return None;
            }
            Found::Torn(what) => {
                self.torn += 1;
                format!("torn: {what}")
            }
            Found::Lost(version) => {
                self.lost += 1;
                format!("lost: it is at version {version}")
            }
            Found::Refused(what) => {
                self.refused += 1;
                format!("refused: {what}")
            }
        };
        first.then_some(what)
    }

    /// Runs that were not sound.
    pub fn broken(&self) -> u64 {
        self.torn + self.lost + self.refused
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for tally in &self.programs {
            write!(
                f,
                "{}: {} runs, {} killed at work, {} at their start, {} versions acknowledged; {} sound ({} with the version in flight), \
                 {} torn, {} lost, {} refused",
                tally.program,
                tally.runs,
                tally.killed_at_work,
                tally.killed_at_start,
                tally.acknowledged,
                tally.sound,
                tally.in_flight_kept,
                tally.torn,
                tally.lost,
                tally.refused
            )?;
            if self.preload {
                write!(
                    f,
                    "; {} mappings converted, {} journals left, {} recovered by the command and {} by the next start",
                    tally.converted, tally.journals, tally.recovered_by_command, tally.recovered_by_program
                )?;
            }
            writeln!(f)?;
            if let Some(first) = &tally.first {
                writeln!(f, "  {first}")?;
            }
        }
        for lacking in &self.lacking {
            writeln!(f, "NOT TESTED: this machine lacks what it takes for {lacking}")?;
        }
        let under = match (self.preload, self.published) {
            (false, _) => "the kernel's mappings",
            (true, true) => "the library under them",
            (true, false) => "the library under them, unpublished",
        };
        write!(f, "{under}, seed {}, {} not sound, {:.1} s", self.seed, self.violations, self.seconds)
    }
}
