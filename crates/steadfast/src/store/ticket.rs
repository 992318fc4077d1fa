//! A commit that becomes durable while the caller does other things.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::CommitId;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::sys::fork::Birth;

#[derive(Default)]
struct Outcome {
    state: Mutex<State>,
    known: Condvar,
}

#[derive(Default)]
struct State {
    result: Option<Result<()>>,
    waker: Option<Waker>,
}

impl Outcome {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change under this lock is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A commit on its way to the disk, from [`AtomicMapping::commit_async`](crate::AtomicMapping::commit_async), where an example
/// stands.
///
/// It is also a [`Future`], for any executor. Dropping it cancels nothing: the commit goes on, and what goes wrong is told by
/// the next commit.
#[must_use = "without `wait` nobody knows when the commit is durable"]
pub struct CommitTicket {
    id: CommitId,
    outcome: Arc<Outcome>,
    /// What a waiting thread may do itself to bring the end about.
    drive: Option<Drive>,
    birth: Birth,
}

/// Brings the end of a commit about, or waits for whoever does.
pub(super) type Drive = Arc<dyn Fn(CommitId) + Send + Sync>;

/// The other end of a [`CommitTicket`]: what a store tells it. Dropped without a word it says that the commit is in doubt.
///
/// See [`CommitTicket::pair`] for an example.
pub struct Completion {
    id: CommitId,
    outcome: Arc<Outcome>,
    told: bool,
}

impl CommitTicket {
    /// A ticket for `id`, and the end through which the store tells how it went.
    ///
    /// ```
    /// use steadfast::store::{CommitId, CommitTicket};
    ///
    /// let (ticket, completion) = CommitTicket::pair(CommitId::new(7));
    /// assert!(!ticket.is_done());
    /// completion.tell(Ok(()));
    /// assert_eq!(ticket.wait()?, CommitId::new(7));
    /// # Ok::<(), steadfast::Error>(())
    /// ```
    pub fn pair(id: CommitId) -> (CommitTicket, Completion) {
        let outcome = Arc::new(Outcome::default());
        let completion = Completion { id, outcome: Arc::clone(&outcome), told: false };
        (CommitTicket { id, outcome, drive: None, birth: Birth::here() }, completion)
    }

    /// A ticket for a commit that is durable already. See [`pair`](CommitTicket::pair) for an example.
    pub fn done(id: CommitId) -> CommitTicket {
        let (ticket, completion) = CommitTicket::pair(id);
        completion.tell(Ok(()));
        ticket
    }

    /// As `pair`, for a store whose work the waiting thread can do itself.
    pub(super) fn pair_driven(id: CommitId, drive: Drive) -> (CommitTicket, Completion) {
        let (mut ticket, completion) = CommitTicket::pair(id);
        ticket.drive = Some(drive);
        (ticket, completion)
    }

    /// The commit's number, which it keeps unless the journal fails on the way. See [`pair`](CommitTicket::pair) for an example.
    #[must_use]
    pub fn id(&self) -> CommitId {
        self.id
    }

    /// Waits until the commit is durable. May be called again and then returns the same.
    ///
    /// # Errors
    ///
    /// As [`AtomicMapping::commit`](crate::AtomicMapping::commit), of this commit; when one commit fails, those after it fail
    /// with it. In a forked child, where nobody works on it: [`Forked`](ErrorKind::Forked).
    ///
    /// See [`pair`](CommitTicket::pair) for an example.
    pub fn wait(&self) -> Result<CommitId> {
        self.refuse_in_child()?;
        if let Some(drive) = &self.drive
            && !self.is_done()
        {
            drive(self.id);
        }
        match self.wait_until(None)? {
            Some(id) => Ok(id),
            // Without a deadline the wait ends with a result only.
            None => Ok(self.id),
        }
    }

    /// Waits for `timeout` at most: `None` if it is not known by then.
    ///
    /// # Errors
    ///
    /// As for [`wait`](CommitTicket::wait).
    ///
    /// See [`pair`](CommitTicket::pair) for an example.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<CommitId>> {
        // A deadline beyond what the clock can say is none.
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<CommitId>> {
        self.refuse_in_child()?;
        let mut state = self.outcome.lock();
        loop {
            if let Some(result) = &state.result {
                return self.told(result).map(Some);
            }
            state = match deadline {
                None => self.outcome.known.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    self.outcome.known.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Whether [`wait`](CommitTicket::wait) would return at once, with success or with an error. See
    /// [`pair`](CommitTicket::pair) for an example.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.birth.is_elsewhere() || self.outcome.lock().result.is_some()
    }

    fn told(&self, result: &Result<()>) -> Result<CommitId> {
        match result {
            Ok(()) => Ok(self.id),
            Err(error) => Err(error.duplicate()),
        }
    }

    fn refuse_in_child(&self) -> Result<()> {
        if self.birth.is_elsewhere() {
            return Err(Error::new(
                ErrorKind::Forked,
                "commit",
                "the commit is under way in the parent of this process",
            )
            .advice("wait there"));
        }
        Ok(())
    }
}

impl Future for CommitTicket {
    type Output = Result<CommitId>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(error) = self.refuse_in_child() {
            return Poll::Ready(Err(error));
        }
        let mut state = self.outcome.lock();
        if let Some(result) = &state.result {
            return Poll::Ready(self.told(result));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl fmt::Debug for CommitTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitTicket").field("id", &self.id).field("done", &self.is_done()).finish()
    }
}

impl Completion {
    /// The commit's number. See [`CommitTicket::pair`] for an example.
    #[must_use]
    pub fn id(&self) -> CommitId {
        self.id
    }

    /// Tells the ticket how it went, once. See [`CommitTicket::pair`] for an example.
    pub fn tell(mut self, result: Result<()>) {
        wake(self.set(result));
    }

    /// As `tell`, except that a task that waits is left for the caller to wake: that may run anything.
    pub(super) fn tell_threads(mut self, result: Result<()>) -> Option<Waker> {
        self.set(result)
    }

    fn set(&mut self, result: Result<()>) -> Option<Waker> {
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        let mut state = self.outcome.lock();
        state.result = Some(result);
        let waker = state.waker.take();
        drop(state);
        self.outcome.known.notify_all();
        waker
    }
}

/// Outside of every lock: a waker may run the task at once.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if !self.told {
            wake(
                self.set(Err(Error::new(
                    ErrorKind::InDoubt,
                    "commit",
                    "the store went away before it said whether the commit is durable",
                )
                .advice("open the file again: recovery decides"))),
            );
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("id", &self.id).finish_non_exhaustive()
    }
}
