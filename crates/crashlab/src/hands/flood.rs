//! More faults than a process may have mappings for.

use std::path::Path;

use steadfast::{ErrorKind, Mapping};

use super::child::violated;
use super::raw;
use crate::workload::PAGE;

pub(super) const BYTES: u64 = 300 << 20;

/// Touches every other page of a file of which none can be read. Says what that gave.
pub(super) fn touch(path: &Path) -> Result<String, String> {
    let map = Mapping::options().open(path).map_err(|error| format!("rig: {error}"))?;
    let (mut touched, mut word) = (0_u64, [1]);
    for at in (0..map.len()).step_by(2 * PAGE) {
        raw::load(&map, at, &mut word);
        if word != [0] {
            return Err(format!("byte {at} of a file that cannot be read is {}", word[0]));
        }
        touched += 1;
        if !touched.is_multiple_of(1024) {
            continue;
        }
        let mut bytes = [0; 8];
        match map.read_at(at, &mut bytes) {
            Err(error) if error.kind() == ErrorKind::Io => {}
            outcome => return Err(format!("a page that cannot be read is read: {outcome:?}")),
        }
    }
    let error = map.check().err().ok_or("no page is said to be damaged")?;
    if error.kind() != ErrorKind::Io || error.bytes().is_none_or(|bytes| bytes.start != 0) {
        return Err(violated("a check", &error));
    }
    let mappings = std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
    Ok(format!("{touched} pages that cannot be read were touched one by one, {mappings} mappings at the end"))
}
