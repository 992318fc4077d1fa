//! One writer: the exclusive lock on the data file, and who has it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::identity::{self, FoundMark};
use crate::disk::{DiskFile, FileStat, Lock};
use crate::error::{Error, ErrorKind, Result};
use crate::holder;
use crate::sys::lock::is_not_to_be_had;

/// Takes the exclusive lock, waiting until `deadline`, or for as long as it takes.
pub(super) fn lock(
    data: &dyn DiskFile,
    path: &Path,
    stat: &FileStat,
    deadline: Option<Instant>,
) -> Result<()> {
    let mut pause = Duration::from_millis(1);
    loop {
        match data.try_lock(Lock::Exclusive) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => {
                let refused = if is_not_to_be_had(&error) {
                    Error::new(ErrorKind::Unsupported, "lock", "its file system cannot lock files")
                        .source_io(error)
                } else {
                    Error::from_io("lock", error)
                };
                return Err(refused.path(path).advice(
                    "commits need a file system with locks, since two writers would destroy the file: use a local disk",
                ));
            }
        }
        let left =
            deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(locked_by(data, path, stat));
        }
        // Another process's lock cannot be waited for with a timeout in any other way (fcntl(2)).
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn locked_by(data: &dyn DiskFile, path: &Path, stat: &FileStat) -> Error {
    let mut holders = holder::holders(stat.device, stat.inode);
    // Another user's process: its descriptors are hidden, but it left its number in the mark.
    if holders.is_empty()
        && let Ok(FoundMark::Ours(mark)) = identity::find_mark(data)
        && let Some(pid) = mark.owner()
    {
        holders.push(holder::named(pid));
    }
    Error::new(ErrorKind::Locked, "open", format!("it is in use by {}", holder::in_words(&holders)))
        .path(path)
        .advice("close it there, or wait for it with a lock timeout; one writer at a time")
}
