//! One round: a child commits, is killed, and what it leaves is recovered and compared.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use steadfast::Resolution;

use super::check::{self, Outcome};
use super::child::{Stores, Verb};
use super::model::Model;
use super::report::RoundReport;
use crate::failure::Failure;
use crate::output::Progress;
use crate::pattern::mix;

/// The child lives this long after its first commit began, at least and at most.
const LIFE_MS: std::ops::Range<u64> = 150..1350;
/// A child that is silent for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// When its time has come, the child is killed in the next commit, but no later than after this.
const NEXT_COMMIT_MAX: Duration = Duration::from_secs(2);

/// What a round does.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Counted from 1.
    pub(crate) number: u32,
    /// The number of the first commit.
    pub(crate) first: u64,
    pub(crate) verb: Verb,
    pub(crate) stores: Stores,
    pub(crate) allow_volatile: bool,
}

/// Runs one round on `file`, which is in the state of commit `plan.first - 1`.
pub(crate) fn run(
    plan: &Plan,
    file: &Path,
    model: &Model,
    progress: &Progress,
) -> Result<RoundReport, Failure> {
    let seen = commit_and_kill(plan, file, model)
        .map_err(|error| Failure::Failed(format!("the child process: {error}")))??;
    let acknowledged = seen.done.unwrap_or(plan.first - 1);

    progress.say(&format!("round {}: recovering", plan.number));
    let started = Instant::now();
    let recovery = steadfast::recover(file, Resolution::Replay)?;
    let recover_ms = millis(started);

    progress.say(&format!("round {}: comparing every byte", plan.number));
    let started = Instant::now();
    let outcome = check::check(file, model, acknowledged)
        .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", file.display())))?;
    let check_ms = millis(started);
    let (commit, wrong) = match outcome {
        Outcome::Whole(commit) => (commit, None),
        Outcome::Wrong(wrong) => (acknowledged, Some(wrong)),
    };
    Ok(RoundReport {
        round: plan.number,
        opened: plan.verb,
        stores: plan.stores,
        commits: acknowledged + 1 - plan.first,
        edits: (plan.first..=acknowledged).map(|n| model.edits(n).count() as u64).sum(),
        killed_in_commit: seen.begun.is_some_and(|begun| begun > acknowledged),
        last_id: seen.last_id,
        commit,
        in_flight_kept: commit > acknowledged,
        file_bytes: model.len_after(commit),
        replayed_commits: recovery.replayed_commits,
        recover_ms,
        check_ms,
        wrong,
    })
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What the child said before it died.
#[derive(Debug, Default)]
struct Seen {
    begun: Option<u64>,
    done: Option<u64>,
    last_id: Option<u64>,
}

fn commit_and_kill(plan: &Plan, file: &Path, model: &Model) -> io::Result<Result<Seen, Failure>> {
    let mut child = Victim(
        Command::new(std::env::current_exe()?)
            .arg("tour-child")
            .arg("--file")
            .arg(file)
            .args(["--seed", &model.seed().to_string()])
            .args(["--size", &model.base_bytes().to_string()])
            .args(["--first", &plan.first.to_string()])
            .args(["--verb", if plan.verb == Verb::Load { "load" } else { "view" }])
            .args([
                "--stores",
                match plan.stores {
                    Stores::Declared => "declared",
                    Stores::Plain => "plain",
                    Stores::Mixed => "mixed",
                },
            ])
            .args(["--parent", &std::process::id().to_string()])
            .args(plan.allow_volatile.then_some("--allow-volatile"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let Some(stdout) = child.0.stdout.take() else {
        return Err(io::Error::other("it has no standard output"));
    };
    let mut words = Words { stdout, rest: Vec::new(), seen: Seen::default() };

    // When: at a moment drawn from the seed, in mid-commit.
    let draw = |purpose| mix(mix(model.seed(), u64::from(plan.number)), purpose);
    let life = Duration::from_millis(LIFE_MS.start + draw(0) % (LIFE_MS.end - LIFE_MS.start));
    let mut first_begun: Option<Instant> = None;
    loop {
        let wait = match first_begun {
            None => SILENCE_MAX,
            Some(begun) => (life + NEXT_COMMIT_MAX).saturating_sub(begun.elapsed()),
        };
        match words.listen(wait)? {
            Heard::Nothing if first_begun.is_none() => {
                return Ok(Err(Failure::Failed(format!(
                    "the child process said nothing for {} seconds",
                    SILENCE_MAX.as_secs()
                ))));
            }
            // A single commit that lasts this long: that is mid-commit enough.
            Heard::Nothing => break,
            Heard::End => {
                let status = child.0.wait()?;
                return Ok(Err(Failure::Failed(format!(
                    "the child process stopped by itself ({status}); its own message stands above"
                ))));
            }
            Heard::Words => {}
        }
        let Some(begun) = words.seen.begun else { continue };
        let since = *first_begun.get_or_insert_with(Instant::now);
        if since.elapsed() >= life && words.seen.done != Some(begun) {
            // It has just begun a commit. Somewhere within the time that one takes:
            let commits = begun - plan.first + 1;
            let usual = since.elapsed() / u32::try_from(commits).unwrap_or(u32::MAX);
            wait_for(usual.mul_f64((draw(1) >> 11) as f64 / (1u64 << 53) as f64));
            break;
        }
        if since.elapsed() >= life + NEXT_COMMIT_MAX {
            break;
        }
    }
    child.0.kill()?;
    child.0.wait()?;
    // What it had said before it died is still in the pipe, and counts.
    while matches!(words.listen(SILENCE_MAX)?, Heard::Words) {}
    Ok(Ok(words.seen))
}

/// Waits more precisely than a sleep, which oversleeps by half a commit.
fn wait_for(time: Duration) {
    const SLEEP_OVERSHOOT: Duration = Duration::from_micros(200);
    let started = Instant::now();
    if time > SLEEP_OVERSHOOT {
        std::thread::sleep(time - SLEEP_OVERSHOOT);
    }
    while started.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A child that does not outlive this, whatever goes wrong meanwhile.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        // Both fail only if it is dead and waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child's end of the conversation.
struct Words {
    stdout: ChildStdout,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    seen: Seen,
}

enum Heard {
    Words,
    Nothing,
    End,
}

impl Words {
    /// Waits for words, and takes in all that are there.
    fn listen(&mut self, wait: Duration) -> io::Result<Heard> {
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.stdout, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Ok(Heard::Nothing),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Heard::Words),
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 1 << 16];
        let bytes = match self.stdout.read(&mut buffer) {
            Ok(0) => return Ok(Heard::End),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Heard::Words),
            Err(error) => return Err(error),
        };
        self.rest.extend_from_slice(&buffer[..bytes]);
        let whole = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for line in self.rest[..whole].split(|&byte| byte == b'\n') {
            let mut words = std::str::from_utf8(line).unwrap_or_default().split(' ');
            let word = words.next();
            let mut number = || words.next().and_then(|number| number.parse::<u64>().ok());
            match word {
                Some("begin") => self.seen.begun = number().or(self.seen.begun),
                Some("done") => {
                    self.seen.done = number().or(self.seen.done);
                    self.seen.last_id = number().or(self.seen.last_id);
                }
                _ => {}
            }
        }
        self.rest.drain(..whole);
        Ok(Heard::Words)
    }
}
