//! What the environment asks for. Read once: what the program sets there later is for the programs that it starts.
//!
//! # Safety
//!
//! This file is trusted with `getenv` of a constant name, at a time when nobody changes the environment (when the library is loaded, or
//! before), and with `fnmatch` of two C strings.
//!
//! | variable | means |
//! |---|---|
//! | `STEADFAST_ATOMIC` | patterns, with colons between them; shared mappings of files whose absolute path matches one are atomic |
//! | `STEADFAST_PUBLISH` | `0`: what is committed is not shown to readers of the plain file before the file is unmapped |
//! | `STEADFAST_STRICT` | `1`: what cannot be mapped atomically is not mapped at all |
//! | `STEADFAST_LOG` | a path, or `stderr` or `-`: where to say what is done |
//!
//! A pattern is one of the shell's, as in `case`: `*` and `?` match a `/` too.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    patterns: Vec<CString>,
    pub(crate) publish: bool,
    pub(crate) strict: bool,
    pub(crate) log: Option<Place>,
}

/// Where what is done is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Stderr,
    File(PathBuf),
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

const UNKNOWN: u8 = 0;
const NONE: u8 = 1;
const SOME: u8 = 2;
static PATTERNS: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Is anything to be atomic? Allocates nothing: allocators open files.
pub(crate) fn has_patterns() -> bool {
    match PATTERNS.load(Ordering::Relaxed) {
        UNKNOWN => {
            // SAFETY: the name is a C string, and nobody changes the environment now (head of this file).
            let value = unsafe { libc::getenv(c"STEADFAST_ATOMIC".as_ptr()) };
            PATTERNS.store(if value.is_null() { NONE } else { SOME }, Ordering::Relaxed);
            !value.is_null()
        }
        known => known == SOME,
    }
}

/// To be called inside (`inside.rs`): the first call allocates.
pub(crate) fn get() -> &'static Settings {
    SETTINGS.get_or_init(|| Settings::of(|name| std::env::var_os(name)))
}

impl Settings {
    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Settings {
        let is_on = |name: &str| variable(name).is_some_and(|value| !value.is_empty() && value != "0");
        let patterns = variable("STEADFAST_ATOMIC").unwrap_or_default();
        let log = variable("STEADFAST_LOG").filter(|value| !value.is_empty());
        Settings {
            patterns: patterns
                .as_bytes()
                .split(|&byte| byte == b':')
                .filter(|pattern| !pattern.is_empty())
                .filter_map(|pattern| CString::new(pattern).ok())
                .collect(),
            publish: variable("STEADFAST_PUBLISH").is_none_or(|value| value != "0"),
            strict: is_on("STEADFAST_STRICT"),
            log: log.map(|value| match value.as_bytes() {
                b"-" | b"stderr" => Place::Stderr,
                _ => Place::File(value.into()),
            }),
        }
    }

    /// Are shared mappings of the file to be atomic?
    pub(crate) fn matches(&self, path: &Path) -> bool {
        CString::new(path.as_os_str().as_bytes()).is_ok_and(|name| self.matches_name(&name))
    }

    /// The same, and allocates nothing.
    pub(crate) fn matches_name(&self, name: &CStr) -> bool {
        self.patterns.iter().any(|pattern| {
            // SAFETY: both are C strings, which live across the call.
            let compared = unsafe { libc::fnmatch(pattern.as_ptr(), name.as_ptr(), 0) };
            compared == 0
        })
    }
}
