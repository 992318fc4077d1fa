//! A short dose of other hands, failing devices and full disks; and the proof that a process that dies of it is noticed.

use std::path::Path;

use crashlab::hands::{Figures, Options, Part, run};
use crashlab::outcome::Failure;

fn options(part: Part, rounds: u64, folder: &Path) -> Options {
    Options {
        seed: 7,
        rounds,
        only: vec![part],
        first: 0,
        dir: Some(folder.to_owned()),
        program: Some(env!("CARGO_BIN_EXE_crashlab").into()),
        unguarded: false,
        child: None,
    }
}

/// `None`, and a word about it, where the machine cannot do it.
fn tried(part: Part, rounds: u64, change: impl FnOnce(Options) -> Options) -> Option<Figures> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    match run(&change(options(part, rounds, folder.path()))) {
        Ok(figures) => {
            println!("{figures}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
            Some(figures)
        }
        Err(failure @ Failure::Lacking(_)) => {
            println!("{failure}");
            None
        }
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn what_other_programs_take_from_a_mapped_file_is_an_error_and_nothing_else_is_lost() {
    let Some(figures) = tried(Part::Truncate, 150, |options| options) else { return };
    let tally = &figures.parts[0];
    assert_eq!((tally.rounds(), tally.signal_deaths, figures.violations), (150, 0, 0));
    let counts = tally.counts;
    assert!(counts.loads > 1000 && counts.commits > 100 && counts.refused > 100, "{figures}");
    assert!(counts.files_judged > 50 && counts.journals_judged > 0 && counts.refreshed > 0, "{figures}");
    assert!(tally.actions.len() >= 5, "every kind of action: {figures}");
}

#[test]
fn a_device_that_cannot_read_or_is_gone_is_an_error_and_no_signal() {
    let Some(figures) = tried(Part::Eio, 60, |options| options) else { return };
    let tally = &figures.parts[0];
    assert_eq!((tally.rounds(), tally.signal_deaths), (60, 0));
    assert!(tally.counts.refused > 50 && tally.counts.loads > 500, "{figures}");
    assert!(tally.flood.as_ref().is_some_and(|flood| flood.contains("38400 pages")), "{figures}");
}

#[test]
fn a_full_disk_under_mapped_files_is_an_error_and_the_same_commit_succeeds_once_there_is_space() {
    let Some(figures) = tried(Part::Full, 40, |options| options) else { return };
    let tally = &figures.parts[0];
    assert_eq!((tally.rounds(), tally.signal_deaths), (40, 0));
    assert!(tally.counts.commits_refused > 10 && tally.counts.commits > 100, "{figures}");
}

#[test]
fn without_the_guard_processes_die_and_each_death_is_counted_with_its_round() {
    let unguarded = |options| Options { unguarded: true, ..options };
    let Some(figures) = tried(Part::Truncate, 40, unguarded) else { return };
    let tally = &figures.parts[0];
    assert!(tally.signal_deaths > 0, "{figures}");
    assert_eq!(tally.signal_deaths, tally.died_in.len() as u64);
    assert_eq!(figures.violations, tally.signal_deaths);
}
