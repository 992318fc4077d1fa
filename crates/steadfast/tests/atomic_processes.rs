//! Other processes: a forked child can do nothing to its parent's map, a lock outlives nobody who could hold it and is
//! waited for, and whoever holds a file is named.

mod stage;

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use stage::{
    DEADLINE, Model, VERBS, Verb, assert_says, crash, folder, journal_of, open, options, other_process,
    picture,
};
use steadfast::store::{Resolution, inspect, recover};
use steadfast::{AtomicMapping, ErrorKind, Mapping};

#[test]
fn as_another_process() {
    stage::as_another_process();
}

/// A forked child of this process.
struct Forked(libc::pid_t);

impl Forked {
    /// Runs `work` in a forked child, which ends with 0 if it returns `true`.
    ///
    /// Only the thread that forks lives on in the child, and a lock that another thread held stays locked there: `work`
    /// must get along without printing and with little else than this library. (Allocating works: glibc sees to that.)
    #[allow(unsafe_code)]
    fn start(work: impl FnOnce() -> bool) -> Forked {
        // SAFETY: the child runs `work` only, which keeps to what is said above, and leaves by `_exit`, which runs no code
        // of the parent's.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // Whatever goes wrong, it does not stay for ever.
            // SAFETY: asks for a signal that ends this process.
            unsafe { libc::alarm(30) };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(if done { 0 } else { 1 }) }
        }
        Forked(pid)
    }

    #[allow(unsafe_code)]
    fn succeeds(self) {
        let mut status = 0;
        // SAFETY: waits for our own child and writes its status to a local variable.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(waited, self.0);
        assert_eq!(status, 0, "the child found something wrong");
    }
}

/// A pipe that a child waits on until a byte comes. (Its end is no sign: children hold copies of it.)
fn gate() -> (std::io::PipeReader, std::io::PipeWriter) {
    std::io::pipe().unwrap()
}

#[track_caller]
fn is_locked_for_others(path: &Path) {
    let heard = other_process("refused", path, None).hear();
    assert!(heard.starts_with("Locked|"), "{heard}");
    assert!(heard.contains(&format!("process {}", std::process::id())), "names not this process: {heard}");
}

#[test]
fn a_forked_child_can_do_nothing_to_its_parents_map() {
    for verb in VERBS {
        let folder = folder();
        let path = folder.path().join("state.bin");
        Model::plain().write(&path);
        let mut map = Some(open(verb, options(), &path).unwrap());
        stage::store(map.as_mut().unwrap(), 1);
        map.as_mut().unwrap().commit().unwrap();
        stage::store(map.as_mut().unwrap(), 2);
        let before = picture(folder.path());
        let copy = folder.path().join("copy.bin");
        let child = |map: &mut Option<AtomicMapping>| {
            let map = map.as_mut().unwrap();
            let forked = |error: steadfast::Error| {
                error.kind() == ErrorKind::Forked
                    && error.to_string().contains("parent")
                    && error.to_string().contains("; open")
            };
            map.commit().is_err_and(forked)
                && map.commit_relaxed().is_err_and(forked)
                && map.rollback().is_err_and(forked)
                && map.resize(10).is_err_and(forked)
                && map.resize(1 << 20).is_err_and(forked)
                && map.checkpoint().is_err_and(forked)
                && map.edit(..).is_err_and(forked)
                && map.write_at(0, b"x").is_err_and(forked)
                && map.read_at(0, &mut [0]).is_err_and(forked)
                && map.typed::<u64>(0).is_err_and(forked)
                && map.typed_mut::<u64>(0).is_err_and(forked)
                && map.copy_to(&copy).is_err_and(forked)
                && map.transaction(|_| Ok::<(), steadfast::Error>(())).is_err_and(forked)
                && map.len() == stage::LEN
                && map.status().last.get() == 1
                // Neither looks at memory that is not there, nor puts anything in its place.
                && !map.as_mut_ptr().is_null()
                && map[..].as_mut().len() == stage::LEN
        };
        Forked::start(|| child(&mut map)).succeeds();
        Forked::start(|| {
            drop(map.take());
            true
        })
        .succeeds();
        Forked::start(|| map.take().unwrap().close().is_err_and(|error| error.kind() == ErrorKind::Forked))
            .succeeds();
        // An exit without any care is no different.
        Forked::start(|| true).succeeds();

        assert_eq!(picture(folder.path()), before, "{verb:?}: a child changed something");
        is_locked_for_others(&path);
        let mut map = map.unwrap();
        assert!(map[..] == Model::after(&[1, 2]).0, "the parent's memory is as it was");
        map.commit().unwrap();
        map.close().unwrap();
        assert!(fs::read(&path).unwrap() == Model::after(&[1, 2]).0);
    }
}

#[test]
fn a_child_of_a_child_and_a_map_of_its_own_are_told_apart() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    let own = folder.path().join("own.bin");
    Model::plain().write(&path);
    Model::plain().write(&own);
    let mut map = options().load(&path).unwrap();
    stage::store(&mut map, 1);
    Forked::start(|| {
        // What it opens itself is its own, and its parent's still is not.
        let Ok(mut mine) = options().load(&own) else { return false };
        stage::store(&mut mine, 7);
        let mine_commits = mine.commit().is_ok();
        let parents_refuses = map.commit().is_err_and(|error| error.kind() == ErrorKind::Forked);
        Forked::start(|| {
            mine.commit().is_err_and(|error| error.kind() == ErrorKind::Forked)
                && map.commit().is_err_and(|error| error.kind() == ErrorKind::Forked)
        })
        .succeeds();
        mine_commits && parents_refuses && mine.close().is_ok()
    })
    .succeeds();
    assert!(fs::read(&own).unwrap() == Model::after(&[7]).0);
    map.commit().unwrap();
    map.close().unwrap();
    assert!(fs::read(&path).unwrap() == Model::after(&[1]).0);
}

#[test]
fn a_closed_file_is_free_although_a_child_holds_copies_of_its_descriptors() {
    for dropped in [false, true] {
        let folder = folder();
        let path = folder.path().join("state.bin");
        Model::plain().write(&path);
        let map = options().load(&path).unwrap();
        let (reader, writer) = gate();
        let child = Forked::start(|| std::io::Read::read(&mut &reader, &mut [0]).is_ok());
        if dropped {
            drop(map)
        } else {
            map.close().unwrap()
        }
        options().load(&path).unwrap().close().unwrap();
        std::io::Write::write_all(&mut &writer, b".").unwrap();
        child.succeeds();
    }
}

#[test]
fn a_killed_owners_lock_stands_until_its_child_ends_and_the_child_is_named() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let (reader, writer) = gate();
    let (tell_reader, tell_writer) = gate();
    // The owner is a child of ours, and leaves a child of its own behind when it dies.
    let owner = Forked::start(|| {
        let Ok(mut map) = options().load(&path) else { return false };
        stage::store(&mut map, 1);
        if map.commit().is_err() {
            return false;
        }
        let heir = Forked::start(|| std::io::Read::read(&mut &reader, &mut [0]).is_ok());
        let told = std::io::Write::write_all(&mut &tell_writer, &heir.0.to_le_bytes()).is_ok();
        // Dies without a word: nothing is dropped.
        told && rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .is_ok()
    });
    let mut heir = [0; 4];
    std::io::Read::read_exact(&mut &tell_reader, &mut heir).unwrap();
    let heir = i32::from_le_bytes(heir);
    let mut status = 0;
    #[allow(unsafe_code)]
    // SAFETY: waits for our own child and writes its status to a local variable.
    let waited = unsafe { libc::waitpid(owner.0, &raw mut status, 0) };
    assert_eq!((waited, libc::WTERMSIG(status)), (owner.0, libc::SIGKILL));

    let before = picture(folder.path());
    let error = options().load(&path).unwrap_err();
    assert_says(&error, ErrorKind::Locked, &path, &[&format!("process {heir} (")]);
    assert_eq!(recover(&path, Resolution::Replay).unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!(picture(folder.path()), before);
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| options().lock_timeout(DEADLINE).load(&path));
        std::io::Write::write_all(&mut &writer, b".").unwrap();
        let map = opener.join().unwrap().unwrap();
        assert_eq!(map.status().recovery.replayed_commits, 1);
        assert!(map[..] == Model::after(&[1]).0);
    });
}

#[test]
fn a_second_writer_is_refused_and_told_who_the_first_is() {
    for verb in VERBS {
        let folder = folder();
        let path = folder.path().join("state.bin");
        Model::plain().write(&path);
        let mut other = other_process("load 1 ready close", &path, None);
        other.until_ready();
        let before = picture(folder.path());
        let command = fs::read_to_string(format!("/proc/{}/comm", other.id())).unwrap();
        let named = format!("process {} ({})", other.id(), command.trim_end());
        let error = open(verb, options(), &path).unwrap_err();
        assert_says(&error, ErrorKind::Locked, &path, &[&named, "lock timeout"]);
        let error = recover(&path, Resolution::Discard).unwrap_err();
        assert_says(&error, ErrorKind::Locked, &path, &[&named]);
        // Through another name of it, too.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_says(&open(verb, options(), &link).unwrap_err(), ErrorKind::Locked, &path, &[&named]);
        fs::remove_file(&link).unwrap();
        assert_eq!(picture(folder.path()), before);

        let report = inspect(&path).unwrap();
        let writer = report.writer.unwrap();
        assert_eq!((writer.pid, writer.command.as_str()), (other.id(), command.trim_end()));
        assert!(report.problem.is_none() && !report.recovery_waits);
        assert_eq!(report.records.len(), 1);

        other.go_on();
        other.succeeds();
        assert_eq!(inspect(&path).unwrap().writer, None);
        let first = open(verb, options(), &path).unwrap();
        assert!(first[..] == Model::after(&[1]).0);
        // In the same process.
        let error = open(verb, options(), &path).unwrap_err();
        assert_says(&error, ErrorKind::Locked, &path, &["this process"]);
        drop(first);
        open(verb, options(), &path).unwrap();
    }
}

#[test]
fn a_writer_of_another_user_is_named_by_its_process() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let map = options().load(&path).unwrap();
    let Some((kind, text)) = stage::refusal_for_nobody(&path) else { return };
    assert_eq!(kind, "Locked", "{text}");
    let command = fs::read_to_string("/proc/self/comm").unwrap();
    let named = format!("process {} ({})", std::process::id(), command.trim_end());
    assert!(text.contains(&named), "says not {named}: {text}");
    map.close().unwrap();
}

#[test]
fn a_lock_ends_with_the_process_that_held_it() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut other = other_process("load 1 u2 ready", &path, None);
    other.until_ready();
    assert_eq!(options().load(&path).unwrap_err().kind(), ErrorKind::Locked);
    other.kill();
    let map = options().load(&path).unwrap();
    assert!(map[..] == Model::after(&[1]).0, "what was not committed is gone, what was is there");
    assert_eq!(map.status().recovery.replayed_commits, 1);
}

#[test]
fn an_open_waits_for_the_holder_as_long_as_it_was_told_to() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut other = other_process("load 1 ready close", &path, None);
    other.until_ready();
    let started = Instant::now();
    let timeout = Duration::from_millis(60);
    let error = options().lock_timeout(timeout).load(&path).unwrap_err();
    assert_says(&error, ErrorKind::Locked, &path, &[&format!("process {}", other.id())]);
    assert!(started.elapsed() >= timeout);
    std::thread::scope(|scope| {
        // Whoever has all the time of the world is not refused for it.
        let opener = scope.spawn(|| options().lock_timeout(Duration::MAX).load(&path));
        other.go_on();
        let map = opener.join().unwrap().unwrap();
        assert!(map[..] == Model::after(&[1]).0);
        assert!(!map.status().recovery.journal_found, "the holder closed");
    });
    other.succeeds();
}

#[test]
fn a_writable_mapping_and_a_file_open_for_commits_keep_each_other_out() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut other = other_process("load 1 ready close", &path, None);
    other.until_ready();
    let named = format!("process {} (", other.id());
    let error = Mapping::options().write(true).open(&path).unwrap_err();
    assert_says(&error, ErrorKind::Locked, &path, &[&named, "open for commits"]);
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let error = Mapping::options().write(true).open_fd(&file).unwrap_err();
    assert_says(&error, ErrorKind::Locked, &path, &[&named]);
    Mapping::options().open(&path).unwrap();
    other.go_on();
    other.succeeds();

    let mapping = Mapping::options().write(true).open(&path).unwrap();
    let before = picture(folder.path());
    for verb in VERBS {
        let error = open(verb, options(), &path).unwrap_err();
        assert_says(&error, ErrorKind::Locked, &path, &["this process"]);
    }
    let heard = other_process("refused", &path, None).hear();
    assert!(
        heard.starts_with("Locked|") && heard.contains(&format!("process {}", std::process::id())),
        "{heard}"
    );
    assert_eq!(picture(folder.path()), before);
    mapping.close().unwrap();
    // A child that another test is just starting may hold a copy of the mapping's descriptor up to its exec.
    let map = options().lock_timeout(DEADLINE).load(&path).unwrap();
    assert!(Mapping::options().write(true).open(&path).unwrap_err().to_string().contains("this process"));
    map.close().unwrap();
}

#[test]
fn a_waiting_journal_keeps_writable_mappings_out() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    crash(&path, "1 2");
    let before = picture(folder.path());
    let error = Mapping::options().write(true).open(&path).unwrap_err();
    assert_says(&error, ErrorKind::RecoveryNeeded, &path, &["steadfast recover"]);
    // Alone it carries the mark, and is refused for that.
    let hidden = path.with_extension("hidden");
    fs::rename(journal_of(&path), &hidden).unwrap();
    let error = Mapping::options().write(true).open(&path).unwrap_err();
    assert_says(&error, ErrorKind::RecoveryNeeded, &path, &["mark"]);
    fs::rename(&hidden, journal_of(&path)).unwrap();
    Mapping::options().open(&path).unwrap();
    assert_eq!(picture(folder.path()), before);
    recover(&path, Resolution::Replay).unwrap();
    Mapping::options().write(true).open(&path).unwrap();
}

#[test]
fn inspect_changes_nothing_beside_a_live_writer_and_names_it() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut map = open(Verb::View, options(), &path).unwrap();
    stage::store(&mut map, 1);
    map.commit().unwrap();
    let before = picture(folder.path());
    let report = inspect(&path).unwrap();
    assert_eq!(report.writer.unwrap().pid, std::process::id());
    assert_eq!(picture(folder.path()), before);
    stage::store(&mut map, 2);
    map.commit().unwrap();
    assert_eq!(inspect(&path).unwrap().records.len(), 2);
    map.close().unwrap();
}

#[test]
fn a_map_opened_by_descriptor_is_locked_like_any_other() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let map = options().load_fd(file.as_fd()).unwrap();
    is_locked_for_others(&path);
    // The caller's descriptor is another: closing it gives nothing away.
    drop(file);
    is_locked_for_others(&path);
    map.close().unwrap();
}
