//! Outcomes side by side, in figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ::programs::Suite;
use serde::Serialize;

use super::outcomes::Outcomes;

/// What stands under a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing.
    Kernel,
    /// The library, with nothing said to be atomic.
    Honest,
    /// The library, with everything said to be.
    Atomic,
}

impl Mode {
    /// Every mode; what the others are compared with first.
    pub const ALL: [Mode; 3] = [Mode::Kernel, Mode::Honest, Mode::Atomic];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Kernel => "kernel",
            Mode::Honest => "honest",
            Mode::Atomic => "atomic",
        })
    }
}

/// What was run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Each suite that was run.
    pub suites: Vec<OfSuite>,
    /// What this machine lacks.
    pub lacking: Vec<String>,
    /// Tests that differ where none may, suites that ended early, and those in which nothing was made atomic.
    pub violations: u64,
    /// How long all of it took.
    pub seconds: f64,
}

/// One suite.
#[derive(Debug, Clone, Serialize)]
pub struct OfSuite {
    /// Which.
    pub suite: Suite,
    /// Of which version of what.
    pub of: String,
    /// In each mode.
    pub modes: Vec<InMode>,
    /// Tests whose outcome is not the same in all of them.
    pub differing: Vec<Differing>,
}

/// One suite in one mode.
#[derive(Debug, Clone, Serialize)]
pub struct InMode {
    /// Which.
    pub mode: Mode,
    /// Tests, those aside that the suite's own settings leave out.
    pub tests: u64,
    /// By outcome.
    pub counts: BTreeMap<String, u64>,
    /// Mappings that the library made atomic, by its log.
    pub converted: u64,
    /// How it ended before its end.
    pub ended_early: Option<String>,
    /// How long it took.
    pub seconds: f64,
    #[serde(skip)]
    outcomes: Outcomes,
}

/// A test that is not the same everywhere.
#[derive(Debug, Clone, Serialize)]
pub struct Differing {
    /// Which.
    pub test: String,
    /// How it ended in each mode, and why.
    pub outcomes: BTreeMap<Mode, String>,
}

/// What the suite's own settings leave out.
const DESELECTED: &str = "deselected";
/// In a list that has no such test.
const MISSING: &str = "missing";

impl InMode {
    pub(super) fn new(
        mode: Mode,
        outcomes: Outcomes,
        converted: u64,
        ended_early: Option<String>,
        seconds: f64,
    ) -> InMode {
        let mut counts = BTreeMap::new();
        for outcome in outcomes.values() {
            *counts.entry(outcome.how.clone()).or_default() += 1;
        }
        let tests = counts.iter().filter(|(how, _)| *how != DESELECTED).map(|(_, count)| count).sum();
        InMode { mode, tests, counts, converted, ended_early, seconds, outcomes }
    }

    fn how(&self, test: &str) -> &str {
        self.outcomes.get(test).map_or(MISSING, |outcome| &outcome.how)
    }

    fn told(&self, test: &str) -> String {
        match self.outcomes.get(test) {
            Some(outcome) if !outcome.reason.is_empty() => format!("{} ({})", outcome.how, outcome.reason),
            _ => self.how(test).to_owned(),
        }
    }
}

impl OfSuite {
    pub(super) fn new(suite: Suite, of: String, modes: Vec<InMode>) -> OfSuite {
        let tests: BTreeSet<&String> = modes.iter().flat_map(|mode| mode.outcomes.keys()).collect();
        let differs = |test: &str| modes.iter().map(|mode| mode.how(test)).collect::<BTreeSet<_>>().len() > 1;
        let differing = tests.into_iter().filter(|test| differs(test)).map(|test| Differing {
            test: test.clone(),
            outcomes: modes.iter().map(|mode| (mode.mode, mode.told(test))).collect(),
        });
        let differing = differing.collect();
        OfSuite { suite, of, modes, differing }
    }

    fn differing_from_kernel(&self, mode: Mode) -> u64 {
        let find = |mode| self.modes.iter().find(|have| have.mode == mode);
        let (Some(kernel), Some(other)) = (find(Mode::Kernel), find(mode)) else { return 0 };
        self.differing.iter().filter(|Differing { test, .. }| kernel.how(test) != other.how(test)).count()
            as u64
    }

    /// What may not be.
    pub(super) fn violations(&self) -> u64 {
        let early = self.modes.iter().filter(|mode| mode.ended_early.is_some()).count();
        let idle = self.modes.iter().filter(|mode| mode.mode == Mode::Atomic && mode.converted == 0).count();
        self.differing_from_kernel(Mode::Honest) + (early + idle) as u64
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for suite in &self.suites {
            writeln!(f, "{}: {}", suite.suite, suite.of)?;
            for mode in &suite.modes {
                let counts: Vec<String> =
                    mode.counts.iter().map(|(how, count)| format!("{count} {how}")).collect();
                write!(f, "  {}: {} tests ({})", mode.mode, mode.tests, counts.join(", "))?;
                if mode.mode != Mode::Kernel {
                    let differing = suite.differing_from_kernel(mode.mode);
                    write!(
                        f,
                        ", {differing} differ from the kernel's, {} mappings converted",
                        mode.converted
                    )?;
                }
                if let Some(how) = &mode.ended_early {
                    write!(f, ", ENDED EARLY: {how}")?;
                }
                writeln!(f, ", {:.1} s", mode.seconds)?;
            }
            for Differing { test, outcomes } in &suite.differing {
                let outcomes: Vec<String> =
                    outcomes.iter().map(|(mode, told)| format!("{mode} {told}")).collect();
                writeln!(f, "  {test}: {}", outcomes.join("; "))?;
            }
        }
        for lacking in &self.lacking {
            writeln!(f, "NOT TESTED: this machine lacks what it takes for {lacking}")?;
        }
        write!(f, "{} violations, {:.1} s", self.violations, self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcomes::Outcome;
    use super::*;

    fn in_mode(mode: Mode, tests: &[(&str, &str)], converted: u64) -> InMode {
        let outcome = |how: &str| Outcome { how: how.to_owned(), reason: String::new() };
        let outcomes = tests.iter().map(|(test, how)| ((*test).to_owned(), outcome(how))).collect();
        InMode::new(mode, outcomes, converted, None, 0.0)
    }

    #[test]
    fn a_test_that_differs_is_listed_and_counts_where_none_may() {
        let kernel = in_mode(Mode::Kernel, &[("a", "passed"), ("b", "passed"), ("c", "deselected")], 0);
        let honest = in_mode(Mode::Honest, &[("a", "passed"), ("c", "deselected")], 0);
        let atomic = in_mode(Mode::Atomic, &[("a", "failed"), ("b", "passed"), ("c", "deselected")], 1);
        let suite = OfSuite::new(Suite::Numpy, String::new(), vec![kernel.clone(), honest, atomic.clone()]);
        let listed: Vec<&str> = suite.differing.iter().map(|differing| &*differing.test).collect();
        assert_eq!((listed, suite.modes[0].tests), (vec!["a", "b"], 2));
        assert_eq!(suite.violations(), 1, "the test that is missing");
        let idle = InMode { converted: 0, ..atomic };
        assert_eq!(OfSuite::new(Suite::Numpy, String::new(), vec![kernel, idle]).violations(), 1);
    }
}
