//! A sync that goes on while the caller does other things.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::failure::Failure;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::fork::Birth;

/// The result of a job, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    result: Mutex<Option<Result<(), Failure>>>,
    known: Condvar,
}

impl Outcome {
    pub(super) fn set(&self, result: Result<(), Failure>) {
        *self.lock() = Some(result);
        self.known.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<(), Failure>>> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if it is not known before `deadline`.
    fn wait_until(&self, deadline: Option<Instant>) -> Option<Result<(), Failure>> {
        let mut result = self.lock();
        loop {
            if result.is_some() {
                return result.clone();
            }
            result = match deadline {
                None => self.known.wait(result).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.known.wait_timeout(result, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// A sync under way, from [`Mapping::start_sync`](crate::Mapping::start_sync), where an example stands.
///
/// Dropping it cancels nothing: the sync goes on, and what goes wrong is remembered by the mapping.
#[must_use = "without `wait` nobody knows when the bytes are durable"]
pub struct SyncTicket {
    outcome: Arc<Outcome>,
    path: Option<PathBuf>,
    offset: u64,
    end: u64,
    birth: Birth,
}

impl SyncTicket {
    pub(super) fn new(outcome: Arc<Outcome>, path: Option<PathBuf>, offset: u64, end: u64) -> SyncTicket {
        SyncTicket { outcome, path, offset, end, birth: Birth::here() }
    }

    /// Waits until the bytes are durable. May be called again and then returns the same.
    ///
    /// # Errors
    ///
    /// As for [`Mapping::sync`](crate::Mapping::sync). In a forked child, where the thread that syncs does not exist:
    /// [`Forked`](ErrorKind::Forked).
    ///
    /// See [`Mapping::start_sync`](crate::Mapping::start_sync) for an example.
    pub fn wait(&self) -> Result<()> {
        self.refuse_in_child()?;
        match self.outcome.wait_until(None) {
            Some(result) => self.told(result),
            // Without a deadline the wait ends with a result only.
            None => Ok(()),
        }
    }

    /// Waits for `timeout` at most: `true` if the bytes are durable, `false` if that is not known yet.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    ///
    /// See [`Mapping::start_sync`](crate::Mapping::start_sync) for an example.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.refuse_in_child()?;
        // A deadline beyond what the clock can say is none.
        match self.outcome.wait_until(Instant::now().checked_add(timeout)) {
            Some(result) => self.told(result).map(|()| true),
            None => Ok(false),
        }
    }

    /// Whether [`wait`](Self::wait) would return at once, with success or with an error.
    ///
    /// See [`Mapping::start_sync`](crate::Mapping::start_sync) for an example.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.birth.is_elsewhere() || self.outcome.lock().is_some()
    }

    fn told(&self, result: Result<(), Failure>) -> Result<()> {
        result.map_err(|failure| failure.to_error("sync", self.path.as_deref(), self.offset, self.end))
    }

    fn refuse_in_child(&self) -> Result<()> {
        if self.birth.is_elsewhere() {
            return Err(Error::new(ErrorKind::Forked, "sync", "the sync runs in the parent of this process")
                .advice("wait there"));
        }
        Ok(())
    }
}

impl fmt::Debug for SyncTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncTicket").field("path", &self.path).field("done", &self.is_done()).finish()
    }
}
