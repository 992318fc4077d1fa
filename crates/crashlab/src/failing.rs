//! Disks that answer with errors.
//!
//! What was acknowledged is never lost. What was in doubt is told as such, and the next open decides. A latched map still
//! reads. Once there is space again, the same commit succeeds.

pub mod device;
pub mod matrix;
pub mod simulated;

use std::fmt;

use clap::Args;
use serde::Serialize;

use crate::outcome::Failure;
use matrix::{FileSystem, Row};
pub use simulated::simulated;

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Only this one, and it must be possible here; otherwise all that are
    #[arg(long)]
    pub fs: Option<FileSystem>,
    /// Where the choices begin: the same seed, the same run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many workloads; each meets every fault at a sample of its places
    #[arg(long, default_value_t = 40)]
    pub dose: u32,
}

/// What was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// The matrix.
    pub rows: Vec<Row>,
    /// Broken promises: none, or there would be no figures.
    pub violations: u64,
    /// What could not be tried here, and why.
    pub lacking: Vec<String>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        matrix::write_table(f, &self.rows)?;
        write!(f, "\nviolations: {}", self.violations)?;
        self.lacking.iter().try_for_each(|what| write!(f, "\n{what}"))
    }
}

/// Tries it.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    let mut figures = Figures { rows: Vec::new(), violations: 0, lacking: Vec::new() };
    let all = [FileSystem::Sim, FileSystem::Ext4, FileSystem::Xfs, FileSystem::Btrfs];
    for fs in all.into_iter().filter(|fs| options.fs.is_none_or(|only| only == *fs)) {
        let rows = match fs {
            FileSystem::Sim => simulated(options.seed, options.dose),
            real => device::run(real, options.seed, options.dose),
        };
        match rows {
            Ok(rows) => {
                for row in rows.iter().filter(|row| row.counts.places == 0) {
                    figures.lacking.push(format!("NOT TESTED: {fs:?}: no place of {} struck", row.fault));
                }
                figures.rows.extend(rows);
            }
            // Unless it was asked for by name.
            Err(Failure::Lacking(what)) if options.fs.is_none() => {
                figures.lacking.push(format!("{}, for {fs:?}", Failure::Lacking(what)));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(figures)
}
