//! Runs the built command, in a folder of its own on a real disk.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// A folder that goes away. Not in /tmp, which may be in memory.
pub(crate) fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The command, to be run in `folder`.
pub(crate) fn steadfast(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    command
}

/// Until signals are no longer the kernel's to answer: SIGHUP is the last that the command begins to listen for.
#[track_caller]
pub(crate) fn until_it_listens(child: &mut Child) {
    let status = format!("/proc/{}/status", child.id());
    let listens = || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
        u64::from_str_radix(caught, 16).unwrap_or(0) & 1 << (Signal::HUP.as_raw() - 1) != 0
    };
    while !listens() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Standard output as one JSON object.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// Asserts that standard error is one complaint in which each of `parts` stands.
    #[track_caller]
    pub(crate) fn complains(&self, parts: &[&str]) {
        assert!(self.err.starts_with("steadfast: "), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is missing: {self:?}");
        }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs it to its end.
pub(crate) fn run(folder: &Path, args: &[&str]) -> Said {
    steadfast(folder, args).output().unwrap().into()
}

/// Runs it to its end with this standard input.
pub(crate) fn run_with(folder: &Path, args: &[&str], input: impl AsRef<[u8]>) -> Said {
    let mut child = steadfast(folder, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may stop before it has read everything; that shows in what it says.
    let _ = child.stdin.take().unwrap().write_all(input.as_ref());
    child.wait_with_output().unwrap().into()
}

/// `steadfast apply` driven through pipes.
pub(crate) struct Driven {
    pub(crate) child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Driven {
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Driven {
        let mut child = steadfast(folder, args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Driven { child, input, output }
    }

    /// Sends one line.
    pub(crate) fn send(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line that it prints, without its end; empty at the end of its output.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends a commit line and waits for the acknowledgement.
    #[track_caller]
    pub(crate) fn commit(&mut self) -> u64 {
        self.send(r#"{"commit":true}"#);
        commit_id(&self.hear())
    }

    /// Ends the input and waits for the end.
    pub(crate) fn finish(mut self) -> i32 {
        self.input = None;
        let rest = self.hear();
        assert_eq!(rest, "", "more output than commits");
        self.child.wait().unwrap().code().unwrap()
    }

    /// Kills it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The number in a line `{"commit":N}`, which holds nothing else.
#[track_caller]
pub(crate) fn commit_id(line: &str) -> u64 {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let id = value["commit"].as_u64().unwrap();
    assert_eq!(line, format!("{{\"commit\":{id}}}"));
    id
}

/// The keys of a JSON object, sorted.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
