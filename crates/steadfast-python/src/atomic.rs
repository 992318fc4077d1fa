//! Atomic maps.
//!
//! # Safety
//!
//! This file is trusted to pass a buffer of the interpreter's on to the lease that fills it.
#![allow(unsafe_code)]

use std::ffi::{OsString, c_int};
use std::ops::Range;
use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use steadfast::ErrorKind;
use steadfast::residency::CachedFile;

use crate::bytes;
use crate::errors::{Result, refused};
use crate::given::{self, File, Index};
use crate::held::Held;
use crate::lease::{Lease, Shown};
use crate::residency::Residency;
use crate::status::Status;
use crate::ticket::CommitTicket;
use crate::transaction::Transaction;

type Map = steadfast::AtomicMapping;

/// Memory that commits: private until `commit`, durable after it, all or nothing through any crash.
#[pyclass(frozen, module = "steadfast", weakref)]
pub(crate) struct AtomicMapping {
    held: Arc<Held<Map>>,
    read_only: bool,
}

impl AtomicMapping {
    pub(crate) fn new(held: Arc<Held<Map>>, read_only: bool) -> AtomicMapping {
        AtomicMapping { held, read_only }
    }

    /// A call that is over in no time.
    fn quick<T>(
        &self,
        py: Python<'_>,
        operation: &'static str,
        work: impl FnOnce(&mut Map) -> Result<T>,
    ) -> Result<T> {
        self.held.quick(py, operation, |open| work(open.map(self.held.name())?))
    }

    /// A call that waits for the disk.
    fn slow<T: Send>(
        &self,
        py: Python<'_>,
        operation: &'static str,
        work: impl FnOnce(&mut Map) -> Result<T> + Send,
    ) -> Result<T> {
        self.held.slow(py, operation, |open| work(open.map(self.held.name())?))
    }

    fn refuse_read_only(&self, operation: &'static str) -> Result<()> {
        if self.read_only {
            return Err(refused(
                ErrorKind::ReadOnly,
                operation,
                format!("{} was opened with read_only=True", self.held.name()),
                "open it for commits, or copy what is to be changed",
            ));
        }
        Ok(())
    }

    /// A part of it, to be stored to at any time unless the map is for reading.
    fn lease(
        &self,
        py: Python<'_>,
        operation: &'static str,
        part: impl FnOnce(usize) -> Result<Range<usize>>,
    ) -> Result<Lease> {
        self.quick(py, operation, |map| {
            let part = part(map.len())?;
            // Before an address is given away: what makes memory watched moves it, and would lose what is stored meanwhile.
            let first = if self.read_only { map.as_ptr() } else { map.as_mut_ptr().cast_const() };
            let address = first.expose_provenance() + part.start;
            let shown = Shown { address, len: part.len(), read_only: self.read_only };
            Ok(Lease::new(Arc::clone(&self.held) as _, &shown))
        })
    }

    /// All of it.
    fn lease_of_all(&self, py: Python<'_>) -> Result<Lease> {
        self.lease(py, "view", |len| Ok(0..len))
    }

    pub(crate) fn refuse_closed(&self, py: Python<'_>) -> Result<()> {
        self.quick(py, "begin", |_| Ok(()))
    }

    pub(crate) fn committed(&self, py: Python<'_>) -> Result<u64> {
        self.slow(py, "commit", |map| Ok(map.commit()?.get()))
    }

    /// Rolls back, though so many look at the memory and the length changes by it.
    pub(crate) fn rolled_back(&self, py: Python<'_>, but: usize) -> Result<()> {
        self.slow(py, "rollback", |map| {
            if map.len() != map.committed_len() {
                self.held.refuse_in_view("rollback", but)?;
            }
            Ok(map.rollback()?)
        })
    }

    fn resized(&self, py: Python<'_>, length: usize, but: usize) -> Result<()> {
        self.refuse_read_only("resize")?;
        self.slow(py, "resize", |map| {
            if length != map.len() {
                self.held.refuse_in_view("resize", but)?;
            }
            Ok(map.resize(length)?)
        })
    }
}

#[pymethods]
impl AtomicMapping {
    #[getter]
    fn path(&self) -> OsString {
        self.held.path.clone().unwrap_or_default().into()
    }

    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.held.is_closed(py)
    }

    #[getter]
    fn read_only(&self) -> bool {
        self.read_only
    }

    #[getter]
    fn reserved_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.quick(py, "look", |map| Ok(map.reserved_bytes()))?)
    }

    #[getter]
    fn exports(&self) -> usize {
        self.held.exports()
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.quick(py, "len", |map| Ok(map.len()))?)
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let index = Index::of(index, self.__len__(py)?)?;
        Ok(self.quick(py, "read", |map| bytes::get(py, map, &index))?)
    }

    fn __setitem__(
        &self,
        py: Python<'_>,
        index: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.refuse_read_only("write")?;
        let index = Index::of(index, self.__len__(py)?)?;
        let given = bytes::of_value(&index, value)?;
        Ok(self.quick(py, "write", |map| bytes::set(map, &index, &given))?)
    }

    fn __delitem__(&self, _index: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("bytes of a map cannot be deleted: store zeros, or resize it"))
    }

    fn read_at<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = given::at)] offset: i64,
        #[pyo3(from_py_with = given::at)] length: i64,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.quick(py, "read_at", |map| bytes::read_at(py, map, offset, length))?)
    }

    fn write_at(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] offset: i64,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.refuse_read_only("write_at")?;
        let given = given::bytes(data)?;
        Ok(self.quick(py, "write_at", |map| bytes::write_at(map, offset, &given))?)
    }

    #[pyo3(signature = (start = 0, stop = None))]
    fn edit(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<Py<PyMemoryView>> {
        self.refuse_read_only("edit")?;
        let lease = self.lease(py, "edit", |len| given::range("edit", start, stop, len))?;
        lease.into_memoryview(py)
    }

    fn commit(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.committed(py)?)
    }

    fn commit_async(&self, py: Python<'_>) -> PyResult<CommitTicket> {
        Ok(self.slow(py, "commit", |map| Ok(CommitTicket(map.commit_async()?)))?)
    }

    fn commit_relaxed(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.slow(py, "commit", |map| Ok(map.commit_relaxed()?.get()))?)
    }

    #[pyo3(signature = (start = 0, stop = None))]
    fn commit_range(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<u64> {
        Ok(self.slow(py, "commit_range", |map| {
            let run = given::range("commit_range", start, stop, map.len())?;
            Ok(map.commit_range(run)?.get())
        })?)
    }

    fn transaction(slf: Bound<'_, Self>) -> Transaction {
        Transaction { map: slf.unbind() }
    }

    fn rollback(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.rolled_back(py, 0)?)
    }

    fn resize(&self, py: Python<'_>, #[pyo3(from_py_with = given::count)] length: usize) -> PyResult<()> {
        Ok(self.resized(py, length, 0)?)
    }

    #[pyo3(signature = (start = 0, stop = None))]
    fn sync(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<()> {
        self.commit_range(py, start, stop).map(drop)
    }

    #[pyo3(signature = (advice, start = 0, stop = None))]
    fn advise(
        &self,
        py: Python<'_>,
        advice: &str,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<()> {
        let advice = given::advice(advice)?;
        Ok(self.slow(py, "advise", |map| {
            let run = given::range("advise", start, stop, map.len())?;
            Ok(map.advise(run, advice)?)
        })?)
    }

    #[pyo3(signature = (start = 0, stop = None))]
    fn residency(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<Residency> {
        Ok(self.slow(py, "residency", |map| {
            let run = given::range("residency", start, stop, map.len())?;
            let file = CachedFile::open(map.path())?;
            // What is not committed and not checkpointed yet may lie beyond the end of the file.
            let (start, end) = ((run.start as u64).min(file.len()), (run.end as u64).min(file.len()));
            Ok(file.counts(start..end)?.into())
        })?)
    }

    fn checkpoint(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.slow(py, "checkpoint", |map| Ok(map.checkpoint()?))?)
    }

    fn copy_to(&self, py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<()> {
        let File::Path(path) = File::of(path)? else {
            return Err(PyValueError::new_err("a copy is written under a name: give a path"));
        };
        Ok(self.slow(py, "copy", |map| Ok(map.copy_to(path)?))?)
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.quick(py, "check", |map| Ok(map.check()?))?)
    }

    fn refresh(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.held.slow(py, "refresh", |open| {
            self.held.refuse_in_view("refresh", 0)?;
            Ok(open.map(self.held.name())?.refresh()?)
        })?)
    }

    fn status(&self, py: Python<'_>) -> PyResult<Status> {
        Ok(self.quick(py, "status", |map| Ok(map.status().into()))?)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.held.close(py, 0)?)
    }

    fn _lease(&self, py: Python<'_>) -> PyResult<Lease> {
        Ok(self.lease_of_all(py)?)
    }

    fn _commit_on_drop(&self, py: Python<'_>) -> PyResult<()> {
        self.refuse_read_only("commit")?;
        Ok(self.held.quick(py, "commit", |open| {
            open.commit_on_drop = true;
            Ok(())
        })?)
    }

    fn _rollback_leaving(&self, py: Python<'_>, leases: usize) -> PyResult<()> {
        Ok(self.rolled_back(py, leases)?)
    }

    fn _resize_leaving(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::count)] length: usize,
        leases: usize,
    ) -> PyResult<()> {
        Ok(self.resized(py, length, leases)?)
    }

    /// Makes the map longer and stores into it, as one step: no commit of another thread is between.
    fn _grow(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::count)] length: usize,
        header: &Bound<'_, PyAny>,
        start: usize,
        rows: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.refuse_read_only("grow")?;
        let (header, rows) = (given::bytes(header)?, given::bytes(rows)?);
        Ok(self.slow(py, "grow", |map| {
            let before = map.len();
            let stored = map.resize(length).and_then(|()| {
                map.write_at(start, &rows)?;
                map.write_at(0, &header)
            });
            if stored.is_err() && map.len() != before {
                map.resize(before)?;
            }
            Ok(stored?)
        })?)
    }

    /// Stores a header and makes the map shorter, as one step.
    fn _shrink(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::count)] length: usize,
        header: &Bound<'_, PyAny>,
        leases: usize,
    ) -> PyResult<()> {
        self.refuse_read_only("shrink")?;
        let header = given::bytes(header)?;
        Ok(self.slow(py, "shrink", |map| {
            self.held.refuse_in_view("shrink", leases)?;
            map.write_at(0, &header)?;
            Ok(map.resize(length)?)
        })?)
    }

    fn _close_leaving(&self, py: Python<'_>, leases: usize) -> PyResult<()> {
        Ok(self.held.close(py, leases)?)
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().refuse_closed(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (_kind, _value, _traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.close(py)
    }

    unsafe fn __getbuffer__(&self, py: Python<'_>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let lease = Bound::new(py, self.lease_of_all(py)?)?;
        // SAFETY: the interpreter calls this slot with a buffer of its own.
        unsafe { Lease::fill(&lease, view, flags) }
    }

    /// The buffer's owner is the lease. That there is such a slot tells NumPy to keep the buffer for as long as an array needs it.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {}

    fn __repr__(&self, py: Python<'_>) -> String {
        let what = match self.quick(py, "look", |map| Ok(map.len())) {
            Ok(len) => format!("{len} bytes"),
            Err(_) => "closed".to_owned(),
        };
        let only = if self.read_only { ", read-only" } else { "" };
        format!("<steadfast.AtomicMapping {:?}, {what}{only}>", self.held.name())
    }
}
