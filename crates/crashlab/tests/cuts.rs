//! A few power cuts under a program that was not made for it, and the proof that they can find something.

use std::path::{Path, PathBuf};
use std::process::Command;

use ::programs::Program;
use crashlab::block::file_system::FileSystem;
use crashlab::cuts::{Figures, Options, run};
use crashlab::outcome::Failure;

const CRASHLAB: &str = env!("CARGO_BIN_EXE_crashlab");

fn options(fs: FileSystem, images: u64) -> Options {
    Options {
        fs,
        // Plain Python: whatever else is needed has to be fetched.
        program: vec![Program::PythonMmap],
        preload: None,
        images,
        compared: None,
        seed: 3,
        recording: None,
        lying_disk: false,
        workers: 2,
        command: None,
        this: Some(CRASHLAB.into()),
        spoil: false,
    }
}

/// The library that is tested, as old as the sources.
fn library() -> PathBuf {
    let profile = Path::new(CRASHLAB).parent().unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", "steadfast-preload", "--target-dir"]);
    cargo.arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    profile.join("libsteadfast_preload.so")
}

/// `None`, and a word about it, where the machine cannot do it.
fn tried(options: &Options) -> Option<Result<Figures, String>> {
    match run(options) {
        Ok(figures) => {
            println!("{figures}");
            Some(Ok(figures))
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
fn a_power_cut_under_an_unmodified_program_leaves_one_of_its_versions() {
    let library = library();
    for fs in FileSystem::ALL {
        let options = Options { preload: Some(library.clone()), ..options(fs, 40) };
        let Some(tried) = tried(&options) else { continue };
        let figures = tried.unwrap();
        let [over, alone] = &figures.programs[..] else { panic!("{figures}") };
        assert!(over.images >= 40 && over.sound == over.images && over.journals > 0, "{figures}");
        assert!(alone.images >= 20 && alone.torn > 0, "without the library nothing is promised: {figures}");
    }
}

#[test]
fn a_byte_that_was_altered_is_torn() {
    let altered = Options { spoil: true, ..options(FileSystem::Ext4, 8) };
    let Some(tried_alone) = tried(&altered) else { return };
    let figures = tried_alone.unwrap();
    assert!(figures.programs[0].images >= 8, "{figures}");
    assert_eq!(figures.programs[0].torn, figures.programs[0].images, "{figures}");
    let Some(tried_over) = tried(&Options { preload: Some(library()), ..altered }) else { return };
    assert!(tried_over.is_err_and(|what| what.contains("torn: ") && what.contains("1 of neither")));
}

#[test]
fn a_disk_that_lies_to_an_unmodified_program_is_found_out() {
    let lied_to = Options { preload: Some(library()), lying_disk: true, ..options(FileSystem::Ext4, 500) };
    if let Some(tried) = tried(&lied_to) {
        println!("{}", tried.unwrap_err());
    }
}
