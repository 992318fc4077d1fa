//! Whose is the journal that is found?
//!
//! A journal is replayed over the data file: whoever can write it can write that. So it is believed only if nobody could
//! have written it who may not write the data file as well. This is judged by the open file from which the records then come,
//! since its name may lead elsewhere a moment later.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Access, Disk, DiskFile, FileKind, FileStat};
use crate::error::{Error, ErrorKind, Result};
use crate::knockout::{holds, step};
use crate::names;

/// Opens the journal of the data file at `path`, if there is one, for `access`. What is not to be believed is refused, and left
/// as it is.
pub(super) fn open_journal(
    disk: &Arc<dyn Disk>,
    path: &Path,
    data: &FileStat,
    access: Access,
) -> Result<Option<Box<dyn DiskFile>>> {
    let journal = names::journal(path);
    let failed = |error| Error::from_io("open the journal", error).path(&journal);
    let folder = disk.stat(names::folder(path)).map_err(failed)?;
    let me = rustix::process::geteuid().as_raw();
    let judge = |found: &FileStat| match distrust(found, &folder, data, me) {
        None => Ok(()),
        Some((reason, advice)) => {
            Err(Error::new(ErrorKind::Identity, "open the journal", reason).path(&journal).advice(advice))
        }
    };
    // First by name: to open a device can already do something, and what another user made private cannot be opened.
    match disk.stat(&journal) {
        Ok(found) => judge(&found)?,
        // no check: the error's kind
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let file = match disk.open(&journal, access) {
        Ok(file) => file,
        // no check: the error's kind
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // And this is what counts: the name may have been given to another file in between.
    let found = file.stat().map_err(failed)?;
    step!("trust: what was opened is judged", judge(&found))?;
    Ok(Some(file))
}

/// Why this file is not to be believed as the journal of `data`, and what to do; `None` if it is. `me` is the user who asks.
fn distrust(journal: &FileStat, folder: &FileStat, data: &FileStat, me: u32) -> Option<(String, String)> {
    let advice = |first: &str| {
        format!(
            "nothing was replayed or changed; {first}, or `steadfast recover --discard` to drop it and keep the file as it \
             stands"
        )
    };
    if !holds!("trust: a regular file", journal.kind == FileKind::Regular) {
        let reason =
            format!("the journal's name is taken by {} that is not a journal of this file", journal.kind);
        return Some(match journal.kind {
            FileKind::Directory => (reason, "nothing was replayed or changed; move it away".into()),
            _ => (reason, advice("move it away")),
        });
    }
    // The folder's, which is the data file's unless another device was allowed.
    if !holds!(
        "trust: on its folder's device",
        (journal.device, journal.mount) == (folder.device, folder.mount)
    ) {
        let reason = "what has the journal's name lies on another device or mount than its folder, and is not a journal of \
                      this file";
        return Some((reason.into(), "nothing was replayed or changed; unmount it".into()));
    }
    if !holds!("trust: one name", journal.links <= 1) {
        let reason = format!(
            "the journal has {} hard links: whoever made another could have chosen what is in it",
            journal.links
        );
        return Some((reason, advice("remove the other links once you know whose they are")));
    }
    let known = "if you know that it is this file's, give it the file's owner and permissions (chown, chmod)";
    // Whoever opens trusts itself: one who may write another's file cannot give a journal away, and must be able to recover.
    let (user, owner) = (journal.owner.0, data.owner.0);
    if !holds!("trust: an owner to be believed", user == owner || user == 0 || user == me) {
        let reason = format!("the journal belongs to user {user}, the file to user {owner}");
        return Some((reason, advice(&format!("let user {user} recover it; {known}"))));
    }
    if !holds!("trust: no more may write it", journal.mode & 0o022 & !data.mode == 0) {
        let reason = format!(
            "the journal (mode {:03o}) may be written by others than the file (mode {:03o})",
            journal.mode, data.mode
        );
        return Some((reason, advice(known)));
    }
    // What everybody may write, every group may.
    let (group, files_group) = (journal.owner.1, data.owner.1);
    let group_counts = journal.mode & 0o020 != 0 && data.mode & 0o002 == 0; // no check: the next line is
    if !holds!("trust: no other group may write it", !group_counts || group == files_group) {
        let reason =
            format!("the journal may be written by another group ({group}) than the file ({files_group})");
        return Some((reason, advice(known)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileStat = FileStat {
        kind: FileKind::Regular,
        len: 0,
        device: 1,
        mount: Some(1),
        inode: 5,
        links: 1,
        mode: 0o640,
        owner: (10, 20),
        changed_ns: 0,
        modified_ns: 0,
    };
    const FOLDER: FileStat = FileStat { kind: FileKind::Directory, mode: 0o755, ..FILE };

    /// What is said of this journal beside this file, if it is refused to user `me`.
    fn said(journal: FileStat, data: FileStat, me: u32) -> Option<String> {
        distrust(&journal, &FOLDER, &data, me).map(|(reason, _)| reason)
    }

    #[test]
    fn a_journal_is_believed_by_whose_it_is() {
        let with = |mode, user, group| FileStat { mode, owner: (user, group), ..FILE };
        let accepted = |journal, data, me| assert_eq!(said(journal, data, me), None, "{journal:?} {data:?}");
        accepted(FILE, FILE, 10);
        accepted(FILE, FILE, 0);
        accepted(with(0o600, 0, 0), FILE, 10);
        accepted(with(0o600, 30, 30), FILE, 30);
        // Who may read it is no matter.
        accepted(with(0o644, 10, 30), FILE, 10);
        accepted(with(0o660, 10, 20), with(0o660, 10, 20), 10);
        accepted(with(0o666, 10, 30), with(0o666, 10, 20), 10);
        accepted(with(0o660, 10, 30), with(0o662, 10, 20), 10);

        #[track_caller]
        fn refused(journal: FileStat, data: FileStat, me: u32, words: &str) {
            let said = said(journal, data, me).unwrap_or_else(|| panic!("believed: {journal:?} {data:?}"));
            assert!(said.contains(words), "{said}");
        }
        for me in [0, 10] {
            refused(with(0o600, 30, 30), FILE, me, "belongs to user 30, the file to user 10");
        }
        refused(with(0o660, 10, 20), FILE, 10, "mode 660) may be written by others");
        refused(with(0o602, 10, 20), FILE, 10, "mode 602) may be written by others");
        refused(with(0o666, 10, 20), with(0o660, 10, 20), 10, "by others");
        refused(with(0o660, 10, 30), with(0o660, 10, 20), 10, "another group (30) than the file (20)");
        refused(FileStat { links: 2, ..FILE }, FILE, 10, "2 hard links");
        refused(FileStat { device: 2, ..FILE }, FILE, 10, "another device or mount");
        refused(FileStat { mount: Some(2), ..FILE }, FILE, 10, "another device or mount");
        for kind in
            [FileKind::Directory, FileKind::Fifo, FileKind::Device, FileKind::Symlink, FileKind::Other]
        {
            refused(FileStat { kind, ..FILE }, FILE, 10, &kind.to_string());
        }
    }
}
