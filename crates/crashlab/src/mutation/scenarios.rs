//! Scenarios on the simulated disk that are aimed at one step or check each: what a random crash is too unlikely to meet.

mod decode;
mod failures;
mod hands;
mod journal_bytes;
mod limits;
mod lost_names;
mod pairs;
mod readers;
mod recoveries;
mod rig;
mod script;
mod scrubs;
mod stops;
mod trust;
mod watched;

use super::suite::Part;

/// Their parts of the suite. The quick ones first: most switches are caught there.
pub(super) const PARTS: &[(&str, Part)] = &[
    ("altered fields", |_, _| rig::told(decode::all())),
    ("file and journal", |_, _| rig::told(pairs::all())),
    ("whose the journal is", |_, _| rig::told(trust::all())),
    ("other hands", |_, _| rig::told(hands::all())),
    ("lost names", |_, _| rig::told(lost_names::all())),
    ("readers", |_, _| rig::told(readers::all())),
    ("limits", |_, _| rig::told(limits::all())),
    ("scrubs", |_, _| rig::told(scrubs::all())),
    ("failures", |_, _| rig::told(failures::all())),
    ("stops", |seed, _| rig::told(stops::all(seed))),
    ("stopped recoveries", |seed, _| rig::told(recoveries::all(seed))),
    ("failures everywhere", |seed, _| rig::told(failures::everywhere(seed))),
];
