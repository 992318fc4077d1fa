//! The systems: each in a file of its own, all behind one trait.

mod append;
mod lmdb;
mod mapped;
mod redb;
mod sqlite;
pub(crate) mod steadfast;

use crate::Result;
use crate::data::Edit;
use crate::disk::Ground;
use crate::harness::{Entry, Lap};

/// A store that makes changes durable.
pub(crate) trait Peer {
    /// Makes these stores and commits them: durable on return.
    fn commit(&mut self, edits: &[Edit]) -> Result<Lap>;

    /// Whatever the system must still do before its files hold everything: checkpoint, close.
    fn close(self: Box<Self>) -> Result<()>;
}

/// What there is to know about a system before it is opened.
pub(crate) struct System {
    pub(crate) name: &'static str,
    /// How it is set up, in a sentence or two.
    pub(crate) setup: &'static str,
    /// Whether a crash leaves all of a commit or none of it; `None` for the limits, which have no commits.
    pub(crate) atomic: Option<bool>,
    pub(crate) open: Open,
}

/// How it is opened, or why it cannot be.
pub(crate) enum Open {
    With(fn(&Ground) -> Result<Box<dyn Peer>>),
    Never(&'static str),
}

/// All of them, in the order of the tables.
pub(crate) const SYSTEMS: &[System] = &[
    append::LIMIT_BUFFERED,
    append::LIMIT_DIRECT,
    append::FULL_PAGES_BUFFERED,
    append::FULL_PAGES_DIRECT,
    steadfast::LOAD_DECLARED,
    steadfast::LOAD_STORES,
    steadfast::VIEW_DECLARED,
    steadfast::VIEW_STORES,
    mapped::MSYNC,
    mapped::MEMMAP2,
    mapped::MEMMAP2_RANDOM,
    mapped::MMAP_IO,
    mapped::MMAP_SNAPSHOT,
    mapped::TMFALLOC,
    lmdb::LMDB,
    lmdb::LMDB_WRITEMAP,
    redb::REDB,
    sqlite::SQLITE_WAL,
];

/// The systems of these names, in the tables' order; all of them if none is named.
pub(crate) fn select(names: &[String]) -> Result<Vec<&'static System>> {
    if let Some(unknown) = names.iter().find(|name| SYSTEMS.iter().all(|system| system.name != **name)) {
        let known: Vec<&str> = SYSTEMS.iter().map(|system| system.name).collect();
        return Err(format!("no system is called {unknown}; there are: {}", known.join(", ")).into());
    }
    let wanted = |system: &&System| names.is_empty() || names.iter().any(|name| name == system.name);
    Ok(SYSTEMS.iter().filter(wanted).collect())
}

/// The sentences that say how each is set up.
pub(crate) fn setups(systems: &[&System]) -> Vec<String> {
    let mut lines = vec!["How each is set up:".to_owned()];
    lines.extend(systems.iter().map(|system| format!("  {}: {}", system.name, system.setup)));
    lines
}

/// An open system, or why it could not be opened.
pub(crate) fn open(system: &System, ground: &Ground) -> Result<Entry, String> {
    match system.open {
        Open::With(open) => {
            let peer = open(ground).map_err(|error| ground.without_place(&error.to_string()))?;
            Ok(Entry::new(system.name, peer))
        }
        Open::Never(reason) => Err(reason.to_owned()),
    }
}
