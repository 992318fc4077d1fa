//! How things are measured beside each other.
//!
//! A *round* gives each step a turn; the step that begins moves on by one each round, so whatever else the machine does falls
//! on all of them alike. The first round warms up and is thrown away. After each turn the file system is synced, outside the
//! timing.

use std::time::Instant;

use super::ledger::Ledger;
use super::steps::{Bench, Step};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::pattern::mix;

/// The same stores in every run.
const SEED: u64 = 0x5eed;

/// When it is enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Enough {
    pub(super) rounds: Option<u32>,
    pub(super) until: Option<Instant>,
}

impl Enough {
    /// After so many rounds that count. One there is always, or there would be nothing to say.
    fn is_reached(self, measured: u32) -> bool {
        let is_late = self.until.is_some_and(|until| Instant::now() >= until);
        self.rounds.is_some_and(|rounds| measured >= rounds) || (is_late && measured > 0)
    }
}

/// Measures, and gives the number of whole rounds that count.
pub(super) fn measure(
    bench: &mut Bench,
    enough: Enough,
    file_bytes: u64,
    ledger: &mut Ledger,
    interrupt: &Interrupt,
    say: &dyn Fn(&str),
) -> Result<u32, Failure> {
    let steps = Step::all();
    let mut measured = 0;
    for round in 0_usize.. {
        if enough.is_reached(measured) {
            break;
        }
        if round == 1 {
            ledger.count_from_now_on();
        }
        for turn in 0..steps.len() {
            let step = steps[(round + turn) % steps.len()];
            let name = if round == 0 { "warming up".to_owned() } else { format!("round {round}") };
            say(&format!("{name}: {}", step.describe(file_bytes)));
            bench.take(step, mix(SEED, round as u64), ledger, interrupt)?;
            if interrupt.is_asked() {
                return Ok(measured);
            }
            bench.settle()?;
        }
        measured += u32::from(round > 0);
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_so_many_rounds_or_so_much_time_whichever_comes_first_but_one() {
        let now = Some(Instant::now());
        assert!(!Enough { rounds: Some(3), until: None }.is_reached(2));
        assert!(Enough { rounds: Some(3), until: None }.is_reached(3));
        assert!(!Enough { rounds: Some(3), until: now }.is_reached(0));
        assert!(Enough { rounds: Some(3), until: now }.is_reached(1));
        assert!(!Enough { rounds: None, until: None }.is_reached(1000));
    }
}
