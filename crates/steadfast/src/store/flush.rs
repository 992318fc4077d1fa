//! Flushes: who waits together shares one, and tickets are told in order.
//!
//! One thread at a time has the flush. It lets the mutex go while the disk works, and every record that was appended before it
//! began is durable when it ends. Whoever comes meanwhile waits for the next one, together with all others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use super::state::{Checkpoint, Locked};
use super::ticket::Completion;
use crate::disk::SyncPoint;
use crate::error::{Error, ErrorKind, Result};
use crate::knockout::{step, sync};

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
        // In order, and before anybody else can flush. Tasks are woken at the very end: that may run anything, which may want to
        // commit or to wait for a later ticket.
        let durable = self.journal.durable();
        let due = self.tickets.partition_point(|(id, _)| *id <= durable);
        let mut wakers: Vec<Waker> = Vec::new();
        let told: Vec<Completion> = self.tickets.drain(..due).map(|(_, completion)| completion).collect();
        wakers.extend(told.into_iter().filter_map(|completion| completion.tell_threads(Ok(()))));
        if self.latched.is_some() {
            let error = self.in_doubt_of_latch();
            let failed: Vec<Completion> = self.tickets.drain(..).map(|(_, completion)| completion).collect();
            let tell = |completion: Completion| completion.tell_threads(Err(error.duplicate()));
            wakers.extend(failed.into_iter().filter_map(tell));
        }
        self.flushing = false;
        self.shared.changed.notify_all();
        if wakers.is_empty() {
            return;
        }
        self.unlocked(|| {
            for waker in wakers {
                // The others are to be woken all the same, and the store has no part in it.
                if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                    log::error!("the waker of a ticket panicked");
                }
            }
        });
    }

    /// One flush for everything in the journal. The caller has the flush.
    fn flush(&mut self) -> Result<()> {
        let (durable, through) = (self.journal.durable(), self.journal.last());
        let file = Arc::clone(self.journal.file());
        let synced = self.unlocked(|| sync!("flush: the records", file.sync_data(SyncPoint::Record)));
        // Whoever synced the file for an anchor, before us or meanwhile, may have been told of our pages' failure in our place:
        // they look clean now.
        let anchored = step!("flush: not behind an anchor that failed", self.renew.take(), or None);
        match synced.and(anchored.map_or(Ok(()), Err)) {
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
                step!("publish: after a flush", self.publish_durable(None));
                Ok(())
            }
            Err(error) => step!(
                "flush: one that failed is not believed",
                self.reestablish(None, &error).map(|_| ()),
                or {
                    self.journal.is_durable(through);
                    Ok(())
                }
            ),
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
