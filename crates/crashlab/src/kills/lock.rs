//! Kills among processes that hold a lock or wait for it.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use steadfast::{AtomicMapping, ErrorKind};

use super::child::Job;
use super::judge::{By, Ear, history, judge, judge_bytes, judge_plain};
use super::process::{Heard as Word, Moment, PATIENCE, Process};
use super::script::Script;
use super::tally::Tally;
use super::{Run, rig, violation};
use crate::outcome::Failure;

const PAGES_MAX: usize = 64;
/// A recovery takes some milliseconds: most kills are to fall into it.
const RECOVERY: Duration = Duration::from_millis(8);
/// A lock whose holder is dead is had in less than this, whatever else the machine does.
const PROMPT: Duration = Duration::from_secs(10);

/// One process commits, another waits, and one of them is killed.
pub(super) fn run(run: &mut Run<'_>, tally: &mut Tally) -> Result<(), Failure> {
    let script = Script { seed: run.random.random(), map: 0, pages_max: PAGES_MAX };
    std::fs::write(run.folder.join(script.name()), script.initial()).map_err(rig("a file"))?;
    let mut scene = Scene {
        holder: Process::with_job(run.program, &Job::Holder { folder: run.folder.to_owned(), script })?,
        ear: Ear::new(1),
        script,
    };
    scene.listen(run.random.random_range(1..20))?;
    match run.number % 3 {
        0 => scene.holder_is_killed(run, tally),
        1 => scene.waiter_is_killed(run, tally),
        _ => scene.waiter_is_killed_in_recovery(run, tally),
    }
}

struct Scene {
    holder: Process,
    ear: Ear,
    script: Script,
}

impl Scene {
    /// Hears so many acknowledgements of the holder.
    fn listen(&mut self, acknowledgements: usize) -> Result<(), Failure> {
        let wanted = self.ear.files[0].begun + acknowledgements;
        while self.ear.files[0].durable < wanted {
            let line = self.holder.line()?;
            self.ear.hear(&line);
        }
        Ok(())
    }

    /// Kills the holder behind the beginning of a commit, and hears what it had still to say.
    fn kill_holder(&mut self, run: &mut Run<'_>, tally: &mut Tally) -> Result<(), Failure> {
        // What it said while others were started.
        while let Word::Line(line) = self.holder.output.next(Duration::ZERO) {
            self.ear.hear(&line);
        }
        let begun = self.ear.files[0].begun;
        let delay = Duration::from_micros(run.random.random_range(0..1500));
        let ear = &mut self.ear;
        self.holder.until(Moment::Behind(1, delay), |line| {
            ear.hear(line);
            ear.files[0].begun > begun
        })?;
        tally.killed_mid_run += u64::from(self.holder.kill()?);
        let rest = self.holder.output.rest()?;
        self.ear.hear_rest(&rest)
    }

    fn waiter(&self, run: &Run<'_>, name: &str) -> Result<Process, Failure> {
        let path = run.folder.join(self.script.name());
        let job = Job::Waiter { path: path.clone(), seen: run.folder.join(name) };
        let waiter = Process::with_job(run.program, &job)?;
        let said = waiter.line()?;
        if said != "w" {
            return Err(Failure::Rig(format!("a waiter said {said:?}")));
        }
        // It waits from when it has the file open.
        let started = Instant::now();
        while !has_open(waiter.id(), &path) {
            if started.elapsed() > PATIENCE {
                return violation("a process that is to wait for the lock does not open the file");
            }
            std::thread::yield_now();
        }
        Ok(waiter)
    }

    fn holder_is_killed(mut self, run: &mut Run<'_>, tally: &mut Tally) -> Result<(), Failure> {
        let path = run.folder.join(self.script.name());
        let mut waiter = self.waiter(run, "seen")?;
        self.kill_holder(run, tally)?;
        let replayed = let_in(&waiter, tally)?;
        tally.recoveries_that_replayed += u64::from(replayed > 0);
        let history = history(&self.script, self.ear.files[0]);
        let seen = std::fs::read(run.folder.join("seen")).map_err(rig("what a waiter saw"))?;
        let found = judge_bytes(&seen, &history, "what a waiter saw")?;
        // It is the holder now, and named.
        match AtomicMapping::options().load(&path).map(drop) {
            Err(error)
                if error.kind() == ErrorKind::Locked
                    && error.to_string().contains(&format!("process {} (", waiter.id())) => {}
            other => return violation(format!("a third process is told {other:?}, not who holds the file")),
        }
        expect_closed(&mut waiter)?;
        match judge_plain(&path, &history, run.spoil, tally)? {
            state if state == found => Ok(()),
            state => violation(format!("a waiter saw state {found} and left state {state}")),
        }
    }

    fn waiter_is_killed(mut self, run: &mut Run<'_>, tally: &mut Tally) -> Result<(), Failure> {
        let path = run.folder.join(self.script.name());
        let mut waiter = self.waiter(run, "never")?;
        std::thread::sleep(Duration::from_micros(run.random.random_range(0..20_000)));
        tally.killed_while_waiting += u64::from(waiter.kill()?);
        if waiter.output.rest()?.iter().any(|line| line.starts_with('o')) {
            return violation("two processes had the file open at once");
        }
        // The holder goes on, and a third one gets the lock.
        self.listen(3)?;
        let mut third = self.waiter(run, "seen")?;
        let rest = self.holder.finish()?;
        self.ear.hear_rest(&rest)?;
        if !self.ear.files[0].closed {
            return violation("the holder ended without closing its map");
        }
        let_in(&third, tally)?;
        let history = history(&self.script, self.ear.files[0]);
        let seen = std::fs::read(run.folder.join("seen")).map_err(rig("what a waiter saw"))?;
        judge_bytes(&seen, &history, "what a waiter saw")?;
        expect_closed(&mut third)?;
        judge_plain(&path, &history, run.spoil, tally).map(drop)
    }

    fn waiter_is_killed_in_recovery(mut self, run: &mut Run<'_>, tally: &mut Tally) -> Result<(), Failure> {
        let path = run.folder.join(self.script.name());
        let mut waiter = self.waiter(run, "never")?;
        self.kill_holder(run, tally)?;
        // It recovers from when it has the lock until the open returns: then it makes its copy, and only then says so.
        let dead = Instant::now();
        while !has_lock(waiter.id()) {
            if dead.elapsed() > PROMPT {
                return violation(format!("the holder is gone, and nobody has the lock after {PROMPT:?}"));
            }
            std::thread::yield_now();
        }
        tally.waited(dead.elapsed());
        std::thread::sleep(RECOVERY.mul_f64(run.share()));
        let killed = waiter.kill()?;
        let opened = run.folder.join("never").exists() || !waiter.output.rest()?.is_empty();
        tally.killed_in_recovery += u64::from(killed && !opened);
        let history = history(&self.script, self.ear.files[0]);
        judge(&path, &history, By::Opening, run.spoil, tally).map(drop)
    }
}

/// Waits until a waiter has the file, which must be soon, and says how many commits it replayed.
fn let_in(waiter: &Process, tally: &mut Tally) -> Result<u64, Failure> {
    let free = Instant::now();
    let line = waiter.line()?;
    let took = free.elapsed();
    tally.waited(took);
    if took > PROMPT {
        return violation(format!("the holder is gone, and who waited was let in after {took:?}"));
    }
    match line.strip_prefix("o ") {
        Some(replayed) => replayed.parse().map_err(rig("what a waiter said")),
        None => Err(Failure::Rig(format!("a waiter said {line:?}"))),
    }
}

fn expect_closed(waiter: &mut Process) -> Result<(), Failure> {
    match waiter.finish()?.last().map(String::as_str) {
        Some("c 0") => Ok(()),
        last => Err(Failure::Rig(format!("a waiter said {last:?} at its end"))),
    }
}

fn has_open(pid: u32, path: &Path) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == path))
}

/// Has this process a lock on any file that it has open?
pub(super) fn has_lock(pid: u32) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return false };
    descriptors
        .flatten()
        .any(|entry| std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("OFDLCK")))
}
