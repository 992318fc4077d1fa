//! A simulated disk, at scale.

use std::fmt;

use clap::Args;
use serde::Serialize;

use crate::outcome::Failure;

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the choices begin: the same seed, the same run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {}

impl fmt::Display for Figures {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Tries it.
pub fn run(_options: &Options) -> Result<Figures, Failure> {
    Err(Failure::Lacking("this part".into()))
}
