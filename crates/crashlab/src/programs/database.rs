//! What a program of its own finds in a database after recovery.

use std::process::Command;

use serde::Deserialize;

use super::Found;
use crate::outcome::Failure;

/// The programs have it too: see `crates/programs/kill/lmdb_records.py`.
const RECORDS: u64 = 500;

/// What the reader tells, in one line of JSON.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Told {
    /// The version in the root record; 0 where there is none.
    root: u64,
    /// Versions of the other records.
    oldest: u64,
    newest: u64,
    records: u64,
    /// Those whose contents are not what their version has.
    wrong: u64,
}

/// Opens it, walks it, and says which version it is.
pub(super) fn judge(reader: &mut Command, acknowledged: u64) -> Result<Found, Failure> {
    let output = reader.output().map_err(|error| Failure::Rig(format!("{reader:?}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        return Ok(Found::Torn(format!("it cannot be read: {} {last}", output.status)));
    }
    let told = serde_json::from_slice(&output.stdout);
    let told: Told = told.map_err(|error| Failure::Rig(format!("{reader:?}: {error}")))?;
    Ok(verdict(told, acknowledged))
}

fn verdict(told: Told, acknowledged: u64) -> Found {
    let Told { root, oldest, newest, records, wrong } = told;
    let expected = if root == 0 { 0 } else { RECORDS };
    if (oldest, newest, records, wrong) != (root, root, expected, 0) {
        return Found::Torn(format!("{told:?}"));
    }
    match root {
        root if root < acknowledged => Found::Lost(root),
        root if root > acknowledged + 1 => Found::Torn(format!("version {root} was not begun")),
        root => Found::Sound(root),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_of_one_version_or_torn() {
        let whole = Told { root: 3, oldest: 3, newest: 3, records: RECORDS, wrong: 0 };
        let torn = |told| matches!(verdict(told, 3), Found::Torn(_));
        assert_eq!(verdict(whole, 3), Found::Sound(3));
        assert_eq!(verdict(whole, 2), Found::Sound(3));
        assert_eq!(verdict(whole, 4), Found::Lost(3));
        assert!(matches!(verdict(whole, 1), Found::Torn(_)));
        assert!(torn(Told { oldest: 2, ..whole }) && torn(Told { newest: 4, ..whole }));
        assert!(torn(Told { wrong: 1, ..whole }) && torn(Told { records: RECORDS - 1, ..whole }));
        let empty = Told { root: 0, oldest: 0, newest: 0, records: 0, wrong: 0 };
        assert_eq!(verdict(empty, 0), Found::Sound(0));
        assert_eq!(verdict(empty, 2), Found::Lost(0));
    }
}
