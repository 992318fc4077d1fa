//! The figures of a run.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::children::{Attempt, End};
use super::{Kind, Options, Suite, Switch};

/// What was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Who was to notice.
    pub by: Suite,
    /// The seed.
    pub seed: u64,
    /// Switches in the code.
    pub in_code: usize,
    /// Switches that were tried.
    pub switches: usize,
    /// Of them: caught.
    pub caught: usize,
    /// By which part of the suite. A panic and a hang count by themselves.
    pub caught_by: BTreeMap<String, usize>,
    /// How many of each kind were tried.
    pub kinds: BTreeMap<Kind, usize>,
    /// Those that were not caught.
    pub missed: Vec<Switch>,
    /// Those of them that the suite never came by.
    pub never_reached: Vec<String>,
    /// Seconds of the longest attempt.
    pub longest_s: f64,
}

impl Figures {
    pub(super) fn new(options: &Options, in_code: usize, switches: usize) -> Figures {
        Figures {
            by: options.by,
            seed: options.seed,
            in_code,
            switches,
            caught: 0,
            caught_by: BTreeMap::new(),
            kinds: BTreeMap::new(),
            missed: Vec::new(),
            never_reached: Vec::new(),
            longest_s: 0.0,
        }
    }

    pub(super) fn add(&mut self, switch: Switch, attempt: Attempt) {
        *self.kinds.entry(switch.kind).or_default() += 1;
        self.longest_s = self.longest_s.max(attempt.seconds);
        let by = match attempt.end {
            End::Caught { part } => part,
            End::Panicked => "panic".into(),
            End::Hung => "deadline".into(),
            End::Passed => {
                if attempt.reached == 0 {
                    self.never_reached.push(switch.name.clone());
                }
                self.missed.push(switch);
                return;
            }
        };
        self.caught += 1;
        *self.caught_by.entry(by).or_default() += 1;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { in_code, switches, caught, .. } = self;
        let percent = if *switches == 0 { 100.0 } else { 100.0 * *caught as f64 / *switches as f64 };
        writeln!(f, "{switches} of {in_code} switches left out in turn, {caught} caught: {percent:.0} %")?;
        let kinds: Vec<String> = self.kinds.iter().map(|(kind, count)| format!("{count} {kind:?}")).collect();
        writeln!(f, "kinds: {}", kinds.join(", "))?;
        for (part, count) in &self.caught_by {
            writeln!(f, "  {count:4}  caught by: {part}")?;
        }
        for missed in &self.missed {
            let never = self.never_reached.contains(&missed.name);
            let why = if never { ", which it never came by" } else { "" };
            writeln!(f, "        not caught: {} ({}){why}", missed.name, missed.place)?;
        }
        write!(f, "seed {}, longest attempt {:.1} s", self.seed, self.longest_s)
    }
}
