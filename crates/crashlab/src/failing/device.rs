//! Real file systems over a device that fails.

use super::matrix::{FileSystem, Row};
use crate::outcome::Failure;

/// Tries every fault under one file system.
pub fn run(_file_system: FileSystem, _seed: u64, _dose: u32) -> Result<Vec<Row>, Failure> {
    Err(Failure::Lacking("a device that fails on demand".into()))
}
