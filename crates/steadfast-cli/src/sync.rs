//! `steadfast sync`: make what others wrote to files durable.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use steadfast::residency::sync_folder;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{self, Out, counted};
use crate::select::Selection;
use crate::size::ByteRange;

mod pool;

use pool::{Done, Pool};

/// Make files durable: bytes, sizes and names
///
/// When this returns with exit code 0, bytes, size and name of every file survive a power cut, whoever wrote them. Of folders that is
/// everything below them, the folders themselves included. (It cannot make several changes atomic: that is what `apply` is for.)
///
/// No right to write is needed: what may be read can be synced. With --range, of files that may not be written all is synced, since Linux
/// knows no way to sync a part of those. A folder that may not be read cannot be synced by itself; then its whole file system is, so that
/// the names in it are durable.
///
/// Write-out of many files is started before the first is waited for, and eight are waited for at once (--threads). A file that fails is
/// named, and the others are synced all the same; then the exit code is 1. After Ctrl-C it says what is durable. Says nothing when all is
/// well, unless --json is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Only these bytes of each file: A..B, A.. or ..B, with suffixes such as 64K or 1GiB. Default: all.
    #[arg(long, value_name = "A..B", value_parser = ByteRange::parse)]
    range: Option<ByteRange>,
    /// Print the answer as JSON (docs/json.md). Default: nothing.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Answer {
    schema: u32,
    /// Those that are durable.
    files: u64,
    failed_files: u64,
    /// Those in which names are durable.
    folders: u64,
    failed_folders: u64,
    /// What waited to be written when it began.
    dirty_bytes: u64,
    /// Files of which nobody can tell that.
    dirty_unknown_files: u64,
    interrupted: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    let selection = args.selection.listed()?;
    // A list may be empty.
    if selection.is_empty() && !args.selection.is_empty() {
        return tell(&Answer { schema: 1, ..Answer::default() }, 0, args.json);
    }
    let range = args.range.unwrap_or(ByteRange::ALL).in_file();
    let folders = Mutex::new(Vec::new());
    let selected = selection.ask_and_tell_folders(
        |file| if interrupt.is_asked() { Ok(None) } else { file.counts(range).map(Some) },
        &|folder| folders.lock().unwrap_or_else(PoisonError::into_inner).push(folder.to_owned()),
    )?;
    let folders = folders.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut answer = Answer { schema: 1, failed_files: selected.failed.len() as u64, ..Answer::default() };
    let mut files = Vec::new();
    for (path, counts) in selected.found {
        let Some(counts) = counts else { continue };
        match (counts.dirty, counts.write_back) {
            (Some(dirty), Some(writing)) => {
                answer.dirty_bytes += (dirty + writing) * crate::stat::page_bytes()
            }
            _ => answer.dirty_unknown_files += 1,
        }
        files.push(path);
    }

    let threads = selection.threads().unwrap_or(pool::THREADS);
    let Done { durable, failed } = Pool { files: &files, range, threads }.run(&interrupt);
    let named: HashSet<&Path> = selection.paths().iter().map(PathBuf::as_path).collect();
    for (number, error) in failed {
        let is_gone = error.kind() == steadfast::ErrorKind::NotFound && may_vanish(&files[number], &named);
        if !is_gone {
            output::complain(&error.to_string());
            answer.failed_files += 1;
        }
    }
    answer.files = durable.len() as u64;
    // From here on it goes to the end: what is said to be durable is found again, too.
    answer.interrupted = interrupt.is_asked();
    let mut names = Names::default();
    for path in durable.iter().map(|&number| &files[number]) {
        names.add_name_of(path, named.contains(path.as_path()));
    }
    if !answer.interrupted {
        for folder in folders {
            names.add_name_of(&folder, named.contains(folder.as_path()));
            names.add(&folder, None);
        }
    }
    for (folder, inside) in names.0 {
        match sync_folder(&folder, inside.as_deref()) {
            Ok(()) => answer.folders += 1,
            // Removed meanwhile, with all that was in it.
            Err(error) if error.kind() == steadfast::ErrorKind::NotFound => {}
            Err(error) => {
                output::complain(&error.to_string());
                answer.failed_folders += 1;
            }
        }
    }
    tell(&answer, files.len() as u64, args.json)
}

fn tell(answer: &Answer, wanted: u64, json: bool) -> Result<(), Failure> {
    let mut out = Out::open();
    if json {
        out.json(answer)?;
    } else if answer.interrupted {
        out.line(format!("durable: {} of {} that were found", answer.files, counted(wanted, "file")))?;
    }
    out.flush()?;
    if answer.interrupted {
        return Err(Failure::Code(130, "interrupted: other files were not waited for".to_owned()));
    }
    if answer.failed_files + answer.failed_folders > 0 { Err(Failure::No) } else { Ok(()) }
}

/// Files below folders come and go, and what a process has open may have no name; what is named must be there.
fn may_vanish(path: &Path, named: &HashSet<&Path>) -> bool {
    let is_below = path.ancestors().skip(1).any(|above| named.contains(above));
    !named.contains(path) && (is_below || path.as_os_str().as_encoded_bytes().ends_with(b" (deleted)"))
}

/// Folders whose names are to be durable, resolved, each once, with something that lies in it.
#[derive(Debug, Default)]
struct Names(BTreeMap<PathBuf, Option<PathBuf>>);

impl Names {
    /// The folder in which a file or folder has its name; of a link that was named, also that of what it leads to.
    fn add_name_of(&mut self, path: &Path, may_be_link: bool) {
        // What ends in `..` has its name elsewhere.
        if path.file_name().is_some() {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            self.add(above.unwrap_or(Path::new(".")), Some(path));
        }
        if may_be_link
            && let Ok(resolved) = path.canonicalize()
            && let Some(above) = resolved.parent()
        {
            self.add(above, Some(&resolved));
        }
    }

    fn add(&mut self, folder: &Path, inside: Option<&Path>) {
        if self.0.contains_key(folder) {
            return;
        }
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let known = self.0.entry(folder).or_default();
        if known.is_none() {
            *known = inside.map(Path::to_owned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_named_itself_may_vanish() {
        let named: HashSet<&Path> = ["d", "f", "x (deleted)"].map(Path::new).into();
        for (path, may) in [
            ("d/deep/er", true),
            ("f", false),
            ("x (deleted)", false),
            ("/srv/other", false),
            ("/srv/other (deleted)", true),
        ] {
            assert_eq!(may_vanish(Path::new(path), &named), may, "{path}");
        }
    }
}
