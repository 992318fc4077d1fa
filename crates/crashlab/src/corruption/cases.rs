//! What can happen to a journal's bytes, one case after the other.

use std::ops::Range;

use rand::{Rng, RngExt};

use crate::pair::Pair;
use crate::pair::seal::{self, ANCHOR_BYTES, BLOCK, HALVES_AT, HEADER_BYTES, RECORD_BYTES};

/// What kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A byte of the file header.
    Header,
    /// A byte of an anchor.
    Anchor,
    /// A byte of a record's header.
    Record,
    /// A byte of a record's table.
    Table,
    /// A byte of a record's payload.
    Payload,
    /// A byte that means nothing.
    Padding,
    /// The file ends early.
    Cut,
    /// The file goes on.
    Extended,
    /// A block that reads as zeros.
    LostBlock,
    /// A block in the place of another.
    Duplicate,
    /// Two blocks in each other's place.
    Swap,
    /// A journal of this file from an earlier time.
    Older,
    /// Another file's journal.
    Foreign,
}

/// One damaged journal.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) kind: Kind,
    /// What was done, to be done again.
    pub(super) what: String,
    pub(super) journal: Vec<u8>,
}

/// Masks that a byte is flipped with.
const MASKS: [u8; 3] = [0xff, 0x01, 0x80];

/// Hands every case to `judge`, until it fails.
pub(super) fn each<E>(
    pair: &Pair,
    payload_flips: usize,
    random: &mut impl Rng,
    judge: &mut dyn FnMut(Case) -> Result<(), E>,
) -> Result<(), E> {
    let journal = &pair.journal;
    let mut flip = |kind, name: &str, at: usize, mask: u8| {
        let mut damaged = journal.clone();
        damaged[at] ^= mask;
        judge(Case { kind, what: format!("{name}: byte {at} ^ {mask:#04x}"), journal: damaged })
    };
    let mut fields = |kind, structure: &str, at: usize, fields: &[(&str, usize, usize)]| {
        for &(field, offset, bytes) in fields {
            for byte in at + offset..at + offset + bytes {
                for mask in MASKS {
                    flip(kind, &format!("{structure}, {field}"), byte, mask)?;
                }
            }
        }
        Ok(())
    };
    fields(Kind::Header, "file header", 0, &seal::HEADER_FIELDS)?;
    for at in [BLOCK, 2 * BLOCK] {
        fields(Kind::Anchor, "anchor", at, &seal::ANCHOR_FIELDS)?;
    }
    // Those of the chain, and those that an earlier round left.
    let records = seal::headers(journal);
    for record in &records {
        let name = format!("record {}", record.id);
        fields(Kind::Record, &name, record.at, &seal::RECORD_FIELDS)?;
    }
    for record in &records {
        let name = format!("table of record {}", record.id);
        for at in record.table().filter(|&at| at < journal.len()) {
            for mask in MASKS {
                flip(Kind::Table, &name, at, mask)?;
            }
        }
    }
    let payload: Vec<Range<usize>> = records.iter().map(seal::Record::payload).collect();
    let payload_bytes: usize = payload.iter().map(Range::len).sum();
    for _ in 0..payload_flips.min(payload_bytes * 8) {
        let mut into = random.random_range(0..payload_bytes);
        for range in &payload {
            if into < range.len() {
                flip(Kind::Payload, "payload", range.start + into, 1 << random.random_range(0..8))?;
                break;
            }
            into -= range.len();
        }
    }
    for at in padding(pair) {
        flip(Kind::Padding, "padding", at, 0xff)?;
    }
    lengths(journal, random, judge)?;
    blocks(journal, random, judge)
}

/// Bytes that mean nothing, a few of each block's and those at the edges.
fn padding(pair: &Pair) -> Vec<usize> {
    let mut gaps =
        vec![HEADER_BYTES..BLOCK, BLOCK + ANCHOR_BYTES..2 * BLOCK, 2 * BLOCK + ANCHOR_BYTES..HALVES_AT];
    let chain = seal::anchors(&pair.journal).last().map(|anchor| seal::chain(&pair.journal, anchor));
    gaps.extend(chain.into_iter().flatten().map(|record| record.range().end..record.blocks().end));
    gaps.into_iter()
        .filter(|gap| !gap.is_empty())
        .flat_map(|gap| gap.clone().step_by(509).chain([gap.end - 1]))
        .collect()
}

fn lengths<E>(
    journal: &[u8],
    random: &mut impl Rng,
    judge: &mut dyn FnMut(Case) -> Result<(), E>,
) -> Result<(), E> {
    let sectors = (0..journal.len()).step_by(512);
    let within = [1, 7, 8, 13, 79, 80].into_iter().chain(
        (BLOCK..journal.len())
            .step_by(BLOCK)
            .flat_map(|block| [block + 5, block + 60, block + RECORD_BYTES - 1, block + 4095]),
    );
    for len in sectors.chain(within).filter(|&len| len < journal.len()) {
        judge(Case {
            kind: Kind::Cut,
            what: format!("cut to {len} bytes"),
            journal: journal[..len].to_vec(),
        })?;
    }
    for more in [1, 511, 512, 4096, 40_000] {
        for garbage in [false, true] {
            let mut longer = journal.to_vec();
            longer.resize(journal.len() + more, 0);
            if garbage {
                random.fill(&mut longer[journal.len()..]);
            }
            let what = format!("{more} bytes more, {}", if garbage { "garbage" } else { "zeros" });
            judge(Case { kind: Kind::Extended, what, journal: longer })?;
        }
    }
    Ok(())
}

fn blocks<E>(
    journal: &[u8],
    random: &mut impl Rng,
    judge: &mut dyn FnMut(Case) -> Result<(), E>,
) -> Result<(), E> {
    let count = journal.len() / BLOCK;
    let place = |block: usize| block * BLOCK..(block + 1) * BLOCK;
    for block in 0..count {
        let mut damaged = journal.to_vec();
        damaged[place(block)].fill(0);
        judge(Case { kind: Kind::LostBlock, what: format!("block {block} lost"), journal: damaged })?;
    }
    // All of them with each other in a small journal; in a large one some.
    let every = if count > 24 { 2 * count / 24 } else { 1 };
    for from in 0..count {
        for to in (0..count).filter(|&to| to != from) {
            if every > 1 && !random.random_ratio(1, (every * every) as u32) {
                continue;
            }
            let mut damaged = journal.to_vec();
            damaged.copy_within(place(from), to * BLOCK);
            let what = format!("block {from} in the place of {to}");
            judge(Case { kind: Kind::Duplicate, what, journal: damaged })?;
            if from < to {
                let mut damaged = journal.to_vec();
                damaged[place(from)].copy_from_slice(&journal[place(to)]);
                damaged[place(to)].copy_from_slice(&journal[place(from)]);
                let what = format!("blocks {from} and {to} swapped");
                judge(Case { kind: Kind::Swap, what, journal: damaged })?;
            }
        }
    }
    Ok(())
}
