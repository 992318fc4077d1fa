//! `steadfast apply`: every kind of edit, every kind of mistake, and being driven through a pipe.

mod run;

use std::fs;
use std::process::Stdio;

use run::{Driven, commit_id, folder, run, run_with, steadfast};

#[test]
fn every_kind_of_edit_in_one_commit() {
    let dir = folder();
    let file = dir.path().join("f");
    fs::write(&file, vec![b'.'; 100]).unwrap();
    fs::write(dir.path().join("patch.bin"), b"PATCH").unwrap();
    let edits = r##"
# a comment, and blank lines around it

{"at":0,"text":"abc"}
{"at":10,"hex":"00fFa9"}
  {"file":"patch.bin","at":20}
{"fill":255,"at":30,"len":5}
{"resize":120}
{"at":114,"text":"é end"}
{"resize":119}
{"at":119,"text":""}
{"fill":1,"at":119,"len":0}"##;
    let said = run_with(dir.path(), &["apply", "f"], edits).code(0);
    assert_eq!(said.out.lines().count(), 1, "one commit: {said:?}");
    assert!(commit_id(said.out.trim_end()) > 0);
    assert_eq!(said.err, "");

    let mut expected = vec![b'.'; 100];
    expected[0..3].copy_from_slice(b"abc");
    expected[10..13].copy_from_slice(&[0, 255, 0xa9]);
    expected[20..25].copy_from_slice(b"PATCH");
    expected[30..35].fill(255);
    expected.resize(114, 0);
    expected.extend_from_slice(&"é end".as_bytes()[..5]);
    assert_eq!(fs::read(&file).unwrap(), expected);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "a plain file is left, and no journal");
}

#[test]
fn edits_from_a_file_with_several_commits() {
    let dir = folder();
    fs::write(dir.path().join("f"), [0; 8]).unwrap();
    fs::write(
        dir.path().join("edits"),
        "{\"at\":0,\"text\":\"a\"}\r\n{\"commit\":true}\r\n{\"at\":1,\"text\":\"b\"}\n{\"commit\":true}\n{\"commit\":true}",
    )
    .unwrap();
    let said = run(dir.path(), &["apply", "f", "edits"]).code(0);
    let ids: Vec<u64> = said.out.lines().map(commit_id).collect();
    assert_eq!(ids.len(), 3, "one line a commit line");
    assert!(ids[0] < ids[1] && ids[1] <= ids[2], "{ids:?}");
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"ab\0\0\0\0\0\0");
}

#[test]
fn no_edits_are_no_commit() {
    let dir = folder();
    fs::write(dir.path().join("f"), b"x").unwrap();
    for input in ["", "\n# nothing\n\n"] {
        let said = run_with(dir.path(), &["apply", "f", "-"], input).code(0);
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    }
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"x");
}

#[test]
fn a_bad_line_stops_it_and_nothing_of_its_commit_is_applied() {
    let dir = folder();
    let file = dir.path().join("f");
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("long"), [1; 101]).unwrap();
    for (line, reasons) in [
        (r#"{"at":0,"hex":"0"}"#, &["odd number of digits"][..]),
        (r#"{"at":0,"hex":"zz"}"#, &["hexadecimal"]),
        (r#"{"at":0,"hex":7}"#, &["`hex` must be a string"]),
        (r#"{"at":0,"text":["a"]}"#, &["`text` must be a string"]),
        (r#"{"at":-1,"text":"a"}"#, &["`at`", "-1"]),
        (r#"{"at":0.5,"text":"a"}"#, &["`at`", "0.5"]),
        (r#"{"at":"0","text":"a"}"#, &["`at`", "\"0\""]),
        (r#"{"text":"a"}"#, &["`text` needs `at`"]),
        (r#"{"at":0,"text":"a","hex":"00"}"#, &["`hex` and `text`"]),
        (r#"{"at":0,"text":"a","commit":true}"#, &["`text` and `commit`"]),
        (r#"{"at":0,"at":1,"text":"a"}"#, &["`at` is there twice"]),
        (r#"{"at":0,"txt":"a"}"#, &["unknown key `txt`"]),
        (r#"{"at":0,"text":"a","len":1}"#, &["`len` does not go with `text`"]),
        (r#"{"fill":256,"at":0,"len":1}"#, &["0 to 255", "256"]),
        (r#"{"fill":-1,"at":0,"len":1}"#, &["0 to 255", "-1"]),
        (r#"{"fill":0,"at":0}"#, &["`fill` needs `len`"]),
        (r#"{"resize":-5}"#, &["`resize`", "-5"]),
        (r#"{"commit":false}"#, &["`commit` must be true"]),
        (r#"{"at":0}"#, &["nothing to do"]),
        ("{", &["column"]),
        ("nonsense", &["column 2"]),
        ("[]", &["JSON object"]),
        // Past the end: the line, the offset and the length are named.
        (r#"{"at":98,"text":"abc"}"#, &["offset 98", "(100 bytes)", r#"{"resize":101}"#]),
        (r#"{"fill":0,"at":101,"len":0}"#, &["offset 101", "(100 bytes)"]),
        (r#"{"at":18446744073709551615,"text":"a"}"#, &["offset 18446744073709551615"]),
        (r#"{"at":0,"file":"long"}"#, &["101 bytes at offset 0", "(100 bytes)"]),
        // Patch files.
        (r#"{"at":0,"file":"missing.bin"}"#, &["missing.bin", "No such file"]),
        (r#"{"at":0,"file":"sub"}"#, &["sub is a directory"]),
        (r#"{"at":0,"file":""}"#, &["No such file"]),
    ] {
        fs::write(&file, vec![b'.'; 100]).unwrap();
        let edits = format!(
            "{{\"at\":0,\"text\":\"one\"}}\n{{\"commit\":true}}\n\n{{\"at\":3,\"text\":\"two\"}}\n{line}\n{{\"commit\":true}}\n"
        );
        let said = run_with(dir.path(), &["apply", "f"], &edits).code(1);
        said.complains(&["standard input, line 5: ", "1 edit before it", "not applied"]);
        said.complains(reasons);
        assert_eq!(said.out.lines().count(), 1, "the first commit was acknowledged: {said:?}");
        let mut expected = vec![b'.'; 100];
        expected[..3].copy_from_slice(b"one");
        assert_eq!(fs::read(&file).unwrap(), expected, "{line}");
        assert!(!dir.path().join("f.steadfast").exists(), "a plain file is left");
    }
}

#[test]
fn a_bad_line_in_a_script_without_commit_lines_leaves_the_file_as_it_was() {
    let dir = folder();
    fs::write(dir.path().join("f"), b"0123456789").unwrap();
    fs::write(
        dir.path().join("edits"),
        "{\"at\":0,\"text\":\"abc\"}\n{\"resize\":3}\n{\"at\":3,\"hex\":\"00\"}\n",
    )
    .unwrap();
    let said = run(dir.path(), &["apply", "f", "edits"]).code(1);
    said.complains(&["edits, line 3: ", "offset 3", "(3 bytes)"]);
    assert_eq!(said.out, "");
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"0123456789");
}

#[test]
fn bytes_that_are_no_text_and_lines_without_end_are_refused() {
    let dir = folder();
    fs::write(dir.path().join("f"), b"0123456789").unwrap();
    let said = run_with(dir.path(), &["apply", "f"], b"{\"at\":0,\"text\":\"\xff\"}\n").code(1);
    said.complains(&["line 1"]);
    let said = run_with(dir.path(), &["apply", "f"], vec![b'x'; (64 << 20) + 1]).code(1);
    said.complains(&["line 1", "longer than"]);
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"0123456789");
}

#[test]
fn edits_after_the_last_commit_line_are_not_dropped_silently() {
    let dir = folder();
    fs::write(dir.path().join("f"), b"....").unwrap();
    let one = "{\"at\":0,\"text\":\"a\"}\n{\"commit\":true}\n{\"at\":1,\"text\":\"b\"}\n";
    let said = run_with(dir.path(), &["apply", "f"], one).code(1);
    said.complains(&["1 edit after the last commit line was not applied; add {\"commit\":true}"]);
    let said = run_with(dir.path(), &["apply", "f"], format!("{one}{{\"resize\":9}}\n")).code(1);
    said.complains(&["2 edits after the last commit line were not applied; add {\"commit\":true}"]);
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"a...");
}

#[test]
fn another_program_drives_it_through_a_pipe() {
    let dir = folder();
    let file = dir.path().join("f");
    fs::write(&file, vec![0; 1 << 20]).unwrap();
    let mut driven = Driven::start(dir.path(), &["apply", "--publish", "f"]);
    let mut last = 0;
    for n in 0..20u8 {
        driven.send(&format!("{{\"at\":{},\"hex\":\"{n:02x}\"}}", usize::from(n) * 4096));
        // The acknowledgement comes although the input goes on.
        let id = driven.commit();
        assert!(id > last);
        last = id;
        // --publish: and everybody can read it.
        assert_eq!(fs::read(&file).unwrap()[usize::from(n) * 4096], n);
    }
    assert_eq!(driven.finish(), 0);
    assert!(!dir.path().join("f.steadfast").exists());
}

#[test]
fn the_reader_of_acknowledgements_may_leave() {
    let dir = folder();
    fs::write(dir.path().join("f"), [0; 100]).unwrap();
    let edits: String =
        (0..100).map(|n| format!("{{\"at\":{n},\"hex\":\"ff\"}}\n{{\"commit\":true}}\n")).collect();
    fs::write(dir.path().join("edits"), edits).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let said = steadfast(dir.path(), &["apply", "f", "edits"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(said.status.code(), Some(0));
    assert_eq!(String::from_utf8(said.stderr).unwrap(), "");
    // Exit code 0 says that all of it was applied.
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), [255; 100]);
}

#[test]
fn files_are_created_only_if_asked_for() {
    let dir = folder();
    let edits = "{\"resize\":3}\n{\"at\":0,\"text\":\"new\"}\n";
    let said = run_with(dir.path(), &["apply", "f"], edits).code(1);
    said.complains(&["f", "does not exist"]);
    assert!(!dir.path().join("f").exists());
    // A wrong name of the edits creates nothing.
    run(dir.path(), &["apply", "--create", "f", "no-edits"]).code(1).complains(&["no-edits", "No such file"]);
    assert!(!dir.path().join("f").exists());
    run_with(dir.path(), &["apply", "--create", "f"], edits).code(0);
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"new");
}

#[test]
fn a_dry_run_checks_every_line_and_changes_nothing() {
    let dir = folder();
    fs::write(dir.path().join("f"), b"0123").unwrap();
    let dry = |edits: &str| {
        let said = run_with(dir.path(), &["apply", "--dry-run", "f"], edits);
        assert_eq!(said.out, "");
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"0123");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        said
    };
    let said = dry("{\"resize\":8}\n{\"at\":4,\"text\":\"abcd\"}\n").code(0);
    assert!(said.err.contains("2 good edits in 1 commit, 0 bad lines"), "{said:?}");
    // Every bad line is named, not only the first.
    let said =
        dry("{\"at\":1,\"text\":\"abcd\"}\nwhat\n{\"at\":0,\"hex\":\"00\"}\n{\"commit\":true}\n").code(1);
    for part in ["line 1: ", "line 2: ", "1 good edit in 1 commit, 2 bad lines"] {
        assert!(said.err.contains(part), "{said:?}");
    }
    let said = dry("{\"commit\":true}\n{\"at\":0,\"hex\":\"00\"}\n").code(1);
    assert!(said.err.contains("1 edit after the last commit line was not applied"), "{said:?}");
    // Patch files are looked for and measured.
    let said = dry("{\"at\":0,\"file\":\"missing\"}\n{\"at\":3,\"file\":\"f\"}\n").code(1);
    for part in ["line 1: ", "No such file", "line 2: 4 bytes at offset 3"] {
        assert!(said.err.contains(part), "{said:?}");
    }
    // A file that is to be created has no bytes yet.
    let said =
        run_with(dir.path(), &["apply", "--dry-run", "--create", "g"], "{\"at\":0,\"hex\":\"00\"}").code(1);
    assert!(said.err.contains("(0 bytes)"), "{said:?}");
    assert!(!dir.path().join("g").exists());
}

#[test]
fn one_writer_at_a_time() {
    let dir = folder();
    fs::write(dir.path().join("f"), b"0123").unwrap();
    let mut driven = Driven::start(dir.path(), &["apply", "f"]);
    driven.send(r#"{"at":0,"text":"a"}"#);
    driven.commit();
    run(dir.path(), &["apply", "--lock-timeout", "0", "f"]).code(1).complains(&["f"]);
    // Looking is allowed, and changes nothing; a copy holds the last commit.
    run(dir.path(), &["backup", "--lock-timeout", "0.1", "f", "g"]).code(0);
    assert_eq!(fs::read(dir.path().join("g")).unwrap(), b"a123");
    run(dir.path(), &["verify", "f"]).code(0);
    run(dir.path(), &["log", "--json", "f"]).code(0);
    driven.send(r#"{"at":1,"text":"b"}"#);
    driven.commit();
    assert_eq!(driven.finish(), 0);
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"ab23");
    run(dir.path(), &["apply", "f"]).code(0);
}

#[test]
fn wrong_use_is_exit_code_2() {
    let dir = folder();
    for args in [
        &["apply"][..],
        &["apply", "--lock-timeout", "-1", "f"],
        &["apply", "--lock-timeout", "soon", "f"],
        &["apply", "--keep-journal", "f"],
        &["apply", "f", "-", "more"],
        &["frobnicate"],
    ] {
        let said = run(dir.path(), args).code(2);
        assert_eq!(said.out, "");
        assert!(said.err.starts_with("error: "), "{said:?}");
    }
}
