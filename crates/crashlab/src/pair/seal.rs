//! A second reader and writer of the journal's bytes, after `docs/format.md` alone: it knows where every field stands, and can
//! make the checksums right again after anything was changed.

use std::collections::HashMap;
use std::ops::Range;

use crc_fast::{CrcAlgorithm, checksum as crc};

/// Of the format, not of the system.
pub const BLOCK: usize = 4096;
/// Where the halves begin.
pub const HALVES_AT: usize = 3 * BLOCK;
/// Bytes of the file header.
pub const HEADER_BYTES: usize = 80;
/// Bytes of an anchor.
pub const ANCHOR_BYTES: usize = 64;
/// Bytes of a record's header.
pub const RECORD_BYTES: usize = 112;
/// Bytes of an entry of a record's table.
pub const EXTENT_BYTES: usize = 12;

/// The fields of the file header: name, offset, bytes.
pub const HEADER_FIELDS: [(&str, usize, usize); 10] = [
    ("magic", 0, 8),
    ("version", 8, 4),
    ("flags", 12, 4),
    ("identity", 16, 16),
    ("epoch", 32, 8),
    ("previous epoch", 40, 8),
    ("salt", 48, 8),
    ("half bytes", 56, 8),
    ("data inode", 64, 8),
    ("checksum", 72, 8),
];

/// The fields of an anchor.
pub const ANCHOR_FIELDS: [(&str, usize, usize); 8] = [
    ("magic", 0, 8),
    ("salt", 8, 8),
    ("sequence", 16, 8),
    ("checkpointed through", 24, 8),
    ("position", 32, 8),
    ("predecessor", 40, 8),
    ("data length", 48, 8),
    ("checksum", 56, 8),
];

/// The fields of a record's header.
pub const RECORD_FIELDS: [(&str, usize, usize); 15] = [
    ("magic", 0, 8),
    ("salt", 8, 8),
    ("epoch", 16, 8),
    ("id", 24, 8),
    ("position", 32, 8),
    ("record bytes", 40, 8),
    ("predecessor", 48, 8),
    ("durable through", 56, 8),
    ("checkpointed through", 64, 8),
    ("smallest length", 72, 8),
    ("length", 80, 8),
    ("extents", 88, 4),
    ("encoding", 92, 4),
    ("body checksum", 96, 8),
    ("checksum", 104, 8),
];

/// A number of 8 bytes; 0 where the bytes end before it.
pub fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn short(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Puts bytes where there is room for them.
pub fn put(journal: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = journal.get_mut(at..at.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

/// CRC-64/NVME.
pub fn checksum(bytes: &[u8]) -> u64 {
    crc(CrcAlgorithm::Crc64Nvme, bytes)
}

/// Is the structure whole, by its last eight bytes?
fn is_sealed(journal: &[u8], at: usize, bytes: usize) -> bool {
    journal.get(at..at + bytes).is_some_and(|found| checksum(&found[..bytes - 8]) == number(found, bytes - 8))
}

/// An anchor that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Where it stands.
    pub at: usize,
    /// The highest counts.
    pub sequence: u64,
    /// The data file holds all commits up to this one.
    pub through: u64,
    /// Where the chain begins.
    pub position: u64,
    /// What it hangs on.
    pub predecessor: u64,
}

/// A record that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub at: usize,
    /// The commit.
    pub id: u64,
    /// Header, table and payload.
    pub bytes: usize,
    /// Entries of the table.
    pub extents: usize,
    /// What it hangs on.
    pub predecessor: u64,
    /// What hangs on it.
    pub link: u64,
    /// The highest commit that was durable.
    pub durable_through: u64,
    /// The smallest length since the commit before.
    pub len_min: u64,
    /// The length.
    pub len: u64,
}

impl Record {
    /// Its bytes in the journal, without padding.
    pub fn range(&self) -> Range<usize> {
        self.at..self.at + self.bytes
    }

    /// With padding.
    pub fn blocks(&self) -> Range<usize> {
        self.at..(self.at + self.bytes).next_multiple_of(BLOCK)
    }

    /// The table.
    pub fn table(&self) -> Range<usize> {
        self.at + RECORD_BYTES..self.at + RECORD_BYTES + self.extents * EXTENT_BYTES
    }

    /// The payload.
    pub fn payload(&self) -> Range<usize> {
        self.table().end..self.range().end
    }

    /// The table's entries, as far as they stand in the journal: offset and number of bytes.
    pub fn table_entries<'a>(&self, journal: &'a [u8]) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let table = self.table();
        let table = journal.get(table.start..table.end.min(journal.len())).unwrap_or(&[]);
        table.chunks_exact(EXTENT_BYTES).map(|entry| (number(entry, 0), u64::from(short(entry, 8))))
    }

    /// Does to `data` what the record says.
    pub fn apply(&self, journal: &[u8], data: &mut Vec<u8>) {
        data.truncate(self.len_min as usize);
        data.resize(self.len as usize, 0);
        let mut from = self.payload().start;
        for (at, count) in self.table_entries(journal) {
            let (at, count) = (at as usize, count as usize);
            data[at..at + count].copy_from_slice(&journal[from..from + count]);
            from += count;
        }
    }
}

/// The anchors that are whole, the newest last.
pub fn anchors(journal: &[u8]) -> Vec<Anchor> {
    let mut found: Vec<Anchor> = [BLOCK, 2 * BLOCK]
        .into_iter()
        .filter(|&at| {
            is_sealed(journal, at, ANCHOR_BYTES)
                && journal[at..].starts_with(b"SFANCHOR")
                && number(journal, at + 8) == number(journal, 48)
        })
        .map(|at| Anchor {
            at,
            sequence: number(journal, at + 16),
            through: number(journal, at + 24),
            position: number(journal, at + 32),
            predecessor: number(journal, at + 40),
        })
        .collect();
    found.sort_by_key(|anchor| anchor.sequence);
    found
}

/// Every record whose header is whole, of this round and of earlier ones, in order of place.
pub fn headers(journal: &[u8]) -> Vec<Record> {
    (HALVES_AT..journal.len())
        .step_by(BLOCK)
        .filter(|&at| {
            is_sealed(journal, at, RECORD_BYTES)
                && journal[at..].starts_with(b"SFRECORD")
                && number(journal, at + 8) == number(journal, 48)
                && number(journal, at + 16) == number(journal, 32)
                && number(journal, at + 32) == at as u64
        })
        .map(|at| Record {
            at,
            id: number(journal, at + 24),
            bytes: number(journal, at + 40) as usize,
            extents: short(journal, at + 88) as usize,
            predecessor: number(journal, at + 48),
            link: number(journal, at + 104),
            durable_through: number(journal, at + 56),
            len_min: number(journal, at + 72),
            len: number(journal, at + 80),
        })
        .collect()
}

/// Table and payload are what was written.
fn is_whole(journal: &[u8], record: &Record) -> bool {
    journal
        .get(record.at + RECORD_BYTES..record.at.saturating_add(record.bytes))
        .is_some_and(|body| checksum(body) == number(journal, record.at + 96))
}

/// The records that follow each other from this anchor on.
pub fn chain(journal: &[u8], anchor: &Anchor) -> Vec<Record> {
    let headers = headers(journal);
    let (mut link, mut last) = (anchor.predecessor, anchor.through);
    let mut chain = Vec::new();
    let next = |link, last| {
        headers
            .iter()
            .find(|record| record.predecessor == link && record.id > last && is_whole(journal, record))
    };
    while let Some(record) = next(link, last) {
        (link, last) = (record.link, record.id);
        chain.push(record.clone());
    }
    chain
}

/// Makes every checksum right, as if the bytes had been written like that: the header's, the anchors', and those of all that begins
/// a block like a record. What named an old checksum as its predecessor names the new one.
pub fn reseal(journal: &mut [u8]) {
    let mut links: HashMap<u64, u64> = HashMap::new();
    let seal = |journal: &mut [u8], at: usize, bytes: usize| {
        let found = journal.get(at..at + bytes)?;
        let (old, new) = (number(found, bytes - 8), checksum(&found[..bytes - 8]));
        put(journal, at + bytes - 8, &new.to_le_bytes());
        Some((old, new))
    };
    links.extend(seal(journal, 0, HEADER_BYTES));
    let mut records: Vec<usize> = (HALVES_AT..journal.len())
        .step_by(BLOCK)
        .filter(|&at| journal[at..].starts_with(b"SFRECORD"))
        .collect();
    records.sort_by_key(|&at| number(journal, at + 24));
    for at in records {
        let end = at.saturating_add(number(journal, at + 40) as usize);
        if let Some(body) = journal.get(at + RECORD_BYTES..end) {
            let sum = checksum(body);
            put(journal, at + 96, &sum.to_le_bytes());
        }
        if let Some(new) = links.get(&number(journal, at + 48)).copied() {
            put(journal, at + 48, &new.to_le_bytes());
        }
        links.extend(seal(journal, at, RECORD_BYTES));
    }
    for at in [BLOCK, 2 * BLOCK] {
        if journal.get(at..).is_some_and(|anchor| anchor.starts_with(b"SFANCHOR")) {
            if let Some(new) = links.get(&number(journal, at + 40)).copied() {
                put(journal, at + 40, &new.to_le_bytes());
            }
            seal(journal, at, ANCHOR_BYTES);
        }
    }
}

/// Gives the journal another identity, salt and inode, and makes the checksums right: the random numbers of a run become numbers
/// that are always the same.
pub fn rename(journal: &mut [u8], identity: [u8; 16], salt: u64, inode: u64) {
    let salt = salt.to_le_bytes();
    put(journal, 16, &identity);
    put(journal, 48, &salt);
    put(journal, 64, &inode.to_le_bytes());
    for at in (BLOCK..journal.len()).step_by(BLOCK) {
        if journal[at..].starts_with(b"SFRECORD") || journal[at..].starts_with(b"SFANCHOR") {
            put(journal, at + 8, &salt);
        }
    }
    reseal(journal);
}
