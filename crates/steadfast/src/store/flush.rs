//! Flushes: who waits together shares one, and tickets are told in order.
//!
//! One thread at a time has the flush. It lets the mutex go while the disk works, and every record that was appended before it
//! began is durable when it ends. Whoever comes meanwhile waits for the next one, together with all others.

use std::sync::Arc;

use super::state::{Checkpoint, Locked};
use super::ticket::Completion;
use crate::disk::SyncPoint;
use crate::error::{Error, ErrorKind, Result};

impl Locked<'_> {
    /// Returns once commit `id` is durable.
    pub(super) fn make_durable(&mut self, id: u64) -> Result<()> {
        loop {
            if self.journal.durable() >= id {
                return Ok(());
            }
            if self.latched.is_some() {
                // Who waits for a ticket must not wait for ever.
                self.take_flush();
                let error = self.in_doubt_of_latch();
                self.give_flush_back();
                return Err(error);
            }
            if self.flushing {
                self.wait();
                continue;
            }
            self.take_flush();
            let flushed = self.flush();
            self.give_flush_back();
            flushed?;
        }
    }

    /// Waits until no other thread has the flush, and takes it.
    pub(super) fn take_flush(&mut self) {
        while self.flushing {
            self.wait();
        }
        self.flushing = true;
    }

    /// Tells the tickets of what is durable by now, all of them if nothing more will be, and lets others flush.
    pub(super) fn give_flush_back(&mut self) {
        // Without the mutex, since a waker may run anything; before the next flush, so that the order is kept.
        loop {
            let durable = self.journal.durable();
            let due = self.tickets.partition_point(|(id, _)| *id <= durable);
            let told: Vec<Completion> = self.tickets.drain(..due).map(|(_, completion)| completion).collect();
            let failed: Vec<Completion> = match self.latched {
                Some(_) => self.tickets.drain(..).map(|(_, completion)| completion).collect(),
                None => Vec::new(),
            };
            if told.is_empty() && failed.is_empty() {
                break;
            }
            let error = self.in_doubt_of_latch();
            self.unlocked(|| {
                told.into_iter().for_each(|completion| completion.tell(Ok(())));
                failed.into_iter().for_each(|completion| completion.tell(Err(error.duplicate())));
            });
        }
        self.flushing = false;
        self.shared.changed.notify_all();
    }

    /// One flush for everything in the journal. The caller has the flush.
    fn flush(&mut self) -> Result<()> {
        let (durable, through) = (self.journal.durable(), self.journal.last());
        let file = Arc::clone(self.journal.file());
        match self.unlocked(|| file.sync_data(SyncPoint::Record)) {
            Ok(()) => {
                self.journal.is_durable(through);
                let keep_extents = self.keep_extents;
                // Only what this flush made durable: the journal may hold thousands of commits.
                for pending in self.pending.iter_mut().rev().take_while(|pending| pending.id() > durable) {
                    if pending.id() <= through {
                        pending.bytes = None;
                        if !keep_extents {
                            pending.extents = None;
                        }
                    }
                }
                self.publish_durable();
                Ok(())
            }
            Err(error) => self.reestablish(None, &error).map(|_| ()),
        }
    }

    /// What became of a commit that was not durable when the store latched.
    fn in_doubt_of_latch(&self) -> Error {
        let reason = self.latched.as_deref().unwrap_or("the store was closed");
        self.error(
            ErrorKind::InDoubt,
            "commit",
            format!("it was not durable when commits came to an end ({reason}): the next open decides whether it counts"),
        )
        .advice("keep what you need from memory, drop the map and open the file again")
    }

    /// Returns when no flush and no checkpoint is under way and every commit is durable. Nothing else happens until the mutex
    /// is let go.
    pub(super) fn settle(&mut self) -> Result<()> {
        loop {
            if let Checkpoint::Asked = self.checkpoint {
                self.checkpoint = Checkpoint::Idle;
            }
            if self.is_checkpointing() {
                self.finish_checkpoint();
            } else if self.journal.durable() < self.journal.last() {
                self.make_durable(self.journal.last())?;
            } else if self.flushing {
                self.wait();
            } else if let Some(cause) = self.renew.take() {
                self.take_flush();
                let replaced = self.reestablish(None, &cause);
                self.give_flush_back();
                replaced?;
            } else {
                return Ok(());
            }
        }
    }
}
