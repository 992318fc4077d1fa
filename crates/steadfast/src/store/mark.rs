//! The mark on a data file that is open for commits: which journal belongs to it, and who has it open.
//!
//! It is the value of the extended attribute `user.steadfast`; `docs/format.md` draws it. The mark is durable before
//! the first commit is acknowledged, and gone after `close`. Its `checkpointed_through` is written with every
//! checkpoint, *before* the journal's anchor: so a data file that was put back from an older copy carries an older
//! number than its journal, and is recognised.

use std::sync::OnceLock;

use crate::knockout::holds;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const VERSION: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Mark {
    version: U32,
    owner_pid: U32,
    owner_start: U64,
    pub(super) identity: [u8; 16],
    pub(super) epoch: U64,
    pub(super) checkpointed_through: U64,
}

impl Mark {
    pub(super) fn new(identity: [u8; 16], epoch: u64, checkpointed_through: u64) -> Mark {
        let (pid, start) = this_process();
        Mark {
            version: VERSION.into(),
            owner_pid: pid.into(),
            owner_start: start.into(),
            identity,
            epoch: epoch.into(),
            checkpointed_through: checkpointed_through.into(),
        }
    }

    /// The mark in these bytes; `None` if no version of ours wrote them.
    pub(super) fn decode(bytes: &[u8]) -> Option<Mark> {
        let mark = Mark::read_from_bytes(bytes).ok()?;
        holds!("mark: its version", mark.version.get() == VERSION).then_some(mark)
    }

    /// Was it written by the store of this identity and epoch?
    pub(super) fn is_of(&self, identity: [u8; 16], epoch: u64) -> bool {
        // no check: the caller's is one
        self.identity == identity && self.epoch.get() == epoch
    }

    pub(super) fn encode(&self) -> &[u8] {
        self.as_bytes()
    }

    /// The process that wrote the mark, if it still runs. (A process id alone may since belong to another.)
    pub(super) fn owner(&self) -> Option<u32> {
        let pid = self.owner_pid.get();
        (start_time(pid)? == self.owner_start.get()).then_some(pid) // no check: for the words of an error
    }
}

/// This process and when it started. Looked up once: the mark is written with every checkpoint.
fn this_process() -> (u32, u64) {
    static KNOWN: OnceLock<(u32, u64)> = OnceLock::new();
    let pid = std::process::id();
    let known = *KNOWN.get_or_init(|| (pid, start_time(pid).unwrap_or(0)));
    // A forked child inherits what its parent looked up.
    // no check: it is this process
    if known.0 == pid { known } else { (pid, start_time(pid).unwrap_or(0)) }
}

/// When a process started, in clock ticks after boot: field 22 of `/proc/pid/stat` (proc_pid_stat(5)).
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses, which may itself hold blanks and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_names_its_living_owner() {
        let mark = Mark::new([3; 16], 7, 9);
        let bytes = mark.encode();
        assert_eq!(bytes.len(), 48);
        assert_eq!(Mark::decode(bytes), Some(mark));
        assert_eq!(mark.owner(), Some(std::process::id()));
        let mut stranger = mark;
        stranger.owner_start = (mark.owner_start.get() + 1).into();
        assert_eq!(stranger.owner(), None, "the same pid, started at another time, is another process");
    }

    #[test]
    fn a_mark_of_another_version_or_size_is_not_ours() {
        let mark = Mark::new([3; 16], 7, 9);
        assert_eq!(Mark::decode(&mark.encode()[..47]), None);
        let mut other = mark.encode().to_vec();
        other[0] ^= 2;
        assert_eq!(Mark::decode(&other), None);
    }
}
