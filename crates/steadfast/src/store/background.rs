//! The threads that work while the owner does other things: one checkpoints, one flushes what tickets wait for.
//!
//! Each is started when it is first needed and joined before the store is gone. Where no thread is to be had the work is done by
//! the one who asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::job::Job;
use super::state::{Checkpoint, Locked, Pace, Shared};
use crate::sync::thread;
use crate::sys::priority;

impl Locked<'_> {
    /// Has the thread begin the checkpoint that was asked for.
    pub(super) fn wake_checkpointer(&mut self) {
        if self.threads.checkpointer.is_none() {
            let shared = Arc::clone(self.shared);
            let started = thread::Builder::new()
                .name("steadfast-checkpoint".into())
                .spawn(move || watched(&shared, checkpoint_when_asked));
            match started {
                Ok(thread) => self.threads.checkpointer = Some(thread),
                Err(error) => {
                    log::warn!("no thread for checkpoints ({error}): they are done by those who commit");
                    self.checkpoint_here();
                    return;
                }
            }
        }
        self.shared.changed.notify_all();
    }

    fn checkpoint_here(&mut self) {
        if let Some(mut job) = self.begin_checkpoint() {
            self.checkpoint = Checkpoint::Running { writes: !job.only_syncs };
            let written = job.run(|| true);
            self.end_checkpoint(job.end(), written);
        } else if let Checkpoint::Asked = self.checkpoint {
            self.checkpoint = Checkpoint::Idle;
        }
    }

    /// Has the thread flush what tickets wait for. `false` if there is none.
    pub(super) fn has_flusher(&mut self) -> bool {
        match self.shared.pace {
            Pace::Threads => self.wake_flusher(),
            // Whoever waits for the ticket does it.
            #[cfg(feature = "sim")]
            Pace::Stepped(_) => true,
        }
    }

    fn wake_flusher(&mut self) -> bool {
        if self.threads.flusher.is_none() {
            let shared = Arc::clone(self.shared);
            let started = thread::Builder::new()
                .name("steadfast-flush".into())
                .spawn(move || watched(&shared, flush_when_asked));
            match started {
                Ok(thread) => self.threads.flusher = Some(thread),
                Err(error) => {
                    log::warn!("no thread for flushes ({error}): they are done by those who commit");
                    return false;
                }
            }
        }
        self.shared.changed.notify_all();
        true
    }

    /// Ends the threads and waits for them.
    pub(super) fn stop_threads(&mut self) {
        self.threads.stop = true;
        self.shared.changed.notify_all();
        let threads = [self.threads.checkpointer.take(), self.threads.flusher.take()];
        self.unlocked(|| {
            for thread in threads.into_iter().flatten() {
                // A panic there was dealt with there.
                let _ = thread.join();
            }
        });
        // A close that fails may be followed by commits, which start them again.
        self.threads.stop = false;
    }
}

/// A thread that panicked must not leave others waiting for it.
fn watched(shared: &Arc<Shared>, work: fn(&Arc<Shared>)) {
    if catch_unwind(AssertUnwindSafe(|| work(shared))).is_err() {
        let mut locked = shared.lock();
        locked.latch("a thread in the background panicked: this is a bug".into());
        locked.checkpoint = Checkpoint::Idle;
        locked.flushing = false;
        locked.shared.changed.notify_all();
    }
}

fn checkpoint_when_asked(shared: &Arc<Shared>) {
    priority::yield_disk(true);
    let mut locked = shared.lock();
    loop {
        if let Checkpoint::Asked = locked.checkpoint {
            match locked.begin_checkpoint() {
                Some(mut job) => {
                    locked.checkpoint = Checkpoint::Running { writes: !job.only_syncs };
                    let (end, written) = locked.unlocked(|| {
                        let written = run(shared, &mut job);
                        let end = job.end();
                        // A half's bytes: not while others wait for the mutex.
                        drop(job);
                        (end, written)
                    });
                    locked.end_checkpoint(end, written);
                }
                None => {
                    if let Checkpoint::Asked = locked.checkpoint {
                        locked.checkpoint = Checkpoint::Idle;
                    }
                    locked.shared.changed.notify_all();
                }
            }
        } else if locked.threads.stop {
            return;
        } else {
            locked.wait();
        }
    }
}

/// The whole of it, at idle priority until somebody is in a hurry.
fn run(shared: &Shared, job: &mut Job<'_>) -> std::io::Result<bool> {
    let mut yielding = true;
    let written = job.run(|| {
        if yielding && shared.urgent.load(Ordering::Relaxed) {
            priority::yield_disk(false);
            yielding = false;
        }
        !shared.abandoned.load(Ordering::Relaxed)
    });
    if !yielding {
        priority::yield_disk(true);
    }
    written
}

fn flush_when_asked(shared: &Arc<Shared>) {
    let mut locked = shared.lock();
    loop {
        match locked.tickets.back().map(|(id, _)| *id) {
            Some(last) => {
                // What goes wrong is told to the tickets, as is what went well.
                let _ = locked.make_durable(last);
                locked.take_flush();
                locked.give_flush_back();
            }
            None if locked.threads.stop => return,
            None => locked.wait(),
        }
    }
}
