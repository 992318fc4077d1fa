//! `steadfast apply`, driven through a pipe and killed; and `steadfast recover` after it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::judge::{By, copy_pair, journal_of, judge, judge_plain};
use super::lock::has_lock;
use super::process::{Heard, Moment, PATIENCE, Process};
use super::script::{Op, Script, bytes_of};
use super::tally::Tally;
use super::{Run, rig, violation};
use crate::history::History;
use crate::outcome::Failure;

const COMMITS: usize = 40;
const PAGES_MAX: usize = 256;

/// Kills it once, and judges.
pub(super) fn run(run: &mut Run<'_>, steadfast: &Path, tally: &mut Tally) -> Result<(), Failure> {
    let script = Script { seed: run.random.random(), map: 0, pages_max: PAGES_MAX };
    let path = run.folder.join(script.name());
    std::fs::write(&path, script.initial()).map_err(rig("a file to edit"))?;
    let command = |what: &[&str]| {
        let mut command = Command::new(steadfast);
        command.args(what).arg(&path);
        command
    };

    let started = Instant::now();
    let mut apply = Process::start(&mut command(&["apply"]))?;
    let Some(mut input) = apply.input.take() else {
        return Err(Failure::Rig("no pipe to the command".into()));
    };
    let lines = lines(&script);
    // Ends when all is written, or when the reader is dead.
    std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let behind = run.random.random_range(1..COMMITS);
    let share = run.share();
    let moment = match run.number % 3 {
        // The first is left alone: so the others know how long it takes.
        _ if tally.usual.is_zero() => Moment::Behind(usize::MAX, Duration::ZERO),
        0 => Moment::After(tally.usual.mul_f64(share)),
        1 => Moment::Behind(behind, Duration::ZERO),
        _ => Moment::Behind(behind, (tally.usual / COMMITS as u32).mul_f64(2.0 * share)),
    };
    let mut acknowledged = 0;
    let mut nonsense = None;
    let mut hear = |line: &str| {
        let told = line.starts_with("{\"commit\":");
        acknowledged += usize::from(told);
        if !told {
            nonsense = Some(line.to_owned());
        }
        told
    };
    apply.until(moment, &mut hear)?;
    let killed = apply.kill()?;
    let over_after = started.elapsed();
    for line in apply.output.rest()? {
        hear(&line);
    }
    if let Some(line) = nonsense {
        return Err(Failure::Rig(format!("the command said {line:?}")));
    }
    tally.killed_mid_run += u64::from(killed);
    if !killed {
        tally.usual = if tally.usual.is_zero() { over_after } else { (tally.usual + over_after) / 2 };
        if acknowledged != COMMITS {
            return violation(format!("it ended well with {acknowledged} of {COMMITS} commits acknowledged"));
        }
    }

    // A commit is acknowledged before the next is read: one can be in flight.
    let mut state = script.initial();
    let mut history = History::new(state.clone());
    for n in 1..=(acknowledged + 1).min(COMMITS) {
        script.advance(&mut state, n);
        history.states.push(Arc::new(state.clone()));
    }
    history.durable = acknowledged;

    copy_pair(&path, "killed")?;
    if !run.number.is_multiple_of(4) {
        let waits = journal_of(&path).exists();
        let mut recovery = Process::start(&mut command(&["recover"]))?;
        until_it_recovers(&recovery)?;
        std::thread::sleep(tally.usual_recovery.mul_f64(run.share()));
        let killed = recovery.kill()?;
        // One that had nothing to recover, or was through with it, was not killed in it.
        tally.killed_in_recovery += u64::from(killed && waits && journal_of(&path).exists());
    }
    // By the library and by the command: the same.
    let copy = copy_pair(&path, "copy")?;
    let started = Instant::now();
    let recovered = command(&["recover", "--json"]).output().map_err(rig("steadfast recover"))?;
    let took = started.elapsed();
    if !recovered.status.success() {
        return violation(format!("recover: {}", String::from_utf8_lossy(&recovered.stderr)));
    }
    let told: serde_json::Value =
        serde_json::from_slice(&recovered.stdout).map_err(rig("steadfast recover --json"))?;
    if told["journal_found"] == true {
        tally.usual_recovery = took;
    }
    let replayed = told["replayed_commits"].as_u64().unwrap_or(0) > 0;
    tally.recoveries_that_replayed += u64::from(replayed);
    let found = judge_plain(&path, &history, run.spoil, tally)?;
    let by = if run.random.random() { By::Opening } else { By::Recovering };
    // Counted once: it is the same crash.
    let found_in_copy = judge(&copy, &history, by, false, &mut tally.clone())?;
    if found != found_in_copy {
        return violation(format!("the command recovers state {found}, the library state {found_in_copy}"));
    }
    Ok(())
}

/// Waits until a recovery has the file's lock. One that ends before that is seen is over.
fn until_it_recovers(recovery: &Process) -> Result<(), Failure> {
    let started = Instant::now();
    while !has_lock(recovery.id()) && recovery.output.next(Duration::ZERO) != Heard::End {
        if started.elapsed() > PATIENCE {
            return violation(format!("`steadfast recover` has no lock and does not end for {PATIENCE:?}"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// The script in the command's language.
fn lines(script: &Script) -> String {
    let mut text = String::new();
    let mut len = script.initial().len();
    for n in 1..=COMMITS {
        for op in script.change(n, len).ops {
            let Op::Put { how, at, len: count } = op else {
                if let Op::Resize(to) = op {
                    len = to;
                    text += &format!("{{\"resize\":{to}}}\n");
                }
                continue;
            };
            let bytes = bytes_of(how, at, count, n);
            if let (super::script::How::Fill, Some(byte)) = (how, bytes.first()) {
                text += &format!("{{\"fill\":{byte},\"at\":{at},\"len\":{count}}}\n");
                continue;
            }
            text += &format!("{{\"at\":{at},\"hex\":\"");
            for byte in bytes {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            text += "\"}\n";
        }
        text += "{\"commit\":true}\n";
    }
    text
}
