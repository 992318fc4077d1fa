//! The library that stands under a program and makes what it maps atomic, and what it is told.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a program's environment says of it.
const VARIABLES: [&str; 5] =
    ["LD_PRELOAD", "STEADFAST_ATOMIC", "STEADFAST_LOG", "STEADFAST_PUBLISH", "STEADFAST_STRICT"];

/// The library under a program.
#[derive(Debug, Clone)]
pub struct Preload {
    /// `libsteadfast_preload.so`.
    pub library: PathBuf,
    /// Shell patterns with colons between them: files whose shared mappings become atomic. `None`: the kernel's mapping, made honest.
    pub atomic: Option<String>,
    /// What cannot be honoured fails.
    pub strict: bool,
    /// Each commit is shown to whoever reads the plain file.
    pub publish: bool,
    /// Where it writes what it did.
    pub log: Option<PathBuf>,
}

impl Preload {
    /// With these files atomic, and nothing else said.
    pub fn of(library: &Path, atomic: &str) -> Preload {
        Preload {
            library: library.to_owned(),
            atomic: Some(atomic.to_owned()),
            strict: false,
            publish: true,
            log: None,
        }
    }

    pub(crate) fn put_under(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library);
        if let Some(atomic) = &self.atomic {
            command.env("STEADFAST_ATOMIC", atomic);
        }
        if self.strict {
            command.env("STEADFAST_STRICT", "1");
        }
        if !self.publish {
            command.env("STEADFAST_PUBLISH", "0");
        }
        if let Some(log) = &self.log {
            command.env("STEADFAST_LOG", log);
        }
    }
}

/// Nothing of it is handed on by chance.
pub(crate) fn clear(command: &mut Command) {
    for variable in VARIABLES {
        command.env_remove(variable);
    }
}

/// So many mappings were made atomic, as a log says; none of a log that was never begun.
///
/// # Errors
///
/// The log is there and cannot be read.
pub fn converted(log: &Path) -> io::Result<u64> {
    match std::fs::read(log) {
        Ok(text) => {
            Ok(String::from_utf8_lossy(&text).lines().filter(|line| line.contains("converted")).count()
                as u64)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}
