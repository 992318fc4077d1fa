//! What other programs build on: standard output holds one array of objects, and nothing else.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .args(["--dir", env!("CARGO_TARGET_TMPDIR")])
        .output()
        .expect("the benchmark starts")
}

#[test]
fn commit_prints_an_array_of_objects_with_a_row_for_every_system() {
    let output = bench(&["commit", "--rounds", "1", "--pages", "1", "--size", "1MiB", "--json"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("file_system: "), "the machine is described on standard error: {errors}");

    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("standard output is one JSON array");
    assert_eq!(rows.len(), 18, "one row for each system");
    for row in &rows {
        assert_eq!(row["bench"], "commit", "{row}");
        assert_eq!(row["pages"], 1, "{row}");
        let system = row["system"].as_str().expect("a system has a name");
        if row.get("note").is_some() {
            // What cannot be measured has a sentence, and no figure.
            assert!(row.get("p50_us").is_none(), "{row}");
            assert!(row["note"].as_str().is_some_and(|note| !note.is_empty()), "{row}");
            continue;
        }
        assert_ne!(system, "tmfalloc", "it does not compile");
        for figure in
            ["p50_us", "p99_us", "store_p50_us", "vs_limit", "vs_full_pages", "vs_msync", "vs_memmap2"]
        {
            assert!(row[figure].as_f64().is_some_and(|figure| figure > 0.0), "{system} {figure}: {row}");
        }
    }
}

#[test]
fn a_system_that_nobody_knows_is_an_error_that_names_the_known() {
    let output = bench(&["commit", "--systems", "no-such-thing", "--size", "1MiB"]);
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("no-such-thing") && errors.contains("steadfast-declared"), "{errors}");
}
