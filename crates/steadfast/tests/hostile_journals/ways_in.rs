//! A pair as a crash left it, and what every way in says to it.

use std::cell::Cell;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{CWD, FileType, mknodat};
use rustix::process::{Resource, Rlimit, setrlimit};
use steadfast::ErrorKind;
use steadfast::store::{Resolution, inspect, recover};

use crate::stage;
use crate::stage::forging::Journal;
use crate::stage::{Bound, Model, NOBODY, VERBS, crash, journal_of, lacking, open, options, picture};

pub(crate) const ENV_FILE: &str = "STEADFAST_HOSTILE";
/// A third user and its group, with nothing of their own.
pub(crate) const STRANGER: u32 = 4242;
const MEMORY_BYTES_MAX: u64 = 1 << 30;
const SECONDS_MAX: u64 = 60;

/// The other side of [`ways_in`].
#[test]
fn by_every_way_in() {
    let Some(path) = std::env::var_os(ENV_FILE).map(PathBuf::from) else { return };
    let limit = Rlimit { current: Some(MEMORY_BYTES_MAX), maximum: Some(MEMORY_BYTES_MAX) };
    setrlimit(Resource::As, limit).unwrap();
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(SECONDS_MAX));
        eprintln!("{SECONDS_MAX} seconds and no answer");
        std::process::exit(9);
    });
    let say = |way: &str, said: steadfast::Result<String>| match said {
        Ok(good) => stage::say(&format!("{way}|fine|{good}")),
        Err(error) => stage::say(&format!("{way}|{:?}|{error}", error.kind())),
    };
    // Looking comes first: it changes nothing even where all is well.
    let report = inspect(&path).unwrap();
    say("inspect", report.problem.map_or(Ok(format!("{} records", report.records.len())), Err));
    if std::env::var_os("STEADFAST_NO_ADOPTION").is_none() {
        say("adopt", recover(&path, Resolution::Adopt).map(|done| format!("{done:?}")));
    }
    for verb in VERBS {
        say(&format!("{verb:?}"), open(verb, options().create(true), &path).map(|_| String::new()));
    }
    say("recover", recover(&path, Resolution::Replay).map(|done| format!("{done:?}")));
    stage::say("end");
}

/// What every way in says to this user (or to the one who runs the tests): the way, the kind of error or `fine`, and its text.
pub(crate) fn ways_in(path: &Path, user: Option<u32>) -> Vec<[String; 3]> {
    answers(path, user, &[])
}

pub(crate) fn answers(path: &Path, user: Option<u32>, environment: &[(&str, &str)]) -> Vec<[String; 3]> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "ways_in::by_every_way_in", "--nocapture"])
        .env(ENV_FILE, path)
        .stdin(Stdio::null());
    command.envs(environment.iter().copied());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix('>')).collect();
    let Some((&"end", said)) = said.split_last() else {
        panic!("it did not get to an end: {text} {}", String::from_utf8_lossy(&output.stderr));
    };
    assert!(output.status.success());
    let three = |line: &&str| line.splitn(3, '|').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    said.iter().map(three).collect()
}

/// A pair as a crash leaves it, in a folder of its own: three commits that only the journal holds.
pub(crate) struct Pair {
    /// What is mounted over the journal; it goes before the folder does.
    pub(crate) bound: Cell<Option<Bound>>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) journal: PathBuf,
    /// A place that links may lead to.
    pub(crate) elsewhere: PathBuf,
    /// Who owns and opens the file; `None`: the user who runs the tests.
    pub(crate) user: Option<u32>,
}

impl Pair {
    pub(crate) fn new(user: Option<u32>) -> Pair {
        let folder = stage::folder();
        let path = folder.path().join("state.bin");
        crash(&path, "1 2 3");
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let pair = Pair { journal: journal_of(&path), folder, path, elsewhere, user, bound: Cell::default() };
        pair.mode(&pair.path, 0o644);
        pair.mode(&pair.journal, 0o644);
        if user.is_some() {
            for at in [&pair.path, &pair.journal, &pair.elsewhere, &pair.folder.path().to_owned()] {
                chown(at, user, user).unwrap();
            }
        }
        pair
    }

    pub(crate) fn mode(&self, path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Whatever stands at the journal's name makes way.
    pub(crate) fn away(&self) -> &Path {
        fs::rename(&self.journal, self.elsewhere.join("journal")).unwrap();
        &self.journal
    }

    /// Gives a planted file to the data file's owner, so that it is refused for what it is.
    pub(crate) fn give(&self, path: &Path) {
        if self.user.is_some() {
            std::os::unix::fs::lchown(path, self.user, self.user).unwrap();
        }
    }

    pub(crate) fn node(&self, kind: FileType, device: u64) -> Result<(), String> {
        mknodat(CWD, self.away(), kind, 0o644.into(), device).map_err(|error| format!("mknod: {error}"))?;
        self.give(&self.journal);
        Ok(())
    }

    /// Rewrites the journal, in its place.
    pub(crate) fn forge(&self, alter: impl FnOnce(&mut Journal)) {
        let mut journal = Journal::read(&self.journal);
        alter(&mut journal);
        journal.write(&self.journal);
    }

    /// Every way in gives this answer, and whatever stands in the folder stays as it is.
    #[track_caller]
    pub(crate) fn refused(&self, row: &str, kind: ErrorKind, words: &[&str]) {
        let before = picture(self.folder.path());
        for [way, said, text] in ways_in(&self.path, self.user) {
            let whose = self.user.map_or(String::new(), |user| format!(" by user {user}"));
            assert_eq!(said, format!("{kind:?}"), "{row}, {way}{whose}: {text}");
            assert!(text.contains("state.bin") && text.contains("; "), "{row}, {way}: {text}");
            for word in words {
                assert!(text.contains(word), "{row}, {way}{whose}: does not say {word:?}: {text}");
            }
        }
        assert!(picture(self.folder.path()) == before, "{row}: a refusal changed something");
    }

    /// Every way in finds the state after these commits.
    #[track_caller]
    pub(crate) fn is_fine(&self, row: &str, commits: &[u64]) {
        for [way, said, text] in ways_in(&self.path, self.user) {
            assert_eq!(said, "fine", "{row}, {way}: {text}");
        }
        assert!(fs::read(&self.path).unwrap() == Model::after(commits).0, "{row}: another state");
        assert!(!self.journal.exists() && stage::mark_of(&self.path).is_none(), "{row}: something is left");
    }
}

pub(crate) fn needs_root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err("root, to plant what is another user's".into())
    }
}

/// The users that can be tried here: the one who runs the tests, and as root one without rights as well.
pub(crate) fn users() -> Vec<Option<u32>> {
    match rustix::process::geteuid().is_root() {
        true => vec![None, Some(NOBODY)],
        false => {
            lacking("root, to become another user");
            vec![None]
        }
    }
}
