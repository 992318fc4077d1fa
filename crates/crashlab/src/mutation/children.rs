//! The program that was built anew: building it, asking it, and what it answers.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Figures, Options, Switch};
use crate::outcome::Failure;

/// The environment variable that names the switch that is out.
const VARIABLE: &str = "STEADFAST_KNOCK_OUT";
/// A suite that takes this long hangs, unless it takes as long with nothing left out.
const DEADLINE: Duration = Duration::from_secs(120);
/// So many times as long as with nothing left out.
const PATIENCE: f64 = 10.0;
/// How a program ends by its own fault: abort, and accesses to memory that is not there.
const OWN_SIGNALS: [i32; 4] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL];
const AT_A_TIME: usize = 2;

/// What the program is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Task {
    /// The list of switches.
    List,
    /// The suite.
    Suite,
}

/// How it ended with one switch out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Caught { part: String },
    Panicked,
    Hung,
    Passed,
}

#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) end: End,
    pub(super) reached: u64,
    pub(super) seconds: f64,
    pub(super) said: String,
}

/// What the suite says at its end, as one line.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    part: Option<String>,
    reached: u64,
    said: String,
}

fn rig(what: impl std::fmt::Display) -> Failure {
    Failure::Rig(what.to_string())
}

/// Builds this program with all switches in it.
pub(super) fn build() -> Result<PathBuf, Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or_else(|| rig("no workspace"))?;
    let target = root.join("target/mutate");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--release", "--locked", "-p", "crashlab", "--features", "mutate"])
        .arg("--target-dir")
        .arg(&target)
        .status()
        .map_err(rig)?;
    if status.success() {
        Ok(target.join("release/crashlab"))
    } else {
        Err(rig("it cannot be built with switches"))
    }
}

/// Every switch, by name.
pub(super) fn switches(program: &Path) -> Result<Vec<Switch>, Failure> {
    let output = Command::new(program).args(["mutate", "--child", "list"]).output().map_err(rig)?;
    if !output.status.success() {
        return Err(rig(format!("its list of switches: {}", output.status)));
    }
    let mut switches: Vec<Switch> = serde_json::from_slice(&output.stdout).map_err(rig)?;
    switches.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(twice) = switches.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(rig(format!("two switches are called {:?}", twice[0].name)));
    }
    Ok(switches)
}

/// Each in turn, some at a time.
pub(super) fn try_all(
    program: &Path,
    switches: &[Switch],
    whole: &Attempt,
    options: &Options,
) -> Result<Vec<Attempt>, Failure> {
    let next = Mutex::new(0..switches.len());
    let work = || -> Result<Vec<(usize, Attempt)>, Failure> {
        let mut done = Vec::new();
        loop {
            let index = next.lock().map_err(rig)?.next();
            let Some(switch) = index.and_then(|index| Some((index, switches.get(index)?))) else {
                return Ok(done);
            };
            let attempt = try_one(program, Some(&switch.1.name), Some(whole), options)?;
            eprintln!("{:?} {:.1}s  {} ({})", attempt.end, attempt.seconds, switch.1.name, attempt.said);
            done.push((switch.0, attempt));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| rig("a thread panicked"))??);
        }
        Ok::<_, Failure>(all)
    })?;
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, attempt)| attempt).collect())
}

/// Runs the suite with this switch out. `whole` is how it ended with none.
pub(super) fn try_one(
    program: &Path,
    out: Option<&str>,
    whole: Option<&Attempt>,
    options: &Options,
) -> Result<Attempt, Failure> {
    let deadline =
        DEADLINE.max(Duration::from_secs_f64(whole.map_or(300.0, |whole| PATIENCE * whole.seconds)));
    let begun = Instant::now();
    let mut command = Command::new(program);
    command.args(["mutate", "--child", "suite", "--seed", &options.seed.to_string()]);
    command.args(["--dose", &options.dose.to_string(), "--by", options.by.name()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).env_remove(VARIABLE);
    if let Some(name) = out {
        command.env(VARIABLE, name);
    }
    let mut child = command.spawn().map_err(rig)?;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(rig)? {
            break Some(status);
        }
        if begun.elapsed() > deadline {
            child.kill().and_then(|()| child.wait()).map_err(rig)?;
            break None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let seconds = begun.elapsed().as_secs_f64();
    let mut said = String::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_string(&mut said).map_err(rig)?;
    }
    let attempt = |end, reached, said| Ok(Attempt { end, reached, seconds, said });
    let answer: Option<Answer> = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    match (status, answer) {
        (None, _) => attempt(End::Hung, 1, String::new()),
        (Some(status), Some(answer)) => match (answer.part, status.code()) {
            (Some(part), Some(1)) => attempt(End::Caught { part }, answer.reached, answer.said),
            (None, Some(0)) => attempt(End::Passed, answer.reached, answer.said),
            _ => Err(rig(format!("the suite ended with {status} and said {said:?}"))),
        },
        // 101: Rust's panics.
        (Some(status), _)
            if status.code() == Some(101)
                || status.signal().is_some_and(|signal| OWN_SIGNALS.contains(&signal)) =>
        {
            attempt(End::Panicked, 1, status.to_string())
        }
        (Some(status), _) => Err(rig(format!("the suite ended with {status} and said {said:?}"))),
    }
}

/// In the program that was built anew.
pub(super) fn answer(task: Task, options: &Options) -> Result<Figures, Failure> {
    match task {
        Task::List => {
            println!("{}", serde_json::to_string(&own_switches()).map_err(rig)?);
            std::process::exit(0)
        }
        Task::Suite => {
            let found = options.by.run(options.seed, options.dose);
            let (part, said) = match found {
                Ok(()) => (None, String::new()),
                Err((part, Failure::Violation(what))) => (Some(part.to_owned()), what),
                Err((_, failure)) => return Err(failure),
            };
            let answer = Answer { part, reached: own_reached(), said };
            println!("{}", serde_json::to_string(&answer).map_err(rig)?);
            std::process::exit(i32::from(answer.part.is_some()))
        }
    }
}

#[cfg(feature = "mutate")]
fn own_switches() -> Vec<Switch> {
    steadfast::knockout::switches()
        .map(|switch| Switch {
            name: switch.name.to_owned(),
            kind: match switch.kind {
                steadfast::knockout::Kind::Sync => super::Kind::Sync,
                steadfast::knockout::Kind::Step => super::Kind::Step,
                steadfast::knockout::Kind::Check => super::Kind::Check,
            },
            place: format!("{}:{}", switch.file, switch.line),
        })
        .collect()
}

#[cfg(feature = "mutate")]
fn own_reached() -> u64 {
    steadfast::knockout::reached()
}

#[cfg(not(feature = "mutate"))]
fn own_switches() -> Vec<Switch> {
    Vec::new()
}

#[cfg(not(feature = "mutate"))]
fn own_reached() -> u64 {
    0
}
