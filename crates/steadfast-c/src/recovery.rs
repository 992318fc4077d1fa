//! Files and their journals, without opening them.
//!
//! # Safety
//!
//! This file is trusted with names that C finds functions by; what C gives is read and written by [`given`](crate::given).
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use steadfast_rs::{JournalReport, Recovery, Resolution, inspect, recover};
use zerocopy::FromBytes;

use crate::failure::{Kind, done, kind_of};
use crate::given::{self, Flag, Growing, nonsense};

/// What to do with a journal that does not fit.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayOut {
    /// Refuse it; replay one that fits.
    Replay = 0,
    /// Replay it over this file although marks or lengths differ. It must be sound.
    Adopt = 1,
    /// Remove it, and keep the data file as it stands.
    Discard = 2,
}

const RESOLUTIONS: [(WayOut, Resolution); 3] = [
    (WayOut::Replay, Resolution::Replay),
    (WayOut::Adopt, Resolution::Adopt),
    (WayOut::Discard, Resolution::Discard),
];

/// What a recovery did. Set `struct_size` to its `sizeof` first.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes)]
pub struct Recovered {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// So many commits were brought into the data file.
    pub replayed_commits: u64,
    /// The last of them, or the one that the file held already.
    pub last: u64,
    /// A journal stood beside the file.
    pub journal_found: Flag,
    /// Behind it a record had been begun that was never acknowledged; it was dropped.
    pub torn_tail: Flag,
    /// The journal was discarded, as asked.
    pub discarded: Flag,
    /// Zeros.
    pub reserved: [u8; 5],
}

impl Growing for Recovered {
    const BYTES_MIN: usize = 32;
}

impl Recovered {
    fn of(recovery: &Recovery) -> Recovered {
        Recovered {
            struct_size: size_of::<Recovered>(),
            replayed_commits: recovery.replayed_commits,
            last: recovery.last.get(),
            journal_found: recovery.journal_found.into(),
            torn_tail: recovery.torn_tail.into(),
            discarded: recovery.discarded.into(),
            reserved: [0; 5],
        }
    }
}

/// What stands beside and on a data file. Set `struct_size` to its `sizeof` first.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes)]
pub struct Inspection {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Size of the journal file.
    pub journal_bytes: u64,
    /// How often the journal was established anew.
    pub epoch: u64,
    /// The last commit that the journal has let go of: the data file holds it.
    pub checkpointed_through: u64,
    /// The commits that the journal holds.
    pub records: u64,
    /// The last commit that file and journal hold together.
    pub last: u64,
    /// Version of the journal's format; 0 without a journal.
    pub format_version: u32,
    /// The process that has the file open for commits; 0 for none.
    pub writer_pid: u32,
    /// Why an open would be refused, as an enum sf_error; SF_ERROR_NONE if it would not.
    pub problem: i32,
    /// The journal exists.
    pub journal_found: Flag,
    /// The data file carries a mark.
    pub marked: Flag,
    /// Behind the records one was begun that is not whole.
    pub torn_tail: Flag,
    /// Nobody has the file open, and the next open will recover.
    pub recovery_waits: Flag,
    /// The name of the writer's program.
    pub writer_command: [c_char; 16],
    /// The identity that mark and journal share, in hexadecimal.
    pub identity: [c_char; 48],
    /// Why an open would be refused, in words.
    pub problem_message: [c_char; 512],
}

impl Growing for Inspection {
    const BYTES_MIN: usize = 64 + 16 + 48 + 512;
}

impl Inspection {
    fn of(report: &JournalReport) -> Inspection {
        let writer = report.writer.as_ref();
        let problem = report.problem.as_ref();
        let last = report.records.last().map_or(report.checkpointed_through, |record| record.id);
        Inspection {
            struct_size: size_of::<Inspection>(),
            journal_bytes: report.journal_bytes,
            epoch: report.epoch.unwrap_or(0),
            checkpointed_through: report.checkpointed_through.get(),
            records: report.records.len() as u64,
            last: last.get(),
            format_version: report.format_version.unwrap_or(0),
            writer_pid: writer.map_or(0, |writer| writer.pid),
            problem: problem.map_or(Kind::None, |problem| kind_of(problem.kind())) as i32,
            journal_found: report.journal_found.into(),
            marked: report.marked.into(),
            torn_tail: report.torn_tail.into(),
            recovery_waits: report.recovery_waits.into(),
            writer_command: given::words(writer.map_or("", |writer| &writer.command)),
            identity: given::words(report.identity.as_deref().unwrap_or_default()),
            problem_message: given::words(&problem.map(ToString::to_string).unwrap_or_default()),
        }
    }
}

/// Brings the file at `path` to its last commit and removes the journal: what the next open would do, without opening. A file
/// without a journal is left alone. `resolution` is an enum sf_resolution; `recovery`, which may be NULL, gets what was done.
///
/// 0; or -1 as sf_atomic_open(): EAGAIN for a live writer; EIO for a journal that is damaged (SF_ERROR_CORRUPT) or belongs to
/// another file (SF_ERROR_IDENTITY). Nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_recover(
    path: *const c_char,
    resolution: c_int,
    recovery: *mut Recovered,
) -> c_int {
    let operation = "recover";
    done(|| {
        // SAFETY: NULL, or a string of the caller's.
        let path = unsafe { given::path(path, operation) }?;
        let how = RESOLUTIONS.iter().find(|(number, _)| *number as c_int == resolution);
        let Some((_, how)) = how else {
            return Err(
                nonsense(operation, "there is no such resolution").advice("give an enum sf_resolution")
            );
        };
        if !recovery.is_null() {
            // Before anything is done that nobody would be told of.
            // SAFETY: as many bytes as the struct says, of the caller's.
            unsafe { given::fill(recovery, None, operation) }?;
        }
        let done = recover(path, *how)?;
        if !recovery.is_null() {
            // SAFETY: as above.
            unsafe { given::fill(recovery, Some(&Recovered::of(&done)), operation) }?;
        }
        Ok(())
    })
}

/// Looks at the file at `path` and its journal. Changes nothing and takes no lock; beside a live writer the picture may be that
/// of a moment ago. What is wrong with the journal is told in `inspection`, and no error of this call.
///
/// 0; or -1 with ENOENT, EACCES and the like where the file cannot be looked at, EOPNOTSUPP where it is no regular file, EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_inspect(path: *const c_char, inspection: *mut Inspection) -> c_int {
    let operation = "inspect";
    done(|| {
        // SAFETY: NULL, or a string of the caller's.
        let path = unsafe { given::path(path, operation) }?;
        let report = inspect(path)?;
        // SAFETY: NULL, or as many bytes as the struct says, of the caller's.
        unsafe { given::fill(inspection, Some(&Inspection::of(&report)), operation) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_lies_in_a_gap_where_a_later_one_could_come_to_lie() {
        assert_eq!(size_of::<Recovered>(), Recovered::BYTES_MIN);
        assert_eq!(size_of::<Inspection>(), Inspection::BYTES_MIN);
    }
}
