//! What the tour says: rows while it runs, the rest at the end, or all of it as JSON.

use std::time::Instant;

use serde::Serialize;

use super::check::Wrong;
use super::child::{Stores, Verb};
use super::costs::Costs;
use crate::duration;
use crate::failure::Failure;
use crate::output::{Out, counted};

/// Everything that a tour found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether every byte was right in every round.
    ok: bool,
    file_bytes: u64,
    seed: u64,
    pub(crate) rounds: Vec<RoundReport>,
    pub(crate) costs: Option<Costs>,
    pub(crate) phases_ms: Phases,
    pub(crate) seconds: f64,
}

/// Where the time went.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Phases {
    pub(crate) write: u64,
    pub(crate) rounds: u64,
    pub(crate) costs: u64,
    pub(crate) cleanup: u64,
}

impl Phases {
    /// Milliseconds since a moment.
    pub(crate) fn since(moment: Instant) -> u64 {
        u64::try_from(moment.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One round.
#[derive(Debug, Serialize)]
pub(crate) struct RoundReport {
    pub(crate) round: u32,
    pub(crate) opened: Verb,
    pub(crate) stores: Stores,
    /// Commits acknowledged in this round, and the edits in them.
    pub(crate) commits: u64,
    pub(crate) edits: u64,
    /// Whether a commit had begun and was not acknowledged.
    pub(crate) killed_in_commit: bool,
    /// The library's id of the last acknowledged commit.
    pub(crate) last_id: Option<u64>,
    /// The commit, counted over all rounds, whose state the file is in.
    pub(crate) commit: u64,
    /// Whether that is the one in flight.
    pub(crate) in_flight_kept: bool,
    pub(crate) file_bytes: u64,
    pub(crate) replayed_commits: u64,
    pub(crate) recover_ms: u64,
    pub(crate) check_ms: u64,
    pub(crate) wrong: Option<Wrong>,
}

impl RoundReport {
    /// The line above the rows.
    pub(crate) fn header() -> &'static str {
        "\nround  opened  edits     commits    edits  killed      recovered to        replayed  recovery  every byte"
    }

    /// This round in a line.
    pub(crate) fn row(&self) -> String {
        let killed = if self.killed_in_commit { "mid-commit" } else { "between" };
        let state = if self.in_flight_kept { "the one in flight" } else { "last acknowledged" };
        let verdict = if self.wrong.is_some() { "WRONG" } else { "right" };
        format!(
            "{:>5}  {:<6}  {:<8}  {:>7}  {:>7}  {killed:<10}  {state:<18}  {:>8}  {:>5} ms  {verdict}",
            self.round,
            format!("{:?}", self.opened).to_lowercase(),
            format!("{:?}", self.stores).to_lowercase(),
            self.commits,
            self.edits,
            self.replayed_commits,
            self.recover_ms,
        )
    }
}

impl Report {
    /// A tour that has not begun.
    pub(crate) fn new(file_bytes: u64, seed: u64) -> Report {
        Report {
            ok: true,
            file_bytes,
            seed,
            rounds: Vec::new(),
            costs: None,
            phases_ms: Phases::default(),
            seconds: 0.0,
        }
    }

    /// What is wrong, in words, if anything is.
    pub(crate) fn wrong(&self) -> Option<String> {
        self.rounds.iter().find_map(|round| round.wrong.as_ref().map(|wrong| (round.round, wrong))).map(
            |(round, wrong)| {
                let byte = |byte: Option<u8>| match byte {
                    Some(byte) => format!("0x{byte:02x}"),
                    None => "the end of the file".to_owned(),
                };
                format!(
                    "round {round}: wrong from offset {} on: expected {}, found {} (last acknowledged commit {}; {} of the \
                     {} edits of the next one are in the file); the seed was {}",
                    wrong.offset,
                    byte(wrong.expected),
                    byte(wrong.found),
                    wrong.acknowledged,
                    wrong.in_flight_edits_found,
                    wrong.in_flight_edits,
                    self.seed
                )
            },
        )
    }

    /// The end of the tour, for people.
    pub(crate) fn print(&self, out: &mut Out) -> Result<(), Failure> {
        if let Some(costs) = &self.costs {
            out.line(
                "\nWhat it costs here to make 8 bytes in each of some scattered pages durable (medians):\n",
            )?;
            out.line(
                "pages   commit (all or nothing)   msync (not atomic)   msync / commit   commit / one append",
            )?;
            for row in &costs.rows {
                out.line(format!(
                    "{:>5}   {:>23}   {:>18}   {:>13.1}x   {:>18.2}x",
                    row.pages,
                    duration::show(row.commit_us),
                    duration::show(row.msync_us),
                    row.msync_us / row.commit_us,
                    row.commit_us / row.append_us,
                ))?;
            }
            out.line(format!(
                "\nOne append of 4 KiB and a flush, the least that durability can cost: {}",
                duration::show(costs.append_us)
            ))?;
        }
        if self.wrong().is_none() && !self.rounds.is_empty() {
            let sum = |count: fn(&RoundReport) -> u64| self.rounds.iter().map(count).sum::<u64>();
            out.line(format!(
                "\n{}, {}, {} ({} in mid-commit): every byte was right every time. {:.0} s.",
                counted(sum(|round| round.commits), "commit"),
                counted(sum(|round| round.edits), "edit"),
                counted(self.rounds.len() as u64, "kill"),
                sum(|round| round.killed_in_commit.into()),
                self.seconds
            ))?;
        }
        Ok(())
    }

    /// Whether every byte was right, brought up to date.
    pub(crate) fn conclude(&mut self) {
        self.ok = self.wrong().is_none();
    }
}
