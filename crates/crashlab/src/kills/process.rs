//! Processes that the rig starts, listens to and kills.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::child::Job;
use crate::outcome::Failure;

/// Whoever says nothing for so long hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process, and what it says. It never outlives this.
pub(crate) struct Process {
    child: Child,
    /// Its end of it: dropped, its standard input ends.
    pub(crate) input: Option<ChildStdin>,
    pub(crate) output: Lines,
    pub(crate) errors: Lines,
}

/// Lines as they come.
pub(crate) struct Lines(Receiver<String>);

/// When to kill.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    /// This long after the start.
    After(Duration),
    /// So long after so many acknowledgements were read.
    Behind(usize, Duration),
}

/// What came of a line, or of none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Line(String),
    Nothing,
    End,
}

impl Lines {
    fn of(from: impl Read + Send + 'static) -> Lines {
        let (sender, receiver) = mpsc::channel();
        // Ends with the pipe, or with whoever listens.
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Lines(receiver)
    }

    pub(crate) fn next(&self, timeout: Duration) -> Heard {
        match self.0.recv_timeout(timeout) {
            Ok(line) => Heard::Line(line),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// Every line that is still to come.
    pub(crate) fn rest(&self) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        loop {
            match self.next(PATIENCE) {
                Heard::Line(line) => lines.push(line),
                Heard::End => return Ok(lines),
                Heard::Nothing => return Err(Failure::Rig("a killed process's pipe does not end".into())),
            }
        }
    }
}

impl Process {
    /// Starts a command.
    pub(crate) fn start(command: &mut Command) -> Result<Process, Failure> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = piped.spawn();
        let mut child = started.map_err(|error| Failure::Rig(format!("{command:?}: {error}")))?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Failure::Rig("a process without pipes".into()));
        };
        let input = child.stdin.take();
        Ok(Process { child, input, output: Lines::of(output), errors: Lines::of(errors) })
    }

    /// Starts this program again, with a job.
    pub(super) fn with_job(program: &Path, job: &Job) -> Result<Process, Failure> {
        let job = serde_json::to_string(job).map_err(|error| Failure::Rig(error.to_string()))?;
        Process::start(Command::new(program).args(["kill", "--child", &job]))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Listens until the moment has come, or the process's end. `hear` says of a line whether it is an acknowledgement.
    pub(crate) fn until(&self, moment: Moment, mut hear: impl FnMut(&str) -> bool) -> Result<(), Failure> {
        let started = Instant::now();
        match moment {
            Moment::After(delay) => loop {
                match self.output.next(delay.saturating_sub(started.elapsed())) {
                    Heard::Line(line) => drop(hear(&line)),
                    Heard::Nothing | Heard::End => return Ok(()),
                }
            },
            Moment::Behind(count, delay) => {
                let mut acknowledged = 0;
                while acknowledged < count {
                    match self.output.next(PATIENCE) {
                        Heard::Line(line) => acknowledged += usize::from(hear(&line)),
                        Heard::End => return Ok(()),
                        Heard::Nothing => return Err(self.hangs()),
                    }
                }
                // Less than a sleep can be trusted with.
                let read = Instant::now();
                while read.elapsed() < delay {
                    std::hint::spin_loop();
                }
                Ok(())
            }
        }
    }

    /// The next line, which must come.
    pub(crate) fn line(&self) -> Result<String, Failure> {
        match self.output.next(PATIENCE) {
            Heard::Line(line) => Ok(line),
            Heard::Nothing => Err(self.hangs()),
            Heard::End => Err(self.complaint("ended early")),
        }
    }

    fn hangs(&self) -> Failure {
        Failure::Violation(format!("process {} says nothing for {PATIENCE:?}", self.id()))
    }

    fn complaint(&self, how: &str) -> Failure {
        let mut said = Vec::new();
        while let Heard::Line(line) = self.errors.next(Duration::from_millis(200)) {
            said.push(line);
        }
        Failure::Violation(format!("process {} {how}: {}", self.id(), said.join("; ")))
    }

    /// SIGKILL. `true` if it died of it; an end with an error is a violation.
    pub(crate) fn kill(&mut self) -> Result<bool, Failure> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        self.judge_end(killed.map_err(|error| Failure::Rig(format!("kill: {error}")))?)
    }

    /// Waits for its end, which must be a good one. Its input ends now.
    pub(crate) fn finish(&mut self) -> Result<Vec<String>, Failure> {
        self.input = None;
        let lines = self.output.rest()?;
        let status = self.child.wait().map_err(|error| Failure::Rig(format!("wait: {error}")))?;
        self.judge_end(status)?;
        Ok(lines)
    }

    fn judge_end(&self, status: ExitStatus) -> Result<bool, Failure> {
        if status.signal() == Some(9) {
            return Ok(true);
        }
        if status.success() { Ok(false) } else { Err(self.complaint(&format!("ended with {status}"))) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
