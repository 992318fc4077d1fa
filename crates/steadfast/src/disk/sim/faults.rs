//! What is to go wrong, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::calls::{CallKind, Calls};
use crate::disk::SyncPoint;

/// The counters and the orders that wait for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    operations: u64,
    writes: u64,
    syncs: u64,
    stopped: bool,
    stop: Option<Stop>,
    /// By number of the write: the error, and how many sectors get through before it.
    failing_writes: BTreeMap<u64, (i32, u64)>,
    /// All writes from this number on fail with this error.
    failing_writes_from: Option<(u64, i32)>,
    failing_syncs: BTreeSet<u64>,
    /// All syncs with these purposes fail.
    failing_points: Vec<SyncPoint>,
    ignored_syncs: Vec<SyncPoint>,
    pub(super) calls: Calls,
}

#[derive(Debug, Clone, Copy)]
struct Stop {
    operation: u64,
    /// So many bytes of it still happen, if it is a write.
    bytes: u64,
}

/// How far an operation gets.
pub(super) enum Turn {
    /// It happens.
    Runs,
    /// The program ends within it: so many bytes get through, if it is a write.
    Stops { bytes: u64 },
}

/// How a sync goes.
pub(super) enum SyncFate {
    Succeeds,
    /// The disk says that it succeeded.
    Ignored,
    Fails(i32),
}

/// The error of every call after the stop.
pub(super) const STOPPED: i32 = libc::ESHUTDOWN;

pub(super) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Faults {
    /// Those of the next life of the same program: it leaves out the same syncs, and nothing else is left.
    pub(super) fn of_next_life(&self) -> Faults {
        Faults { ignored_syncs: self.ignored_syncs.clone(), ..Faults::default() }
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn check_running(&self) -> io::Result<()> {
        if self.stopped { Err(errno(STOPPED)) } else { Ok(()) }
    }

    /// Counts one operation.
    pub(super) fn next_operation(&mut self) -> io::Result<Turn> {
        self.check_running()?;
        self.operations += 1;
        match self.stop {
            Some(stop) if stop.operation == self.operations => {
                self.stopped = true;
                Ok(Turn::Stops { bytes: stop.bytes })
            }
            _ => Ok(Turn::Runs),
        }
    }

    /// Counts one write; says with what error it fails, if it does, and how many sectors get through.
    pub(super) fn next_write(&mut self) -> Option<(i32, u64)> {
        self.writes += 1;
        let by_kind = self.calls.next_write();
        match (self.failing_writes.remove(&self.writes), self.failing_writes_from) {
            (Some(failure), _) => Some(failure),
            (None, Some((first, code))) if first <= self.writes => Some((code, 0)),
            _ => by_kind,
        }
    }

    /// Counts one sync.
    pub(super) fn next_sync(&mut self, point: SyncPoint) -> SyncFate {
        self.syncs += 1;
        let by_kind = self.calls.next(CallKind::Sync);
        if self.ignored_syncs.contains(&point) {
            SyncFate::Ignored
        } else if self.failing_syncs.remove(&self.syncs) || self.failing_points.contains(&point) {
            SyncFate::Fails(libc::EIO)
        } else {
            by_kind.map_or(SyncFate::Succeeds, SyncFate::Fails)
        }
    }

    pub(super) fn stop_now(&mut self) {
        self.stopped = true;
    }

    pub(super) fn stop_within(&mut self, operation: u64, bytes: u64) {
        self.stop = (operation > 0).then(|| Stop { operation: self.operations + operation, bytes });
    }

    pub(super) fn fail_write(&mut self, write: u64, code: i32, sectors: u64) {
        self.failing_writes.insert(self.writes + write, (code, sectors));
    }

    pub(super) fn fail_writes_from(&mut self, write: u64, code: i32) {
        self.failing_writes_from = Some((self.writes + write, code));
    }

    pub(super) fn fail_sync(&mut self, sync: u64) {
        self.failing_syncs.insert(self.syncs + sync);
    }

    pub(super) fn fail_syncs_of(&mut self, point: SyncPoint) {
        self.failing_points.push(point);
    }

    pub(super) fn clear_failures(&mut self) {
        self.failing_writes.clear();
        self.failing_writes_from = None;
        self.failing_syncs.clear();
        self.failing_points.clear();
        self.calls.clear();
    }

    pub(super) fn ignore_sync(&mut self, point: SyncPoint) {
        self.ignored_syncs.push(point);
    }
}
