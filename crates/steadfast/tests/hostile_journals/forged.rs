//! Journals whose checksums are right and whose numbers claim too much.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use steadfast::ErrorKind;

use crate::stage::forging::{ANCHOR, BLOCK, HALVES_AT, Journal, RECORD_HEADER, Record, crc, record_at};
use crate::stage::{JOURNAL_BYTES, LEN, Model, mark_of, picture};
use crate::ways_in::{Pair, ways_in};

/// Header and anchor: what they claim is looked at before it is used.
#[test]
fn headers_and_anchors_that_claim_too_much_are_refused() {
    const HALF: u64 = JOURNAL_BYTES / 2;
    const HALF_BYTES: u64 = 56;
    let halves =
        [u64::MAX, !(BLOCK - 1), 1 << 63, i64::MAX as u64, i64::MAX as u64 & !(BLOCK - 1), 1 << 62, 0, 1];
    for half in halves {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            journal.set(HALF_BYTES, half);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        });
        pair.refused(&format!("halves of {half} bytes"), ErrorKind::Corrupt, &["header is damaged"]);
    }
    for half in [HALF + BLOCK, 1 << 40, (i64::MAX as u64 / 4) & !(BLOCK - 1)] {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            journal.set(HALF_BYTES, half);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        });
        pair.refused(&format!("halves of {half} bytes"), ErrorKind::Corrupt, &["the journal was cut"]);
    }
    let places =
        [0, BLOCK, ANCHOR, HALVES_AT - 1, HALVES_AT + 512, HALVES_AT + 2 * HALF, i64::MAX as u64, u64::MAX];
    for (field, number) in places.map(|place| (32, place)).into_iter().chain([
        (16, u64::MAX),
        (24, u64::MAX),
        (48, 1 << 63),
        (48, u64::MAX),
    ]) {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            journal.set(ANCHOR + field, number);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        });
        let row = format!("an anchor with {number} at {field}");
        pair.refused(&row, ErrorKind::Corrupt, &["both anchors of the journal are damaged"]);
    }
    // Into the middle of the chain, to a block where nothing begins, and to the other half.
    for place in [record_at(1), record_at(5), HALVES_AT + HALF] {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            journal.set(ANCHOR + 32, place);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
            // Or else the chain would be found where it is, at the start of the other half.
            journal.set(record_at(0) + 48, 0);
            journal.chain(&[]);
        });
        pair.refused(
            &format!("an anchor at {place}"),
            ErrorKind::Corrupt,
            &["damaged or missing", "nothing was replayed"],
        );
    }
    for version in [0, 2, u32::MAX] {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            journal.set_u32(8, version);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        });
        let words =
            [format!("version {version}, this library reads version 1"), "the version that wrote it".into()];
        pair.refused("another version", ErrorKind::Unsupported, &[&words[0], &words[1]]);
    }
}

type Forge = fn(&mut Journal);

/// The second record of three, of which the third proves that it was durable; everything hangs together.
const RECORDS: &[(&str, Forge)] = &[
    ("a record of u64::MAX bytes", |journal| journal.set(SECOND + 40, u64::MAX)),
    ("a record of i64::MAX bytes", |journal| journal.set(SECOND + 40, i64::MAX as u64)),
    ("a record that leaves its half", |journal| journal.set(SECOND + 40, JOURNAL_BYTES / 2 - BLOCK + 1)),
    ("a record without room for its header", |journal| journal.set(SECOND + 40, RECORD_HEADER - 1)),
    ("a record of nothing", |journal| journal.set(SECOND + 40, 0)),
    ("u32::MAX extents", |journal| journal.set_u32(SECOND + 88, u32::MAX)),
    ("more extents than it has room for", |journal| journal.set_u32(SECOND + 88, 20)),
    ("no extents for its bytes", |journal| journal.set_u32(SECOND + 88, 0)),
    ("a length of u64::MAX", |journal| journal.set(SECOND + 80, u64::MAX)),
    ("a length of 2^63", |journal| journal.set(SECOND + 80, 1 << 63)),
    ("a smallest length above the length", |journal| journal.set(SECOND + 72, LEN as u64 + 1)),
    ("the commit u64::MAX", |journal| journal.set(SECOND + 24, u64::MAX)),
    ("the commit before", |journal| journal.set(SECOND + 24, 1)),
    ("another place", |journal| journal.set(SECOND + 32, record_at(0))),
    ("another encoding", |journal| journal.set_u32(SECOND + 92, 1)),
    ("extents past the length", |journal| body(journal, &[(LEN as u64 - 3, 4)], 4)),
    ("extents from the length on", |journal| body(journal, &[(LEN as u64, 1)], 1)),
    ("overlapping ranges that leave the length", |journal| {
        body(journal, &[(LEN as u64 - 8, 8), (LEN as u64 - 4, 8)], 16)
    }),
    ("an offset of 2^63", |journal| body(journal, &[(1 << 63, 4)], 4)),
    ("an offset of i64::MAX", |journal| body(journal, &[(i64::MAX as u64, 4)], 4)),
    ("an offset whose end overflows", |journal| body(journal, &[(u64::MAX - 1, 4)], 4)),
    ("an empty extent", |journal| body(journal, &[(0, 0), (8, 4)], 4)),
    ("extents of u32::MAX bytes", |journal| body(journal, &[(0, u32::MAX), (0, u32::MAX)], 4)),
    ("fewer bytes than its extents", |journal| body(journal, &[(0, 8)], 4)),
    ("more bytes than its extents", |journal| body(journal, &[(0, 4)], 8)),
];
const SECOND: u64 = HALVES_AT + BLOCK;

fn body(journal: &mut Journal, extents: &[(u64, u32)], payload: usize) {
    let record = Record {
        id: 2,
        durable_through: 1,
        len: LEN as u64,
        extents: extents.to_vec(),
        payload: vec![0xee; payload],
    };
    journal.put_record(SECOND, &record);
}

#[test]
fn records_that_claim_too_much_are_refused() {
    for (row, forge) in RECORDS {
        let pair = Pair::new(None);
        pair.forge(|journal| {
            forge(journal);
            journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        });
        let place = format!("journal offset {SECOND} is damaged or missing");
        pair.refused(row, ErrorKind::Corrupt, &[&place, "commit 2 was durable", "nothing was replayed"]);
    }
}

/// A record whose checksum is what the first record hangs on: the chain goes on where it began.
#[test]
fn a_chain_that_leads_back_ends() {
    const HALF: u64 = JOURNAL_BYTES / 2;
    let pair = Pair::new(None);
    pair.forge(|journal| {
        // From the start of the other half on it goes to the end of the journal's first, and then behind it begins again.
        let start = HALVES_AT + HALF;
        let (first, second) = (start, record_at(0));
        let record = |id: u64, bytes: usize| Record {
            id,
            durable_through: 0,
            len: LEN as u64,
            extents: vec![(0, bytes as u32)],
            payload: vec![id as u8; bytes],
        };
        journal.set(ANCHOR + 32, first);
        journal.put_record(first, &record(1, 8));
        // It fills its half, so that what follows is the first record again.
        journal.put_record(second, &record(2, HALF as usize - 200));
        journal.chain(&[first, second]);
        let root = journal.u64(first + 48);
        // The number that nobody reads makes the checksum what the first record names as its predecessor.
        journal.force_checksum(second, second + 64, root);
        let checksum = crc(journal.header_of(second));
        journal.set(second + RECORD_HEADER - 8, checksum);
        assert_eq!(checksum, root, "the second leads to the first");
    });
    let said = ways_in(&pair.path, None);
    assert!(said.iter().all(|[_, kind, _]| kind == "fine"), "{said:?}");
    assert_eq!(said[0][2], "2 records", "each record is read once");
    let bytes = fs::read(&pair.path).unwrap();
    assert!(bytes[..JOURNAL_BYTES as usize / 2 - 200].iter().all(|&byte| byte == 2));
}

/// The longest file that the file system takes, without a single block.
fn make_huge(path: &Path) -> u64 {
    let file = File::options().write(true).open(path).unwrap();
    let longest = (32..63).rev().map(|bit| (1u64 << bit) - BLOCK).find(|&len| file.set_len(len).is_ok());
    longest.expect("a file of some GiB")
}

#[test]
fn a_journal_takes_time_and_memory_for_what_is_in_it_and_not_for_what_it_claims() {
    // Nothing but a hole.
    let pair = Pair::new(None);
    File::create(&pair.journal).unwrap();
    pair.refused("a journal of no bytes", ErrorKind::Identity, &["is not a journal"]);
    let with_huge = |forge: &dyn Fn(&mut Journal, u64)| {
        let pair = Pair::new(None);
        let len = make_huge(&pair.journal);
        let mut journal = Journal(vec![0; HALVES_AT as usize + 8 * BLOCK as usize]);
        let mut whole = File::open(&pair.journal).unwrap();
        io::Read::read_exact(&mut whole, &mut journal.0).unwrap();
        let half = (len - HALVES_AT) / 2 / BLOCK * BLOCK;
        journal.set(56, half);
        forge(&mut journal, half);
        journal.chain(&[record_at(0), record_at(1), record_at(2)]);
        journal.write(&pair.journal);
        pair
    };
    with_huge(&|_, _| {}).is_fine("a sound journal with a huge hole", &[1, 2, 3]);
    // `picture` would read it from end to end.
    let refused = |pair: Pair, words: &str| {
        let before = fs::read(&pair.path).unwrap();
        for [way, kind, text] in ways_in(&pair.path, None) {
            assert_eq!(kind, "Corrupt", "{way}: {text}");
            assert!(text.contains(words), "{way}: {text}");
        }
        assert!(fs::read(&pair.path).unwrap() == before);
        assert!(pair.journal.exists() && mark_of(&pair.path).is_some());
    };
    let words = format!("journal offset {SECOND} is damaged or missing");
    refused(with_huge(&|journal, half| journal.set(SECOND + 40, half - BLOCK)), &words);
    refused(
        with_huge(&|journal, half| {
            journal.set(SECOND + 40, half - BLOCK);
            journal.set_u32(SECOND + 88, u32::MAX);
        }),
        &words,
    );
}

#[test]
fn a_hole_as_long_as_a_file_can_be_is_no_journal() {
    let pair = Pair::new(None);
    File::create(&pair.journal).unwrap();
    make_huge(&pair.journal);
    for [way, kind, text] in ways_in(&pair.path, None) {
        assert_eq!(kind, "Identity", "{way}: {text}");
        assert!(text.contains("is not a journal") && text.contains("move it away"), "{way}: {text}");
    }
    assert!(fs::read(&pair.path).unwrap() == Model::plain().0);
}

#[test]
fn a_length_that_no_file_system_holds_changes_nothing() {
    let pair = Pair::new(None);
    pair.forge(|journal| {
        journal.set(record_at(2) + 80, i64::MAX as u64);
        journal.chain(&[record_at(0), record_at(1), record_at(2)]);
    });
    let before = picture(pair.folder.path());
    for [way, kind, text] in ways_in(&pair.path, None).into_iter().skip(1) {
        assert_eq!(kind, "NoSpace", "{way}: {text}");
    }
    assert!(picture(pair.folder.path()) == before, "something was changed");
}
