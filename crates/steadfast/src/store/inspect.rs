//! Looking at a file and its journal without changing either.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::identity::{self, FoundMark};
use super::{CommitId, Resolution, trust};
use crate::disk::{Access, Disk, RealDisk};
use crate::error::{Error, Result};
use crate::holder::{self, Holder};
use crate::journal;
use crate::names;

/// One commit in a journal. From [`inspect`].
///
/// See [`inspect`] for an example.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordReport {
    /// The commit.
    pub id: CommitId,
    /// Where the record starts in the journal.
    pub journal_offset: u64,
    /// Its size in bytes, without padding.
    pub record_bytes: u64,
    /// Runs of changed bytes.
    pub extents: u64,
    /// Changed bytes.
    pub changed_bytes: u64,
    /// The smallest length of the data since the commit before.
    pub len_min: u64,
    /// The length of the data.
    pub len: u64,
    /// The highest commit known to be durable when it was written.
    pub durable_through: CommitId,
}

/// What stands beside and on a data file. From [`inspect`].
///
/// See [`inspect`] for an example.
#[non_exhaustive]
#[derive(Debug)]
pub struct JournalReport {
    /// The data file, links resolved.
    pub data_file: PathBuf,
    /// Where its journal is or would be.
    pub journal: PathBuf,
    /// The journal exists.
    pub journal_found: bool,
    /// The data file carries a mark.
    pub marked: bool,
    /// Version of the journal's format.
    pub format_version: Option<u32>,
    /// The identity that mark and journal share, in hexadecimal.
    pub identity: Option<String>,
    /// How often the journal was established anew.
    pub epoch: Option<u64>,
    /// Size of the journal file.
    pub journal_bytes: u64,
    /// The last commit that the journal has let go of: the data file holds it.
    pub checkpointed_through: CommitId,
    /// The commits that the journal holds, in order.
    pub records: Vec<RecordReport>,
    /// Behind them a record was begun that is not whole.
    pub torn_tail: bool,
    /// Nobody has the file open, and the next open will recover.
    pub recovery_waits: bool,
    /// Who has the file open for commits.
    pub writer: Option<Holder>,
    /// Why an open would be refused, if it would.
    pub problem: Option<Error>,
}

/// Reads what the journal of `path` holds. Changes nothing and takes no lock; beside a live writer the picture may be
/// that of a moment ago.
///
/// # Errors
///
/// If the data file cannot be looked at. What is wrong with the journal is in [`JournalReport::problem`].
///
/// ```
/// use steadfast::store::inspect;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("state.bin");
/// std::fs::write(&path, b"plain")?;
/// let report = inspect(&path)?;
/// assert!(!report.journal_found && !report.recovery_waits && report.problem.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn inspect(path: impl AsRef<Path>) -> Result<JournalReport> {
    inspect_on(&(Arc::new(RealDisk) as Arc<dyn Disk>), path.as_ref())
}

fn inspect_on(disk: &Arc<dyn Disk>, asked: &Path) -> Result<JournalReport> {
    let failed = |error| Error::from_io("inspect", error).path(asked);
    let data_file = disk.resolve(asked).map_err(failed)?;
    super::open::refuse_unless_regular(&data_file, &disk.stat(&data_file).map_err(failed)?)?;
    let data = disk.open(&data_file, Access::Read).map_err(failed)?;
    let stat = data.stat().map_err(failed)?;
    let mark = identity::find_mark(&*data).map_err(failed)?;
    let journal_path = names::journal(&data_file);
    let mut report = JournalReport {
        journal: journal_path.clone(),
        journal_found: false,
        marked: !matches!(mark, FoundMark::None | FoundMark::Unsupported),
        format_version: None,
        identity: None,
        epoch: None,
        journal_bytes: 0,
        checkpointed_through: CommitId::default(),
        records: Vec::new(),
        torn_tail: false,
        recovery_waits: false,
        writer: holder::holders(stat.device, stat.inode).into_iter().next(),
        problem: None,
        data_file,
    };
    let scan = match trust::open_journal(disk, &report.data_file, &stat, Access::Read) {
        Ok(None) => None,
        Err(error) => {
            report.journal_found = true;
            report.problem = Some(error);
            return Ok(report);
        }
        Ok(Some(file)) => {
            report.journal_found = true;
            report.journal_bytes = file.stat().map_err(failed)?.len;
            match journal::scan(&*file) {
                Ok(scan) => Some(scan),
                Err(error) => {
                    report.problem = Some(identity::unreadable(error, &journal_path));
                    return Ok(report);
                }
            }
        }
    };
    if let Some(scan) = &scan {
        report.format_version = Some(journal::format::VERSION);
        report.identity = Some(scan.header.identity.iter().map(|byte| format!("{byte:02x}")).collect());
        report.epoch = Some(scan.header.epoch.get());
        report.checkpointed_through = CommitId::new(scan.anchor.checkpointed_through.get());
        report.torn_tail = scan.torn_tail;
        report.records = scan
            .records
            .iter()
            .map(|record| RecordReport {
                id: CommitId::new(record.id()),
                journal_offset: record.placed.position,
                record_bytes: record.placed.header.record_bytes.get(),
                extents: record.extents.len() as u64,
                changed_bytes: record.extents.iter().map(|extent| u64::from(extent.len)).sum(),
                len_min: record.placed.header.len_min.get(),
                len: record.placed.header.len.get(),
                durable_through: CommitId::new(record.placed.header.durable_through.get()),
            })
            .collect();
    }
    let found = scan.is_some();
    // Beside a live writer file and journal move on between two looks: their disagreement would mean nothing.
    if report.writer.is_none() {
        match identity::decide(&report.data_file, &stat, mark, scan, Resolution::Replay) {
            Ok(_) => report.recovery_waits = found,
            Err(problem) => report.problem = Some(problem),
        }
    }
    Ok(report)
}
