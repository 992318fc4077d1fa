//! A map as Python has it: the map itself, how many look at its memory, and that memory once the map is closed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use steadfast::{AtomicMapping, Error, ErrorKind, LeftMemory, Mapping};

use crate::bytes::Bytes;
use crate::errors::{Failure, Result, in_view};

/// What can be held.
pub(crate) trait Memory: Send + Sync + 'static {
    /// Gives the file up and keeps the memory.
    fn close_keeping(self) -> (Vec<LeftMemory>, steadfast::Result<()>);
    /// Makes durable what is not, before it is closed for want of anybody who has it.
    fn commit_last(&mut self) -> steadfast::Result<()>;
}

impl Memory for AtomicMapping {
    fn close_keeping(self) -> (Vec<LeftMemory>, steadfast::Result<()>) {
        self.close_keeping_memory()
    }

    fn commit_last(&mut self) -> steadfast::Result<()> {
        self.commit().map(drop)
    }
}

impl Memory for Mapping {
    fn close_keeping(self) -> (Vec<LeftMemory>, steadfast::Result<()>) {
        let (left, closed) = self.close_keeping_memory();
        (vec![left], closed)
    }

    fn commit_last(&mut self) -> steadfast::Result<()> {
        self.sync(..)
    }
}

/// A map that is open, or was.
pub(crate) struct Open<M> {
    map: Option<M>,
    /// Where there was memory: somebody may still have its address.
    left: Vec<LeftMemory>,
    /// What was stored is committed when the last one lets go.
    pub(crate) commit_on_drop: bool,
}

impl<M> Open<M> {
    /// The map, for whoever knows that it is open.
    pub(crate) fn map(&mut self, name: &str) -> Result<&mut M> {
        self.map.as_mut().ok_or_else(|| closed(name))
    }
}

fn closed(name: &str) -> Failure {
    PyValueError::new_err(format!("{name} is closed: open it again")).into()
}

/// A map and who looks at it.
pub(crate) struct Held<M: Memory> {
    open: Mutex<Open<M>>,
    /// For messages.
    name: String,
    pub(crate) path: Option<PathBuf>,
    /// Leases that live.
    exports: AtomicUsize,
    /// In a forked child no lock may be waited for: the thread that holds it may not exist there.
    process: u32,
}

impl<M: Memory> Held<M> {
    pub(crate) fn new(map: M, path: Option<PathBuf>) -> Arc<Held<M>> {
        let name = path.as_ref().map_or_else(|| "the map".to_owned(), |path| path.display().to_string());
        let open = Mutex::new(Open { map: Some(map), left: Vec::new(), commit_on_drop: false });
        let process = std::process::id();
        Arc::new(Held { open, name, path, exports: AtomicUsize::new(0), process })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn is_elsewhere(&self) -> bool {
        std::process::id() != self.process
    }

    fn refuse_in_child(&self, operation: &'static str) -> Result<()> {
        if !self.is_elsewhere() {
            return Ok(());
        }
        let mut error =
            Error::new(ErrorKind::Forked, operation, "the map belongs to the parent of this process")
                .advice("open the file anew after the parent has closed it");
        if let Some(path) = &self.path {
            error = error.path(path);
        }
        Err(error.into())
    }

    /// For a call that is over in no time: the interpreter's lock is held, but while another thread's call is waited for.
    pub(crate) fn quick<T>(
        &self,
        py: Python<'_>,
        operation: &'static str,
        work: impl FnOnce(&mut Open<M>) -> Result<T>,
    ) -> Result<T> {
        self.refuse_in_child(operation)?;
        let mut open = self.open.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        work(&mut open).map_err(|failure| self.named(failure))
    }

    /// For a call that waits for the disk: without the interpreter's lock.
    pub(crate) fn slow<T: Send>(
        &self,
        py: Python<'_>,
        operation: &'static str,
        work: impl FnOnce(&mut Open<M>) -> Result<T> + Send,
    ) -> Result<T> {
        self.refuse_in_child(operation)?;
        let done = py.detach(|| work(&mut self.lock()));
        crate::log::say(py);
        done.map_err(|failure| self.named(failure))
    }

    /// An error that names no file is about this one.
    fn named(&self, failure: Failure) -> Failure {
        match (failure, &self.path) {
            (Failure::Library(error), Some(path)) if error.file().is_none() => error.path(path).into(),
            (failure, _) => failure,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open<M>> {
        // What a panic leaves behind is a map that answers for itself.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exports(&self) -> usize {
        self.exports.load(Ordering::Acquire)
    }

    /// Refuses what would take memory away from those who look at it, but for so many of them.
    pub(crate) fn refuse_in_view(&self, operation: &'static str, but: usize) -> Result<()> {
        let exports = self.exports();
        if exports > but { Err(in_view(operation, &self.name, exports)) } else { Ok(()) }
    }

    pub(crate) fn is_closed(&self, py: Python<'_>) -> bool {
        // In a child nobody knows; and there it does not matter.
        !self.is_elsewhere()
            && self.open.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner).map.is_none()
    }

    /// Closes the map if no more than so many look at its memory, which stays.
    pub(crate) fn close(&self, py: Python<'_>, but: usize) -> Result<()> {
        self.slow(py, "close", |open| {
            if open.map.is_none() {
                return Ok(());
            }
            self.refuse_in_view("close", but)?;
            let Some(map) = open.map.take() else { return Ok(()) };
            let (left, closed) = map.close_keeping();
            open.left.extend(left);
            Ok(closed?)
        })
    }

    /// The end of the interpreter, or of everybody who had the map. There is nobody to be told of an error.
    pub(crate) fn end(&self) {
        if self.is_elsewhere() {
            return;
        }
        let mut open = self.lock();
        let commit = open.commit_on_drop;
        let Some(mut map) = open.map.take() else { return };
        if commit && let Err(error) = map.commit_last() {
            log::error!("{error}");
        }
        let (left, closed) = map.close_keeping();
        open.left.extend(left);
        if let Err(error) = closed {
            log::error!("{error}");
        }
    }
}

impl<M: Memory> Drop for Held<M> {
    fn drop(&mut self) {
        if self.is_elsewhere() {
            // The map knows what it may do there.
            return;
        }
        // Python waits for nobody's disk.
        if Python::try_attach(|py| py.detach(|| self.end())).is_none() {
            self.end();
        }
    }
}

/// Whoever gave out a lease.
pub(crate) trait Exporter: Send + Sync {
    fn taken(&self);
    fn returned(&self);
    /// Bytes that there are from the first address on.
    fn len_now(&self, py: Python<'_>) -> Result<usize>;
}

impl<M: Memory + Bytes> Exporter for Held<M> {
    fn taken(&self) {
        self.exports.fetch_add(1, Ordering::AcqRel);
    }

    fn returned(&self) {
        self.exports.fetch_sub(1, Ordering::AcqRel);
    }

    fn len_now(&self, py: Python<'_>) -> Result<usize> {
        self.quick(py, "look", |open| Ok(open.map(&self.name)?.count()))
    }
}
