//! What a run of records makes of the data file, in the order in which it is best written.
//!
//! Plainly: apply the records one by one (cut to the smallest length, grow with zeros, put the extents). Here the pieces of all
//! records stand in offset order, each with its age, and are written page run by page run: bytes that were committed many times
//! go to the disk once.

use std::io;
use std::ops::{Deref, Range};

use crate::batch::{Batch, Extent};
use crate::disk::DiskFile;
use crate::journal::{self, Placed, format::BLOCK_BYTES, format::RECORD_HEADER_BYTES};
use crate::sys::buffer::Buffer;

/// At most so many bytes are written at once; no piece crosses a multiple of it.
const RUN_BYTES_MAX: u64 = 1 << 20;

/// A record, and the length of the data before it.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) len_before: u64,
    pub(super) placed: Placed,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    offset: u64,
    /// Where its bytes stand in `bytes`. A younger piece stands further behind.
    source: u64,
    len: u32,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

#[derive(Debug)]
enum Bytes<'a> {
    /// Tables and payloads of all records, one behind the other.
    Read(Buffer),
    /// Those of a commit that is still at hand.
    Batch(&'a [u8]),
}

impl Default for Bytes<'_> {
    fn default() -> Self {
        Bytes::Batch(&[])
    }
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Read(buffer) => buffer,
            Bytes::Batch(bytes) => bytes,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Image<'a> {
    bytes: Bytes<'a>,
    /// By offset, then by age.
    pieces: Vec<Piece>,
    cut: Option<u64>,
    end: u64,
}

/// Pieces that touch the same or neighbouring blocks: they are written as one.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pieces: Range<usize>,
    bytes: Range<u64>,
    /// The pieces cover all of it.
    covered: bool,
    /// No byte belongs to two pieces.
    disjoint: bool,
}

impl Run {
    /// Must the data file be read before the run can be written, since it ends or begins within blocks, or has gaps? Then these
    /// blocks of it.
    pub(super) fn needs(&self) -> Option<Range<u64>> {
        let blocks =
            self.bytes.start / BLOCK_BYTES * BLOCK_BYTES..self.bytes.end.next_multiple_of(BLOCK_BYTES);
        (!self.covered || blocks != self.bytes).then_some(blocks)
    }

    /// Where the next run begins.
    pub(super) fn next(&self) -> usize {
        self.pieces.end
    }
}

/// Adds the pieces of a commit, whose bytes stand from `source` on, up to where the data were cut later.
fn add(pieces: &mut Vec<Piece>, extents: impl Iterator<Item = Extent>, mut source: u64, cut: u64) {
    for extent in extents {
        let end = extent.end().min(cut);
        let mut offset = extent.offset;
        while offset < end {
            let stop = end.min((offset / RUN_BYTES_MAX + 1) * RUN_BYTES_MAX);
            pieces.push(Piece {
                offset,
                source: source + (offset - extent.offset),
                len: (stop - offset) as u32,
            });
            offset = stop;
        }
        source += u64::from(extent.len);
    }
}

/// A record's table and payload in `bytes`, and the lengths around it.
#[derive(Debug, Clone, Copy)]
struct Body {
    at: usize,
    table_bytes: usize,
    extents: usize,
    len_min: u64,
    len_before: u64,
}

impl<'a> Image<'a> {
    /// What a single commit makes of data that were `len_before` bytes long, without a look at its record.
    pub(super) fn of_batch(batch: &Batch<'a>, len_before: u64) -> Image<'a> {
        let mut pieces = Vec::with_capacity(batch.extents.len());
        add(&mut pieces, batch.extents.iter().copied(), 0, u64::MAX);
        let cut = (batch.len_min < len_before).then_some(batch.len_min);
        Image::from_pieces(Bytes::Batch(batch.bytes), pieces, cut)
    }

    /// Reads the records back and checks them. An error of kind `InvalidData` says that one of them is damaged.
    pub(super) fn read(records: &[Recorded], journal: &dyn DiskFile) -> io::Result<Image<'static>> {
        let body_bytes = |placed: &Placed| placed.header.record_bytes.get() - RECORD_HEADER_BYTES;
        let total: u64 = records.iter().map(|record| body_bytes(&record.placed)).sum();
        let mut bytes = Buffer::zeros(total as usize)?;
        let mut bodies = Vec::with_capacity(records.len());
        let mut at = 0;
        for Recorded { len_before, placed } in records {
            let end = at + body_bytes(placed) as usize;
            placed.read_body_into(journal, &mut bytes[at..end])?;
            bodies.push(Body {
                at,
                table_bytes: placed.header.table_bytes() as usize,
                extents: placed.header.extents.get() as usize,
                len_min: placed.header.len_min.get(),
                len_before: *len_before,
            });
            at = end;
        }
        Ok(Image::of(bytes, &bodies))
    }

    fn of(bytes: Buffer, bodies: &[Body]) -> Image<'static> {
        let mut pieces = Vec::with_capacity(bodies.iter().map(|body| body.extents).sum());
        // From the youngest back: what a later record cut away is never written at all.
        let mut cut = u64::MAX;
        for body in bodies.iter().rev() {
            let table = &bytes[body.at..body.at + body.table_bytes];
            add(&mut pieces, journal::extents_in(table), (body.at + body.table_bytes) as u64, cut);
            if body.len_min < body.len_before {
                cut = cut.min(body.len_min);
            }
        }
        Image::from_pieces(Bytes::Read(bytes), pieces, (cut < u64::MAX).then_some(cut))
    }

    fn from_pieces(bytes: Bytes<'a>, mut pieces: Vec<Piece>, cut: Option<u64>) -> Image<'a> {
        pieces.sort_unstable_by_key(|piece| (piece.offset, piece.source));
        let end = pieces.iter().map(Piece::end).max().unwrap_or(0);
        Image { bytes, pieces, cut, end }
    }

    /// Where the data file as it stands ends to count.
    pub(super) fn cut(&self) -> Option<u64> {
        self.cut
    }

    /// One past the last byte to be written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The run that begins with this piece; the first is 0.
    pub(super) fn run(&self, first: usize) -> Option<Run> {
        let start = self.pieces.get(first)?;
        let mut run =
            Run { pieces: first..first + 1, bytes: start.offset..start.end(), covered: true, disjoint: true };
        for piece in &self.pieces[first + 1..] {
            let near =
                piece.offset / BLOCK_BYTES * BLOCK_BYTES <= run.bytes.end.next_multiple_of(BLOCK_BYTES);
            if !near || piece.offset / RUN_BYTES_MAX != start.offset / RUN_BYTES_MAX {
                break;
            }
            run.covered &= piece.offset <= run.bytes.end;
            run.disjoint &= piece.offset >= run.bytes.end;
            run.bytes.end = run.bytes.end.max(piece.end());
            run.pieces.end += 1;
        }
        Some(run)
    }

    fn bytes_of(&self, piece: &Piece) -> &[u8] {
        &self.bytes[piece.source as usize..][..piece.len as usize]
    }

    /// Writes a run, in one call.
    pub(super) fn write(&self, run: &Run, data: &dyn DiskFile, buffer: &mut Vec<u8>) -> io::Result<()> {
        if run.covered && run.disjoint {
            let parts: Vec<&[u8]> =
                self.pieces[run.pieces.clone()].iter().map(|piece| self.bytes_of(piece)).collect();
            return data.write_at(&parts, run.bytes.start);
        }
        self.fill(run, data, buffer)?;
        data.write_at(&[buffer], run.bytes.start)
    }

    /// Is in the data file what the run says?
    pub(super) fn is_written(
        &self,
        run: &Run,
        data: &dyn DiskFile,
        buffer: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let mut found = vec![0; (run.bytes.end - run.bytes.start) as usize];
        let count = data.read_at(&mut found, run.bytes.start)?;
        buffer.clear();
        buffer.extend_from_slice(&found);
        self.lay(run, buffer);
        Ok(count == found.len() && *buffer == found)
    }

    /// The run's bytes: those between the pieces as the data file has them.
    fn fill(&self, run: &Run, data: &dyn DiskFile, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        buffer.resize((run.bytes.end - run.bytes.start) as usize, 0);
        if !run.covered {
            // Short at the end of the file: zeros follow there.
            data.read_at(buffer, run.bytes.start)?;
        }
        self.lay(run, buffer);
        Ok(())
    }

    /// Lays the pieces over `buffer`, the youngest last.
    fn lay(&self, run: &Run, buffer: &mut [u8]) {
        let mut put = |piece: &Piece| {
            let at = (piece.offset - run.bytes.start) as usize;
            buffer[at..at + piece.len as usize].copy_from_slice(self.bytes_of(piece));
        };
        let pieces = &self.pieces[run.pieces.clone()];
        if run.disjoint {
            pieces.iter().for_each(&mut put);
            return;
        }
        let mut by_age = pieces.to_vec();
        by_age.sort_unstable_by_key(|piece| piece.source);
        by_age.iter().for_each(put);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Access, Disk, SimDisk, SyncPoint};
    use crate::journal::format::ExtentEntry;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    /// Two lengths, and extents as the gap before each and its size.
    type RawStep = (u64, u64, Vec<(u64, u32)>);

    fn steps(max: u64) -> impl Strategy<Value = Vec<RawStep>> {
        let extents = prop::collection::vec((0..max, 1u32..(max / 6) as u32 + 2), 0..5);
        prop::collection::vec((0..=max, 0..=max, extents), 1..9)
    }

    fn check(raw: Vec<RawStep>, base_len: u64, shift: u64) {
        let base: Vec<u8> = (0..base_len).map(|at| 200 + (at % 50) as u8).collect();
        let mut plain = base.clone();
        let (mut bytes, mut bodies): (Vec<u8>, Vec<Body>) = Default::default();
        let mut next = 0u8;
        for (a, b, raw_extents) in raw {
            let before = plain.len() as u64;
            let len_min = a.min(b).min(before);
            let len = b.max(len_min);
            let (mut extents, mut payload): (Vec<Extent>, Vec<u8>) = Default::default();
            let mut at = 0;
            for (gap, count) in raw_extents {
                // Most in order, some back over what the same record has said already.
                let offset = if gap % 4 == 0 { gap % (len + 1) } else { at + gap % (1 + base_len / 3) };
                let count = u64::from(count).min(len.saturating_sub(offset));
                if count == 0 {
                    break;
                }
                extents.push(Extent { offset: offset + shift, len: count as u32 });
                payload.extend((0..count).map(|_| {
                    next = next % 199 + 1;
                    next
                }));
                at = offset + count;
            }
            plain.truncate(len_min as usize);
            plain.resize(len as usize, 0);
            let mut taken = 0;
            for extent in &extents {
                let (start, count) = ((extent.offset - shift) as usize, extent.len as usize);
                plain[start..start + count].copy_from_slice(&payload[taken..taken + count]);
                taken += count;
            }
            let (at, table_bytes) = (bytes.len(), extents.len() * size_of::<ExtentEntry>());
            for extent in &extents {
                bytes.extend_from_slice(ExtentEntry::of(extent).as_bytes());
            }
            bytes.extend_from_slice(&payload);
            bodies.push(Body {
                at,
                table_bytes,
                extents: extents.len(),
                len_min: len_min + shift,
                len_before: before + shift,
            });
        }
        let mut buffer = Buffer::zeros(bytes.len()).unwrap();
        buffer.copy_from_slice(&bytes);
        check_image(&Image::of(buffer, &bodies), &base, &plain, shift);
        if let [body] = *bodies {
            let (table, payload) = bytes[body.at..].split_at(body.table_bytes);
            let extents: Vec<Extent> = journal::extents_in(table).collect();
            let len = shift + plain.len() as u64;
            let batch = Batch { len_min: body.len_min, len, extents: &extents, bytes: payload };
            check_image(&Image::of_batch(&batch, body.len_before), &base, &plain, shift);
        }
    }

    fn check_image(image: &Image<'_>, base: &[u8], plain: &[u8], shift: u64) {
        // The data file: `shift` bytes of which nothing is said, then the base.
        let disk = SimDisk::new();
        let mut start = vec![9; shift as usize];
        start.extend(base);
        disk.put_file("/data", &start);
        let file = disk.open("/data".as_ref(), Access::ReadWrite).unwrap();
        let cut = image.cut().unwrap_or(u64::MAX).min(start.len() as u64);
        file.set_len(cut).unwrap();
        file.set_len(shift + plain.len() as u64).unwrap();
        let (mut at, mut buffer) = (0, Vec::new());
        let mut unwritten = 0;
        while let Some(run) = image.run(at) {
            unwritten += usize::from(!image.is_written(&run, &*file, &mut buffer).unwrap());
            image.write(&run, &*file, &mut buffer).unwrap();
            assert!(image.is_written(&run, &*file, &mut buffer).unwrap());
            at = run.next();
        }
        file.sync_data(SyncPoint::Checkpoint).unwrap();
        let found = disk.read_file("/data").unwrap();
        assert!(unwritten > 0 || found[..cut as usize] == start[..cut as usize]);
        assert_eq!(found.len() as u64, shift + plain.len() as u64);
        assert!(found[shift as usize..] == *plain, "not the records one by one");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_500))]

        #[test]
        fn an_image_is_its_records_one_by_one(raw in steps(48), base_len in 0..=48u64) {
            check(raw, base_len, 0);
        }

        #[test]
        fn an_image_is_its_records_also_across_pages(raw in steps(30_000), base_len in 0..=30_000u64) {
            check(raw, base_len, 0);
        }
    }

    #[test]
    fn a_piece_that_crosses_the_longest_run_is_split_there() {
        let at = RUN_BYTES_MAX - 5_000;
        check(
            vec![(20_000, 20_000, vec![(3, 3_000), (900, 9_000)]), (20_000, 20_000, vec![(4_000, 2_000)])],
            20_000,
            at,
        );
    }
}
