//! The workload, and what is known of it from outside: which states were begun and which were acknowledged.

use std::sync::Arc;

use steadfast::disk::{Disk, SimDisk};
use steadfast::{AtomicMapping, Error, ErrorKind};

pub(crate) const FILE: &str = "/data";
pub(crate) const JOURNAL: &str = "/data.steadfast";
const PAGE: usize = 4096;

/// What the program that was stopped had been told.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The state before the first commit, and that of every commit that was begun.
    pub(crate) states: Vec<Vec<u8>>,
    /// The last state that was acknowledged as durable.
    pub(crate) durable: usize,
    /// The last `close` that returned success left this state, if nothing was opened since.
    pub(crate) closed: Option<usize>,
}

impl Log {
    pub(crate) fn new(initial: &[u8]) -> Log {
        Log { states: vec![initial.to_vec()], durable: 0, closed: Some(0) }
    }

    /// States that a recovery may find.
    pub(crate) fn allowed(&self) -> std::ops::RangeInclusive<usize> {
        self.durable..=self.states.len() - 1
    }

    fn begin(&mut self, state: Vec<u8>) {
        self.states.push(state);
    }

    fn durable(&mut self) {
        self.durable = self.states.len() - 1;
    }
}

/// The content before anything happens: 9000 bytes, so that the last page is a partial one.
pub(crate) fn initial() -> Vec<u8> {
    (0..9000u32).map(|at| (at % 251) as u8).collect()
}

pub(crate) fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.put_file(FILE, &initial());
    disk
}

struct Run<'a> {
    map: AtomicMapping,
    log: &'a mut Log,
}

impl Run<'_> {
    fn commit(&mut self) -> Result<(), Error> {
        self.log.begin(self.map.to_vec());
        match self.map.commit() {
            Ok(_) => {
                self.log.durable();
                Ok(())
            }
            Err(error) => {
                if error.kind() == ErrorKind::NotCommitted {
                    // It says that nothing happened: recovery may not find it either.
                    self.log.states.pop();
                }
                Err(error)
            }
        }
    }

    fn commit_relaxed(&mut self) -> Result<(), Error> {
        self.log.begin(self.map.to_vec());
        self.map.commit_relaxed().map(|_| ())
    }

    /// A checkpoint may fail without harm; the workload goes on. What it flushed is durable.
    fn checkpoint(&mut self) -> Result<(), Error> {
        match self.map.checkpoint() {
            Ok(()) => self.log.durable(),
            Err(error) if error.kind() == ErrorKind::Io => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn edit(&mut self, at: usize, len: usize, with: u8) {
        self.map.edit(at..at + len).unwrap().fill(with);
    }
}

fn open(disk: &SimDisk, len: usize) -> Result<AtomicMapping, Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    AtomicMapping::options().create(true).len(len).journal_bytes(8 * PAGE as u64).load_on(disk, FILE)
}

/// Runs until the end or the first error.
pub(crate) fn run(disk: &SimDisk, log: &mut Log, publish: bool) -> Result<(), Error> {
    let grown = 2 * PAGE + 1200;
    // Opening grows the file, as a commit of its own.
    let mut state = log.states[0].clone();
    state.resize(grown, 0);
    log.closed = None;
    log.begin(state);
    let map = {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        AtomicMapping::options()
            .create(true)
            .len(grown)
            .publish(publish)
            .journal_bytes(8 * PAGE as u64)
            .load_on(disk, FILE)?
    };
    log.durable();
    let mut run = Run { map, log };

    // Declared edits: sub-page records.
    run.edit(10, 8, 1);
    run.edit(5000, 300, 2);
    run.commit()?;
    // Plain stores: full pages, found by the kernel.
    run.map[20] = 3;
    run.map[PAGE + 7] = 4;
    run.commit()?;
    // Relaxed commits share the next one's flush.
    run.edit(10, 4, 5);
    run.commit_relaxed()?;
    run.edit(9100, 50, 6);
    run.commit_relaxed()?;
    run.edit(12, 4, 7);
    run.commit()?;
    // Growth, with something at the new end.
    run.map.resize(4 * PAGE)?;
    run.edit(4 * PAGE - 3, 3, 8);
    run.commit()?;
    // Rolled back: none of this may ever be seen.
    run.map[0] = 99;
    run.map.resize(100)?;
    run.map.resize(5 * PAGE)?;
    run.edit(4 * PAGE, 200, 99);
    run.map.rollback()?;
    run.edit(64, 8, 9);
    run.commit()?;
    // Shrinking, then growing over what was cut off: zeros there.
    run.map.resize(PAGE + 500)?;
    run.commit()?;
    run.map.resize(300)?;
    run.map.resize(3 * PAGE + 10)?;
    run.edit(2 * PAGE, 20, 10);
    run.commit()?;
    run.checkpoint()?;
    // Enough full pages to fill both halves: checkpoints in the middle of a commit.
    for round in 0..4u8 {
        for page in 0..2 {
            run.map[page * PAGE + usize::from(round)] = 20 + round;
        }
        run.commit()?;
    }
    // Larger than a half: the journal is replaced by a larger one.
    run.map.resize(6 * PAGE)?;
    run.map[..6 * PAGE].fill(30);
    run.commit()?;
    run.edit(100, 10, 31);
    run.commit_relaxed()?;
    run.checkpoint()?;
    run.map.resize(2 * PAGE)?;
    run.edit(0, 16, 32);
    run.commit()?;
    let last = run.log.states.len() - 1;
    run.map.close()?;
    log.closed = Some(last);

    // Another session on the plain file.
    log.closed = None;
    let map = open(disk, 0)?;
    let mut run = Run { map, log };
    run.edit(50, 10, 40);
    run.commit()?;
    let last = run.log.states.len() - 1;
    run.map.close()?;
    log.closed = Some(last);
    Ok(())
}
