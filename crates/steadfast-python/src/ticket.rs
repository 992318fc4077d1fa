//! What goes on while the program does other things. A ticket is waited for, or awaited: then by a thread of the event loop's.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::errors::{Failure, Result};
use crate::given;

/// So long at most nobody looks whether Ctrl-C was pressed.
pub(crate) const DEAF: Duration = Duration::from_millis(50);

/// Waits in pieces, between which signals are heard. `None`: not in time.
fn wait<T: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    try_for: impl Fn(Duration) -> steadfast::Result<Option<T>> + Sync,
) -> Result<Option<T>> {
    let timeout = timeout.map(|seconds| given::seconds("wait", seconds)).transpose()?;
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map_or(DEAF, |deadline| deadline.saturating_duration_since(Instant::now()));
        let found = py.detach(|| try_for(left.min(DEAF)));
        crate::log::say(py);
        if let Some(value) = found? {
            return Ok(Some(value));
        }
        py.check_signals()?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
    }
}

fn timed_out(what: &str) -> Failure {
    pyo3::exceptions::PyTimeoutError::new_err(format!("{what} is not durable yet: wait for longer")).into()
}

/// Waits in a thread of the running event loop's.
fn awaited<'py>(slf: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let event_loop = slf.py().import("asyncio")?.call_method0("get_running_loop")?;
    let future = event_loop.call_method1("run_in_executor", (slf.py().None(), slf.getattr("wait")?))?;
    future.call_method0("__await__")
}

/// A commit on its way to the disk.
#[pyclass(frozen, module = "steadfast")]
pub(crate) struct CommitTicket(pub(crate) steadfast::CommitTicket);

#[pymethods]
impl CommitTicket {
    #[getter]
    fn id(&self) -> u64 {
        self.0.id().get()
    }

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<u64> {
        let id = wait(py, timeout, |left| self.0.wait_timeout(left))?;
        Ok(id.ok_or_else(|| timed_out(&format!("commit {}", self.0.id().get())))?.get())
    }

    fn is_done(&self) -> bool {
        self.0.is_done()
    }

    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        awaited(slf.as_any())
    }

    fn __repr__(&self) -> String {
        format!(
            "<steadfast.CommitTicket {}{}>",
            self.0.id().get(),
            if self.0.is_done() { ", done" } else { "" }
        )
    }
}

/// A sync under way.
#[pyclass(frozen, module = "steadfast")]
pub(crate) struct SyncTicket(pub(crate) steadfast::SyncTicket);

#[pymethods]
impl SyncTicket {
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let done = wait(py, timeout, |left| Ok(self.0.wait_timeout(left)?.then_some(())))?;
        Ok(done.ok_or_else(|| timed_out("the sync"))?)
    }

    fn is_done(&self) -> bool {
        self.0.is_done()
    }

    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        awaited(slf.as_any())
    }
}
