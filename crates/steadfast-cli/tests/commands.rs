//! `recover`, `log`, `verify`, `backup`, `sync`, and the command without any.

mod run;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use run::{Driven, folder, keys, run, run_with, steadfast};
use serde_json::{Value, json};

/// A file `f` of 64 KiB whose writer was killed after three commits: byte n is n + 1, for n in 0..3.
fn killed_after_three_commits(folder: &Path) -> Vec<u64> {
    fs::write(folder.join("f"), vec![0; 65536]).unwrap();
    let mut driven = Driven::start(folder, &["apply", "f"]);
    let ids = (0..3)
        .map(|n| {
            driven.send(&format!("{{\"at\":{n},\"hex\":\"{:02x}\"}}", n + 1));
            driven.commit()
        })
        .collect();
    driven.send(r#"{"at":9,"hex":"99"}"#);
    driven.kill();
    ids
}

#[test]
fn a_killed_writer_is_seen_and_recovered() {
    let dir = folder();
    let ids = killed_after_three_commits(dir.path());
    assert!(dir.path().join("f.steadfast").exists());

    let said = run(dir.path(), &["verify", "f"]).code(0);
    assert!(said.out.contains("sound") && said.out.contains("steadfast recover /"), "{said:?}");
    let verdict = run(dir.path(), &["verify", "--json", "f"]).code(0).json();
    assert_eq!((&verdict["sound"], &verdict["recovery_waits"]), (&json!(true), &json!(true)));
    assert_eq!(verdict["last_commit"], json!(ids[2]));
    assert_eq!((&verdict["writer"], &verdict["problem"]), (&Value::Null, &Value::Null));

    let log = run(dir.path(), &["log", "--json", "f"]).code(0).json();
    let listed: Vec<u64> =
        log["commits"].as_array().unwrap().iter().map(|one| one["commit"].as_u64().unwrap()).collect();
    assert!(ids.ends_with(&listed), "what was checkpointed may be gone: {listed:?} {ids:?}");
    let said = run(dir.path(), &["log", "f"]).code(0);
    assert!(said.out.contains("f.steadfast") && said.out.contains("steadfast recover"), "{said:?}");

    let done = run(dir.path(), &["recover", "--json", "f"]).code(0).json();
    assert_eq!(
        keys(&done),
        ["discarded", "file", "journal_found", "last_commit", "replayed_commits", "torn_tail"]
    );
    assert_eq!((&done["journal_found"], &done["discarded"]), (&json!(true), &json!(false)));
    assert_eq!((&done["last_commit"], &done["torn_tail"]), (&json!(ids[2]), &json!(false)));
    let content = fs::read(dir.path().join("f")).unwrap();
    assert_eq!(content[..10], [1, 2, 3, 0, 0, 0, 0, 0, 0, 0], "what was not committed is not there");
    assert_eq!(content.len(), 65536);

    // Again: there is nothing to do, and that is no failure.
    let said = run(dir.path(), &["recover", "f"]).code(0);
    assert!(said.out.contains("nothing to recover"), "{said:?}");
    let said = run(dir.path(), &["verify", "f"]).code(0);
    assert!(said.out.contains("plain file without a journal"), "{said:?}");
    assert!(!dir.path().join("f.steadfast").exists());
}

/// All bytes of a file whose name may be gone.
fn held(file: &fs::File) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn scrub_overwrites_the_journal_before_it_is_removed() {
    const SECRET: &[u8] = b"under the mat";
    let holds = |file: &fs::File| held(file).windows(SECRET.len()).any(|part| part == SECRET);
    for scrub in [false, true] {
        let with = |args: &[&'static str]| -> Vec<&'static str> {
            args.iter().copied().chain(scrub.then_some("--scrub")).collect()
        };
        for way in [&["recover", "f"][..], &["recover", "--discard", "f"]] {
            let dir = folder();
            fs::write(dir.path().join("f"), vec![0; 65536]).unwrap();
            let mut driven = Driven::start(dir.path(), &["apply", "f"]);
            driven.send(r#"{"at":7,"text":"under the mat"}"#);
            driven.commit();
            driven.kill();
            let journal = fs::File::open(dir.path().join("f.steadfast")).unwrap();
            assert!(holds(&journal));
            run(dir.path(), &with(way)).code(0);
            assert!(!dir.path().join("f.steadfast").exists());
            assert_eq!(holds(&journal), !scrub, "{way:?}");
        }
        let dir = folder();
        fs::write(dir.path().join("f"), vec![0; 65536]).unwrap();
        let mut driven = Driven::start(dir.path(), &with(&["apply", "f"]));
        driven.send(r#"{"at":7,"text":"under the mat"}"#);
        driven.commit();
        let journal = fs::File::open(dir.path().join("f.steadfast")).unwrap();
        assert_eq!(driven.finish(), 0);
        assert_eq!(holds(&journal), !scrub, "apply");
    }
}

#[test]
fn recovery_says_what_it_did() {
    let dir = folder();
    killed_after_three_commits(dir.path());
    let said = run(dir.path(), &["recover", "f"]).code(0);
    assert!(said.out.contains("replayed") || said.out.contains("held every commit"), "{said:?}");

    killed_after_three_commits(dir.path());
    let said = run(dir.path(), &["recover", "--discard", "f"]).code(0);
    assert!(said.out.contains("discarded"), "{said:?}");
    assert!(!dir.path().join("f.steadfast").exists());

    let said = run(dir.path(), &["recover", "--adopt", "--discard", "f"]).code(2);
    assert!(said.err.contains("--discard"), "{said:?}");
    run(dir.path(), &["recover", "missing"]).code(1).complains(&["missing"]);
}

#[test]
fn the_next_apply_recovers_by_itself() {
    let dir = folder();
    killed_after_three_commits(dir.path());
    run_with(dir.path(), &["apply", "f"], "{\"at\":3,\"hex\":\"04\"}\n").code(0);
    assert_eq!(fs::read(dir.path().join("f")).unwrap()[..5], [1, 2, 3, 4, 0]);
}

#[test]
fn a_damaged_journal_is_a_no() {
    let dir = folder();
    killed_after_three_commits(dir.path());
    let journal = dir.path().join("f.steadfast");
    let bytes = fs::metadata(&journal).unwrap().len() as usize;
    fs::write(&journal, vec![0xff; bytes]).unwrap();

    let said = run(dir.path(), &["verify", "f"]).code(1);
    said.complains(&["f"]);
    assert_eq!(said.out, "");
    let verdict = run(dir.path(), &["verify", "--json", "f"]).code(1);
    let problem = &verdict.json()["problem"];
    assert_eq!(verdict.json()["sound"], json!(false));
    assert_eq!(keys(problem), ["kind", "message"]);
    assert_eq!(verdict.err, "", "in JSON it has been said");
    run(dir.path(), &["log", "f"]).code(1);
}

#[test]
fn json_shapes() {
    let dir = folder();
    killed_after_three_commits(dir.path());
    let log = run(dir.path(), &["log", "--json", "f"]).code(0).json();
    assert_eq!(
        keys(&log),
        [
            "checkpointed_through",
            "commits",
            "epoch",
            "file",
            "format_version",
            "identity",
            "journal",
            "journal_bytes",
            "journal_found",
            "marked",
            "problem",
            "recovery_waits",
            "torn_tail",
            "writer"
        ]
    );
    if let Some(commit) = log["commits"].get(0) {
        assert_eq!(
            keys(commit),
            [
                "changed_bytes",
                "commit",
                "durable_through",
                "extents",
                "file_bytes",
                "file_bytes_min",
                "journal_offset",
                "record_bytes"
            ]
        );
        assert_eq!(commit["file_bytes"], json!(65536));
    }
    let verdict = run(dir.path(), &["verify", "--json", "f"]).code(0).json();
    assert_eq!(
        keys(&verdict),
        [
            "commits",
            "file",
            "journal_found",
            "last_commit",
            "problem",
            "recovery_waits",
            "sound",
            "torn_tail",
            "writer"
        ]
    );
}

#[test]
fn a_plain_file_has_an_empty_log_and_is_sound() {
    let dir = folder();
    fs::write(dir.path().join("f"), b"x").unwrap();
    let said = run(dir.path(), &["log", "f"]).code(0);
    assert!(said.out.contains("no journal"), "{said:?}");
    let log = run(dir.path(), &["log", "--json", "f"]).code(0).json();
    assert_eq!((&log["journal_found"], &log["commits"]), (&json!(false), &json!([])));
    run(dir.path(), &["verify", "f"]).code(0);
    for command in ["log", "verify"] {
        run(dir.path(), &[command, "missing"]).code(1).complains(&["missing"]);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "looking changes nothing");
}

#[test]
fn a_backup_is_the_last_commit() {
    let dir = folder();
    fs::write(dir.path().join("f"), b"content").unwrap();
    let said = run(dir.path(), &["backup", "f", "g"]).code(0);
    assert_eq!(said.out, "f: 7 bytes copied to g\n");
    assert_eq!(fs::read(dir.path().join("g")).unwrap(), b"content");

    killed_after_three_commits(dir.path());
    run(dir.path(), &["backup", "f", "h"]).code(0);
    assert_eq!(fs::read(dir.path().join("h")).unwrap()[..4], [1, 2, 3, 0]);
    assert!(!dir.path().join("f.steadfast").exists() && !dir.path().join("h.steadfast").exists());

    run(dir.path(), &["backup", "missing", "i"]).code(1).complains(&["missing"]);
    run(dir.path(), &["backup", "f", "no-folder/i"]).code(1);
    assert!(!dir.path().join("f.steadfast").exists(), "a failed backup leaves a plain file");
}

#[test]
fn a_backup_beside_a_live_writer_is_its_last_commit() {
    let dir = folder();
    fs::write(dir.path().join("f"), vec![0; 65536]).unwrap();
    let mut driven = Driven::start(dir.path(), &["apply", "f"]);
    for n in 0..3 {
        driven.send(&format!("{{\"at\":{n},\"hex\":\"{:02x}\"}}", n + 1));
        driven.commit();
    }
    driven.send(r#"{"at":9,"hex":"99"}"#);
    let said = run(dir.path(), &["backup", "f", "g"]).code(0);
    assert_eq!(said.out, "f: 64 KiB copied to g\n");
    let copy = fs::read(dir.path().join("g")).unwrap();
    assert_eq!(copy.len(), 65536);
    assert_eq!(copy[..10], [1, 2, 3, 0, 0, 0, 0, 0, 0, 0]);
    assert!(!dir.path().join("g.steadfast").exists());
    assert!(dir.path().join("f.steadfast").exists(), "the writer goes on");
    driven.send(r#"{"at":3,"hex":"04"}"#);
    driven.commit();
    assert_eq!(driven.finish(), 0);
    assert_eq!(fs::read(dir.path().join("f")).unwrap()[..5], [1, 2, 3, 4, 0]);
}

#[test]
fn sync_handles_every_file() {
    let dir = folder();
    for name in ["a", "b"] {
        fs::write(dir.path().join(name), vec![1; 10_000]).unwrap();
    }
    let said = run(dir.path(), &["sync", "a", "b"]).code(0);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    run(dir.path(), &["sync", "--range", "4K..8KiB", "a", "b"]).code(0);
    run(dir.path(), &["sync", "--range", "..5000", "a"]).code(0);
    run(dir.path(), &["sync", "--range", "5000..", "a"]).code(0);
    // One complaint for each that fails; the others are done.
    run(dir.path(), &["sync", "a", "missing", "b"]).code(1).complains(&["missing"]);
    let said = run(dir.path(), &["sync", "missing", "a", "gone"]).code(1);
    assert_eq!(said.err.lines().count(), 2, "{said:?}");
    // It ends where the file does, as with the others that have a range.
    run(dir.path(), &["sync", "--range", "0..1M", "a"]).code(0);
    for range in ["5", "9..1", "1KB..", "x..y"] {
        let said = run(dir.path(), &["sync", "--range", range, "a"]).code(2);
        assert!(said.err.contains("--range"), "{said:?}");
    }
    run(dir.path(), &["sync"]).code(2);
}

#[test]
fn the_bare_command_gets_a_newcomer_going() {
    let dir = folder();
    let said = run(dir.path(), &[]).code(0);
    let steps = said.out.lines().filter(|line| line.starts_with("  ")).count();
    assert_eq!(steps, 5, "{said:?}");
    assert!(said.out.lines().all(|line| line.len() <= 80));
    assert_eq!(said.err, "");
    // The five lines do what they say.
    let script: String = said
        .out
        .lines()
        .filter(|line| line.starts_with("  ") && !line.contains("tour"))
        .map(|line| line.replace("steadfast ", "\"$STEADFAST\" ") + "\n")
        .collect();
    let status = std::process::Command::new("sh")
        .args(["-ec", &script])
        .current_dir(dir.path())
        .env("STEADFAST", env!("CARGO_BIN_EXE_steadfast"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
    assert!(fs::read(dir.path().join("state.bin")).unwrap().starts_with(b"hi\0"));
}

#[test]
fn help_fits_and_names_every_command() {
    let dir = folder();
    let said = run(dir.path(), &["--help"]).code(0);
    for command in [
        "apply",
        "recover",
        "log",
        "verify",
        "backup",
        "sync",
        "stat",
        "warm",
        "evict",
        "lock",
        "advise",
        "save",
        "restore",
        "run",
        "tour",
        "completions",
        "man",
    ] {
        assert!(said.out.contains(&format!("\n  {command} ")), "{command}");
        for flag in ["-h", "--help"] {
            let said = run(dir.path(), &[command, flag]).code(0);
            assert!(said.out.contains("Usage: steadfast"), "{said:?}");
        }
    }
    assert!(!said.out.contains("tour-"), "what is not for people is not shown");
    let said = run(dir.path(), &["apply", "--help"]).code(0);
    assert!(said.out.contains("nothing else may write the file"), "the danger is said in words");
    let said = run(dir.path(), &["--version"]).code(0);
    assert_eq!(said.out, format!("steadfast {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let dir = folder();
    fs::write(dir.path().join("f"), b"x").unwrap();
    for args in [&["log", "f"][..], &["verify", "--json", "f"], &["recover", "f"], &["backup", "f", "g"], &[]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = steadfast(dir.path(), args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!(said.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8(said.stderr).unwrap(), "", "{args:?}");
    }
}
