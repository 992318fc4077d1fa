//! The write-ahead log beside the data file: two halves that take records in turn, and an anchor that says where the
//! chain of records begins.
//!
//! The journal knows nothing of what its records mean; a store does. What it promises:
//!
//! - a record is found again exactly if all of it reached the disk, and only behind its predecessor;
//! - space that the anchor has not let go of is never written again;
//! - a gap in the chain is told apart: a torn tail that was never durable, or corruption.

pub(crate) mod format;
mod fresh;
mod scan;
mod scrub;

use std::io;
use std::sync::Arc;

use zerocopy::IntoBytes;

use crate::batch::{Batch, Extent};
use crate::disk::{DiskFile, SyncPoint};
use crate::kept::Kept;
use crate::knockout::{holds, sync};
use format::{
    Anchor, BLOCK_BYTES, BodyCheck, EXTENT_BYTES, ExtentEntry, FileHeader, RECORD_HEADER_BYTES, RecordFields,
    RecordHeader,
};

pub(crate) use fresh::{FreshJournal, establish, fill_random, remove_leftover};
pub(crate) use scan::{FoundRecord, Gap, Scan, ScanError, head, scan};
pub(crate) use scrub::{overwrite_unread, overwrite_whole};

/// Smaller halves would checkpoint at almost every commit.
pub(crate) const HALF_BYTES_MIN: u64 = 4 * BLOCK_BYTES;
/// Larger journals are refused: 1 TiB is beyond any use, and far from overflow.
pub(crate) const JOURNAL_BYTES_MAX: u64 = 1 << 40;

/// Bytes of a record with these extents, before padding.
pub(crate) fn record_bytes(extents: &[Extent], payload_bytes: u64) -> u64 {
    RECORD_HEADER_BYTES + extents.len() as u64 * EXTENT_BYTES + payload_bytes
}

/// A record that stands in the journal: where its bytes are, and what they must check to.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) position: u64,
    pub(crate) header: RecordHeader,
}

impl Placed {
    /// Where the bytes of the first extent stand.
    pub(crate) fn payload_at(&self) -> u64 {
        self.position + RECORD_HEADER_BYTES + self.header.table_bytes()
    }

    /// Reads table and payload piece by piece: the extents, or `None` if they are not what was written. Takes memory for what was really
    /// written, since no extent is empty, and not for what the header claims.
    pub(crate) fn extents(&self, file: &dyn DiskFile) -> io::Result<Option<Vec<Extent>>> {
        let mut check = BodyCheck::new(&self.header);
        let (mut at, end) =
            (self.position + RECORD_HEADER_BYTES, self.position + self.header.record_bytes.get());
        let mut piece = vec![0; PIECE_BYTES.min(end - at) as usize];
        let mut extents = Vec::new();
        let payload_at = self.payload_at();
        while at < payload_at {
            let entries = &mut piece[..PIECE_BYTES.min(payload_at - at) as usize];
            if file.read_at(entries, at)? < entries.len() || !check.table(entries) {
                return Ok(None);
            }
            extents.extend(extents_in(entries));
            at += entries.len() as u64;
        }
        if !check.table_ends() {
            return Ok(None);
        }
        while at < end {
            let bytes = &mut piece[..PIECE_BYTES.min(end - at) as usize];
            if file.read_at(bytes, at)? < bytes.len() {
                return Ok(None);
            }
            check.payload(bytes);
            at += bytes.len() as u64;
        }
        Ok(check.ends().then_some(extents))
    }

    /// Reads table and payload, and checks them. An error of kind `InvalidData` says that they are not what was written.
    pub(crate) fn read_body(&self, file: &dyn DiskFile) -> io::Result<Vec<u8>> {
        let bytes = (self.header.record_bytes.get() - RECORD_HEADER_BYTES) as usize;
        let mut body = Vec::new();
        body.try_reserve_exact(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        body.resize(bytes, 0);
        self.read_body_into(file, &mut body)?;
        Ok(body)
    }

    /// As `read_body`, into a buffer of its size.
    pub(crate) fn read_body_into(&self, file: &dyn DiskFile, body: &mut [u8]) -> io::Result<()> {
        let count = file.read_at(body, self.position + RECORD_HEADER_BYTES)?;
        // no check: a body that is cut fails its checksum as well; this only says so earlier.
        if count < body.len() || !holds!("body: checked when it is read", self.header.holds(body)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("record {} at journal offset {} is damaged", self.header.id, self.position),
            ));
        }
        Ok(())
    }
}

/// Splits a body into its extents and the offset of the payload within it.
pub(crate) fn extents_of(header: &RecordHeader, body: &[u8]) -> (Vec<Extent>, usize) {
    let table_bytes = header.table_bytes() as usize;
    (extents_in(&body[..table_bytes]).collect(), table_bytes)
}

/// The extents of a table.
pub(crate) fn extents_in(table: &[u8]) -> impl Iterator<Item = Extent> + '_ {
    table
        .chunks_exact(size_of::<ExtentEntry>())
        .filter_map(|entry| zerocopy::FromBytes::read_from_bytes(entry).ok())
        .map(|entry: ExtentEntry| Extent { offset: entry.offset.get(), len: entry.len.get() })
}

/// Pieces in which a body is checked: whole entries of a table.
const PIECE_BYTES: u64 = EXTENT_BYTES << 16;

/// An open journal, ready for the next record.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Arc<dyn DiskFile>,
    header: FileHeader,
    /// The newest anchor that this process wrote or read.
    anchor_sequence: u64,
    checkpointed_through: u64,
    /// The half that takes records, where in it the next one goes, and what that hangs on.
    half: usize,
    position: u64,
    predecessor: u64,
    last: u64,
    /// Length of the data after the last record.
    last_len: u64,
    durable: u64,
    /// Bytes of each half that hold records which the anchor has not let go of.
    used_bytes: [u64; 2],
    /// Bytes of each half, from its start on, that may not be zeros: what was written there since it was last clean.
    written_bytes: [u64; 2],
    /// The half that takes no more records and waits for its checkpoint. Its records are older than all others.
    sealed: Option<Sealed>,
    /// Where a record is put together.
    blocks: Kept,
}

/// A half whose records are complete: what the anchor will say once they are in the data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Its last commit.
    pub(crate) through: u64,
    /// Length of the data after that commit.
    pub(crate) data_len: u64,
    half: usize,
    /// What the first record of the other half hangs on.
    predecessor: u64,
}

/// Records up to this size are put together in memory and written as one; copying larger ones costs more than a vectored
/// write saves.
const ASSEMBLED_BYTES_MAX: u64 = 4 << 20;

impl Journal {
    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.header.epoch.get()
    }

    pub(crate) fn half_bytes(&self) -> u64 {
        self.header.half_bytes.get()
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    pub(crate) fn checkpointed_through(&self) -> u64 {
        self.checkpointed_through
    }

    pub(crate) fn sealed(&self) -> Option<Sealed> {
        self.sealed
    }

    /// Is the half that takes records more than half full?
    pub(crate) fn is_half_full(&self) -> bool {
        2 * self.used_bytes[self.half] > self.half_bytes()
    }

    /// Where a record of this size would go: here, or at the start of the other half if that is free.
    fn place(&self, record_bytes: u64) -> Option<(usize, u64)> {
        let bytes = format::padded(record_bytes);
        let end = self.header.half_start(self.half) + self.half_bytes();
        if holds!("record: the rest of its half has room", bytes <= end - self.position) {
            return Some((self.half, self.position));
        }
        let other = 1 - self.half;
        let free = holds!("record: the half that it goes to is free", self.used_bytes[other] == 0);
        let fits = holds!("record: the other half has room", bytes <= self.half_bytes());
        (free && fits).then(|| (other, self.header.half_start(other)))
    }

    /// Is there room for a record of this size without a checkpoint?
    pub(crate) fn has_room(&self, record_bytes: u64) -> bool {
        self.place(record_bytes).is_some()
    }

    /// Could there be room after a checkpoint?
    pub(crate) fn could_hold(&self, record_bytes: u64) -> bool {
        format::padded(record_bytes) <= self.half_bytes()
    }

    /// Writes a record for commit `id`. It is not durable before a sync of the file, which [`is_durable`](Journal::is_durable)
    /// is then told of.
    ///
    /// After an error nothing is known about the bytes at the journal's end: the journal is to be given up.
    pub(crate) fn append(&mut self, id: u64, batch: &Batch<'_>) -> io::Result<Placed> {
        self.append_as(id, batch, self.durable)
    }

    /// As `append`, with a `durable_through` of the caller's: for a fresh journal, which is seen whole or not at all.
    fn append_as(&mut self, id: u64, batch: &Batch<'_>, durable_through: u64) -> io::Result<Placed> {
        self.put(id, batch, durable_through, |file, parts, position| file.write_at(parts, position))
    }

    /// Writes a record for commit `id` and makes it durable, past the page cache and in one call where the system has that. All before it
    /// are durable.
    ///
    /// After an error the journal is to be given up, as after `append`.
    pub(crate) fn append_durably(&mut self, id: u64, batch: &Batch<'_>) -> io::Result<Placed> {
        debug_assert_eq!(self.durable, self.last, "only the new record is made durable");
        let placed = self.put(id, batch, self.durable, |file, parts, position| match parts {
            [blocks] => sync!(
                "record: written durably",
                file.write_durably(blocks, position, SyncPoint::Record),
                or file.write_at(parts, position)
            ),
            parts => {
                file.write_at(parts, position)?;
                sync!("record: of many parts, synced", file.sync_data(SyncPoint::Record))
            }
        })?;
        self.durable = self.last;
        Ok(placed)
    }

    fn put(
        &mut self,
        id: u64,
        batch: &Batch<'_>,
        durable_through: u64,
        write: impl FnOnce(&dyn DiskFile, &[&[u8]], u64) -> io::Result<()>,
    ) -> io::Result<Placed> {
        let bytes = record_bytes(batch.extents, batch.bytes.len() as u64);
        let Some((half, position)) = self.place(bytes) else {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the journal has no room for the record"));
        };
        let fields = RecordFields {
            id,
            position,
            predecessor: self.predecessor,
            durable_through,
            checkpointed_through: self.checkpointed_through,
            len_min: batch.len_min,
            len: batch.len,
        };
        let padded = format::padded(bytes);
        // Whatever becomes of the write.
        self.written_bytes[half] =
            self.written_bytes[half].max(position + padded - self.header.half_start(half));
        // Whole blocks, in one call: no block that holds another record is touched, and no page is read to be filled up.
        let header = if padded <= ASSEMBLED_BYTES_MAX {
            let mut buffer = self.blocks.take();
            let blocks = aligned(&mut buffer, padded as usize);
            let header = assemble(blocks, &self.header, &fields, batch);
            let written = write(&*self.file, &[blocks], position);
            self.blocks.put_back(buffer, padded as usize);
            written?;
            header
        } else {
            let table: Vec<ExtentEntry> = batch.extents.iter().map(ExtentEntry::of).collect();
            let header = RecordHeader::new(&self.header, &fields, table.as_bytes(), batch.bytes);
            let padding = &[0; BLOCK_BYTES as usize][..(padded - bytes) as usize];
            write(&*self.file, &[header.as_bytes(), table.as_bytes(), batch.bytes, padding], position)?;
            header
        };
        if half != self.half {
            self.seal();
        }
        self.used_bytes[half] += padded;
        self.position = position + padded;
        self.predecessor = header.link();
        self.last = id;
        self.last_len = batch.len;
        Ok(Placed { position, header })
    }

    /// Ends the half that takes records, so that a checkpoint can begin before it is full. Says whether it did: an empty half is
    /// not ended, nor is one while the other still waits.
    pub(crate) fn seal_early(&mut self) -> bool {
        let fit = self.used_bytes[self.half] > 0 && self.used_bytes[1 - self.half] == 0;
        if fit {
            self.seal();
        }
        fit
    }

    /// Ends the half that takes records: the next record goes to the other one, which is free.
    fn seal(&mut self) {
        debug_assert!(self.sealed.is_none() && self.used_bytes[1 - self.half] == 0);
        self.sealed = Some(Sealed {
            through: self.last,
            data_len: self.last_len,
            half: self.half,
            predecessor: self.predecessor,
        });
        self.half = 1 - self.half;
        self.position = self.header.half_start(self.half);
    }

    /// Every record through `through` is durable now.
    pub(crate) fn is_durable(&mut self, through: u64) {
        self.durable = self.durable.max(through);
    }

    /// Lets go of the sealed half: the data file durably holds its records.
    ///
    /// After an error either anchor may be found, and the journal is to be given up: see [`disown`](Journal::disown).
    pub(crate) fn release_sealed(&mut self, sealed: Sealed) -> io::Result<()> {
        debug_assert!(self.sealed == Some(sealed) && sealed.through <= self.durable);
        let position = self.header.half_start(1 - sealed.half);
        self.move_anchor(sealed.through, position, sealed.predecessor, sealed.data_len)?;
        self.used_bytes[sealed.half] = 0;
        self.sealed = None;
        Ok(())
    }

    /// Moves the anchor as `release_sealed` would, and keeps the space: for a switch.
    #[cfg(feature = "knockout")]
    pub(crate) fn anchor_early(&mut self, sealed: Sealed) {
        let position = self.header.half_start(1 - sealed.half);
        drop(self.move_anchor(sealed.through, position, sealed.predecessor, sealed.data_len));
    }

    /// Lets go of every record: the data file durably holds them all.
    ///
    /// After an error either anchor may be found, and the journal is to be given up: see [`disown`](Journal::disown).
    pub(crate) fn release_all(&mut self) -> io::Result<()> {
        debug_assert_eq!(self.durable, self.last, "only durable commits are checkpointed");
        // The chain goes on in the other half, so that the newest records stay readable the longest.
        let next = 1 - self.half;
        let position = self.header.half_start(next);
        self.move_anchor(self.last, position, self.predecessor, self.last_len)?;
        self.half = next;
        self.position = position;
        self.used_bytes = [0; 2];
        self.sealed = None;
        Ok(())
    }

    /// Was nothing written into the halves since they were last clean?
    pub(crate) fn is_clean(&self) -> bool {
        self.written_bytes == [0; 2]
    }

    /// Overwrites whatever was written into the halves since they were last clean. All of it is free: the anchor that let go of it
    /// is durable. What is left is an empty journal, also where a stop leaves only some of the zeros.
    ///
    /// After an error the journal is to be given up, as after `append`.
    pub(crate) fn scrub(&mut self) -> io::Result<()> {
        debug_assert_eq!(self.used_bytes, [0; 2], "only what the anchor has let go of");
        if self.is_clean() {
            return Ok(());
        }
        let written = [0, 1].map(|half| {
            let start = self.header.half_start(half);
            start..start + self.written_bytes[half]
        });
        scrub::overwrite(&*self.file, written.into_iter().filter(|range| !range.is_empty()))?;
        self.written_bytes = [0; 2];
        // no switch: cached pages would be in the way of direct I/O, and nothing else
        self.file.drop_clean_pages()
    }

    /// The data file durably holds every record through `through`, but the anchor could not say so: the journal that replaces
    /// this one begins after it.
    pub(crate) fn disown(&mut self, through: u64) {
        self.checkpointed_through = through;
    }

    fn move_anchor(
        &mut self,
        through: u64,
        position: u64,
        predecessor: u64,
        data_len: u64,
    ) -> io::Result<()> {
        let sequence = self.anchor_sequence + 1;
        let anchor = Anchor::new(&self.header, sequence, through, position, predecessor, data_len);
        let mut buffer = self.blocks.take();
        let block = aligned(&mut buffer, BLOCK_BYTES as usize);
        block.fill(0);
        block[..size_of::<Anchor>()].copy_from_slice(anchor.as_bytes());
        let at = Anchor::slot(sequence);
        let written = sync!(
            "anchor: written durably",
            self.file.write_durably(block, at, SyncPoint::Anchor),
            or self.file.write_at(&[block], at)
        );
        self.blocks.put_back(buffer, BLOCK_BYTES as usize);
        written?;
        self.anchor_sequence = sequence;
        self.checkpointed_through = through;
        Ok(())
    }

    fn write_anchor(&self, anchor: &Anchor) -> io::Result<()> {
        let padding = [0; BLOCK_BYTES as usize - size_of::<Anchor>()];
        self.file.write_at(&[anchor.as_bytes(), &padding], Anchor::slot(anchor.sequence.get()))
    }

    /// Bytes for records, and bytes of them that a checkpoint would free.
    pub(crate) fn fill(&self) -> (u64, u64) {
        (2 * self.half_bytes(), self.used_bytes.iter().sum())
    }
}

/// The first `count` bytes of `buffer` from a block boundary of memory on, where direct I/O wants them.
fn aligned(buffer: &mut Vec<u8>, count: usize) -> &mut [u8] {
    const BLOCK: usize = BLOCK_BYTES as usize;
    if buffer.len() < count + BLOCK {
        *buffer = vec![0; (count + BLOCK).next_power_of_two()];
    }
    let start = buffer.as_ptr().align_offset(BLOCK);
    &mut buffer[start..start + count]
}

/// Puts a record together in whole blocks.
fn assemble(blocks: &mut [u8], file: &FileHeader, fields: &RecordFields, batch: &Batch<'_>) -> RecordHeader {
    let (head, body) = blocks.split_at_mut(RECORD_HEADER_BYTES as usize);
    let (table, rest) = body.split_at_mut(batch.extents.len() * EXTENT_BYTES as usize);
    for (entry, extent) in table.chunks_exact_mut(EXTENT_BYTES as usize).zip(batch.extents) {
        entry.copy_from_slice(ExtentEntry::of(extent).as_bytes());
    }
    let (payload, padding) = rest.split_at_mut(batch.bytes.len());
    payload.copy_from_slice(batch.bytes);
    padding.fill(0);
    let header = RecordHeader::new(file, fields, table, payload);
    head.copy_from_slice(header.as_bytes());
    header
}
