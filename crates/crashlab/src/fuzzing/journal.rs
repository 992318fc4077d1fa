//! The journal's reader: a pair of the rig, and a journal beside it that the input has changed.
//!
//! The input: a byte for the pair, a byte of flags, then changes one by one, or the whole journal.

use std::sync::Arc;

use steadfast::AtomicMapping;
use steadfast::disk::SimDisk;
use steadfast::store::{Resolution, recover_on};

use crate::pair::seal::{self, BLOCK, HALVES_AT};
use crate::pair::{DATA, Pair, bases, judge};

/// The rest of the input is the journal.
const WHOLE: u8 = 1;
/// After the changes all checksums are right again.
const RESEALED: u8 = 2;

/// No file becomes longer than this here: the simulated disk keeps 8 bytes for every block of a hole.
const LEN_MAX: u64 = 1 << 26;

/// Runs one input.
///
/// # Panics
///
/// If a wrong state was found, or a refusal changed something.
pub fn journal(data: &[u8]) {
    let bases = bases().expect("the pairs are made");
    let mut input = Input(data);
    let (choice, flags) = (input.byte(), input.byte());
    let pair = &bases[usize::from(choice) % bases.len()].pair;
    let journal = if flags & WHOLE != 0 {
        input.0.to_vec()
    } else {
        let mut journal = pair.journal.clone();
        while !input.0.is_empty() {
            change(&mut journal, &mut input);
        }
        if flags & RESEALED != 0 {
            seal::reseal(&mut journal);
        }
        journal
    };
    if reaches_too_far(&journal) {
        return;
    }
    if flags & (WHOLE | RESEALED) == 0 && damage_is_to_be_noticed(pair, &journal) {
        if let Err(what) = judge::judge(pair, &journal) {
            panic!("{what}");
        }
    } else {
        forged(pair, &journal, Resolution::Replay);
        open(pair, &journal);
    }
    forged(pair, &journal, Resolution::Adopt);
}

/// A file without a mark whose newest anchor is gone has nothing that says how far it had come, once the records that say so
/// are gone as well.
fn damage_is_to_be_noticed(pair: &Pair, journal: &[u8]) -> bool {
    let newest = seal::anchors(&pair.journal).last().map_or(0, |anchor| anchor.through);
    pair.durable(journal) >= newest
}

/// Nothing is promised of a journal that was made to deceive but that it is read, that the result stands, and that no byte is put
/// where the record itself says that there is none.
fn forged(pair: &Pair, journal: &[u8], how: Resolution) {
    let disk = pair.disk(journal).expect("a disk");
    match recover_on(Arc::new(disk.clone()), DATA, how) {
        Ok(recovery) => {
            // The newest anchor that could have been counted up to: an impossible one is passed over. Of two with one number either
            // may be meant.
            let sane = |anchor: &&seal::Anchor| {
                anchor.sequence.max(anchor.through) < u64::MAX / 2
                    && seal::number(journal, anchor.at + 48) <= i64::MAX as u64
            };
            let anchors = seal::anchors(journal);
            let mut newest = anchors.iter().rev().filter(sane);
            let anchor = newest.next();
            let twins = anchor.is_some_and(|one| newest.any(|other| other.sequence == one.sequence));
            for record in
                anchor.filter(|_| !twins).map(|anchor| seal::chain(journal, anchor)).unwrap_or_default()
            {
                let within = record.table_entries(journal).all(|(at, count)| {
                    count > 0 && at.checked_add(count).is_some_and(|end| end <= record.len)
                });
                assert!(
                    record.id > recovery.last.get() || !recovery.journal_found || within,
                    "a record with extents beyond its length was replayed: {record:?} {:?} {recovery:?} {:?}",
                    record.table_entries(journal).take(9).collect::<Vec<_>>(),
                    seal::anchors(journal)
                );
            }
            judge::settled(&disk).expect("recovered");
        }
        Err(error) => one_line(&error.to_string()),
    }
}

fn open(pair: &Pair, journal: &[u8]) {
    let disk: SimDisk = pair.disk(journal).expect("a disk");
    match AtomicMapping::options().journal_bytes(8 * 4096).stepped(0).load_on(Arc::new(disk.clone()), DATA) {
        Ok(map) => {
            let shown = map.to_vec();
            map.close().expect("closed");
            assert!(disk.read_file(DATA) == Some(shown), "another state after the close");
        }
        Err(error) => one_line(&error.to_string()),
    }
}

fn one_line(text: &str) {
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}

/// Would recovering put bytes so far out that it is the simulated disk that runs out of memory?
fn reaches_too_far(journal: &[u8]) -> bool {
    let far = |len: u64| len > LEN_MAX && len <= i64::MAX as u64;
    seal::headers(journal).iter().any(|record| {
        far(record.len) || far(record.len_min) || record.table_entries(journal).any(|(at, _)| far(at))
    }) || seal::anchors(journal).iter().any(|anchor| far(seal::number(journal, anchor.at + 48)))
}

/// One change.
fn change(journal: &mut Vec<u8>, input: &mut Input<'_>) {
    match input.byte() % 10 {
        // A field of a structure: flipped, set to a number, or given another's bytes.
        0 | 1 => {
            let (at, bytes) = field(journal, input);
            let flip = input.byte().max(1);
            let at = at + usize::from(input.byte()) % bytes;
            if let Some(byte) = journal.get_mut(at) {
                *byte ^= flip;
            }
        }
        2 | 3 => {
            let (at, bytes) = field(journal, input);
            let value = value(journal, at, input).to_le_bytes();
            seal::put(journal, at, &value[..bytes.min(8)]);
        }
        // Bytes anywhere.
        4 => {
            let at = input.place(journal.len());
            let count = usize::from(input.byte() % 16);
            let bytes = input.bytes(count).to_vec();
            seal::put(journal, at, &bytes);
        }
        // A byte of the input, anywhere, many times.
        5 => {
            let (at, count, byte) = (input.place(journal.len()), usize::from(input.short()), input.byte());
            let end = (at + count).min(journal.len());
            if at < end {
                journal[at..end].fill(byte);
            }
        }
        6 => {
            let len = input.place(journal.len() + 1);
            journal.truncate(len);
        }
        7 => {
            let (count, byte) = (usize::from(input.short()), input.byte());
            journal.resize(journal.len() + count, byte);
        }
        // A block in the place of another, or both exchanged.
        8 => {
            let blocks = journal.len() / BLOCK;
            if blocks > 0 {
                let (from, to) = (usize::from(input.byte()) % blocks, usize::from(input.byte()) % blocks);
                journal.copy_within(from * BLOCK..(from + 1) * BLOCK, to * BLOCK);
            }
        }
        _ => {
            let blocks = journal.len() / BLOCK;
            if blocks > 0 {
                let (one, other) = (usize::from(input.byte()) % blocks, usize::from(input.byte()) % blocks);
                for at in 0..BLOCK {
                    journal.swap(one * BLOCK + at, other * BLOCK + at);
                }
            }
        }
    }
}

/// Place and size of a field that the input names.
fn field(journal: &[u8], input: &mut Input<'_>) -> (usize, usize) {
    let (structure, field) = (usize::from(input.byte()), usize::from(input.byte()));
    let of = |fields: &[(&str, usize, usize)], at: usize| {
        let (_, offset, bytes) = fields[field % fields.len()];
        (at + offset, bytes)
    };
    match structure % 8 {
        0 => of(&seal::HEADER_FIELDS, 0),
        1 => of(&seal::ANCHOR_FIELDS, BLOCK),
        2 => of(&seal::ANCHOR_FIELDS, 2 * BLOCK),
        // An entry of a record's table.
        3 => {
            let at = HALVES_AT + structure / 8 * BLOCK + seal::RECORD_BYTES + field / 2 * seal::EXTENT_BYTES;
            if field % 2 == 0 { (at, 8) } else { (at + 8, 4) }
        }
        _ => {
            let blocks = (journal.len() / BLOCK).saturating_sub(3).max(1);
            of(&seal::RECORD_FIELDS, HALVES_AT + structure / 8 % blocks * BLOCK)
        }
    }
}

/// A number for a field: one that means something, or any.
fn value(journal: &[u8], at: usize, input: &mut Input<'_>) -> u64 {
    let now = seal::number(journal, at);
    match input.byte() % 16 {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX / 2,
        3 => u64::MAX / 2 - 1,
        4 => i64::MAX as u64 / 4,
        5 => now.wrapping_add(u64::from(input.byte())),
        6 => now.wrapping_sub(u64::from(input.byte())),
        7 => now.wrapping_mul(2),
        8 => BLOCK as u64 * u64::from(input.byte()),
        9 => 1 << (input.byte() % 64),
        10 => u64::from(input.byte()),
        11 => u64::from(input.short()),
        // What another field says.
        12 => {
            let (other, _) = field(journal, input);
            seal::number(journal, other)
        }
        13 => u64::from(u32::MAX) - u64::from(input.byte()),
        14 => u64::MAX - u64::from(input.short()),
        _ => seal::number(input.bytes(8), 0),
    }
}

/// The input, taken from the front; zeros follow its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A number below `end`.
    fn place(&mut self, end: usize) -> usize {
        let any = u32::from(self.short()) | u32::from(self.byte()) << 16;
        any as usize % end.max(1)
    }
}
