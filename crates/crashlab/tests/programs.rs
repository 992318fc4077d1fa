//! A few kills of a program that was not made for it, and a judge that can say no.

use std::path::Path;

use ::programs::{Program, Suite};
use crashlab::outcome::Failure;
use crashlab::programs::{Figures, Options, run};
use crashlab::suites;

fn options(only: &[Program], runs: u64, folder: &Path) -> Options {
    Options {
        seed: 3,
        runs,
        only: only.to_vec(),
        first: 0,
        dir: Some(folder.to_owned()),
        preload: None,
        strict: false,
        unpublished: false,
        command: None,
        program: Some(env!("CARGO_BIN_EXE_crashlab").into()),
        unkilled: false,
        spoil: false,
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// `None`, and a word about it, where the machine has no Python.
fn tried(options: &Options) -> Option<Figures> {
    match run(options) {
        Ok(figures) => {
            println!("{figures}");
            Some(figures)
        }
        Err(failure @ Failure::Lacking(_)) => {
            println!("{failure}");
            None
        }
        Err(failure) => panic!("{failure}"),
    }
}

/// Plain Python: whatever else is needed has to be fetched.
const PYTHON: &[Program] = &[Program::PythonMmap];

#[test]
fn a_killed_program_is_counted_and_what_it_left_is_judged() {
    let folder = folder();
    let Some(figures) = tried(&options(PYTHON, 6, folder.path())) else { return };
    let tally = &figures.programs[0];
    assert_eq!((figures.programs.len(), tally.runs, tally.sound + tally.torn), (1, 6, 6), "{figures}");
    assert!(tally.killed_at_work > 0 && tally.acknowledged > 0, "{figures}");
    // The page cache outlives the process: all that the kernel's mapping can do to it is a mixture.
    assert_eq!((tally.lost, tally.refused, tally.converted), (0, 0, 0), "{figures}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_program_that_was_left_alone_is_sound_and_a_byte_that_was_altered_is_torn() {
    let folder = folder();
    let left_alone = Options { unkilled: true, ..options(PYTHON, 3, folder.path()) };
    let Some(figures) = tried(&left_alone) else { return };
    let tally = &figures.programs[0];
    assert_eq!((tally.sound, tally.in_flight_kept, tally.acknowledged), (3, 0, 9), "{figures}");
    let Some(figures) = tried(&Options { spoil: true, ..left_alone }) else { return };
    let tally = &figures.programs[0];
    assert_eq!((tally.sound, tally.torn, figures.violations), (0, 3, 3), "{figures}");
    assert!(tally.first.as_ref().is_some_and(|first| first.contains("of neither")), "{figures}");
}

#[test]
fn a_suite_of_its_own_tells_each_of_its_outcomes() {
    let folder = folder();
    let options = suites::Options {
        only: vec![Suite::Cpython],
        dir: Some(folder.path().to_owned()),
        preload: None,
        atomic: "*".to_owned(),
        strict: false,
    };
    let figures = match suites::run(&options) {
        Ok(figures) => figures,
        Err(failure @ Failure::Lacking(_)) => return println!("{failure}"),
        Err(failure) => panic!("{failure}"),
    };
    println!("{figures}");
    let kernel = &figures.suites[0].modes[0];
    assert_eq!((figures.suites[0].modes.len(), kernel.mode, kernel.converted), (1, suites::Mode::Kernel, 0));
    // Tests come and go with versions; most of them must pass where nothing is under them.
    assert!(kernel.tests >= 30 && kernel.counts["passed"] >= 30, "{figures}");
    assert_eq!(kernel.ended_early, None);
}
