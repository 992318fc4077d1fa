//! Journals written byte by byte, from `docs/format.md` and not from the library's code.

use crc_fast::{CrcAlgorithm, checksum};
use steadfast::disk::SimDisk;

use super::rig::{BLOCK, JOURNAL};

pub(super) const HALVES_AT: usize = 3 * BLOCK;
pub(super) const HALF: usize = 4 * BLOCK;
/// The slot of the first anchor, whose number is 1.
pub(super) const ANCHOR: usize = 2 * BLOCK;
const RECORD_HEADER: usize = 112;

pub(super) struct JournalBytes(pub(super) Vec<u8>);

/// What a record says.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) id: u64,
    pub(super) predecessor: u64,
    pub(super) durable_through: u64,
    pub(super) len: u64,
    pub(super) extents: Vec<(u64, u32)>,
    pub(super) payload: Vec<u8>,
}

fn crc(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

impl JournalBytes {
    pub(super) fn of(disk: &SimDisk) -> Result<JournalBytes, String> {
        disk.read_file(JOURNAL).map(JournalBytes).ok_or_else(|| "no journal".into())
    }

    pub(super) fn put_on(&self, disk: &SimDisk) -> SimDisk {
        let disk = disk.killed();
        disk.put_file(JOURNAL, &self.0);
        disk
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        self.0[at..at + 8].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    pub(super) fn set(&mut self, at: usize, number: u64) {
        self.0[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }

    pub(super) fn set_u32(&mut self, at: usize, number: u32) {
        self.0[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }

    /// Recomputes the checksum at the end of a structure.
    fn seal(&mut self, at: usize, bytes: usize) -> u64 {
        let sum = crc(&self.0[at..at + bytes - 8]);
        self.set(at + bytes - 8, sum);
        sum
    }

    pub(super) fn seal_header(&mut self) -> u64 {
        self.seal(0, 80)
    }

    pub(super) fn seal_anchor(&mut self, slot: usize) {
        self.seal(slot, 64);
    }

    pub(super) fn seal_record(&mut self, at: usize) -> u64 {
        self.seal(at, RECORD_HEADER)
    }

    /// The header was changed: the first anchor and `records` records of a block each hang on it.
    pub(super) fn chain_anew(&mut self, records: usize) {
        let mut predecessor = self.seal_header();
        self.set(ANCHOR + 40, predecessor);
        self.seal_anchor(ANCHOR);
        for record in 0..records {
            let at = record_at(record);
            self.set(at + 48, predecessor);
            predecessor = self.seal_record(at);
        }
    }

    /// Writes a record; what the next one hangs on is returned.
    pub(super) fn put_record(&mut self, at: usize, record: &Record) -> u64 {
        let mut body = Vec::new();
        for (offset, len) in &record.extents {
            body.extend(offset.to_le_bytes());
            body.extend(len.to_le_bytes());
        }
        body.extend(&record.payload);
        self.0[at..at + 8].copy_from_slice(b"SFRECORD");
        let numbers = [
            self.u64(48),
            self.u64(32),
            record.id,
            at as u64,
            (RECORD_HEADER + body.len()) as u64,
            record.predecessor,
            record.durable_through,
            0,
            record.len,
            record.len,
            record.extents.len() as u64,
            crc(&body),
        ];
        for (place, number) in numbers.into_iter().enumerate() {
            self.set(at + 8 * (1 + place), number);
        }
        self.0[at + RECORD_HEADER..at + RECORD_HEADER + body.len()].copy_from_slice(&body);
        self.seal_record(at)
    }

    /// What hangs on the record at this place.
    pub(super) fn link(&self, at: usize) -> u64 {
        self.u64(at + RECORD_HEADER - 8)
    }
}

/// Where the record of this number is, if all are of a block.
pub(super) fn record_at(number: usize) -> usize {
    HALVES_AT + number * BLOCK
}
