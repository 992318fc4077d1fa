//! The stage that the tests of promises play on: folders on the real file system, pictures of them before and after,
//! file systems of our own, and other processes that follow a script.
//!
//! A script is a line of words, played in order by [`as_another_process`]:
//!
//! | word | what the other process does |
//! |---|---|
//! | `7` | commit 7, as [`Model::commit`] describes it |
//! | `~7` | the same, relaxed |
//! | `u7` | stores commit 7 and does not commit it |
//! | `ckpt` | a checkpoint |
//! | `ready` | says so, and waits until it is let go on |
//! | `close` | closes |
//! | `kill` | kills itself (SIGKILL) |
//! | `anywhere` | from here on accepts a file that is mounted by itself |
//! | `refused` | opens once more and prints the error |
//! | `reads` | opens for reading and prints which commit it sees, or the error |
//!
//! `load` and `view` as first word say how it opens; without them it loads.
#![allow(dead_code, reason = "each test file plays on a part of the stage")]

pub(crate) mod forbid;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use steadfast::{AtomicMapping, AtomicOptions, Error, ErrorKind, Result};
use tempfile::TempDir;

pub(crate) mod forging;

/// The name under which the mark stands on a data file.
pub(crate) const MARK: &str = "user.steadfast";
/// A user without any rights of its own.
pub(crate) const NOBODY: u32 = 65534;
/// Small, so that a journal is quickly made and quickly full.
pub(crate) const JOURNAL_BYTES: u64 = 64 << 10;
pub(crate) const LEN: usize = 48 << 10;
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A folder on the real file system.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // Other users may look in.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

pub(crate) fn journal_of(path: &Path) -> PathBuf {
    beside(path, ".steadfast")
}

pub(crate) fn fresh_of(path: &Path) -> PathBuf {
    beside(path, ".steadfast.fresh")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) fn options() -> AtomicOptions {
    AtomicMapping::options().journal_bytes(JOURNAL_BYTES)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Load,
    View,
}

pub(crate) const VERBS: [Verb; 2] = [Verb::Load, Verb::View];

/// Opens by either verb.
#[allow(unsafe_code)]
pub(crate) fn open(verb: Verb, options: AtomicOptions, path: &Path) -> Result<AtomicMapping> {
    match verb {
        Verb::Load => options.load(path),
        // SAFETY: the file lies in a folder that the test made. Nothing else writes it while the map is open; tests where
        // another hand does load it, or touch no page of the map afterwards.
        Verb::View => unsafe { options.view(path) },
    }
}

/// Everything that an observer of a folder can see: names, kinds, bytes, permissions, marks and link targets.
pub(crate) type Picture = BTreeMap<OsString, String>;

pub(crate) fn picture(folder: &Path) -> Picture {
    let describe = |entry: fs::DirEntry| {
        let path = entry.path();
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let what = if kind.is_symlink() {
            format!("link to {:?}", fs::read_link(&path).unwrap())
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            format!("file of {} bytes, sum {:x}, mark {:?}", bytes.len(), sum(&bytes), mark_of(&path))
        } else if kind.is_dir() {
            format!("folder {:?}", picture(&path))
        } else {
            format!("special, fifo: {}", kind.is_fifo())
        };
        (entry.file_name(), format!("{what}, mode {:o}, owner {}", meta.mode(), meta.uid()))
    };
    fs::read_dir(folder).unwrap().map(|entry| describe(entry.unwrap())).collect()
}

pub(crate) fn sum(bytes: &[u8]) -> u64 {
    // FNV-1a.
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

pub(crate) fn mark_of(path: &Path) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let count = rustix::fs::lgetxattr(path, MARK, value.as_mut_slice()).ok()?;
    value.truncate(count);
    Some(value)
}

pub(crate) fn set_mark(path: &Path, mark: Option<&[u8]>) {
    match mark {
        Some(mark) => {
            rustix::fs::lsetxattr(path, MARK, mark, rustix::fs::XattrFlags::empty()).unwrap();
        }
        None => rustix::fs::lremovexattr(path, MARK).unwrap(),
    }
}

/// As `cp -a`: bytes, permissions and extended attributes.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    if let Some(mark) = mark_of(from) {
        set_mark(to, Some(&mark));
    }
}

/// An error as every refusal must be: of this kind, naming this path, saying these words, one of which is what to do.
#[track_caller]
pub(crate) fn assert_says(error: &Error, kind: ErrorKind, path: &Path, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(&*path.to_string_lossy()), "names no {}: {text}", path.display());
    assert!(text.contains("; "), "does not say what to do: {text}");
    for word in words {
        assert!(text.contains(word), "does not say {word:?}: {text}");
    }
}

/// What committed states the scripts make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model(pub(crate) Vec<u8>);

impl Model {
    /// A file as it was before anyone opened it for commits.
    pub(crate) fn plain() -> Model {
        Model((0..LEN).map(|at| (at % 251) as u8).collect())
    }

    pub(crate) fn after(commits: &[u64]) -> Model {
        let mut model = Model::plain();
        commits.iter().for_each(|&number| model.commit(number));
        model
    }

    /// Commit `number`: its number at the start, and a run of its own at a place of its own, over a page boundary.
    pub(crate) fn commit(&mut self, number: u64) {
        for (at, bytes) in stores(number) {
            self.0[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }

    pub(crate) fn write(&self, path: &Path) {
        fs::write(path, &self.0).unwrap();
    }
}

pub(crate) fn stores(number: u64) -> [(usize, Vec<u8>); 2] {
    let at = 4096 * (1 + number as usize % 10) - 50;
    [(0, number.to_le_bytes().to_vec()), (at, vec![number as u8 ^ 0xa5; 100])]
}

pub(crate) fn store(map: &mut AtomicMapping, number: u64) {
    for (at, bytes) in stores(number) {
        map.write_at(at, &bytes).unwrap();
    }
}

/// The same, for the kernel to find.
pub(crate) fn store_plainly(map: &mut AtomicMapping, number: u64) {
    for (at, bytes) in stores(number) {
        map[at..at + bytes.len()].copy_from_slice(&bytes);
    }
}

const ENV_SCRIPT: &str = "STEADFAST_SCRIPT";
const ENV_PATH: &str = "STEADFAST_PATH";

/// The other side of [`other_process`]: every test file has a test of this name that calls it. Without a script, as in a
/// plain run of the tests, it has nothing to do.
pub(crate) fn as_another_process() {
    let (Ok(script), Some(path)) = (std::env::var(ENV_SCRIPT), std::env::var_os(ENV_PATH)) else { return };
    let path = PathBuf::from(path);
    let mut map = None;
    let mut verb = Verb::Load;
    let mut options = options();
    for word in script.split_whitespace() {
        let mut here = |word: &str| -> u64 {
            let number = word.parse().unwrap();
            store(map.get_or_insert_with(|| open(verb, options.clone(), &path).unwrap()), number);
            number
        };
        match word {
            "load" => verb = Verb::Load,
            "view" => verb = Verb::View,
            "anywhere" => options = options.allow_other_device(true),
            "open" => map = Some(open(verb, options.clone(), &path).unwrap()),
            "ckpt" => map.as_mut().unwrap().checkpoint().unwrap(),
            "ready" => {
                say("ready");
                std::io::stdin().read_line(&mut String::new()).unwrap();
            }
            "close" => map.take().unwrap().close().unwrap(),
            "refused" => {
                let error = open(verb, options.clone(), &path).unwrap_err();
                say(&format!("{:?}|{error}", error.kind()));
            }
            "reads" => match self::options().read_only(true).load(&path) {
                Ok(map) => say(&format!("commit {}, sum {:x}", map.status().last, sum(&map))),
                Err(error) => say(&format!("{:?}|{error}", error.kind())),
            },
            "kill" => {
                let me = rustix::process::getpid();
                rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
            }
            word if word.starts_with('u') => drop(here(&word[1..])),
            word if word.starts_with('~') => {
                here(&word[1..]);
                map.as_mut().unwrap().commit_relaxed().unwrap();
            }
            word => {
                here(word);
                map.as_mut().unwrap().commit().unwrap();
            }
        }
    }
}

/// Past the test harness, which would keep it to itself.
pub(crate) fn say(line: &str) {
    let mut output = std::io::stdout();
    writeln!(output, "\n>{line}").unwrap();
    output.flush().unwrap();
}

/// Another process that follows a script. Killed when dropped.
pub(crate) struct Other {
    pub(crate) child: Child,
    output: BufReader<ChildStdout>,
}

pub(crate) fn other_process(script: &str, path: &Path, user: Option<u32>) -> Other {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "as_another_process", "--nocapture"])
        .env(ENV_SCRIPT, script)
        .env(ENV_PATH, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    Other { child, output }
}

impl Other {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next thing that it says.
    pub(crate) fn hear(&mut self) -> String {
        let mut lines = (&mut self.output).lines().map(|line| line.unwrap());
        let line = lines.find(|line| line.starts_with('>')).expect("the other process ended without a word");
        line[1..].to_owned()
    }

    /// Waits for its `ready`.
    pub(crate) fn until_ready(&mut self) {
        assert_eq!(self.hear(), "ready");
    }

    /// Lets it go on after `ready`.
    pub(crate) fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn succeeds(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that [`Model::plain`] wrote, opened by a process that followed the script and was killed.
pub(crate) fn crash(path: &Path, script: &str) {
    use std::os::unix::process::ExitStatusExt;
    if !path.exists() {
        Model::plain().write(path);
    }
    let mut other = other_process(&format!("{script} kill"), path, None);
    assert_eq!(other.child.wait().unwrap().signal(), Some(9), "the script failed");
    assert!(journal_of(path).exists());
}

/// What an open by a user without rights is told: kind and message. `None`, and a word about it, where that cannot be
/// tried here.
pub(crate) fn refusal_for_nobody(path: &Path) -> Option<(String, String)> {
    let heard = heard_by_nobody("refused", path)?;
    let (kind, text) = heard.split_once('|').unwrap();
    Some((kind.to_owned(), text.to_owned()))
}

/// What a process of a user without rights says that follows the script, likewise.
pub(crate) fn heard_by_nobody(script: &str, path: &Path) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        lacking("root, to become another user");
        return None;
    }
    let program = std::env::current_exe().unwrap();
    for place in program.ancestors().chain(path.parent().unwrap().parent().unwrap().ancestors()) {
        if place.metadata().unwrap().mode() & 0o001 == 0 {
            lacking(&format!("a way for another user into {}", place.display()));
            return None;
        }
    }
    Some(other_process(script, path, Some(NOBODY)).hear())
}

pub(crate) fn lacking(what: &str) {
    eprintln!("NOT TESTED: this machine lacks {what}");
}

/// A file system of our own. Unmounted when dropped.
pub(crate) struct Mounted {
    at: TempDir,
}

impl Mounted {
    /// `None`, and a word about it, where mounting is not possible.
    pub(crate) fn new(arguments: &[&str]) -> Option<Mounted> {
        let at = folder();
        let done = Command::new("mount").args(arguments).arg(at.path()).output();
        match done {
            Ok(output) if output.status.success() => Some(Mounted { at }),
            Ok(output) => {
                lacking(&format!("a mount: {}", String::from_utf8_lossy(&output.stderr).trim()));
                None
            }
            Err(error) => {
                lacking(&format!("mount(8): {error}"));
                None
            }
        }
    }

    /// An ext4 in a file of so many bytes.
    pub(crate) fn ext4(image: &Path, bytes: u64) -> Option<Mounted> {
        fs::File::create(image).unwrap().set_len(bytes).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image).output();
        if !made.as_ref().is_ok_and(|output| output.status.success()) {
            lacking(&format!("mkfs.ext4: {made:?}"));
            return None;
        }
        Mounted::new(&["-o", "loop", &image.to_string_lossy()])
    }

    pub(crate) fn path(&self) -> &Path {
        self.at.path()
    }

    pub(crate) fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.path()).status();
        assert!(done.unwrap().success());
    }

    /// Takes every byte that is left.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut ballast = fs::File::options().append(true).create(true).open(&path).unwrap();
        let mut chunk = 1 << 20;
        while chunk > 0 {
            match ballast.write(&vec![1; chunk]) {
                Ok(count) if count > 0 => {}
                _ => chunk /= 2,
            }
        }
        // Delayed allocation may find that there is a little left after all.
        ballast.sync_all().unwrap();
        while ballast.write(&[1; 512]).is_ok_and(|count| count > 0) {
            ballast.sync_all().unwrap();
        }
        path
    }
}

/// One file mounted over another. Unmounted when dropped.
pub(crate) struct Bound(PathBuf);

impl Bound {
    /// An error says what this machine lacks.
    pub(crate) fn over(name: &Path, file: &Path) -> std::result::Result<Bound, String> {
        let done = Command::new("mount").arg("--bind").args([file, name]).output();
        match done {
            Ok(output) if output.status.success() => Ok(Bound(name.to_owned())),
            Ok(output) => Err(format!("a bind mount: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("mount(8): {error}")),
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let plain = Command::new("umount").arg(self.path()).status();
        if !plain.is_ok_and(|status| status.success()) {
            let _ = Command::new("umount").arg("-l").arg(self.path()).status();
        }
    }
}

/// Waits for a condition that another process brings about.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "never: {what}");
        std::thread::yield_now();
    }
}
