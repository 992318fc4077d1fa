//! What stands at a name at one moment, and whether the same still stands there at another.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::identity::{self, FoundMark};
use super::super::open::refuse_unless_regular;
use super::super::trust;
use crate::disk::{Access, Disk, DiskFile, FileStat};
use crate::error::{Error, Result};
use crate::journal::{self, ScanError, format::Anchor, format::FileHeader};
use crate::knockout::holds;
use crate::names;

/// The change time of a file counts in ticks of the kernel's clock, the longest of which is 10 ms: two changes within this time
/// may look like one.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// So often neither anchor may be whole before both count as damaged.
const HEAD_READS: usize = 4;

#[derive(Debug)]
pub(super) struct Look {
    pub(super) data: Box<dyn DiskFile>,
    pub(super) stat: FileStat,
    pub(super) mark: FoundMark,
    pub(super) journal: Option<FoundJournal>,
}

#[derive(Debug)]
pub(super) struct FoundJournal {
    pub(super) file: Box<dyn DiskFile>,
    inode: u64,
    pub(super) header: FileHeader,
    pub(super) anchor: Anchor,
}

impl Look {
    pub(super) fn at(disk: &Arc<dyn Disk>, path: &Path) -> Result<Look> {
        let failed = |error| Error::from_io("open", error).path(path);
        // Looked at before it is opened: opening a device can already do something.
        refuse_unless_regular(path, &disk.stat(path).map_err(failed)?)?;
        let data = disk.open(path, Access::Read).map_err(failed)?;
        let journal = find_journal(disk, path, &data.stat().map_err(failed)?)?;
        let mark = identity::find_mark(&*data).map_err(failed)?;
        // Last: its length is one that belongs to the anchor, or to one behind it, which the second look finds.
        let stat = data.stat().map_err(failed)?;
        refuse_unless_regular(path, &stat)?;
        Ok(Look { data, stat, mark, journal })
    }

    /// Was the data file changed so lately that another change might not show?
    pub(super) fn is_young(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let age_ns = (now.as_nanos() as i128).saturating_sub(self.stat.changed_ns);
        age_ns.unsigned_abs() < TICK.as_nanos()
    }

    /// Did everything between the two looks happen to one state of file and journal?
    pub(super) fn is_still(&self, later: &Look) -> bool {
        // (Where the name has gone to another file, the one that was read has the state that it was opened with.)
        holds!("snapshot: the mark is the same", self.mark == later.mark)
            && match (&self.journal, &later.journal) {
                // Nothing but the file's own times tells what happened to a plain file.
                (None, None) => {
                    let change = |look: &Look| (look.stat.changed_ns, look.stat.len);
                    holds!("snapshot: a plain file is as it was", change(self) == change(later))
                }
                (Some(first), Some(second)) => {
                    let journal = |found: &FoundJournal| (found.inode, found.header.root());
                    holds!("snapshot: the journal is the same", journal(first) == journal(second))
                        && holds!(
                            "snapshot: no checkpoint came to its end meanwhile",
                            first.anchor.sequence == second.anchor.sequence
                        )
                }
                _ => holds!("snapshot: neither came nor went a journal", false),
            }
    }
}

/// A reader believes the journals that a writer would believe.
fn find_journal(disk: &Arc<dyn Disk>, path: &Path, data: &FileStat) -> Result<Option<FoundJournal>> {
    let journal_path = names::journal(path);
    let failed = |error| Error::from_io("open the journal", error).path(&journal_path);
    let Some(file) = trust::open_journal(disk, path, data, Access::Read)? else { return Ok(None) };
    let inode = file.stat().map_err(failed)?.inode;
    let (header, anchor) = read_head(&*file).map_err(|error| identity::unreadable(error, &journal_path))?;
    Ok(Some(FoundJournal { file, inode, header, anchor }))
}

/// One anchor is whole at any time; but a writer may have moved on from one to the other between the two reads.
fn read_head(file: &dyn DiskFile) -> Result<(FileHeader, Anchor), ScanError> {
    for _ in 1..HEAD_READS {
        match journal::head(file) {
            Err(ScanError::NoAnchor) => {}
            read => return read,
        }
    }
    journal::head(file)
}
