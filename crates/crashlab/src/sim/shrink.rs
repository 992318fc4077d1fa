//! The shortest workload that still breaks the promise.

use std::fmt::Write;

use super::case::Case;
use super::walk::{Depth, Violation};
use crate::workload::{Action, MapPlan, PAGE, Step, Workload};
use steadfast::Tracker;

/// After so many workloads that were tried, what there is must do.
const TRIES_MAX: u32 = 600;

/// A case that breaks a promise, as short as it was made.
pub(super) struct Shrunk {
    pub(super) case: Case,
    pub(super) violation: Violation,
    /// Workloads that were tried on the way.
    pub(super) tries: u32,
}

/// `violation` is what the case was seen to do.
pub(super) fn shrink(case: &Case, violation: Violation) -> Shrunk {
    let mut shrunk = Shrunk { case: case.clone(), violation, tries: 0 };
    loop {
        let before = shrunk.case.clone();
        shrunk.remove_steps();
        shrunk.remove_maps();
        shrunk.simplify();
        if shrunk.case == before || shrunk.tries >= TRIES_MAX {
            return shrunk;
        }
    }
}

impl Shrunk {
    /// Keeps the workload if it still breaks something.
    fn keep(&mut self, change: impl FnOnce(&mut Workload)) -> bool {
        let mut case = self.case.clone();
        change(&mut case.workload);
        if case == self.case || self.tries >= TRIES_MAX {
            return false;
        }
        self.tries += 1;
        // More closely than it was found: what was seen by chance must not be missed by chance.
        let one_in = if self.violation.second_crash { 8 } else { 0 };
        let depth = Depth { stops: 240, cuts: 12, nest_one_in: one_in, go_on_one_in: one_in };
        match case.walk(depth) {
            Ok(_) => false,
            Err(violation) => {
                self.case = case;
                self.violation = violation;
                true
            }
        }
    }

    /// Halves, quarters and so on, down to single steps.
    fn remove_steps(&mut self) {
        let mut chunk = self.case.workload.steps.len().div_ceil(2);
        while chunk > 0 {
            // From the end: what comes after the violation goes first.
            let mut end = self.case.workload.steps.len();
            while end > 0 {
                let start = end.saturating_sub(chunk);
                self.keep(|workload| drop(workload.steps.drain(start..end)));
                end = start.min(self.case.workload.steps.len());
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
    }

    /// Maps that nothing happens to.
    fn remove_maps(&mut self) {
        for map in (0..self.case.workload.maps.len()).rev() {
            let workload = &self.case.workload;
            if workload.maps.len() > 1 && workload.steps.iter().all(|step| step.map != map) {
                self.keep(|workload| {
                    workload.maps.remove(map);
                    for step in &mut workload.steps {
                        step.map -= usize::from(step.map > map);
                    }
                });
            }
        }
    }

    fn simplify(&mut self) {
        self.keep(|workload| workload.close = false);
        for map in 0..self.case.workload.maps.len() {
            for simplify in SIMPLER_PLANS {
                self.keep(|workload| simplify(&mut workload.maps[map]));
            }
        }
        for step in 0..self.case.workload.steps.len() {
            for simpler in simpler(self.case.workload.steps[step].action) {
                if self.keep(|workload| workload.steps[step].action = simpler) {
                    break;
                }
            }
        }
    }

    /// For reading.
    pub(super) fn text(&self) -> String {
        let workload = &self.case.workload;
        let mut text = String::new();
        for (map, plan) in workload.maps.iter().enumerate() {
            let found = match plan.initial_bytes {
                Some(bytes) => format!("{bytes} bytes at first"),
                None => "not there at first".into(),
            };
            let publish = if plan.publish { ", published" } else { "" };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "    map {map}: {found}, opened with {}; journal of {} pages, {} steps of a checkpoint a commit, \
                 tracker {}{publish}",
                plan.len,
                plan.journal_bytes / PAGE as u64,
                plan.checkpoint_steps,
                plan.tracker
            );
        }
        for (number, Step { map, action }) in workload.steps.iter().enumerate() {
            let _ = writeln!(text, "    {}. map {map}: {action:?}", number + 1);
        }
        text.push_str(if workload.close { "    closed at the end" } else { "    dropped at the end" });
        if !self.case.marks {
            text.push_str("; no room for marks");
        }
        text
    }
}

const SIMPLER_PLANS: [fn(&mut MapPlan); 6] = [
    |plan| plan.publish = false,
    |plan| plan.tracker = Tracker::Declared,
    |plan| plan.initial_bytes = plan.initial_bytes.map(|_| 1),
    |plan| plan.len = plan.initial_bytes.unwrap_or(1),
    |plan| plan.checkpoint_steps = 0,
    |plan| plan.journal_bytes = 8 * PAGE as u64,
];

/// What might do instead, the simplest first; none of them leads back.
fn simpler(action: Action) -> Vec<Action> {
    let edit = |at, len| Action::Edit { at, len };
    match action {
        Action::Edit { at, len } => vec![edit(0, 1), edit(0, len), edit(at, 1)]
            .into_iter()
            .filter(|simpler| *simpler != action)
            .collect(),
        Action::Write { at, len } | Action::Store { at, len } => vec![edit(0, 1), edit(at, len)],
        Action::Scatter { .. } => vec![edit(0, 1)],
        Action::CommitRelaxed | Action::CommitAsync | Action::Transaction { .. } => vec![Action::Commit],
        Action::Wait { backwards: true } => vec![Action::Wait { backwards: false }],
        Action::Reopen => vec![Action::Checkpoint],
        Action::Resize { len } if len > 0 => vec![Action::Resize { len: 0 }],
        _ => Vec::new(),
    }
}
