//! What is measured: one kind a row, with its name for programs, its name for people, and a sentence.

use serde::Serialize;

use crate::size;

/// How many scattered pages are changed and made durable at once.
pub(super) const PAGES: [u64; 3] = [1, 16, 256];

/// What stands together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    /// Making changes durable.
    Durable,
    /// Opening.
    Open,
    /// Reading.
    Read,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Append,
    AppendDirect,
    Sync(u64),
    Plain(u64),
    Declared(u64),
    OpenView,
    OpenLoad,
    SequentialCold,
    SequentialWarm,
    RandomCold,
    RandomWarm,
}

/// A random read.
pub(super) const RANDOM_BYTES: u64 = 4096;

impl Kind {
    /// All of them, in the order of the tables.
    pub(super) fn all() -> Vec<Kind> {
        let mut all = vec![Kind::Append, Kind::AppendDirect];
        all.extend(
            PAGES
                .into_iter()
                .flat_map(|pages| [Kind::Sync(pages), Kind::Plain(pages), Kind::Declared(pages)]),
        );
        all.extend([Kind::OpenView, Kind::OpenLoad]);
        all.extend([Kind::SequentialCold, Kind::SequentialWarm, Kind::RandomCold, Kind::RandomWarm]);
        all
    }

    pub(super) fn group(self) -> Group {
        match self {
            Kind::Append | Kind::AppendDirect | Kind::Sync(_) | Kind::Plain(_) | Kind::Declared(_) => {
                Group::Durable
            }
            Kind::OpenView | Kind::OpenLoad => Group::Open,
            Kind::SequentialCold | Kind::SequentialWarm | Kind::RandomCold | Kind::RandomWarm => Group::Read,
        }
    }

    /// For programs.
    pub(super) fn id(self) -> &'static str {
        match self {
            Kind::Append => "append",
            Kind::AppendDirect => "append-direct",
            Kind::Sync(_) => "msync",
            Kind::Plain(_) => "commit-plain",
            Kind::Declared(_) => "commit-declared",
            Kind::OpenView => "open-view",
            Kind::OpenLoad => "open-load",
            Kind::SequentialCold => "read-sequential-cold",
            Kind::SequentialWarm => "read-sequential-warm",
            Kind::RandomCold => "read-random-cold",
            Kind::RandomWarm => "read-random-warm",
        }
    }

    pub(super) fn pages(self) -> Option<u64> {
        match self {
            Kind::Sync(pages) | Kind::Plain(pages) | Kind::Declared(pages) => Some(pages),
            _ => None,
        }
    }

    /// Bytes that one operation reads, of files of this size.
    pub(super) fn read_bytes(self, file_bytes: u64) -> Option<u64> {
        match self {
            Kind::SequentialCold | Kind::SequentialWarm => Some(file_bytes),
            Kind::RandomCold | Kind::RandomWarm => Some(RANDOM_BYTES),
            _ => None,
        }
    }

    /// For people, in less than 40 characters.
    pub(super) fn label(self, file_bytes: u64) -> String {
        let counted = |pages| crate::output::counted(pages, "page");
        match self {
            Kind::Append => "append of 4 KiB, fdatasync".to_owned(),
            Kind::AppendDirect => "append of 4 KiB, direct".to_owned(),
            Kind::Sync(pages) => format!("msync, {}", counted(pages)),
            Kind::Plain(pages) => format!("commit of plain stores, {}", counted(pages)),
            Kind::Declared(pages) => format!("commit of declared edits, {}", counted(pages)),
            Kind::OpenView => "open an atomic map (view)".to_owned(),
            Kind::OpenLoad => "open an atomic map (load)".to_owned(),
            Kind::SequentialCold => format!("{} in order, cold", size::show(file_bytes)),
            Kind::SequentialWarm => format!("{} in order, warm", size::show(file_bytes)),
            Kind::RandomCold => "4 KiB at random, cold".to_owned(),
            Kind::RandomWarm => "4 KiB at random, warm".to_owned(),
        }
    }

    /// What it means.
    pub(super) fn sentence(self) -> String {
        let places = |pages| match pages {
            1 => "one page".to_owned(),
            _ => format!("each of {pages} scattered pages"),
        };
        match self {
            Kind::Append => "4 KiB are written to space that was written before, then flushed with fdatasync(2). The faster of the two \
                             appends is the limit, the least that any durable change costs here; other rows are compared with it."
                .to_owned(),
            Kind::AppendDirect => "The same past the page cache, durable by the one call that writes (O_DIRECT and RWF_DSYNC): the way \
                                   that a commit takes where the file system allows it."
                .to_owned(),
            Kind::Sync(pages) => format!(
                "8 bytes are stored in {} of a shared mapping, then msync (Mapping::sync). Durable on return, not atomic: a crash on the \
                 way may leave any mix of old and new pages. The kernel writes back whole units of its cache, up to megabytes where a \
                 file was read or written in large pieces, as here; where its units are single pages, msync is faster.",
                places(pages)
            ),
            Kind::Plain(pages) => format!(
                "The same stores into {} of an atomic map (AtomicMapping), then commit: durable, and all or nothing through any crash. The \
                 commit finds out by itself what changed.",
                places(pages)
            ),
            Kind::Declared(pages) => format!(
                "The same, but each change to {} is declared as it is made (write_at), so the commit has nothing to look for. Durable, and \
                 all or nothing.",
                places(pages)
            ),
            Kind::OpenView => "An atomic map is opened over the page cache (view), whatever the size of the file; most of it is the \
                               journal that is made, and made durable."
                .to_owned(),
            Kind::OpenLoad => "An atomic map is opened by reading the whole file into private memory (load), from a warm cache.".to_owned(),
            Kind::SequentialCold => "The whole file is read in order through a mapping, after every page of it was evicted from this \
                                     machine's memory. What a device or a host below keeps in caches of its own is not evicted."
                .to_owned(),
            Kind::SequentialWarm => "The same once more, with every page in memory.".to_owned(),
            Kind::RandomCold => "One page-sized read at a random place of a mapping after the eviction, with advice that accesses are \
                                 random, so that nothing is read ahead: one wait for the device each."
                .to_owned(),
            Kind::RandomWarm => "The same with every page in memory: the mean of batches of 64.".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_that_fits_and_a_sentence() {
        let all = Kind::all();
        let mut labels: Vec<String> = all.iter().map(|kind| kind.label(1023 << 30)).collect();
        let mut ids: Vec<_> = all.iter().map(|kind| (kind.id(), kind.pages())).collect();
        assert!(labels.iter().all(|label| label.chars().count() < 40), "{labels:?}");
        assert!(all.iter().all(|kind| kind.sentence().ends_with('.')));
        labels.sort();
        labels.dedup();
        ids.sort();
        ids.dedup();
        assert_eq!((labels.len(), ids.len()), (all.len(), all.len()));
    }
}
