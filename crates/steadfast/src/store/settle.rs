//! What stands beside the data file and on it, before anything is begun: cleared away if it is harmless, refused if it does not
//! belong there, or a journal to recover from.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::identity::{self, FoundMark, Verdict};
use super::journaled_file::JournaledFileOptions;
use super::open::Locked;
use super::{CommitId, Recovery, Resolution, trust};
use crate::disk::{Access, Disk, DiskFile, FileKind, SyncPoint};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, Scan};
use crate::knockout::{holds, step, sync};
use crate::names;

/// A journal to recover from.
pub(super) struct Waiting {
    pub(super) scan: Scan,
    /// What was judged and scanned, for its records to be copied from.
    pub(super) file: Box<dyn DiskFile>,
}

/// Looks at mark and journal and clears away what is harmless. What is left is a journal to recover from.
pub(super) fn settle(
    disk: &Arc<dyn Disk>,
    locked: &Locked,
    options: &JournaledFileOptions,
) -> Result<(Option<Waiting>, Recovery)> {
    let path = &locked.path;
    let journal_path = names::journal(path);
    if options.resolution == Resolution::Discard {
        return Ok((None, discard_what_is_there(disk, locked, options.scrub)?));
    }
    // Its bytes may have to be overwritten once a fresh one has its name.
    let access = if options.scrub { Access::ReadWrite } else { Access::Read };
    let file = trust::open_journal(disk, path, &locked.stat, access)?;
    remove_leftover(disk, path, options.scrub)?;
    let mut recovery = Recovery { journal_found: file.is_some(), ..Recovery::default() };
    let scan = match &file {
        None => None,
        Some(file) => {
            Some(journal::scan(&**file).map_err(|error| identity::unreadable(error, &journal_path))?)
        }
    };
    match identity::decide(path, &locked.stat, locked.mark, scan, options.resolution)? {
        Verdict::Plain => Ok((None, recovery)),
        Verdict::Harmless => {
            discard(
                disk,
                path,
                &*locked.data,
                Found { marks: locked.mark != FoundMark::Unsupported, journal: true },
                options.scrub,
            )
            .map_err(|error| Error::from_io("open", error).path(&journal_path))?;
            Ok((None, recovery))
        }
        Verdict::Recover(scan) => {
            let last = scan.records.last().map(|record| record.placed.header.len);
            let len = last.unwrap_or(scan.anchor.data_len).get();
            // Here nothing is changed yet. What the file is long already it may stay.
            if len > locked.stat.len {
                let fits = step!("recover: a length that the file can have", locked.data.check_len(len));
                fits.map_err(|error| Error::from_io("recover", error).path(path).range(0..len))?;
            }
            recovery.replayed_commits = scan.records.len() as u64;
            recovery.last = CommitId::new(scan.last());
            recovery.torn_tail = scan.torn_tail;
            Ok((file.map(|file| Waiting { scan: *scan, file }), recovery))
        }
    }
}

/// What the name of a fresh journal leads to is removed, whatever it is: it is followed, read or written by nobody.
fn remove_leftover(disk: &Arc<dyn Disk>, path: &Path, scrub: bool) -> Result<()> {
    journal::remove_leftover(disk, path, scrub).map_err(|error| {
        let name = names::fresh_journal(path);
        if error.raw_os_error() == Some(libc::EISDIR) {
            return Error::new(
                ErrorKind::Identity,
                "open",
                "the name that a fresh journal needs is taken by a directory",
            )
            .path(name)
            .source_io(error)
            .advice("move it away");
        }
        Error::from_io("open", error)
            .path(name)
            .advice("a fresh journal needs this name: move away what has it, or let its owner do so")
    })
}

/// The explicit way out. Nothing of the journal is read: so it matters neither what it holds nor whose it is, and a link or a
/// FIFO in its place goes as well. A directory stays, and what is mounted there.
fn discard_what_is_there(disk: &Arc<dyn Disk>, locked: &Locked, scrub: bool) -> Result<Recovery> {
    let journal = names::journal(&locked.path);
    let failed = |error| Error::from_io("discard", error).path(&journal);
    let folder = disk.stat(names::folder(&locked.path)).map_err(failed)?;
    let found = match disk.stat(&journal) {
        Ok(found) => Some(found),
        // no check: the error's kind
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    if let Some(found) = &found
        && !(holds!("discard: no directory", found.kind != FileKind::Directory)
            && holds!(
                "discard: nothing that is mounted",
                (found.device, found.mount) == (folder.device, folder.mount)
            ))
    {
        let what = found.kind;
        let reason = format!("the journal's name is taken by {what} (or a mount), which is not removed");
        return Err(Error::new(ErrorKind::Identity, "discard", reason)
            .path(&journal)
            .advice("move it away; nothing was changed"));
    }
    remove_leftover(disk, &locked.path, scrub)?;
    // no check: what the file system can hold; without marks there is nothing to remove
    let (marks, journal) = (locked.mark != FoundMark::Unsupported, found.is_some());
    discard(disk, &locked.path, &*locked.data, Found { marks, journal }, scrub).map_err(failed)?;
    // no check: it is only told
    let discarded = found.is_some() || locked.mark != FoundMark::None;
    Ok(Recovery { journal_found: found.is_some(), discarded, ..Recovery::default() })
}

/// What there may be to remove.
pub(super) struct Found {
    /// The file system takes marks.
    pub(super) marks: bool,
    pub(super) journal: bool,
}

/// Removes mark and journal. In between, with `scrub`, the halves of the journal are overwritten: a stop there leaves a journal with
/// fewer records than before, or none, beside a file that is no longer marked.
pub(super) fn discard(
    disk: &Arc<dyn Disk>,
    path: &Path,
    data: &dyn DiskFile,
    found: Found,
    scrub: bool,
) -> io::Result<()> {
    // Also where no mark is found: one that was removed but not synced would come back without its journal.
    let unmark = || -> io::Result<()> {
        if found.marks {
            step!("discard: the mark is removed", data.set_mark(None))?;
            sync!("discard: the mark's end", data.sync(SyncPoint::Unmark))?;
        }
        Ok(())
    };
    let remove = || -> io::Result<()> {
        if found.journal {
            let journal = names::journal(path);
            if scrub {
                let halves_at = journal::format::HALVES_AT;
                step!(
                    "discard: the journal is scrubbed",
                    journal::overwrite_unread(&**disk, &journal, halves_at)
                )?;
            }
            step!("discard: the journal is removed", disk.remove(&journal))?;
            let folder = names::folder(path);
            sync!("discard: the journal's end", disk.sync_dir(folder, SyncPoint::JournalGone))?;
        }
        Ok(())
    };
    unmark()?;
    remove()
}
