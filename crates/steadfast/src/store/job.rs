//! A checkpoint, step by step: the records are read and checked, the data file is written in offset order, marked and synced.
//!
//! It needs no mutex and changes nothing but the data file. Stopped at any point it does no harm: the journal still holds
//! everything that the data file may lack.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::image::{Image, Recorded};
use super::mark::Mark;
use crate::disk::{DiskFile, SyncPoint};
use crate::journal::Sealed;
use crate::knockout::{holds, step, sync};

#[derive(Debug)]
pub(super) struct Job<'a> {
    /// The half that is let go of at the end; `None` lets go of all.
    pub(super) sealed: Option<Sealed>,
    pub(super) records: Vec<Recorded>,
    pub(super) journal: Arc<dyn DiskFile>,
    pub(super) data: Arc<dyn DiskFile>,
    /// What the file's mark says once it holds the records.
    pub(super) mark: Option<Mark>,
    /// Length of the data after the last record.
    pub(super) len: u64,
    /// The file may become shorter: it holds nothing that a later commit needs.
    pub(super) shorten: bool,
    /// An earlier write or sync failed. Pages that look clean are not to be built upon, nor is a sync that succeeds to be
    /// believed: they are dropped, everything is written again, and read back from the disk.
    pub(super) suspect: bool,
    /// What the file's length was last found to be, or set to: nobody else has a say in it.
    pub(super) file_len: Option<u64>,
    /// The data file's page cache shows the records already, and the mark is set.
    pub(super) only_syncs: bool,
    pub(super) stage: Stage,
    pub(super) read_ahead_until: usize,
    pub(super) image: Image<'a>,
    pub(super) buffer: Vec<u8>,
}

/// Another program cut the data file, or lengthened it, while it was written.
#[derive(Debug)]
pub(super) struct OtherLength {
    pub(super) expected: u64,
    pub(super) found: u64,
}

impl fmt::Display for OtherLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherLength { expected, found } = self;
        write!(f, "another program changed the data file's length from {expected} to {found} bytes")
    }
}

impl std::error::Error for OtherLength {}

/// So many pieces ahead of the one that is written the data file is read.
const READ_AHEAD_PIECES: usize = 4096;
const WINDOW_BYTES: u64 = 1 << 20;
/// A window of which more than this part is needed is read as a whole.
const WINDOW_PART: u64 = 16;

/// Blocks that are needed of one stretch of the data file.
struct Window {
    number: u64,
    blocks: Vec<Range<u64>>,
}

impl Window {
    fn tell(self, data: &dyn DiskFile) {
        let needed: u64 = self.blocks.iter().map(|blocks| blocks.end - blocks.start).sum();
        if needed > WINDOW_BYTES / WINDOW_PART {
            data.expect_use(self.number * WINDOW_BYTES..(self.number + 1) * WINDOW_BYTES);
        } else {
            self.blocks.into_iter().for_each(|blocks| data.expect_use(blocks));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Read,
    Fit,
    /// From this piece on.
    Write(usize),
    Sync,
    Forget,
    ReadBack(usize),
    Done,
}

/// What is left of a job when it has come to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) sealed: Option<Sealed>,
    pub(super) file_len: Option<u64>,
    pub(super) only_syncs: bool,
}

impl Job<'_> {
    pub(super) fn end(&self) -> End {
        End { sealed: self.sealed, file_len: self.file_len, only_syncs: self.only_syncs }
    }

    /// Everything that is left of it. `go_on` is asked between the steps, and may end it.
    pub(super) fn run(&mut self, mut go_on: impl FnMut() -> bool) -> io::Result<bool> {
        while self.stage != Stage::Done {
            if !go_on() {
                return Ok(false);
            }
            self.step()?;
        }
        Ok(true)
    }

    /// Up to where the page cache of the data file holds the records.
    pub(super) fn run_until_written(&mut self) -> io::Result<()> {
        while self.stage != Stage::Sync {
            self.step()?;
        }
        Ok(())
    }

    /// One step: at most one run of bytes is written.
    pub(super) fn step(&mut self) -> io::Result<()> {
        self.stage = match self.stage {
            Stage::Read => {
                self.image = Image::read(&self.records, &*self.journal)?;
                // The records went past the page cache, and what was read of them shall not stay there.
                // no switch: it gives memory back, and nothing else
                self.journal.drop_clean_pages()?;
                Stage::Fit
            }
            Stage::Fit => {
                if self.suspect {
                    step!("checkpoint: failed pages are dropped", self.data.drop_clean_pages())?;
                }
                self.fit_length()?;
                Stage::Write(0)
            }
            Stage::Write(first) => match self.image.run(first) {
                Some(run) => {
                    // A write behind a cut would hide it.
                    self.look_at_length()?;
                    self.read_ahead(first);
                    self.image.write(&run, &*self.data, &mut self.buffer)?;
                    Stage::Write(run.next())
                }
                None => {
                    self.look_at_length()?;
                    Stage::Sync
                }
            },
            Stage::Sync => {
                match &self.mark {
                    Some(mark) => {
                        if !self.only_syncs {
                            step!("checkpoint: the mark counts on", self.data.set_mark(Some(mark.encode())))?;
                        }
                        // `fdatasync` need not write attributes out: the mark needs `fsync`.
                        sync!("checkpoint: data and mark", self.data.sync(SyncPoint::Checkpoint))?;
                    }
                    None => sync!("checkpoint: data", self.data.sync_data(SyncPoint::Checkpoint))?,
                }
                // What was cut off by now is nowhere but in the journal.
                self.look_at_length()?;
                if self.suspect { Stage::Forget } else { Stage::Done }
            }
            Stage::Forget => {
                step!("read back: from the disk", self.data.drop_clean_pages())?;
                Stage::ReadBack(0)
            }
            Stage::ReadBack(first) => match self.image.run(first) {
                Some(run) => {
                    let written = self.image.is_written(&run, &*self.data, &mut self.buffer)?;
                    if !holds!("read back: what was written", written) {
                        return Err(io::Error::other(
                            "the data file does not hold what was written to it, although its sync succeeded",
                        ));
                    }
                    Stage::ReadBack(run.next())
                }
                None => Stage::Done,
            },
            Stage::Done => Stage::Done,
        };
        Ok(())
    }

    /// Has the disk read what the next runs need of the data file, all at once: one by one, as they are written, would take
    /// as long as that many single reads.
    fn read_ahead(&mut self, from: usize) {
        let mut at = self.read_ahead_until.max(from);
        if at > from + READ_AHEAD_PIECES / 2 {
            return;
        }
        let mut window: Option<Window> = None;
        while at < from + READ_AHEAD_PIECES {
            let Some(run) = self.image.run(at) else { break };
            at = run.next();
            let Some(blocks) = run.needs() else { continue };
            let number = blocks.start / WINDOW_BYTES;
            if window.as_ref().is_some_and(|window| window.number != number)
                && let Some(done) = window.take()
            {
                done.tell(&*self.data);
            }
            let window = window.get_or_insert_with(|| Window { number, blocks: Vec::new() });
            window.blocks.push(blocks);
        }
        if let Some(last) = window {
            last.tell(&*self.data);
        }
        self.read_ahead_until = at;
    }

    /// Gives the data file its length, with zeros wherever it was cut below that on the way.
    ///
    /// The file is never cut below its final length: a `view` may have it mapped, and truncation would take this
    /// process's private pages away with the file's.
    fn fit_length(&mut self) -> io::Result<()> {
        let present = self.look_at_length()?;
        let len = if self.shorten { self.len } else { self.len.max(present) };
        // The process that committed this may have been allowed more than ours.
        step!("checkpoint: the file may be written that far", self.data.check_len(self.image.end()))?;
        let cut = self.image.cut().unwrap_or(u64::MAX);
        let cut_off = cut.min(present).min(len)..present.min(len);
        step!("checkpoint: what was cut off reads as zeros", self.data.zero(cut_off))?;
        // After a failed checkpoint the length in memory may not be the one on disk: set it again.
        if present != len || self.suspect {
            step!("checkpoint: the file gets its length", self.data.set_len(len))?;
        }
        self.file_len = Some(len);
        Ok(())
    }

    /// Change times do not tell who wrote while this process writes too; lengths do.
    fn look_at_length(&self) -> io::Result<u64> {
        let found = self.data.stat()?.len;
        let expected = self.file_len.unwrap_or(found);
        if holds!("foreign hands: the length while it is written", found == expected) {
            return Ok(found);
        }
        Err(io::Error::other(OtherLength { expected, found }))
    }
}
