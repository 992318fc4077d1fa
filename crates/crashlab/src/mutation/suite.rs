//! The suites that must notice what was left out.

use clap::ValueEnum;
use serde::Serialize;

use super::scenarios;
use crate::corruption;
use crate::failing;
use crate::outcome::Failure;
use crate::sim;

/// One part of a suite: a seed, and how much of it to try (1 is the least that is of use).
pub(super) type Part = fn(u64, u64) -> Result<(), Failure>;

/// Who is to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
pub enum Suite {
    /// Scenarios that are aimed at one step or check each: every switch must be caught
    Scenarios,
    /// The random states of `crashlab sim`, in the dose of a change
    Sim,
    /// The failing disks of `crashlab failing`, simulated, in the dose of a change
    Failing,
    /// The damaged journals of `crashlab corrupt`
    Corrupt,
}

/// What `cargo xtask proof --short` tries with each change.
const SIM_STATES: u64 = 60_000;
const FAILING_DOSE: u64 = 10;

impl Suite {
    fn parts(self) -> &'static [(&'static str, Part)] {
        match self {
            Suite::Scenarios => scenarios::PARTS,
            Suite::Sim => {
                &[("simulated states", |seed, dose| sim::attempt(seed, dose * SIM_STATES, 1).map(drop))]
            }
            Suite::Failing => &[("failing disks", |seed, dose| {
                failing::simulated(seed, (dose * FAILING_DOSE) as u32).map(drop)
            })],
            Suite::Corrupt => &[("damaged journals", |seed, dose| {
                let few = corruption::Options {
                    seed,
                    sessions: 2 * dose,
                    payload_flips: 50,
                    tolerate_ahead: false,
                };
                corruption::run(&few).map(drop)
            })],
        }
    }

    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Suite::Scenarios => "scenarios",
            Suite::Sim => "sim",
            Suite::Failing => "failing",
            Suite::Corrupt => "corrupt",
        }
    }

    /// Tries all parts, in this order, until the first failure, whose part is named.
    pub(super) fn run(self, seed: u64, dose: u64) -> Result<(), (&'static str, Failure)> {
        self.parts().iter().try_for_each(|(name, part)| part(seed, dose).map_err(|failure| (*name, failure)))
    }
}

#[cfg(test)]
mod tests {
    use super::Suite;

    #[test]
    fn nothing_is_found_where_nothing_is_left_out() {
        Suite::Scenarios.run(1, 1).unwrap();
    }
}
