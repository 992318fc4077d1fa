//! The tests that programs have of themselves, as they are: with the kernel's mapping, and with a library under them.
//!
//! | mode | under the tests |
//! |---|---|
//! | `kernel` | nothing |
//! | `honest` | the library, which makes the kernel's mapping honest |
//! | `atomic` | the library, which makes what is mapped atomic |
//!
//! What is looked for is a test whose outcome is another. The kernel's mapping shows a store to everybody at once, an atomic one when it is
//! flushed: so a test may differ in `atomic` and be right about it. It is listed, and whoever reads the list judges. None may differ in
//! `honest`, no suite may end early, and in `atomic` something must have been made atomic.

mod figures;
mod outcomes;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ::programs::{Call, Preload, Suite, Workshop, converted};
use clap::Args;

use crate::kills::{folder, rig};
use crate::outcome::Failure;
pub use figures::{Differing, Figures, InMode, Mode, OfSuite};

/// A suite that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Only these suites
    #[arg(long, value_enum, value_name = "SUITE")]
    pub only: Vec<Suite>,
    /// A folder on the file system to try it on [default: ./target, or the system's folder for temporary files]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The library to put under them (libsteadfast_preload.so) [default: none, and the outcomes are counted]
    #[arg(long, value_name = "PATH")]
    pub preload: Option<PathBuf>,
    /// The files that it is to make atomic
    #[arg(long, value_name = "PATTERNS", default_value = "*")]
    pub atomic: String,
    /// With the library: what it cannot honour is to fail
    #[arg(long, requires = "preload")]
    pub strict: bool,
}

/// Runs them.
///
/// # Errors
///
/// What the rig needs and has not; and, with a library, a test that differs where none may.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    let started = Instant::now();
    let program = std::env::current_exe().map_err(rig("this program"))?;
    let library = options.preload.as_ref().map(|path| path.canonicalize()).transpose();
    let library = library.map_err(rig("the library to preload"))?;
    let dir = folder(options.dir.as_deref())?;
    let workshop = Workshop::beside(&program).map_err(|lacking| Failure::Lacking(lacking.to_string()))?;
    let mut figures = Figures::default();
    for suite in Suite::ALL {
        if !options.only.is_empty() && !options.only.contains(&suite) {
            continue;
        }
        let (call, of) = match workshop.suite(suite) {
            Ok(found) => found,
            Err(lacking) => {
                figures.lacking.push(format!("{suite}: {lacking}"));
                continue;
            }
        };
        let mut modes = Vec::new();
        for mode in Mode::ALL {
            let preload = match (mode, &library) {
                (Mode::Kernel, _) => None,
                (_, None) => continue,
                (Mode::Honest, Some(library)) => Some(Preload { atomic: None, ..Preload::of(library, "") }),
                (Mode::Atomic, Some(library)) => Some(Preload::of(library, &options.atomic)),
            };
            let preload = preload.map(|preload| Preload { strict: options.strict, ..preload });
            modes.push(once(&call, mode, preload, &dir)?);
        }
        figures.suites.push(OfSuite::new(suite, of, modes));
    }
    figures.seconds = started.elapsed().as_secs_f64();
    if figures.suites.is_empty() {
        return Err(Failure::Lacking(figures.lacking.join("; ")));
    }
    figures.violations = figures.suites.iter().map(OfSuite::violations).sum();
    if figures.violations > 0 {
        return Err(Failure::Violation(figures.to_string()));
    }
    Ok(figures)
}

/// A suite in one mode, in a folder of its own.
fn once(call: &Call, mode: Mode, preload: Option<Preload>, dir: &Path) -> Result<InMode, Failure> {
    let place = tempfile::Builder::new().prefix("crashlab-suites-").tempdir_in(dir);
    let place = place.map_err(rig("a folder"))?;
    let work = place.path().join("work");
    std::fs::create_dir(&work).map_err(rig("a folder"))?;
    let (log, list) = (place.path().join("preload.log"), place.path().join("outcomes.txt"));
    let said = File::create(place.path().join("said.txt")).map_err(rig("a file for what it says"))?;
    let preload = preload.map(|preload| Preload { log: Some(log.clone()), ..preload });
    let mut command = call.command(preload.as_ref());
    // Files by relative names, and those in a folder for temporary files, lie on the same file system.
    command.current_dir(&work).env("TMPDIR", &work).env("OUTCOMES", &list);
    let also = said.try_clone().map_err(rig("a file for what it says"))?;
    command.stdin(Stdio::null()).stdout(said).stderr(also);
    let started = Instant::now();
    let mut child = command.spawn().map_err(rig("a suite"))?;
    let end = wait(&mut child)?;
    let seconds = started.elapsed().as_secs_f64();
    let outcomes = outcomes::read(&list).map_err(rig("the outcomes"))?;
    if outcomes.is_empty() && mode == Mode::Kernel {
        let said = std::fs::read_to_string(place.path().join("said.txt")).unwrap_or_default();
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(Failure::Rig(format!("a suite without a test: {end:?} {last}")));
    }
    let converted = converted(&log).map_err(rig("the library's log"))?;
    Ok(InMode::new(mode, outcomes, converted, end, seconds))
}

/// How it ended early, if it did.
fn wait(child: &mut Child) -> Result<Option<String>, Failure> {
    let started = Instant::now();
    loop {
        match child.try_wait().map_err(rig("a suite"))? {
            // A test that failed makes it exit with 1.
            Some(status) => return Ok(status.code().is_none().then(|| status.to_string())),
            None if started.elapsed() > PATIENCE => {
                child.kill().and_then(|()| child.wait()).map_err(rig("a suite"))?;
                return Ok(Some(format!("killed after {PATIENCE:?}")));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
