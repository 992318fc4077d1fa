//! What is measured, on what: for reports that are made from the figures.

use crate::peers::SYSTEMS;
use crate::report::Row;
use crate::{Outcome, Result, Scale, machine};

/// One row for the machine and one for each system.
pub(crate) fn run(scale: &Scale) -> Result<Outcome> {
    let facts = machine::describe(&scale.dir)?;
    let machine =
        facts.into_iter().fold(Row::new("about", "machine"), |row, (name, value)| row.with(name, value));
    let systems = SYSTEMS.iter().map(|system| {
        Row::new("about", system.name).with("atomic", system.atomic).with("setup", system.setup)
    });
    Ok(Outcome { rows: [machine].into_iter().chain(systems).collect(), notes: Vec::new() })
}
