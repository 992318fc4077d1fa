//! Maps of a file that are flushed, or replaced, as a whole.
//!
//! # Safety
//!
//! `memmap2` asks that nothing else changes the file under its map: it is in a folder of the benchmark's own.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use super::{Open, Peer, System};
use crate::Result;
use crate::data::{self, Edit};
use crate::disk::drop_from_cache;
use crate::harness::Lap;
use crate::shared_map::SharedMap;

pub(crate) const MSYNC: System = System {
    name: "msync",
    setup: "Stores to a MAP_SHARED mapping, then one msync(MS_SYNC) over all of it. Not atomic.",
    atomic: Some(false),
    open: Open::With(|ground| {
        let map = SharedMap::open(&ground.data_file("msync")?)?;
        data::touch(map.bytes());
        Ok(Box::new(map))
    }),
};

pub(crate) const MEMMAP2: System = System {
    name: "memmap2",
    setup: "Stores to an MmapMut, then one flush() of it. Not atomic.",
    atomic: Some(false),
    open: Open::With(|ground| {
        let map = open_memmap2(&ground.data_file("memmap2")?)?;
        data::touch(&map);
        Ok(Box::new(Memmap2(map)))
    }),
};

/// A file in the page cache lies there in folios as large as its reads and writes were, and the kernel marks dirty, and writes back, whole
/// folios. This is the map at its best: every folio is one page.
pub(crate) const MEMMAP2_RANDOM: System = System {
    name: "memmap2-random",
    setup: "As memmap2, over a file that was not in the page cache, with advise(Random) before the first access: pages come one by one, \
            and what is written back is single pages instead of the large folios that ordinary reads and writes leave. Not atomic.",
    atomic: Some(false),
    open: Open::With(|ground| {
        let path = ground.data_file("memmap2-random")?;
        drop_from_cache(&path)?;
        let map = open_memmap2(&path)?;
        map.advise(memmap2::Advice::Random)?;
        data::touch(&map);
        Ok(Box::new(Memmap2(map)))
    }),
};

pub(crate) const MMAP_IO: System = System {
    name: "mmap-io",
    setup: "Stores through one as_slice_mut of the whole map, then one flush(), as its documentation advises for batches; \
            no flush policy. Not atomic.",
    atomic: Some(false),
    open: Open::With(|ground| {
        let map = mmap_io::MemoryMappedFile::open_rw(ground.data_file("mmap-io")?)?;
        map.touch_pages()?;
        Ok(Box::new(MmapIo(map)))
    }),
};

pub(crate) const MMAP_SNAPSHOT: System = System {
    name: "mmap-snapshot",
    setup: "Stores to an MmapMut, then commit(). It clones the file where the file system can (XFS, btrfs) and copies all of it \
            where not (ext4). Atomic for readers; the clone or copy itself is not flushed before it returns.",
    atomic: Some(true),
    open: Open::With(|ground| {
        let map = mmap_snapshot::MmapMut::open(ground.data_file("mmap-snapshot")?)?;
        data::touch(&map);
        Ok(Box::new(MmapSnapshot(map)))
    }),
};

pub(crate) const TMFALLOC: System = System {
    name: "tmfalloc",
    setup: "Not measured.",
    atomic: Some(true),
    open: Open::Never(
        "tmfalloc 1.0.1, its newest version, needs unstable features (allocator_api, btree_cursors) and no longer compiles \
         with them either: Layout::padding_needed_for takes another type since",
    ),
};

impl Peer for SharedMap {
    fn commit(&mut self, edits: &[Edit]) -> Result<Lap> {
        Lap::of(
            || {
                let bytes = self.bytes_mut();
                edits.iter().for_each(|edit| edit.store(bytes));
                Ok(&*self)
            },
            SharedMap::sync,
        )
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}

struct Memmap2(memmap2::MmapMut);

fn open_memmap2(path: &Path) -> Result<memmap2::MmapMut> {
    let file = File::options().read(true).write(true).open(path)?;
    // SAFETY: the file is in a folder of our own; nothing else writes or truncates it.
    Ok(unsafe { memmap2::MmapMut::map_mut(&file)? })
}

impl Peer for Memmap2 {
    fn commit(&mut self, edits: &[Edit]) -> Result<Lap> {
        Lap::of(
            || {
                edits.iter().for_each(|edit| edit.store(&mut self.0));
                Ok(&self.0)
            },
            |map| Ok(map.flush()?),
        )
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.flush()?)
    }
}

struct MmapIo(mmap_io::MemoryMappedFile);

impl Peer for MmapIo {
    fn commit(&mut self, edits: &[Edit]) -> Result<Lap> {
        Lap::of(
            || {
                let mut slice = self.0.as_slice_mut(0, self.0.len())?;
                edits.iter().for_each(|edit| edit.store(&mut slice));
                Ok(())
            },
            |()| Ok(self.0.flush()?),
        )
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.flush()?)
    }
}

struct MmapSnapshot(mmap_snapshot::MmapMut);

impl Peer for MmapSnapshot {
    fn commit(&mut self, edits: &[Edit]) -> Result<Lap> {
        let map = &mut self.0;
        Lap::of(
            || {
                edits.iter().for_each(|edit| edit.store(&mut *map));
                Ok(map)
            },
            |map| Ok(map.commit()?),
        )
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.commit_and_close()?)
    }
}
