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
use crate::pair::judge::{Outcome, WRONG_STATE, judge};
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
    /// Count wrong states, and do not stop, where a stopped checkpoint or `publish` had put bytes of a commit into the data file
    /// and nothing that is left, of mark and journal, says that it was durable
    #[arg(long)]
    pub tolerate_ahead: bool,
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
    /// Wrong states that were tolerated, as asked.
    pub ahead: u64,
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
        if self.ahead > 0 {
            writeln!(f, "  {} wrong states where the data file was ahead, as tolerated", self.ahead)?;
        }
        write!(
            f,
            "no {}wrong state, and nothing changed where it was refused",
            if self.ahead > 0 { "other " } else { "" }
        )
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
    all.extend(pairs::drawn(options.seed, options.sessions)?);
    let mut figures =
        Figures { pairs: all.len() as u64, cases: 0, ahead: 0, kinds: BTreeMap::new(), seconds: 0.0 };
    for (index, made) in all.iter().enumerate() {
        let pair = &made.pair;
        let ahead = |case: &Case| options.tolerate_ahead && pair.is_ahead_of(pair.durable(&case.journal));
        let mut try_one = |case: Case| {
            figures.cases += 1;
            match try_case(&made.pair, &case) {
                Ok(outcome) => count(figures.kinds.entry(case.kind).or_default(), case.kind, &outcome),
                Err(what) if what.contains(WRONG_STATE) && ahead(&case) => figures.ahead += 1,
                Err(what) => {
                    let place = format!("{}, {} (--seed {})", made.name, case.what, options.seed);
                    return Err(Failure::Violation(format!("{place}: {what}")));
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn base(name: &str) -> &'static crate::pair::Base {
        bases().unwrap().iter().find(|base| base.name == name).unwrap()
    }

    fn flipped(pair: &Pair, kind: Kind, at: usize) -> Case {
        let mut journal = pair.journal.clone();
        journal[at] ^= 1;
        Case { kind, what: format!("byte {at}"), journal }
    }

    #[test]
    fn a_run_is_clean() {
        let options = Options { seed: 1, sessions: 2, payload_flips: 20, tolerate_ahead: true };
        let figures = run(&options).unwrap();
        assert!(figures.cases > 20_000 && figures.pairs >= 9, "{figures}");
    }

    #[test]
    fn a_wrong_state_is_noticed() {
        // The state that is held to be right is one byte off.
        let mut pair = base("three commits").pair.clone();
        let (_, last) = pair.states.last_mut().unwrap();
        std::sync::Arc::make_mut(last)[77] ^= 1;
        let told = judge(&pair, &pair.journal).unwrap_err();
        assert!(told.contains(WRONG_STATE) && told.contains("first difference at 77"), "{told}");
    }

    #[test]
    fn a_commit_that_was_durable_and_is_lost_is_noticed() {
        // As if the mark said that the last commit is in the file: a recovery to an earlier one is none.
        let pair = &base("three commits").pair;
        let record = seal::headers(&pair.journal).pop().unwrap();
        let case = flipped(pair, Kind::Record, record.at + 24);
        let outcome = try_case(pair, &case).unwrap();
        assert!(matches!(outcome, Outcome::Dropped { id: 2, reported: true }), "{outcome:?}");
        // And the same outcome for damage that is none is not the right one.
        let whole = Case { journal: pair.journal.clone(), ..case };
        assert!(precise::check(pair, &whole, &outcome).is_err());
        assert!(precise::check(pair, &flipped(pair, Kind::Header, 20), &outcome).is_err());
    }

    #[test]
    fn a_forged_record_is_a_wrong_state() {
        // Other bytes under right checksums: nothing can notice but the judge.
        let pair = &base("three commits").pair;
        let mut journal = pair.journal.clone();
        let record = seal::headers(&journal).pop().unwrap();
        journal[record.payload().start] ^= 1;
        seal::reseal(&mut journal);
        assert!(judge(pair, &journal).is_err_and(|told| told.contains(WRONG_STATE)));
    }
}
