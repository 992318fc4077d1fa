//! The tour, in small: it finds every byte right, says what it saw, and leaves nothing behind.

mod run;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use run::{folder, keys, run, steadfast};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn every_byte_is_right() {
    let dir = folder();
    let said = run(dir.path(), &["tour", "--size", "8MiB", "--rounds", "6", "--seed", "5", "--json"]).code(0);
    let report = said.json();
    assert_eq!(keys(&report), ["costs", "file_bytes", "ok", "phases_ms", "rounds", "seconds", "seed"]);
    assert_eq!((&report["ok"], &report["seed"]), (&json!(true), &json!(5)));
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 6);
    let mut last = 0;
    for round in rounds {
        assert_eq!(round["wrong"], json!(null));
        // Each round goes on from the state before.
        let commit = round["commit"].as_u64().unwrap();
        assert!(commit >= last + round["commits"].as_u64().unwrap());
        last = commit;
    }
    let pairs: Vec<_> = rounds.iter().map(|round| (&round["opened"], &round["stores"])).collect();
    assert_eq!(pairs[0], (&json!("load"), &json!("declared")));
    assert_eq!(pairs[3], (&json!("view"), &json!("plain")));
    let rows = report["costs"]["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["pages"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 16, 256]);
    assert!(is_empty(dir.path()), "it cleans up after itself");
}

#[test]
fn people_get_a_table() {
    let dir = folder();
    let said = run(dir.path(), &["tour", "--dir", ".", "--size", "1M", "--rounds", "1"]).code(0);
    for part in ["1 MiB in ", "1 kill ", "msync", "every byte was right every time"] {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    assert_eq!(said.err, "", "no progress without a terminal");
    assert!(is_empty(dir.path()));
}

#[test]
fn an_interrupted_tour_leaves_nothing_behind() {
    // Not INT, which does the same, but is ignored in what a shell runs in the background: the tests too.
    for signal in [Signal::TERM, Signal::KILL] {
        let dir = folder();
        let mut tour = steadfast(dir.path(), &["tour", "--size", "16MiB", "--rounds", "1000"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        // Until a child is at work: a journal stands beside the file.
        let at_work = || {
            let folder = fs::read_dir(dir.path()).ok()?.next()?.ok()?;
            folder.path().join("tour.bin.steadfast").exists().then_some(())
        };
        while at_work().is_none() {
            assert!(started.elapsed() < Duration::from_secs(60), "the tour does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process(Pid::from_child(&tour), signal).unwrap();
        tour.wait().unwrap();
        while !is_empty(dir.path()) {
            assert!(started.elapsed() < Duration::from_secs(90), "{signal:?}: the folder is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let dir = folder();
    run(dir.path(), &["tour", "--size", "1K"]).code(2);
    run(dir.path(), &["tour", "--size", "lots"]).code(2);
    run(dir.path(), &["tour", "--dir", "missing"]).code(1).complains(&["missing"]);
    run(dir.path(), &["tour", "--size", "1000000T"]).code(1).complains(&["--size"]);
    assert!(is_empty(dir.path()));
    // The janitor removes nothing but such folders.
    fs::create_dir(dir.path().join("precious")).unwrap();
    run(dir.path(), &["janitor", "precious"]).code(2);
    assert!(dir.path().join("precious").exists());
}
