//! The other hand: what it does to the files, when their process has done so much; and it notices how that process ends.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use rustix::fs::FallocateFlags;

use super::child::{Job, PATIENCE, Rounds};
use super::control::{Control, Word};
use super::places::Ground;
use super::plan::{Action, On, Place, Plan};
use super::tally::{Counts, Tally};
use crate::outcome::Failure;

/// How a process ended.
pub(super) enum End {
    /// All of its rounds were done.
    Well,
    /// By this signal, in this round.
    Signal(i32, u64),
}

/// A process that is judged. It never outlives this.
struct Judged {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Judged {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rig(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Rig(format!("{what}: {error}"))
}

impl Judged {
    fn start(program: &Path, job: &Job) -> Result<Judged, Failure> {
        let job = serde_json::to_string(job).map_err(|error| rig("a job", error))?;
        let mut command = Command::new(program);
        command.args(["hands", "--child", &job]).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| rig("a process", error))?;
        let (sender, lines) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Judged { child, lines })
    }

    fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// Does what the plans of these rounds say, to a process that works on the files meanwhile. A broken promise is the round's.
pub(super) fn play(
    program: &Path,
    rounds: &Rounds,
    control: &Control,
    ground: &mut Ground,
    tally: &mut Tally,
) -> Result<End, Failure> {
    for word in [Word::Ready, Word::Over, Word::Good] {
        control.set(word, 0);
    }
    let mut judged = Judged::start(program, &Job::Rounds(rounds.clone()))?;
    for number in rounds.first..rounds.end {
        let plan = Plan::draw(rounds.part, rounds.seed, number);
        let (place, _) = rounds.place(number);
        let started = Instant::now();
        let mut hangs = false;
        let mut wait = |judged: &mut Judged, done: &dyn Fn(&Control) -> bool| {
            let go_on = || {
                hangs = started.elapsed() > PATIENCE;
                !hangs && !judged.is_over()
            };
            control.wait(done, go_on)
        };
        let ready = wait(&mut judged, &|control| control.get(Word::Ready) == number + 1);
        let is_over = |control: &Control| control.get(Word::Over) == number + 1;
        if ready {
            for (index, &(at, action)) in plan.actions.iter().enumerate() {
                wait(&mut judged, &|control| control.get(Word::Progress) >= at || is_over(control));
                if is_over(control) || judged.is_over() {
                    break;
                }
                control.set(Word::Begun, index as u64 + 1);
                act(action, &plan, &rounds.folder(number), place, ground)?;
                control.set(Word::Ended, index as u64 + 1);
                *tally.actions.entry(name(action)).or_default() += 1;
            }
            wait(&mut judged, &is_over);
        }
        ground.make_good(place)?;
        control.set(Word::Good, number + 1);
        if hangs {
            return Err(Failure::Violation(format!("round {number}: the process hangs")));
        }
        if judged.is_over() {
            break;
        }
    }
    end(judged, rounds, tally)
}

/// Listens to the end.
fn end(mut judged: Judged, rounds: &Rounds, tally: &mut Tally) -> Result<End, Failure> {
    let mut last = rounds.first;
    let mut what = None;
    loop {
        match judged.lines.recv_timeout(PATIENCE) {
            Ok(line) => match line.split_once(' ') {
                Some(("r", number)) => last = number.parse().map_err(|error| rig("a line", error))?,
                Some(("d", rest)) => {
                    let (number, counts) = rest.split_once(' ').unwrap_or((rest, ""));
                    let number: u64 = number.parse().map_err(|error| rig("a line", error))?;
                    let counts: Counts =
                        serde_json::from_str(counts).map_err(|error| rig("a line", error))?;
                    tally.counts.add(counts);
                    let plan = Plan::draw(rounds.part, rounds.seed, number);
                    let kind = format!("{:?} {:?}", plan.on, rounds.place(number).0).to_lowercase();
                    *tally.rounds.entry(kind).or_default() += 1;
                }
                Some(("v", told)) => what = Some(told.to_owned()),
                _ => {}
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(Failure::Violation(format!("round {last}: the process does not end")));
            }
        }
    }
    let status = judged.child.wait().map_err(|error| rig("wait", error))?;
    match (status.signal(), what) {
        (Some(signal), _) => Ok(End::Signal(signal, last)),
        (None, Some(what)) => match what.strip_prefix("rig: ") {
            Some(what) => Err(Failure::Rig(format!("round {last}: {what}"))),
            None => {
                let plan = Plan::draw(rounds.part, rounds.seed, last);
                let place = rounds.place(last).0;
                Err(Failure::Violation(format!(
                    "round {last}: {what}; it was {:?} on {place:?}, and the hand did, after so much work: {:?}",
                    plan.on, plan.actions
                )))
            }
        },
        (None, None) if status.success() => Ok(End::Well),
        (None, None) => Err(Failure::Rig(format!("round {last}: the process ended with {status}"))),
    }
}

/// Lets a process touch every other page of a file that cannot be read: what it says.
pub(super) fn flood(program: &Path, path: &Path) -> Result<String, Failure> {
    let mut judged = Judged::start(program, &Job::Flood(path.to_owned()))?;
    let mut said = None;
    while let Ok(line) = judged.lines.recv_timeout(10 * PATIENCE) {
        said = Some(line);
    }
    let status = judged.child.wait().map_err(|error| rig("wait", error))?;
    match said.as_deref().and_then(|line| line.split_once(' ')) {
        Some(("f", text)) if status.success() => Ok(text.to_owned()),
        Some(("v", what)) => Err(Failure::Violation(format!("a flood of faults: {what}"))),
        _ => Err(Failure::Violation(format!("a flood of faults: the process ended with {status}"))),
    }
}

fn name(action: Action) -> String {
    match action {
        Action::SetLen(0) => "cut to nothing",
        Action::SetLen(_) => "cut or made longer",
        Action::Punch(..) => "punched",
        Action::Replace => "replaced",
        Action::Remove => "removed",
        Action::FailReads(0) => "all reads fail",
        Action::FailReads(_) => "some reads fail",
        Action::FailWrites => "writes fail",
        Action::Heal => "healed",
        Action::Forget => "cache dropped",
        Action::Gone => "mount gone",
        Action::Fill => "filled",
        Action::Free => "freed",
    }
    .to_owned()
}

fn act(action: Action, plan: &Plan, folder: &Path, place: Place, ground: &mut Ground) -> Result<(), Failure> {
    if matches!(place, Place::Served | Place::Small | Place::Limited) {
        return ground.act(action, place, folder);
    }
    let names: &[&str] = match plan.on {
        On::Mapping => &["data"],
        On::Atomic => &["state-0", "state-3"],
    };
    for path in names.iter().map(|name| folder.join(name)) {
        match take(action, &path) {
            // It was removed before.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            done => done.map_err(|error| rig(&format!("{action:?} {}", path.display()), error))?,
        }
    }
    Ok(())
}

fn take(action: Action, path: &Path) -> std::io::Result<()> {
    let open = || File::options().write(true).open(path);
    match action {
        Action::SetLen(len) => open()?.set_len(len),
        Action::Punch(from, to) => {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Ok(rustix::fs::fallocate(open()?, how, from, to - from)?)
        }
        Action::Replace => {
            let mut other = path.as_os_str().to_owned();
            other.push(".other");
            let other = PathBuf::from(other);
            fs::write(&other, vec![0xf0; 5000])?;
            fs::rename(&other, path)
        }
        Action::Remove => fs::remove_file(path),
        _ => Ok(()),
    }
}
