//! Reading a journal back: which commits it holds, and whether what is missing was ever durable.
//!
//! From the newest whole anchor the chain is followed record by record; each names its predecessor's checksum, so a
//! record of an earlier use of the space, or of a commit that was given up, is never taken for the next one. Where the
//! chain ends, every other block is still looked at: a record there that says "commit N was durable when I was
//! written", with N beyond the end of the chain, proves that the gap is damage and not a torn tail.

use std::io;

use super::Placed;
use super::format::{
    Anchor, BLOCK_BYTES, FileHeader, HALVES_AT, HeaderError, RECORD_HEADER_BYTES, RecordHeader,
};
use crate::batch::Extent;
use crate::disk::DiskFile;
use crate::knockout::holds;

/// A whole record of the chain.
#[derive(Debug, Clone)]
pub(crate) struct FoundRecord {
    pub(crate) placed: Placed,
    pub(crate) extents: Vec<Extent>,
}

impl FoundRecord {
    pub(crate) fn id(&self) -> u64 {
        self.placed.header.id.get()
    }
}

/// What a journal holds.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) header: FileHeader,
    pub(crate) anchor: Anchor,
    /// The chain, in order.
    pub(crate) records: Vec<FoundRecord>,
    /// A record that was begun behind the chain but is not whole.
    pub(crate) torn_tail: bool,
    /// The chain ends although later commits were durable.
    pub(crate) corrupt: Option<Gap>,
}

/// Where a chain ends that must go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Where the next record stands, or should.
    pub(crate) position: u64,
    /// Its commit, as far as that can still be told.
    pub(crate) id: u64,
    /// The highest commit that is known to have been durable.
    pub(crate) durable_through: u64,
}

impl Scan {
    /// The last commit of the chain, or the one that it stands on.
    pub(crate) fn last(&self) -> u64 {
        self.records.last().map_or(self.anchor.checkpointed_through.get(), FoundRecord::id)
    }
}

/// Why there is nothing to read.
#[derive(Debug)]
pub(crate) enum ScanError {
    Io(io::Error),
    Header(HeaderError),
    /// The file is shorter than its header says.
    Cut {
        len: u64,
        want: u64,
    },
    /// Neither anchor is whole.
    NoAnchor,
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        ScanError::Io(error)
    }
}

/// What stands before the halves of the journal in `file`: what it is, and where its chain begins.
pub(crate) fn head(file: &dyn DiskFile) -> Result<(FileHeader, Anchor), ScanError> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    let count = file.read_at(&mut block, 0)?;
    let header = FileHeader::decode(&block[..count]).map_err(ScanError::Header)?;
    let len = file.stat()?.len;
    if !holds!("scan: the journal has its length", len >= header.journal_bytes()) {
        return Err(ScanError::Cut { len, want: header.journal_bytes() });
    }
    let mut anchor: Option<Anchor> = None;
    for slot in 0..2 {
        let count = file.read_at(&mut block, Anchor::slot(slot))?;
        let found = Anchor::decode(&block[..count], &header);
        if let Some(found) = found
            && anchor.is_none_or(|newest| {
                holds!("scan: the newest anchor counts", newest.sequence < found.sequence)
            })
        {
            anchor = Some(found);
        }
    }
    Ok((header, anchor.ok_or(ScanError::NoAnchor)?))
}

/// Reads the journal in `file`.
pub(crate) fn scan(file: &dyn DiskFile) -> Result<Scan, ScanError> {
    let (header, anchor) = head(file)?;
    let mut scan = Scan { header, anchor, records: Vec::new(), torn_tail: false, corrupt: None };
    let mut chain =
        Chain { position: anchor.position.get(), predecessor: anchor.predecessor.get(), crossed: false };
    chain.follow(file, &mut scan)?;

    let across = header.half_start(1 - header.half_of(chain.position - 1).unwrap_or(0));
    let end = End { places: [chain.position, across], predecessor: chain.predecessor, last: scan.last() };
    let mut evidence = search(file, &header, &end)?;
    // no check: beside a live writer records come while the search is under way, and the chain goes on by them
    if evidence.durable_through > end.last {
        chain.follow(file, &mut scan)?;
        evidence.begun = evidence.begun.filter(|_| scan.last() == end.last); // no check: it is only told
    }
    scan.torn_tail = evidence.begun.is_some();
    if !holds!("scan: nothing durable is missing", evidence.durable_through <= scan.last()) {
        let (position, id) = evidence.begun.unwrap_or((chain.position, scan.last() + 1));
        scan.corrupt = Some(Gap { position, id, durable_through: evidence.durable_through });
    }
    Ok(scan)
}

/// How far a chain was followed.
struct Chain {
    /// Where the next record stands, if it fits there.
    position: u64,
    predecessor: u64,
    crossed: bool,
}

impl Chain {
    /// Follows it record by record to its end.
    fn follow(&mut self, file: &dyn DiskFile, scan: &mut Scan) -> io::Result<()> {
        let (header, anchor) = (scan.header, scan.anchor);
        loop {
            let next = record_at(file, &header, self.position, self.predecessor, scan.last())?;
            let next = match next {
                None if holds!("scan: the chain crosses once", !self.crossed) => {
                    // The record did not fit here: the chain may go on at the start of the other half, once.
                    let here = header.half_of(self.position - 1).unwrap_or(0);
                    let other = header.half_start(1 - here);
                    let start = anchor.position.get();
                    // no check: the same place would be read twice
                    let across = if self.position == header.half_start(1) && start == self.position {
                        None
                    } else {
                        record_at(file, &header, other, self.predecessor, scan.last())?
                    };
                    self.crossed = across.is_some();
                    across
                }
                next => next,
            };
            let Some(record) = next else { return Ok(()) };
            self.position =
                record.placed.position + super::format::padded(record.placed.header.record_bytes.get());
            self.predecessor = record.placed.header.link();
            scan.records.push(record);
        }
    }
}

/// The whole record at `position` that follows `predecessor`, if one stands there.
fn record_at(
    file: &dyn DiskFile,
    header: &FileHeader,
    position: u64,
    predecessor: u64,
    last: u64,
) -> io::Result<Option<FoundRecord>> {
    let mut head = [0; RECORD_HEADER_BYTES as usize];
    let count = file.read_at(&mut head, position)?;
    let Some(found) = RecordHeader::decode(&head[..count], position, header) else { return Ok(None) };
    let follows = holds!("record: its predecessor", found.predecessor.get() == predecessor)
        && holds!("record: a larger number than before", found.id.get() > last);
    if !follows {
        return Ok(None);
    }
    let placed = Placed { position, header: found };
    Ok(placed.extents(file)?.map(|extents| FoundRecord { placed, extents }))
}

/// The end of a chain.
struct End {
    /// The next record stands behind the last, or at the start of the other half.
    places: [u64; 2],
    predecessor: u64,
    last: u64,
}

/// What the blocks of both halves tell about the end of the chain.
struct Evidence {
    /// The highest id that any record header says was durable.
    durable_through: u64,
    /// A record that follows the chain was begun: where, and for which commit.
    begun: Option<(u64, u64)>,
}

/// A journal is written to its end before it has its name. One that is larger than this has perhaps been made to look so by a hole,
/// and to read that would take hours.
const SPARSE_BYTES: u64 = 1 << 30;

fn search(file: &dyn DiskFile, header: &FileHeader, end: &End) -> io::Result<Evidence> {
    const CHUNK_BYTES: u64 = 256 * BLOCK_BYTES;
    let mut evidence = Evidence { durable_through: 0, begun: None };
    let mut chunk = vec![0; CHUNK_BYTES.min(header.journal_bytes() - HALVES_AT) as usize];
    let mut at = HALVES_AT;
    // no check: as far as the journal goes
    while at < header.journal_bytes() {
        // no check: holes are zeros, which tell nothing
        if header.journal_bytes() > SPARSE_BYTES {
            let Some(data) = file.next_data(at)? else { break };
            let block = data / BLOCK_BYTES * BLOCK_BYTES;
            // no check: as far as the journal goes
            if block >= header.journal_bytes() {
                break;
            }
            at = at.max(block);
        }
        let want = CHUNK_BYTES.min(header.journal_bytes() - at) as usize;
        let count = file.read_at(&mut chunk[..want], at)?;
        for (index, block) in chunk[..count].chunks(BLOCK_BYTES as usize).enumerate() {
            let position = at + index as u64 * BLOCK_BYTES;
            if let Some(record) = RecordHeader::decode(block, position, header) {
                evidence.durable_through = evidence.durable_through.max(record.durable_through.get());
                // no check: it is only told
                if record.predecessor.get() == end.predecessor {
                    evidence.begun = Some((position, record.id.get()));
                }
            } else if end.places.contains(&position)
                && RecordHeader::remains(block, position, header, end.predecessor, end.last)
            {
                // Its number may be what is damaged.
                evidence.begun.get_or_insert((position, end.last + 1));
            }
        }
        at += want as u64;
    }
    Ok(evidence)
}
