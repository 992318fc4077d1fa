//! Every field of the journal and of the mark, altered one by one with all checksums right: each check must refuse what only it
//! can see.

use steadfast::ErrorKind;
use steadfast::disk::{Access, Disk, SimDisk};
use steadfast::store::Store;

use super::journal_bytes::{ANCHOR, HALF, HALVES_AT, JournalBytes, Record, record_at};
use super::rig::{
    BLOCK, FILE, Found, JOURNAL, LEN, commit, disk, initial, killed, open, recovers, refused_pair,
};

pub(super) fn all() -> Found {
    headers()?;
    anchors()?;
    records()?;
    bodies()?;
    read_back()?;
    chains()?;
    newest_anchor()?;
    lengths_of_journals()?;
    marks()
}

type Alter = fn(&mut JournalBytes);

fn altered(disk: &SimDisk, alter: impl FnOnce(&mut JournalBytes)) -> Result<SimDisk, String> {
    let mut journal = JournalBytes::of(disk)?;
    alter(&mut journal);
    Ok(journal.put_on(disk))
}

/// Sets a number of the mark.
fn with_mark(disk: &SimDisk, at: usize, number: u64) -> Found {
    let mut mark = disk.mark_of(FILE).ok_or("no mark")?;
    mark[at..at + 8].copy_from_slice(&number.to_le_bytes());
    disk.put_mark(FILE, Some(&mark)).map_err(|error| error.to_string())
}

fn headers() -> Found {
    let (disk, _) = killed(SimDisk::new(), 3)?;
    let cases: [(&str, Alter, ErrorKind, &str); 6] = [
        ("another magic", |journal| journal.0[0] ^= 1, ErrorKind::Identity, "is not a journal"),
        ("another version", |journal| journal.set_u32(8, 2), ErrorKind::Unsupported, "version 2"),
        ("halves of nothing", |journal| journal.set(56, 0), ErrorKind::Corrupt, "header is damaged"),
        (
            "halves that end within a block",
            |journal| journal.set(56, HALF as u64 - 512),
            ErrorKind::Corrupt,
            "header is damaged",
        ),
        (
            "halves beyond all files",
            |journal| journal.set(56, 1 << 63),
            ErrorKind::Corrupt,
            "header is damaged",
        ),
        (
            "an epoch that nobody counted",
            |journal| {
                journal.set(32, u64::MAX);
                (0..3).for_each(|record| journal.set(record_at(record) + 16, u64::MAX));
            },
            ErrorKind::Corrupt,
            "header is damaged",
        ),
    ];
    for (what, alter, kind, words) in cases {
        let image = altered(&disk, |journal| {
            alter(journal);
            journal.chain_anew(3);
        })?;
        if what.contains("epoch") {
            with_mark(&image, 32, u64::MAX)?;
        }
        refused_pair(&image, kind, words, what)?;
    }
    // The inode does not matter where there are marks: only the checksum sees this.
    let image = altered(&disk, |journal| journal.0[64] ^= 1)?;
    refused_pair(&image, ErrorKind::Corrupt, "header is damaged", "a flipped bit of the header")
}

fn anchors() -> Found {
    let (disk, _) = killed(SimDisk::new(), 0)?;
    let cases: [(&str, Alter); 7] = [
        ("a length that no file has", |journal| journal.set(ANCHOR + 48, 1 << 63)),
        ("another magic", |journal| journal.0[ANCHOR] ^= 1),
        ("another salt", |journal| journal.0[ANCHOR + 8] ^= 1),
        ("a sequence that nobody counted", |journal| journal.set(ANCHOR + 16, u64::MAX)),
        ("a commit that nobody counted", |journal| journal.set(ANCHOR + 24, u64::MAX)),
        ("a place within a block", |journal| journal.set(ANCHOR + 32, HALVES_AT as u64 + 512)),
        ("a place before the halves", |journal| journal.set(ANCHOR + 32, 2 * BLOCK as u64)),
    ];
    for (what, alter) in cases {
        let image = altered(&disk, |journal| {
            alter(journal);
            journal.seal_anchor(ANCHOR);
        })?;
        if what.contains("commit") {
            with_mark(&image, 40, u64::MAX)?;
        }
        refused_pair(&image, ErrorKind::Corrupt, "both anchors", &format!("an anchor with {what}"))?;
    }
    let image = altered(&disk, |journal| journal.0[ANCHOR + 16] ^= 2)?;
    refused_pair(&image, ErrorKind::Corrupt, "both anchors", "a flipped bit of the anchor")
}

/// The last record is altered: it must be taken for one that was never acknowledged.
fn records() -> Found {
    let (disk, states) = killed(SimDisk::new(), 3)?;
    const LAST: usize = HALVES_AT + 2 * BLOCK;
    let cases: [(&str, Alter); 11] = [
        ("a length that no file has", |journal| journal.set(LAST + 80, 1 << 63)),
        ("another magic", |journal| journal.0[LAST] ^= 1),
        ("another salt", |journal| journal.0[LAST + 8] ^= 1),
        ("another epoch", |journal| journal.0[LAST + 16] ^= 2),
        ("a number that nobody counted", |journal| journal.set(LAST + 24, u64::MAX)),
        ("the number of the one before", |journal| journal.set(LAST + 24, 2)),
        ("another position", |journal| journal.set(LAST + 32, record_at(5) as u64)),
        ("another predecessor", |journal| journal.0[LAST + 48] ^= 1),
        ("a smallest length above the length", |journal| journal.set(LAST + 72, LEN as u64 + 1)),
        ("another encoding", |journal| journal.set_u32(LAST + 92, 1)),
        ("a table that it has no room for", |journal| journal.set_u32(LAST + 88, 1000)),
    ];
    recovers(&disk, &states[3], "three records")?;
    for (what, alter) in cases {
        let image = altered(&disk, |journal| {
            alter(journal);
            journal.seal_record(LAST);
        })?;
        recovers(&image, &states[2], &format!("a last record with {what}"))?;
    }
    let image = altered(&disk, |journal| journal.0[LAST + 64] ^= 1)?;
    recovers(&image, &states[2], "a last record with a flipped bit")?;
    let image = altered(&disk, |journal| journal.0[LAST + 112 + 12] ^= 1)?;
    recovers(&image, &states[2], "a last record with a flipped bit of what it brings")?;
    let image = altered(&disk, |journal| journal.0[record_at(1) + 112 + 12] ^= 1)?;
    refused_pair(&image, ErrorKind::Corrupt, "damaged or missing", "a damaged record below a durable one")
}

fn bodies() -> Found {
    let (disk, states) = killed(SimDisk::new(), 2)?;
    let cases = [
        ("an extent beyond the length", vec![(LEN as u64 - 3, 8)], 8),
        ("an extent beyond all numbers", vec![(u64::MAX - 3, 8)], 8),
        ("an empty extent", vec![(5, 3), (50, 0)], 3),
        ("more bytes than extents", vec![(5, 3)], 4),
    ];
    for (what, extents, bytes) in cases {
        let image = altered(&disk, |journal| {
            let record = Record {
                id: 3,
                predecessor: journal.link(record_at(1)),
                durable_through: 2,
                len: LEN as u64,
                extents,
                payload: vec![99; bytes],
            };
            journal.put_record(record_at(2), &record);
        })?;
        recovers(&image, &states[2], &format!("a last record with {what}"))?;
    }
    Ok(())
}

/// A record that is damaged on the disk while the file is open: the checkpoint must not bring that into the file.
fn read_back() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    commit(&mut store, &mut state, 0, b"one")?;
    let journal = disk.open(JOURNAL.as_ref(), Access::ReadWrite).map_err(|error| error.to_string())?;
    let place = record_at(0) as u64 + 112 + 12;
    journal.write_at(&[b"bad"], place).map_err(|error| error.to_string())?;
    let done = store.checkpoint();
    let found = disk.read_file(FILE).unwrap_or_default();
    if found.starts_with(b"bad") || (done.is_ok() && found != state) {
        return Err(format!("a record that was damaged while the file was open was believed: {done:?}"));
    }
    Ok(())
}

/// Records where none can be.
fn chains() -> Found {
    let (disk, _) = killed(SimDisk::new(), 0)?;
    let mut state = initial();
    let record = |id: u64, predecessor: u64, bytes: usize| Record {
        id,
        predecessor,
        durable_through: id - 1,
        len: LEN as u64,
        extents: vec![(0, bytes as u32)],
        payload: vec![id as u8; bytes],
    };
    // Three blocks of four, and then one of two that would lie in both halves.
    let image = altered(&disk, |journal| {
        let root = journal.u64(72);
        let link = journal.put_record(record_at(0), &record(1, root, 2 * BLOCK));
        journal.put_record(record_at(3), &record(2, link, BLOCK));
    })?;
    state[..2 * BLOCK].fill(1);
    recovers(&image, &state, "a record that does not end within its half")?;
    // From one half to the other is once; to come back is to be among the chain's own beginning.
    let image = altered(&disk, |journal| {
        let root = journal.u64(72);
        journal.set(ANCHOR + 32, record_at(2) as u64);
        journal.seal_anchor(ANCHOR);
        let link = journal.put_record(record_at(2), &record(1, root, 3));
        let link = journal.put_record(record_at(4), &record(2, link, 4));
        journal.put_record(record_at(0), &record(3, link, 5));
    })?;
    let mut state = initial();
    state[..4].fill(2);
    recovers(&image, &state, "a chain that comes back to the half where it began").map(drop)
}

/// The half that the older anchor points at was used again.
fn newest_anchor() -> Found {
    let disk = disk();
    let mut store = open(&disk, 0)?;
    let mut state = initial();
    for round in 0..9 {
        if round == 4 {
            store.checkpoint().map_err(|error| error.to_string())?;
        }
        commit(&mut store, &mut state, 10 * round, &[round as u8; 4])?;
        recovers(&disk, &state, "after a commit in either half")?;
    }
    Ok(())
}

fn lengths_of_journals() -> Found {
    let (disk, states) = killed(SimDisk::new(), 1)?;
    let whole = JournalBytes::of(&disk)?;
    let short = disk.killed();
    short.put_file(JOURNAL, &whole.0[..whole.0.len() - BLOCK]);
    refused_pair(&short, ErrorKind::Corrupt, "the journal was cut", "a journal that was cut")?;
    let long = disk.killed();
    long.put_file(JOURNAL, &[&whole.0[..], &[7; BLOCK]].concat());
    recovers(&long, &states[1], "a journal with something behind it").map(drop)
}

fn marks() -> Found {
    let (disk, _) = killed(SimDisk::new(), 1)?;
    let mut mark = disk.mark_of(FILE).ok_or("no mark")?;
    mark[0] = 2;
    for strange in [&mark[..], &mark[..10], &[]] {
        let image = disk.killed();
        image.put_mark(FILE, Some(strange)).map_err(|error| error.to_string())?;
        refused_pair(&image, ErrorKind::Identity, "this version can read", "a strange mark")?;
    }
    Ok(())
}
