//! The thread that does what [`Mapping::start_sync`] promised, started with the first such call.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::mm::ProtFlags;

use super::failure::Failure;
use super::file::{MappedFile, Through};
use super::ticket::Outcome;
use crate::error::ErrorKind;

/// Bytes whose write-out is started at once; the call may block while the device's queue is full.
const WRITE_OUT_BYTES: u64 = 8 << 20;

/// Bytes made durable at a time: bounds how long a sync of other pages waits for its turn.
const DURABLE_BYTES: u64 = 64 << 20;

/// Jobs, and the thread that does them in order.
#[derive(Debug, Default)]
pub(crate) struct Background {
    queue: Mutex<Queue>,
    /// A job came, a job is done, or the end is near.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Ids and ranges of all jobs that are not done, the one being worked on included.
    unfinished: Vec<(u64, Range<u64>)>,
    next_id: u64,
    closing: bool,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    id: u64,
    /// Whole pages of the file.
    range: Range<u64>,
    outcome: Arc<Outcome>,
}

impl Background {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change under this lock is one step; a panic in between leaves nothing half-done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over `range`; an error means that no thread can be had.
    pub(crate) fn submit(file: &Arc<MappedFile>, range: Range<u64>) -> io::Result<Arc<Outcome>> {
        let mut queue = file.background.queue();
        if queue.thread.is_none() {
            let file = Arc::clone(file);
            let thread = std::thread::Builder::new().name("steadfast-sync".into());
            queue.thread = Some(thread.spawn(move || work(&file))?);
        }
        let outcome = Arc::new(Outcome::default());
        let id = queue.next_id;
        queue.next_id += 1;
        queue.unfinished.push((id, range.clone()));
        queue.waiting.push_back(Job { id, range, outcome: Arc::clone(&outcome) });
        file.background.changed.notify_all();
        Ok(outcome)
    }

    /// Waits until every job handed over before now that overlaps `range` is done.
    pub(crate) fn wait_for(&self, range: &Range<u64>) {
        let mut queue = self.queue();
        let newer = queue.next_id;
        let concerns =
            |&(id, ref job): &(u64, Range<u64>)| id < newer && job.start < range.end && range.start < job.end;
        while queue.unfinished.iter().any(concerns) {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the thread finish all jobs and waits for its end. Harmless where there is none.
    pub(crate) fn finish(&self) {
        let thread = {
            let mut queue = self.queue();
            queue.closing = true;
            self.changed.notify_all();
            queue.thread.take()
        };
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the thread that syncs in the background has panicked");
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.waiting.pop_front() {
                return Some(job);
            }
            if queue.closing {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, id: u64) {
        self.queue().unfinished.retain(|&(other, _)| other != id);
        self.changed.notify_all();
    }
}

fn work(file: &MappedFile) {
    while let Some(job) = file.background.next() {
        // A panic must not leave a ticket, or the drop of the mapping, waiting for ever.
        let result = catch_unwind(AssertUnwindSafe(|| run(file, &job.range))).unwrap_or_else(|_| {
            Err(Failure {
                kind: ErrorKind::Io,
                reason: "the thread that syncs in the background has panicked".into(),
                advice: Some("sync again".into()),
                errno: None,
                range: job.range.clone(),
            })
        });
        // The outcome first: who waits for the job may ask for it at once.
        job.outcome.set(result);
        file.background.done(job.id);
    }
}

/// Writes `range` out and makes it durable, through windows of its own: the mapping may move meanwhile.
pub(crate) fn run(file: &MappedFile, range: &Range<u64>) -> Result<(), Failure> {
    for slice in slices(range, WRITE_OUT_BYTES) {
        file.start_write_out(slice);
    }
    if range.is_empty() || !file.writable {
        return file.sync(range, Through::Descriptor);
    }
    for slice in slices(range, DURABLE_BYTES) {
        let (region, bytes) = file.window(&slice, ProtFlags::READ).map_err(|error| {
            Failure::of_os("sync", error.raw_os_error().unwrap_or(libc::ENOMEM), slice.clone())
        })?;
        file.sync(&slice, Through::Region(&region, bytes))?;
    }
    Ok(())
}

fn slices(range: &Range<u64>, len: u64) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    let mut at = range.start;
    std::iter::from_fn(move || {
        let slice = at..end.min(at.saturating_add(len));
        at = slice.end;
        (!slice.is_empty()).then_some(slice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_the_range_once() {
        assert_eq!(slices(&(5..5), 4).count(), 0);
        assert_eq!(slices(&(5..14), 4).collect::<Vec<_>>(), [5..9, 9..13, 13..14]);
    }
}
