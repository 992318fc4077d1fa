//! Do this journal and this data file belong together?
//!
//! A journal replayed over the wrong file destroys it, and a file opened without its journal lacks commits. So both
//! carry the same identity, and whatever does not fit is refused, with the reason and the two explicit ways out.

use std::path::Path;

use super::Resolution;
use super::mark::Mark;
use crate::disk::{DiskFile, FileStat};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::format::{FLAG_MARKED, HeaderError, VERSION};
use crate::journal::{Gap, Scan, ScanError};
use crate::knockout::{holds, step};

/// The mark on a data file, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundMark {
    /// The file system has no extended attributes.
    Unsupported,
    None,
    Ours(Mark),
    /// A value that this version cannot read.
    Unknown,
}

pub(super) fn find_mark(data: &dyn DiskFile) -> std::io::Result<FoundMark> {
    match data.mark() {
        Ok(None) => Ok(FoundMark::None),
        Ok(Some(bytes)) => Ok(Mark::decode(&bytes).map_or(FoundMark::Unknown, FoundMark::Ours)),
        // no check: the error's kind
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(FoundMark::Unsupported),
        Err(error) => Err(error),
    }
}

/// What to do with what stands beside and on the data file.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Neither mark nor journal: a plain file.
    Plain,
    /// A journal without a single commit, left by a crash before the first acknowledgement or at the end of `close`.
    Harmless,
    /// Recover from this journal.
    Recover(Box<Scan>),
}

const WAYS_OUT: &str = "put the file and its journal back together; or `steadfast recover --adopt` to replay this journal \
                        over this file, or `--discard` to drop it and keep the file as it stands";

/// The error for a journal that cannot be read.
pub(super) fn unreadable(error: ScanError, journal: &Path) -> Error {
    let refuse = |kind, reason: String| Error::new(kind, "open the journal", reason).path(journal);
    match error {
        ScanError::Io(error) => Error::from_io("read the journal", error).path(journal),
        ScanError::Header(HeaderError::Foreign) => {
            refuse(ErrorKind::Identity, "the file with the journal's name is not a journal".into())
                .advice("move it away, or find out what wrote it; nothing was changed")
        }
        ScanError::Header(HeaderError::Version(version)) => refuse(
            ErrorKind::Unsupported,
            format!("the journal has format version {version}, this library reads version {VERSION}"),
        )
        .advice("recover with the version that wrote it"),
        ScanError::Header(HeaderError::Damaged) => {
            refuse(ErrorKind::Corrupt, "the journal's header is damaged (offset 0)".into()).advice(
                "restore file and journal from a backup, or `steadfast recover --discard` to keep the file as it stands",
            )
        }
        ScanError::Cut { len, want } => {
            refuse(ErrorKind::Corrupt, format!("the journal was cut: {len} bytes, its header says {want}"))
                .advice("restore the journal, or `steadfast recover --discard` to keep the file as it stands")
        }
        ScanError::NoAnchor => {
            refuse(ErrorKind::Corrupt, "both anchors of the journal are damaged (offsets 4096 and 8192)".into())
                .advice(
                    "restore the journal, or `steadfast recover --discard` to keep the file as it stands",
                )
        }
    }
}

/// Refuses a chain that ends before what is known to have been durable.
pub(super) fn check_sound(scan: &Scan, journal: &Path) -> Result<()> {
    match scan.corrupt {
        None => Ok(()),
        Some(Gap { position, id, durable_through }) => Err(Error::new(
            ErrorKind::Corrupt,
            "open the journal",
            format!(
                "the record of commit {id} at journal offset {position} is damaged or missing, although commit \
                 {durable_through} was durable"
            ),
        )
        .path(journal)
        .advice(
            "nothing was replayed; restore file and journal from a backup, or `steadfast recover --discard` to keep \
             the data file as it stands",
        )),
    }
}

/// Decides. `adopt` waives the checks of identity, never those of soundness.
pub(super) fn decide(
    path: &Path,
    stat: &FileStat,
    mark: FoundMark,
    journal: Option<Scan>,
    resolution: Resolution,
) -> Result<Verdict> {
    let adopt = resolution == Resolution::Adopt; // no check: what was asked for
    let refuse = |reason: String| Error::new(ErrorKind::Identity, "open", reason).path(path).advice(WAYS_OUT);
    let Some(scan) = journal else {
        let plain = matches!(mark, FoundMark::None | FoundMark::Unsupported);
        if holds!("identity: a marked file has its journal", plain) {
            return Ok(Verdict::Plain);
        }
        return Err(refuse(
            "it is marked as open for commits, but its journal is missing: it was copied or moved alone, or the \
             journal was deleted; commits may be lacking"
                .into(),
        )
        .advice("put the journal back beside it; or `steadfast recover --discard` to take the file as it stands"));
    };
    step!("identity: the chain is sound", check_sound(&scan, path))?;
    let journal_marks = scan.header.flags.get() & FLAG_MARKED != 0; // no check: looked at below
    match mark {
        _ if adopt => return Ok(Verdict::Recover(Box::new(scan))),
        FoundMark::Unknown => {
            if !holds!("identity: a mark that this version reads", mark != FoundMark::Unknown) {
                return Err(refuse("its mark (user.steadfast) is not one that this version can read".into()));
            }
        }
        FoundMark::None | FoundMark::Unsupported if journal_marks => {
            if holds!("identity: commits have their mark", scan.records.is_empty()) {
                return Ok(Verdict::Harmless);
            }
            return Err(refuse(
                "a journal with commits stands beside it, but the file does not carry the journal's mark: it was replaced \
                 or restored, or the journal is another file's"
                    .into(),
            ));
        }
        FoundMark::Ours(mark) if journal_marks => {
            let epoch = mark.epoch.get();
            if !holds!("identity: the same in file and journal", mark.identity == scan.header.identity) {
                return Err(refuse("the journal beside it belongs to another file".into()));
            }
            let known = holds!(
                "identity: an epoch that the journal accepts",
                epoch == scan.header.epoch.get() || epoch == scan.header.previous_epoch.get()
            );
            if !known {
                return Err(refuse(format!(
                    "file and journal are of different times (epoch {epoch} and {}): one of them was restored",
                    scan.header.epoch
                )));
            }
            let file_through = mark.checkpointed_through.get();
            let journal_from = scan.anchor.checkpointed_through.get();
            if !holds!("identity: the file is not older than the journal", file_through >= journal_from) {
                return Err(refuse(format!(
                    "the file is older than its journal (it holds commits through {file_through}, the journal begins after \
                     {}): it was restored from a copy",
                    scan.anchor.checkpointed_through
                )));
            }
            if !holds!("identity: the journal is not older than the file", file_through <= scan.last()) {
                return Err(refuse(format!(
                    "the journal is older than the file (the file holds commits through {file_through}, the journal ends \
                     at {}): it was restored from a copy",
                    scan.last()
                )));
            }
        }
        // A journal of a file system without marks: the inode must do.
        FoundMark::None | FoundMark::Unsupported => {
            if !holds!("identity: the journal's inode", scan.header.data_inode.get() == stat.inode) {
                if scan.records.is_empty() {
                    return Ok(Verdict::Harmless);
                }
                return Err(refuse(
                    "the journal was written for another inode, and neither carries a mark: one of them was copied or replaced"
                        .into(),
                ));
            }
        }
        FoundMark::Ours(_) => {
            if !holds!("identity: the journal of a marked file knows of the mark", journal_marks) {
                return Err(refuse(
                    "the file carries a mark, but its journal was written without one".into(),
                ));
            }
        }
    }
    // A checkpoint may have been stopped anywhere; all the lengths on its way lie between these two.
    let base = scan.anchor.data_len.get();
    let lens = || scan.records.iter().map(|record| record.placed.header.len.get()).chain([base]);
    let (min, max) = (lens().min().unwrap_or(base), lens().max().unwrap_or(base));
    let known = holds!("identity: no shorter than the journal knows", stat.len >= min)
        && holds!("identity: no longer than the journal knows", stat.len <= max);
    if !known {
        return Err(refuse(format!(
            "its length of {} bytes is none that the journal knows ({min} to {max}): another program changed it",
            stat.len
        )));
    }
    Ok(Verdict::Recover(Box::new(scan)))
}
