//! What was tried, in figures.

use std::fmt;

use ::programs::Program;
use serde::Serialize;

use super::check::{By, Checked};
use super::{FileSystem, Found, Options};

/// What was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// On which file system.
    pub fs: FileSystem,
    /// Where the choices began.
    pub seed: u64,
    /// Each program that was tried: with the library under it, if there was one, and without.
    pub programs: Vec<Tally>,
    /// What could not be tried.
    pub lacking: Vec<String>,
    /// Of those with the library under them. None: the first one ends the run.
    pub violations: u64,
    /// How long all of it took.
    pub seconds: f64,
}

/// What was tried of one program.
#[derive(Debug, Clone, Serialize)]
pub struct Tally {
    /// Which.
    pub program: Program,
    /// Did the library stand under it?
    pub preload: bool,
    /// Lives that were recorded.
    pub recordings: u64,
    /// Those in which commits were not shown to readers of the plain file.
    pub unpublished: u64,
    /// Versions that were acknowledged in them.
    pub versions: u64,
    /// Block writes that were recorded.
    pub writes: u64,
    /// Flushes that were recorded.
    pub flushes: u64,
    /// Images that were mounted, recovered and judged.
    pub images: u64,
    /// Those that were cut within a recovery.
    pub in_recovery: u64,
    /// Those with a torn write.
    pub torn_writes: u64,
    /// Those that were cut after the program had ended.
    pub closed: u64,
    /// Those with a journal beside the file.
    pub journals: u64,
    /// Those that were recovered by the command,
    pub recovered_by_command: u64,
    /// or by the program's next start. The others: by the library's own call.
    pub recovered_by_program: u64,
    /// Those that the file system's own repair tool had to see first.
    pub repaired: u64,
    /// Of a disk that lies: those that its file system did not survive, which are not judged.
    pub unmountable: u64,
    /// Files that are of one version throughout, and one that they may be.
    pub sound: u64,
    /// Those of them whose version had not been acknowledged.
    pub in_flight: u64,
    /// Files that are of several versions, or of none.
    pub torn: u64,
    /// Files of a version that is older than the last acknowledged one.
    pub lost: u64,
    /// Recoveries that ended with an error, or left no plain file.
    pub refused: u64,
    /// The first that was not sound.
    pub first: Option<String>,
}

impl Figures {
    pub(super) fn new(options: &Options) -> Figures {
        Figures {
            fs: options.fs,
            seed: options.seed,
            programs: Vec::new(),
            lacking: Vec::new(),
            violations: 0,
            seconds: 0.0,
        }
    }
}

impl Tally {
    pub(super) fn of(program: Program, preload: bool) -> Tally {
        Tally {
            program,
            preload,
            recordings: 0,
            unpublished: 0,
            versions: 0,
            writes: 0,
            flushes: 0,
            images: 0,
            in_recovery: 0,
            torn_writes: 0,
            closed: 0,
            journals: 0,
            recovered_by_command: 0,
            recovered_by_program: 0,
            repaired: 0,
            unmountable: 0,
            sound: 0,
            in_flight: 0,
            torn: 0,
            lost: 0,
            refused: 0,
            first: None,
        }
    }

    /// Counts an image, and says what is wrong with it.
    pub(super) fn add(&mut self, checked: &Checked) -> Option<String> {
        let Checked { found, by, closed, journal, in_flight, repaired } = checked;
        self.images += 1;
        self.closed += u64::from(*closed);
        self.journals += u64::from(*journal);
        self.in_flight += u64::from(*in_flight);
        self.repaired += u64::from(*repaired);
        self.recovered_by_command += u64::from(*by == By::Command);
        self.recovered_by_program += u64::from(*by == By::Program);
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
        self.first.get_or_insert_with(|| what.clone());
        Some(what)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for tally in &self.programs {
            writeln!(f, "{}: {tally}", self.fs)?;
        }
        for lacking in &self.lacking {
            writeln!(f, "NOT TESTED: this machine lacks {lacking}")?;
        }
        write!(f, "seed {}, {} violations, {:.0} s", self.seed, self.violations, self.seconds)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { program, recordings, versions, writes, flushes, images, .. } = self;
        let under = if self.preload { "the library" } else { "the kernel's mapping" };
        writeln!(
            f,
            "{images} crash images of {recordings} lives of {program} with {under} under it \
             ({versions} versions, {writes} block writes, {flushes} flushes)"
        )?;
        write!(
            f,
            "  {} sound ({} with the version in flight), {} torn, {} lost, {} refused; {} with a torn write, {} cut after its end",
            self.sound, self.in_flight, self.torn, self.lost, self.refused, self.torn_writes, self.closed
        )?;
        if self.preload {
            let share = 100.0 * self.in_recovery as f64 / (*images).max(1) as f64;
            write!(
                f,
                "\n  {} ({share:.1} %) cut within a recovery; {} with a journal; {} recovered by the command, {} by the next start; \
                 {} lives unpublished",
                self.in_recovery,
                self.journals,
                self.recovered_by_command,
                self.recovered_by_program,
                self.unpublished
            )?;
        }
        if self.repaired > 0 {
            write!(f, "\n  {} had to be repaired by the file system's own tool first", self.repaired)?;
        }
        if self.unmountable > 0 {
            write!(f, "\n  {} more could not be mounted", self.unmountable)?;
        }
        if let Some(first) = &self.first {
            write!(f, "\n  the first that is not sound: {first}")?;
        }
        Ok(())
    }
}
