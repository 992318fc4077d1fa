//! A small commit of declared edits is one call to the kernel, as strace(1) sees it.

mod stage;

use std::fs;
use std::process::Command;

use steadfast::AtomicMapping;

const ENV_FILE: &str = "STEADFAST_ONE_CALL_FILE";

/// Plays its part only under strace.
#[test]
fn as_another_process() {
    let Some(path) = std::env::var_os(ENV_FILE) else { return };
    let mut map = AtomicMapping::options().load(path).unwrap();
    for round in 0..8u8 {
        map.write_at(5, &[round; 8]).unwrap();
        map.edit(9000..9100).unwrap().fill(round);
        map.commit().unwrap();
    }
    map.close().unwrap();
}

#[test]
fn a_small_commit_of_declared_edits_is_the_write_and_the_flush_and_nothing_else() {
    let folder = stage::folder();
    let (path, trace) = (folder.path().join("state.bin"), folder.path().join("trace"));
    fs::write(&path, vec![1; 20_000]).unwrap();
    let traced = Command::new("strace")
        .args(["-f", "-y", "-s", "8", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "as_another_process", "--nocapture"])
        .env(ENV_FILE, &path)
        .output();
    match traced {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.contains("ptrace"), "{error}");
            println!("not tested: strace may not trace here ({})", error.trim());
            return;
        }
        Err(error) => {
            println!("not tested: no strace here ({error}; Debian: apt-get install strace)");
            return;
        }
    }
    let text = fs::read_to_string(trace).unwrap();
    let records: Vec<usize> =
        text.lines().enumerate().filter(|(_, line)| line.contains("SFRECORD")).map(|(at, _)| at).collect();
    assert_eq!(records.len(), 8, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    // Up to the first commit blocks are looked for and direct I/O is tried.
    let between = &lines[records[0]..=records[7]];
    let journal = |line: &&str| line.contains("state.bin.steadfast>");
    if between[0].contains("RWF_DSYNC") {
        assert!(between.iter().all(|line| line.contains("pwritev2(") && journal(line)), "{between:#?}");
        assert_eq!(between.len(), 8, "one call a commit: {between:#?}");
    } else {
        let writes = between.iter().filter(|line| line.contains("pwritev(") && journal(line)).count();
        let flushes = between.iter().filter(|line| line.contains("fdatasync(") && journal(line)).count();
        assert_eq!((writes, flushes, between.len()), (8, 7, 15), "one write and one flush: {between:#?}");
    }
}
