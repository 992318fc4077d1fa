//! Readers beside a writer, and of what a writer has left: the last commit, whole and durable, or an error that says why not;
//! and nothing is changed by looking.

mod beside;
mod left;
mod misuse;
#[path = "../stage/mod.rs"]
mod stage;
mod steps;

use std::path::Path;

use steadfast::{AtomicMapping, Result};

#[test]
fn as_another_process() {
    stage::as_another_process();
}

pub(crate) fn read(path: &Path) -> Result<AtomicMapping> {
    AtomicMapping::options().read_only(true).load(path)
}
