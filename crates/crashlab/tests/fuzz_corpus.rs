//! What the fuzzer has kept, run without it: everything that ever found something, and what reaches every branch.

use std::path::Path;

/// Runs every file of a folder; an empty folder is no corpus.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // Shown with a failure only.
        println!("{}", path.display());
        run(&std::fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 0, "nothing in {}", folder.display());
}

#[test]
fn every_journal_of_the_corpus() {
    replay("journal", crashlab::fuzzing::journal);
}

#[test]
fn every_edit_of_the_corpus() {
    replay("apply", crashlab::fuzzing::apply);
}
