//! What a program gets whose files are mapped atomically behind its back: one rule a test.

mod stage;

use std::fs;
use std::path::{Path, PathBuf};

use stage::{Actor, UNTOUCHED, actors, folder, plain, recovered, under, zeros};
use tempfile::TempDir;

const LEN: usize = 16384;

/// A file of zeros that a program has open and mapped: descriptor, mapping.
fn mapped() -> (TempDir, PathBuf, Actor, i64, i64) {
    mapped_by(&actors()[0], &[])
}

fn mapped_by(program: &Path, more: &[(&str, &str)]) -> (TempDir, PathBuf, Actor, i64, i64) {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", LEN);
    let settings = [&[("STEADFAST_ATOMIC", "*.bin")], more].concat();
    let mut actor = Actor::start_as(program, dir.path(), &settings);
    let fd = actor.works("open a.bin rw");
    let map = actor.works(&format!("map {fd} 0 {LEN} rw shared"));
    assert!(dir.path().join("a.bin.steadfast").exists(), "not converted: {}", actor.said());
    (dir, path, actor, fd, map)
}

#[test]
fn stores_reach_the_file_by_msync_and_not_before() {
    for program in actors() {
        let (_dir, path, mut actor, _, map) = mapped_by(program, &[]);
        actor.works(&format!("store {map} 10 hello"));
        actor.works(&format!("store {map} 9000 there"));
        assert_eq!((plain(&path, 10, 5), plain(&path, 9000, 5)), (".....".into(), ".....".into()));
        actor.works(&format!("sync {map}"));
        assert_eq!((plain(&path, 10, 5), plain(&path, 9000, 5)), ("hello".into(), "there".into()));
        actor.works(&format!("store {map} 10 after"));
        actor.kill();
        assert_eq!((recovered(&path, 10, 5), plain(&path, 9000, 5)), ("hello".into(), "there".into()));
    }
}

#[test]
fn recovery_happens_when_a_matching_file_is_opened() {
    for open in ["open a.bin r", "open a.bin rw", "open a.bin w", "openat a.bin r", "open ./../link.bin r"] {
        let dir = folder();
        fs::create_dir(dir.path().join("sub")).unwrap();
        let path = zeros(&dir.path().join("sub"), "a.bin", LEN);
        std::os::unix::fs::symlink("sub/a.bin", dir.path().join("link.bin")).unwrap();
        // Without publishing, so that recovery is all that can bring it.
        let settings = [("STEADFAST_ATOMIC", "*.bin"), ("STEADFAST_PUBLISH", "0")];
        let mut first = Actor::start(&dir.path().join("sub"), &settings);
        let fd = first.works("open a.bin rw");
        let map = first.works(&format!("map {fd} 0 {LEN} rw shared"));
        first.works(&format!("store {map} 10 hello"));
        first.works(&format!("sync {map}"));
        first.kill();
        let journal = dir.path().join("sub/a.bin.steadfast");
        assert!(journal.exists() && plain(&path, 10, 5) == ".....");

        let mut other = Actor::start(&dir.path().join("sub"), &[("STEADFAST_ATOMIC", "*.txt")]);
        other.works(open);
        assert!(journal.exists(), "no pattern matches");
        let mut second = Actor::start(&dir.path().join("sub"), &settings);
        second.works(open);
        assert!(!journal.exists(), "{open}");
        assert_eq!(plain(&path, 10, 5), "hello");
        assert_eq!(second.said(), "");
    }
}

#[test]
fn a_journal_that_cannot_be_recovered_is_one_line_and_the_open_fails() {
    let dir = folder();
    zeros(dir.path(), "a.bin", LEN);
    fs::write(dir.path().join("a.bin.steadfast"), b"something else").unwrap();
    let mut actor = Actor::atomic(dir.path());
    let answer = actor.ask("open a.bin r");
    assert!(answer.value == -1 && answer.errno != UNTOUCHED, "{answer:?}");
    let said = actor.said();
    assert!(said.starts_with("steadfast: ") && said.contains("a.bin") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_second_process_that_would_write_is_refused_and_never_passed() {
    let (dir, path, mut first, _, map) = mapped();
    let mut second = Actor::atomic(dir.path());
    let fd = second.works("open a.bin rw");
    second.fails(&format!("map {fd} 0 {LEN} rw shared"), libc::EAGAIN);
    let said = second.said();
    assert!(said.starts_with("steadfast: ") && said.lines().count() == 1, "{said}");
    assert!(said.contains("a.bin") && said.contains(&first.pid().to_string()), "names the holder: {said}");
    // The first goes on, and when it is done the second may.
    first.works(&format!("store {map} 0 one"));
    first.works(&format!("sync {map}"));
    first.works(&format!("unmap {map}"));
    let map = second.works(&format!("map {fd} 0 {LEN} rw shared"));
    assert_eq!(second.brings(&format!("load {map} 0 3")), "one");
    second.works(&format!("store {map} 0 two"));
    second.works(&format!("sync {map}"));
    assert_eq!(plain(&path, 0, 3), "two");
}

#[test]
fn readers_in_other_processes_see_what_is_published() {
    let (dir, _, mut writer, _, map) = mapped();
    let mut reader = Actor::atomic(dir.path());
    let fd = reader.works("open a.bin r");
    let shared = reader.works(&format!("map {fd} 0 {LEN} r shared"));
    assert_eq!(reader.brings(&format!("load {shared} 5 5")), ".....");
    writer.works(&format!("store {map} 5 hello"));
    assert_eq!(reader.brings(&format!("load {shared} 5 5")), ".....", "not committed");
    writer.works(&format!("sync {map}"));
    assert_eq!(reader.brings(&format!("load {shared} 5 5")), "hello");
    assert_eq!(reader.brings(&format!("pread {fd} 5 5")), "hello");
    assert_eq!(reader.said(), "");
}

#[test]
fn two_writable_mappings_of_one_file_lose_no_update() {
    // Beside each other, and one over the other, which one image cannot serve.
    for second in ["4096 8192", "0 16384"] {
        let (_dir, path, mut actor, fd, map) = mapped();
        actor.works(&format!("store {map} 4 one"));
        actor.works(&format!("unmappart {map} 4096 12288"));
        let other = actor.works(&format!("map {fd} {second} rw shared"));
        let at = if second.starts_with('0') { 4104 } else { 8 };
        actor.works(&format!("store {other} {at} two"));
        actor.works(&format!("store {map} 20 three"));
        actor.works(&format!("sync {other}"));
        // Its rest is not mapped any more, and what is left is synced all the same.
        let _ = actor.ask(&format!("sync {map}"));
        assert_eq!(actor.brings(&format!("pread {fd} 4104 3")), "two");
        let (_, status, said) = actor.ends("exit 0");
        assert!(status.success(), "{said}");
        assert_eq!(
            (plain(&path, 4, 3), plain(&path, 4104, 3), plain(&path, 20, 5)),
            ("one".into(), "two".into(), "three".into()),
            "{second}: {said}"
        );
    }
}

#[test]
fn what_write_brings_to_a_page_that_was_stored_to_stays() {
    for program in actors() {
        let (_dir, path, mut actor, fd, map) = mapped_by(program, &[]);
        actor.works(&format!("store {map} 0 stored"));
        assert_eq!(actor.works(&format!("pwrite {fd} 10 pwrite")), 6);
        assert_eq!(actor.works(&format!("pwritev {fd} 20 pwritev")), 7);
        assert_eq!(actor.works(&format!("seek {fd} 30")), 30);
        assert_eq!(actor.works(&format!("write {fd} write")), 5);
        assert_eq!(actor.works(&format!("writev {fd} writev")), 6);
        assert_eq!(actor.works(&format!("tell {fd}")), 41, "the offset moved");
        let expected = "stored....pwrite....pwritev...writewritev";
        assert_eq!(actor.brings(&format!("load {map} 0 41")), expected);
        assert_eq!(plain(&path, 0, 41), ".".repeat(41), "as stores, they wait for a commit");
        actor.works(&format!("sync {map}"));
        assert_eq!(plain(&path, 0, 41), expected);
        actor.kill();
        assert_eq!(recovered(&path, 0, 41), expected);
    }
}

#[test]
fn what_was_stored_is_what_is_read() {
    for program in actors() {
        let (_dir, _, mut actor, fd, map) = mapped_by(program, &[]);
        actor.works(&format!("store {map} 100 hello"));
        assert_eq!(actor.brings(&format!("pread {fd} 98 9")), "..hello..");
        assert_eq!(actor.brings(&format!("preadv {fd} 98 9")), "..hello..");
        assert_eq!(actor.brings(&format!("preadv2 {fd} 98 9")), "..hello..");
        actor.works(&format!("seek {fd} 100"));
        assert_eq!(actor.brings(&format!("read {fd} 2")), "he");
        assert_eq!(actor.brings(&format!("readv {fd} 3")), "llo");
        assert_eq!(actor.works(&format!("tell {fd}")), 105);
        // What _FORTIFY_SOURCE makes of them.
        actor.works(&format!("seek {fd} 100"));
        assert_eq!(actor.brings(&format!("__read_chk {fd} 5")), "hello");
        assert_eq!(actor.brings(&format!("__pread_chk {fd} 98 9")), "..hello..");
        assert_eq!(actor.brings(&format!("__pread64_chk {fd} 98 9")), "..hello..");
        assert_eq!(actor.ask(&format!("pread {fd} {} 10", LEN - 4)).value, 4, "up to the end");
        assert_eq!(actor.works(&format!("pread {fd} {LEN} 10")), 0);
        let other = actor.works("open a.bin r");
        assert_eq!(actor.brings(&format!("pread {other} 100 5")), "hello", "by any descriptor");
    }
}

#[test]
fn a_read_that_its_buffer_has_no_room_for_ends_the_program_as_the_c_library_does() {
    for call in [0, 1] {
        let (_dir, _, actor, fd, _) = mapped();
        let (_, status, said) = actor.ends(&format!("overflow {fd} {call}"));
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGABRT), "{said}");
        assert!(said.contains("buffer overflow detected"), "{said}");
    }
}

#[test]
fn a_descriptor_allows_what_it_was_opened_for() {
    let (_dir, _, mut actor, fd, map) = mapped();
    let (reader, writer) = (actor.works("open a.bin r"), actor.works("open a.bin w"));
    actor.fails(&format!("pwrite {reader} 0 x"), libc::EBADF);
    actor.fails(&format!("pread {writer} 0 1"), libc::EBADF);
    actor.fails(&format!("ftruncate {reader} 0"), libc::EINVAL);
    actor.fails(&format!("fallocate {reader} 0 0 10"), libc::EBADF);
    actor.fails(&format!("pwrite {fd} -5 x"), libc::EINVAL);
    actor.fails(&format!("ftruncate {fd} -1"), libc::EINVAL);
    assert_eq!(actor.brings(&format!("load {map} 0 1")), ".");
}

#[test]
fn appending_goes_to_the_end() {
    let (_dir, path, mut actor, _, _) = mapped();
    let fd = actor.works("open a.bin rw+append");
    assert_eq!(actor.works(&format!("write {fd} tail")), 4);
    assert_eq!(actor.works(&format!("pwrite {fd} 0 more")), 4, "as Linux has it");
    for (call, expected) in [("size", LEN + 8), ("tell", LEN + 4), ("end", LEN + 8)] {
        assert_eq!(actor.works(&format!("{call} {fd}")), expected as i64, "{call}, before a commit");
    }
    actor.works(&format!("fsync {fd}"));
    assert_eq!(plain(&path, LEN, 8), "tailmore");
    assert_eq!(actor.works(&format!("size {fd}")), LEN as i64 + 8);
}

#[test]
fn a_write_that_is_to_be_durable_is_a_commit() {
    for (open, write) in [("rw+dsync", "pwrite"), ("rw", "pwritev2")] {
        let (_dir, path, mut actor, _, map) = mapped();
        let fd = actor.works(&format!("open a.bin {open}"));
        actor.works(&format!("store {map} 0 stored"));
        actor.works(&format!("{write} {fd} 10 written"));
        actor.kill();
        assert_eq!(recovered(&path, 0, 17), "stored....written", "{open} {write}");
    }
}

#[test]
fn truncating_down_and_up_brings_no_old_bytes_back() {
    for cut in ["ftruncate FD 100", "truncate a.bin 100"] {
        let (_dir, path, mut actor, fd, map) = mapped();
        actor.works(&format!("store {map} 90 0123456789abcdef"));
        actor.works(&format!("store {map} 5000 far"));
        actor.works(&format!("sync {map}"));
        actor.works(&cut.replace("FD", &fd.to_string()));
        assert_eq!(actor.works(&format!("size {fd}")), 100);
        actor.works(&format!("ftruncate {fd} {LEN}"));
        assert_eq!(actor.brings(&format!("load {map} 90 20")), "0123456789..........");
        assert_eq!(actor.brings(&format!("load {map} 5000 3")), "...");
        assert_eq!(actor.brings(&format!("pread {fd} 5000 3")), "...");
        actor.kill();
        assert_eq!(recovered(&path, 90, 20), "0123456789..........");
        assert_eq!(plain(&path, 5000, 3), "...");
    }
}

#[test]
fn opening_with_truncation_is_a_commit_of_no_length() {
    for open in ["open a.bin rw+trunc", "creat a.bin"] {
        let (_dir, path, mut actor, fd, map) = mapped();
        actor.works(&format!("store {map} 0 hello"));
        actor.works(&format!("sync {map}"));
        actor.works(open);
        assert_eq!(actor.works(&format!("size {fd}")), 0);
        actor.works(&format!("ftruncate {fd} {LEN}"));
        assert_eq!(actor.brings(&format!("load {map} 0 5")), ".....");
        actor.works(&format!("store {map} 0 again"));
        actor.works(&format!("sync {map}"));
        actor.kill();
        assert_eq!(recovered(&path, 0, 5), "again");
    }
}

#[test]
fn fsync_and_fdatasync_of_the_descriptor_commit() {
    for call in ["fsync", "fdatasync"] {
        let (_dir, path, mut actor, fd, map) = mapped();
        actor.works(&format!("store {map} 0 hello"));
        actor.works(&format!("{call} {fd}"));
        assert_eq!(plain(&path, 0, 5), "hello");
        actor.kill();
        assert_eq!(recovered(&path, 0, 5), "hello");
    }
}

#[test]
fn allocation_makes_the_file_longer_and_holes_are_zeros() {
    let (_dir, path, mut actor, fd, map) = mapped();
    actor.works(&format!("store {map} 4096 hello"));
    actor.works(&format!("fallocate {fd} 0 0 20000"));
    assert_eq!(actor.works(&format!("size {fd}")), 20000);
    assert_eq!(actor.works(&format!("end {fd}")), 20000);
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    actor.works(&format!("fallocate {fd} {punch} 4096 4096"));
    assert_eq!(actor.brings(&format!("load {map} 4096 5")), ".....");
    actor.fails(&format!("fallocate {fd} {} 0 4096", libc::FALLOC_FL_COLLAPSE_RANGE), libc::EOPNOTSUPP);
    assert_eq!(actor.works(&format!("posix_fallocate {fd} 0 30000")), 0);
    actor.works(&format!("fsync {fd}"));
    assert_eq!(fs::metadata(&path).unwrap().len(), 30000);
}

#[test]
fn copies_within_the_kernel_are_refused_so_that_programs_write() {
    let (dir, _, mut actor, fd, _) = mapped();
    fs::write(dir.path().join("source"), b"hello").unwrap();
    let source = actor.works("open source r");
    actor.fails(&format!("copy_file_range {source} {fd} 5"), libc::EXDEV);
    actor.fails(&format!("sendfile {fd} {source} 5"), libc::EINVAL);
    let other = actor.works("open other rw+creat");
    assert_eq!(actor.works(&format!("sendfile {other} {source} 5")), 5);
}

#[test]
fn every_way_out_that_a_program_takes_commits_what_is_left_and_leaves_a_plain_file() {
    for end in ["exit 7", "_exit 7", "_Exit 7", "quick_exit 7"] {
        for program in actors() {
            let (_dir, path, mut actor, _, map) = mapped_by(program, &[]);
            actor.works(&format!("store {map} 0 hello"));
            let (_, status, said) = actor.ends(end);
            assert_eq!((status.code(), said.as_str()), (Some(7), ""), "{end}");
            assert!(!path.with_extension("bin.steadfast").exists(), "{end}");
            assert_eq!(plain(&path, 0, 5), "hello", "{end}");
        }
    }
}

#[test]
fn the_end_of_main_commits_what_is_left() {
    let (_dir, path, mut actor, _, map) = mapped();
    actor.works(&format!("store {map} 0 hello"));
    assert!(actor.runs_out().success());
    assert_eq!(recovered(&path, 0, 5), "hello");
}

#[test]
fn what_an_exit_handler_stores_is_committed_too() {
    let (_dir, path, mut actor, _, map) = mapped();
    actor.works("atexit");
    actor.works(&format!("store {map} 0 hello"));
    actor.ends("exit 0");
    assert_eq!(recovered(&path, 0, 5), "Eello");
}

#[test]
fn every_exec_commits_what_is_left_and_hands_its_arguments_on() {
    for exec in ["execl", "execlp", "execle", "execv", "execvp", "execve", "execvpe", "execveat", "fexecve"] {
        let (_dir, path, mut actor, _, map) = mapped();
        actor.works(&format!("store {map} 0 hello"));
        let (said, status, errors) = actor.ends(exec);
        assert!(status.success(), "{exec}: {errors}");
        assert_eq!(said.trim_end(), if exec == "execle" { "MARK=1" } else { "from exec" }, "{exec}");
        assert_eq!(recovered(&path, 0, 5), "hello", "{exec}");
    }
}

#[test]
fn an_exec_that_fails_leaves_everything_as_it_was() {
    let (_dir, path, mut actor, _, map) = mapped();
    actor.works(&format!("store {map} 0 hello"));
    actor.fails("badexec", libc::ENOENT);
    actor.works(&format!("store {map} 5 there"));
    actor.works(&format!("sync {map}"));
    assert_eq!(plain(&path, 0, 10), "hellothere");
}

#[test]
fn munmap_commits_what_is_left_and_the_plain_file_is_all_there_is() {
    let (dir, path, mut actor, _, map) = mapped();
    actor.works(&format!("store {map} 0 hello"));
    actor.works(&format!("store {map} 9000 there"));
    actor.works(&format!("unmappart {map} 8192 4096"));
    assert_eq!(plain(&path, 9000, 5), "there");
    actor.works(&format!("unmap {map}"));
    assert_eq!(plain(&path, 0, 5), "hello");
    assert!(!dir.path().join("a.bin.steadfast").exists());
    actor.kill();
    assert_eq!(plain(&path, 9000, 5), "there");
}

#[test]
fn sigkill_loses_what_was_not_committed_and_nothing_else() {
    let (_dir, path, mut actor, fd, map) = mapped();
    actor.works(&format!("store {map} 0 first"));
    actor.works(&format!("sync {map}"));
    actor.works(&format!("store {map} 0 later"));
    actor.works(&format!("pwrite {fd} 100 later"));
    actor.kill();
    assert_eq!((recovered(&path, 0, 5), plain(&path, 100, 5)), ("first".into(), ".....".into()));
}

#[test]
fn a_file_that_is_mapped_for_reading_can_be_made_writable() {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", LEN);
    let mut actor = Actor::atomic(dir.path());
    let fd = actor.works("open a.bin rw");
    let map = actor.works(&format!("map {fd} 0 {LEN} r shared"));
    assert!(dir.path().join("a.bin.steadfast").exists(), "converted at once: a mapping cannot be, later");
    actor.works(&format!("protect {map} rw"));
    actor.works(&format!("store {map} 0 hello"));
    assert_eq!(plain(&path, 0, 5), ".....");
    actor.works(&format!("sync {map}"));
    actor.kill();
    assert_eq!(recovered(&path, 0, 5), "hello");
}

#[test]
fn a_child_commits_nothing_and_its_msync_fails_with_one_line() {
    let (_dir, path, mut actor, _, map) = mapped();
    actor.works(&format!("store {map} 0 parent"));
    actor.send(&format!("fork store {map} 0 child!; sync {map}"));
    assert_eq!(actor.hear(), format!("child 6 {UNTOUCHED} "));
    let sync = actor.hear();
    assert!(sync.starts_with("child -1 ") && !sync.starts_with("child -1 77"), "{sync}");
    assert_eq!(actor.hear(), format!("0 {UNTOUCHED} "), "the child has ended well, by _exit");
    let said = actor.said();
    assert!(said.starts_with("steadfast: ") && said.lines().count() == 1, "{said}");
    assert_eq!(plain(&path, 0, 6), "......", "its _exit has committed nothing");
    assert_eq!(actor.brings(&format!("load {map} 0 6")), "parent");
    actor.works(&format!("sync {map}"));
    assert_eq!(plain(&path, 0, 6), "parent");
}

#[test]
fn a_child_of_vfork_commits_nothing() {
    let (_dir, path, mut actor, _, map) = mapped();
    actor.works(&format!("store {map} 0 hello"));
    assert_eq!(actor.works("vfork"), 5 << 8);
    assert_eq!(plain(&path, 0, 5), ".....");
    actor.works(&format!("sync {map}"));
    assert_eq!(plain(&path, 0, 5), "hello");
}

#[test]
fn a_child_may_map_a_file_of_its_own() {
    let dir = folder();
    let own = zeros(dir.path(), "b.bin", 4096);
    let script = "import mmap, os\n\
        f=open('b.bin','r+b')\nm=mmap.mmap(f.fileno(),0)\nm[0:2]=b'up'\nm.flush()\n\
        pid=os.fork()\n\
        if pid==0:\n g=open('c.bin','r+b')\n n=mmap.mmap(g.fileno(),0)\n n[0:5]=b'child'\n n.flush()\n os._exit(0)\n\
        assert os.waitpid(pid,0)[1]==0\nm.flush()\n";
    let child = zeros(dir.path(), "c.bin", 4096);
    let said = under("python3", &[("STEADFAST_ATOMIC", "*.bin")])
        .args(["-c", script])
        .current_dir(dir.path())
        .output();
    let Ok(said) = said else { return println!("lacking: python3") };
    assert!(said.status.success(), "{said:?}");
    assert_eq!((plain(&own, 0, 2), plain(&child, 0, 5)), ("up".into(), "child".into()));
}

#[test]
fn a_grandchilds_msync_over_its_grandparents_mapping_fails() {
    let dir = folder();
    zeros(dir.path(), "b.bin", 4096);
    zeros(dir.path(), "c.bin", 4096);
    let script = "import mmap, os\n\
        f=open('b.bin','r+b')\nm=mmap.mmap(f.fileno(),0)\n\
        if os.fork()==0:\n g=open('c.bin','r+b')\n n=mmap.mmap(g.fileno(),0)\n \
        if os.fork()==0:\n  try:\n   m.flush()\n  except OSError:\n   os._exit(0)\n  os._exit(1)\n \
        os._exit(os.wait()[1] != 0)\n\
        assert os.wait()[1]==0\n";
    let said = under("python3", &[("STEADFAST_ATOMIC", "*.bin")])
        .args(["-c", script])
        .current_dir(dir.path())
        .output();
    let Ok(said) = said else { return println!("lacking: python3") };
    assert!(said.status.success(), "{said:?}");
}

#[test]
fn growing_by_mremap_after_ftruncate_works() {
    let (_dir, path, mut actor, fd, map) = mapped();
    actor.works(&format!("ftruncate {fd} 65536"));
    actor.works(&format!("remap {map} 65536"));
    actor.works(&format!("store {map} 60000 far"));
    actor.works(&format!("sync {map}"));
    actor.kill();
    assert_eq!(recovered(&path, 60000, 3), "far");
}

#[test]
fn a_mapping_that_is_shrunk_into_a_page_commits_with_it() {
    let (dir, path, mut actor, _, map) = mapped();
    actor.works(&format!("remap {map} 100"));
    actor.works(&format!("store {map} 10 near"));
    actor.works(&format!("sync {map}"));
    assert_eq!(plain(&path, 10, 4), "near");
    actor.works(&format!("store {map} 20 last"));
    actor.works(&format!("unmap {map}"));
    assert_eq!(plain(&path, 20, 4), "last");
    assert!(!dir.path().join("a.bin.steadfast").exists());
}
