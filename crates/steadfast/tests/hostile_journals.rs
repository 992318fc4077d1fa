//! What may stand where a journal is looked for, and must not be believed: each row is planted beside a file as a crash left
//! it, and every way in refuses it with its reason, whoever opens. Nothing is replayed, removed or changed, nobody waits, and
//! no memory is taken for what a journal only claims.
//!
//! Every row is looked at by a process of its own, which may use little memory and little time.

mod stage;

use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FileType, makedev, mknodat};
use rustix::process::{Resource, Rlimit, setrlimit};
use stage::forging::{ANCHOR, BLOCK, HALVES_AT, Journal, RECORD_HEADER, Record, record_at};
use stage::{
    Bound, JOURNAL_BYTES, LEN, Model, NOBODY, VERBS, crash, fresh_of, journal_of, lacking, open, options,
    picture,
};
use steadfast::ErrorKind;
use steadfast::disk::{Access, Disk, DiskFile, Durability, FileStat, RealDisk, SyncPoint};
use steadfast::store::{Resolution, inspect, recover, recover_on};

#[test]
fn as_another_process() {
    stage::as_another_process();
}

const ENV_FILE: &str = "STEADFAST_HOSTILE";
/// A third user and its group, with nothing of their own.
const STRANGER: u32 = 4242;
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
fn ways_in(path: &Path, user: Option<u32>) -> Vec<[String; 3]> {
    answers(path, user, &[])
}

fn answers(path: &Path, user: Option<u32>, environment: &[(&str, &str)]) -> Vec<[String; 3]> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "by_every_way_in", "--nocapture"]).env(ENV_FILE, path).stdin(Stdio::null());
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
struct Pair {
    /// What is mounted over the journal; it goes before the folder does.
    bound: Cell<Option<Bound>>,
    folder: tempfile::TempDir,
    path: PathBuf,
    journal: PathBuf,
    /// A place that links may lead to.
    elsewhere: PathBuf,
    /// Who owns and opens the file; `None`: the user who runs the tests.
    user: Option<u32>,
}

impl Pair {
    fn new(user: Option<u32>) -> Pair {
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

    fn mode(&self, path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Whatever stands at the journal's name makes way.
    fn away(&self) -> &Path {
        fs::rename(&self.journal, self.elsewhere.join("journal")).unwrap();
        &self.journal
    }

    /// Gives a planted file to the data file's owner, so that it is refused for what it is.
    fn give(&self, path: &Path) {
        if self.user.is_some() {
            std::os::unix::fs::lchown(path, self.user, self.user).unwrap();
        }
    }

    fn node(&self, kind: FileType, device: u64) -> Result<(), String> {
        mknodat(CWD, self.away(), kind, 0o644.into(), device).map_err(|error| format!("mknod: {error}"))?;
        self.give(&self.journal);
        Ok(())
    }

    /// Rewrites the journal, in its place.
    fn forge(&self, alter: impl FnOnce(&mut Journal)) {
        let mut journal = Journal::read(&self.journal);
        alter(&mut journal);
        journal.write(&self.journal);
    }

    /// Every way in gives this answer, and whatever stands in the folder stays as it is.
    #[track_caller]
    fn refused(&self, row: &str, kind: ErrorKind, words: &[&str]) {
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
    fn is_fine(&self, row: &str, commits: &[u64]) {
        for [way, said, text] in ways_in(&self.path, self.user) {
            assert_eq!(said, "fine", "{row}, {way}: {text}");
        }
        assert!(fs::read(&self.path).unwrap() == Model::after(commits).0, "{row}: another state");
        assert!(!self.journal.exists() && stage::mark_of(&self.path).is_none(), "{row}: something is left");
    }
}

/// What `--discard` does about a row.
#[derive(Clone, Copy, PartialEq)]
enum Discard {
    Removes,
    Refuses,
}
use Discard::{Refuses, Removes};

/// A name, what is planted (an error says what this machine lacks for it), what must be said, and whether `--discard` removes it.
type Planted = (&'static str, fn(&Pair) -> Result<(), String>, &'static [&'static str], Discard);

fn needs_root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err("root, to plant what is another user's".into())
    }
}

const PLANTED: &[Planted] = &[
    (
        "another user's journal",
        |pair| {
            needs_root()?;
            chown(&pair.journal, Some(STRANGER), None).unwrap();
            Ok(())
        },
        &["belongs to user 4242, the file to user", "let user 4242 recover it", "--discard"],
        Removes,
    ),
    (
        "another user's journal that nobody else may read",
        |pair| {
            needs_root()?;
            chown(&pair.journal, Some(STRANGER), Some(STRANGER)).unwrap();
            pair.mode(&pair.journal, 0o600);
            Ok(())
        },
        &["belongs to user 4242, the file to user"],
        Removes,
    ),
    (
        "a link to a sound journal",
        |pair| {
            symlink(pair.elsewhere.join("journal"), pair.away()).unwrap();
            Ok(())
        },
        &["a symbolic link", "is not a journal of this file", "move it away"],
        Removes,
    ),
    (
        "a link to a file that others guard",
        |pair| {
            fs::write(pair.elsewhere.join("passwd"), b"root:x:0:0").unwrap();
            pair.mode(&pair.elsewhere.join("passwd"), 0o600);
            symlink(pair.elsewhere.join("passwd"), pair.away()).unwrap();
            Ok(())
        },
        &["a symbolic link"],
        Removes,
    ),
    (
        "a dangling link",
        |pair| {
            symlink("nowhere", pair.away()).unwrap();
            Ok(())
        },
        &["a symbolic link"],
        Removes,
    ),
    ("a FIFO", |pair| pair.node(FileType::Fifo, 0), &["a FIFO", "move it away"], Removes),
    ("a socket", |pair| pair.node(FileType::Socket, 0), &["a socket"], Removes),
    ("a device", |pair| pair.node(FileType::CharacterDevice, makedev(1, 5)), &["a device"], Removes),
    (
        "a directory",
        |pair| {
            fs::create_dir(pair.away()).unwrap();
            pair.give(&pair.journal);
            Ok(())
        },
        &["a directory", "move it away"],
        Refuses,
    ),
    (
        "a journal that everybody may write",
        |pair| {
            pair.mode(&pair.journal, 0o646);
            Ok(())
        },
        &["(mode 646) may be written by others than the file (mode 644)", "chmod", "--discard"],
        Removes,
    ),
    (
        "a journal that its group may write",
        |pair| {
            pair.mode(&pair.journal, 0o664);
            Ok(())
        },
        &["(mode 664) may be written by others than the file (mode 644)"],
        Removes,
    ),
    (
        "a journal that another group may write",
        |pair| {
            needs_root()?;
            chown(&pair.journal, None, Some(STRANGER)).unwrap();
            pair.mode(&pair.journal, 0o664);
            pair.mode(&pair.path, 0o664);
            Ok(())
        },
        &["written by another group (4242)", "chown"],
        Removes,
    ),
    (
        "a journal with a second name",
        |pair| {
            fs::hard_link(&pair.journal, pair.elsewhere.join("second")).unwrap();
            Ok(())
        },
        &["2 hard links"],
        Removes,
    ),
    (
        "a journal that is mounted",
        |pair| {
            let kept = pair.elsewhere.join("journal");
            fs::copy(&pair.journal, &kept).unwrap();
            pair.give(&kept);
            pair.bound.set(Some(Bound::over(&pair.journal, &kept)?));
            Ok(())
        },
        &["another device or mount than its folder", "unmount it"],
        Refuses,
    ),
];

/// The users that can be tried here: the one who runs the tests, and as root one without rights as well.
fn users() -> Vec<Option<u32>> {
    match rustix::process::geteuid().is_root() {
        true => vec![None, Some(NOBODY)],
        false => {
            lacking("root, to become another user");
            vec![None]
        }
    }
}

#[test]
fn what_is_planted_in_a_journals_place_is_refused_to_everybody() {
    for user in users() {
        for (row, plant, words, discard) in PLANTED {
            let pair = Pair::new(user);
            if let Err(what) = plant(&pair) {
                lacking(&format!("{what} ({row})"));
                continue;
            }
            pair.refused(row, ErrorKind::Identity, words);

            // The explicit way out reads nothing of it: it takes the name away, and what a link leads to stays.
            let (data, elsewhere) = (fs::read(&pair.path).unwrap(), picture(&pair.elsewhere));
            match (recover(&pair.path, Resolution::Discard), discard) {
                (Ok(done), Removes) => {
                    assert!(done.discarded && done.replayed_commits == 0, "{row}: {done:?}");
                    assert!(pair.journal.symlink_metadata().is_err(), "{row}: it is still there");
                    assert_eq!(stage::mark_of(&pair.path), None, "{row}");
                }
                (Err(error), Refuses) => {
                    let text = error.to_string();
                    assert_eq!(error.kind(), ErrorKind::Identity, "{row}: {text}");
                    assert!(
                        text.contains("is not removed") && text.contains("move it away"),
                        "{row}: {text}"
                    );
                    assert!(pair.journal.exists() && stage::mark_of(&pair.path).is_some(), "{row}");
                }
                (other, _) => panic!("{row}, discarded: {other:?}"),
            }
            assert!(fs::read(&pair.path).unwrap() == data, "{row}: something was replayed");
            assert_eq!(picture(&pair.elsewhere), elsewhere, "{row}");
        }
        // Beside all this: what was planted nowhere is believed.
        Pair::new(user).is_fine("a pair that nobody touched", &[1, 2, 3]);
    }
}

#[test]
fn a_journal_that_may_be_believed_is() {
    for user in users() {
        let pair = Pair::new(user);
        // Stricter than the file, or as open as that.
        pair.mode(&pair.journal, 0o600);
        pair.is_fine("a private journal", &[1, 2, 3]);
        let pair = Pair::new(user);
        pair.mode(&pair.path, 0o666);
        pair.mode(&pair.journal, 0o666);
        pair.is_fine("a journal for everybody of a file for everybody", &[1, 2, 3]);
    }
    if let Err(what) = needs_root() {
        return lacking(&what);
    }
    let pair = Pair::new(Some(NOBODY));
    chown(&pair.journal, Some(0), Some(0)).unwrap();
    pair.is_fine("root's journal", &[1, 2, 3]);
    // Root opened the file for its owner: what it made is the owner's.
    let pair = Pair::new(Some(NOBODY));
    recover(&pair.path, Resolution::Replay).unwrap();
    crash(&pair.path, "4");
    pair.is_fine("a journal that root made", &[1, 2, 3, 4]);
}

/// A file for everybody, opened by one who cannot give its journal away.
#[test]
fn a_journal_of_one_who_may_only_write_the_file_is_for_that_one_to_recover() {
    if let Err(what) = needs_root() {
        return lacking(&what);
    }
    let pair = Pair::new(None);
    recover(&pair.path, Resolution::Replay).unwrap();
    pair.mode(&pair.path, 0o666);
    pair.mode(pair.folder.path(), 0o777);
    let mut other = stage::other_process("4 kill", &pair.path, Some(NOBODY));
    other.child.wait().unwrap();
    assert_eq!(fs::metadata(&pair.journal).unwrap().permissions().mode() & 0o777, 0o666);
    pair.refused(
        "the owner",
        ErrorKind::Identity,
        &["belongs to user 65534, the file to user 0", "recover it"],
    );
    Pair { user: Some(STRANGER), ..pair }.trusts_itself(NOBODY);
}

impl Pair {
    /// A third user is refused as well; `user`, whose journal it is, recovers.
    fn trusts_itself(mut self, user: u32) {
        self.refused("a third user", ErrorKind::Identity, &["belongs to user 65534"]);
        self.user = Some(user);
        self.is_fine("the one who made it", &[1, 2, 3, 4]);
    }
}

/// Where neither owner nor group can be had, the group that the journal has by chance gets nothing from the file's.
#[test]
fn the_group_that_a_journal_has_by_chance_gets_no_more_than_everybody() {
    use std::os::unix::fs::MetadataExt;
    if let Err(what) = needs_root() {
        return lacking(&what);
    }
    for (mode, want) in [(0o666, 0o666), (0o662, 0o622), (0o642, 0o622), (0o606, 0o666)] {
        let folder = stage::folder();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let file = folder.path().join("journal");
        // As NOBODY would make it, whose group is not the file's.
        let disk = RealDisk;
        let made = disk.open(&file, Access::CreateNew { mode: 0o600 }).unwrap();
        made.set_owner((NOBODY, NOBODY), 0o600).unwrap();
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (NOBODY, NOBODY, 0o600));
        let as_nobody = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "takes_the_owner_of_another_file", "--nocapture"])
            .env(ENV_FILE, &file)
            .env("STEADFAST_MODE", mode.to_string())
            .uid(NOBODY)
            .gid(NOBODY)
            .output();
        assert!(as_nobody.unwrap().status.success());
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY));
        assert_eq!(meta.mode() & 0o777, want, "of a file of mode {mode:o}");
    }
}

/// The other side of [`the_group_that_a_journal_has_by_chance_gets_no_more_than_everybody`].
#[test]
fn takes_the_owner_of_another_file() {
    let Ok(mode) = std::env::var("STEADFAST_MODE") else { return };
    let path = PathBuf::from(std::env::var_os(ENV_FILE).unwrap());
    let file = RealDisk.open(&path, Access::ReadWrite).unwrap();
    file.set_owner((STRANGER, STRANGER), mode.parse().unwrap()).unwrap();
}

#[test]
fn what_is_planted_in_the_place_of_a_fresh_journal_is_never_followed_or_written() {
    for planted in
        ["link", "dangling link", "fifo", "file", "another user's file", "second name", "directory"]
    {
        let pair = Pair::new(None);
        let fresh = fresh_of(&pair.path);
        let target = pair.elsewhere.join("target");
        fs::write(&target, b"not ours").unwrap();
        match planted {
            "link" => symlink(&target, &fresh).unwrap(),
            "dangling link" => symlink(pair.elsewhere.join("nothing"), &fresh).unwrap(),
            "fifo" => mknodat(CWD, &fresh, FileType::Fifo, 0o666.into(), 0).unwrap(),
            "second name" => fs::hard_link(&target, &fresh).unwrap(),
            "directory" => fs::create_dir(&fresh).unwrap(),
            _ => fs::write(&fresh, b"planted").unwrap(),
        }
        if planted.starts_with("another") {
            if let Err(what) = needs_root() {
                lacking(&what);
                continue;
            }
            chown(&fresh, Some(STRANGER), Some(STRANGER)).unwrap();
        }
        let there = picture(&pair.elsewhere);
        // Open throughout: whoever held what was planted must not hold the journal.
        let held = (planted.ends_with("file")).then(|| File::options().append(true).open(&fresh).unwrap());
        if planted == "directory" {
            let before = picture(pair.folder.path());
            let error = recover(&pair.path, Resolution::Replay).unwrap_err();
            stage::assert_says(
                &error,
                ErrorKind::Identity,
                &fresh,
                &["taken by a directory", "move it away"],
            );
            assert_eq!(picture(pair.folder.path()), before);
            continue;
        }
        let map = options().load(&pair.path).unwrap();
        let meta = pair.journal.symlink_metadata().unwrap();
        assert!(meta.is_file() && fresh.symlink_metadata().is_err(), "{planted}");
        if let Some(held) = held {
            use std::os::unix::fs::MetadataExt;
            assert_ne!(
                held.metadata().unwrap().ino(),
                meta.ino(),
                "{planted}: the planted file is the journal"
            );
        }
        assert!(map[..] == Model::after(&[1, 2, 3]).0);
        map.close().unwrap();
        assert_eq!(picture(&pair.elsewhere), there, "{planted}: what a link leads to was touched");
    }
    // Nor is anything removed beside a journal that is refused.
    let pair = Pair::new(None);
    fs::write(fresh_of(&pair.path), b"left over").unwrap();
    fs::hard_link(&pair.journal, pair.elsewhere.join("second")).unwrap();
    pair.refused("a left-over beside what is refused", ErrorKind::Identity, &["2 hard links"]);
}

/// The machine's disk, on which somebody gives the journal's name to another file at the worst moment.
#[derive(Debug)]
struct Swapping {
    journal: PathBuf,
    other: PathBuf,
    /// The swap comes just before the journal is opened so many times.
    before_open: u32,
    opened: AtomicU32,
}

impl Disk for Swapping {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        if path == self.journal && self.opened.fetch_add(1, Ordering::Relaxed) + 1 == self.before_open {
            fs::rename(&self.other, &self.journal)?;
        }
        let file = RealDisk.open(path, access)?;
        if path == self.journal && self.before_open == 0 && self.other.exists() {
            fs::rename(&self.other, &self.journal)?;
        }
        Ok(file)
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        RealDisk.stat(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        RealDisk.resolve(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, folder: &Path, point: SyncPoint) -> io::Result<()> {
        RealDisk.sync_dir(folder, point)
    }

    fn durability(&self, path: &Path) -> io::Result<Durability> {
        RealDisk.durability(path)
    }
}

#[test]
fn the_journal_that_was_judged_is_the_one_that_is_replayed() {
    // A journal of the same file, with other bytes in the same places, that everybody could write.
    let swapping = |before_open| {
        let pair = Pair::new(None);
        let path = pair.path.canonicalize().unwrap();
        let other = pair.elsewhere.join("other");
        fs::copy(&pair.journal, &other).unwrap();
        let mut forged = Journal::read(&other);
        let mut changed = Model::after(&[1, 2, 3]).0[..16].to_vec();
        changed[0] = 77;
        let record =
            Record { id: 3, durable_through: 2, len: LEN as u64, extents: vec![(0, 16)], payload: changed };
        forged.put_record(record_at(2), &record);
        forged.chain(&[record_at(0), record_at(1), record_at(2)]);
        forged.write(&other);
        pair.mode(&other, 0o666);
        let disk = Swapping { journal: journal_of(&path), other, before_open, opened: AtomicU32::new(0) };
        (pair, Arc::new(disk))
    };
    // Between the look at the name and the open.
    let (pair, disk) = swapping(1);
    let error = recover_on(disk, &pair.path, Resolution::Replay).unwrap_err();
    stage::assert_says(&error, ErrorKind::Identity, &pair.path, &["(mode 666) may be written by others"]);
    assert!(fs::read(&pair.path).unwrap() == Model::plain().0, "something was replayed");
    // And just behind it.
    let (pair, disk) = swapping(0);
    recover_on(Arc::clone(&disk) as Arc<dyn Disk>, &pair.path, Resolution::Replay).unwrap();
    assert!(fs::read(&pair.path).unwrap() == Model::after(&[1, 2, 3]).0, "another journal was replayed");
    assert_eq!(disk.opened.load(Ordering::Relaxed), 1, "the name is opened once");
}

/// Header and anchor: what they claim is looked at before it is used.
#[test]
fn headers_and_anchors_that_claim_too_much_are_refused() {
    const HALF: u64 = JOURNAL_BYTES / 2;
    const HALF_BYTES: u64 = 56;
    let halves =
        [u64::MAX, !(BLOCK - 1), 1 << 63, i64::MAX as u64, i64::MAX as u64 & !(BLOCK - 1), 1 << 62, 0, 1];
    for half in halves {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            journal.set(HALF_BYTES, half);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        });
        pair.refused(&format!("halves of {half} bytes"), ErrorKind::Corrupt, &["header is damaged"]);
    }
    for half in [HALF + BLOCK, 1 << 40, (i64::MAX as u64 / 4) & !(BLOCK - 1)] {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            journal.set(HALF_BYTES, half);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        });
        pair.refused(&format!("halves of {half} bytes"), ErrorKind::Corrupt, &["the journal was cut"]);
    }
    let places =
        [0, BLOCK, ANCHOR, HALVES_AT - 1, HALVES_AT + 512, HALVES_AT + 2 * HALF, i64::MAX as u64, u64::MAX];
    for (field, number) in places.map(|place| (32, place)).into_iter().chain([
        (16, u64::MAX),
        (24, u64::MAX),
        (48, 1 << 63),
        (48, u64::MAX),
    ]) {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            journal.set(ANCHOR + field, number);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        });
        let row = format!("an anchor with {number} at {field}");
        pair.refused(&row, ErrorKind::Corrupt, &["both anchors of the journal are damaged"]);
    }
    // Into the middle of the chain, to a block where nothing begins, and to the other half.
    for place in [record_at(1), record_at(5), HALVES_AT + HALF] {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            journal.set(ANCHOR + 32, place);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
            // Or else the chain would be found where it is, at the start of the other half.
            journal.set(record_at(0) + 48, 0);
            journal.chain(&[]);
        });
        pair.refused(
            &format!("an anchor at {place}"),
            ErrorKind::Corrupt,
            &["damaged or missing", "nothing was replayed"],
        );
    }
    for version in [0, 2, u32::MAX] {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            journal.set_u32(8, version);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        });
        let words =
            [format!("version {version}, this library reads version 1"), "the version that wrote it".into()];
        pair.refused("another version", ErrorKind::Unsupported, &[&words[0], &words[1]]);
    }
}

type Forge = fn(&mut Journal);

/// The second record of three, of which the third proves that it was durable; everything hangs together.
const RECORDS: &[(&str, Forge)] = &[
    ("a record of u64::MAX bytes", |journal| journal.set(SECOND + 40, u64::MAX)),
    ("a record of i64::MAX bytes", |journal| journal.set(SECOND + 40, i64::MAX as u64)),
    ("a record that leaves its half", |journal| journal.set(SECOND + 40, JOURNAL_BYTES / 2 - BLOCK + 1)),
    ("a record without room for its header", |journal| journal.set(SECOND + 40, RECORD_HEADER - 1)),
    ("a record of nothing", |journal| journal.set(SECOND + 40, 0)),
    ("u32::MAX extents", |journal| journal.set_u32(SECOND + 88, u32::MAX)),
    ("more extents than it has room for", |journal| journal.set_u32(SECOND + 88, 20)),
    ("no extents for its bytes", |journal| journal.set_u32(SECOND + 88, 0)),
    ("a length of u64::MAX", |journal| journal.set(SECOND + 80, u64::MAX)),
    ("a length of 2^63", |journal| journal.set(SECOND + 80, 1 << 63)),
    ("a smallest length above the length", |journal| journal.set(SECOND + 72, LEN as u64 + 1)),
    ("the commit u64::MAX", |journal| journal.set(SECOND + 24, u64::MAX)),
    ("the commit before", |journal| journal.set(SECOND + 24, 1)),
    ("another place", |journal| journal.set(SECOND + 32, record_at(0))),
    ("another encoding", |journal| journal.set_u32(SECOND + 92, 1)),
    ("extents past the length", |journal| body(journal, &[(LEN as u64 - 3, 4)], 4)),
    ("extents from the length on", |journal| body(journal, &[(LEN as u64, 1)], 1)),
    ("overlapping ranges that leave the length", |journal| {
        body(journal, &[(LEN as u64 - 8, 8), (LEN as u64 - 4, 8)], 16)
    }),
    ("an offset of 2^63", |journal| body(journal, &[(1 << 63, 4)], 4)),
    ("an offset of i64::MAX", |journal| body(journal, &[(i64::MAX as u64, 4)], 4)),
    ("an offset whose end overflows", |journal| body(journal, &[(u64::MAX - 1, 4)], 4)),
    ("an empty extent", |journal| body(journal, &[(0, 0), (8, 4)], 4)),
    ("extents of u32::MAX bytes", |journal| body(journal, &[(0, u32::MAX), (0, u32::MAX)], 4)),
    ("fewer bytes than its extents", |journal| body(journal, &[(0, 8)], 4)),
    ("more bytes than its extents", |journal| body(journal, &[(0, 4)], 8)),
];
const SECOND: u64 = HALVES_AT + BLOCK;

fn body(journal: &mut Journal, extents: &[(u64, u32)], payload: usize) {
    let record = Record {
        id: 2,
        durable_through: 1,
        len: LEN as u64,
        extents: extents.to_vec(),
        payload: vec![0xee; payload],
    };
    journal.put_record(SECOND, &record);
}

#[test]
fn records_that_claim_too_much_are_refused() {
    for (row, forge) in RECORDS {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            forge(journal);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        });
        let place = format!("journal offset {SECOND} is damaged or missing");
        pair.refused(row, ErrorKind::Corrupt, &[&place, "commit 2 was durable", "nothing was replayed"]);
    }
}

/// A record whose checksum is what the first record hangs on: the chain goes on where it began.
#[test]
fn a_chain_that_leads_back_ends() {
    const HALF: u64 = JOURNAL_BYTES / 2;
    let pair = Pair::new(None);
    pair.forge(|journal| {
        // From the start of the other half on it goes to the end of the journal's first, and then behind it begins again.
        let start = HALVES_AT + HALF;
        let (first, second) = (start, record_at(0));
        let record = |id: u64, bytes: usize| Record {
            id,
            durable_through: 0,
            len: LEN as u64,
            extents: vec![(0, bytes as u32)],
            payload: vec![id as u8; bytes],
        };
        journal.set(ANCHOR + 32, first);
        journal.put_record(first, &record(1, 8));
        // It fills its half, so that what follows is the first record again.
        journal.put_record(second, &record(2, HALF as usize - 200));
        journal.chain(&[first, second]);
        let root = journal.u64(first + 48);
        // The number that nobody reads makes the checksum what the first record names as its predecessor.
        journal.force_checksum(second, second + 64, root);
        let checksum = stage::forging::crc(journal.header_of(second));
        journal.set(second + RECORD_HEADER - 8, checksum);
        assert_eq!(checksum, root, "the second leads to the first");
    });
    let said = ways_in(&pair.path, None);
    assert!(said.iter().all(|[_, kind, _]| kind == "fine"), "{said:?}");
    assert_eq!(said[0][2], "2 records", "each record is read once");
    let bytes = fs::read(&pair.path).unwrap();
    assert!(bytes[..JOURNAL_BYTES as usize / 2 - 200].iter().all(|&byte| byte == 2));
}

/// The longest file that the file system takes, without a single block.
fn make_huge(path: &Path) -> u64 {
    let file = File::options().write(true).open(path).unwrap();
    let longest = (32..63).rev().map(|bit| (1u64 << bit) - BLOCK).find(|&len| file.set_len(len).is_ok());
    longest.expect("a file of some GiB")
}

#[test]
fn a_journal_takes_time_and_memory_for_what_is_in_it_and_not_for_what_it_claims() {
    // Nothing but a hole.
    let pair = Pair::new(None);
    File::create(&pair.journal).unwrap();
    pair.refused("a journal of no bytes", ErrorKind::Identity, &["is not a journal"]);
    let with_huge = |forge: &dyn Fn(&mut Journal, u64)| {
        let pair = Pair::new(None);
        let len = make_huge(&pair.journal);
        let mut journal = Journal(vec![0; HALVES_AT as usize + 8 * BLOCK as usize]);
        let mut whole = File::open(&pair.journal).unwrap();
        io::Read::read_exact(&mut whole, &mut journal.0).unwrap();
        let half = (len - HALVES_AT) / 2 / BLOCK * BLOCK;
        journal.set(56, half);
        forge(&mut journal, half);
        journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        journal.write(&pair.journal);
        pair
    };
    with_huge(&|_, _| {}).is_fine("a sound journal with a huge hole", &[1, 2, 3]);
    // `picture` would read it from end to end.
    let refused = |pair: Pair, words: &str| {
        let before = fs::read(&pair.path).unwrap();
        for [way, kind, text] in ways_in(&pair.path, None) {
            assert_eq!(kind, "Corrupt", "{way}: {text}");
            assert!(text.contains(words), "{way}: {text}");
        }
        assert!(fs::read(&pair.path).unwrap() == before);
        assert!(pair.journal.exists() && stage::mark_of(&pair.path).is_some());
    };
    let words = format!("journal offset {SECOND} is damaged or missing");
    refused(with_huge(&|journal, half| journal.set(SECOND + 40, half - BLOCK)), &words);
    refused(
        with_huge(&|journal, half| {
            journal.set(SECOND + 40, half - BLOCK);
            journal.set_u32(SECOND + 88, u32::MAX);
        }),
        &words,
    );
}

#[test]
fn a_hole_as_long_as_a_file_can_be_is_no_journal() {
    let pair = Pair::new(None);
    File::create(&pair.journal).unwrap();
    make_huge(&pair.journal);
    for [way, kind, text] in ways_in(&pair.path, None) {
        assert_eq!(kind, "Identity", "{way}: {text}");
        assert!(text.contains("is not a journal") && text.contains("move it away"), "{way}: {text}");
    }
    assert!(fs::read(&pair.path).unwrap() == Model::plain().0);
}

#[test]
fn a_length_that_no_file_system_holds_changes_nothing() {
    let pair = Pair::new(None);
    pair.forge(|journal| {
        journal.set(record_at(2) + 80, i64::MAX as u64);
        journal.chain(&[record_at(0), record_at(1), record_at(2)]);
    });
    let before = picture(pair.folder.path());
    for [way, kind, text] in ways_in(&pair.path, None).into_iter().skip(1) {
        assert_eq!(kind, "NoSpace", "{way}: {text}");
    }
    assert!(picture(pair.folder.path()) == before, "something was changed");
}

#[test]
fn another_files_journal_is_refused_to_everybody() {
    for user in users() {
        let (pair, other) = (Pair::new(user), Pair::new(user));
        fs::write(&pair.journal, fs::read(&other.journal).unwrap()).unwrap();
        let before = picture(pair.folder.path());
        // To adopt it is the explicit way out.
        for [way, kind, text] in answers(&pair.path, user, &[("STEADFAST_NO_ADOPTION", "1")]) {
            assert_eq!(kind, "Identity", "{way}: {text}");
            assert!(text.contains("belongs to another file") && text.contains("--adopt"), "{way}: {text}");
        }
        assert!(picture(pair.folder.path()) == before);
    }
}
