//! A data file and its journal, as a crash left them, and the states that they stand for.

mod base;
pub mod judge;
pub mod seal;

use std::path::Path;
use std::sync::Arc;

use steadfast::disk::{Access, Disk, SimDisk, SyncPoint};

use crate::history::Content;
pub use base::{Base, bases};

/// Where the data file is.
pub const DATA: &str = "/data";
/// Where the journal is.
pub const JOURNAL: &str = "/data.steadfast";

/// A file and its journal after a crash.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The data file as it stands, which need not be any state.
    pub data: Vec<u8>,
    /// Its mark, where the disk has room for marks.
    pub mark: Option<Vec<u8>>,
    /// The journal.
    pub journal: Vec<u8>,
    /// The state after the newest anchor's commit, and after each record: with the commits' numbers.
    pub states: Vec<(u64, Content)>,
}

impl Pair {
    /// What stands on this disk. `history` has every state that was ever begun, the last of them the one to be recovered.
    ///
    /// The random numbers in it become those that `number` gives, so that the same session is the same pair each time.
    pub fn of(disk: &SimDisk, history: &[Content], number: u64) -> Result<Pair, String> {
        let data = disk.read_file(DATA).ok_or("no data file")?;
        let mut journal = disk.read_file(JOURNAL).ok_or("no journal")?;
        let mut identity = [0x5a; 16];
        identity[8..].copy_from_slice(&number.to_le_bytes());
        let mark = disk.mark_of(DATA).map(|mut mark| {
            mark[4..16].fill(0);
            mark[16..32].copy_from_slice(&identity);
            mark
        });
        // A disk that is made for a pair gives its first file inode 1.
        seal::rename(&mut journal, identity, 0x5a17_0000 + number, first_inode());
        let states = states(&journal, history)?;
        Ok(Pair { data, mark, journal, states })
    }

    /// A disk with this pair on it, and perhaps another journal in the place of its own.
    pub fn disk(&self, journal: &[u8]) -> Result<SimDisk, String> {
        let disk = if self.mark.is_some() { SimDisk::new() } else { SimDisk::new().without_marks() };
        disk.put_file(DATA, &self.data);
        if let Some(mark) = &self.mark {
            let put = || {
                let file = disk.open(Path::new(DATA), Access::ReadWrite)?;
                file.set_mark(Some(mark))?;
                file.sync(SyncPoint::Mark)
            };
            put().map_err(|error| format!("cannot mark the file: {error}"))?;
        }
        disk.put_file(JOURNAL, journal);
        Ok(disk)
    }

    /// The commit that the mark says is in the data file.
    pub fn through(&self) -> u64 {
        self.mark.as_ref().map_or(0, |mark| seal::number(mark, 40))
    }

    /// The last commit.
    pub fn last(&self) -> (u64, &[u8]) {
        self.states.last().map_or((0, &[]), |(id, state)| (*id, state.as_slice()))
    }

    /// What must be found at least when `journal` stands in the place of its own journal: what the mark says, and what every anchor and
    /// every record's header says that is still as it was written.
    pub fn durable(&self, journal: &[u8]) -> u64 {
        let same = |at: usize, bytes: usize| {
            let range = at..at + bytes;
            journal.get(range.clone()).is_some_and(|found| *found == self.journal[range])
        };
        let anchors = seal::anchors(&self.journal);
        let anchored = anchors.iter().filter(|it| same(it.at, seal::ANCHOR_BYTES)).map(|it| it.through);
        let headers = seal::headers(&self.journal);
        let told = headers.iter().filter(|it| same(it.at, seal::RECORD_BYTES)).map(|it| it.durable_through);
        anchored.chain(told).max().unwrap_or(0).max(self.through())
    }

    /// Has the data file bytes of a commit after this one? (A checkpoint was stopped, or the commit was published.) If its record is lost,
    /// then no earlier state can be made any more.
    pub fn is_ahead_of(&self, told: u64) -> bool {
        let Some(anchor) = seal::anchors(&self.journal).last().copied() else { return false };
        let mut made = self.data.clone();
        let mut len = seal::number(&self.journal, anchor.at + 48) as usize;
        made.resize(len.max(made.len()), 0);
        let mut states = self.states.iter();
        let mut state = states.next();
        for (record, next) in seal::chain(&self.journal, &anchor).iter().zip(states) {
            if record.id > told {
                break;
            }
            if made.len() > len {
                // As recovery does: what lies beyond the length before is no part of any state.
                made[len..].fill(0);
            }
            record.apply(&self.journal, &mut made);
            (state, len) = (Some(next), record.len as usize);
        }
        made.truncate(len);
        state.is_some_and(|(_, state)| **state != made)
    }
}

fn first_inode() -> u64 {
    let disk = SimDisk::new();
    disk.put_file(DATA, &[]);
    disk.stat(Path::new(DATA)).map_or(0, |stat| stat.inode)
}

/// The chain's states: a state of the history on which the records make the later ones, up to the last.
fn states(journal: &[u8], history: &[Content]) -> Result<Vec<(u64, Content)>, String> {
    let anchors = seal::anchors(journal);
    let anchor = anchors.last().ok_or("no anchor")?;
    let chain = seal::chain(journal, anchor);
    // A commit without a change makes no record.
    let mut history = history.to_vec();
    history.dedup();
    let base_len = seal::number(journal, anchor.at + 48);
    for (index, start) in history.iter().enumerate().rev().filter(|(_, start)| start.len() as u64 == base_len)
    {
        let mut states = vec![(anchor.through, Arc::clone(start))];
        let mut state = start.to_vec();
        // Each record is a commit, and each commit a state of the history behind the one before.
        let mut later = history[index + 1..].iter();
        for record in &chain {
            record.apply(journal, &mut state);
            let Some(known) = later.by_ref().find(|known| ***known == state) else { break };
            states.push((record.id, Arc::clone(known)));
        }
        if states.len() == chain.len() + 1 && history.last().is_some_and(|last| **last == state) {
            return Ok(states);
        }
    }
    Err("the journal does not lead to the last state".into())
}
