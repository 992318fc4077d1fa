//! `stat`, `warm`, `evict`, `lock`, `advise`, `save` and `restore`, on files whose pages the tests themselves put where they are.

mod mounts;
mod run;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::slice;
use std::time::{Duration, Instant};

use mounts::{Kind, Mounted};
use run::{folder, keys, run, run_with, steadfast, until_it_listens};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn page() -> u64 {
    rustix::param::page_size() as u64
}

/// On the disk and not in memory, so many pages. One page is read or written at a time by what is returned.
fn cold(path: &Path, pages: u64) -> File {
    fs::write(path, vec![1; (pages * page()) as usize]).unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    file.sync_all().unwrap();
    steadfast::residency::CachedFile::open(path).unwrap().evict(.., true).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).unwrap();
    file
}

fn touch(file: &File, number: u64) {
    file.read_exact_at(&mut [0; 1], number * page()).unwrap();
}

fn dirty(file: &File, number: u64) {
    file.write_all_at(&vec![2; page() as usize], number * page()).unwrap();
}

fn stat(folder: &Path, arguments: &[&str]) -> Value {
    let mut all = vec!["stat", "--json"];
    all.extend(arguments);
    run(folder, &all).code(0).json()
}

/// The kernel tells what is dirty (Linux 6.5).
fn knows_dirty(folder: &Path) -> bool {
    fs::write(folder.join("known"), "x").unwrap();
    let known = stat(folder, &["known"])["files"][0]["dirty_pages"].is_u64();
    fs::remove_file(folder.join("known")).unwrap();
    if !known {
        eprintln!("lacks cachestat");
    }
    known
}

#[test]
fn stat_says_exactly_what_is_resident_dirty_and_absent() {
    let dir = folder();
    if !knows_dirty(dir.path()) {
        return;
    }
    let file = cold(&dir.path().join("f"), 100);
    [3, 4, 50].into_iter().for_each(|number| touch(&file, number));
    [60, 99].into_iter().for_each(|number| dirty(&file, number));
    let answer = stat(dir.path(), &["f", "--parts", "10"]);
    assert_eq!(keys(&answer), ["failed", "files", "page_bytes", "schema", "total"]);
    assert_eq!((&answer["schema"], &answer["page_bytes"]), (&json!(1), &json!(page())));
    let row = &answer["files"][0];
    assert_eq!(
        keys(row),
        [
            "dirty_pages",
            "evicted_pages",
            "pages",
            "parts",
            "path",
            "recently_evicted_pages",
            "resident_pages",
            "size_bytes",
            "unknown",
            "write_back_pages"
        ]
    );
    assert_eq!(row["path"], "f");
    assert_eq!((&row["size_bytes"], &row["pages"]), (&json!(100 * page()), &json!(100)));
    assert_eq!((&row["resident_pages"], &row["dirty_pages"]), (&json!(5), &json!(2)));
    let parts = row["parts"].as_array().unwrap();
    let of = |name: &str| -> Vec<u64> { parts.iter().map(|part| part[name].as_u64().unwrap()).collect() };
    assert_eq!(of("resident_pages"), [2, 0, 0, 0, 0, 1, 1, 0, 0, 1]);
    assert_eq!(of("dirty_pages"), [0, 0, 0, 0, 0, 0, 1, 0, 0, 1]);
    // Nothing of it, and a part of it.
    assert_eq!(stat(dir.path(), &["f", "--range", "5..5"])["total"]["pages"], 0);
    let answer = stat(dir.path(), &["f", "--range", &format!("{}..{}", 50 * page(), 61 * page())]);
    assert_eq!((&answer["total"]["pages"], &answer["total"]["resident_pages"]), (&json!(11), &json!(2)));
    // For people.
    let said = run(dir.path(), &["stat", "f", "--bytes", "--columns", "path,resident,dirty,percent"]).code(0);
    let lines: Vec<Vec<&str>> = said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    let (resident, dirty) = ((5 * page()).to_string(), (2 * page()).to_string());
    assert_eq!(lines[0], ["PATH", "RESIDENT", "DIRTY", "%"]);
    assert_eq!(lines[1], ["f", &resident, &dirty, "5"]);
    assert_eq!(lines[2], ["total:", "1", "file", &resident, &dirty, "5"]);
    let bar = run(dir.path(), &["stat", "f", "--columns", "where", "--parts", "20"]).code(0);
    assert_eq!(bar.out.lines().nth(1), Some("▏▃         ▁ !      !▕"));
}

/// One letter a page, as `stat` tells it: absent, resident, dirty.
fn told(folder: &Path, pages: u64) -> String {
    let answer = stat(folder, &["f", "--parts", &pages.to_string()]);
    let parts = answer["files"][0]["parts"].as_array().unwrap();
    if answer["total"]["resident_pages"] == 0 {
        assert!(parts.is_empty());
        return ".".repeat(pages as usize);
    }
    assert_eq!(parts.len() as u64, pages);
    let of = |part: &Value, name: &str| part[name].as_u64().unwrap();
    let letters: String = parts
        .iter()
        .map(|part| match (of(part, "resident_pages"), of(part, "dirty_pages")) {
            (1, 1) => 'd',
            (1, 0) => 'r',
            (0, 0) => '.',
            other => panic!("{other:?}"),
        })
        .collect();
    // The sums say the same.
    let count = |letter: &str| json!(letters.matches(letter).count());
    assert_eq!(answer["total"]["dirty_pages"], count("d"));
    assert_eq!(answer["total"]["resident_pages"], json!(pages as usize - letters.matches('.').count()));
    letters
}

fn expected(pages: u64, resident: &[Range<u64>], dirty: &[Range<u64>]) -> String {
    let within = |ranges: &[Range<u64>], page| ranges.iter().any(|range| range.contains(&page));
    let letter = |page| match (within(dirty, page), within(resident, page)) {
        (true, _) => 'd',
        (false, true) => 'r',
        (false, false) => '.',
    };
    (0..pages).map(letter).collect()
}

#[test]
fn with_small_folios_stat_is_exact_to_the_page_on_ext4_and_xfs() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        let Some(mounted) = Mounted::new(kind) else { continue };
        if !knows_dirty(&mounted.path) {
            continue;
        }
        // Read and written a page at a time, after POSIX_FADV_RANDOM.
        let file = cold(&mounted.path.join("f"), 100);
        assert_eq!(told(&mounted.path, 100), expected(100, &[], &[]), "{kind:?}");
        [3, 4, 50].into_iter().for_each(|number| touch(&file, number));
        [60, 99].into_iter().for_each(|number| dirty(&file, number));
        assert_eq!(told(&mounted.path, 100), expected(100, &[3..5, 50..51], &[60..61, 99..100]), "{kind:?}");
        file.sync_all().unwrap();
        let clean = [3..5, 50..51, 60..61, 99..100];
        assert_eq!(told(&mounted.path, 100), expected(100, &clean, &[]), "{kind:?}");
        // What was read and is stored to.
        file.write_all_at(&[7], 50 * page()).unwrap();
        assert_eq!(told(&mounted.path, 100), expected(100, &clean, slice::from_ref(&(50..51))), "{kind:?}");
    }
}

#[test]
fn with_large_folios_stat_is_exact_to_the_folio_on_ext4_and_xfs() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        let Some(mounted) = Mounted::new(kind) else { continue };
        if !knows_dirty(&mounted.path) {
            continue;
        }
        let path = mounted.path.join("f");
        drop(cold(&path, 512));
        // Many pages at once, none of which must be read.
        let file = File::options().read(true).write(true).open(&path).unwrap();
        file.write_all_at(&vec![2; 64 * page() as usize], 128 * page()).unwrap();
        file.sync_all().unwrap();
        file.write_all_at(&vec![3; 16 * page() as usize], 300 * page()).unwrap();
        file.write_all_at(&[4], 150 * page()).unwrap();
        let told = told(&mounted.path, 512);
        let Some(folio) = folio_around(&path, 150, 128..192) else { continue };
        assert_eq!(
            told,
            expected(512, slice::from_ref(&(128..192)), &[folio.clone(), 300..316]),
            "{kind:?}: {folio:?}"
        );
        // ext4 has them or not, as the kernel is.
        eprintln!("{kind:?}: one byte was stored to, {} pages are dirty", folio.end - folio.start);
        assert!(kind == Kind::Ext4 || folio.end - folio.start > 1, "{kind:?} has large folios");
    }
}

/// The pages of the file that the kernel handles as one with this one, by proc_kpageflags(5). `within` is in memory.
fn folio_around(path: &Path, number: u64, within: Range<u64>) -> Option<Range<u64>> {
    const HEAD: u64 = 1 << 15;
    const TAIL: u64 = 1 << 16;
    let map = steadfast::Mapping::options().open(path).unwrap();
    // Has their entries made.
    map.lock((within.start * page()) as usize..(within.end * page()) as usize).unwrap();
    let word = |name: &str, at: u64| {
        let mut bytes = [0; 8];
        File::open(name).and_then(|file| file.read_exact_at(&mut bytes, at * 8)).ok()?;
        Some(u64::from_ne_bytes(bytes))
    };
    let flags = |number: u64| {
        let entry = word("/proc/self/pagemap", map.as_ptr() as u64 / page() + number)?;
        // Whoever may not know gets 0.
        let frame = Some(entry & ((1 << 55) - 1)).filter(|&frame| frame != 0)?;
        word("/proc/kpageflags", frame)
    };
    let Some(own) = flags(number) else {
        eprintln!("lacks the right to know the pages behind addresses");
        return None;
    };
    if own & (HEAD | TAIL) == 0 {
        return Some(number..number + 1);
    }
    let start =
        within.clone().rev().filter(|&page| page <= number).find(|&page| flags(page).unwrap() & HEAD != 0);
    let start = start.expect("a folio starts where the write did");
    let tails = (start + 1..within.end).take_while(|&page| flags(page).unwrap() & TAIL != 0).count() as u64;
    Some(start..start + 1 + tails)
}

#[test]
fn folders_are_walked_and_what_has_several_names_is_counted_once() {
    let dir = folder();
    fs::create_dir_all(dir.path().join("t/deep/er")).unwrap();
    for name in ["t/a.log", "t/deep/b.log", "t/deep/er/c.txt"] {
        fs::write(dir.path().join(name), vec![1; 10_000]).unwrap();
    }
    fs::hard_link(dir.path().join("t/a.log"), dir.path().join("t/deep/hard.log")).unwrap();
    std::os::unix::fs::symlink("../a.log", dir.path().join("t/deep/soft.log")).unwrap();
    let names = |arguments: &[&str]| -> Vec<String> {
        let answer = stat(dir.path(), arguments);
        let files = answer["files"].as_array().unwrap();
        files.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["t"]), ["t/a.log", "t/deep/b.log", "t/deep/er/c.txt"]);
    assert_eq!(names(&["t", "t/deep", "t/a.log"]), ["t/a.log", "t/deep/b.log", "t/deep/er/c.txt"]);
    assert_eq!(names(&["t", "--glob", "*.log"]), ["t/a.log", "t/deep/b.log"]);
    assert_eq!(names(&["t", "--glob", "!*.log"]), ["t/deep/er/c.txt"]);
    assert_eq!(names(&["t", "--glob", "!deep"]), ["t/a.log"]);
    assert_eq!(names(&["t/deep/soft.log"]), ["t/deep/soft.log"], "a link that is named is followed");
    assert_eq!(names(&["t", "--sort", "path", "--reverse"])[0], "t/deep/er/c.txt");
    assert_eq!(names(&["t", "--threads", "1"]).len(), 3);
    assert_eq!(stat(dir.path(), &["-t", "t"])["total"]["size_bytes"], 30_000);
    // Names that no shell can write.
    let strange = "t/line\nbreak \u{fffd}";
    fs::write(dir.path().join(strange), "x").unwrap();
    let answer =
        run_with(dir.path(), &["stat", "--json", "--files0-from", "-"], format!("{strange}\0t/a.log\0"))
            .code(0);
    assert_eq!(answer.json()["files"].as_array().unwrap().len(), 2);
    assert_eq!(answer.json()["files"][1]["path"], strange);
    assert_eq!(
        run_with(dir.path(), &["stat", "--json", "--files0-from", "-"], "").code(0).json()["total"]["files"],
        0
    );
}

#[test]
fn a_folder_with_many_files_is_shared_among_threads_and_no_file_is_missed() {
    let dir = folder();
    fs::create_dir(dir.path().join("wide")).unwrap();
    for number in 0..3000 {
        fs::write(dir.path().join(format!("wide/{number:04}")), "x").unwrap();
    }
    for threads in ["1", "2", "7"] {
        let answer = stat(dir.path(), &["wide", "--threads", threads]);
        let files = answer["files"].as_array().unwrap();
        assert_eq!(files.len(), 3000);
        assert!(files.is_sorted_by_key(|file| file["path"].as_str().unwrap().to_owned()));
    }
}

#[test]
fn what_cannot_be_looked_at_is_named_and_the_others_are_still_shown() {
    let dir = folder();
    fs::write(dir.path().join("f"), "x").unwrap();
    let said = run(dir.path(), &["stat", "--json", "gone", "f"]).code(1);
    assert!(said.err.contains("gone"), "{said:?}");
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&answer["total"]["files"], &answer["total"]["failed_files"]), (&json!(1), &json!(1)));
    assert_eq!(answer["failed"][0]["path"], "gone");
    run(dir.path(), &["stat"]).code(2);
    run(dir.path(), &["stat", "f", "--range", "9..1"]).code(2);
    run(dir.path(), &["stat", "f", "--glob", "a[b"]).code(2);
    run(dir.path(), &["stat", "--files0-from", "no-list"]).code(1);
    run(dir.path(), &["stat", "--pid", "4194304"]).code(1);
    for command in ["warm", "evict", "lock", "save"] {
        run(dir.path(), &[command]).code(2);
        run(dir.path(), &[command, "gone"]).code(1);
    }
    run(dir.path(), &["restore", "gone"]).code(1);
    run(dir.path(), &["advise", "cold", "f"]).code(2);
}

#[test]
fn nobody_can_tell_is_a_question_mark_with_a_reason() {
    let dir = folder();
    fs::write(dir.path().join("f"), "x").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let said = run(dir.path(), &["stat", "/proc/self/status", "pipe", "f"]).code(0);
    assert!(said.out.contains("?  1 file: not a regular file"), "{said:?}");
    assert!(said.out.contains("?  1 file: it has no pages in the page cache"), "{said:?}");
    let answer = stat(dir.path(), &["pipe"]);
    assert_eq!(
        (&answer["files"][0]["resident_pages"], &answer["total"]["unknown_files"]),
        (&Value::Null, &json!(1))
    );
    run(dir.path(), &["stat", "pipe", "--min-resident", "0%"]).code(1);
}

#[test]
fn names_neither_break_a_line_nor_speak_to_the_terminal() {
    let dir = folder();
    let name = "a\u{1b}[31m\nb";
    fs::write(dir.path().join(name), "x").unwrap();
    let said = run(dir.path(), &["stat", name]).code(0);
    assert!(!said.out.contains('\u{1b}') && said.out.lines().count() == 3, "{said:?}");
    assert!(said.out.contains("a\\u{1b}[31m\\nb"), "{said:?}");
    assert_eq!(stat(dir.path(), &[name])["files"][0]["path"], name, "JSON has it as it is");
    let said = run(dir.path(), &["stat", "gone\u{1b}[31m\nb"]).code(1);
    said.complains(&["gone\\u{1b}[31m\\nb"]);
    assert!(!said.err.contains('\u{1b}'), "{said:?}");
}

#[test]
fn where_no_more_threads_can_be_started_fewer_do_the_work() {
    // Somebody whose processes are not counted with those of others, who may have one, and enter no folder of ours but this.
    let nobody = 61_234;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("steadfast");
    fs::copy(env!("CARGO_BIN_EXE_steadfast"), &program).unwrap();
    let _file = cold(&dir.path().join("f"), 2048);
    for path in [dir.path(), &program, &dir.path().join("f")] {
        if std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).is_err() {
            return eprintln!("lacks the right to give files away");
        }
    }
    for command in [
        "stat --threads 9 .",
        "stat --threads 9 -t .",
        "warm --readers 9 f",
        "sync --threads 9 .",
        "watch --once .",
    ] {
        let output = Command::new("setpriv")
            .args([&format!("--reuid={nobody}"), &format!("--regid={nobody}"), "--clear-groups"])
            .args(["prlimit", "--nproc=1", "./steadfast"])
            .args(command.split(' '))
            .current_dir(dir.path())
            .output();
        let Ok(output) = output else { return eprintln!("lacks setpriv") };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command}: {said}");
    }
}

#[test]
fn assertions_are_exit_codes() {
    let dir = folder();
    if !knows_dirty(dir.path()) {
        return;
    }
    let file = cold(&dir.path().join("f"), 10);
    (0..9).for_each(|number| touch(&file, number));
    run(dir.path(), &["stat", "f", "--min-resident", "90%"]).code(0);
    let said = run(dir.path(), &["stat", "f", "--min-resident", "91%"]).code(1);
    assert!(said.err.contains("90.0% is in memory, not 91%"), "{said:?}");
    run(dir.path(), &["stat", "f", "--max-dirty", "0"]).code(0);
    dirty(&file, 5);
    run(dir.path(), &["stat", "f", "--max-dirty", &page().to_string()]).code(0);
    let said = run(dir.path(), &["stat", "f", "--max-dirty", "0"]).code(1);
    assert!(said.err.contains("wait to be written"), "{said:?}");
    run(dir.path(), &["stat", "f", "--min-resident", "90"]).code(2);
}

#[test]
fn the_files_of_a_process_are_what_it_has_mapped_and_what_it_has_open() {
    let dir = folder();
    let paths =
        ["mapped", "open", "both", "neither"].map(|name| dir.path().canonicalize().unwrap().join(name));
    paths.iter().for_each(|path| fs::write(path, vec![1; 5000]).unwrap());
    let map = |path: &PathBuf| steadfast::Mapping::options().open(path).unwrap();
    let maps = [map(&paths[0]), map(&paths[2])];
    let _open = [&paths[1], &paths[2]].map(|path| File::open(path).unwrap());
    let answer = stat(dir.path(), &["--pid", &std::process::id().to_string()]);
    let files = answer["files"].as_array().unwrap();
    let named = |path: &PathBuf| files.iter().filter(|file| file["path"] == json!(path)).count();
    assert_eq!(paths.each_ref().map(named), [1, 1, 1, 0]);
    // Gone by name, and still in memory.
    fs::remove_file(&paths[0]).unwrap();
    let answer = stat(dir.path(), &["--pid", &std::process::id().to_string()]);
    let deleted = format!("{} (deleted)", paths[0].display());
    assert!(answer["files"].as_array().unwrap().iter().any(|file| file["path"] == deleted), "{answer}");
    drop(maps);
}

#[test]
fn evict_says_what_went_what_is_dirty_and_what_is_in_use() {
    let dir = folder();
    if !knows_dirty(dir.path()) {
        return;
    }
    let file = cold(&dir.path().join("f"), 100);
    [1, 2, 3].into_iter().for_each(|number| touch(&file, number));
    dirty(&file, 50);
    let map = steadfast::Mapping::options().open(dir.path().join("f")).unwrap();
    map.advise(.., steadfast::Advice::Random).unwrap();
    map.lock(80 * page() as usize..81 * page() as usize).unwrap();
    let answer =
        run(dir.path(), &["evict", "--json", "--range", &format!("..{}", 40 * page()), "f"]).code(0).json();
    assert_eq!(
        keys(&answer),
        [
            "evicted_bytes",
            "failed_files",
            "files",
            "in_use_bytes",
            "interrupted",
            "schema",
            "still_dirty_bytes",
            "unexplained_bytes",
            "unknown_files"
        ]
    );
    assert_eq!(answer["evicted_bytes"], 3 * page());
    let said = run(dir.path(), &["evict", "--sync", "f"]).code(0);
    assert!(said.out.contains("in use: mapped or locked by a process"), "{said:?}");
    drop(map);
    run(dir.path(), &["evict", "f"]).code(0);
    assert_eq!(stat(dir.path(), &["f"])["total"]["resident_pages"], 0);
}

#[test]
fn what_stays_for_a_reason_that_nobody_can_tell_is_said_to_stay() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return eprintln!("lacks /dev/shm") };
    fs::write(dir.path().join("f"), vec![1; 8 * page() as usize]).unwrap();
    let answer = run(dir.path(), &["evict", "--json", "f"]).code(0).json();
    assert_eq!(answer["unexplained_bytes"], 8 * page());
    let said = run(dir.path(), &["evict", "f"]).code(0);
    assert!(said.out.contains("stayed: it lives in memory"), "{said:?}");
}

#[test]
fn what_is_dirty_stays_unless_it_is_synced() {
    let dir = folder();
    if !knows_dirty(dir.path()) {
        return;
    }
    // Enough for the kernel not to have begun on all of it by itself.
    fs::write(dir.path().join("f"), vec![3; 8 << 20]).unwrap();
    let said = run(dir.path(), &["evict", "f"]).code(0);
    let left = stat(dir.path(), &["f"]);
    if left["total"]["dirty_pages"].as_u64() > Some(0) {
        assert!(said.out.contains("--sync"), "{said:?}");
    }
    run(dir.path(), &["evict", "--sync", "f"]).code(0);
    assert_eq!(stat(dir.path(), &["f"])["total"]["resident_pages"], 0);
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), vec![3; 8 << 20]);
}

#[test]
fn warm_reads_what_is_absent_up_to_a_limit_and_leaves_holes() {
    let dir = folder();
    if !knows_dirty(dir.path()) {
        return;
    }
    let file = cold(&dir.path().join("f"), 512);
    file.set_len(1 << 30).unwrap();
    let answer =
        run(dir.path(), &["warm", "--json", "--max", &(100 * page()).to_string(), "f"]).code(0).json();
    assert_eq!(
        keys(&answer),
        ["absent_bytes", "failed_files", "files", "interrupted", "read_bytes", "schema"]
    );
    assert_eq!(
        (&answer["read_bytes"], &answer["absent_bytes"]),
        (&json!(100 * page()), &json!(512 * page()))
    );
    run(dir.path(), &["warm", "f"]).code(0);
    let pages =
        stat(dir.path(), &["f", "--range", &format!("..{}", 512 * page())])["total"]["resident_pages"]
            .clone();
    assert_eq!(pages, 512);
    let all = stat(dir.path(), &["f"])["total"]["resident_pages"].as_u64().unwrap();
    assert!(all < 2000, "holes were read: {all} pages");
    assert_eq!(run(dir.path(), &["warm", "--json", "f"]).code(0).json()["read_bytes"], 0);
}

#[test]
fn warm_stops_at_its_bound_and_says_what_was_read() {
    let dir = folder();
    if !knows_dirty(dir.path()) {
        return;
    }
    fs::create_dir(dir.path().join("t")).unwrap();
    for name in ["t/a", "t/b", "t/c"] {
        drop(cold(&dir.path().join(name), 256));
    }
    let bytes = |pages: u64| (pages * page()).to_string();
    let answer = run(dir.path(), &["warm", "--json", "--max", &bytes(300), "t"]).code(0).json();
    assert_eq!((&answer["files"], &answer["interrupted"]), (&json!(3), &json!(false)));
    assert_eq!(
        (&answer["read_bytes"], &answer["absent_bytes"]),
        (&json!(300 * page()), &json!(768 * page()))
    );
    let resident = |name: &str| stat(dir.path(), &[name])["total"]["resident_pages"].as_u64().unwrap();
    // In the order of their names, and nothing of what comes after.
    assert_eq!((resident("t/a"), resident("t/c")), (256, 0));
    let middle = resident("t/b");
    assert!((44..256).contains(&middle), "{middle}");
    let said = run(dir.path(), &["warm", "--max", &bytes(1), "t/c"]).code(0);
    assert!(said.out.starts_with("read 4 KiB of 1 MiB that were absent") || page() != 4096, "{said:?}");
    assert_eq!(run(dir.path(), &["warm", "--json", "--max", "0", "t"]).code(0).json()["read_bytes"], 0);
}

#[test]
fn warm_reads_no_faster_than_its_rate() {
    let dir = folder();
    for readers in ["1", "4"] {
        drop(cold(&dir.path().join("f"), (4 << 20) / page()));
        let begun = Instant::now();
        let arguments = ["warm", "--json", "--rate", "4MiB", "--readers", readers, "f"];
        let answer = run(dir.path(), &arguments).code(0).json();
        // 4 MiB at 4 MiB a second.
        let took = begun.elapsed();
        assert_eq!(answer["read_bytes"], answer["absent_bytes"]);
        if answer["absent_bytes"] == json!(4 << 20) {
            assert!(took >= Duration::from_secs(1), "{readers}: {took:?}");
        } else {
            eprintln!("lacks a file system that lets go of files: {answer}");
        }
    }
}

#[test]
fn what_was_saved_is_restored() {
    let dir = folder();
    if !knows_dirty(dir.path()) {
        return;
    }
    let (one, two) = (cold(&dir.path().join("one"), 100), cold(&dir.path().join("two"), 100));
    [3, 4, 5, 90].into_iter().for_each(|number| touch(&one, number));
    touch(&two, 7);
    drop((one, two));
    let set = run(dir.path(), &["save", "one", "two"]).code(0).json();
    assert_eq!(keys(&set), ["files", "schema"]);
    assert_eq!(set["schema"], 1);
    assert_eq!(keys(&set["files"][0]), ["modified_s", "path", "resident", "size_bytes"]);
    assert_eq!(set["files"][0]["resident"], json!([[3 * page(), 6 * page()], [90 * page(), 91 * page()]]));
    fs::write(dir.path().join("set"), set.to_string()).unwrap();
    run(dir.path(), &["evict", "one", "two"]).code(0);
    let answer = run(dir.path(), &["restore", "--json", "set"]).code(0).json();
    assert_eq!(answer["read_bytes"], 5 * page());
    let again = run(dir.path(), &["save", "one", "two"]).code(0).json();
    let holds = |saved: &Value, number: u64| {
        let ranges = saved["resident"].as_array().unwrap();
        ranges.iter().any(|range| {
            range[0].as_u64() <= Some(number * page()) && Some(number * page()) < range[1].as_u64()
        })
    };
    assert!([3, 4, 5, 90].iter().all(|&number| holds(&again["files"][0], number)), "{again}");
    assert!(holds(&again["files"][1], 7), "{again}");
    // Changed, shorter, and gone.
    fs::write(dir.path().join("one"), vec![1; page() as usize]).unwrap();
    fs::remove_file(dir.path().join("two")).unwrap();
    let said = run(dir.path(), &["restore", "set"]).code(1);
    assert!(said.err.contains("one: changed since it was saved") && said.err.contains("two"), "{said:?}");
    // What is no set.
    for text in ["", "{}", "[]", "{\"schema\":9,\"files\":[]}", "{\"schema\":1,\"files\":[{\"path\":7}]}"] {
        let said = run_with(dir.path(), &["restore", "-"], text).code(1);
        assert!(said.err.contains("nothing was read"), "{text}: {said:?}");
    }
}

#[test]
fn a_set_that_was_not_saved_so_is_refused_and_one_page_is_read_once() {
    let dir = folder();
    if !knows_dirty(dir.path()) {
        return;
    }
    drop(cold(&dir.path().join("f"), 4));
    let set = |ranges: &str| {
        format!(
            r#"{{"schema":1,"files":[{{"path":"f","size_bytes":1,"modified_s":0,"resident":{ranges}}}]}}"#
        )
    };
    let restore = |text: &str| run_with(dir.path(), &["restore", "--json", "-"], text);
    let said = restore(r#"{"schema":2,"entries":[]}"#).code(1);
    said.complains(&["standard input has schema 2, this version reads 1; nothing was read"]);
    restore(&set("[[0,4096],[9,3]]")).code(1).complains(&["ends before it starts", "nothing was read"]);
    let said = restore(&set("[[5,6],[0,9],[1,2]]")).code(0);
    let once = (json!(page()), json!(page()));
    assert_eq!((said.json()["absent_bytes"].clone(), said.json()["read_bytes"].clone()), once);
}

#[test]
fn whoever_waits_for_its_input_ends_at_the_first_interrupt() {
    let dir = folder();
    let lists = ["warm", "evict", "lock"].map(|command| [command, "--files0-from", "-"].to_vec());
    for arguments in lists.into_iter().chain([vec!["restore", "-"]]) {
        let mut child = steadfast(dir.path(), &arguments).stdin(Stdio::piped()).spawn().unwrap();
        let waits = || {
            let stat = fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap_or_default();
            stat.contains("pipe")
        };
        while !waits() {
            std::thread::yield_now();
        }
        // Not SIGINT: who runs the tests in the background may have it ignored.
        signal(&child, Signal::TERM);
        let begun = std::time::Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > std::time::Duration::from_secs(20) {
                child.kill().unwrap();
                panic!("{arguments:?} goes on waiting");
            }
            std::thread::yield_now();
        }
    }
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = steadfast(folder, arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn lock_keeps_files_in_memory_until_it_is_told() {
    let dir = folder();
    let file = cold(&dir.path().join("f"), 50);
    file.set_len(1 << 40).unwrap();
    let mut child = start(dir.path(), &["lock", "--json", "f"]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(keys(&answer), ["files", "locked_bytes", "pid", "schema"]);
    assert_eq!((&answer["locked_bytes"], &answer["pid"]), (&json!(50 * page()), &json!(child.id())));
    run(dir.path(), &["evict", "f"]).code(0);
    let range = format!("..{}", 50 * page());
    assert_eq!(stat(dir.path(), &["f", "--range", &range])["total"]["resident_pages"], 50);
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    if knows_dirty(dir.path()) {
        run(dir.path(), &["evict", "f"]).code(0);
        assert_eq!(stat(dir.path(), &["f", "--range", &range])["total"]["resident_pages"], 0);
    }
}

#[test]
fn the_limit_that_is_in_the_way_of_locking_is_named() {
    let dir = folder();
    fs::write(dir.path().join("f"), vec![1; 1 << 20]).unwrap();
    let program = env!("CARGO_BIN_EXE_steadfast");
    // CAP_IPC_LOCK would pass the limit by.
    let output = Command::new("sh")
        .current_dir(dir.path())
        .args([
            "-c",
            &format!(
                "ulimit -l 64; exec setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock {program} lock f"
            ),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("setpriv") {
        return eprintln!("lacks setpriv, or the right to give rights up: {said}");
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("RLIMIT_MEMLOCK allows 64 KiB") && said.contains("nothing was locked"), "{said}");
}

#[test]
fn an_interrupt_ends_warming_between_two_pieces_and_says_what_was_read() {
    let dir = folder();
    let _file = cold(&dir.path().join("f"), (64 << 20) / page());
    let mut child = start(dir.path(), &["warm", "--json", "--rate", "1MiB", "--readers", "1", "f"]);
    until_it_listens(&mut child);
    signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["interrupted"], true);
    assert!(answer["read_bytes"].as_u64() < Some(64 << 20), "{answer}");
}

#[test]
fn advice_reaches_files_and_what_a_process_has_mapped_of_them() {
    let dir = folder();
    if !knows_dirty(dir.path()) {
        return;
    }
    let path = dir.path().canonicalize().unwrap().join("f");
    let file = cold(&path, 64);
    (0..64).for_each(|number| touch(&file, number));
    let map = steadfast::Mapping::options().open(&path).unwrap();
    map.read_at(0, &mut vec![0; 64 * page() as usize]).unwrap();
    let pid = std::process::id().to_string();
    let answer = run(dir.path(), &["advise", "--json", "cold", "--of", &pid, "f"]).code(0).json();
    assert_eq!(keys(&answer), ["failed_files", "files", "reached_bytes", "schema"]);
    assert_eq!((&answer["reached_bytes"], &answer["files"]), (&json!(64 * page()), &json!(1)));
    run(dir.path(), &["advise", "page-out", "--of", &pid, "f"]).code(0);
    drop(map);
    run(dir.path(), &["advise", "dont-need", "f"]).code(0);
    assert_eq!(stat(dir.path(), &["f"])["total"]["resident_pages"], 0);
    assert_eq!(
        run(dir.path(), &["advise", "will-need", "--json", "f"]).code(0).json()["reached_bytes"],
        Value::Null
    );
    while stat(dir.path(), &["f"])["total"]["resident_pages"] == json!(0) {
        std::thread::yield_now();
    }
    run(dir.path(), &["advise", "dont-need", "--of", &pid]).code(2);
}

#[test]
fn whoever_has_read_enough_is_no_failure() {
    let dir = folder();
    for number in 0..2000 {
        fs::write(dir.path().join(format!("{number}")), "x").unwrap();
    }
    let mut child = start(dir.path(), &["stat", "."]);
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    let _ = std::io::stdout().flush();
}
