//! Where an atomic map stands.
//!
//! # Safety
//!
//! This file is trusted with names that C finds functions by; what C gives is read and written by [`given`](crate::given).
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use steadfast_rs::AtomicMapping;
use zerocopy::FromBytes;

use crate::atomic::AtomicHandle;
use crate::failure::done;
use crate::given::{self, Flag, Growing};
use crate::options::tracker_number;

/// Where an atomic map stands. Set `struct_size` to its `sizeof` first.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes)]
pub struct AtomicStatus {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The last commit.
    pub last: u64,
    /// The last commit that is durable.
    pub durable: u64,
    /// The last commit that the plain file holds.
    pub checkpointed: u64,
    /// Room for records in the journal, in bytes.
    pub journal_bytes: u64,
    /// Bytes of it that hold records not yet checkpointed.
    pub journal_used_bytes: u64,
    /// So many commits were brought into the file by the open.
    pub recovered_commits: u64,
    /// How plain stores are found: an enum sf_tracker.
    pub tracker: i32,
    /// The last checkpoint failed; the next one tries again.
    pub checkpoint_failed: Flag,
    /// Commits are refused.
    pub latched: Flag,
    /// They are refused because another program changed the file: see sf_atomic_refresh().
    pub changed_by_others: Flag,
    /// The open found a journal.
    pub journal_found: Flag,
    /// Why the last checkpoint failed, or an empty string.
    pub checkpoint_error: [c_char; 256],
    /// Why commits are refused, or an empty string.
    pub latched_reason: [c_char; 256],
}

impl Growing for AtomicStatus {
    const BYTES_MIN: usize = 64 + 512;
}

impl AtomicStatus {
    fn of(map: &AtomicMapping) -> AtomicStatus {
        let status = map.status();
        AtomicStatus {
            struct_size: size_of::<AtomicStatus>(),
            last: status.last.get(),
            durable: status.durable.get(),
            checkpointed: status.checkpointed.get(),
            journal_bytes: status.journal_bytes,
            journal_used_bytes: status.journal_used_bytes,
            recovered_commits: status.recovery.replayed_commits,
            tracker: tracker_number(map.tracker()),
            checkpoint_failed: status.checkpoint_error.is_some().into(),
            latched: status.latched.is_some().into(),
            changed_by_others: status.changed_by_others.into(),
            journal_found: status.recovery.journal_found.into(),
            checkpoint_error: given::words(status.checkpoint_error.as_deref().unwrap_or_default()),
            latched_reason: given::words(status.latched.as_deref().unwrap_or_default()),
        }
    }
}

/// Tells where the map stands. Set the field `struct_size` of `status` first.
///
/// 0; or -1 with EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_status(map: *const AtomicHandle, status: *mut AtomicStatus) -> c_int {
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, "status") }?;
        let told = AtomicStatus::of(&map.held.read());
        // SAFETY: NULL, or as many bytes as the struct says, of the caller's.
        unsafe { given::fill(status, Some(&told), "status") }
    })
}
