//! What stands between the brackets: bytes of a map, copied out and in. What is stored so is a declared edit.
//!
//! What Python gives is made into numbers and bytes before the map is asked for: it may be an object that calls back, and would wait for
//! itself. If the map became shorter meanwhile, the library says so.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{Failure, Result};
use crate::given::{self, Index};

/// Bytes that can be copied from and to.
pub(crate) trait Bytes {
    fn count(&self) -> usize;
    fn copy_out(&self, offset: usize, to: &mut [u8]) -> steadfast::Result<()>;
    fn copy_in(&mut self, offset: usize, from: &[u8]) -> steadfast::Result<()>;
}

impl Bytes for steadfast::AtomicMapping {
    fn count(&self) -> usize {
        self.len()
    }

    fn copy_out(&self, offset: usize, to: &mut [u8]) -> steadfast::Result<()> {
        self.read_at(offset, to)
    }

    fn copy_in(&mut self, offset: usize, from: &[u8]) -> steadfast::Result<()> {
        self.write_at(offset, from)
    }
}

impl Bytes for steadfast::Mapping {
    fn count(&self) -> usize {
        self.len()
    }

    fn copy_out(&self, offset: usize, to: &mut [u8]) -> steadfast::Result<()> {
        self.read_at(offset, to)
    }

    fn copy_in(&mut self, offset: usize, from: &[u8]) -> steadfast::Result<()> {
        self.write_at(offset, from)
    }
}

/// `map[index]`: a number, or a copy.
pub(crate) fn get<'py>(py: Python<'py>, map: &impl Bytes, index: &Index) -> Result<Bound<'py, PyAny>> {
    match *index {
        Index::One(at) => {
            let mut byte = [0];
            map.copy_out(at, &mut byte)?;
            Ok(byte[0].into_pyobject(py).map_err(PyErr::from)?.into_any())
        }
        Index::Run(ref run) => read(py, map, run.start, run.len()),
        Index::Steps(first, step, count) => {
            let mut bytes = given::room(count)?;
            for (byte, at) in bytes.iter_mut().zip(Index::stepped(first, step, count)) {
                map.copy_out(at, std::slice::from_mut(byte))?;
            }
            Ok(PyBytes::new(py, &bytes).into_any())
        }
    }
}

/// `length` bytes from `offset` on, or an error for what is not within the map.
pub(crate) fn read_at<'py>(
    py: Python<'py>,
    map: &impl Bytes,
    offset: i64,
    length: i64,
) -> Result<Bound<'py, PyAny>> {
    let run = given::range("read_at", offset, Some(offset.saturating_add(length)), map.count())?;
    read(py, map, run.start, run.len())
}

fn read<'py>(py: Python<'py>, map: &impl Bytes, offset: usize, len: usize) -> Result<Bound<'py, PyAny>> {
    let mut read = Ok(());
    let bytes = PyBytes::new_with(py, len, |bytes| {
        read = map.copy_out(offset, bytes);
        Ok(())
    })?;
    read?;
    Ok(bytes.into_any())
}

/// What `map[index] = value` stores.
pub(crate) fn of_value(index: &Index, value: &Bound<'_, PyAny>) -> Result<Vec<u8>> {
    let (bytes, want) = match *index {
        Index::One(_) => return Ok(vec![given::byte(value)?]),
        Index::Run(ref run) => (given::bytes(value)?, run.len()),
        Index::Steps(_, _, count) => (given::bytes(value)?, count),
    };
    match bytes.len() {
        len if len == want => Ok(bytes),
        len => Err(wrong_size(want, len)),
    }
}

/// `map[index] = bytes`, as many as there are to be.
pub(crate) fn set(map: &mut impl Bytes, index: &Index, bytes: &[u8]) -> Result<()> {
    match *index {
        Index::One(at) => map.copy_in(at, bytes)?,
        Index::Run(ref run) => map.copy_in(run.start, bytes)?,
        Index::Steps(first, step, count) => {
            for (at, byte) in Index::stepped(first, step, count).zip(bytes) {
                map.copy_in(at, std::slice::from_ref(byte))?;
            }
        }
    }
    Ok(())
}

/// Stores bytes at `offset`, or gives an error for what is not within the map.
pub(crate) fn write_at(map: &mut impl Bytes, offset: i64, bytes: &[u8]) -> Result<()> {
    let end = offset.saturating_add(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    let run = given::range("write_at", offset, Some(end), map.count())?;
    Ok(map.copy_in(run.start, bytes)?)
}

fn wrong_size(want: usize, given: usize) -> Failure {
    PyValueError::new_err(format!(
        "{given} bytes do not fill a slice of {want}: the length of a map changes by resize"
    ))
    .into()
}
