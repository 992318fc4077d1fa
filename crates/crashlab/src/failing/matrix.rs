//! What is made to fail, and how each attempt ended: the words that the simulated disk and the real file systems share.

use std::fmt;

use serde::Serialize;

/// Under what the disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FileSystem {
    /// The simulated disk.
    Sim,
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
}

/// What is asked of the disk when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Bytes, marks, lengths and names are read.
    Read,
    /// Bytes are written or zeroed.
    Write,
    /// Something is made durable.
    Flush,
    /// Blocks are reserved, a length is set.
    Space,
    /// A file is created, renamed, removed or marked.
    Names,
}

/// How the disk answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// `EIO`, and nothing was done.
    Eio,
    /// `ENOSPC`, and nothing was done.
    Enospc,
    /// `EIO` after a part of the bytes.
    Short,
}

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Fault {
    /// What is asked.
    pub operation: Operation,
    /// What is answered.
    pub answer: Answer,
    /// For ever, and not once.
    pub lasting: bool,
}

impl Fault {
    /// Every combination that a disk is capable of.
    pub fn all() -> Vec<Fault> {
        use Answer::{Eio, Enospc, Short};
        let answers: [(Operation, &[Answer]); 5] = [
            (Operation::Read, &[Eio]),
            (Operation::Write, &[Eio, Enospc, Short]),
            (Operation::Flush, &[Eio, Enospc]),
            (Operation::Space, &[Eio, Enospc]),
            (Operation::Names, &[Eio, Enospc]),
        ];
        let mut all = Vec::new();
        for (operation, answers) in answers {
            for &answer in answers {
                all.extend([false, true].map(|lasting| Fault { operation, answer, lasting }));
            }
        }
        all
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = match self.answer {
            Answer::Eio => "EIO",
            Answer::Enospc => "ENOSPC",
            Answer::Short => "short, EIO",
        };
        let lasting = if self.lasting { "for ever" } else { "once" };
        write!(f, "{:?} {answer} {lasting}", self.operation)
    }
}

/// How attempts with one fault ended. Those that struck end in one of five ways: they went on, were refused, in doubt, failed or ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Places at which the fault struck while a workload was played.
    pub places: u64,
    /// Places that the workload, played once more, did not come to: nothing was tried there.
    pub not_struck: u64,
    /// Nobody was told anything: every commit was acknowledged.
    pub went_on: u64,
    /// A commit was refused as *not committed*, and the rest of the workload went on.
    pub not_committed: u64,
    /// A commit was *in doubt*.
    pub in_doubt: u64,
    /// An open, a close or another call failed and said so.
    pub failed: u64,
    /// The program was ended somewhere behind the fault, before it was told anything of that.
    pub ended: u64,
    /// Maps that were found latched: they read on, refuse everything else, and delete nothing.
    pub latched: u64,
    /// Commits that succeeded unchanged once the disk was well again.
    pub same_commit: u64,
    /// Places in an open that recovers.
    pub recoveries: u64,
    /// Recoveries that failed and said so.
    pub recoveries_failed: u64,
    /// States of the disk that were opened and judged.
    pub images: u64,
}

impl Counts {
    /// Both together.
    pub fn add(&mut self, other: &Counts) {
        self.places += other.places;
        self.not_struck += other.not_struck;
        self.went_on += other.went_on;
        self.not_committed += other.not_committed;
        self.in_doubt += other.in_doubt;
        self.failed += other.failed;
        self.ended += other.ended;
        self.latched += other.latched;
        self.same_commit += other.same_commit;
        self.recoveries += other.recoveries;
        self.recoveries_failed += other.recoveries_failed;
        self.images += other.images;
    }

    fn columns(&self) -> [u64; COLUMNS.len()] {
        [
            self.places,
            self.not_struck,
            self.went_on,
            self.not_committed,
            self.in_doubt,
            self.failed,
            self.ended,
            self.latched,
            self.same_commit,
            self.recoveries,
            self.recoveries_failed,
            self.images,
        ]
    }
}

const COLUMNS: [&str; 12] = [
    "places",
    "not struck",
    "went on",
    "not committed",
    "in doubt",
    "failed",
    "ended",
    "latched",
    "same commit",
    "in recovery",
    "failed",
    "images",
];

/// One line of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Under what.
    pub file_system: FileSystem,
    /// What failed.
    #[serde(flatten)]
    pub fault: Fault,
    /// How it ended.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Writes rows as a table, with their sum.
pub(super) fn write_table(f: &mut fmt::Formatter<'_>, rows: &[Row]) -> fmt::Result {
    write!(f, "| fs    | fault                     |")?;
    for column in COLUMNS {
        write!(f, " {column:>9} |")?;
    }
    write!(f, "\n|---|---|{}", "---:|".repeat(COLUMNS.len()))?;
    let mut sum = Counts::default();
    for row in rows {
        sum.add(&row.counts);
        let name = format!("{:?}", row.file_system).to_lowercase();
        write!(f, "\n| {name:<5} | {:<25} |", row.fault.to_string())?;
        write_columns(f, &row.counts)?;
    }
    write!(f, "\n| all   | {:<25} |", "")?;
    write_columns(f, &sum)
}

fn write_columns(f: &mut fmt::Formatter<'_>, counts: &Counts) -> fmt::Result {
    for (name, count) in COLUMNS.iter().zip(counts.columns()) {
        write!(f, " {count:>width$} |", width = name.len().max(9))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fault_is_named_twice_and_each_has_a_line() {
        let all = Fault::all();
        assert_eq!(all.len(), 20);
        assert!(all.iter().enumerate().all(|(place, fault)| !all[..place].contains(fault)));
        let rows: Vec<Row> = all
            .into_iter()
            .map(|fault| Row { file_system: FileSystem::Sim, fault, counts: Counts::default() })
            .collect();
        let figures = super::super::Figures { rows, violations: 0, lacking: Vec::new() };
        assert_eq!(figures.to_string().lines().filter(|line| line.starts_with("| sim")).count(), 20);
    }
}
