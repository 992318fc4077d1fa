//! Where a map stands, and what a recovery did.

use pyo3::prelude::*;

/// What a recovery did.
#[pyclass(frozen, get_all, module = "steadfast")]
#[derive(Clone)]
pub(crate) struct Recovery {
    journal_found: bool,
    replayed_commits: u64,
    last: u64,
    torn_tail: bool,
    discarded: bool,
}

impl From<steadfast::Recovery> for Recovery {
    fn from(recovery: steadfast::Recovery) -> Recovery {
        Recovery {
            journal_found: recovery.journal_found,
            replayed_commits: recovery.replayed_commits,
            last: recovery.last.get(),
            torn_tail: recovery.torn_tail,
            discarded: recovery.discarded,
        }
    }
}

#[pymethods]
impl Recovery {
    fn __repr__(&self) -> String {
        format!(
            "Recovery(journal_found={}, replayed_commits={}, last={}, torn_tail={}, discarded={})",
            python(self.journal_found),
            self.replayed_commits,
            self.last,
            python(self.torn_tail),
            python(self.discarded)
        )
    }
}

/// Where a map stands.
#[pyclass(frozen, get_all, module = "steadfast")]
pub(crate) struct Status {
    last: u64,
    durable: u64,
    checkpointed: u64,
    journal_bytes: u64,
    journal_used_bytes: u64,
    checkpoint_error: Option<String>,
    latched: Option<String>,
    changed_by_others: bool,
    recovery: Recovery,
}

impl From<steadfast::store::Status> for Status {
    fn from(status: steadfast::store::Status) -> Status {
        Status {
            last: status.last.get(),
            durable: status.durable.get(),
            checkpointed: status.checkpointed.get(),
            journal_bytes: status.journal_bytes,
            journal_used_bytes: status.journal_used_bytes,
            checkpoint_error: status.checkpoint_error,
            latched: status.latched,
            changed_by_others: status.changed_by_others,
            recovery: status.recovery.into(),
        }
    }
}

#[pymethods]
impl Status {
    fn __repr__(&self) -> String {
        format!(
            "Status(last={}, durable={}, checkpointed={}, journal_used_bytes={}, latched={:?})",
            self.last, self.durable, self.checkpointed, self.journal_used_bytes, self.latched
        )
    }
}

fn python(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
