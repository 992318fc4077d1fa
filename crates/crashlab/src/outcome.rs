//! How an attempt ends, and how it is told.

use std::fmt;
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

/// Prints the figures, as JSON on one line if asked to, or the failure, and says with what code to exit.
pub fn tell<R: Report>(outcome: Result<R, Failure>, json: bool) -> ExitCode {
    match outcome {
        Ok(report) if json => match serde_json::to_string(&report) {
            Ok(line) => {
                println!("{line}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
        },
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}
