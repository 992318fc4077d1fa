//! Real programs that map files: unmodified, as their users would write them, and what they need to run.
//!
//! | folder | programs |
//! |---|---|
//! | `kill/` | write version after version until they are killed, and say which ones were flushed (`crashlab programs`, `cuts`) |
//! | `bench/` | time their own stores and flushes (`bench programs`) |
//! | `suites/` | tell the outcome of each test of a suite, one a line (`crashlab suites`) |
//!
//! They know nothing of steadfast. A library that is loaded before all others may stand under them: see [`Preload`].

mod preload;
mod setup;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

pub use preload::{Preload, converted};
pub use setup::{Lacking, Workshop};

/// By what a program maps its file, and how it makes durable what it stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// Python's `mmap.mmap` and `flush`
    PythonMmap,
    /// NumPy's `np.memmap` and `flush`
    NumpyMemmap,
    /// Java's `FileChannel.map` and `MappedByteBuffer.force`
    JavaForce,
    /// LMDB by the npm package `lmdb` with `useWritemap: true`
    LmdbNode,
    /// LMDB by the Python package `lmdb` with `writemap=True`
    LmdbPython,
}

impl Program {
    /// Every program.
    pub const ALL: [Program; 5] = [
        Program::PythonMmap,
        Program::NumpyMemmap,
        Program::JavaForce,
        Program::LmdbNode,
        Program::LmdbPython,
    ];

    /// Does it keep its file by itself, as records? Else it is given one, and stores where it likes.
    pub fn is_database(self) -> bool {
        matches!(self, Program::LmdbNode | Program::LmdbPython)
    }

    /// What it is told to open, in a folder of its own.
    pub fn argument(self, folder: &Path) -> PathBuf {
        folder.join(if self.is_database() { "records" } else { "state.bin" })
    }

    /// The file that it maps.
    pub fn data_file(self, folder: &Path) -> PathBuf {
        let argument = self.argument(folder);
        if self.is_database() { argument.join("data.mdb") } else { argument }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Program::PythonMmap => "python-mmap",
            Program::NumpyMemmap => "numpy-memmap",
            Program::JavaForce => "java-force",
            Program::LmdbNode => "lmdb-node",
            Program::LmdbPython => "lmdb-python",
        })
    }
}

/// The tests that a package has of itself, as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Suite {
    /// CPython's `test.test_mmap`
    Cpython,
    /// NumPy's `numpy/_core/tests/test_memmap.py`
    Numpy,
    /// The tests of the Python package `lmdb`, from its source on PyPI
    Lmdb,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Suite; 3] = [Suite::Cpython, Suite::Numpy, Suite::Lmdb];
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Cpython => "cpython",
            Suite::Numpy => "numpy",
            Suite::Lmdb => "lmdb",
        })
    }
}

/// A program that can be started, as often as is wanted.
#[derive(Debug, Clone)]
pub struct Call {
    program: PathBuf,
    arguments: Vec<OsString>,
    /// Of its environment.
    variables: Vec<(&'static str, OsString)>,
}

impl Call {
    fn new(program: impl Into<PathBuf>) -> Call {
        Call { program: program.into(), arguments: Vec::new(), variables: Vec::new() }
    }

    fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Call {
        self.variables.push((name, value.into()));
        self
    }

    fn arg(mut self, argument: impl Into<OsString>) -> Call {
        self.arguments.push(argument.into());
        self
    }

    /// Started by itself, whatever stands under the process that starts it; or over a library.
    pub fn command(&self, preload: Option<&Preload>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        preload::clear(&mut command);
        // Scripts are started where they lie, and leave nothing there.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(preload) = preload {
            preload.put_under(&mut command);
        }
        command
    }
}
