//! What was measured so far.

use std::collections::BTreeMap;
use std::time::Duration;

use super::kind::Kind;
use crate::statistics::{Samples, micros};

/// Timings by kind, and why some are missing.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    samples: BTreeMap<Kind, Samples>,
    refused: BTreeMap<Kind, String>,
    notes: Vec<String>,
    /// Off in the round that warms up.
    is_counting: bool,
}

impl Ledger {
    pub(super) fn count_from_now_on(&mut self) {
        self.is_counting = true;
    }

    pub(super) fn add(&mut self, kind: Kind, time: Duration) {
        self.add_mean(kind, time, 1);
    }

    /// One timing of so many operations.
    pub(super) fn add_mean(&mut self, kind: Kind, time: Duration, operations: u32) {
        if self.is_counting {
            self.samples.entry(kind).or_default().push(micros(time) / f64::from(operations.max(1)));
        }
    }

    /// Why there is nothing, or less than there could be. The first reason counts.
    pub(super) fn refuse(&mut self, kind: Kind, why: impl Into<String>) {
        self.refused.entry(kind).or_insert_with(|| why.into());
    }

    /// Something that a reader must know. Said once.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(super) fn samples(&self, kind: Kind) -> Option<&Samples> {
        self.samples.get(&kind)
    }

    pub(super) fn refusal(&self, kind: Kind) -> Option<&str> {
        self.refused.get(&kind).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_warms_up_is_thrown_away() {
        let mut ledger = Ledger::default();
        ledger.add(Kind::Append, Duration::from_secs(9));
        assert!(ledger.samples(Kind::Append).is_none());
        ledger.count_from_now_on();
        ledger.add(Kind::Append, Duration::from_micros(5));
        ledger.add_mean(Kind::Append, Duration::from_micros(64), 64);
        assert_eq!(
            ledger.samples(Kind::Append).map(|samples| (samples.count(), samples.p50())),
            Some((2, 1.0))
        );
    }
}
