//! What a program knows of one file, told from outside: which states it began to commit, and which were acknowledged.

use std::ops::RangeInclusive;
use std::sync::Arc;

/// A file's whole content. States of one history share their memory.
pub type Content = Arc<Vec<u8>>;

/// What a program is told of one file, or tells of it, as it happens.
#[derive(Debug, Clone)]
pub enum Told {
    /// A commit of this state is begun.
    Begun(Content),
    /// It was refused: *not committed*, so it must never be found.
    NotCommitted,
    /// The state of this number was acknowledged as durable, and with it all before it.
    Durable(usize),
    /// The file is about to be opened for commits.
    Opening,
    /// It was closed with the last state in it.
    Closed,
    /// A recovery showed the state of this number: from now on it is the only one.
    Shown(usize),
}

/// The states of one file, and what the program had been told of them when it ended.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// State 0 is what was there before anything was committed; then one for every commit that was begun.
    pub states: Vec<Content>,
    /// The last state that was acknowledged as durable.
    pub durable: usize,
    /// The last `close` that returned left this state, if nothing was opened since: a plain file.
    pub closed: Option<usize>,
    /// A kernel's mapping: what is not durable yet may be there in any mix of sectors.
    pub mixed: bool,
}

impl History {
    /// A plain file.
    pub fn new(initial: Vec<u8>) -> History {
        History { states: vec![Arc::new(initial)], durable: 0, closed: Some(0), mixed: false }
    }

    /// A plain file that a kernel's mapping stores into.
    pub fn mixed(initial: Vec<u8>) -> History {
        History { mixed: true, ..History::new(initial) }
    }

    /// Takes note.
    pub fn hear(&mut self, told: Told) {
        match told {
            Told::Begun(state) => self.states.push(state),
            Told::NotCommitted => drop(self.states.pop()),
            Told::Durable(state) => self.durable = self.durable.max(state),
            Told::Opening => self.closed = None,
            Told::Closed => {
                self.durable = self.last();
                self.closed = Some(self.last());
            }
            Told::Shown(state) => {
                self.states.truncate(state + 1);
                self.durable = self.last();
            }
        }
    }

    /// The newest state that was begun.
    pub fn last(&self) -> usize {
        self.states.len().saturating_sub(1)
    }

    /// The states that may be found after a crash now.
    pub fn allowed(&self) -> RangeInclusive<usize> {
        self.durable..=self.last()
    }

    /// Which allowed state is this? The newest, where several are equal.
    pub fn judge(&self, bytes: &[u8]) -> Result<usize, String> {
        let allowed = self.allowed();
        if self.mixed {
            return self.judge_sectors(bytes).map(|()| *allowed.end());
        }
        allowed.clone().rev().find(|&state| self.states[state].as_slice() == bytes).ok_or_else(|| {
            let known = self.states.iter().rposition(|state| state.as_slice() == bytes);
            let found = known.map_or("a state that never was".to_owned(), |state| format!("state {state}"));
            let nearest = self.states.get(*allowed.end()).map_or(&[][..], |state| state.as_slice());
            format!("found {found}, allowed {allowed:?}; against the newest: {}", difference(bytes, nearest))
        })
    }
}

impl History {
    /// The length is that of an allowed state, and every sector is one of an allowed state: nothing orders a length and what is
    /// stored into pages.
    fn judge_sectors(&self, bytes: &[u8]) -> Result<(), String> {
        const SECTOR: usize = 512;
        let allowed = &self.states[self.allowed()];
        if allowed.iter().all(|state| state.len() != bytes.len()) {
            return Err(format!("{} bytes, a length that no allowed state has", bytes.len()));
        }
        let sector = |of: usize| of..(of + SECTOR).min(bytes.len());
        let lost = (0..bytes.len())
            .step_by(SECTOR)
            .find(|&at| allowed.iter().all(|state| state.get(sector(at)) != Some(&bytes[sector(at)])));
        match lost {
            None => Ok(()),
            Some(at) => Err(format!(
                "the sector at {at} is of no state since the last sync that returned; against that: {}",
                difference(bytes, &self.states[self.durable])
            )),
        }
    }
}

/// The first place where two contents differ, for reading.
pub fn difference(got: &[u8], want: &[u8]) -> String {
    let lengths = format!("{} and {} bytes", got.len(), want.len());
    match got.iter().zip(want).position(|(a, b)| a != b) {
        Some(at) => format!("{lengths}, first difference at {at}: {} for {}", got[at], want[at]),
        None => lengths,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_before_the_last_acknowledged_one_is_refused() {
        let mut history = History::new(vec![0]);
        history.states.push(Arc::new(vec![1]));
        history.states.push(Arc::new(vec![2]));
        history.durable = 1;
        assert_eq!((history.judge(&[1]), history.judge(&[2])), (Ok(1), Ok(2)));
        assert!(history.judge(&[0]).is_err_and(|error| error.contains("found state 0, allowed 1..=2")));
        history.mixed = true;
        assert!(history.judge(&[2]).is_ok() && history.judge(&[0]).is_err() && history.judge(&[]).is_err());
        // A store beside growth: the pages are written out before the length.
        let mut grown = History::mixed(vec![1]);
        grown.hear(Told::Begun(Arc::new(vec![2, 0])));
        assert!([&[1][..], &[2], &[2, 0]].iter().all(|found| grown.judge(found).is_ok()));
        assert!(grown.judge(&[1, 0]).is_err() && grown.judge(&[2, 0, 0]).is_err());
        history.mixed = false;
        assert!(history.judge(&[1, 2]).is_err_and(|error| error.contains("never was")));
    }
}
