//! Journals beside the files: read only when they changed, and for a tenth of the time at most.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

/// After reading a journal nine times as long passes before it is read again: it is read whole, and its writer is looked for among all
/// processes.
const RESTS_PER_READING: u32 = 9;

const SUFFIX: &str = ".steadfast";

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Seen {
    pub(super) journal_bytes: u64,
    /// Taken by commits that wait for their checkpoint.
    pub(super) filled_bytes: u64,
    pub(super) last_commit: u64,
    /// Process that has the file open for commits.
    pub(super) writer: Option<u32>,
    pub(super) recovery_waits: bool,
    pub(super) problem: Option<String>,
    /// When this was so.
    #[serde(skip)]
    pub(super) at: Duration,
}

/// What changes with every write to a file, or with another file of its name.
type Stamp = (u64, u64, i64, i64, i64, i64);

struct Read {
    stamp: Stamp,
    seen: Seen,
    /// Not before this.
    again: Duration,
    last_wanted: Duration,
}

/// All that were read.
#[derive(Default)]
pub(super) struct Journals(HashMap<PathBuf, Read>);

impl Journals {
    /// The journal of a data file whose links are resolved, if there is one.
    pub(super) fn look(&mut self, data: &Path, at: Duration) -> Option<Seen> {
        let stat = std::fs::metadata(beside(data)).ok().filter(std::fs::Metadata::is_file)?;
        // A write in the same tick of the kernel's clock as the look before leaves the times as they are; the next write tells.
        let stamp =
            (stat.ino(), stat.size(), stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec());
        if let Some(read) = self.0.get_mut(data) {
            read.last_wanted = at;
            if read.stamp == stamp {
                read.seen.at = at;
                return Some(read.seen.clone());
            }
            if at < read.again {
                return Some(read.seen.clone());
            }
        }
        let started = Instant::now();
        let report = steadfast::inspect(data).ok().filter(|report| report.journal_found)?;
        let last = report.records.last().map_or(report.checkpointed_through, |record| record.id);
        let seen = Seen {
            journal_bytes: report.journal_bytes,
            filled_bytes: report.records.iter().map(|record| record.record_bytes).sum(),
            last_commit: last.get(),
            writer: report.writer.as_ref().map(|writer| writer.pid),
            recovery_waits: report.recovery_waits,
            problem: report.problem.as_ref().map(ToString::to_string),
            at,
        };
        let again = at + started.elapsed() * (RESTS_PER_READING + 1);
        self.0.insert(data.to_owned(), Read { stamp, seen: seen.clone(), again, last_wanted: at });
        Some(seen)
    }

    /// Files that are gone, or have no journal any more.
    pub(super) fn forget_those_not_seen_at(&mut self, at: Duration) {
        self.0.retain(|_, read| read.last_wanted == at);
    }
}

/// The data file that a journal of this name belongs to.
pub(super) fn data_of(journal: &Path) -> Option<PathBuf> {
    let name = journal.as_os_str().as_bytes().strip_suffix(SUFFIX.as_bytes())?;
    Some(OsStr::from_bytes(name).into())
}

fn beside(data: &Path) -> PathBuf {
    let mut name = OsString::from(data);
    name.push(SUFFIX);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast::AtomicMapping;

    #[test]
    fn a_journal_is_read_beside_its_writer_and_only_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = std::fs::canonicalize(folder.path()).unwrap().join("f");
        let mut map =
            AtomicMapping::options().create(true).len(1 << 16).allow_volatile(true).load(&path).unwrap();
        let mut journals = Journals::default();
        map.write_at(0, &[1; 1000]).unwrap();
        let first = map.commit().unwrap();
        let hour = Duration::from_secs(3600);
        let seen = journals.look(&path, Duration::ZERO).unwrap();
        assert_eq!(seen.last_commit, first.get());
        assert_eq!(seen.writer, Some(std::process::id()));
        assert!(seen.filled_bytes >= 1000 && seen.filled_bytes < seen.journal_bytes, "{seen:?}");
        assert!(!seen.recovery_waits && seen.problem.is_none());

        // Nothing happened: it is told without reading, which a changed note shows.
        journals.0.get_mut(&path).unwrap().seen.last_commit = 77;
        assert_eq!(journals.look(&path, hour).unwrap().last_commit, 77);
        // It happened, but the last reading was a moment ago.
        map.write_at(0, &[2; 1000]).unwrap();
        let second = map.commit().unwrap();
        journals.0.get_mut(&path).unwrap().again = 3 * hour;
        assert_eq!(journals.look(&path, 2 * hour).unwrap().last_commit, 77);
        assert_eq!(journals.look(&path, 3 * hour).unwrap().last_commit, second.get());

        map.close().unwrap();
        assert_eq!(journals.look(&path, 4 * hour), None);
        journals.forget_those_not_seen_at(4 * hour);
        assert!(journals.0.is_empty());
    }
}
