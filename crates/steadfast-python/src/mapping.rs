//! Kernel mappings.
//!
//! # Safety
//!
//! This file is trusted to pass a buffer of the interpreter's on to the lease that fills it.
#![allow(unsafe_code)]

use std::ffi::{OsString, c_int};
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use steadfast::ErrorKind;

use crate::bytes;
use crate::errors::{Result, refused};
use crate::given::{self, Index};
use crate::held::Held;
use crate::lease::{Lease, Shown};
use crate::residency::Residency;
use crate::ticket::SyncTicket;

type Map = steadfast::Mapping;

/// One kernel mapping of one file: every process that maps the file sees every store at once.
#[pyclass(frozen, module = "steadfast", weakref)]
pub(crate) struct Mapping {
    held: Arc<Held<Map>>,
    read_only: bool,
}

impl Mapping {
    pub(crate) fn new(held: Arc<Held<Map>>, read_only: bool) -> Mapping {
        Mapping { held, read_only }
    }

    fn quick<T>(
        &self,
        py: Python<'_>,
        operation: &'static str,
        work: impl FnOnce(&mut Map) -> Result<T>,
    ) -> Result<T> {
        self.held.quick(py, operation, |open| work(open.map(self.held.name())?))
    }

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
                format!("{} was mapped for reading", self.held.name()),
                "map it with write=True",
            ));
        }
        Ok(())
    }

    fn lease(&self, py: Python<'_>) -> Result<Lease> {
        self.quick(py, "view", |map| {
            let address = map.as_ptr().expose_provenance();
            let shown = Shown { address, len: map.len(), read_only: self.read_only };
            Ok(Lease::new(Arc::clone(&self.held) as _, &shown))
        })
    }
}

#[pymethods]
impl Mapping {
    #[getter]
    fn path(&self) -> Option<OsString> {
        self.held.path.clone().map(OsString::from)
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
    fn sync(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<()> {
        Ok(self.slow(py, "sync", |map| Ok(map.sync(given::range("sync", start, stop, map.len())?)?))?)
    }

    #[pyo3(signature = (start = 0, stop = None))]
    fn start_sync(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<SyncTicket> {
        Ok(self.slow(py, "sync", |map| {
            Ok(SyncTicket(map.start_sync(given::range("sync", start, stop, map.len())?)?))
        })?)
    }

    #[pyo3(signature = (start = 0, stop = None))]
    fn invalidate(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<()> {
        Ok(self.slow(py, "invalidate", |map| {
            Ok(map.invalidate(given::range("invalidate", start, stop, map.len())?)?)
        })?)
    }

    fn resize(&self, py: Python<'_>, #[pyo3(from_py_with = given::count)] length: usize) -> PyResult<()> {
        Ok(self.slow(py, "resize", |map| {
            if length != map.len() {
                self.held.refuse_in_view("resize", 0)?;
            }
            Ok(map.resize(length)?)
        })?)
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
            Ok(map.advise(given::range("advise", start, stop, map.len())?, advice)?)
        })?)
    }

    #[pyo3(signature = (start = 0, stop = None))]
    fn lock(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<()> {
        Ok(self.slow(py, "lock", |map| Ok(map.lock(given::range("lock", start, stop, map.len())?)?))?)
    }

    #[pyo3(signature = (start = 0, stop = None))]
    fn unlock(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<()> {
        Ok(self
            .slow(py, "unlock", |map| Ok(map.unlock(given::range("unlock", start, stop, map.len())?)?))?)
    }

    #[pyo3(signature = (start = 0, stop = None))]
    fn residency(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::at)] start: i64,
        #[pyo3(from_py_with = given::at_if_any)] stop: Option<i64>,
    ) -> PyResult<Residency> {
        Ok(self.slow(py, "residency", |map| {
            Ok(map.residency(given::range("residency", start, stop, map.len())?)?.into())
        })?)
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.quick(py, "check", |map| Ok(map.check()?))?)
    }

    fn refresh(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.slow(py, "refresh", |map| {
            self.held.refuse_in_view("refresh", 0)?;
            Ok(map.refresh()?)
        })?)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.held.close(py, 0)?)
    }

    fn _lease(&self, py: Python<'_>) -> PyResult<Lease> {
        Ok(self.lease(py)?)
    }

    fn _commit_on_drop(&self, py: Python<'_>) -> PyResult<()> {
        self.refuse_read_only("sync")?;
        Ok(self.held.quick(py, "sync", |open| {
            open.commit_on_drop = true;
            Ok(())
        })?)
    }

    fn _close_leaving(&self, py: Python<'_>, leases: usize) -> PyResult<()> {
        Ok(self.held.close(py, leases)?)
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().quick(slf.py(), "begin", |_| Ok(()))?;
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
        let lease = Bound::new(py, self.lease(py)?)?;
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
        format!("<steadfast.Mapping {:?}, {what}{only}>", self.held.name())
    }
}
