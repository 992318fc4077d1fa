//! The workload, and what is known of it from outside: which states were begun and which were acknowledged.

use std::sync::Arc;

use steadfast::disk::{Disk, SimDisk};
use steadfast::{AtomicMapping, AtomicOptions, CommitTicket, Error, ErrorKind, Tracker};

use crate::secrets::{self, Secret};

pub(crate) const FILE: &str = "/data";
pub(crate) const JOURNAL: &str = "/data.steadfast";
pub(crate) const PAGE: usize = 4096;

/// What the program that was stopped had been told.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The state before the first commit, and that of every commit that was begun.
    pub(crate) states: Vec<Vec<u8>>,
    /// The last state that was acknowledged as durable.
    pub(crate) durable: usize,
    /// The last `close` that returned success left this state, if nothing was opened since.
    pub(crate) closed: Option<usize>,
    /// Where the secret may be, if journals are scrubbed.
    pub(crate) secret: Option<Secret>,
}

impl Log {
    pub(crate) fn new(initial: &[u8]) -> Log {
        Log { states: vec![initial.to_vec()], durable: 0, closed: Some(0), secret: None }
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

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Every kind of change, one after the other, and another session.
    Changes,
    /// Commits, tickets, growth and shrinking while checkpoints are under way, and a journal that is full.
    Background,
    /// A secret that is committed, committed over, cut off and scrubbed, again and again.
    Secrets,
}

/// And how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    pub(crate) workload: Workload,
    pub(crate) publish: bool,
    pub(crate) scrub: bool,
    /// Steps of a checkpoint with each commit.
    pub(crate) steps: u32,
    /// How plain stores are found.
    pub(crate) tracker: Tracker,
}

impl Variant {
    pub(crate) const CHANGES: Variant = Variant {
        workload: Workload::Changes,
        publish: false,
        scrub: false,
        steps: 2,
        tracker: Tracker::Automatic,
    };
    pub(crate) const BACKGROUND: Variant =
        Variant { workload: Workload::Background, steps: 1, ..Variant::CHANGES };
    pub(crate) const SECRETS: Variant =
        Variant { workload: Workload::Secrets, scrub: true, ..Variant::CHANGES };

    pub(crate) fn options(&self) -> AtomicOptions {
        AtomicMapping::options()
            .create(true)
            .publish(self.publish)
            .scrub(self.scrub)
            .tracker(self.tracker)
            .journal_bytes(8 * PAGE as u64)
            .stepped(self.steps)
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

pub(crate) struct Run<'a> {
    pub(crate) map: AtomicMapping,
    pub(crate) log: &'a mut Log,
}

impl Run<'_> {
    pub(crate) fn commit(&mut self) -> Result<(), Error> {
        match self.begun(AtomicMapping::commit) {
            // It counts all the same.
            Err(error) if error.kind() != ErrorKind::NotScrubbed => return Err(error),
            _ => self.log.durable(),
        }
        Ok(())
    }

    pub(crate) fn commit_relaxed(&mut self) -> Result<(), Error> {
        self.begun(AtomicMapping::commit_relaxed).map(|_| ())
    }

    /// The ticket, and the state that it is for.
    pub(crate) fn commit_async(&mut self) -> Result<(CommitTicket, usize), Error> {
        let ticket = self.begun(AtomicMapping::commit_async)?;
        Ok((ticket, self.log.states.len() - 1))
    }

    pub(crate) fn begun<T>(
        &mut self,
        commit: impl Fn(&mut AtomicMapping) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            self.log.begin(self.map.to_vec());
            let result = commit(&mut self.map);
            if let Err(error) = &result
                && error.kind() == ErrorKind::NotCommitted
            {
                // It says that nothing happened: recovery may not find it either. A checkpoint that failed in the
                // background is told once, and the same commit may then succeed.
                self.log.states.pop();
                tries += 1;
                if tries < 2 {
                    continue;
                }
            }
            return result;
        }
    }

    pub(crate) fn wait(&mut self, (ticket, state): &(CommitTicket, usize)) -> Result<(), Error> {
        ticket.wait()?;
        self.log.durable = self.log.durable.max(*state);
        Ok(())
    }

    /// A checkpoint may fail without harm; the workload goes on. What it flushed is durable.
    fn checkpoint(&mut self) -> Result<(), Error> {
        match self.map.checkpoint() {
            Ok(()) => self.log.durable(),
            Err(error) if error.kind() == ErrorKind::NotScrubbed => self.log.durable(),
            Err(error) if error.kind() == ErrorKind::Io => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Where journals are scrubbed it may fail, and the memory is rolled back all the same.
    fn roll_back(&mut self) -> Result<(), Error> {
        match self.map.rollback() {
            Err(error) if matches!(error.kind(), ErrorKind::NotScrubbed | ErrorKind::Io) => Ok(()),
            done => done,
        }
    }

    pub(crate) fn edit(&mut self, at: usize, len: usize, with: u8) {
        self.map.edit(at..at + len).unwrap().fill(with);
    }
}

/// Runs until the end or the first error.
pub(crate) fn run(disk: &SimDisk, log: &mut Log, variant: Variant) -> Result<(), Error> {
    match variant.workload {
        Workload::Changes => changes(disk, log, variant),
        Workload::Background => background(disk, log, variant),
        Workload::Secrets => secrets::play(disk, log, variant),
    }
}

/// Opening grows the file, as a commit of its own.
pub(crate) fn open<'a>(
    disk: &SimDisk,
    log: &'a mut Log,
    len: usize,
    variant: Variant,
) -> Result<Run<'a>, Error> {
    let mut state = log.states[0].clone();
    state.resize(len, 0);
    log.closed = None;
    log.begin(state);
    let map = variant.options().len(len).load_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)?;
    log.durable();
    Ok(Run { map, log })
}

fn changes(disk: &SimDisk, log: &mut Log, variant: Variant) -> Result<(), Error> {
    let mut run = open(disk, log, 2 * PAGE + 1200, variant)?;
    // Declared edits: sub-page records.
    run.edit(10, 8, 1);
    run.edit(5000, 300, 2);
    run.commit()?;
    // Plain stores, found by the kernel: sub-page records as well.
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
    run.roll_back()?;
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
    let map = variant.options().load_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)?;
    let mut run = Run { map, log };
    run.edit(50, 10, 40);
    run.commit()?;
    let last = run.log.states.len() - 1;
    run.map.close()?;
    log.closed = Some(last);
    Ok(())
}

fn background(disk: &SimDisk, log: &mut Log, variant: Variant) -> Result<(), Error> {
    let mut run = open(disk, log, 4 * PAGE, variant)?;
    // A half is full after four records of a block: from the fifth on a checkpoint is under way.
    for round in 0..7u8 {
        run.edit(usize::from(round) * 1500, 8, 1 + round);
        // The same bytes again and again: only the last of them belong in the data file.
        run.edit(4090, 12, 40 + round);
        run.commit()?;
    }
    // Tickets while it is: the first flush is for both.
    run.map[700] = 60;
    let first = run.commit_async()?;
    run.edit(PAGE + 100, 8, 61);
    let second = run.commit_async()?;
    run.edit(PAGE + 104, 8, 62);
    run.commit_relaxed()?;
    run.wait(&second)?;
    run.wait(&first)?;
    // Growth and shrinking, each in a half whose checkpoint comes later.
    run.map.resize(5 * PAGE + 77)?;
    run.edit(5 * PAGE, 77, 63);
    run.commit()?;
    for round in 0..4u8 {
        run.edit(300, 2, 70 + round);
        run.commit()?;
    }
    run.map.resize(3 * PAGE + 5)?;
    run.commit()?;
    run.map.resize(4 * PAGE)?;
    run.edit(4 * PAGE - 9, 9, 74);
    run.commit()?;
    // More than a half at once, without a flush on the way: the journal is full before the checkpoint is done.
    for round in 0..5u8 {
        run.map[usize::from(round)..PAGE + 50].fill(80 + round);
        run.commit_relaxed()?;
    }
    let third = run.commit_async()?;
    run.edit(9, 3, 90);
    run.commit()?;
    run.wait(&third)?;
    let last = run.log.states.len() - 1;
    run.map.close()?;
    log.closed = Some(last);
    Ok(())
}
