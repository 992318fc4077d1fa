//! A journal whose bytes are not what was written.
//!
//! Pairs of data file and journal are taken from sessions that were killed. Then every byte of every field is flipped, bytes of
//! payload and padding are, blocks are lost, exchanged and doubled, the file is cut and goes on, and journals of earlier times and
//! of other files stand in its place. Each time the pair is recovered, and opened, and the result judged.

mod cases;
mod pairs;
mod precise;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::outcome::Failure;
use crate::pair::judge::{Outcome, judge};
use crate::pair::{Pair, bases, seal};
use crate::workload::draws;
use cases::Case;
pub use cases::Kind;
use pairs::Made;

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the choices begin: the same seed, the same run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// So many drawn sessions, besides those that are written down
    #[arg(long, default_value_t = 12)]
    pub sessions: u64,
    /// So many bits of each journal's payloads are flipped, one by one
    #[arg(long, default_value_t = 2000)]
    pub payload_flips: usize,
}

/// How the cases of one kind ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// With the last state.
    pub exact: u64,
    /// With a record dropped of which nothing says that it was durable.
    pub dropped: u64,
    /// Of an older journal: with the state of its time, from which nothing tells that there was a later one.
    pub older_state: u64,
    /// Refused, by the error's kind.
    pub refused: BTreeMap<String, u64>,
}

/// What was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Pairs of data file and journal.
    pub pairs: u64,
    /// Damaged journals.
    pub cases: u64,
    /// By what was damaged.
    pub kinds: BTreeMap<Kind, Counts>,
    /// How long it took.
    pub seconds: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} damaged journals of {} pairs in {:.0} s", self.cases, self.pairs, self.seconds)?;
        for (kind, counts) in &self.kinds {
            let name = format!("{kind:?}");
            write!(f, "  {name:<10} {:>7} exact {:>6} dropped", counts.exact, counts.dropped)?;
            if counts.older_state > 0 {
                write!(f, " {:>6} of the older time", counts.older_state)?;
            }
            for (error, count) in &counts.refused {
                write!(f, " {count:>7} {error}")?;
            }
            writeln!(f)?;
        }
        write!(f, "no wrong state, and nothing changed where it was refused")
    }
}

/// Tries it.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    let start = Instant::now();
    let mut all: Vec<Made> = Vec::new();
    for base in bases().map_err(Failure::Rig)? {
        all.push(Made {
            name: format!("session {:?}", base.name),
            pair: base.pair.clone(),
            earlier: base.earlier.clone(),
        });
    }
    for number in 0..options.sessions {
        let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(number);
        all.extend(pairs::drawn(seed, 100 + number).map_err(Failure::Rig)?);
    }
    let mut figures = Figures { pairs: all.len() as u64, cases: 0, kinds: BTreeMap::new(), seconds: 0.0 };
    for (index, made) in all.iter().enumerate() {
        let mut try_one = |case: Case| {
            let outcome = try_case(&made.pair, &case).map_err(|what| {
                Failure::Violation(format!("{}, {} (--seed {}): {what}", made.name, case.what, options.seed))
            })?;
            count(figures.kinds.entry(case.kind).or_default(), case.kind, &outcome);
            figures.cases += 1;
            Ok(())
        };
        let mut random = draws(options.seed.wrapping_add(index as u64));
        cases::each(&made.pair, options.payload_flips, &mut random, &mut try_one)?;
        for (age, journal) in
            made.earlier.iter().enumerate().filter(|(_, journal)| is_another_time(&made.pair, journal))
        {
            let what = format!("the journal as it was earlier ({age})");
            try_one(Case { kind: Kind::Older, what, journal: journal.clone() })?;
        }
        for other in all
            .iter()
            .filter(|other| other.name != made.name && other.pair.mark.is_some() == made.pair.mark.is_some())
        {
            // Without marks the inode tells two files apart, and all have the same here: a pair of another disk.
            if made.pair.mark.is_some() {
                let what = format!("the journal of {}", other.name);
                try_one(Case { kind: Kind::Foreign, what, journal: other.pair.journal.clone() })?;
            }
        }
    }
    figures.seconds = start.elapsed().as_secs_f64();
    Ok(figures)
}

/// Without a mark nothing in the data file says how old it is (`docs/format.md`): there only a journal with the same anchor is
/// one that could be told.
fn is_another_time(pair: &Pair, journal: &[u8]) -> bool {
    let anchor = |journal: &[u8]| seal::anchors(journal).last().map(|anchor| anchor.sequence);
    *journal != pair.journal && (pair.mark.is_some() || anchor(journal) == anchor(&pair.journal))
}

fn try_case(pair: &Pair, case: &Case) -> Result<Outcome, String> {
    let outcome = judge(pair, &case.journal)?;
    precise::check(pair, case, &outcome).map_err(|what| format!("{what}: {outcome:?}"))?;
    Ok(outcome)
}

fn count(counts: &mut Counts, kind: Kind, outcome: &Outcome) {
    match outcome {
        Outcome::Exact => counts.exact += 1,
        Outcome::Dropped { .. } if kind == Kind::Older => counts.older_state += 1,
        Outcome::Dropped { .. } => counts.dropped += 1,
        Outcome::Refused(error) => *counts.refused.entry(format!("{:?}", error.kind())).or_default() += 1,
    }
}
