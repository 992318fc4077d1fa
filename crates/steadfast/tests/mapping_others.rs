//! Other processes and other handles: what they store is seen, what they truncate is an error, what they hold is said.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast::disk::{Access, Disk, Lock, RealDisk};
use steadfast::{ErrorKind, Mapping};

const DEADLINE: Duration = Duration::from_secs(30);

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn page() -> usize {
    rustix::param::page_size()
}

/// This test once more, as another process.
fn other_process(test: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("STEADFAST_OTHER_PROCESS", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The path, if this is the other process.
fn role() -> Option<String> {
    std::env::var("STEADFAST_OTHER_PROCESS").ok()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn two_processes_see_each_others_stores() {
    let answer = |map: &Mapping| {
        let turn = map.atomic::<AtomicU32>(0).unwrap();
        until("the first process stores", || turn.load(Ordering::Acquire) == 1);
        let mut word = [0; 4];
        map.read_at(100, &mut word).unwrap();
        word.reverse();
        map.write_at(page() + 100, &word).unwrap();
        turn.store(2, Ordering::Release);
    };
    if let Some(path) = role() {
        return answer(&Mapping::options().write(true).open(path).unwrap());
    }
    let folder = folder();
    let path = folder.path().join("data.bin");
    let map = Mapping::options().write(true).create(true).len(2 * page()).open(&path).unwrap();
    let mut other = other_process("two_processes_see_each_others_stores", &path);
    map.write_at(100, b"ping").unwrap();
    let turn = map.atomic::<AtomicU32>(0).unwrap();
    turn.store(1, Ordering::Release);
    until("the second process answers", || turn.load(Ordering::Acquire) == 2);
    let mut word = [0; 4];
    map.read_at(page() + 100, &mut word).unwrap();
    assert_eq!(&word, b"gnip");
    assert!(other.wait().unwrap().success());
}

#[test]
fn truncation_by_another_is_an_error_value() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    let map = Mapping::options().write(true).create(true).len(8 * page()).open(&path).unwrap();
    let private = Mapping::options().write(true).private(true).open(&path).unwrap();
    map.write_at(0, &vec![7; 8 * page()]).unwrap();
    private.write_at(6 * page(), b"mine").unwrap();
    // A descriptor of its own, as another program has.
    let other = std::fs::File::options().write(true).open(&path).unwrap();
    other.set_len(3 * page() as u64 + 1).unwrap();
    for map in [&map, &private] {
        let mut bytes = [0; 4];
        map.read_at(3 * page() - 3, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 4]);
        for at in [3 * page(), 4 * page() - 2, 6 * page(), 8 * page() - 8] {
            let error = map.read_at(at, &mut bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
            assert!(error.to_string().contains(&format!("truncated to {} bytes", 3 * page() + 1)), "{error}");
            assert_eq!(map.write_at(at, b"lost").unwrap_err().kind(), ErrorKind::Truncated);
            assert_eq!(map.read_value::<u64>(at).unwrap_err().kind(), ErrorKind::Truncated);
        }
        // A copy that starts well and ends in the void.
        let error = map.read_at(0, &mut vec![0; 8 * page()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated);
    }
    // Nothing was stored on the way to these errors, not even where the last page would have taken it.
    assert!(std::fs::read(&path).unwrap() == vec![7; 3 * page() + 1]);
    assert_eq!(map.lock(..).unwrap_err().kind(), ErrorKind::Truncated);
    // What is left is durable, and what is gone is named.
    assert_eq!(map.sync(..).unwrap_err().kind(), ErrorKind::Truncated);
    map.sync(0..3 * page()).unwrap();
    other.set_len(8 * page() as u64).unwrap();
    let mut bytes = [1; 4];
    map.read_at(3 * page() + 1, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 4]);
    map.write_at(6 * page(), b"back").unwrap();
    map.sync(..).unwrap();
}

/// Holds the lock that a process which commits has.
fn commit_lock(path: &Path) -> Box<dyn steadfast::disk::DiskFile> {
    let file = RealDisk.open(path, Access::ReadWrite).unwrap();
    assert!(file.try_lock(Lock::Exclusive).unwrap());
    file
}

#[test]
fn a_live_writer_refuses_a_writable_mapping_and_is_named() {
    let test = "a_live_writer_refuses_a_writable_mapping_and_is_named";
    if let Some(path) = role() {
        let lock = commit_lock(Path::new(&path));
        println!("locked");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        drop(lock);
        return;
    }
    let folder = folder();
    let path = folder.path().join("data.bin");
    std::fs::write(&path, vec![1; page()]).unwrap();
    let mut other = other_process(test, &path);
    let mut output = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(output.any(|line| line.unwrap().ends_with("locked")));

    let options = || Mapping::options().write(true);
    let error = options().open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    assert!(error.to_string().contains(&format!("open for commits by process {} (", other.id())), "{error}");
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    assert_eq!(options().open_fd(&file).unwrap_err().kind(), ErrorKind::Locked);
    let waited = Instant::now();
    let error = options().lock_timeout(Duration::from_millis(30)).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(waited.elapsed() >= Duration::from_millis(30));
    // Who stores nowhere disturbs nobody.
    Mapping::options().open(&path).unwrap();
    options().private(true).open(&path).unwrap();

    std::thread::scope(|scope| {
        let patient = scope.spawn(|| options().lock_timeout(DEADLINE).open(&path));
        drop(other.stdin.take());
        patient.join().unwrap().unwrap();
    });
    assert!(other.wait().unwrap().success());
}

#[test]
fn a_writable_mapping_keeps_committers_out_until_it_is_closed() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    let map = Mapping::options().write(true).create(true).len(1).open(&path).unwrap();
    let second = Mapping::options().write(true).open(&path).unwrap();
    let file = RealDisk.open(&path, Access::ReadWrite).unwrap();
    assert!(!file.try_lock(Lock::Exclusive).unwrap());
    map.close().unwrap();
    assert!(!file.try_lock(Lock::Exclusive).unwrap());
    drop(second);
    assert!(file.try_lock(Lock::Exclusive).unwrap());
    let error = Mapping::options().write(true).open(&path).unwrap_err();
    assert!(error.to_string().contains("by this process"), "{error}");
}

#[test]
fn a_waiting_journal_refuses_a_writable_mapping() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    let journal = folder.path().join("data.bin.steadfast");
    std::fs::write(&path, [1]).unwrap();
    std::fs::write(&journal, []).unwrap();
    let refused = |what: &str| {
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let by_path = Mapping::options().write(true).open(&path).unwrap_err();
        let by_fd = Mapping::options().write(true).open_fd(&file).unwrap_err();
        for error in [by_path, by_fd] {
            assert_eq!(error.kind(), ErrorKind::RecoveryNeeded, "{what}: {error}");
            assert!(error.to_string().contains("steadfast recover"), "{what}: {error}");
        }
        Mapping::options().open(&path).unwrap();
        Mapping::options().write(true).private(true).open(&path).unwrap();
    };
    refused("a journal");
    // Through another name.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(Mapping::options().write(true).open(&link).unwrap_err().kind(), ErrorKind::RecoveryNeeded);
    std::fs::remove_file(&journal).unwrap();
    Mapping::options().write(true).open(&path).unwrap();
    let file = RealDisk.open(&path, Access::ReadWrite).unwrap();
    match file.set_mark(Some(b"mark")) {
        Ok(()) => refused("a mark"),
        Err(error) => eprintln!("lacks extended attributes: {error}"),
    }
    // A file that is created beside a journal left over is not left behind.
    let new = folder.path().join("new.bin");
    std::fs::write(folder.path().join("new.bin.steadfast"), []).unwrap();
    assert_eq!(
        Mapping::options().write(true).create(true).open(&new).unwrap_err().kind(),
        ErrorKind::RecoveryNeeded
    );
    assert!(!new.exists());
}

#[test]
fn atomics_share_bytes_in_one_size_only() {
    let map = Mapping::options().len(100).anonymous().unwrap();
    map.atomic::<AtomicU64>(8).unwrap().store(u64::MAX, Ordering::Release);
    assert_eq!(map.atomics::<AtomicU64>(..96).unwrap()[1].load(Ordering::Acquire), u64::MAX);
    assert_eq!(map.atomic::<AtomicU32>(8).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(map.atomic::<AtomicU64>(4).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(map.atomic::<AtomicU64>(96).unwrap_err().kind(), ErrorKind::OutOfRange);
    assert_eq!(map.atomics::<AtomicU64>(..95).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(map.atomic::<AtomicU64>(usize::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
    map.atomic::<AtomicU32>(96).unwrap();
}
