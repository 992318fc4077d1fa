//! Arrays that grow where they are.
//!
//! # Safety
//!
//! This file is trusted to change the first dimension of an array of NumPy's: its memory must have the bytes for it.
#![allow(unsafe_code)]

use numpy::npyffi::flags::{NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_F_CONTIGUOUS};
use numpy::{PY_ARRAY_API, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::lease::Lease;

/// Changes the length of the first axis of an array over a lease, in place. Its elements lie in C order and the map has the bytes.
#[pyfunction]
pub(crate) fn _set_rows(array: &Bound<'_, PyUntypedArray>, rows: usize) -> PyResult<()> {
    let py = array.py();
    let wrong = |reason: String| Err(PyValueError::new_err(reason));
    let Ok(lease) = array.getattr("base")?.cast_into::<Lease>() else {
        return wrong("the array does not lie in a map by itself: change the one that was opened".to_owned());
    };
    let shape = array.shape();
    if shape.is_empty() || !(array.is_c_contiguous() || array.is_empty()) {
        return wrong("only an array in C order with a first axis can grow".to_owned());
    }
    // Of an empty array NumPy does not say.
    let row_bytes = shape[1..]
        .iter()
        .try_fold(array.dtype().itemsize(), |bytes, &count| bytes.checked_mul(count))
        .filter(|&bytes| bytes <= isize::MAX as usize);
    let bytes = row_bytes.and_then(|bytes| bytes.checked_mul(rows));
    let array = array.as_array_ptr();
    // SAFETY: the array is alive, and one of NumPy's (its type was checked).
    let first = unsafe { (*array).fields.data } as usize;
    let lease = lease.get();
    let map_bytes = lease.exporter().len_now(py)?;
    let before = first.wrapping_sub(lease.address());
    let fits = bytes.and_then(|bytes| before.checked_add(bytes)).is_some_and(|end| end <= map_bytes);
    let (Some(row_bytes), true) = (row_bytes, fits) else {
        return wrong(format!("{rows} rows are more than the map has bytes for"));
    };
    // SAFETY: as above.
    let dimensions = unsafe { (*array).fields.dimensions };
    // SAFETY: as above.
    let strides = unsafe { (*array).fields.strides };
    // SAFETY: it has a first axis, so there is a first dimension.
    unsafe { dimensions.write(rows as numpy::npyffi::npy_intp) };
    // SAFETY: and a first stride. Rows lie one behind the other.
    unsafe { strides.write(row_bytes as numpy::npyffi::npy_intp) };
    // SAFETY: NumPy is imported, since it made the array; the flags are what it derives from the shape.
    unsafe { PY_ARRAY_API.PyArray_UpdateFlags(py, array, NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_F_CONTIGUOUS) };
    Ok(())
}
