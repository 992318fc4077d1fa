//! Exceptions: each kind of the library's errors is a class of `steadfast._errors`.

use std::path::Path;

use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use steadfast::{Error, ErrorKind};

/// What a call gives: an error of the library becomes its exception when the interpreter is at hand again.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What can go wrong in a call.
pub(crate) enum Failure {
    Library(Error),
    Python(PyErr),
}

impl Failure {
    /// A commit that was refused before anything happened.
    pub(crate) fn nothing_happened(&self) -> bool {
        matches!(self, Failure::Library(error) if matches!(error.kind(), ErrorKind::NotCommitted | ErrorKind::ReadOnly))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Library(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Failure {
        Failure::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> PyErr {
        match failure {
            Failure::Python(error) => error,
            Failure::Library(error) => {
                Python::attach(|py| exception(py, &error).unwrap_or_else(|broken| broken))
            }
        }
    }
}

/// The class that stands for a kind.
fn class_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidInput => "InvalidInput",
        ErrorKind::OutOfRange => "OutOfRange",
        ErrorKind::NotFound => "NotFound",
        ErrorKind::AlreadyExists => "AlreadyExists",
        ErrorKind::PermissionDenied => "PermissionDenied",
        ErrorKind::ReadOnly => "ReadOnly",
        ErrorKind::NoSpace => "NoSpace",
        ErrorKind::Locked => "Locked",
        ErrorKind::Busy => "Busy",
        ErrorKind::LimitExceeded => "LimitExceeded",
        ErrorKind::Unsupported => "Unsupported",
        ErrorKind::Truncated => "Truncated",
        ErrorKind::WriteBack => "WriteBack",
        ErrorKind::RecoveryNeeded => "RecoveryNeeded",
        ErrorKind::Identity => "Identity",
        ErrorKind::Corrupt => "Corrupt",
        ErrorKind::ForeignChange => "ForeignChange",
        ErrorKind::NotCommitted => "NotCommitted",
        ErrorKind::InDoubt => "InDoubt",
        ErrorKind::Latched => "Latched",
        ErrorKind::NotScrubbed => "NotScrubbed",
        ErrorKind::Forked => "Forked",
        // `Io`, and kinds that are newer than this file.
        _ => "InputOutput",
    }
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static CLASSES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let classes = CLASSES.get_or_try_init(py, || py.import("steadfast._errors").map(Bound::unbind))?;
    let class = classes.bind(py).getattr(class_name(error.kind()))?;
    let made = class.call1((error.raw_os_error(), error.to_string(), error.file().map(Path::as_os_str)))?;
    made.setattr("operation", error.operation())?;
    if let Some(bytes) = error.bytes() {
        made.setattr("start", bytes.start)?;
        made.setattr("stop", bytes.end)?;
    }
    Ok(PyErr::from_value(made))
}

/// A call that the library would not even see.
pub(crate) fn refused(
    kind: ErrorKind,
    operation: &'static str,
    reason: impl Into<String>,
    advice: &'static str,
) -> Failure {
    Error::new(kind, operation, reason.into()).advice(advice).into()
}

/// Somebody looks at what the call would take away.
pub(crate) fn in_view(operation: &str, name: &str, exports: usize) -> Failure {
    let views =
        if exports == 1 { "1 view of it is".to_owned() } else { format!("{exports} views of it are") };
    PyBufferError::new_err(format!(
        "{operation} {name}: {views} alive; release the memoryviews (and delete the arrays) that show it first"
    ))
    .into()
}
