//! What C gives: pointers that may be NULL, strings, ranges, and structs that may be older or newer than this library.
//!
//! # Safety
//!
//! This file is trusted with reading and writing through pointers that C gave. That they lead where the header says is the
//! caller's promise; whatever can be told without it (NULL, lengths that no memory has) is refused here.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use steadfast_rs::{Error, ErrorKind, Result};
use zerocopy::FromBytes;

/// `bool` of C. Whatever C put there is a value.
pub type Flag = u8;

/// No struct of the header comes near it.
const STRUCT_BYTES_MAX: usize = 4096;

/// A struct of the header that may grow at its end. It begins with its size, as its caller knows it.
pub(crate) trait Growing: Copy + FromBytes {
    /// The size of its first version.
    const BYTES_MIN: usize;
}

/// EINVAL.
pub(crate) fn nonsense(operation: &'static str, reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, operation, reason)
}

/// What a handle leads to.
///
/// # Safety
///
/// `handle` is NULL, or a handle of this library that is not closed before the reference is gone.
pub(crate) unsafe fn handle<'a, T>(handle: *const T, operation: &'static str) -> Result<&'a T> {
    // SAFETY: NULL, or what `made` put into a box, which is there until the handle is closed.
    unsafe { handle.as_ref() }
        .ok_or_else(|| nonsense(operation, "the handle is NULL").advice("look at what the open returned"))
}

/// Takes a handle back: it is gone after this.
///
/// # Safety
///
/// `handle` is NULL, or a handle of this library that nobody uses any more.
pub(crate) unsafe fn taken<T>(handle: *mut T, operation: &'static str) -> Result<T> {
    if handle.is_null() {
        return Err(nonsense(operation, "the handle is NULL").advice("close each handle once"));
    }
    // SAFETY: `made` got it from a box, and it is given back once.
    Ok(*unsafe { Box::from_raw(handle) })
}

/// A path.
///
/// # Safety
///
/// `path` is NULL, or a string that ends with a zero byte and stays as it is for `'a`.
pub(crate) unsafe fn path<'a>(path: *const c_char, operation: &'static str) -> Result<&'a Path> {
    if path.is_null() {
        return Err(nonsense(operation, "the path is NULL"));
    }
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    if path.is_empty() {
        return Err(nonsense(operation, "the path is empty"));
    }
    Ok(Path::new(OsStr::from_bytes(path.to_bytes())))
}

/// A descriptor. That it is open is found out by its use: EBADF.
///
/// # Safety
///
/// Nobody closes it for `'a`.
pub(crate) unsafe fn file<'a>(fd: c_int, operation: &'static str) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        let error = Error::from_io(operation, io::Error::from_raw_os_error(libc::EBADF));
        return Err(error.advice("look at what open(2) returned"));
    }
    // SAFETY: not negative; that nobody closes it is the caller's promise, and where it is not open its use is an error of the
    // kernel.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

fn check_buffer(buffer: *const c_void, len: usize, operation: &'static str) -> Result<()> {
    check_len(len, operation)?;
    if buffer.is_null() && len > 0 {
        return Err(nonsense(operation, "the buffer is NULL, and its length is not 0"));
    }
    Ok(())
}

fn check_len(len: usize, operation: &'static str) -> Result<()> {
    if len > isize::MAX as usize {
        return Err(nonsense(operation, "the length is beyond the address space"));
    }
    Ok(())
}

/// Bytes to read.
///
/// # Safety
///
/// `len` bytes are there, and nobody stores to them for `'a`.
pub(crate) unsafe fn bytes<'a>(
    buffer: *const c_void,
    len: usize,
    operation: &'static str,
) -> Result<&'a [u8]> {
    check_buffer(buffer, len, operation)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL, a length that memory can have; that the bytes are there is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(buffer.cast(), len) })
}

/// Bytes to fill.
///
/// # Safety
///
/// `len` bytes are there, and nobody else uses them for `'a`.
pub(crate) unsafe fn bytes_mut<'a>(
    buffer: *mut c_void,
    len: usize,
    operation: &'static str,
) -> Result<&'a mut [u8]> {
    check_buffer(buffer, len, operation)?;
    if len == 0 {
        return Ok(&mut []);
    }
    // SAFETY: not NULL, a length that memory can have; that the bytes are there is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(buffer.cast(), len) })
}

/// Tells a value to a caller who wants to know it.
///
/// # Safety
///
/// `to` is NULL, or leads to a value that nobody else uses.
pub(crate) unsafe fn put<T: Copy>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { to.write(value) };
    }
}

/// The bytes `offset .. offset + len`.
pub(crate) fn range(offset: usize, len: usize, operation: &'static str) -> Result<Range<usize>> {
    check_len(len, operation)?;
    let end =
        offset.checked_add(len).ok_or_else(|| nonsense(operation, "the end is beyond the address space"))?;
    Ok(offset..end)
}

/// The size that a struct says it has.
///
/// # Safety
///
/// `from` leads to a struct of the header.
unsafe fn size_of_given<T: Growing>(from: *const T, operation: &'static str) -> Result<usize> {
    if from.is_null() || !from.is_aligned() {
        return Err(nonsense(operation, "the struct is NULL, or is not aligned"));
    }
    // SAFETY: not NULL and aligned; every struct of the header begins with its size.
    let size = unsafe { from.cast::<usize>().read() };
    if !(T::BYTES_MIN..=STRUCT_BYTES_MAX).contains(&size) {
        return Err(nonsense(operation, "the field `struct_size` is not the size of the struct")
            .advice("set it to `sizeof` the struct, or let the function whose name ends in `_init` do it"));
    }
    Ok(size)
}

/// A struct of options. Fields that its caller does not know are as in `default`; fields that this library does not know must be
/// zero.
///
/// # Safety
///
/// `from` is NULL, which means `default`, or leads to as many bytes as its first field says.
pub(crate) unsafe fn options<T: Growing>(from: *const T, default: T, operation: &'static str) -> Result<T> {
    if from.is_null() {
        return Ok(default);
    }
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_given(from, operation) }?;
    let known = size.min(size_of::<T>());
    let mut options = default;
    // SAFETY: `known` bytes are there on both sides, which are different places; any bytes are a value (`FromBytes`).
    unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut options).cast::<u8>(), known) };
    // SAFETY: `size` bytes are there, of which these are the last.
    let rest = unsafe { std::slice::from_raw_parts(from.cast::<u8>().wrapping_add(known), size - known) };
    if rest.iter().any(|&byte| byte != 0) {
        return Err(nonsense(operation, "the options ask for something that this version does not know")
            .advice("use the library that the header belongs to, or a later one"));
    }
    Ok(options)
}

/// Fills a struct of results as far as its caller knows it. What the caller knows and this library does not becomes zeros.
/// `None` checks the struct and leaves it alone.
///
/// # Safety
///
/// `to` leads to as many bytes as its first field says, which nobody else uses.
pub(crate) unsafe fn fill<T: Growing>(to: *mut T, value: Option<&T>, operation: &'static str) -> Result<()> {
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_given(to, operation) }?;
    let Some(value) = value else { return Ok(()) };
    let to = to.cast::<u8>();
    let head = size_of::<usize>();
    let known = size.min(size_of::<T>());
    let (from, behind) = (ptr::from_ref(value).cast::<u8>().wrapping_add(head), to.wrapping_add(head));
    // SAFETY: `known` bytes are there on both sides, their first field among them; what this library made and what C owns do not
    // overlap.
    unsafe { ptr::copy_nonoverlapping(from, behind, known - head) };
    // SAFETY: `size` bytes are there, of which these are the last.
    unsafe { ptr::write_bytes(to.wrapping_add(known), 0, size - known) };
    Ok(())
}

/// Sets a struct of options to `default`, as far as its caller knows it.
///
/// # Safety
///
/// `to` is NULL, or leads to `size` bytes that nobody else uses.
pub(crate) unsafe fn initialise<T: Growing>(
    to: *mut T,
    size: usize,
    default: &T,
    operation: &'static str,
) -> Result<()> {
    if to.is_null() || !to.is_aligned() {
        return Err(nonsense(operation, "the struct is NULL, or is not aligned"));
    }
    if !(T::BYTES_MIN..=STRUCT_BYTES_MAX).contains(&size) {
        return Err(nonsense(operation, "this is not the size of the struct").advice("give its `sizeof`"));
    }
    // SAFETY: not NULL, aligned, and longer than its first field, which is its size.
    unsafe { to.cast::<usize>().write(size) };
    // SAFETY: `size` bytes are there, as the first field says now.
    unsafe { fill(to, Some(default), operation) }
}

/// Words for a field of a struct: cut where it ends, with a zero behind them.
pub(crate) fn words<const LEN: usize>(text: &str) -> [c_char; LEN] {
    let mut field = [0; LEN];
    let mut end = text.len().min(LEN.saturating_sub(1));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (to, &from) in field.iter_mut().zip(text.as_bytes()[..end].iter().filter(|&&byte| byte != 0)) {
        *to = from as c_char;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Debug, Clone, Copy, PartialEq, FromBytes)]
    struct Options {
        struct_size: usize,
        first: u64,
        second: u64,
    }

    impl Growing for Options {
        const BYTES_MIN: usize = 16;
    }

    /// As a later header has it.
    #[repr(C)]
    struct Later {
        known: Options,
        third: u64,
    }

    const DEFAULT: Options = Options { struct_size: 24, first: 1, second: 2 };

    fn read(from: &Options) -> Result<Options> {
        // SAFETY: as many bytes as the first field says, in every test.
        unsafe { options(from, DEFAULT, "test") }
    }

    #[test]
    fn options_of_an_older_caller_are_filled_up_with_defaults() {
        let given = Options { struct_size: 16, first: 7, second: 99 };
        assert_eq!(read(&given).unwrap(), Options { struct_size: 16, first: 7, second: 2 });
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { options(ptr::null(), DEFAULT, "test") }.unwrap(), DEFAULT);
    }

    #[test]
    fn options_of_a_later_caller_count_unless_they_ask_for_what_is_unknown() {
        let given = |third| Later { known: Options { struct_size: 32, first: 7, second: 8 }, third };
        let read = |given: &Later| {
            // SAFETY: 32 bytes, as the first field says.
            unsafe { options(ptr::from_ref(given).cast::<Options>(), DEFAULT, "test") }
        };
        assert_eq!(read(&given(0)).unwrap().second, 8);
        assert_eq!(read(&given(1)).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_size_that_no_struct_has_is_refused() {
        for struct_size in [0, 8, 15, 4097, usize::MAX] {
            let given = Options { struct_size, ..DEFAULT };
            assert_eq!(read(&given).unwrap_err().kind(), ErrorKind::InvalidInput, "{struct_size}");
        }
    }

    #[test]
    fn results_fill_what_their_caller_knows_and_no_more() {
        let mut given = Later { known: Options { struct_size: 16, first: 0, second: 99 }, third: 99 };
        let value = Options { struct_size: 0, first: 5, second: 6 };
        let to = &raw mut given;
        // SAFETY: 16 bytes and more.
        unsafe { fill(to.cast::<Options>(), Some(&value), "test") }.unwrap();
        assert_eq!(given.known, Options { struct_size: 16, first: 5, second: 99 });
        given.known.struct_size = 32;
        let to = &raw mut given;
        // SAFETY: 32 bytes.
        unsafe { fill(to.cast::<Options>(), Some(&value), "test") }.unwrap();
        assert_eq!(given.known, Options { struct_size: 32, first: 5, second: 6 });
        assert_eq!(given.third, 0);
    }

    #[test]
    fn words_end_where_their_field_does() {
        let shown = |field: &[c_char]| {
            let bytes: Vec<u8> = field.iter().map(|&byte| byte as u8).collect();
            CStr::from_bytes_until_nul(&bytes).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(shown(&words::<8>("short")), "short");
        assert_eq!(shown(&words::<4>("longer")), "lon");
        assert_eq!(shown(&words::<4>("aäöü")), "aä");
        assert_eq!(shown(&words::<4>("ö")), "ö");
    }
}
