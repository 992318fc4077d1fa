//! A program that forks in the middle of its commits, and is killed while its child lives on.
//!
//! The child has copies of all descriptors, and with them the locks: a lock ends with the last copy of its descriptor. So the
//! files are held until the child ends, an open says by whom, and then it recovers them. That is what
//! `a_killed_owners_lock_stands_until_its_child_ends_and_the_child_is_named` promises. A file that its parent closed is free. One
//! that the child dropped may be either: where threads worked for the map in the background, their share of its descriptor is
//! lost in the child, and nobody is left to close it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::process::{Pid, WaitOptions, waitpid};
use steadfast::{AtomicMapping, ErrorKind, Resolution, recover};

use super::child::Fork;
use super::judge::{Ear, Heard, journal_of};
use super::process::{Heard as Word, PATIENCE, Process};
use super::tally::Tally;
use super::threads::{COMMITS, judge_all, start, write_files};
use super::{Run, rig, violation};
use crate::outcome::Failure;

/// Kills it once, looks at its files while its child lives, and judges them when it is gone.
pub(super) fn run(run: &mut Run<'_>, tally: &mut Tally) -> Result<(), Failure> {
    let scripts = write_files(run)?;
    let fork = Fork { after: run.random.random_range(1..COMMITS / 2), drops: run.random.random_ratio(1, 3) };
    let mut parent = start(run, &scripts, Some(fork))?;
    let mut ear = Ear::new(scripts.len());
    let forked = loop {
        let line = parent.line()?;
        ear.hear(&line);
        if let Some(pid) = line.strip_prefix("f ") {
            break pid.parse::<u32>().map_err(rig("a process id"))?;
        }
    };
    // At once, or when the child has found out what it can do, and some commits later.
    let mut heir = None;
    if !run.number.is_multiple_of(3) {
        heir = Some(heir_of(&parent)?);
        let until = run.random.random_range(0..COMMITS / 2);
        for _ in 0..until {
            match parent.output.next(PATIENCE) {
                Word::Line(line) => drop(ear.hear(&line)),
                Word::End | Word::Nothing => break,
            }
        }
    }
    let killed = parent.kill()?;
    tally.killed_mid_run += u64::from(killed);
    ear.hear_rest(&parent.output.rest()?)?;
    let heir = match heir {
        Some(heir) => heir,
        None => heir_of(&parent)?,
    };
    if heir != forked {
        return Err(Failure::Rig(format!("process {forked} was forked, and {heir} spoke")));
    }

    for (script, heard) in scripts.iter().zip(&ear.files) {
        let path = run.folder.join(script.name());
        let dropped = fork.drops && script.map == 0;
        match is_named(&path, heir)? {
            true if heard.closed => {
                return violation(format!("{}: closed, and held by process {heir}", path.display()));
            }
            true => tally.heirs_named += 1,
            // It may just have been closed when the parent was killed.
            false if heard.closed || dropped || is_ending(heard) => {}
            false => {
                return violation(format!("{}: free although process {heir} holds it", path.display()));
            }
        }
    }
    let waited = let_go(&mut parent, heir, &run.folder.join(scripts[1].name()))?;
    tally.waited(waited);
    judge_all(run, &scripts, &ear.files, tally)
}

fn is_ending(heard: &Heard) -> bool {
    heard.begun == COMMITS
}

/// What the child says of itself.
fn heir_of(parent: &Process) -> Result<u32, Failure> {
    let Word::Line(line) = parent.errors.next(PATIENCE) else {
        return violation("a forked child hangs in what it may not do");
    };
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["heir", pid, "ok"] => pid.parse().map_err(rig("a process id")),
        _ => violation(format!("a forked child was not refused: {line}")),
    }
}

/// Whether the file is locked. It must then be the child that is named, and nothing may have changed.
fn is_named(path: &Path, heir: u32) -> Result<bool, Failure> {
    let picture = || -> BTreeMap<_, _> {
        [path.to_owned(), journal_of(path)].into_iter().map(|path| (fs::read(&path).ok(), path)).collect()
    };
    let before = picture();
    // Opening recovers; a copy of what it recovers from is kept.
    super::judge::copy_pair(path, "killed")?;
    let refusals = [
        AtomicMapping::options().load(path).map(drop).err(),
        recover(path, Resolution::Replay).map(drop).err(),
    ];
    let name = format!("process {heir} (");
    match refusals {
        [None, None] => Ok(false),
        [Some(a), Some(b)] if a.kind() == ErrorKind::Locked && b.kind() == ErrorKind::Locked => {
            if !a.to_string().contains(&name) || !b.to_string().contains(&name) {
                return violation(format!("held by process {heir}, and the errors are: {a}; {b}"));
            }
            if picture() != before {
                return violation(format!("{}: a refused open changed something", path.display()));
            }
            Ok(true)
        }
        others => violation(format!("held by process {heir}, and what is said is {others:?}")),
    }
}

/// Ends the child while somebody waits for one of its locks, and says how long that took.
fn let_go(parent: &mut Process, heir: u32, path: &Path) -> Result<Duration, Failure> {
    let (opened, at, ended) = std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let opened = AtomicMapping::options().lock_timeout(PATIENCE).load(path).map(drop);
            (opened, Instant::now())
        });
        // It reads until this end is closed.
        parent.input = None;
        let gone = waitpid(Pid::from_raw(heir as i32), WaitOptions::empty());
        let ended = Instant::now();
        let (opened, at) =
            opener.join().map_err(|_| Failure::Rig("a thread that opens a file panicked".into()))?;
        match gone.map_err(rig("waiting for a forked child"))? {
            Some((_, status)) if status.exit_status() == Some(0) => Ok((opened, at, ended)),
            status => violation(format!("a forked child ended with {status:?}")),
        }
    })?;
    match opened {
        Ok(()) => Ok(at.saturating_duration_since(ended)),
        Err(error) => violation(format!("the child is gone, and who waited is not let in: {error}")),
    }
}
