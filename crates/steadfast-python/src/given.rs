//! Paths, descriptors, ranges and bytes as Python gives them.
//!
//! # Safety
//!
//! This file is trusted to look at a buffer while the interpreter's lock is held, and at a descriptor for the length of a call.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::ops::Range;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{
    PyAttributeError, PyBufferError, PyIndexError, PyMemoryError, PyOverflowError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PySlice};
use steadfast::{Advice, Error, ErrorKind};

use crate::errors::{Result, refused};

/// A file as Python names it.
pub(crate) enum File {
    Path(PathBuf),
    /// The caller's, who keeps it open during the call.
    Descriptor(RawFd),
}

impl File {
    pub(crate) fn of(file: &Bound<'_, PyAny>) -> Result<File> {
        if file.is_instance_of::<PyInt>() && !file.is_instance_of::<PyBool>() {
            return File::descriptor(file.extract()?);
        }
        match file.getattr("fileno") {
            Ok(fileno) => return File::descriptor(fileno.call0()?.extract()?),
            Err(error) if error.is_instance_of::<PyAttributeError>(file.py()) => {}
            Err(error) => return Err(error.into()),
        }
        // As `open` takes it: str, bytes or os.PathLike.
        let path = file.py().import("os")?.call_method1("fsencode", (file,)).map_err(|error| {
            match error.is_instance_of::<PyTypeError>(file.py()) {
                true => PyTypeError::new_err(format!(
                    "a file is a path, a descriptor or an object with fileno(), not {}",
                    file.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string())
                )),
                false => error,
            }
        })?;
        let bytes: Vec<u8> = path.extract()?;
        if bytes.contains(&0) {
            return Err(PyValueError::new_err("a path has no null byte").into());
        }
        Ok(File::Path(OsString::from_vec(bytes).into()))
    }

    fn descriptor(fd: RawFd) -> Result<File> {
        // SAFETY: only asks whether it is open (fcntl(2)).
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if fd < 0 || flags < 0 {
            let error = std::io::Error::from_raw_os_error(libc::EBADF);
            return Err(Error::from_io("open", error).advice("give a descriptor that is open").into());
        }
        Ok(File::Descriptor(fd))
    }
}

/// A descriptor for the length of a call.
pub(crate) fn borrowed<'fd>(fd: RawFd) -> BorrowedFd<'fd> {
    // SAFETY: it was open a moment ago; if another thread closes it meanwhile the kernel says so, or finds another file of the program's.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// `start:stop` as a call has it: bytes from the first one on, without the meaning that slices give to negative numbers.
pub(crate) fn range(
    operation: &'static str,
    start: i64,
    stop: Option<i64>,
    len: usize,
) -> Result<Range<usize>> {
    let stop = stop.unwrap_or(i64::try_from(len).unwrap_or(i64::MAX));
    match (usize::try_from(start), usize::try_from(stop)) {
        (Ok(start), Ok(stop)) if start <= stop && stop <= len => Ok(start..stop),
        (first, last) => {
            let reason = format!("bytes {start}..{stop} are not within the {len} bytes of the map");
            let error = Error::new(ErrorKind::OutOfRange, operation, reason)
                .advice("give 0 <= start <= stop <= len(map)");
            Err(match (first, last) {
                (Ok(first), Ok(last)) => error.range(first as u64..last as u64),
                _ => error,
            }
            .into())
        }
    }
}

/// A number of bytes.
pub(crate) fn count(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    value.extract().map_err(|error: PyErr| match error.is_instance_of::<PyOverflowError>(value.py()) {
        true => refused(
            ErrorKind::InvalidInput,
            "take",
            format!("{value} is not a number of bytes"),
            "give a number from 0 to 2**63 - 1",
        )
        .into(),
        false => error,
    })
}

/// A number of bytes, or the default.
pub(crate) fn count_if_any(value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    if value.is_none() { Ok(None) } else { count(value).map(Some) }
}

/// A place in a map: one that no map has is as far away as a number can be, and refused like others that are not there.
pub(crate) fn at(value: &Bound<'_, PyAny>) -> PyResult<i64> {
    match value.extract() {
        Err(error) if PyErr::is_instance_of::<PyOverflowError>(&error, value.py()) => {
            Ok(if value.lt(0)? { i64::MIN } else { i64::MAX })
        }
        place => place,
    }
}

/// A place in a map, or its end.
pub(crate) fn at_if_any(value: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if value.is_none() { Ok(None) } else { at(value).map(Some) }
}

/// What stands between the brackets.
pub(crate) enum Index {
    One(usize),
    Run(Range<usize>),
    /// First, step and count.
    Steps(usize, isize, usize),
}

impl Index {
    pub(crate) fn of(index: &Bound<'_, PyAny>, len: usize) -> Result<Index> {
        let signed_len =
            isize::try_from(len).map_err(|_| PyIndexError::new_err("the map is longer than an index"))?;
        if let Ok(slice) = index.cast::<PySlice>() {
            let given = slice.indices(signed_len)?;
            // All of them are within the length, as `indices` says.
            let (first, count) = (given.start.max(0) as usize, given.slicelength);
            return Ok(match (given.step, count) {
                (_, 0) => Index::Run(first.min(len)..first.min(len)),
                (1, _) => Index::Run(first..first + count),
                (step, _) => Index::Steps(first, step, count),
            });
        }
        let at: isize = index.extract().map_err(|error: PyErr| {
            match error.is_instance_of::<PyTypeError>(index.py()) {
                true => PyTypeError::new_err("indices of a map are integers or slices"),
                false if error.is_instance_of::<PyOverflowError>(index.py()) => {
                    PyIndexError::new_err(format!("this index is beyond a map of {len} bytes"))
                }
                false => error,
            }
        })?;
        let from_start = if at < 0 { at.checked_add(signed_len) } else { Some(at) };
        match from_start.and_then(|at| usize::try_from(at).ok()).filter(|&at| at < len) {
            Some(at) => Ok(Index::One(at)),
            None => Err(PyIndexError::new_err(format!("index {at} of a map of {len} bytes")).into()),
        }
    }

    /// The bytes of a slice with a step.
    pub(crate) fn stepped(first: usize, step: isize, count: usize) -> impl Iterator<Item = usize> {
        (0..count).map(move |index| first.wrapping_add_signed(step.wrapping_mul(index as isize)))
    }
}

/// A number that fits into a byte.
pub(crate) fn byte(value: &Bound<'_, PyAny>) -> Result<u8> {
    let value = at(value)?;
    u8::try_from(value).map_err(|_| {
        PyValueError::new_err(format!("{value} is not a byte: give a number from 0 to 255")).into()
    })
}

/// The bytes of an object, copied: it may show the very memory that they are to be stored to, and the interpreter's lock may be let go of
/// before they are.
pub(crate) fn bytes(data: &Bound<'_, PyAny>) -> Result<Vec<u8>> {
    let buffer = PyUntypedBuffer::get(data)?;
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err(
            "the bytes of this object do not lie one behind the other: copy it first",
        )
        .into());
    }
    let (first, len) = (buffer.buf_ptr().cast::<u8>(), buffer.len_bytes());
    if len == 0 {
        return Ok(Vec::new());
    }
    let mut copy = room(len)?;
    // SAFETY: the buffer is held, contiguous and as long as it says, the copy is new and as long; no reference is made to it, since
    // somebody may store there without the interpreter's lock, as with any buffer.
    unsafe { std::ptr::copy_nonoverlapping(first, copy.as_mut_ptr(), len) };
    Ok(copy)
}

/// So many zeros, or an exception.
pub(crate) fn room(len: usize) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| {
        PyMemoryError::new_err(format!("there is no memory for a copy of {len} bytes: take fewer at once"))
    })?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// Seconds to wait.
pub(crate) fn seconds(operation: &'static str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        refused(
            ErrorKind::InvalidInput,
            operation,
            format!("{seconds} seconds cannot be waited for"),
            "give a number of seconds, 0 or more",
        )
    })
}

/// Advice by its name.
pub(crate) fn advice(name: &str) -> Result<Advice> {
    Ok(match name {
        "normal" => Advice::Normal,
        "random" => Advice::Random,
        "sequential" => Advice::Sequential,
        "will-need" => Advice::WillNeed,
        "cold" => Advice::Cold,
        "page-out" => Advice::PageOut,
        "populate-read" => Advice::PopulateRead,
        "populate-write" => Advice::PopulateWrite,
        "huge-page" => Advice::HugePage,
        "no-huge-page" => Advice::NoHugePage,
        _ => {
            return Err(refused(
                ErrorKind::InvalidInput,
                "advise",
                format!("there is no advice {name:?}"),
                "give normal, random, sequential, will-need, cold, page-out, populate-read, populate-write, huge-page or \
                 no-huge-page",
            ));
        }
    })
}
