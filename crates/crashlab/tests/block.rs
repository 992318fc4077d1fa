//! A short dose of power cuts, and the proof that the rig can find something.

use crashlab::block::file_system::FileSystem;
use crashlab::block::{Options, Recorder, run};
use crashlab::outcome::Failure;

fn options(fs: FileSystem) -> Options {
    Options {
        fs,
        images: 150,
        seed: 4,
        recording: None,
        recorder: Recorder::Own,
        lying_disk: false,
        workers: 2,
        command: None,
    }
}

/// `None`, and a word about it, where the machine cannot do it.
fn tried(options: &Options) -> Option<Result<u64, String>> {
    match run(options) {
        Ok(figures) => {
            println!("{figures}");
            Some(Ok(figures.images))
        }
        Err(Failure::Violation(what)) => Some(Err(what)),
        Err(failure @ Failure::Lacking(_)) => {
            println!("{failure}");
            None
        }
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn a_power_cut_under_a_real_file_system_leaves_the_last_commit_or_the_one_in_flight() {
    for fs in FileSystem::ALL {
        if let Some(tried) = tried(&options(fs)) {
            assert!(tried.unwrap() >= 150);
        }
    }
}

#[test]
fn the_same_holds_where_somebody_else_recorded_it() {
    let options = Options { recorder: Recorder::Qemu, ..options(FileSystem::Ext4) };
    if let Some(tried) = tried(&options) {
        assert!(tried.unwrap() >= 150);
    }
}

#[test]
fn a_disk_that_lies_about_its_flushes_is_found_out() {
    for fs in FileSystem::ALL {
        let options = Options { lying_disk: true, images: 2000, ..options(fs) };
        match run(&options) {
            // A file system that the lie breaks is counted, and is no violation.
            Err(Failure::Violation(what)) => println!("{fs}: {what}"),
            Err(failure @ Failure::Lacking(_)) => println!("{failure}"),
            Err(failure) => panic!("{failure}"),
            Ok(figures) => panic!("a lying disk was not noticed:\n{figures}"),
        }
    }
}
