//! Playing a workload: what is done is told as it happens.

use std::sync::Arc;

use steadfast::{AtomicMapping, AtomicOptions, CommitTicket, Error, ErrorKind};

use super::{Action, MapPlan, Workload};
use crate::history::Told;

/// Where a workload is played.
pub trait Stage {
    /// Opens the map of this number.
    fn open(&self, map: usize, plan: &MapPlan, options: AtomicOptions) -> Result<AtomicMapping, Error>;
}

/// Plays until the end, or until the first error that is not *not committed*. `hear` is told what happens to which map.
pub fn play(workload: &Workload, stage: &dyn Stage, hear: &mut dyn FnMut(usize, Told)) -> Result<(), Error> {
    play_on(workload, stage, hear).outcome
}

/// As [`play`], and hands back what is still open: after an error, or where nothing is closed at the end.
pub fn play_on(workload: &Workload, stage: &dyn Stage, hear: &mut dyn FnMut(usize, Told)) -> Played {
    let new = |(number, plan)| Player {
        number,
        plan,
        map: None,
        tickets: Vec::new(),
        last: 0,
        commit_failed: false,
    };
    let mut players: Vec<Player<'_>> = workload.maps.iter().enumerate().map(new).collect();
    let outcome = play_with(workload, &mut players, stage, hear);
    let left = players
        .into_iter()
        .map(|Player { map, tickets, commit_failed, .. }| Left { map, tickets, commit_failed })
        .collect();
    Played { outcome, left }
}

/// How a workload ended.
#[derive(Debug)]
pub struct Played {
    /// The first error.
    pub outcome: Result<(), Error>,
    /// By number of the map.
    pub left: Vec<Left>,
}

/// What is still open of one map.
#[derive(Debug)]
pub struct Left {
    /// It, unless it was closed or never opened.
    pub map: Option<AtomicMapping>,
    /// Nobody waited for these, each with the state that it is for.
    pub tickets: Vec<(CommitTicket, usize)>,
    /// The error is that of a commit of the newest state.
    pub commit_failed: bool,
}

fn play_with(
    workload: &Workload,
    players: &mut [Player<'_>],
    stage: &dyn Stage,
    hear: Hear<'_>,
) -> Result<(), Error> {
    for player in players.iter_mut() {
        player.open_first(workload.initial(player.number), stage, hear)?;
    }
    for (count, step) in workload.steps.iter().enumerate() {
        if let Some(player) = players.get_mut(step.map) {
            player.act(step.action, count, stage, hear)?;
        }
    }
    for player in players {
        if workload.close {
            player.close(hear)?;
        }
    }
    Ok(())
}

struct Player<'a> {
    number: usize,
    plan: &'a MapPlan,
    map: Option<AtomicMapping>,
    /// With the state that each is for.
    tickets: Vec<(CommitTicket, usize)>,
    /// Number of the newest state.
    last: usize,
    commit_failed: bool,
}

type Hear<'a> = &'a mut dyn FnMut(usize, Told);

impl Player<'_> {
    fn options(&self) -> AtomicOptions {
        AtomicMapping::options()
            .create(true)
            .publish(self.plan.publish)
            .tracker(self.plan.tracker)
            .journal_bytes(self.plan.journal_bytes)
    }

    /// Opening may grow the file, as a commit of its own.
    fn open_first(&mut self, mut content: Vec<u8>, stage: &dyn Stage, hear: Hear<'_>) -> Result<(), Error> {
        hear(self.number, Told::Opening);
        if content.len() < self.plan.len {
            content.resize(self.plan.len, 0);
            self.begin(content, hear);
        }
        self.map = Some(stage.open(self.number, self.plan, self.options().len(self.plan.len))?);
        hear(self.number, Told::Durable(self.last));
        Ok(())
    }

    fn begin(&mut self, state: Vec<u8>, hear: Hear<'_>) {
        self.last += 1;
        hear(self.number, Told::Begun(Arc::new(state)));
    }

    fn act(&mut self, action: Action, count: usize, stage: &dyn Stage, hear: Hear<'_>) -> Result<(), Error> {
        let Some(map) = self.map.as_mut() else { return Ok(()) };
        let size = map.len();
        let within = |at: usize, len: usize| {
            let at = if size == 0 { 0 } else { at % size };
            at..(at + len).min(size)
        };
        match action {
            Action::Edit { at, len } => {
                let range = within(at, len);
                fill(map.edit(range.clone())?, range.start, count);
            }
            Action::Write { at, len } => {
                let range = within(at, len);
                let mut bytes = vec![0; range.len()];
                fill(&mut bytes, range.start, count);
                map.write_at(range.start, &bytes)?;
            }
            Action::Store { at, len } => {
                let range = within(at, len);
                fill(&mut map[range.clone()], range.start, count);
            }
            Action::Scatter { pages } => {
                for index in 0..pages.min(size) {
                    let at = size / pages * index + count % (size / pages).max(1);
                    fill(&mut map[at..at + 1], at, count);
                }
            }
            Action::Resize { len } => map.resize(len)?,
            Action::ResizeBy { by } => {
                let most = self.plan.len.max(4 * super::PAGE);
                map.resize(size.saturating_add_signed(by).min(most))?;
            }
            Action::Commit => {
                if self.begun(hear, AtomicMapping::commit)?.is_some() {
                    hear(self.number, Told::Durable(self.last));
                }
            }
            Action::CommitRelaxed => drop(self.begun(hear, AtomicMapping::commit_relaxed)?),
            Action::CommitAsync => {
                if let Some(ticket) = self.begun(hear, AtomicMapping::commit_async)? {
                    self.tickets.push((ticket, self.last));
                }
            }
            Action::Wait { backwards } => {
                if backwards {
                    self.tickets.reverse();
                }
                let mut tickets = std::mem::take(&mut self.tickets).into_iter();
                while let Some((ticket, state)) = tickets.next() {
                    if let Err(error) = ticket.wait() {
                        self.tickets = tickets.collect();
                        return Err(error);
                    }
                    hear(self.number, Told::Durable(state));
                }
            }
            Action::Rollback => map.rollback()?,
            Action::Transaction { at, fail } => {
                let range = within(at, 3);
                if fail {
                    let refused: Result<(), Error> = map.transaction(|map| {
                        fill(&mut map[range.clone()], range.start, count);
                        Err(Error::new(ErrorKind::InvalidInput, "transaction", "refused, as asked"))
                    });
                    if let Err(error) = refused
                        && error.kind() != ErrorKind::InvalidInput
                    {
                        return Err(error);
                    }
                } else {
                    fill(map.edit(range.clone())?, range.start, count);
                    let committed = self.begun(hear, |map| map.transaction(|_| Ok::<_, Error>(())))?;
                    if committed.is_some() {
                        hear(self.number, Told::Durable(self.last));
                    }
                }
            }
            // It may fail without harm; what it flushed is durable.
            Action::Checkpoint => match map.checkpoint() {
                Ok(()) => hear(self.number, Told::Durable(self.last)),
                Err(error) if error.kind() == ErrorKind::Io => {}
                Err(error) => return Err(error),
            },
            Action::Reopen => {
                self.close(hear)?;
                hear(self.number, Told::Opening);
                self.map = Some(stage.open(self.number, self.plan, self.options())?);
            }
        }
        Ok(())
    }

    /// A commit, tried once more where it says that nothing happened: a checkpoint that failed in the background is told
    /// once, and the same commit may then succeed. `None` if it was refused twice.
    fn begun<T>(
        &mut self,
        hear: Hear<'_>,
        commit: impl Fn(&mut AtomicMapping) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        for _ in 0..2 {
            let Some(state) = self.map.as_ref().map(|map| map.to_vec()) else { return Ok(None) };
            self.begin(state, hear);
            let Some(map) = self.map.as_mut() else { return Ok(None) };
            match commit(map) {
                Ok(done) => return Ok(Some(done)),
                Err(error) if error.kind() == ErrorKind::NotCommitted => {
                    self.last -= 1;
                    hear(self.number, Told::NotCommitted);
                }
                Err(error) => {
                    self.commit_failed = true;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// What was not committed is lost, and is meant to be.
    fn close(&mut self, hear: Hear<'_>) -> Result<(), Error> {
        let Some(map) = self.map.take() else { return Ok(()) };
        self.tickets.clear();
        map.close()?;
        hear(self.number, Told::Closed);
        Ok(())
    }
}

/// No zeros, and no byte like its neighbour: a lost store shows against a hole, a misplaced one against its place.
fn fill(bytes: &mut [u8], at: usize, count: usize) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = 1 + ((count * 97 + (at + index) * 7) % 255) as u8;
    }
}
