//! Programs that remove, rename and replace files which they have mapped atomically.

mod stage;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use stage::{Actor, actors, folder, library, plain, recovered, zeros};
use tempfile::TempDir;

const LEN: usize = 16384;

/// A file of zeros with a commit and a store behind it: descriptor, mapping.
fn mapped(program: &Path, more: &[(&str, &str)]) -> (TempDir, PathBuf, Actor, i64, i64) {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", LEN);
    let settings = [&[("STEADFAST_ATOMIC", "*.bin")], more].concat();
    let mut actor = Actor::start_as(program, dir.path(), &settings);
    let fd = actor.works("open a.bin rw");
    let map = actor.works(&format!("map {fd} 0 {LEN} rw shared"));
    actor.works(&format!("store {map} 0 one"));
    actor.works(&format!("sync {map}"));
    actor.works(&format!("store {map} 9000 two"));
    assert!(journal(&dir).exists(), "not converted: {}", actor.said());
    (dir, path, actor, fd, map)
}

fn journal(dir: &TempDir) -> PathBuf {
    dir.path().join("a.bin.steadfast")
}

/// As `mapped`, with a library between this one and the C library (`stage/names.c`).
fn mapped_between(more: &[(&str, &str)]) -> (TempDir, PathBuf, Actor, i64, i64) {
    let built = folder();
    let between = built.path().join("libnames.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stage/names.c");
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .args([&between, &source])
        .status();
    assert!(done.unwrap().success());
    let both = format!("{}:{}", library().display(), between.display());
    mapped(&actors()[0], &[&[("LD_PRELOAD", both.as_str())], more].concat())
}

/// Everything is there, and stores show at once.
fn is_the_kernels(actor: &mut Actor, fd: i64, map: i64) {
    assert_eq!(actor.brings(&format!("pread {fd} 0 3")), "one");
    assert_eq!(actor.brings(&format!("pread {fd} 9000 3")), "two");
    actor.works(&format!("store {map} 100 three"));
    assert_eq!(actor.brings(&format!("pread {fd} 100 5")), "three");
    actor.works(&format!("sync {map}"));
    actor.works(&format!("unmap {map}"));
}

#[test]
fn a_file_that_the_program_removes_takes_its_journal_along_at_once() {
    for program in actors() {
        for remove in ["unlink a.bin", "unlinkat a.bin", "remove a.bin", "unlink ./../{}/a.bin"] {
            let (dir, path, mut actor, fd, map) = mapped(program, &[]);
            let here = dir.path().file_name().unwrap().to_str().unwrap();
            actor.works(&remove.replace("{}", here));
            assert!(!journal(&dir).exists() && !path.exists(), "{remove}");
            is_the_kernels(&mut actor, fd, map);
            assert_eq!(actor.said(), "", "nothing is to be said of it");
        }
    }
}

/// Whoever empties a folder has listed it before.
#[test]
fn a_journal_that_went_with_its_file_may_be_removed_once_more() {
    for remove in ["unlink", "unlinkat", "remove"] {
        let (dir, _, mut actor, fd, map) = mapped(&actors()[0], &[]);
        for name in ["a.bin", "a.bin.steadfast"] {
            actor.works(&format!("{remove} {name}"));
        }
        actor.fails(&format!("{remove} a.bin"), libc::ENOENT);
        is_the_kernels(&mut actor, fd, map);
        // And the other way round.
        zeros(dir.path(), "b.bin", LEN);
        let fd = actor.works("open b.bin rw");
        let map = actor.works(&format!("map {fd} 0 {LEN} rw shared"));
        actor.works(&format!("store {map} 0 one"));
        for name in ["b.bin.steadfast", "b.bin"] {
            actor.works(&format!("{remove} {name}"));
        }
        assert_eq!(actor.brings(&format!("pread {fd} 0 3")), "one");
        actor.works(&format!("unmap {map}"));
        assert_eq!(actor.said(), "");
    }
}

#[test]
fn a_file_that_the_program_replaces_takes_its_journal_along_at_once() {
    for rename in ["rename new a.bin", "renameat new a.bin", "renameat2 new a.bin 0"] {
        let (dir, path, mut actor, fd, map) = mapped(&actors()[0], &[("STEADFAST_STRICT", "1")]);
        fs::write(dir.path().join("new"), "another").unwrap();
        actor.works(rename);
        assert!(!journal(&dir).exists(), "{rename}");
        is_the_kernels(&mut actor, fd, map);
        assert_eq!(fs::read(&path).unwrap(), b"another");
        assert_eq!(actor.said(), "");
    }
}

#[test]
fn a_file_that_the_program_renames_is_plain_by_its_new_name() {
    for program in actors() {
        for rename in ["rename a.bin b", "renameat a.bin b", "renameat2 a.bin b 1", "renameat2 a.bin other 2"]
        {
            let (dir, _, mut actor, fd, map) = mapped(program, &[]);
            zeros(dir.path(), "other", 1);
            actor.works(rename);
            let moved = dir.path().join(if rename.ends_with('2') { "other" } else { "b" });
            assert!(!journal(&dir).exists(), "{rename}");
            assert_eq!((plain(&moved, 0, 3), plain(&moved, 9000, 3)), ("one".into(), "two".into()));
            is_the_kernels(&mut actor, fd, map);
            let said = actor.said();
            assert!(said.contains("a.bin") && said.lines().count() == 1, "{said}");
        }
    }
}

#[test]
fn strict_refuses_to_rename_what_is_mapped_atomically() {
    let (dir, path, mut actor, _, map) = mapped(&actors()[0], &[("STEADFAST_STRICT", "1")]);
    zeros(dir.path(), "other", 1);
    for rename in
        ["rename a.bin b", "renameat a.bin other", "renameat2 a.bin other 2", "renameat2 other a.bin 2"]
    {
        actor.fails(rename, libc::EBUSY);
    }
    let said = actor.said();
    assert!(said.contains("a.bin") && said.lines().count() == 4, "{said}");
    assert!(path.exists() && journal(&dir).exists());
    actor.works(&format!("sync {map}"));
    actor.works(&format!("store {map} 9000 off"));
    actor.kill();
    assert_eq!((recovered(&path, 0, 3), plain(&path, 9000, 3)), ("one".into(), "two".into()));
}

#[test]
fn a_rename_that_fails_or_does_nothing_leaves_the_file_as_it_is() {
    let (dir, path, mut actor, _, map) = mapped(&actors()[0], &[]);
    zeros(dir.path(), "other", 1);
    actor.fails("rename a.bin nowhere/b", libc::ENOENT);
    actor.fails("renameat2 a.bin other 1", libc::EEXIST);
    actor.fails("rename a.bin /proc/b", libc::EXDEV);
    actor.works("rename a.bin a.bin");
    actor.fails("unlink nowhere", libc::ENOENT);
    actor.works("unlink other");
    assert!(journal(&dir).exists());
    actor.works(&format!("sync {map}"));
    actor.works(&format!("store {map} 9000 off"));
    assert_eq!(actor.said(), "");
    actor.kill();
    assert_eq!((recovered(&path, 0, 3), plain(&path, 9000, 3)), ("one".into(), "two".into()));
}

/// As `rm -r` of a folder does whose files are in use, and a program that then begins anew.
#[test]
fn a_new_file_of_the_name_is_opened_whoever_removed_the_old_one() {
    for by_itself in [false, true] {
        let (dir, path, mut actor, fd, map) = mapped(&actors()[0], &[]);
        match by_itself {
            true => actor.works("unlink a.bin"),
            false => fs::remove_file(&path).map(|()| 0).unwrap(),
        };
        let new = actor.works("open a.bin rw+creat");
        actor.works(&format!("ftruncate {new} {LEN}"));
        // By a path that is looked at now.
        let again = actor.works("open a.bin rw");
        let other = actor.works(&format!("map {again} 0 {LEN} rw shared"));
        actor.works(&format!("store {other} 0 new"));
        actor.works(&format!("sync {other}"));
        is_the_kernels(&mut actor, fd, map);
        assert!(journal(&dir).exists());
        actor.works(&format!("store {other} 0 off"));
        assert_eq!(actor.said(), "");
        actor.kill();
        assert_eq!((recovered(&path, 0, 3), plain(&path, 100, 5)), ("new".into(), ".....".into()));
    }
}

/// Another process commits to a new file of that name, whose journal is its own.
#[test]
fn a_file_that_another_process_has_begun_by_that_name_is_left_alone() {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", LEN);
    let mut first = Actor::atomic(dir.path());
    let fd = first.works("open a.bin rw");
    let map = first.works(&format!("map {fd} 0 {LEN} rw shared"));
    first.works(&format!("store {map} 0 one"));
    first.works(&format!("store {map} 9000 two"));
    fs::remove_file(&path).unwrap();
    zeros(dir.path(), "a.bin", LEN);
    let settings = [("STEADFAST_ATOMIC", "*.bin"), ("STEADFAST_PUBLISH", "0")];
    let mut second = Actor::start(dir.path(), &settings);
    let new = second.works("open a.bin rw");
    let other = second.works(&format!("map {new} 0 {LEN} rw shared"));
    second.works(&format!("store {other} 0 new"));
    second.works(&format!("sync {other}"));
    first.works(&format!("sync {map}"));
    is_the_kernels(&mut first, fd, map);
    assert!(journal(&dir).exists() && plain(&path, 0, 3) == "...");
    second.works(&format!("store {other} 3 er"));
    second.works(&format!("sync {other}"));
    assert_eq!(second.said(), "");
    second.kill();
    assert_eq!(recovered(&path, 0, 5), "newer");
}

#[test]
fn a_program_that_is_killed_behind_the_call_leaves_no_journal_beside_the_name() {
    for call in [
        "unlink a.bin",
        "unlinkat a.bin",
        "remove a.bin",
        "rename new a.bin",
        "renameat new a.bin",
        "renameat2 new a.bin 0",
        "rename a.bin new",
        "renameat2 a.bin new 2",
        "renameat2 new a.bin 2",
    ] {
        let (dir, path, actor, ..) = mapped_between(&[]);
        fs::write(dir.path().join("new"), vec![b'n'; LEN]).unwrap();
        let (_, status, said) = actor.ends(call);
        assert_eq!(status.signal(), Some(9), "{call}: {said}");
        assert!(!journal(&dir).exists(), "{call}");
        // Whoever comes next opens it, and finds what the program left there.
        for path in [path, dir.path().join("new")] {
            if path.exists() && recovered(&path, 1, 2) != "nn" {
                assert_eq!(
                    (plain(&path, 0, 3), plain(&path, 9000, 3)),
                    ("one".into(), "two".into()),
                    "{call}"
                );
            }
        }
    }
}

#[test]
fn one_of_several_names_is_removed_as_it_is_renamed() {
    let link = |dir: &TempDir| fs::hard_link(dir.path().join("a.bin"), dir.path().join("h.bin")).unwrap();
    for call in ["unlink a.bin", "rename new a.bin"] {
        let (dir, _, actor, ..) = mapped_between(&[]);
        zeros(dir.path(), "new", 1);
        link(&dir);
        let (_, status, said) = actor.ends(call);
        assert_eq!(status.signal(), Some(9), "{call}: {said}");
        assert!(said.contains("a.bin") && said.lines().count() == 1, "{said}");
        let other = dir.path().join("h.bin");
        assert!(!journal(&dir).exists());
        assert_eq!((recovered(&other, 0, 3), plain(&other, 9000, 3)), ("one".into(), "two".into()));
    }
    let (dir, path, mut actor, _, map) = mapped(&actors()[0], &[("STEADFAST_STRICT", "1")]);
    zeros(dir.path(), "new", 1);
    link(&dir);
    for call in ["unlink a.bin", "rename new a.bin"] {
        actor.fails(call, libc::EBUSY);
    }
    assert!(path.exists() && journal(&dir).exists());
    actor.works(&format!("sync {map}"));
}

#[test]
fn a_removal_that_fails_leaves_the_file_to_the_kernel_and_says_so() {
    for call in ["unlink a.bin", "rename new a.bin"] {
        let (dir, path, mut actor, fd, map) = mapped_between(&[("FAILS", "30")]);
        zeros(dir.path(), "new", 1);
        actor.fails(call, libc::EROFS);
        assert!(path.exists() && !journal(&dir).exists(), "{call}");
        is_the_kernels(&mut actor, fd, map);
        let said = actor.said();
        assert!(said.contains("a.bin: it was to be removed") && said.lines().count() == 1, "{said}");
    }
}

/// The journal stands beside another one.
#[test]
fn a_name_that_the_file_was_not_mapped_by_may_come_and_go() {
    let (dir, path, mut actor, _, map) = mapped(&actors()[0], &[("STEADFAST_STRICT", "1")]);
    fs::create_dir(dir.path().join("d")).unwrap();
    for call in ["unlink h", "unlink d/a.bin", "rename new h", "renameat h other"] {
        for name in ["h", "d/a.bin", "new", "other"] {
            let _ = fs::remove_file(dir.path().join(name));
        }
        fs::hard_link(&path, dir.path().join("h")).unwrap();
        fs::hard_link(&path, dir.path().join("d/a.bin")).unwrap();
        zeros(dir.path(), "new", 1);
        actor.works(call);
        assert!(journal(&dir).exists(), "{call}");
        actor.works(&format!("sync {map}"));
    }
    assert_eq!(actor.said(), "");
    actor.works(&format!("store {map} 9000 off"));
    actor.kill();
    for name in ["other", "d/a.bin"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert_eq!((recovered(&path, 0, 3), plain(&path, 9000, 3)), ("one".into(), "two".into()));
}

/// Giving back takes descriptors.
#[test]
fn without_descriptors_a_rename_fails_and_the_commits_stay() {
    let (dir, path, mut actor, _, map) = mapped(&actors()[0], &[]);
    let pid = Pid::from_raw(actor.pid() as i32);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let few = |limit| {
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
    };
    few(20);
    while actor.ask("open a.bin rw").value >= 0 {}
    actor.fails("rename a.bin b", libc::EMFILE);
    assert!(path.exists() && journal(&dir).exists());
    few(1024);
    actor.works("rename a.bin b");
    let moved = dir.path().join("b");
    assert_eq!((plain(&moved, 0, 3), plain(&moved, 9000, 3)), ("one".into(), "two".into()));
    actor.works(&format!("sync {map}"));
}

#[test]
fn only_a_journal_that_went_with_its_file_may_be_removed_once_more() {
    let (dir, _, mut actor, fd, map) = mapped(&actors()[0], &[]);
    actor.fails("unlink nothing.steadfast", libc::ENOENT);
    actor.works("unlink a.bin");
    actor.fails("unlink nothing.steadfast", libc::ENOENT);
    actor.fails(&format!("unlinkat a.bin.steadfast {}", libc::AT_REMOVEDIR), libc::ENOENT);
    actor.works(&format!("unlink {}", journal(&dir).display()));
    actor.fails("unlink a.bin.steadfast", libc::ENOENT);
    is_the_kernels(&mut actor, fd, map);
}

/// As one that is renamed while it is being mapped, each time that it is looked for.
#[test]
fn a_file_that_is_not_found_by_its_name_is_mapped_by_the_kernel() {
    for strict in ["0", "1"] {
        let dir = folder();
        let path = zeros(dir.path(), "a.bin", LEN);
        let settings = [("STEADFAST_ATOMIC", "*.bin*"), ("STEADFAST_STRICT", strict)];
        let mut actor = Actor::start(dir.path(), &settings);
        let fd = actor.works("open a.bin rw");
        fs::hard_link(&path, dir.path().join("h")).unwrap();
        fs::remove_file(&path).unwrap();
        let map = format!("map {fd} 0 {LEN} rw shared");
        if strict == "1" {
            actor.fails(&map, libc::ENOENT);
        } else {
            let map = actor.works(&map);
            actor.works(&format!("store {map} 0 one"));
            assert_eq!(plain(&dir.path().join("h"), 0, 3), "one");
        }
        let said = actor.said();
        assert!(said.contains("a.bin") && said.lines().count() == 1, "{said}");
        assert!(!journal(&dir).exists());
    }
}
