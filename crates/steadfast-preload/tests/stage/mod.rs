//! A C program under the library: it does what it is told, a call at a time, and can be killed in between.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// What the program has in errno before each call.
pub(crate) const UNTOUCHED: i32 = 77;

/// A folder that goes away. Not in /tmp, which may be in memory.
pub(crate) fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The library that is tested: cargo builds it before its tests, and puts it beside them.
pub(crate) fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.parent().unwrap().join("libsteadfast_preload.so");
    assert!(library.exists(), "{} is not there", library.display());
    library
}

/// The C program, as each compiler that is here makes it. What is lacking is printed.
pub(crate) fn actors() -> &'static [PathBuf] {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stage/actor.c");
        let test = std::env::current_exe().unwrap();
        let mut built = Vec::new();
        for (compiler, name, flags) in [
            ("gcc", "plain", &["-O1"][..]),
            ("gcc", "large", &["-O2", "-D_FILE_OFFSET_BITS=64", "-D_FORTIFY_SOURCE=2"]),
            ("clang", "clang", &["-O1"]),
        ] {
            // Its own for each process of tests: several build at once.
            let tests = test.file_stem().unwrap().to_string_lossy();
            let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("actor-{name}-{tests}"));
            let done = Command::new(compiler).args(flags).arg("-o").arg(&program).arg(&source).status();
            match done {
                Ok(status) if status.success() => built.push(program),
                Ok(status) => panic!("{compiler} {flags:?}: {status}"),
                Err(error) => println!("lacking: {compiler} ({error}); not tested with it"),
            }
        }
        assert!(!built.is_empty(), "a C compiler is needed: gcc or clang");
        built
    })
}

/// A command with the library before it, and none of its variables from outside.
pub(crate) fn under(program: impl AsRef<std::ffi::OsStr>, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    for name in ["STEADFAST_ATOMIC", "STEADFAST_PUBLISH", "STEADFAST_STRICT", "STEADFAST_LOG"] {
        command.env_remove(name);
    }
    command.env("LD_PRELOAD", library()).envs(settings.iter().copied());
    command
}

/// What a call did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) value: i64,
    pub(crate) errno: i32,
    pub(crate) text: String,
}

/// The program at work.
pub(crate) struct Actor {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    stderr: PathBuf,
}

impl Actor {
    /// In a folder, with these variables.
    pub(crate) fn start(folder: &Path, settings: &[(&str, &str)]) -> Actor {
        Actor::start_as(&actors()[0], folder, settings)
    }

    pub(crate) fn start_as(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> Actor {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stderr = folder.join(format!("stderr-{number}"));
        let mut child = under(program, settings)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Actor { child, input, output, stderr }
    }

    /// With every file whose name ends in `.bin` atomic.
    pub(crate) fn atomic(folder: &Path) -> Actor {
        Actor::start(folder, &[("STEADFAST_ATOMIC", "*.bin")])
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line of its output.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    /// Makes one call.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> Answer {
        self.send(line);
        let said = self.hear();
        let mut words = said.splitn(3, ' ');
        let mut number = || words.next().and_then(|word| word.parse::<i64>().ok());
        let (Some(value), Some(errno)) = (number(), number()) else {
            panic!("{line}: {said:?}; standard error: {}", self.said())
        };
        Answer { value, errno: errno as i32, text: words.next().unwrap_or_default().to_owned() }
    }

    /// Makes a call that succeeds and leaves errno alone; what it returned.
    #[track_caller]
    pub(crate) fn works(&mut self, line: &str) -> i64 {
        let answer = self.ask(line);
        assert!(answer.value >= 0, "{line}: {answer:?}; standard error: {}", self.said());
        assert_eq!(answer.errno, UNTOUCHED, "{line}: errno was changed");
        answer.value
    }

    /// Makes a call that succeeds; the bytes that it brought.
    #[track_caller]
    pub(crate) fn brings(&mut self, line: &str) -> String {
        let answer = self.ask(line);
        assert!(answer.value >= 0, "{line}: {answer:?}; standard error: {}", self.said());
        assert_eq!(answer.errno, UNTOUCHED, "{line}: errno was changed");
        answer.text
    }

    /// Makes a call that fails with this errno.
    #[track_caller]
    pub(crate) fn fails(&mut self, line: &str, errno: i32) {
        let answer = self.ask(line);
        assert_eq!((answer.value, answer.errno), (-1, errno), "{line}; standard error: {}", self.said());
    }

    /// What stands on its standard error so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Ends it with a call, and waits: what it printed after that call, how it ended, and its standard error.
    pub(crate) fn ends(mut self, line: &str) -> (String, ExitStatus, String) {
        self.send(line);
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        self.input = None;
        let status = self.child.wait().unwrap();
        (rest, status, fs::read_to_string(&self.stderr).unwrap())
    }

    /// Ends its input, and with it `main`; how it ended.
    pub(crate) fn runs_out(mut self) -> ExitStatus {
        self.input = None;
        self.child.wait().unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of zeros.
pub(crate) fn zeros(folder: &Path, name: &str, len: usize) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, vec![0; len]).unwrap();
    path
}

/// What a file has at an offset, as text, as anybody reads it.
#[track_caller]
pub(crate) fn plain(path: &Path, offset: usize, len: usize) -> String {
    let bytes = fs::read(path).unwrap();
    shown(&bytes[offset..offset + len])
}

/// The same after whatever a crash left was recovered.
#[track_caller]
pub(crate) fn recovered(path: &Path, offset: usize, len: usize) -> String {
    steadfast::recover(path, steadfast::Resolution::Replay).unwrap();
    plain(path, offset, len)
}

fn shown(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| if byte == 0 { '.' } else { char::from(byte) }).collect()
}
