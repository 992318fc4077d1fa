//! Readers beside a writer: the last commit, taken without a lock and without a trace.
//!
//! A reader may find a checkpoint in the middle of its work, records that come while it reads, and a journal that is replaced or
//! removed under its hands. What it goes by:
//!
//! 1. It **looks** at the file: its mark, its length, the journal's header and anchor.
//! 2. It reads the data file, all of it, into memory.
//! 3. It scans the journal and lays the records over what it read, as far as commit L, the end of the chain.
//! 4. It **looks again**. Only if mark, journal and anchor are still the same is what it has a state; else it begins anew.
//!
//! *Why that is the state of L.* Both looks found the same anchor A, and an anchor's number only grows: it was A all the while. So
//! every byte of the data file that somebody wrote between the looks was written by a checkpoint of commits behind A, and so was every
//! byte that an earlier, unfinished checkpoint left. A checkpoint begins only with records that are in the journal; step 3 came
//! after step 2, so it found the records of all bytes that step 2 may have met. Their space is used again only behind a newer
//! anchor, so none of them was lost. Hence each byte read in step 2 is that of A, or lies where a record of the chain says
//! what it is in the end: in an extent, behind a cut, or behind A's length, where zeros count. Step 3 says it.
//!
//! *Why it need not ask who writes.* A mark, an anchor and a journal that stood together at one moment are what a kill at that moment
//! would leave. So they are judged as an open judges what a crash left (`identity::decide`): what a live writer does is
//! never refused, and what would be refused after a crash is refused beside a writer as well. Judged is only what two looks
//! found the same. A file without a journal has no anchor; there the change time says whether it stayed as it was, once it is
//! older than a tick of the clock.
//!
//! *What is shown is durable.* A record in the page cache may not be: a relaxed commit, a flush under way or one that failed, a
//! writer that was killed before it. What a later record calls durable is; the newest one nobody vouches for. So the journal is
//! flushed, through the reader's own descriptor, and its end is then read back from the disk, since pages that a failed flush
//! left look clean and are on no disk. Where the mark does not say that the journal's name is durable (it took its place just
//! now, or there are no marks), the name is flushed as well. All this comes after the second look, and changes nothing in what was read: it says whether it stands.

mod image;
mod look;

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zerocopy::IntoBytes;

use self::image::Image;
use self::look::{FoundJournal, Look};
use super::identity::{self, FoundMark, Verdict};
use super::open::refuse_companion;
use super::{Batch, CommitId, Flush, Resolution, Status, Store};
use crate::disk::{Disk, DiskFile, Durability, SyncPoint};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, FoundRecord, Scan, ScanError, format::RECORD_HEADER_BYTES};
use crate::knockout::{holds, step, sync};
use crate::names;

/// So often the file is read before it counts as changing faster than that.
const READS_MAX: usize = 16;

/// The last commit of a file, in memory.
#[derive(Debug)]
pub(crate) struct Snapshot {
    path: PathBuf,
    image: Image,
    last: CommitId,
    checkpointed: CommitId,
}

impl Snapshot {
    /// Takes one. `allow_network` accepts file systems whose other users may not see one another's writes.
    pub(crate) fn open_on(disk: &Arc<dyn Disk>, asked: &Path, allow_network: bool) -> Result<Snapshot> {
        let failed = |error| Error::from_io("open", error).path(asked);
        let path = disk.resolve(asked).map_err(failed)?;
        refuse_companion(&path)?;
        refuse_network(disk, &path, allow_network)?;
        for _ in 0..READS_MAX {
            if let Some(snapshot) = take(disk, &path)? {
                return Ok(snapshot);
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            "open",
            format!("it was read {READS_MAX} times, and each time a checkpoint came to its end meanwhile: it is written faster than read"),
        )
        .path(path)
        .advice("try again, ask the writer for a larger journal, or for a copy (`copy_to`) or `publish(true)`"))
    }

    fn read_only(&self, operation: &'static str) -> Error {
        Error::new(ErrorKind::ReadOnly, operation, "the map was opened for reading only")
            .path(&self.path)
            .advice("open it without `read_only` to commit, or write its bytes elsewhere with `copy_to`")
    }
}

fn refuse_network(disk: &Arc<dyn Disk>, path: &Path, allowed: bool) -> Result<()> {
    let found = disk.durability(names::folder(path));
    match found.map_err(|error| Error::from_io("open", error).path(path))? {
        Durability::Network(name) if !allowed => Err(Error::new(
            ErrorKind::Unsupported,
            "open",
            format!("{name} is a network file system: what another machine commits may be seen in part"),
        )
        .path(path)
        .advice("read it on the machine that writes it, or set allow_volatile")),
        _ => Ok(()),
    }
}

/// Reads the file once; `None` if it moved on meanwhile.
fn take(disk: &Arc<dyn Disk>, path: &Path) -> Result<Option<Snapshot>> {
    let failed = |error| Error::from_io("open", error).path(path);
    let mut before = Look::at(disk, path)?;
    if before.journal.is_none() && before.is_young() {
        std::thread::sleep(look::TICK);
        before = Look::at(disk, path)?;
    }
    let mut image = Image::of_file(&*before.data, before.stat.len).map_err(failed)?;
    let scan = match &before.journal {
        None => None,
        Some(journal) => match read_journal(journal, &mut image) {
            Ok(scan) => Some(scan),
            // It was read before: the writer has gone on, and the next look says how.
            Err(ScanError::NoAnchor) => return Ok(None),
            Err(ScanError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
            Err(error) => return Err(identity::unreadable(error, &names::journal(path))),
        },
    };
    let after = Look::at(disk, path)?;
    if !before.is_still(&after) {
        return Ok(None);
    }
    let decided = identity::decide(path, &before.stat, before.mark, scan, Resolution::Replay)?;
    let (last, checkpointed) = match (decided, &before.journal) {
        (Verdict::Recover(scan), Some(journal)) => {
            if scan.records.is_empty() {
                image.lay(&scan, &*journal.file).map_err(failed)?;
            }
            let durable = sees_durable(disk, path, before.mark, journal, &scan);
            if !step!("snapshot: what is shown is durable", durable, or Ok(true))? {
                return Ok(None);
            }
            (scan.last(), scan.anchor.checkpointed_through.get())
        }
        _ => (0, 0),
    };
    image.seal();
    let (last, checkpointed) = (CommitId::new(last), CommitId::new(checkpointed));
    Ok(Some(Snapshot { path: path.to_path_buf(), image, last, checkpointed }))
}

/// Scans the journal and lays its records over the image.
fn read_journal(journal: &FoundJournal, image: &mut Image) -> Result<Scan, ScanError> {
    let scan = journal::scan(&*journal.file)?;
    // Without commits it may be the journal of a plain file that counts as it stands.
    if !scan.records.is_empty() {
        image.lay(&scan, &*journal.file)?;
    }
    Ok(scan)
}

/// Sees to it that every record of the chain is durable; `false` if the disk does not hold what was found.
fn sees_durable(
    disk: &Arc<dyn Disk>,
    path: &Path,
    mark: FoundMark,
    journal: &FoundJournal,
    scan: &Scan,
) -> Result<bool> {
    if scan.records.is_empty() {
        return Ok(true);
    }
    // A fresh journal's records call one another durable: they are, but they count only under the journal's name.
    let is_named = matches!(mark, FoundMark::Ours(mark) if mark.epoch == journal.header.epoch); // no check: flushed if not
    if !is_named {
        let folder = names::folder(path);
        sync!("snapshot: its name is synced", disk.sync_dir(folder, SyncPoint::ShownName))
            .map_err(|error| Error::from_io("flush the journal's name", error).path(folder))?;
    }
    let known = scan.records.iter().map(|record| record.placed.header.durable_through.get()).max();
    let known = known.unwrap_or_default();
    // no check: all of this function is in one
    if scan.last() <= known {
        return Ok(true);
    }
    let journal_path = names::journal(path);
    let failed = |error| {
        Error::from_io("flush the journal", error).path(&journal_path).advice(
            "whether the last commit is durable is not known; mend the disk, or let the writer say what it knows",
        )
    };
    sync!("snapshot: its records are synced", journal.file.sync_data(SyncPoint::Shown)).map_err(failed)?;
    step!("snapshot: read back from the disk", journal.file.drop_clean_pages()).map_err(failed)?;
    // no check: the others are vouched for
    for record in scan.records.iter().filter(|record| record.id() > known) {
        if !holds!("snapshot: the disk holds the record", is_there(record, &*journal.file).map_err(failed)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Does the record still stand where it was found?
fn is_there(record: &FoundRecord, journal: &dyn DiskFile) -> io::Result<bool> {
    let mut head = [0; RECORD_HEADER_BYTES as usize];
    let count = journal.read_at(&mut head, record.placed.position)?;
    if count < head.len() || head != *record.placed.header.as_bytes() {
        return Ok(false);
    }
    match record.placed.read_body(journal) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
        Err(error) => Err(error),
    }
}

impl Store for Snapshot {
    fn path(&self) -> &Path {
        &self.path
    }

    fn committed_len(&self) -> u64 {
        self.image.len()
    }

    fn read_committed(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = offset..offset.saturating_add(buf.len() as u64);
        let failed = |error| Error::from_io("read", error).path(&self.path).range(range.clone());
        self.image.read_at(buf, offset).map_err(failed)
    }

    fn commit(&mut self, _batch: &Batch<'_>, _flush: Flush) -> Result<CommitId> {
        Err(self.read_only("commit"))
    }

    fn start_checkpoint(&mut self) -> Result<()> {
        Err(self.read_only("checkpoint"))
    }

    fn is_behind(&self, _range: Range<u64>) -> Result<bool> {
        Ok(false)
    }

    fn checkpoint(&mut self) -> Result<()> {
        Err(self.read_only("checkpoint"))
    }

    /// Just lets go: nothing was taken.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }

    fn status(&self) -> Status {
        Status { last: self.last, durable: self.last, checkpointed: self.checkpointed, ..Status::default() }
    }

    /// The state that it holds is known, which is what a rollback and a copy ask for.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn page_cache(&self) -> Option<BorrowedFd<'_>> {
        Some(self.image.descriptor())
    }
}
