//! What was tried, in figures.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Part;

/// What was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Where the choices began.
    pub seed: u64,
    /// Each part that was tried.
    pub parts: Vec<Tally>,
    /// The first one ends it, so there are none here.
    pub violations: u64,
    /// How long all of it took.
    pub seconds: f64,
}

/// What was tried of one part.
#[derive(Debug, Clone, Serialize)]
pub struct Tally {
    /// Which.
    pub part: Part,
    /// So many runs.
    pub runs: u64,
    /// So many processes died in the middle of their work.
    pub killed_mid_run: u64,
    /// So many died in the middle of a recovery.
    pub killed_in_recovery: u64,
    /// So many died while they waited for a lock.
    pub killed_while_waiting: u64,
    /// So many files were recovered and judged.
    pub files_judged: u64,
    /// So many recoveries had commits to replay.
    pub recoveries_that_replayed: u64,
    /// So often the file held a commit that was begun and not yet acknowledged.
    pub in_flight_kept: u64,
    /// So many files were held by a child that outlived its parent, and an open named it.
    pub heirs_named: u64,
    /// The longest wait for a lock whose holder had ended, recovery included.
    pub longest_wait_ms: u64,
    /// How long a process takes that is left alone: kills are aimed with it.
    #[serde(skip)]
    pub(super) usual: Duration,
    /// How long a recovery takes.
    #[serde(skip)]
    pub(super) usual_recovery: Duration,
}

impl Figures {
    pub(super) fn new(seed: u64) -> Figures {
        Figures { seed, parts: Vec::new(), violations: 0, seconds: 0.0 }
    }
}

impl Tally {
    pub(super) fn of(part: Part) -> Tally {
        Tally {
            part,
            runs: 0,
            killed_mid_run: 0,
            killed_in_recovery: 0,
            killed_while_waiting: 0,
            files_judged: 0,
            recoveries_that_replayed: 0,
            in_flight_kept: 0,
            heirs_named: 0,
            longest_wait_ms: 0,
            usual: Duration::ZERO,
            usual_recovery: Duration::ZERO,
        }
    }

    /// A lock was had so long after its holder had ended.
    pub(super) fn waited(&mut self, time: Duration) {
        self.longest_wait_ms = self.longest_wait_ms.max(time.as_millis() as u64);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for tally in &self.parts {
            write!(
                f,
                "{}: {} runs, {} killed mid-run, {} killed in recovery, {} killed while waiting, {} files judged, {} recoveries \
                 replayed commits, {} kept the commit in flight",
                tally.part,
                tally.runs,
                tally.killed_mid_run,
                tally.killed_in_recovery,
                tally.killed_while_waiting,
                tally.files_judged,
                tally.recoveries_that_replayed,
                tally.in_flight_kept
            )?;
            match tally.part {
                Part::Fork => write!(f, ", {} held by a child that was named", tally.heirs_named)?,
                Part::Command | Part::Threads | Part::Lock => {}
            }
            match tally.longest_wait_ms {
                0 => writeln!(f)?,
                longest => writeln!(f, ", a lock was had within {longest} ms")?,
            }
        }
        write!(f, "seed {}, {} violations, {:.1} s", self.seed, self.violations, self.seconds)
    }
}
