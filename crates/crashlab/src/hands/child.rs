//! The process that is judged: it does the work of many rounds, and judges each. That it lives is the first thing that is judged.
//!
//! It speaks in lines: `r N` before round N (which a death then belongs to), `d N COUNTS` after it, and `v WHAT` for a broken promise.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::control::{Control, Word};
use super::plan::{On, Place, Plan};
use super::tally::Counts;
use super::{Part, atomic, flood, mapping};

/// Who is waited for so long hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What a process is started for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Job {
    /// Rounds, one after the other.
    Rounds(Rounds),
    /// Every other page of this file, which cannot be read.
    Flood(PathBuf),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rounds {
    pub(super) part: Part,
    pub(super) seed: u64,
    pub(super) first: u64,
    pub(super) end: u64,
    /// Where the files are, in turn.
    pub(super) places: Vec<(Place, PathBuf)>,
    /// For copies.
    pub(super) scratch: PathBuf,
    pub(super) control: PathBuf,
    pub(super) guard: bool,
}

impl Rounds {
    pub(super) fn place(&self, round: u64) -> (Place, &Path) {
        let (place, path) = &self.places[round as usize % self.places.len()];
        (*place, path)
    }

    /// Where the files of a round are.
    pub(super) fn folder(&self, round: u64) -> PathBuf {
        match self.place(round) {
            // Our own file system has no folders.
            (Place::Served, path) => path.to_owned(),
            (_, path) => path.join(format!("round-{round}")),
        }
    }
}

/// A round, for those who work in it.
pub(super) struct Round<'a> {
    pub(super) number: u64,
    pub(super) plan: &'a Plan,
    pub(super) control: &'a Control,
    pub(super) place: Place,
    pub(super) guard: bool,
    pub(super) scratch: &'a Path,
}

impl Round<'_> {
    /// A round begins, in which nothing was done yet.
    pub(super) fn begin(&self) {
        for word in [Word::Progress, Word::Begun, Word::Ended] {
            self.control.set(word, 0);
        }
    }

    /// The files are there: the hand may begin.
    pub(super) fn ready(&self) {
        self.control.set(Word::Ready, self.number + 1);
    }

    /// The work is done: waits until the hand has made good what it did.
    pub(super) fn made_good(&self) -> Result<(), String> {
        self.control.set(Word::Over, self.number + 1);
        let started = Instant::now();
        let good = self
            .control
            .wait(|control| control.get(Word::Good) == self.number + 1, || started.elapsed() < PATIENCE);
        self.limit(None);
        if good { Ok(()) } else { Err("rig: the other hand does not end".into()) }
    }

    /// Sets or lifts the limit on file sizes, where the round is about one.
    pub(super) fn limit(&self, bytes: Option<u64>) {
        if self.place == Place::Limited {
            let maximum = getrlimit(Resource::Fsize).maximum;
            // Lowering and raising the soft limit is anybody's right.
            let _ = setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum });
        }
    }
}

/// A promise that an error breaks.
pub(super) fn violated(what: &str, error: &steadfast::Error) -> String {
    format!("{what}: {error}")
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever listens may be gone.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Does a job.
pub(super) fn work(job: &str) -> ! {
    let done = match serde_json::from_str(job) {
        Ok(Job::Rounds(rounds)) => play(&rounds),
        Ok(Job::Flood(path)) => flood::touch(&path).map(|text| say(&format!("f {text}"))),
        Err(error) => Err(format!("rig: {error}")),
    };
    if let Err(what) = &done {
        say(&format!("v {}", what.replace('\n', " ")));
    }
    std::process::exit(i32::from(done.is_err()))
}

fn play(rounds: &Rounds) -> Result<(), String> {
    let control = Control::open(&rounds.control).map_err(|error| format!("rig: {error}"))?;
    for number in rounds.first..rounds.end {
        say(&format!("r {number}"));
        let plan = Plan::draw(rounds.part, rounds.seed, number);
        let (place, _) = rounds.place(number);
        let folder = rounds.folder(number);
        let rig = |error: std::io::Error| format!("rig: {}: {error}", folder.display());
        if place != Place::Served {
            std::fs::create_dir_all(&folder).map_err(rig)?;
        }
        let scratch = &rounds.scratch;
        let round = Round { number, plan: &plan, control: &control, place, guard: rounds.guard, scratch };
        let counts: Counts = match plan.on {
            On::Mapping => mapping::play(&round, &folder)?,
            On::Atomic => atomic::play(&round, &folder)?,
        };
        if place == Place::Served {
            for name in ["data", "state-0", "state-1", "state-3"] {
                let _ = std::fs::remove_file(folder.join(name));
            }
        } else {
            std::fs::remove_dir_all(&folder).map_err(rig)?;
        }
        let counts = serde_json::to_string(&counts).map_err(|error| format!("rig: {error}"))?;
        say(&format!("d {number} {counts}"));
    }
    Ok(())
}
