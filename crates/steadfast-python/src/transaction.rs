//! `with m.transaction():`

use pyo3::prelude::*;
use pyo3::types::PyAny;

use crate::atomic::AtomicMapping;

/// Commits at the end of a block, or rolls back where it ends with an exception.
#[pyclass(frozen, module = "steadfast")]
pub(crate) struct Transaction {
    pub(crate) map: Py<AtomicMapping>,
}

#[pymethods]
impl Transaction {
    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<AtomicMapping>> {
        self.map.get().refuse_closed(py)?;
        Ok(self.map.clone_ref(py))
    }

    #[pyo3(signature = (kind, _value, _traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let map = self.map.get();
        if !kind.is_none() {
            return Ok(map.rolled_back(py, 0)?);
        }
        let Err(error) = map.committed(py) else { return Ok(()) };
        if error.nothing_happened() {
            map.rolled_back(py, 0)?;
        }
        Err(error.into())
    }
}
