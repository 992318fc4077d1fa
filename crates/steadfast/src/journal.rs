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

use std::io;

use zerocopy::IntoBytes;

use crate::batch::{Batch, Extent};
use crate::disk::{DiskFile, SyncPoint};
use format::{
    Anchor, BLOCK_BYTES, EXTENT_BYTES, ExtentEntry, FileHeader, RECORD_HEADER_BYTES, RecordFields,
    RecordHeader,
};

pub(crate) use fresh::{FreshJournal, establish, fill_random, remove_leftover};
pub(crate) use scan::{FoundRecord, Scan, ScanError, scan};

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

    /// Reads table and payload, and checks them. An error of kind `InvalidData` says that they are not what was written.
    pub(crate) fn read_body(&self, file: &dyn DiskFile) -> io::Result<Vec<u8>> {
        let mut body = vec![0; (self.header.record_bytes.get() - RECORD_HEADER_BYTES) as usize];
        let count = file.read_at(&mut body, self.position + RECORD_HEADER_BYTES)?;
        if count < body.len() || !self.header.holds(&body) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("record {} at journal offset {} is damaged", self.header.id, self.position),
            ));
        }
        Ok(body)
    }
}

/// Splits a body into its extents and the offset of the payload within it.
pub(crate) fn extents_of(header: &RecordHeader, body: &[u8]) -> (Vec<Extent>, usize) {
    let table_bytes = header.table_bytes() as usize;
    let extents = body[..table_bytes]
        .chunks_exact(size_of::<ExtentEntry>())
        .filter_map(|entry| zerocopy::FromBytes::read_from_bytes(entry).ok())
        .map(|entry: ExtentEntry| Extent { offset: entry.offset.get(), len: entry.len.get() })
        .collect();
    (extents, table_bytes)
}

/// An open journal, ready for the next record.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Box<dyn DiskFile>,
    header: FileHeader,
    /// The newest anchor that this process wrote or read.
    anchor_sequence: u64,
    checkpointed_through: u64,
    /// Where the next record goes, and what it hangs on.
    position: u64,
    predecessor: u64,
    last: u64,
    durable: u64,
    /// Which halves hold records that the anchor has not let go of.
    in_use: [bool; 2],
}

impl Journal {
    pub(crate) fn file(&self) -> &dyn DiskFile {
        &*self.file
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

    fn current_half(&self) -> usize {
        // `position` may be one past the end of a full half 0 or 1: the last byte before it is inside.
        self.header.half_of(self.position.saturating_sub(1).max(format::HALVES_AT)).unwrap_or(1)
    }

    /// Where a record of this size would go: here, or at the start of the other half if that is free.
    fn place(&self, record_bytes: u64) -> Option<(usize, u64)> {
        let bytes = format::padded(record_bytes);
        let half = self.current_half();
        let end = self.header.half_start(half) + self.half_bytes();
        if bytes <= end - self.position {
            return Some((half, self.position));
        }
        let other = 1 - half;
        (!self.in_use[other] && bytes <= self.half_bytes()).then(|| (other, self.header.half_start(other)))
    }

    /// Is there room for a record of this size without a checkpoint?
    pub(crate) fn has_room(&self, record_bytes: u64) -> bool {
        self.place(record_bytes).is_some()
    }

    /// Could there be room after a checkpoint?
    pub(crate) fn could_hold(&self, record_bytes: u64) -> bool {
        format::padded(record_bytes) <= self.half_bytes()
    }

    /// Writes a record for commit `id`. It is not durable before [`flush`](Journal::flush).
    ///
    /// After an error nothing is known about the bytes at the journal's end: the journal is to be given up.
    pub(crate) fn append(&mut self, id: u64, batch: &Batch<'_>) -> io::Result<Placed> {
        let durable = self.durable;
        self.append_as(id, batch, durable)
    }

    /// As `append`, with a `durable_through` of the caller's: for a fresh journal, which is seen whole or not at all.
    fn append_as(&mut self, id: u64, batch: &Batch<'_>, durable_through: u64) -> io::Result<Placed> {
        let bytes = record_bytes(batch.extents, batch.bytes.len() as u64);
        let Some((half, position)) = self.place(bytes) else {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the journal has no room for the record"));
        };
        let table: Vec<ExtentEntry> = batch
            .extents
            .iter()
            .map(|extent| ExtentEntry { offset: extent.offset.into(), len: extent.len.into() })
            .collect();
        let fields = RecordFields {
            id,
            position,
            predecessor: self.predecessor,
            durable_through,
            checkpointed_through: self.checkpointed_through,
            len_min: batch.len_min,
            len: batch.len,
        };
        let header = RecordHeader::new(&self.header, &fields, table.as_bytes(), batch.bytes);
        // Whole blocks, in one call: no block that holds another record is touched, and no page is read to be filled up.
        let padding = &[0; BLOCK_BYTES as usize][..(format::padded(bytes) - bytes) as usize];
        self.file.write_at(&[header.as_bytes(), table.as_bytes(), batch.bytes, padding], position)?;
        self.in_use[half] = true;
        self.position = position + format::padded(bytes);
        self.predecessor = header.link();
        self.last = id;
        Ok(Placed { position, header })
    }

    /// Makes every record written so far durable. After an error the journal is to be given up, as after `append`.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data(SyncPoint::Record)?;
        self.durable = self.last;
        Ok(())
    }

    /// Lets go of every record: the data file durably holds them all, and is `data_len` bytes long.
    ///
    /// After an error either anchor may be found, and the journal is to be given up: see [`disown`](Journal::disown).
    pub(crate) fn release_all(&mut self, data_len: u64) -> io::Result<()> {
        debug_assert_eq!(self.durable, self.last, "only durable commits are checkpointed");
        // The chain goes on in the other half, so that the newest records stay readable the longest.
        let next = 1 - self.current_half();
        let position = self.header.half_start(next);
        let sequence = self.anchor_sequence + 1;
        let anchor = Anchor::new(&self.header, sequence, self.last, position, self.predecessor, data_len);
        self.write_anchor(&anchor)?;
        self.file.sync_data(SyncPoint::Anchor)?;
        self.anchor_sequence = sequence;
        self.checkpointed_through = self.last;
        self.position = position;
        self.in_use = [false; 2];
        Ok(())
    }

    /// The data file durably holds every record, but the anchor could not say so: the journal that replaces this one begins
    /// after the last of them.
    pub(crate) fn disown(&mut self) {
        self.checkpointed_through = self.last;
    }

    fn write_anchor(&self, anchor: &Anchor) -> io::Result<()> {
        let padding = [0; BLOCK_BYTES as usize - size_of::<Anchor>()];
        self.file.write_at(&[anchor.as_bytes(), &padding], Anchor::slot(anchor.sequence.get()))
    }

    /// Bytes for records, and bytes of them that a checkpoint would free.
    pub(crate) fn fill(&self) -> (u64, u64) {
        let mut used = 0;
        for half in 0..2 {
            if self.in_use[half] {
                used += if half == self.current_half() {
                    self.position - self.header.half_start(half)
                } else {
                    self.half_bytes()
                };
            }
        }
        (2 * self.half_bytes(), used)
    }
}
