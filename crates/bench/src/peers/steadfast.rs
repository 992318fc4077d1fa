//! Steadfast itself: its public API only.
//!
//! # Safety
//!
//! `view` asks that nothing else writes the file: it is in a folder of the benchmark's own, or of a benchmark that says so.
#![allow(unsafe_code)]

use std::path::Path;

use steadfast::AtomicMapping;

use super::{Open, Peer, System};
use crate::Result;
use crate::data::{self, Edit};
use crate::disk::Ground;
use crate::harness::Lap;

pub(crate) const LOAD_DECLARED: System = System {
    name: "steadfast-declared",
    setup: "AtomicMapping, load; write_at for each store (declared edits), then commit().",
    atomic: Some(true),
    open: Open::With(|ground| open(ground, "steadfast-declared", Base::Load, Stores::Declared)),
};

pub(crate) const LOAD_STORES: System = System {
    name: "steadfast-stores",
    setup: "AtomicMapping, load; plain stores through &mut [u8], which commit() has to find.",
    atomic: Some(true),
    open: Open::With(|ground| open(ground, "steadfast-stores", Base::Load, Stores::Plain)),
};

pub(crate) const VIEW_DECLARED: System = System {
    name: "steadfast-view-declared",
    setup: "As steadfast-declared, with view instead of load.",
    atomic: Some(true),
    open: Open::With(|ground| open(ground, "steadfast-view-declared", Base::View, Stores::Declared)),
};

pub(crate) const VIEW_STORES: System = System {
    name: "steadfast-view-stores",
    setup: "As steadfast-stores, with view instead of load.",
    atomic: Some(true),
    open: Open::With(|ground| open(ground, "steadfast-view-stores", Base::View, Stores::Plain)),
};

/// Where clean pages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Load,
    View,
}

/// How the program changes the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stores {
    Declared,
    Plain,
}

/// Opens a file that nothing else has open: every benchmark works on files of its own.
pub(crate) fn open_map(path: &Path, base: Base) -> Result<AtomicMapping> {
    Ok(match base {
        Base::Load => AtomicMapping::options().load(path)?,
        // SAFETY: the file is the benchmark's own; nothing else has it open.
        Base::View => unsafe { AtomicMapping::options().view(path)? },
    })
}

/// Makes the stores, without a commit.
pub(crate) fn store(map: &mut AtomicMapping, stores: Stores, edits: &[Edit]) -> Result<()> {
    match stores {
        Stores::Declared => {
            for edit in edits {
                map.write_at(edit.offset, &edit.bytes())?;
            }
        }
        Stores::Plain => {
            let bytes: &mut [u8] = map;
            edits.iter().for_each(|edit| edit.store(bytes));
        }
    }
    Ok(())
}

struct Steadfast {
    map: AtomicMapping,
    stores: Stores,
}

fn open(ground: &Ground, name: &str, base: Base, stores: Stores) -> Result<Box<dyn Peer>> {
    let map = open_map(&ground.data_file(name)?, base)?;
    data::touch(&map);
    Ok(Box::new(Steadfast { map, stores }))
}

impl Peer for Steadfast {
    fn commit(&mut self, edits: &[Edit]) -> Result<Lap> {
        let map = &mut self.map;
        Lap::of(
            || {
                store(map, self.stores, edits)?;
                Ok(map)
            },
            |map| {
                map.commit()?;
                Ok(())
            },
        )
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.map.close()?)
    }
}
