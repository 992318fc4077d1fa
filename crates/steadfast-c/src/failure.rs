//! What a call that fails leaves behind: errno, and for its thread the kind of the error and its words.
//!
//! # Safety
//!
//! This file is trusted with errno, and with names that C finds functions by.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use steadfast_rs::{Error, ErrorKind, Result, posix};

/// What went wrong, as far as a program can act on it. The numbers stay; later versions may add others.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing did.
    None = 0,
    /// An argument makes no sense. EINVAL.
    InvalidInput = 1,
    /// A range reaches past the end of the mapping or of the file, or over memory that is not mapped. ENOMEM.
    OutOfRange = 2,
    /// The file, or its folder, does not exist. ENOENT.
    NotFound = 3,
    /// The file exists although a new one was asked for. EEXIST.
    AlreadyExists = 4,
    /// The operating system refuses access. EACCES.
    PermissionDenied = 5,
    /// A store into something that is read-only, or a commit of a map that was opened for reading. EROFS.
    ReadOnly = 6,
    /// No space is left, or a quota or a limit is reached. ENOSPC.
    NoSpace = 7,
    /// Another process, or another handle in this one, holds the file. EAGAIN.
    Locked = 8,
    /// Pages are in use elsewhere, or what was waited for has not happened yet. EBUSY.
    Busy = 9,
    /// A limit of the process refuses the call; the message names it. ENOMEM.
    LimitExceeded = 10,
    /// The kernel, the file system or the kind of file cannot do this. EOPNOTSUPP.
    Unsupported = 11,
    /// Another program truncated the file. EIO.
    Truncated = 12,
    /// Write-back failed: what is on disk is not what is in memory. EIO.
    WriteBack = 13,
    /// A journal beside the file waits for recovery. EIO.
    RecoveryNeeded = 14,
    /// The journal and the data file do not belong together. EIO.
    Identity = 15,
    /// The journal is damaged. EIO.
    Corrupt = 16,
    /// Another program changed the data file while it was open for commits. EIO.
    ForeignChange = 17,
    /// The commit did not happen; the same commit may be tried again. The errno of its cause.
    NotCommitted = 18,
    /// The flush of the commit failed: the next open decides whether it is durable. The errno of its cause.
    InDoubt = 19,
    /// Refused after an earlier failure, until the file is opened again. EIO.
    Latched = 20,
    /// Everything committed counts; but bytes that were committed over may still be in the journal. EIO.
    NotScrubbed = 21,
    /// The handle belongs to the parent of this forked process. EIO.
    Forked = 22,
    /// Any other error of the operating system: its errno, or EIO. Also a defect of this library.
    Io = 23,
}

/// Each kind, what it is in Rust, and its name.
const KINDS: [(Kind, ErrorKind, &CStr); 23] = [
    (Kind::InvalidInput, ErrorKind::InvalidInput, c"invalid input"),
    (Kind::OutOfRange, ErrorKind::OutOfRange, c"out of range"),
    (Kind::NotFound, ErrorKind::NotFound, c"not found"),
    (Kind::AlreadyExists, ErrorKind::AlreadyExists, c"already exists"),
    (Kind::PermissionDenied, ErrorKind::PermissionDenied, c"permission denied"),
    (Kind::ReadOnly, ErrorKind::ReadOnly, c"read-only"),
    (Kind::NoSpace, ErrorKind::NoSpace, c"no space"),
    (Kind::Locked, ErrorKind::Locked, c"locked"),
    (Kind::Busy, ErrorKind::Busy, c"busy"),
    (Kind::LimitExceeded, ErrorKind::LimitExceeded, c"limit exceeded"),
    (Kind::Unsupported, ErrorKind::Unsupported, c"unsupported"),
    (Kind::Truncated, ErrorKind::Truncated, c"truncated"),
    (Kind::WriteBack, ErrorKind::WriteBack, c"write-back failed"),
    (Kind::RecoveryNeeded, ErrorKind::RecoveryNeeded, c"recovery needed"),
    (Kind::Identity, ErrorKind::Identity, c"journal and file do not belong together"),
    (Kind::Corrupt, ErrorKind::Corrupt, c"corrupt journal"),
    (Kind::ForeignChange, ErrorKind::ForeignChange, c"changed by another program"),
    (Kind::NotCommitted, ErrorKind::NotCommitted, c"not committed"),
    (Kind::InDoubt, ErrorKind::InDoubt, c"in doubt"),
    (Kind::Latched, ErrorKind::Latched, c"latched"),
    (Kind::NotScrubbed, ErrorKind::NotScrubbed, c"not scrubbed"),
    (Kind::Forked, ErrorKind::Forked, c"belongs to the parent process"),
    (Kind::Io, ErrorKind::Io, c"input/output error"),
];

struct Last {
    kind: Kind,
    message: CString,
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// Asks for the last error of this thread. While the thread ends there is none any more.
fn last<T>(none: T, ask: impl FnOnce(&Last) -> T) -> T {
    let mut answer = none;
    let _ = LAST.try_with(|last| {
        if let Ok(last) = last.try_borrow()
            && let Some(last) = &*last
        {
            answer = ask(last);
        }
    });
    answer
}

pub(crate) fn kind_of(kind: ErrorKind) -> Kind {
    let found = KINDS.iter().find(|(_, of, _)| *of == kind);
    // A kind that this face does not know yet.
    found.map_or(Kind::Io, |(kind, ..)| *kind)
}

/// As [`posix::errno`]; except that pages in use are EBUSY, also where the kernel said so by another number (madvise(2) of
/// locked pages).
fn errno_of(error: &Error) -> c_int {
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::Busy, Some(libc::EINVAL)) => libc::EBUSY,
        _ => posix::errno(error),
    }
}

fn keep(kind: Kind, errno: c_int, message: String) {
    let words = message.into_bytes().into_iter().filter(|&byte| byte != 0).collect::<Vec<u8>>();
    let message = CString::new(words).unwrap_or_default();
    // While the thread ends there is no place for it any more; errno is told all the same.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(Last { kind, message });
        }
    });
    set_errno(errno);
}

/// Of this thread.
fn errno_place() -> *mut c_int {
    // SAFETY: `__errno_location` has no preconditions (errno(3)).
    unsafe { libc::__errno_location() }
}

pub(crate) fn errno() -> c_int {
    // SAFETY: it is this thread's errno, which lives as long as the thread and is nobody else's.
    unsafe { errno_place().read() }
}

pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: as above.
    unsafe { errno_place().write(errno) };
}

fn keep_panic(payload: Box<dyn Any + Send>) {
    let words = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (None, Some(words)) => words.clone(),
        (None, None) => "no words".to_owned(),
    };
    // Its destructor may be anything, and must not unwind into C.
    std::mem::forget(payload);
    keep(Kind::Io, libc::EIO, format!("a defect of this library: {words}; please report it"));
}

/// The value that `work` makes, or what C is told of the error. No panic leaves it.
pub(crate) fn call<T>(work: impl FnOnce() -> Result<T>) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(error)) => keep(kind_of(error.kind()), errno_of(&error), error.to_string()),
        Err(payload) => keep_panic(payload),
    }
    None
}

/// 0, or -1.
pub(crate) fn done(work: impl FnOnce() -> Result<()>) -> c_int {
    call(work).map_or(-1, |()| 0)
}

/// A handle of the caller's own, or NULL.
pub(crate) fn made<T>(work: impl FnOnce() -> Result<T>) -> *mut T {
    call(work).map_or(ptr::null_mut(), |value| Box::into_raw(Box::new(value)))
}

/// The words of the last error in this thread, for people: what was tried, on what, why it failed and what to do. Empty where
/// there was none.
///
/// Calls that succeed leave it alone, as they leave errno. The string is this library's; it stays until the next call in this
/// thread.
#[unsafe(no_mangle)]
pub extern "C" fn sf_last_error_message() -> *const c_char {
    last(c"".as_ptr(), |last| last.message.as_ptr())
}

/// The kind of the last error in this thread; SF_ERROR_NONE where there was none.
#[unsafe(no_mangle)]
pub extern "C" fn sf_last_error_kind() -> Kind {
    last(Kind::None, |last| last.kind)
}

/// The name of an enum sf_error, such as "not found". Never NULL; "unknown" for a number that this version does not know.
#[unsafe(no_mangle)]
pub extern "C" fn sf_error_kind_name(kind: c_int) -> *const c_char {
    let found = KINDS.iter().find(|(known, ..)| *known as c_int == kind);
    match found {
        Some((_, _, name)) => name.as_ptr(),
        None if kind == Kind::None as c_int => c"no error".as_ptr(),
        None => c"unknown".as_ptr(),
    }
}

/// The version of the library that runs, as in "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn sf_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> String {
        // SAFETY: it is a string, and no call comes in between.
        unsafe { CStr::from_ptr(sf_last_error_message()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn every_kind_of_the_rust_library_has_its_number_and_its_name() {
        let source = include_str!("../../steadfast/src/error.rs");
        let list = source.split("pub enum ErrorKind {").nth(1).unwrap().split("\n}").next().unwrap();
        let variants: Vec<&str> = list
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("///"))
            .map(|line| line.trim_end_matches(','))
            .collect();
        let known: Vec<String> = KINDS.iter().map(|(_, kind, _)| format!("{kind:?}")).collect();
        assert_eq!(variants, known);
        for (index, (kind, of, name)) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index + 1);
            assert_eq!(format!("{kind:?}"), format!("{of:?}"));
            assert_eq!(name.to_str().unwrap(), of.to_string());
        }
    }

    #[test]
    fn a_panic_becomes_eio_and_words() {
        assert_eq!(done(|| panic!("planted {}", 7)), -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EIO));
        assert_eq!(sf_last_error_kind(), Kind::Io);
        assert!(message().contains("planted 7"), "{}", message());
        assert!(made::<u8>(|| std::panic::panic_any(7)).is_null());
        assert!(message().contains("defect"), "{}", message());
    }

    #[test]
    fn an_error_belongs_to_its_thread() {
        let error = || Error::new(ErrorKind::Busy, "test", "a \0 in it");
        assert_eq!(done(|| Err(error())), -1);
        std::thread::spawn(|| {
            assert_eq!(sf_last_error_kind(), Kind::None);
            assert_eq!(message(), "");
        })
        .join()
        .unwrap();
        assert_eq!(message(), "test: a  in it");
        assert_eq!(done(|| Ok(())), 0);
        assert_eq!(sf_last_error_kind(), Kind::Busy, "success leaves it alone");
    }
}
