//! A program under the library that asks for nothing: it finds its calls as they were. And what the library exports, and what the
//! environment asks for.

mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use stage::{Actor, UNTOUCHED, actors, folder, library, plain, under, zeros};

const NAMES: &str = "mmap mmap64 munmap mremap mprotect msync madvise posix_madvise open open64 openat openat64 __open_2 __open64_2 \
    __openat_2 __openat64_2 creat creat64 close close_range closefrom dup2 dup3 pwrite pwrite64 pwritev pwritev64 pwritev2 pwritev64v2 \
    __read_chk __pread_chk __pread64_chk write writev pread pread64 preadv preadv64 preadv2 preadv64v2 read readv ftruncate \
    ftruncate64 truncate truncate64 fallocate \
    fallocate64 posix_fallocate posix_fallocate64 fsync fdatasync fstat fstat64 __fxstat __fxstat64 lseek lseek64 copy_file_range sendfile sendfile64 splice _exit _Exit execve execv \
    execvp execvpe execveat fexecve execl execlp execle unlink unlinkat remove rename renameat renameat2";

#[test]
fn exactly_the_intended_symbols_are_exported() {
    let Ok(listed) = Command::new("nm").args(["-D", "--defined-only"]).arg(library()).output() else {
        println!("lacking: nm (binutils); the exported symbols were not looked at");
        return;
    };
    let listed = String::from_utf8(listed.stdout).unwrap();
    let found: BTreeSet<&str> = listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let wanted: BTreeSet<&str> = NAMES.split_whitespace().collect();
    assert_eq!(found, wanted, "lacking {:?}, too much {:?}", &wanted - &found, &found - &wanted);
}

/// What the library itself does must not come back to it through the symbols that it exports.
#[test]
fn the_library_calls_none_of_its_own_symbols() {
    let Ok(listed) = Command::new("readelf").args(["-rW"]).arg(library()).output() else {
        println!("lacking: readelf (binutils); the library's own calls were not looked at");
        return;
    };
    let listed = String::from_utf8(listed.stdout).unwrap();
    let called: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(4))
        .map(|name| name.split('@').next().unwrap())
        .filter(|name| NAMES.split_whitespace().any(|ours| ours == *name))
        .collect();
    // Those of `shim.c`, which are the program's.
    let meant = BTreeSet::from(["execv", "execve", "execvp"]);
    assert!(called.is_subset(&meant), "{called:?}");
}

#[test]
fn a_program_that_asks_for_nothing_finds_its_calls_as_they_were() {
    for program in actors() {
        let dir = folder();
        let path = zeros(dir.path(), "a.bin", 8192);
        let mut actor = Actor::start_as(program, dir.path(), &[]);
        let fd = actor.works("open a.bin rw");
        let map = actor.works(&format!("map {fd} 0 8192 rw shared"));
        actor.works(&format!("store {map} 100 hello"));
        assert_eq!(plain(&path, 100, 5), "hello", "a kernel mapping shows its stores at once");
        actor.works(&format!("sync {map}"));
        actor.works(&format!("pwrite {fd} 5000 there"));
        assert_eq!(actor.brings(&format!("load {map} 5000 5")), "there");
        actor.works(&format!("async {map}"));
        actor.works(&format!("protect {map} r"));
        actor.works(&format!("advise {map} 4"));
        actor.works(&format!("posixadvise {map} 3"));
        assert_eq!(actor.brings(&format!("load {map} 100 5")), "hello");
        actor.works(&format!("ftruncate {fd} 16384"));
        actor.works(&format!("remap {map} 16384"));
        actor.works(&format!("protect {map} rw"));
        actor.works(&format!("store {map} 16000 far"));
        actor.works(&format!("unmappart {map} 4096 4096"));
        actor.fails(&format!("sync {map}"), libc::ENOMEM);
        actor.works(&format!("unmap {map}"));
        assert_eq!(plain(&path, 16000, 3), "far");
        assert!(!dir.path().join("a.bin.steadfast").exists(), "nobody asked for a journal");
        let (_, status, said) = actor.ends("exit 3");
        assert_eq!((status.code(), said.as_str()), (Some(3), ""), "nothing is said");
    }
}

#[test]
fn every_call_on_a_plain_file_is_the_kernels() {
    for program in actors() {
        let dir = folder();
        zeros(dir.path(), "a", 0);
        let mut actor = Actor::start_as(program, dir.path(), &[]);
        let fd = actor.works("open a rw");
        assert_eq!(actor.works(&format!("write {fd} 0123456789")), 10);
        assert_eq!(actor.works(&format!("writev {fd} abcdef")), 6);
        assert_eq!(actor.works(&format!("pwrite {fd} 2 XY")), 2);
        assert_eq!(actor.works(&format!("pwritev {fd} 4 UVW")), 3);
        assert_eq!(actor.works(&format!("pwritev2 {fd} 16 zz")), 2);
        assert_eq!(actor.works(&format!("seek {fd} 0")), 0);
        assert_eq!(actor.brings(&format!("read {fd} 4")), "01XY");
        assert_eq!(actor.brings(&format!("readv {fd} 4")), "UVW7");
        assert_eq!(actor.brings(&format!("pread {fd} 10 100")), "abcdefzz");
        assert_eq!(actor.brings(&format!("preadv {fd} 8 4")), "89ab");
        assert_eq!(actor.brings(&format!("preadv2 {fd} 16 4")), "zz");
        actor.works(&format!("fsync {fd}"));
        actor.works(&format!("fdatasync {fd}"));
        actor.works(&format!("fallocate {fd} 0 0 100"));
        actor.works(&format!("posix_fallocate {fd} 0 200"));
        assert_eq!(actor.works(&format!("size {fd}")), 200);
        actor.works(&format!("ftruncate {fd} 5"));
        actor.works("truncate a 4");
        let other = actor.works("creat b");
        assert_eq!(actor.works(&format!("copy_file_range {fd} {other} 4")), 4);
        assert_eq!(actor.works(&format!("sendfile {other} {fd} 4")), 4);
        assert_eq!(actor.works(&format!("dup2 {fd} 100")), 100);
        assert_eq!(actor.works(&format!("dup3 {fd} 101")), 101);
        actor.works("close 100");
        actor.fails("close 100", libc::EBADF);
        actor.fails("read 100 1", libc::EBADF);
        actor.fails("write 100 x", libc::EBADF);
        actor.fails("fsync 100", libc::EBADF);
        actor.fails("ftruncate 100 1", libc::EBADF);
        actor.fails("open nowhere/a rw", libc::ENOENT);
        actor.works("rename a c");
        actor.works("renameat c d");
        actor.works("renameat2 d e 1");
        actor.fails("renameat2 b e 1", libc::EEXIST);
        actor.fails("rename nowhere e", libc::ENOENT);
        actor.works("unlink e");
        actor.fails("unlinkat e", libc::ENOENT);
        actor.works("remove b");
    }
}

#[test]
fn errors_are_those_of_the_manual_pages() {
    let dir = folder();
    zeros(dir.path(), "a", 8192);
    for settings in [&[][..], &[("STEADFAST_ATOMIC", "*")]] {
        let mut actor = Actor::start(dir.path(), settings);
        let fd = actor.works("open a rw");
        let reader = actor.works("open a r");
        actor.fails("map 999 0 4096 rw shared", libc::EBADF);
        actor.fails(&format!("map {fd} 1 4096 rw shared"), libc::EINVAL);
        actor.fails(&format!("map {fd} 0 0 rw shared"), libc::EINVAL);
        actor.fails(&format!("map {reader} 0 4096 rw shared"), libc::EACCES);
        let map = actor.works(&format!("map {fd} 0 8192 rw shared"));
        actor.fails(&format!("badsync {map}"), libc::EINVAL);
        actor.fails(&format!("advise {map} 12345"), libc::EINVAL);
        let (_, status, _) = actor.ends("exit 0");
        assert!(status.success());
    }
}

#[test]
fn ordinary_programs_run() {
    let dir = folder();
    let settings = [("STEADFAST_ATOMIC", "*")];
    let script = "set -e; echo one > a; cat a > b; cp b c; cmp a c; sort a b | uniq -c; ls; (exec 7<a; cat <&7); tail -c 2 a";
    for settings in [&[][..], &settings] {
        let said = under("sh", settings).args(["-c", script]).current_dir(dir.path()).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        assert_eq!(said.stderr, b"", "{said:?}");
    }
}

#[test]
fn python_maps_and_flushes() {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", 4096);
    let script = "import mmap\nwith open('a.bin','r+b') as f:\n m=mmap.mmap(f.fileno(),0)\n m[0:5]=b'hello'\n m.flush()\n m.close()\n";
    for settings in [&[][..], &[("STEADFAST_ATOMIC", "*.bin")]] {
        let said = match under("python3", settings).args(["-c", script]).current_dir(dir.path()).output() {
            Ok(said) => said,
            Err(error) => return println!("lacking: python3 ({error})"),
        };
        assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
        assert_eq!(plain(&path, 0, 5), "hello");
    }
}

/// What one run of the program with these variables says of a mapping of `a.bin`.
fn said_of_a_mapping(settings: &[(&str, &str)]) -> String {
    let dir = folder();
    zeros(dir.path(), "a.bin", 4096);
    let mut actor = Actor::start(dir.path(), settings);
    let fd = actor.works("open a.bin rw");
    actor.works(&format!("map {fd} 0 4096 rw shared"));
    actor.works("store 0 0 x");
    actor.works("sync 0");
    actor.ends("exit 0").2
}

#[test]
fn patterns_are_the_shells_and_match_the_absolute_path() {
    for (patterns, converts) in [
        ("*.bin", true),
        ("*", true),
        ("*.txt:*.bin", true),
        ("::*.bin:", true),
        ("/*/a.???", true),
        ("*/[a-c].bin", true),
        ("a.bin", false),
        ("*/b.bin", false),
        ("*.txt", false),
        ("", false),
    ] {
        let said = said_of_a_mapping(&[("STEADFAST_ATOMIC", patterns), ("STEADFAST_LOG", "stderr")]);
        assert_eq!(said.contains("converted"), converts, "{patterns}: {said}");
        assert_eq!(said.contains("/a.bin: converted"), converts, "the path is told: {said}");
    }
}

#[test]
fn the_log_says_what_is_done_where_it_is_asked_to() {
    let dir = folder();
    let log = dir.path().join("log");
    let atomic = ("STEADFAST_ATOMIC", "*.bin");
    assert_eq!(said_of_a_mapping(&[atomic]), "", "nothing unless it is a warning");
    for place in ["stderr", "-"] {
        let said = said_of_a_mapping(&[atomic, ("STEADFAST_LOG", place)]);
        assert!(said.lines().all(|line| line.starts_with("steadfast: ")), "{said}");
        assert!(said.contains("converted") && said.contains("committed"), "{said}");
    }
    assert_eq!(said_of_a_mapping(&[atomic, ("STEADFAST_LOG", log.to_str().unwrap())]), "");
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("/a.bin: converted") && said.contains("debug: "), "{said}");
    let said = said_of_a_mapping(&[atomic, ("STEADFAST_LOG", "/nonexistent/log")]);
    assert!(
        said.starts_with("steadfast: ") && said.lines().count() == 1 && said.contains("/nonexistent/log")
    );
}

#[test]
fn what_cannot_be_atomic_is_passed_on_with_one_line() {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", 8192);
    fs::hard_link(&path, dir.path().join("b.bin")).unwrap();
    let mut actor = Actor::atomic(dir.path());
    let fd = actor.works("open a.bin rw");
    for _ in 0..3 {
        let map = actor.works(&format!("map {fd} 0 4096 rw shared"));
        actor.works(&format!("store {map} 0 x"));
        actor.works(&format!("unmap {map}"));
    }
    assert_eq!(plain(&path, 0, 1), "x");
    let said = actor.said();
    assert!(said.starts_with("steadfast: ") && said.lines().count() == 1, "{said}");
    assert!(said.contains("a.bin") && said.contains("hard links") && said.contains("passed on"), "{said}");
}

#[test]
fn files_in_memory_and_files_without_a_name_are_passed_on_in_silence() {
    let dir = folder();
    let settings = [("STEADFAST_ATOMIC", "*"), ("STEADFAST_LOG", "log")];
    let mut actor = Actor::start(dir.path(), &settings);
    let fd = actor.works("open a.bin rw+creat");
    actor.works(&format!("ftruncate {fd} 4096"));
    fs::remove_file(dir.path().join("a.bin")).unwrap();
    actor.works(&format!("map {fd} 0 4096 rw shared"));
    actor.works("store 0 0 x");
    actor.works("sync 0");
    let shm = format!("/dev/shm/steadfast-{}.bin", std::process::id());
    let is_tmpfs = fs::write(&shm, [0; 4096]).is_ok();
    if is_tmpfs {
        let fd = actor.works(&format!("open {shm} rw"));
        actor.works(&format!("map {fd} 0 4096 rw shared"));
        fs::remove_file(&shm).unwrap();
    } else {
        println!("lacking: /dev/shm");
    }
    assert_eq!(actor.said(), "");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert_eq!(log.matches("passed on").count(), 1 + usize::from(is_tmpfs), "{log}");
}

#[test]
fn strict_refuses_what_cannot_be_atomic() {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", 8192);
    fs::hard_link(&path, dir.path().join("b.bin")).unwrap();
    let mut actor = Actor::start(dir.path(), &[("STEADFAST_ATOMIC", "*.bin"), ("STEADFAST_STRICT", "1")]);
    let fd = actor.works("open a.bin rw");
    actor.fails(&format!("map {fd} 0 4096 rw shared"), libc::EOPNOTSUPP);
    let said = actor.said();
    assert!(said.starts_with("steadfast: ") && said.contains("a.bin") && said.lines().count() == 1, "{said}");
    let reader = actor.works("open a.bin r");
    actor.works(&format!("map {reader} 0 4096 r shared"));
    let private = actor.ask(&format!("map {fd} 0 4096 rw private"));
    assert_eq!(private.errno, UNTOUCHED, "private mappings are not its affair");
}

#[test]
fn without_publishing_the_plain_file_stays_until_it_is_unmapped() {
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", 4096);
    let settings = [("STEADFAST_ATOMIC", "*.bin"), ("STEADFAST_PUBLISH", "0")];
    let mut actor = Actor::start(dir.path(), &settings);
    let fd = actor.works("open a.bin rw");
    let map = actor.works(&format!("map {fd} 0 4096 rw shared"));
    actor.works(&format!("store {map} 0 x"));
    actor.works(&format!("sync {map}"));
    assert_eq!(plain(&path, 0, 1), ".");
    actor.works(&format!("unmap {map}"));
    assert_eq!(plain(&path, 0, 1), "x");
}

#[test]
fn a_file_that_goes_back_to_the_kernel_is_one_line_however_often_it_does() {
    let dir = folder();
    zeros(dir.path(), "a.bin", 16384);
    let mut actor = Actor::atomic(dir.path());
    let fd = actor.works("open a.bin rw");
    for round in 0..3 {
        let first = actor.works(&format!("map {fd} 0 16384 rw shared"));
        // The same bytes, and once more when they are the kernel's.
        let others = [0, 1].map(|_| actor.works(&format!("map {fd} 0 16384 rw shared")));
        actor.works(&format!("store {first} {round} x"));
        assert_eq!(actor.brings(&format!("load {} {round} 1", others[0])), "x");
        for map in [first, others[0], others[1]] {
            actor.works(&format!("unmap {map}"));
        }
    }
    let said = actor.said();
    assert!(said.starts_with("steadfast: ") && said.lines().count() == 1, "{said}");
    assert!(said.contains("a.bin") && said.contains("not atomic"), "{said}");
}

#[test]
fn a_file_that_was_given_back_is_not_told_of_again_when_it_is_mapped_once_more() {
    let dir = folder();
    zeros(dir.path(), "a.bin", 16384);
    let mut actor = Actor::atomic(dir.path());
    let fd = actor.works("open a.bin rw");
    let map = actor.works(&format!("map {fd} 0 16384 rw shared"));
    actor.works(&format!("unmappart {map} 4096 4096"));
    actor.works(&format!("pwrite {fd} 5000 x"));
    actor.works(&format!("map {fd} 0 16384 rw shared"));
    let said = actor.said();
    assert!(said.contains("a.bin") && said.lines().count() == 1, "{said}");
}
