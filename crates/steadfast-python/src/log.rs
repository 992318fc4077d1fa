//! What the library says beside errors goes to the logger `steadfast` of Python's module `logging`.
//!
//! The library may say it from a thread of its own, with locks held that a call in Python waits for: so it is kept, and said at the
//! end of the next call.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, TryLockError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

/// More is not kept; what is told then is how many were left out.
const KEPT_MAX: usize = 1000;
/// So often a lock is tried.
const TRIES_MAX: usize = 10_000;

static KEPT: Mutex<Kept> = Mutex::new(Kept { lines: VecDeque::new(), left_out: 0 });

struct Kept {
    lines: VecDeque<(Level, String)>,
    left_out: usize,
}

/// Nobody holds it for longer than it takes to push a line: but in a forked child nobody may be left who does.
fn kept() -> Option<MutexGuard<'static, Kept>> {
    for _ in 0..TRIES_MAX {
        match KEPT.try_lock() {
            Ok(kept) => return Some(kept),
            Err(TryLockError::Poisoned(kept)) => return Some(kept.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

struct ToPython;

impl Log for ToPython {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("steadfast") && metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = (record.level(), record.args().to_string());
        let Some(mut kept) = kept() else { return };
        if kept.lines.len() < KEPT_MAX {
            kept.lines.push_back(line);
        } else {
            kept.left_out += 1;
        }
    }

    fn flush(&self) {}
}

/// From here on lines are kept.
pub(crate) fn install() {
    // Where the process has a logger of Rust's already, that one is told.
    if log::set_logger(&ToPython).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Says what was kept. A logger that fails is no reason for a call to fail.
pub(crate) fn say(py: Python<'_>) {
    let (lines, left_out) = {
        let Ok(mut kept) = KEPT.try_lock() else { return };
        if kept.lines.is_empty() {
            return;
        }
        (std::mem::take(&mut kept.lines), std::mem::take(&mut kept.left_out))
    };
    let told = || -> PyResult<()> {
        let logger = py.import("logging")?.call_method1("getLogger", ("steadfast",))?;
        for (level, line) in lines {
            let method = match level {
                Level::Error => "error",
                Level::Warn => "warning",
                _ => "info",
            };
            logger.call_method1(method, ("%s", line))?;
        }
        if left_out > 0 {
            logger.call_method1("warning", ("%d more lines were left out", left_out))?;
        }
        Ok(())
    };
    if let Err(error) = told() {
        error.write_unraisable(py, None);
    }
}
