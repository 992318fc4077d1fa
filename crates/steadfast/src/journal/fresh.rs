//! A journal that takes its place whole or not at all.
//!
//! Made at open, at recovery, when a record outgrows the halves, and after a failed flush: under a name of its own,
//! with every block written, synced, renamed, and the folder synced. Only then does anyone rely on it. A crash before
//! the rename leaves the old journal, a crash after it the new one, and both describe the same state.

use std::io;
use std::path::Path;
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::format::{Anchor, BLOCK_BYTES, FileHeader, HALVES_AT};
use super::scrub::{overwrite_unread, write_zeros};
use super::{Journal, Placed};
use crate::batch::Batch;
use crate::disk::{Access, Disk, DiskFile, SyncPoint};
use crate::kept::Kept;
use crate::knockout::{step, sync};
use crate::names;

/// What a fresh journal starts from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FreshJournal {
    pub(crate) identity: [u8; 16],
    pub(crate) epoch: u64,
    pub(crate) previous_epoch: u64,
    pub(crate) half_bytes: u64,
    pub(crate) data_inode: u64,
    pub(crate) flags: u32,
    /// Permissions and owner: those of the data file, so that whoever may recover the one may read the other.
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// The state that the records stand on.
    pub(crate) checkpointed_through: u64,
    pub(crate) data_len: u64,
    /// Overwrite what an unfinished one held before it is removed.
    pub(crate) scrub: bool,
}

/// Why there is no fresh journal.
#[derive(Debug)]
pub(crate) struct EstablishError {
    pub(crate) source: io::Error,
    /// It may have taken its place all the same: which of the two a crash leaves is unknown.
    pub(crate) named: bool,
}

/// Makes a journal with `records` in it, durable and in place. On an error before the rename the old journal, if
/// there is one, still stands.
pub(crate) fn establish(
    disk: &Arc<dyn Disk>,
    data_path: &Path,
    fresh: &FreshJournal,
    last_carried: u64,
    mut records: impl FnMut(&mut dyn FnMut(u64, &Batch<'_>) -> io::Result<Placed>) -> io::Result<()>,
) -> Result<Journal, EstablishError> {
    let unnamed = |source| EstablishError { source, named: false };
    let temporary = names::fresh_journal(data_path);
    remove_leftover(disk, data_path, fresh.scrub).map_err(unnamed)?;
    let made: io::Result<Journal> = (|| {
        let file: Arc<dyn DiskFile> = disk.open(&temporary, Access::CreateNew { mode: 0o600 })?.into();
        // Ours alone until it is who it should be: whoever opens it before that could write it for ever.
        let mode = fresh.mode & 0o666 | 0o600;
        step!("fresh: its owner and permissions", file.set_owner(fresh.owner, mode))?;
        file.keep_in_place()?;
        let header = FileHeader::new(
            fresh.identity,
            fresh.epoch,
            fresh.previous_epoch,
            random()?,
            fresh.half_bytes,
            fresh.data_inode,
            fresh.flags,
        );
        // Every block is allocated and written now: a commit must neither meet a full disk here nor wait for metadata.
        let bytes = header.journal_bytes();
        step!("fresh: may become that long", file.check_len(bytes))?;
        // no switch: only for blocks that lie together; the zeros need as much space, and meet a full disk as well.
        file.reserve(0..bytes)?;
        step!("fresh: written to its end", write_zeros(&*file, 0..bytes))?;
        let mut block = [0; BLOCK_BYTES as usize];
        block[..size_of::<FileHeader>()].copy_from_slice(header.as_bytes());
        step!("fresh: its header", file.write_at(&[&block], 0))?;
        let anchor =
            Anchor::new(&header, 1, fresh.checkpointed_through, HALVES_AT, header.root(), fresh.data_len);
        let mut journal = Journal {
            file,
            header,
            anchor_sequence: 1,
            checkpointed_through: fresh.checkpointed_through,
            half: 0,
            position: HALVES_AT,
            predecessor: header.root(),
            last: fresh.checkpointed_through,
            last_len: fresh.data_len,
            durable: fresh.checkpointed_through,
            used_bytes: [0; 2],
            written_bytes: [0; 2],
            sealed: None,
            blocks: Kept::default(),
        };
        step!("fresh: its anchor", journal.write_anchor(&anchor))?;
        // All of them are durable before the journal has its name: a record missing later is corruption, not a torn tail.
        let durable = step!("fresh: its records vouch for the last", last_carried, or journal.durable);
        records(&mut |id, batch| journal.append_as(id, batch, durable))?;
        sync!("fresh: whole before it has its name", journal.file.sync(SyncPoint::FreshJournal))?;
        journal.is_durable(journal.last);
        // no switch: what was written here is not read before a checkpoint, and cached pages would be in the way of direct I/O.
        journal.file.drop_clean_pages()?;
        Ok(journal)
    })();
    let journal = match made {
        Ok(journal) => journal,
        Err(error) => {
            // The cause is what matters; a left-over is removed at the next open.
            let nothing_left = || remove_leftover(disk, data_path, fresh.scrub);
            let _ = step!("fresh: nothing is left of a failed one", nothing_left());
            return Err(unnamed(error));
        }
    };
    let place = || {
        step!("fresh: gets its name", disk.rename(&temporary, &names::journal(data_path)))?;
        let folder = names::folder(data_path);
        sync!("fresh: its name", disk.sync_dir(folder, SyncPoint::FreshJournalName))
    };
    place().map_err(|source| EstablishError { source, named: true })?;
    Ok(journal)
}

/// An unfinished fresh journal is deleted, never replayed. With `scrub`, what it held is overwritten first.
pub(crate) fn remove_leftover(disk: &Arc<dyn Disk>, data_path: &Path, scrub: bool) -> io::Result<()> {
    let path = names::fresh_journal(data_path);
    if scrub {
        step!("scrub: a left-over", overwrite_unread(&**disk, &path, 0))?;
    }
    match step!("fresh: a left-over is removed", disk.remove(&path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A number that no other journal has.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

pub(crate) fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        done += rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}
