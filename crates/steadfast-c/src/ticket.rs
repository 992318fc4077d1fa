//! What goes on while the program does other things.
//!
//! # Safety
//!
//! This file is trusted with names that C finds functions by; handles are read by [`given`](crate::given).
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::time::Duration;

use steadfast_rs::{CommitTicket, Error, ErrorKind, Result, SyncTicket};

use crate::failure::{call, done};
use crate::given;

/// A commit, or a sync, on its way to the disk.
#[derive(Debug)]
pub enum Ticket {
    /// From a mapping.
    Sync(SyncTicket),
    /// From an atomic map.
    Commit(CommitTicket),
}

impl Ticket {
    fn wait(&self) -> Result<u64> {
        match self {
            Ticket::Sync(ticket) => ticket.wait().map(|()| 0),
            Ticket::Commit(ticket) => ticket.wait().map(|id| id.get()),
        }
    }

    fn wait_timeout(&self, timeout: Duration) -> Result<Option<u64>> {
        match self {
            Ticket::Sync(ticket) => ticket.wait_timeout(timeout).map(|is_done| is_done.then_some(0)),
            Ticket::Commit(ticket) => ticket.wait_timeout(timeout).map(|id| id.map(|id| id.get())),
        }
    }
}

/// Waits until the commit or the sync is durable. `commit`, which may be NULL, gets the commit's number; 0 for a sync. May be
/// called again, and then returns the same.
///
/// 0; or -1 with the errors of sf_atomic_commit() or sf_mapping_sync(). When one commit fails, those after it fail with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_ticket_wait(ticket: *const Ticket, commit: *mut u64) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let ticket = unsafe { given::handle(ticket, "wait") }?;
        let id = ticket.wait()?;
        // SAFETY: NULL, or the caller's.
        unsafe { given::put(commit, id) };
        Ok(())
    })
}

/// As sf_ticket_wait(), for `timeout_ms` milliseconds at most.
///
/// 0; or -1 with ETIMEDOUT (kind SF_ERROR_BUSY) if the end is not known by then, and otherwise as sf_ticket_wait().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_ticket_wait_timeout_ms(
    ticket: *const Ticket,
    timeout_ms: u64,
    commit: *mut u64,
) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let ticket = unsafe { given::handle(ticket, "wait") }?;
        let Some(id) = ticket.wait_timeout(Duration::from_millis(timeout_ms))? else {
            return Err(Error::new(ErrorKind::Busy, "wait", "it is not durable yet")
                .source_io(io::Error::from_raw_os_error(libc::ETIMEDOUT))
                .advice("wait again"));
        };
        // SAFETY: NULL, or the caller's.
        unsafe { given::put(commit, id) };
        Ok(())
    })
}

/// 1 if sf_ticket_wait() would return at once, with success or with an error; 0 if not. -1 with EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_ticket_is_done(ticket: *const Ticket) -> c_int {
    let asked = call(|| {
        // SAFETY: the header's promise for handles.
        let ticket = unsafe { given::handle(ticket, "is_done") }?;
        Ok(match ticket {
            Ticket::Sync(ticket) => ticket.is_done(),
            Ticket::Commit(ticket) => ticket.is_done(),
        })
    });
    asked.map_or(-1, c_int::from)
}

/// Gives the ticket up. It cancels nothing: the commit or the sync goes on, and what goes wrong is told by the next one.
///
/// 0; or -1 with EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_ticket_free(ticket: *mut Ticket) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        unsafe { given::taken(ticket, "free") }.map(drop)
    })
}
