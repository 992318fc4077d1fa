//! How an attempt ends, and how it is told.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

/// Why an attempt has no figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A promise was broken: what, where, and how to see it again.
    Violation(String),
    /// This machine cannot do it: what is missing.
    Lacking(String),
    /// The rig itself failed.
    Rig(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Violation(what) => write!(f, "VIOLATION: {what}"),
            Failure::Lacking(what) => write!(f, "NOT TESTED: this machine lacks {what}"),
            Failure::Rig(what) => write!(f, "the rig failed: {what}"),
        }
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// 1 for a broken promise, 77 for what could not be tried (as automake's test drivers have it), 2 for the rig's own
    /// failures.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Violation(_) => ExitCode::from(1),
            Failure::Lacking(_) => ExitCode::from(77),
            Failure::Rig(_) => ExitCode::from(2),
        }
    }
}

/// The figures of an attempt that broke nothing. `Display` is for people, `Serialize` for `--json`.
pub trait Report: Serialize + fmt::Display {}

impl<T: Serialize + fmt::Display> Report for T {}

/// Where figures go.
#[derive(Debug, Clone, Default)]
pub struct Telling {
    /// To standard output as one line of JSON, and not as text.
    pub json: bool,
    /// As JSON in this file, too.
    pub figures: Option<PathBuf>,
}

/// Tells the figures or the failure, and with what code to exit.
pub fn tell<R: Report>(outcome: Result<R, Failure>, how: &Telling) -> ExitCode {
    match outcome.and_then(|report| tell_report(&report, how)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

fn tell_report<R: Report>(report: &R, how: &Telling) -> Result<(), Failure> {
    let line = serde_json::to_string(report).map_err(|error| Failure::Rig(error.to_string()))?;
    if let Some(path) = &how.figures {
        std::fs::write(path, &line)
            .map_err(|error| Failure::Rig(format!("writing {}: {error}", path.display())))?;
    }
    if how.json {
        println!("{line}");
    } else {
        println!("{report}");
    }
    Ok(())
}
