//! An error that several callers can be told: the ticket, a later sync, the close.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::path::Path;

use super::file::with_path;
use crate::error::{Error, ErrorKind};

/// What went wrong with a range of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) reason: Cow<'static, str>,
    pub(super) advice: Option<Cow<'static, str>>,
    pub(super) errno: Option<i32>,
    /// Bytes of the file.
    pub(super) range: Range<u64>,
}

impl Failure {
    /// Write-back failed: these pages of the file may hold older bytes than memory.
    pub(super) fn lost(range: Range<u64>, errno: i32) -> Failure {
        Failure {
            kind: ErrorKind::WriteBack,
            reason: "the device could not take all the bytes; which ones it lacks is not known".into(),
            advice: Some(
                "mend the cause, store again what must be kept, call `redirty`, then sync again".into(),
            ),
            errno: Some(errno),
            range,
        }
    }

    /// They were written again, but the file system still regards their blocks as never written.
    pub(super) fn unreachable_on_disk(range: Range<u64>, errno: i32) -> Failure {
        Failure {
            kind: ErrorKind::WriteBack,
            reason: "after the earlier error the file system would read zeros from these blocks".into(),
            advice: Some(
                "copy the bytes, close the mapping everywhere, open it again and store them once more".into(),
            ),
            errno: Some(errno),
            range,
        }
    }

    /// The operating system refused before anything was lost.
    pub(super) fn of_os(operation: &'static str, errno: i32, range: Range<u64>) -> Failure {
        Failure {
            kind: Error::from_io(operation, io::Error::from_raw_os_error(errno)).kind(),
            reason: "the operating system refuses; nothing was tried and nothing is lost".into(),
            advice: Some("try again".into()),
            errno: Some(errno),
            range,
        }
    }

    /// The error for a mapping whose first byte is the file's byte `offset` and whose pages end at `end`.
    pub(super) fn to_error(
        &self,
        operation: &'static str,
        path: Option<&Path>,
        offset: u64,
        end: u64,
    ) -> Error {
        let clip = |at: u64| at.min(end).saturating_sub(offset);
        let mut error = Error::new(self.kind, operation, self.reason.clone())
            .range(clip(self.range.start)..clip(self.range.end));
        if let Some(advice) = &self.advice {
            error = error.advice(advice.clone());
        }
        if let Some(errno) = self.errno {
            error = error.source_io(io::Error::from_raw_os_error(errno));
        }
        with_path(error, path)
    }
}
