//! How the working image comes to be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::super::behind::Behind;
use super::super::committed::{self, Committed};
use super::super::tracker::Tracker;
use super::super::undo::Undo;
use super::{HOLE_BYTES, PRIVATE, STORES, Working, pages};
use crate::error::{Error, Result};
use crate::fault::writing;
use crate::range::PageSet;
use crate::store::Store;
use crate::sys;
use crate::sys::region::{Region, RegionOptions};

const FILL_BYTES: usize = 1 << 20;

/// Does most of the store's last commit have blocks?
fn is_dense(store: &dyn Store) -> bool {
    let stat = store.page_cache().and_then(|fd| rustix::fs::fstat(fd).ok());
    stat.is_some_and(|stat| stat.st_blocks as u64 * 512 > store.committed_len() / 5 * 4)
}

/// Reads the last commit, and hands the pieces of it out that are not zeros.
fn fill(store: &dyn Store, put: &mut dyn FnMut(&[u8], usize) -> Result<()>) -> Result<()> {
    let len = store.committed_len() as usize;
    let mut chunk = vec![0; FILL_BYTES.min(len)];
    let mut at = 0;
    while at < len {
        let count = FILL_BYTES.min(len - at);
        store.read_committed(&mut chunk[..count], at as u64)?;
        for (index, piece) in chunk[..count].chunks(HOLE_BYTES).enumerate() {
            if piece.iter().any(|&byte| byte != 0) {
                put(piece, at + index * HOLE_BYTES)?;
            }
        }
        at += count;
    }
    Ok(())
}

impl Working {
    /// The whole of the store's last commit in private memory, which is split at once if `split`.
    pub(in crate::atomic) fn load(
        store: &dyn Store,
        reserve: usize,
        options: RegionOptions,
        tracker: Tracker,
        split: bool,
    ) -> Result<Working> {
        let failed = |error: io::Error| {
            Error::from_io("load", error)
                .path(store.path())
                .advice("`load` needs as much memory as the file has data; `view` needs only what is changed")
        };
        let len = store.committed_len() as usize;
        // Sooner or later the image is a file in memory, and subject to the limit on file sizes.
        sys::check_file_size(pages(len).map_err(failed)? as u64).map_err(|error| failed(error.into()))?;
        // Addresses first: where there are not enough of them, nothing need be read.
        let region = Region::reserve_as(pages(len).map_err(failed)?.max(reserve), options).map_err(failed)?;
        let committed = if split {
            let memory =
                File::from(sys::memfd::create_uncut("steadfast").map_err(|error| failed(error.into()))?);
            committed::lengthen(&memory, pages(len).map_err(failed)?).map_err(failed)?;
            fill(store, &mut |piece, at| writing(|| memory.write_all_at(piece, at as u64)).map_err(failed))?;
            Committed::in_memory(memory)
        } else {
            Committed::in_working_image()
        };
        let mut working = Working::begin(committed, store, len, region, tracker).map_err(failed)?;
        if working.is_one_memory() {
            let bytes = working.bytes_mut(len);
            if is_dense(store) {
                store.read_committed(bytes, 0)?;
            } else {
                fill(store, &mut |piece, at| {
                    bytes[at..at + piece.len()].copy_from_slice(piece);
                    Ok(())
                })?;
            }
        }
        Ok(working)
    }

    /// The page cache of the store's file, which holds its last commit.
    pub(in crate::atomic) fn view(
        store: &dyn Store,
        reserve: usize,
        options: RegionOptions,
        tracker: Tracker,
    ) -> Result<Working> {
        let failed = |error| Error::from_io("view", error).path(store.path());
        let len = store.committed_len() as usize;
        let begin = || {
            let region = Region::reserve_as(pages(len)?.max(reserve), options)?;
            Working::begin(Committed::in_page_cache(), store, len, region, tracker)
        };
        begin().map_err(failed)
    }

    pub(super) fn begin(
        committed: Committed,
        store: &dyn Store,
        len: usize,
        region: Region,
        tracker: Tracker,
    ) -> io::Result<Working> {
        let is_one_memory = committed.memory().is_none() && !committed.is_page_cache();
        let mapped = pages(len)?;
        let mut working = Working {
            region,
            committed,
            mapped: 0,
            anonymous_from: 0,
            undo: is_one_memory.then(Undo::default),
            tracker,
            tracking: None,
            changed: Vec::new(),
            copies: PageSet::default(),
            behind: Behind::default(),
            commits: 0,
        };
        if is_one_memory {
            working.region.place_anonymous(0..mapped, STORES, PRIVATE)?;
            if is_dense(store) {
                working.region.allow_huge_pages(0..mapped);
            } else {
                // A huge page for some bytes would be memory for what the file does not have.
                working.region.refuse_huge_pages(0..mapped);
            }
        } else {
            working.place_committed(store, 0..mapped)?;
        }
        working.mapped = mapped;
        working.anonymous_from = mapped;
        Ok(working)
    }
}
