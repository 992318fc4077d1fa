//! Journals written byte by byte, with every checksum right: what is wrong with one is what was made wrong on purpose.

use std::os::unix::fs::FileExt;
use std::path::Path;

use crc_fast::{CrcAlgorithm, checksum};

pub(crate) const BLOCK: u64 = 4096;
pub(crate) const HALVES_AT: u64 = 3 * BLOCK;
/// The slot of the first anchor, whose number is 1.
pub(crate) const ANCHOR: u64 = 2 * BLOCK;
pub(crate) const RECORD_HEADER: u64 = 112;
const HEADER: u64 = 80;

/// Where the record of this number (from 0) is, if all are of a block.
pub(crate) fn record_at(number: u64) -> u64 {
    HALVES_AT + number * BLOCK
}

pub(crate) fn crc(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// The beginning of a journal: as many bytes as are worth keeping in memory.
#[derive(Clone)]
pub(crate) struct Journal(pub(crate) Vec<u8>);

impl Journal {
    pub(crate) fn read(path: &Path) -> Journal {
        Journal(std::fs::read(path).unwrap())
    }

    /// Overwrites the file's beginning; what lies behind stays, and so does the file itself.
    pub(crate) fn write(&self, path: &Path) {
        std::fs::File::options().write(true).open(path).unwrap().write_all_at(&self.0, 0).unwrap();
    }

    pub(crate) fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.0[at as usize..at as usize + 8].try_into().unwrap())
    }

    pub(crate) fn set(&mut self, at: u64, number: u64) {
        self.put(at, &number.to_le_bytes());
    }

    pub(crate) fn set_u32(&mut self, at: u64, number: u32) {
        self.put(at, &number.to_le_bytes());
    }

    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        self.0[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// Recomputes the checksum at the end of a structure.
    fn seal(&mut self, at: u64, bytes: u64) -> u64 {
        let sum = crc(&self.0[at as usize..(at + bytes - 8) as usize]);
        self.set(at + bytes - 8, sum);
        sum
    }

    /// Everything hangs together again: header, first anchor, and the records at these places, in this order.
    pub(crate) fn chain(&mut self, records: &[u64]) {
        let mut predecessor = self.seal(0, HEADER);
        self.set(ANCHOR + 40, predecessor);
        self.seal(ANCHOR, 64);
        for &at in records {
            self.set(at + 48, predecessor);
            predecessor = self.seal(at, RECORD_HEADER);
        }
    }

    /// Writes a record; the chain is to be made anew.
    pub(crate) fn put_record(&mut self, at: u64, record: &Record) {
        let mut body = Vec::new();
        for (offset, len) in &record.extents {
            body.extend(offset.to_le_bytes());
            body.extend(len.to_le_bytes());
        }
        body.extend(&record.payload);
        self.put(at, b"SFRECORD");
        let numbers = [
            self.u64(48),
            self.u64(32),
            record.id,
            at,
            RECORD_HEADER + body.len() as u64,
            0,
            record.durable_through,
            0,
            record.len,
            record.len,
            record.extents.len() as u64,
            crc(&body),
        ];
        for (place, number) in (1..).zip(numbers) {
            self.set(at + 8 * place, number);
        }
        self.put(at + RECORD_HEADER, &body);
    }

    /// The bytes of a record's header.
    pub(crate) fn header_of(&self, at: u64) -> &[u8] {
        &self.0[at as usize..(at + RECORD_HEADER - 8) as usize]
    }

    /// Chooses the number at `at` so that the record's checksum is `wanted`: the checksum is linear in its bits.
    pub(crate) fn force_checksum(&mut self, record: u64, at: u64, wanted: u64) {
        self.set(at, 0);
        let base = crc(self.header_of(record));
        // Each row: what the bits of the checksum do, and which bits of the number do it.
        let mut rows: Vec<(u64, u64)> = (0..64)
            .map(|bit| {
                self.set(at, 1 << bit);
                (crc(self.header_of(record)) ^ base, 1 << bit)
            })
            .collect();
        let (mut rest, mut number) = (wanted ^ base, 0);
        for bit in 0..64 {
            let pivot = rows.iter().position(|(sum, _)| sum >> bit & 1 == 1).expect("any number can be had");
            let (sum, bits) = rows.swap_remove(pivot);
            for row in rows.iter_mut().filter(|(other, _)| other >> bit & 1 == 1) {
                *row = (row.0 ^ sum, row.1 ^ bits);
            }
            if rest >> bit & 1 == 1 {
                (rest, number) = (rest ^ sum, number ^ bits);
            }
        }
        assert_eq!(rest, 0);
        self.set(at, number);
    }
}

/// What a record says.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) durable_through: u64,
    pub(crate) len: u64,
    pub(crate) extents: Vec<(u64, u32)>,
    pub(crate) payload: Vec<u8>,
}
