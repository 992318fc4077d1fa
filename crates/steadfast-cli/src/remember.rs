//! `steadfast save` and `restore`: what is in memory, written down, and brought back after a reboot.

use std::io::Read;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use steadfast::PageState;
use steadfast::residency::CachedFile;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{self, Out, counted};
use crate::select::Selection;
use crate::warm::{self, PaceArgs, Wanted};

const SCHEMA: u32 = 1;

/// Write down what of files is in memory
///
/// Prints a set: for every file its absolute name and the ranges of bytes that are in memory, as JSON (docs/json.md). `steadfast
/// restore` reads them in again, on the same machine after a reboot, or on another one that has the files.
///
///   steadfast save /srv/data > set.json
#[derive(Debug, clap::Args)]
pub(crate) struct SaveArgs {
    #[command(flatten)]
    selection: Selection,
}

/// Read into memory what a set says
///
/// Reads what `steadfast save` wrote down and is absent now. A file that is gone is complained of; of one that has changed since, what
/// was written down is read all the same, as far as it goes.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The set, or `-` for standard input.
    set: PathBuf,
    #[command(flatten)]
    pace: PaceArgs,
    /// Print the answer as JSON (docs/json.md). Default: a sentence.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Set {
    schema: u32,
    files: Vec<Saved>,
}

/// What every set has, of whatever version.
#[derive(Debug, Deserialize)]
struct Version {
    schema: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    path: PathBuf,
    size_bytes: u64,
    /// Seconds since 1970.
    modified_s: i64,
    /// From the first byte to behind the last.
    resident: Vec<(u64, u64)>,
}

/// Runs `save`.
pub(crate) fn save(args: &SaveArgs) -> Result<(), Failure> {
    let selected = args.selection.ask(|file| {
        let spans = file.spans(..)?;
        if spans.iter().any(|span| span.state == PageState::Unknown) {
            return Ok(None);
        }
        let resident: Vec<(u64, u64)> =
            joined(spans.into_iter().filter(|span| span.state != PageState::Absent).map(|span| span.range));
        let path = std::fs::canonicalize(file.path()).unwrap_or_else(|_| file.path().to_owned());
        Ok(Some(Saved { path, size_bytes: file.len(), modified_s: file.modified_s(), resident }))
    })?;
    let unknown = selected.found.iter().filter(|(_, file)| file.is_none()).count() as u64;
    let files: Vec<_> = selected
        .found
        .into_iter()
        .filter_map(|(_, file)| file)
        .filter(|file| !file.resident.is_empty())
        .collect();
    let nameless = files.iter().filter(|file| file.path.to_str().is_none()).count() as u64;
    let files: Vec<_> = files.into_iter().filter(|file| file.path.to_str().is_some()).collect();
    let mut out = Out::open();
    out.json(&Set { schema: SCHEMA, files })?;
    out.flush()?;
    if unknown > 0 {
        output::complain(&format!(
            "left out: {}, of which nobody can tell what is in memory",
            counted(unknown, "file")
        ));
    }
    if nameless > 0 {
        output::complain(&format!(
            "left out: {} whose names are no UTF-8, which JSON needs",
            counted(nameless, "file")
        ));
        return Err(Failure::No);
    }
    if selected.failed.is_empty() { Ok(()) } else { Err(Failure::No) }
}

/// Neighbours as one.
fn joined(ranges: impl Iterator<Item = Range<u64>>) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.1 == range.start => last.1 = range.end,
            _ => joined.push((range.start, range.end)),
        }
    }
    joined
}

/// In order, and no byte twice, whatever the ranges were.
fn united(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut united: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match united.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => united.push(range),
        }
    }
    united
}

/// Runs `restore`.
pub(crate) fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    // Whoever waits for the set can end it as ever.
    let set = read_set(&args.set)?;
    let interrupt = Interrupt::listen()?;
    let mut wanted = Vec::new();
    let mut failed = 0;
    for saved in set.files.iter().take_while(|_| !interrupt.is_asked()) {
        match absent_of(saved) {
            Ok(file) => wanted.push(file),
            Err(error) => {
                output::complain(&error.to_string());
                failed += 1;
            }
        }
    }
    warm::tell(&warm::read(&wanted, failed, args.pace.pace(), &interrupt), args.json)
}

fn absent_of(saved: &Saved) -> steadfast::Result<Wanted> {
    let file = CachedFile::open(&saved.path)?;
    if (file.len(), file.modified_s()) != (saved.size_bytes, saved.modified_s) {
        output::complain(&format!("{}: changed since it was saved", saved.path.display()));
    }
    let mut absent = Vec::new();
    for &(start, end) in &saved.resident {
        absent.extend(file.absent((Bound::Included(start), Bound::Excluded(end)))?);
    }
    let absent = united(absent);
    Ok(Wanted { path: saved.path.clone(), absent })
}

fn read_set(path: &Path) -> Result<Set, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    read.map_err(|error| Failure::Failed(format!("cannot read the set {name}: {error}")))?;
    let no_set = |why: &dyn std::fmt::Display| {
        Failure::Failed(format!("{name} is no set that `steadfast save` wrote: {why}; nothing was read"))
    };
    // First the version: the rest of another one may have another shape.
    let Version { schema } = serde_json::from_str(&text).map_err(|error| no_set(&error))?;
    if schema != SCHEMA {
        return Err(Failure::Failed(format!(
            "{name} has schema {schema}, this version reads {SCHEMA}; nothing was read"
        )));
    }
    let set: Set = serde_json::from_str(&text).map_err(|error| no_set(&error))?;
    let mut ranges = set.files.iter().flat_map(|file| &file.resident);
    match ranges.find(|(start, end)| start > end) {
        Some((start, end)) => Err(no_set(&format!("the range {start}..{end} ends before it starts"))),
        None => Ok(set),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_read_twice() {
        assert_eq!(united(vec![8..12, 0..4, 2..3, 4..6, 9..10]), [0..6, 8..12]);
    }

    #[test]
    fn neighbours_are_joined() {
        assert_eq!(joined([0..5, 5..9, 12..13].into_iter()), [(0, 9), (12, 13)]);
        assert_eq!(joined(std::iter::empty()), []);
    }
}
