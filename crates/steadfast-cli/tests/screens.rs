//! `watch` and `top` in a terminal: tmux is the terminal, and says what stands on it.

mod run;
mod tmux;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use run::{Driven, folder, keys, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tmux::{Recording, Terminal};

/// Where the recording goes that docs/screens.md shows; unset, nothing is kept.
const RECORD: &str = "STEADFAST_RECORD_SCREENS";

fn write(path: &Path, mib: usize) {
    fs::write(path, vec![7; mib << 20]).unwrap();
}

/// Does the kernel tell what is dirty here? (Not of an overlay, nor of what lives in memory.)
fn is_dirty_told(folder: &Path) -> bool {
    let round = run(folder, &["watch", "--once", "--json", "."]).code(0).json();
    let told = round["total"]["dirty_unknown_files"] == json!(0);
    if !told {
        eprintln!("what is dirty is not looked at: the kernel does not tell it of files here");
    }
    told
}

#[test]
fn watch_follows_a_folder_in_a_terminal_of_two_sizes() {
    let Some(terminal) = Terminal::start(80, 24) else { return };
    let dir = folder();
    let data = dir.path().join("d");
    fs::create_dir(&data).unwrap();
    let file = data.join("table.bin");
    write(&file, 4);
    fs::File::open(&file).unwrap().sync_all().unwrap();
    let tells_dirty = is_dirty_told(&data);
    let mut recording = Recording::new();

    terminal.cd(dir.path());
    terminal.say("echo before the screen");
    terminal.until("the shell answers", |screen| screen.matches("before the screen").count() == 2);
    terminal.say("steadfast watch --interval 100ms d");
    let screen = terminal.until("the file is seen", |screen| screen.contains("d/table.bin"));
    assert!(screen.lines().next().unwrap().starts_with("steadfast watch d"), "{screen}");
    assert!(terminal.is_alternate());
    recording.step("`steadfast watch --interval 100ms d` in a terminal of 80x24", &screen);

    if tells_dirty {
        let bytes = OpenOptions::new().write(true).open(&file).unwrap();
        let screen = terminal.until("dirty pages are seen", |screen| {
            // Again and again: the kernel may write them at any time.
            bytes.write_all_at(&[9; 4096], 1 << 20).unwrap();
            let line = line_of(screen, "d/table.bin");
            line.contains('!') && !line.split_ascii_whitespace().nth(3).unwrap().starts_with('0')
        });
        recording.step("a page in the middle of the file is stored to", &screen);
    }

    // It grows while it is looked at, and another file takes its name.
    OpenOptions::new().append(true).open(&file).unwrap().write_all_at(&[1; 4096], 4 << 20).unwrap();
    let screen = terminal.until("growth is seen", |screen| screen.contains("d/table.bin (grew"));
    recording.step("4 KiB are appended", &screen);
    let other = dir.path().join("other");
    write(&other, 1);
    fs::rename(&other, &file).unwrap();
    let screen = terminal.until("the other file is seen", |screen| {
        let line = line_of(screen, "d/table.bin (replaced)");
        line.split_ascii_whitespace().next() == Some("1M")
    });
    recording.step("a file of 1 MiB is renamed over it", &screen);

    let state = data.join("state.bin");
    write(&state, 1);
    let screen = terminal.until("a new file is seen", |screen| screen.contains("d/state.bin (new)"));
    recording.step("a file is made", &screen);
    let mut writer = Driven::start(&data, &["apply", "state.bin"]);
    let mut last = 0;
    let screen = terminal.until("commits are seen", |screen| {
        writer.send(r#"{"at":7,"text":"commit"}"#);
        last = writer.commit();
        let line = line_of(screen, "d/state.bin");
        line.contains('%') && screen.contains("COMMITS") && last > 3
    });
    recording.step("`steadfast apply state.bin` has it open, and commits", &screen);
    terminal.until("the last commit is seen", |screen| {
        line_of(screen, "d/state.bin").split_ascii_whitespace().any(|word| word == last.to_string())
    });
    assert_eq!(writer.finish(), 0);
    terminal.until("the journal is gone", |screen| !screen.contains("COMMITS"));
    fs::remove_file(&state).unwrap();
    let screen = terminal.until("it is said to be gone", |screen| screen.contains("d/state.bin (gone)"));
    recording.step("it is removed", &screen);
    terminal.until("its name is gone, too", |screen| !screen.contains("state.bin"));
    terminal.until("what happened is old", |screen| !screen.contains("(replaced)"));

    // Nothing moves any more: what differs after a resize there and back would be left over.
    terminal.key("Space");
    let small = terminal.until("it pauses", |screen| screen.contains("PAUSED"));
    terminal.resize(200, 50);
    let large = terminal.until("all of the large terminal is used", |screen| {
        let lines: Vec<_> = screen.lines().collect();
        lines.len() == 50 && lines[49].starts_with("q leave") && lines[1].contains("EVICTED")
    });
    assert_eq!(large.matches("q leave").count(), 1, "{large}");
    assert_eq!(large.matches("steadfast watch").count(), 1, "{large}");
    assert_eq!(large.matches("total:").count(), 1, "{large}");
    recording.step("space pauses, and the terminal becomes one of 200x50", &large);
    terminal.resize(80, 24);
    terminal.until("nothing of the large one is left over", |screen| screen == small);
    terminal.resize(30, 5);
    terminal.until("it says that it is too small", |screen| screen.starts_with("too small: 40x8 is needed"));
    terminal.resize(80, 24);
    terminal.until("nothing of the small one is left over", |screen| screen == small);

    terminal.key("?");
    let screen = terminal.until("the keys are explained", |screen| screen.contains("turn the order around"));
    recording.step("?", &screen);
    terminal.key("q");
    let screen = terminal.until("the shell's screen is back", |screen| screen.contains("before the screen"));
    assert!(!screen.contains("q leave"), "{screen}");
    recording.step("q", &screen);
    assert_is_given_back(&terminal, 0);
    if let Some(path) = std::env::var_os(RECORD) {
        recording.write(Path::new(&path));
    }
}

fn line_of<'screen>(screen: &'screen str, name: &str) -> &'screen str {
    screen.lines().find(|line| line.contains(name)).unwrap_or_default()
}

/// Not only the screen: cursor, line editing and echo as well.
fn assert_is_given_back(terminal: &Terminal, code: i32) {
    terminal.until("the shell waits for a line", |screen| {
        screen.lines().rfind(|line| !line.is_empty()).is_some_and(|line| line == "$")
    });
    terminal.say("echo code $?");
    terminal
        .until("its exit code is told", |screen| screen.lines().any(|line| line == format!("code {code}")));
    assert!(!terminal.is_alternate());
    assert!(terminal.is_cursor_seen());
    terminal.say("stty -a | tr ' ;' '\\n\\n' | grep -cxe -icanon -e -echo -e -isig");
    terminal.until("the terminal edits lines and echoes", |screen| {
        screen.lines().filter(|line| !line.is_empty()).rev().nth(1) == Some("0")
    });
}

#[test]
fn a_signal_gives_the_screen_back() {
    let dir = folder();
    write(&dir.path().join("f"), 1);
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let Some(terminal) = Terminal::start(80, 24) else { return };
        terminal.cd(dir.path());
        terminal.say("steadfast watch f");
        terminal.until("it runs", |screen| screen.contains("total: 1 file"));
        kill_process(Pid::from_raw(terminal.child() as i32).unwrap(), signal).unwrap();
        terminal.until("the shell's screen is back", |screen| !screen.contains("total:"));
        assert_is_given_back(&terminal, 0);
    }
    // Ctrl-C is a key there.
    let Some(terminal) = Terminal::start(80, 24) else { return };
    terminal.cd(dir.path());
    terminal.say("steadfast watch f");
    terminal.until("it runs", |screen| screen.contains("total: 1 file"));
    terminal.key("C-c");
    terminal.until("the shell's screen is back", |screen| !screen.contains("total:"));
    assert_is_given_back(&terminal, 0);
}

#[test]
fn top_shows_a_mapped_file_in_a_terminal_of_two_sizes() {
    let Some(terminal) = Terminal::start(80, 24) else { return };
    let dir = folder();
    let file = dir.path().join("mapped.bin");
    write(&file, 8);
    let map = steadfast::Mapping::options().open(&file).unwrap();
    terminal.cd(dir.path());
    terminal.say("steadfast top --interval 100ms");
    let is_whole = |screen: &str| screen.contains("in the page cache") && screen.contains("total:");
    terminal.until("the cache is summed up", is_whole);
    // Largest first: this one may be far below.
    terminal.key("s s s s s s");
    terminal.until("it is sorted by name", |screen| screen.contains("by path"));
    terminal.key("Space");
    let small = terminal.until("it pauses", |screen| screen.contains("PAUSED"));
    terminal.resize(200, 50);
    let large = terminal.until("all of the large terminal is used", |screen| {
        screen.lines().count() == 50 && screen.lines().last().is_some_and(|line| line.starts_with("q leave"))
    });
    assert_eq!(large.matches("q leave").count(), 1, "{large}");
    terminal.resize(80, 24);
    terminal.until("nothing of the large one is left over", |screen| screen == small);
    terminal.key("Space b");
    terminal
        .until("processes are shown", |screen| screen.contains("by process") && screen.contains("COMMAND"));
    terminal.key("b");
    terminal.until("control groups are shown", |screen| screen.contains("by cgroup"));
    terminal.key("q");
    terminal.until("the shell's screen is back", |screen| !screen.contains("q leave"));
    assert_is_given_back(&terminal, 0);
    drop(map);
}

#[test]
fn without_a_terminal_one_look_is_plain_text() {
    let dir = folder();
    write(&dir.path().join("f"), 1);
    let long = "n".repeat(200);
    write(&dir.path().join(&long), 1);
    for args in [&["watch", "."][..], &["watch", "--once", "."], &["top", "--lines", "1000000", "."]] {
        let said = run(dir.path(), args).code(0);
        assert!(said.out.contains(&long), "names are whole: {said:?}");
        assert!(said.out.contains("total: "), "{said:?}");
        assert!(!said.out.contains('\x1b') && said.err.is_empty(), "{said:?}");
    }
    let said = run(dir.path(), &["watch", "f", "missing"]).code(1);
    said.complains(&["missing"]);
    run(dir.path(), &["watch"]).code(2).complains(&["name at least one file"]);
    run(dir.path(), &["watch", "--interval", "1ms", "f"]).code(2);
    run(dir.path(), &["top", "missing"]).code(1).complains(&["missing"]);
}

#[test]
fn a_journal_is_seen_beside_its_file_whether_or_not_it_is_among_those_that_are_watched() {
    let dir = folder();
    fs::create_dir(dir.path().join("d")).unwrap();
    write(&dir.path().join("d/state.bin"), 1);
    write(&dir.path().join("d/other.bin"), 1);
    let mut writer = Driven::start(dir.path(), &["apply", "d/state.bin"]);
    writer.send(r#"{"at":7,"text":"commit"}"#);
    let last = writer.commit();
    for arguments in [&["d"][..], &["d", "--glob", "*.bin"], &["d/state.bin"], &["d", "d/state.bin"]] {
        let answer = run(dir.path(), &[&["watch", "--once", "--json"], arguments].concat()).code(0).json();
        for file in answer["files"].as_array().unwrap() {
            let expected = if file["path"] == "d/state.bin" { json!(last) } else { Value::Null };
            assert_eq!(file["journal"]["last_commit"], expected, "{arguments:?}: {file}");
        }
        assert!(answer["files"].as_array().unwrap().iter().any(|file| file["path"] == "d/state.bin"));
    }
    assert_eq!(writer.finish(), 0);
}

#[test]
fn each_round_is_a_line_of_json() {
    let dir = folder();
    write(&dir.path().join("f"), 1);
    let mut watch = Driven::start(dir.path(), &["watch", "--json", "--interval", "100ms", "f"]);
    let hear = |watch: &mut Driven| -> Value { serde_json::from_str(&watch.hear()).unwrap() };
    let first = hear(&mut watch);
    assert_eq!((&first["round"], &first["files"][0]["change"]), (&json!(1), &Value::Null));
    assert_eq!(first["files"][0]["size_bytes"], json!(1 << 20));
    write(&dir.path().join("g"), 2);
    fs::rename(dir.path().join("g"), dir.path().join("f")).unwrap();
    let mut replaced = hear(&mut watch);
    while replaced["files"][0]["size_bytes"] != json!(2 << 20) {
        replaced = hear(&mut watch);
    }
    assert_eq!(replaced["files"][0]["change"], json!("replaced"));
    fs::remove_file(dir.path().join("f")).unwrap();
    while hear(&mut watch)["gone"] != json!(["f"]) {}
    watch.kill();
}

#[test]
fn top_counts_a_mapped_file_for_its_process_and_says_how_much_it_found() {
    let dir = folder();
    let file = fs::canonicalize(dir.path()).unwrap().join("mapped.bin");
    write(&file, 8);
    let map = steadfast::Mapping::options().open(&file).unwrap();
    let top = |args: &[&str]| {
        let args = [&["top", "--json", "--once", "--lines", "1000000"], args].concat();
        run(dir.path(), &args).code(0).json()
    };
    let files = top(&[]);
    assert!(keys(&files).contains(&"unreadable_processes"));
    let row = |answer: &Value, key: &str, value: Value| -> Value {
        let rows = answer["rows"].as_array().unwrap();
        rows.iter().find(|row| row[key] == value).cloned().unwrap_or_else(|| panic!("{key} {value}"))
    };
    let own = row(&files, "path", json!(file.to_str().unwrap()));
    assert_eq!((&own["size_bytes"], &own["processes"]), (&json!(8 << 20), &json!(1)));
    let cached = own["cached_bytes"].as_u64().unwrap();
    assert!(cached <= 8 << 20, "{own}");
    let found = files["found_bytes"].as_u64().unwrap();
    assert!(found >= cached, "{files}");
    let sum: u64 =
        files["rows"].as_array().unwrap().iter().filter_map(|row| row["cached_bytes"].as_u64()).sum();
    assert_eq!(sum, found, "each file counts once");

    let process = row(&top(&["--by", "process"]), "pid", json!(std::process::id()));
    assert!(process["cached_bytes"].as_u64().unwrap() >= cached, "{process}");
    assert!(process["files"].as_u64().unwrap() > 1, "{process}");
    let groups = top(&["--by", "cgroup"]);
    assert_eq!(groups["by"], "cgroup");
    for group in groups["rows"].as_array().unwrap() {
        assert!(group["kernel"].is_object() && group["processes"].as_u64() > Some(0), "{group}");
    }
    drop(map);

    // Nobody has it any more: only its name leads to it.
    let mentions =
        |answer: &Value| answer["rows"].as_array().unwrap().iter().any(|row| row["path"] == own["path"]);
    let since = std::time::Instant::now();
    // A child of another test has it for as long as that has not become another program.
    while mentions(&top(&[])) {
        assert!(since.elapsed() < std::time::Duration::from_secs(60), "it is told of for ever");
    }
    assert!(mentions(&top(&[file.to_str().unwrap()])));
}
