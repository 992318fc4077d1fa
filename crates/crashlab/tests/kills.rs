//! Some runs of each part, and a judge that can say no.

use std::path::Path;

use crashlab::kills::{Options, Part, run};
use crashlab::outcome::Failure;

fn options(part: Part, runs: u64, folder: &Path) -> Options {
    Options {
        seed: 5,
        runs,
        part: vec![part],
        first: 0,
        dir: Some(folder.to_owned()),
        command: None,
        program: Some(env!("CARGO_BIN_EXE_crashlab").into()),
        spoil: false,
        child: None,
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn killed_processes_leave_allowed_states() {
    let folder = folder();
    for part in Part::ALL {
        let figures = run(&options(part, 4, folder.path())).unwrap();
        let tally = &figures.parts[0];
        assert_eq!((figures.parts.len(), tally.runs, figures.violations), (1, 4, 0));
        assert!(tally.killed_mid_run > 0 && tally.files_judged >= 4, "{figures}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_file_that_was_altered_is_a_violation_in_every_part() {
    let folder = folder();
    for part in Part::ALL {
        let spoilt = Options { spoil: true, ..options(part, 1, folder.path()) };
        let Err(Failure::Violation(what)) = run(&spoilt) else { panic!("{part}: not noticed") };
        assert!(what.contains(&format!("--part {part} --seed 5 --first 0")), "{what}");
        assert!(what.contains("never was"), "{what}");
        let kept = what.rsplit(' ').next().unwrap();
        assert!(Path::new(kept).join("state-0").exists(), "{what}");
    }
}
