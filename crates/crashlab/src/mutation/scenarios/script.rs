//! A scripted workload over a store, and what its program was told.

use std::sync::Arc;

use steadfast::disk::SimDisk;
use steadfast::store::{Batch, CommitTicket, Extent, Flush, JournaledFile, JournaledFileOptions, Store};
use steadfast::{Error, ErrorKind};

use super::rig::{BLOCK, FILE, LEN, initial, on, options};
use crate::history::{History, Told};

/// How the workload is played.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    pub(super) steps: u32,
    pub(super) publish: bool,
    pub(super) marks: bool,
    pub(super) script: fn(&mut Run<'_>) -> Result<(), Error>,
}

impl Variant {
    pub(super) fn disk(&self) -> SimDisk {
        let disk = if self.marks { SimDisk::new() } else { SimDisk::new().without_marks() };
        disk.put_file(FILE, &initial());
        disk
    }

    fn options(&self) -> JournaledFileOptions {
        options(self.steps).publish(self.publish)
    }

    /// Plays to the end or to the first error.
    pub(super) fn play(&self, disk: &SimDisk, history: &mut History) -> Result<(), Error> {
        history.hear(Told::Opening);
        let store = self.options().open_on(on(disk), FILE)?;
        let mut run = Run { disk, variant: *self, state: initial(), store, history, tickets: Vec::new() };
        (self.script)(&mut run)
    }

    /// Operations of the whole.
    pub(super) fn operations(&self) -> Result<u64, String> {
        let disk = self.disk();
        self.play(&disk, &mut History::new(initial()))
            .map_err(|error| format!("undisturbed, and not played to its end: {error}"))?;
        Ok(disk.operations())
    }
}

pub(super) struct Run<'a> {
    disk: &'a SimDisk,
    variant: Variant,
    store: JournaledFile,
    history: &'a mut History,
    state: Vec<u8>,
    tickets: Vec<(CommitTicket, usize)>,
}

impl Run<'_> {
    fn edit<T>(
        &mut self,
        len: usize,
        edits: &[(usize, usize, u8)],
        commit: impl Fn(&mut JournaledFile, &Batch<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let len_min = self.state.len().min(len);
        let before = self.state.clone();
        self.state.resize(len, 0);
        let (mut extents, mut bytes) = (Vec::new(), Vec::new());
        for &(at, count, with) in edits {
            self.state[at..at + count].fill(with);
            extents.push(Extent { offset: at as u64, len: count as u32 });
            bytes.extend(std::iter::repeat_n(with, count));
        }
        let batch = Batch { len_min: len_min as u64, len: len as u64, extents: &extents, bytes: &bytes };
        // A failed checkpoint is told once, and the same commit may then succeed.
        for _ in 0..2 {
            self.history.hear(Told::Begun(Arc::new(self.state.clone())));
            match commit(&mut self.store, &batch) {
                Ok(done) => return Ok(Some(done)),
                Err(error) if error.kind() == ErrorKind::NotCommitted => {
                    self.history.hear(Told::NotCommitted)
                }
                Err(error) => return Err(error),
            }
        }
        self.state = before;
        Ok(None)
    }

    fn durable(&mut self) {
        self.history.hear(Told::Durable(self.history.last()));
    }

    fn now(&mut self, len: usize, edits: &[(usize, usize, u8)]) -> Result<(), Error> {
        let done = self.edit(len, edits, |store, batch| store.commit(batch, Flush::Now))?;
        if done.is_some() {
            self.durable();
            self.shown()?;
        }
        Ok(())
    }

    /// With `publish`, what is durable is what others read.
    fn shown(&self) -> Result<(), Error> {
        let quiet = self.store.status().checkpoint_error.is_none();
        if self.variant.publish && quiet && self.disk.read_file(FILE).as_ref() != Some(&self.state) {
            return Err(Error::new(ErrorKind::Corrupt, "publish", "not what others read"));
        }
        Ok(())
    }

    fn later(&mut self, len: usize, edits: &[(usize, usize, u8)]) -> Result<(), Error> {
        self.edit(len, edits, |store, batch| store.commit(batch, Flush::Later)).map(drop)
    }

    fn ticket(&mut self, len: usize, edits: &[(usize, usize, u8)]) -> Result<(), Error> {
        if let Some(ticket) = self.edit(len, edits, |store, batch| store.commit_async(batch))? {
            self.tickets.push((ticket, self.history.last()));
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Error> {
        for (ticket, state) in std::mem::take(&mut self.tickets) {
            ticket.wait()?;
            self.history.hear(Told::Durable(state));
        }
        Ok(())
    }

    /// It may fail without harm; what it flushed is durable.
    fn checkpoint(&mut self) -> Result<(), Error> {
        match self.store.checkpoint() {
            Ok(()) => self.durable(),
            Err(error) if error.kind() == ErrorKind::Io => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.store.close()?;
        self.history.hear(Told::Closed);
        Ok(())
    }

    /// Another session: a store of no consequence stands in its place until the lock is free.
    fn reopen(&mut self) -> Result<(), Error> {
        let nowhere = SimDisk::new();
        nowhere.put_file(FILE, &[]);
        self.store = self.variant.options().open_on(on(&nowhere), FILE)?;
        self.history.hear(Told::Opening);
        self.store = self.variant.options().open_on(on(self.disk), FILE)?;
        Ok(())
    }
}

/// Every kind of commit, lengths, a checkpoint by name, a record larger than a half, and another session.
pub(super) fn changes(run: &mut Run<'_>) -> Result<(), Error> {
    run.now(LEN, &[(10, 8, 1), (5000, 300, 2)])?;
    run.later(LEN, &[(10, 4, 5)])?;
    run.later(LEN, &[(8900, 50, 6)])?;
    run.now(LEN, &[(12, 4, 7)])?;
    run.now(3 * BLOCK, &[(3 * BLOCK - 3, 3, 8)])?;
    run.now(BLOCK + 500, &[])?;
    run.now(2 * BLOCK + 10, &[(2 * BLOCK, 5, 9)])?;
    run.later(2 * BLOCK + 10, &[(3, 5, 10)])?;
    run.checkpoint()?;
    for round in 0..6u8 {
        run.now(2 * BLOCK + 10, &[(usize::from(round), 2, 20 + round), (BLOCK, 6, 30 + round)])?;
    }
    run.now(6 * BLOCK, &[(0, 6 * BLOCK, 40)])?;
    run.later(6 * BLOCK, &[(7, 3, 41)])?;
    run.now(6 * BLOCK, &[])?;
    run.later(BLOCK, &[(9, 3, 42)])?;
    run.close()?;
    run.reopen()?;
    run.now(BLOCK, &[(50, 3, 43)])?;
    run.close()
}

/// Tickets, growth and shrinking while checkpoints are under way.
pub(super) fn background(run: &mut Run<'_>) -> Result<(), Error> {
    for round in 0..7u8 {
        run.now(LEN, &[(usize::from(round) * 1200, 8, 1 + round), (4090, 12, 40 + round)])?;
    }
    run.ticket(LEN, &[(700, 1, 60)])?;
    run.ticket(LEN, &[(BLOCK + 100, 8, 61)])?;
    run.later(LEN, &[(BLOCK + 104, 8, 62)])?;
    run.wait()?;
    run.now(3 * BLOCK + 77, &[(3 * BLOCK, 77, 63)])?;
    for round in 0..3u8 {
        run.ticket(3 * BLOCK + 77, &[(300, 2, 70 + round)])?;
    }
    run.now(BLOCK + 5, &[])?;
    run.now(2 * BLOCK, &[(2 * BLOCK - 9, 9, 74)])?;
    run.wait()?;
    for round in 0..6u8 {
        run.later(2 * BLOCK, &[(usize::from(round), 5000, 80 + round)])?;
    }
    run.ticket(2 * BLOCK, &[(9, 3, 90)])?;
    run.now(2 * BLOCK, &[(19, 3, 91)])?;
    run.wait()?;
    run.close()
}
