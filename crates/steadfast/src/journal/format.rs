//! The bytes of a journal, and nothing but the bytes: encoding, decoding, checksums. `docs/format.md` draws them.
//!
//! All numbers are little-endian. Each structure ends with a checksum over what stands before it in the
//! structure, and all but the file header carry the journal's random salt, so that bytes of another journal, or
//! of this space's previous use, are never taken for ours.

use crc_fast::CrcAlgorithm;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::batch::Extent;
use crate::knockout::holds;

/// The version that this code writes and reads.
pub(crate) const VERSION: u32 = 1;
/// Everything that is overwritten on its own starts on a boundary of this many bytes, so that no write touches a
/// block that holds something else. Fixed in the format, whatever the page size of the machine.
pub(crate) const BLOCK_BYTES: u64 = 4096;
/// The file header and the two anchor slots stand before the halves.
pub(crate) const HALVES_AT: u64 = 3 * BLOCK_BYTES;
/// The data file carries a mark with the journal's identity.
pub(crate) const FLAG_MARKED: u32 = 1;

/// Commits, epochs and anchors are counted from 1 up: a number beyond this one was not counted, and counting on must not
/// overflow.
const NUMBER_MAX: u64 = u64::MAX / 2;

/// No file is longer (off_t): sums with blocks and halves do not overflow.
const LEN_MAX: u64 = i64::MAX as u64;

const FILE_MAGIC: [u8; 8] = *b"STEADFST";
const ANCHOR_MAGIC: [u8; 8] = *b"SFANCHOR";
const RECORD_MAGIC: [u8; 8] = *b"SFRECORD";

/// Bytes of one extent in a record's table.
pub(crate) const EXTENT_BYTES: u64 = size_of::<ExtentEntry>() as u64;
/// Bytes of a record's header.
pub(crate) const RECORD_HEADER_BYTES: u64 = size_of::<RecordHeader>() as u64;

/// CRC-64/NVME: the widest checksum that today's processors compute at memory speed.
pub(crate) struct Checksum(crc_fast::Digest);

impl Checksum {
    pub(crate) fn new() -> Self {
        Checksum(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.finalize()
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// Block 0: what the journal is. Written once, before the journal gets its name.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct FileHeader {
    magic: [u8; 8],
    version: U32,
    pub(crate) flags: U32,
    pub(crate) identity: [u8; 16],
    pub(crate) epoch: U64,
    pub(crate) previous_epoch: U64,
    pub(crate) salt: U64,
    pub(crate) half_bytes: U64,
    pub(crate) data_inode: U64,
    checksum: U64,
}

/// Block 1 or 2: where the chain of records begins. The slots are written in turn, so a torn write leaves the other.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Anchor {
    magic: [u8; 8],
    salt: U64,
    pub(crate) sequence: U64,
    pub(crate) checkpointed_through: U64,
    pub(crate) position: U64,
    pub(crate) predecessor: U64,
    pub(crate) data_len: U64,
    checksum: U64,
}

/// The head of a record: one commit.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RecordHeader {
    magic: [u8; 8],
    salt: U64,
    pub(crate) epoch: U64,
    pub(crate) id: U64,
    pub(crate) position: U64,
    pub(crate) record_bytes: U64,
    pub(crate) predecessor: U64,
    pub(crate) durable_through: U64,
    pub(crate) checkpointed_through: U64,
    pub(crate) len_min: U64,
    pub(crate) len: U64,
    pub(crate) extents: U32,
    /// How table and payload are encoded. 0: a table of byte extents, then their bytes. Other values are refused.
    pub(crate) encoding: U32,
    body_checksum: U64,
    checksum: U64,
}

/// One entry of a record's table: these bytes of the data file. In any order; where two overlap the later one counts.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct ExtentEntry {
    pub(crate) offset: U64,
    pub(crate) len: U32,
}

impl ExtentEntry {
    pub(crate) fn of(extent: &Extent) -> ExtentEntry {
        ExtentEntry { offset: extent.offset.into(), len: extent.len.into() }
    }
}

/// Why bytes are not a header of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Not a journal at all.
    Foreign,
    /// A journal of another version.
    Version(u32),
    /// A journal's header with a wrong checksum or impossible sizes.
    Damaged,
}

/// The checksum of a structure whose last eight bytes are its checksum field.
fn own_checksum<T: IntoBytes + Immutable>(value: &T) -> u64 {
    let bytes = value.as_bytes();
    checksum(&bytes[..bytes.len() - 8])
}

impl FileHeader {
    pub(crate) fn new(
        identity: [u8; 16],
        epoch: u64,
        previous_epoch: u64,
        salt: u64,
        half_bytes: u64,
        data_inode: u64,
        flags: u32,
    ) -> FileHeader {
        let mut header = FileHeader {
            magic: FILE_MAGIC,
            version: VERSION.into(),
            flags: flags.into(),
            identity,
            epoch: epoch.into(),
            previous_epoch: previous_epoch.into(),
            salt: salt.into(),
            half_bytes: half_bytes.into(),
            data_inode: data_inode.into(),
            checksum: 0.into(),
        };
        header.checksum = own_checksum(&header).into();
        header
    }

    pub(crate) fn decode(block: &[u8]) -> Result<FileHeader, HeaderError> {
        let (header, _) = FileHeader::read_from_prefix(block).map_err(|_| HeaderError::Foreign)?;
        if !holds!("header: its magic", header.magic == FILE_MAGIC) {
            return Err(HeaderError::Foreign);
        }
        // The version comes before the checksum: another version may lay out everything behind it differently.
        if !holds!("header: its version", header.version.get() == VERSION) {
            return Err(HeaderError::Version(header.version.get()));
        }
        let half = header.half_bytes.get();
        let sound = holds!("header: its checksum", header.checksum.get() == own_checksum(&header))
            && holds!("header: halves of a block at least", half >= BLOCK_BYTES)
            && holds!("header: halves of whole blocks", half.is_multiple_of(BLOCK_BYTES))
            && holds!("header: halves that a file has room for", half <= i64::MAX as u64 / 4)
            && holds!("header: an epoch that was counted", header.epoch.get() < NUMBER_MAX);
        if !sound {
            return Err(HeaderError::Damaged);
        }
        Ok(header)
    }

    /// Bytes of the whole journal file.
    pub(crate) fn journal_bytes(&self) -> u64 {
        HALVES_AT + 2 * self.half_bytes.get()
    }

    /// The first record's predecessor: what the chain hangs on before there is a record.
    pub(crate) fn root(&self) -> u64 {
        self.checksum.get()
    }

    pub(crate) fn half_start(&self, half: usize) -> u64 {
        HALVES_AT + half as u64 * self.half_bytes.get()
    }

    /// The half that holds `position`, if one does.
    pub(crate) fn half_of(&self, position: u64) -> Option<usize> {
        let into = position.checked_sub(HALVES_AT)? / self.half_bytes.get();
        (into < 2).then_some(into as usize) // no check: who asks decides what it means
    }
}

impl Anchor {
    pub(crate) fn new(
        header: &FileHeader,
        sequence: u64,
        checkpointed_through: u64,
        position: u64,
        predecessor: u64,
        data_len: u64,
    ) -> Anchor {
        let mut anchor = Anchor {
            magic: ANCHOR_MAGIC,
            salt: header.salt,
            sequence: sequence.into(),
            checkpointed_through: checkpointed_through.into(),
            position: position.into(),
            predecessor: predecessor.into(),
            data_len: data_len.into(),
            checksum: 0.into(),
        };
        anchor.checksum = own_checksum(&anchor).into();
        anchor
    }

    /// The anchor in `block`, if a whole one of this journal stands there.
    pub(crate) fn decode(block: &[u8], header: &FileHeader) -> Option<Anchor> {
        let (anchor, _) = Anchor::read_from_prefix(block).ok()?;
        let position = anchor.position.get();
        let ours = holds!("anchor: its magic", anchor.magic == ANCHOR_MAGIC)
            && holds!("anchor: its salt", anchor.salt == header.salt)
            && holds!("anchor: its checksum", anchor.checksum.get() == own_checksum(&anchor))
            && holds!("anchor: a sequence that was counted", anchor.sequence.get() < NUMBER_MAX)
            && holds!("anchor: a commit that was counted", anchor.checkpointed_through.get() < NUMBER_MAX)
            && holds!("anchor: a length that a file has", anchor.data_len.get() <= LEN_MAX)
            && holds!("anchor: a whole block", position.is_multiple_of(BLOCK_BYTES))
            && holds!("anchor: a place in a half", header.half_of(position).is_some());
        ours.then_some(anchor)
    }

    /// Where the anchor with this number stands.
    pub(crate) fn slot(sequence: u64) -> u64 {
        BLOCK_BYTES * (1 + sequence % 2)
    }
}

/// What a record says besides its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordFields {
    pub(crate) id: u64,
    pub(crate) position: u64,
    pub(crate) predecessor: u64,
    pub(crate) durable_through: u64,
    pub(crate) checkpointed_through: u64,
    pub(crate) len_min: u64,
    pub(crate) len: u64,
}

impl RecordHeader {
    /// The header of a record with this table and payload.
    pub(crate) fn new(
        file: &FileHeader,
        fields: &RecordFields,
        table: &[u8],
        payload: &[u8],
    ) -> RecordHeader {
        let mut body = Checksum::new();
        body.update(table);
        body.update(payload);
        let mut header = RecordHeader {
            magic: RECORD_MAGIC,
            salt: file.salt,
            epoch: file.epoch,
            id: fields.id.into(),
            position: fields.position.into(),
            record_bytes: (RECORD_HEADER_BYTES + table.len() as u64 + payload.len() as u64).into(),
            predecessor: fields.predecessor.into(),
            durable_through: fields.durable_through.into(),
            checkpointed_through: fields.checkpointed_through.into(),
            len_min: fields.len_min.into(),
            len: fields.len.into(),
            extents: ((table.len() / size_of::<ExtentEntry>()) as u32).into(),
            encoding: 0.into(),
            body_checksum: body.value().into(),
            checksum: 0.into(),
        };
        header.checksum = own_checksum(&header).into();
        header
    }

    /// The record header at `position`, if a whole one of this journal stands there. Says nothing of the body.
    pub(crate) fn decode(bytes: &[u8], position: u64, file: &FileHeader) -> Option<RecordHeader> {
        let (header, _) = RecordHeader::read_from_prefix(bytes).ok()?;
        let half = file.half_of(position)?;
        let room = file.half_start(half) + file.half_bytes.get() - position;
        let bytes = header.record_bytes.get();
        let ours = holds!("record: its magic", header.magic == RECORD_MAGIC)
            && holds!("record: its salt", header.salt == file.salt)
            && holds!("record: its epoch", header.epoch == file.epoch)
            && holds!("record: its position", header.position.get() == position)
            && holds!("record: its checksum", header.checksum.get() == own_checksum(&header))
            && holds!("record: its encoding", header.encoding.get() == 0)
            && holds!("record: a number that was counted", header.id.get() < NUMBER_MAX)
            && holds!("record: no smallest length above the length", header.len_min <= header.len)
            && holds!("record: a length that a file has", header.len.get() <= LEN_MAX)
            && holds!("record: ends within its half", bytes <= room)
            && holds!("record: has room for its table", bytes >= RECORD_HEADER_BYTES + header.table_bytes());
        ours.then_some(header)
    }

    /// A header that is not whole: is enough left of it to tell that the record behind `predecessor` and commit `last` was begun
    /// here? It names the one, or is by all else of this journal and this place, and younger than the other.
    // no check: what it finds is only told, as a torn tail or as the place of a gap
    pub(crate) fn remains(
        bytes: &[u8],
        position: u64,
        file: &FileHeader,
        predecessor: u64,
        last: u64,
    ) -> bool {
        RecordHeader::read_from_prefix(bytes).is_ok_and(|(header, _)| {
            let follows = header.magic == RECORD_MAGIC
                && header.salt == file.salt
                && header.position.get() == position
                && header.id.get() > last;
            follows || (header.predecessor.get() == predecessor && bytes.iter().any(|&byte| byte != 0))
        })
    }

    /// Is `body` (table and payload) what the header says, with extents that lie within the length?
    pub(crate) fn holds(&self, body: &[u8]) -> bool {
        // no check: who reads a body has made room for so many bytes
        if body.len() as u64 != self.record_bytes.get() - RECORD_HEADER_BYTES {
            return false;
        }
        let (table, payload) = body.split_at(self.table_bytes() as usize);
        let mut check = BodyCheck::new(self);
        if !(check.table(table) && check.table_ends()) {
            return false;
        }
        check.payload(payload);
        check.ends()
    }

    pub(crate) fn table_bytes(&self) -> u64 {
        u64::from(self.extents.get()) * EXTENT_BYTES
    }

    /// What the next record names as its predecessor.
    pub(crate) fn link(&self) -> u64 {
        self.checksum.get()
    }
}

/// Is a body what its header says? Asked piece by piece, the table first: so nothing large need be read or kept for a header
/// that claims too much.
pub(crate) struct BodyCheck<'a> {
    header: &'a RecordHeader,
    checksum: Checksum,
    /// Of all extents so far.
    extent_bytes: u64,
}

impl<'a> BodyCheck<'a> {
    pub(crate) fn new(header: &'a RecordHeader) -> BodyCheck<'a> {
        BodyCheck { header, checksum: Checksum::new(), extent_bytes: 0 }
    }

    /// The next entries of the table: do they lie within the length?
    pub(crate) fn table(&mut self, entries: &[u8]) -> bool {
        self.checksum.update(entries);
        let Ok(entries) = <[ExtentEntry]>::ref_from_bytes(entries) else { return false };
        for entry in entries {
            let end = entry.offset.get().checked_add(u64::from(entry.len.get()));
            let inside = end.is_some_and(|end| end <= self.header.len.get()); // no check: the next line is
            let sound = holds!("body: extents end within the length", inside)
                && holds!("body: extents are not empty", entry.len.get() > 0);
            if !sound {
                return false;
            }
            self.extent_bytes += u64::from(entry.len.get());
        }
        true
    }

    /// There are no more entries: is the payload as long as they say?
    pub(crate) fn table_ends(&self) -> bool {
        let payload = self.header.record_bytes.get() - RECORD_HEADER_BYTES - self.header.table_bytes();
        holds!("body: as many bytes as its extents", self.extent_bytes == payload)
    }

    /// The next bytes of the payload.
    pub(crate) fn payload(&mut self, bytes: &[u8]) {
        self.checksum.update(bytes);
    }

    /// That was all of it: is it what was written?
    pub(crate) fn ends(self) -> bool {
        holds!("body: its checksum", self.checksum.value() == self.header.body_checksum.get())
    }
}

/// Bytes that a record takes in the journal: whole blocks.
pub(crate) fn padded(record_bytes: u64) -> u64 {
    record_bytes.next_multiple_of(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FileHeader {
        FileHeader::new([7; 16], 3, 2, 0xfeed, 8 * BLOCK_BYTES, 42, FLAG_MARKED)
    }

    #[test]
    fn sizes_are_those_of_the_format_page() {
        assert_eq!(size_of::<FileHeader>(), 80);
        assert_eq!(size_of::<Anchor>(), 64);
        assert_eq!(RECORD_HEADER_BYTES, 112);
        assert_eq!(EXTENT_BYTES, 12);
    }

    #[test]
    fn every_flipped_byte_of_every_structure_is_noticed() {
        let file = header();
        let anchor = Anchor::new(&file, 5, 9, HALVES_AT, file.root(), 100);
        let table = ExtentEntry { offset: 10.into(), len: 3.into() };
        let fields = RecordFields {
            id: 1,
            position: HALVES_AT,
            predecessor: file.root(),
            durable_through: 0,
            checkpointed_through: 0,
            len_min: 50,
            len: 100,
        };
        let record = RecordHeader::new(&file, &fields, table.as_bytes(), b"abc");
        let body = [table.as_bytes(), b"abc"].concat();

        let flips = |bytes: &[u8]| -> Vec<Vec<u8>> {
            (0..bytes.len() * 8)
                .map(|bit| {
                    let mut flipped = bytes.to_vec();
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    flipped
                })
                .collect()
        };
        assert!(FileHeader::decode(file.as_bytes()).is_ok());
        assert!(flips(file.as_bytes()).iter().all(|bytes| FileHeader::decode(bytes).is_err()));
        assert!(Anchor::decode(anchor.as_bytes(), &file).is_some());
        assert!(flips(anchor.as_bytes()).iter().all(|bytes| Anchor::decode(bytes, &file).is_none()));
        assert!(RecordHeader::decode(record.as_bytes(), HALVES_AT, &file).is_some());
        assert!(
            flips(record.as_bytes())
                .iter()
                .all(|bytes| RecordHeader::decode(bytes, HALVES_AT, &file).is_none())
        );
        assert!(record.holds(&body));
        assert!(flips(&body).iter().all(|bytes| !record.holds(bytes)));
        assert!(RecordHeader::decode(record.as_bytes(), HALVES_AT + BLOCK_BYTES, &file).is_none());
    }

    #[test]
    fn lengths_that_no_file_has_are_refused() {
        let file = header();
        let anchor = |len| Anchor::new(&file, 5, 9, HALVES_AT, file.root(), len);
        let record = |len| {
            let fields = RecordFields {
                id: 1,
                position: HALVES_AT,
                predecessor: file.root(),
                durable_through: 0,
                checkpointed_through: 0,
                len_min: 0,
                len,
            };
            RecordHeader::new(&file, &fields, &[], &[])
        };
        for (len, taken) in [(LEN_MAX, true), (LEN_MAX + 1, false), (u64::MAX, false)] {
            assert_eq!(Anchor::decode(anchor(len).as_bytes(), &file).is_some(), taken, "{len}");
            let decoded = RecordHeader::decode(record(len).as_bytes(), HALVES_AT, &file);
            assert_eq!(decoded.is_some(), taken, "{len}");
        }
    }

    #[test]
    fn extents_that_leave_the_file_are_refused() {
        let file = header();
        let check = |entries: &[(u64, u32)], len: u64| {
            let table: Vec<u8> = entries
                .iter()
                .flat_map(|&(offset, len)| {
                    ExtentEntry { offset: offset.into(), len: len.into() }.as_bytes().to_vec()
                })
                .collect();
            let payload = vec![1; entries.iter().map(|&(_, len)| len as usize).sum()];
            let fields = RecordFields {
                id: 1,
                position: HALVES_AT,
                predecessor: 0,
                durable_through: 0,
                checkpointed_through: 0,
                len_min: 0,
                len,
            };
            RecordHeader::new(&file, &fields, &table, &payload).holds(&[table, payload].concat())
        };
        assert!(check(&[(0, 4), (4, 4), (10, 1)], 11));
        assert!(check(&[(4, 4), (0, 5)], 11), "any order, and the later one counts");
        assert!(!check(&[(10, 2)], 11), "past the end");
        assert!(!check(&[(u64::MAX, 2)], u64::MAX), "overflow");
        assert!(!check(&[(1, 0)], 11), "empty");
    }
}
