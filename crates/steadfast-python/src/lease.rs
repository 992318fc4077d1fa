//! The buffer protocol: bytes of a map that somebody looks at.
//!
//! # Safety
//!
//! This file is trusted to tell Python of memory that is there: of a map's bytes, which lie where the lease says for as long as it lives,
//! since the lease keeps the map, and a map is opened so that there is memory wherever there once was. (Calls that take bytes away are refused
//! while a lease shows them, but for an array's own changes of its rows: what it no longer has reads as zeros then.)
//!
//! Who stores through a buffer while another thread loads is Python's and NumPy's affair, as with any other buffer. Commits, reads and writes
//! make no reference to memory that was shown to be stored to. A rollback and a growth do, for a moment: who stores without the interpreter's lock
//! meanwhile, through a buffer, into what is being rolled back, races as with any two stores to one place.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::sync::Arc;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::held::Exporter;

/// Bytes of a map that somebody looks at: while it lives the map is neither resized nor closed, and its memory stays.
#[pyclass(frozen, module = "steadfast")]
pub(crate) struct Lease {
    map: Arc<dyn Exporter>,
    address: usize,
    len: usize,
    read_only: bool,
}

/// What is to be shown.
pub(crate) struct Shown {
    pub(crate) address: usize,
    pub(crate) len: usize,
    pub(crate) read_only: bool,
}

impl Lease {
    /// Counts from here on. The bytes are the map's, and the caller holds what keeps them from being taken away meanwhile: its lock, or the
    /// interpreter's.
    pub(crate) fn new(map: Arc<dyn Exporter>, shown: &Shown) -> Lease {
        let Shown { address, len, read_only } = *shown;
        map.taken();
        Lease { map, address, len, read_only }
    }

    pub(crate) fn address(&self) -> usize {
        self.address
    }

    pub(crate) fn exporter(&self) -> &Arc<dyn Exporter> {
        &self.map
    }

    /// A view of it in Python.
    pub(crate) fn into_memoryview(self, py: Python<'_>) -> PyResult<Py<PyMemoryView>> {
        let lease = Bound::new(py, self)?;
        Ok(PyMemoryView::from(lease.as_any())?.unbind())
    }

    /// Fills a buffer whose owner is this lease, whoever was asked for it.
    ///
    /// # Safety
    ///
    /// `view` is what the interpreter gave for a buffer.
    pub(crate) unsafe fn fill(
        lease: &Bound<'_, Lease>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("there is no buffer to fill"));
        }
        let shown = lease.get();
        let Ok(len) = ffi::Py_ssize_t::try_from(shown.len) else {
            return Err(PyBufferError::new_err("the map is longer than a buffer can be"));
        };
        let memory = std::ptr::with_exposed_provenance_mut(shown.address);
        // SAFETY: `view` is the interpreter's (the caller's promise, and not null), the owner is alive and gets a reference of its own,
        // and the memory is there for as long as that lives (above).
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(view, lease.as_ptr(), memory, len, c_int::from(shown.read_only), flags)
        };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(lease.py())) }
    }
}

#[pymethods]
impl Lease {
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: the interpreter calls this slot with a buffer of its own.
        unsafe { Lease::fill(&slf, view, flags) }
    }

    /// The lease itself is what holds the memory.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {}

    /// The same bytes, counted once more.
    fn _again(&self) -> Lease {
        let Lease { address, len, read_only, .. } = *self;
        Lease::new(Arc::clone(&self.map), &Shown { address, len, read_only })
    }

    fn __len__(&self) -> usize {
        self.len
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.map.returned();
    }
}
