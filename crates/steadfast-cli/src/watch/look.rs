//! One look at all files: what is seen, and nothing about what was seen before.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use steadfast::residency::CachedFile;

use super::journal::{self, Journals};
use crate::failure::Failure;
use crate::memory;
use crate::screen::BAR_MAX;
use crate::select::Selection;
use crate::stat;

/// What one look saw.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Since the watch began.
    pub(super) at: Duration,
    pub(super) files: Vec<Seen>,
    /// Names that could not be looked at, and why.
    pub(super) failed: Vec<(PathBuf, Trouble)>,
    /// Of the whole machine, since it started.
    pub(super) written_pages: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    /// Device and inode.
    pub(super) identity: (u64, u64),
    pub(super) row: stat::Row,
    pub(super) journal: Option<journal::Seen>,
}

#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// No such file.
    Gone,
    Other(String),
}

/// Looks again and again.
pub(super) struct Looker {
    selection: Selection,
    named: HashSet<PathBuf>,
    start: Instant,
    journals: Journals,
}

impl Looker {
    pub(super) fn new(selection: Selection, start: Instant) -> Looker {
        let named = selection.paths().iter().cloned().collect();
        Looker { selection, named, start, journals: Journals::default() }
    }

    pub(super) fn look(&mut self) -> Result<Look, Failure> {
        let all = || (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        let selected = self.selection.ask_quietly(|file: &CachedFile| {
            let counts = file.counts(all())?;
            let parts = stat::parts(file, all(), &counts, usize::from(BAR_MAX))?;
            let row = stat::Row::new(file.path().to_owned(), file.len(), counts, parts);
            Ok(Seen { path: file.path().to_owned(), identity: file.identity(), row, journal: None })
        })?;
        let mut files: Vec<_> = selected.found.into_iter().map(|(_, file)| file).collect();
        let at = self.start.elapsed();
        // Of what was found below a folder the journals were found, too: no need to look for one beside each of very many files.
        let finds_journals = self.selection.leaves_nothing_out();
        let with_journal: HashSet<PathBuf> = if finds_journals {
            files.iter().filter_map(|file| journal::data_of(&file.path)).collect()
        } else {
            HashSet::new()
        };
        for file in &mut files {
            if finds_journals && !self.named.contains(&file.path) && !with_journal.contains(&file.path) {
                continue;
            }
            // Below folders nothing is a link.
            let is_link = self.named.contains(&file.path) && file.path.is_symlink();
            let resolved = if is_link { std::fs::canonicalize(&file.path).ok() } else { None };
            file.journal = self.journals.look(resolved.as_deref().unwrap_or(&file.path), at);
        }
        self.journals.forget_those_not_seen_at(at);
        let failed = selected.failed.into_iter().map(|(path, error)| {
            let trouble = if is_gone(&path) { Trouble::Gone } else { Trouble::Other(error) };
            (path, trouble)
        });
        Ok(Look { at, files, failed: failed.collect(), written_pages: memory::written_pages() })
    }
}

fn is_gone(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
