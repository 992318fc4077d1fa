//! Programs that close what they do not know, and put descriptors where they like.

mod stage;

use std::collections::BTreeSet;
use std::fs;

use stage::{Actor, folder, plain, recovered, under, zeros};

const LEN: usize = 16384;

/// After whatever was done to descriptors: the mapping commits as before, and so does what follows a crash.
fn still_commits(mut actor: Actor, map: i64, path: &std::path::Path, what: &str) {
    actor.works(&format!("store {map} 0 hello"));
    actor.works(&format!("sync {map}"));
    assert_eq!(plain(path, 0, 5), "hello", "{what}");
    for round in 0..20 {
        actor.works(&format!("store {map} {} again{round:02}", round * 800));
        actor.works(&format!("sync {map}"));
    }
    actor.works(&format!("store {map} 0 never"));
    assert_eq!(actor.said(), "", "{what}");
    actor.kill();
    assert_eq!(recovered(path, 800, 7), "again01", "{what}");
    assert_eq!(plain(path, 0, 5), "again", "{what}");
}

#[test]
fn closing_everything_does_no_harm() {
    for atomic in [true, false] {
        for close in ["closeall 3", "closefrom 3", "close_range 3 4294967295", "close_range 3 1000"] {
            let dir = folder();
            let path = zeros(dir.path(), "a.bin", LEN);
            let mut actor = match atomic {
                true => Actor::atomic(dir.path()),
                false => Actor::start(dir.path(), &[]),
            };
            let before = actor.works("fds");
            let fd = actor.works("open a.bin rw");
            let map = actor.works(&format!("map {fd} 0 {LEN} rw shared"));
            let open = actor.works("fds");
            assert!(open > before + 1, "{close}: the library holds some");
            actor.works(&format!("store {map} 0 early"));
            actor.works(&format!("sync {map}"));
            actor.works(close);
            actor.fails(&format!("close {fd}"), libc::EBADF);
            assert!(actor.works("fds") > before, "{close}");
            if atomic {
                still_commits(actor, map, &path, close);
            } else {
                actor.works(&format!("store {map} 0 hello"));
                actor.works(&format!("sync {map}"));
                assert_eq!(actor.said(), "", "{close}");
            }
        }
    }
}

/// Whatever appears with a mapping, and with its commits, is guarded: closing each number in turn is EBADF or closes one of the
/// program's own.
#[test]
fn every_descriptor_of_the_library_is_known_to_it() {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", 4 << 20);
    let mut actor = Actor::atomic(dir.path());
    let fd = actor.works("open a.bin rw");
    let own = open_in(&actor);
    let map = actor.works(&format!("map {fd} 0 {} rw shared", 4 << 20));
    for round in 0..50 {
        actor.works(&format!("store {map} {} {}", round * 70_000, "x".repeat(2000)));
        actor.works(&format!("sync {map}"));
    }
    actor.works(&format!("fsync {fd}"));
    let with_ours = open_in(&actor);
    assert!(with_ours.len() > own.len() + 2, "{with_ours:?}");
    for (number, target) in with_ours.difference(&own) {
        let answer = actor.ask(&format!("close {number}"));
        assert_eq!((answer.value, answer.errno), (-1, libc::EBADF), "{number}, {target}");
    }
    assert_eq!(open_in(&actor), with_ours);
    actor.works(&format!("unmap {map}"));
    assert_eq!(open_in(&actor), own, "with the mapping its descriptors go");
    assert_eq!(plain(&path, 70_000, 1), "x");
}

/// The descriptors that a program has, and where they lead.
fn open_in(actor: &Actor) -> BTreeSet<(i64, String)> {
    let entries = fs::read_dir(format!("/proc/{}/fd", actor.pid())).unwrap().flatten();
    let number = |entry: &fs::DirEntry| entry.file_name().to_str().unwrap().parse().unwrap();
    entries
        .map(|entry| (number(&entry), fs::read_link(entry.path()).unwrap().display().to_string()))
        .collect()
}

#[test]
fn putting_a_descriptor_over_one_of_the_librarys_is_refused_with_a_line() {
    for call in ["dup2", "dup3"] {
        let dir = folder();
        let path = zeros(dir.path(), "a.bin", LEN);
        let mut actor = Actor::atomic(dir.path());
        let fd = actor.works("open a.bin rw");
        let map = actor.works(&format!("map {fd} 0 {LEN} rw shared"));
        let last = actor.works("lastfd");
        assert!(last > fd);
        actor.fails(&format!("{call} 1 {last}"), libc::EBUSY);
        let said = actor.said();
        assert!(said.starts_with("steadfast: ") && said.lines().count() == 1, "{said}");
        assert!(said.contains(&last.to_string()), "{said}");
        assert_eq!(actor.works(&format!("{call} 1 500")), 500, "others are the program's");
        actor.works(&format!("store {map} 0 hello"));
        actor.works(&format!("sync {map}"));
        actor.kill();
        assert_eq!(recovered(&path, 0, 5), "hello");
    }
}

/// A program whose standard streams are closed gets their numbers with the next files that it opens itself, and nothing of ours does.
#[test]
fn the_library_takes_no_number_that_programs_count_on() {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", LEN);
    let mut actor = Actor::atomic(dir.path());
    let fd = actor.works("open a.bin rw");
    actor.works("close 2");
    let map = actor.works(&format!("map {fd} 0 {LEN} rw shared"));
    actor.works(&format!("store {map} 0 hello"));
    actor.works(&format!("sync {map}"));
    assert_eq!(actor.works("open other rw+creat"), 2, "the lowest number that is free");
    assert_eq!(actor.works("open a.bin r"), fd + 1);
    assert!(open_in(&actor).into_iter().all(|(number, _)| number <= fd + 1 || number >= 512));
    actor.kill();
    assert_eq!(recovered(&path, 0, 5), "hello");
}

#[test]
fn python_closes_a_range_and_goes_on() {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", 4096);
    let script = "import mmap, os, subprocess\n\
        f=open('a.bin','r+b')\nm=mmap.mmap(f.fileno(),0)\nm[0:3]=b'one'\nm.flush()\n\
        os.closerange(3, 4096)\n\
        m[4:7]=b'two'\nm.flush()\n\
        subprocess.run(['true'], close_fds=True, check=True)\n\
        m[8:13]=b'three'\nm.flush()\nos.kill(os.getpid(), 9)\n";
    let said = under("python3", &[("STEADFAST_ATOMIC", "*.bin")])
        .args(["-c", script])
        .current_dir(dir.path())
        .output();
    let Ok(said) = said else { return println!("lacking: python3") };
    assert_eq!(said.status.code(), None, "{said:?}");
    assert_eq!(recovered(&path, 0, 13), "one.two.three");
}

/// Closing any descriptor of a file gives back the process's record locks on it (fcntl(2)).
#[test]
fn the_librarys_own_closing_takes_no_record_lock_away() {
    for atomic in [true, false] {
        let dir = folder();
        let path = zeros(dir.path(), "a.bin", LEN);
        let mut actor = match atomic {
            true => Actor::atomic(dir.path()),
            false => Actor::start(dir.path(), &[]),
        };
        let fd = actor.works("open a.bin rw");
        let before = actor.works("fds");
        actor.works(&format!("lock {fd}"));
        let map = actor.works(&format!("map {fd} 0 {LEN} rw shared"));
        actor.works(&format!("sync {map}"));
        actor.works(&format!("unmap {map}"));
        assert!(has_lock(&actor, &path), "atomic: {atomic}");
        actor.works(&format!("close {fd}"));
        assert!(!has_lock(&actor, &path));
        assert_eq!(actor.works("fds"), before - 1, "what was kept open for the lock is closed now");
    }
}

fn has_lock(actor: &Actor, path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{}", fs::metadata(path).unwrap().ino());
    let pid = format!(" {} ", actor.pid());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| line.contains(" POSIX ") && line.contains(&pid) && line.contains(&inode))
}

#[test]
fn a_line_never_lands_in_a_file_that_came_to_be_standard_error() {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", LEN);
    fs::hard_link(&path, dir.path().join("b.bin")).unwrap();
    let mut actor = Actor::atomic(dir.path());
    let fd = actor.works("open a.bin rw");
    actor.works("close 2");
    assert_eq!(actor.works("open data rw+creat"), 2);
    actor.works(&format!("map {fd} 0 {LEN} rw shared"));
    assert_eq!(fs::read(dir.path().join("data")).unwrap(), b"");
}

#[test]
fn a_log_file_stays_open() {
    let dir = folder();
    zeros(dir.path(), "a.bin", LEN);
    let mut actor = Actor::start(dir.path(), &[("STEADFAST_ATOMIC", "*.bin"), ("STEADFAST_LOG", "log")]);
    actor.works("closeall 3");
    let fd = actor.works("open a.bin rw");
    actor.works(&format!("map {fd} 0 {LEN} rw shared"));
    assert!(fs::read_to_string(dir.path().join("log")).unwrap().contains("converted"));
}
