//! From one memory to two images.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use super::super::committed::{self, Committed};
use super::super::tracker::Tracking;
use super::damage::committed_bytes;
use super::{HOLE_BYTES, PRIVATE, STORES, Working};
use crate::fault::{Damaged, writing};
use crate::store::Store;
use crate::sys;
use crate::sys::region::Region;

/// So much stands in memory twice while the images are split, or copied to other addresses.
pub(super) const MOVED_BYTES: usize = 4 << 20;

impl Working {
    /// Makes ready for changes to `range`, which the commit will be told of.
    pub(in crate::atomic) fn expect_edit(
        &mut self,
        store: &dyn Store,
        range: Range<usize>,
    ) -> io::Result<()> {
        if self.undo.as_ref().is_some_and(|undo| !undo.takes(range.len())) {
            self.split(store)?;
        }
        // Not `bytes`, which would borrow all of `self`; the same slice, and the same proof.
        if let Some(mut undo) = self.undo.take() {
            undo.keep(self.bytes(range.end), range);
            self.undo = Some(undo);
        }
        Ok(())
    }

    /// Makes ready for stores anywhere, which the commit has to find.
    pub(in crate::atomic) fn expect_stores(&mut self, store: &dyn Store) -> io::Result<()> {
        if self.tracking.is_some() {
            return Ok(());
        }
        self.split(store)?;
        if self.committed.is_dense(self.mapped) {
            // Before the pages are watched: then the kernel does it no more.
            self.region.put_together(0..self.mapped);
            self.region.map_pages(std::slice::from_ref(&(0..self.mapped)));
        }
        // What was edited so far was declared.
        self.tracking = Some(Tracking::begin(self.tracker, self.addresses(0..self.mapped)));
        Ok(())
    }

    /// From one memory to private copies over the committed image: what was edited and is not committed becomes such copies. On an
    /// error every byte is as it was.
    ///
    /// Pages that could not be had get their committed bytes first: zeros in their place would be taken for what was committed.
    /// They count as damaged as before, since what was stored there is lost all the same.
    pub(super) fn split(&mut self, store: &dyn Store) -> io::Result<()> {
        if self.undo.is_none() {
            return Ok(());
        }
        let memory = File::from(sys::memfd::create_uncut("steadfast")?);
        committed::lengthen(&memory, self.mapped)?;
        // Where the kernel refuses such a mapping (overcommitted memory), it is to do so before the present one is gone.
        Region::reserve(self.mapped)?.place_file(0..self.mapped, memory.as_fd(), 0, STORES, PRIVATE)?;
        let lost = self.committed_of_damaged(store)?;

        let Some(undo) = self.undo.take() else { return Ok(()) };
        let edited: Vec<(usize, Vec<u8>)> =
            undo.ranges().map(|range| (range.start, self.bytes(self.mapped)[range].to_vec())).collect();
        undo.apply(self.bytes_mut(self.mapped));
        for (start, bytes) in lost {
            self.bytes_mut(self.mapped)[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        let damaged = self.region.forget_damaged(&(0..self.mapped));
        let moved = self.move_into(&memory);
        for (start, bytes) in edited {
            self.bytes_mut(self.mapped)[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        self.region.note_damaged(&damaged);
        match moved {
            Ok(()) => self.committed = Committed::in_memory(memory),
            // Some of it is anonymous and some lies over a file that nobody changes: still one memory.
            Err(_) => {
                self.undo = Some(undo);
                self.region.forget_descriptor();
            }
        }
        moved
    }

    /// Where pages are damaged, and what was committed there: zeros behind its end.
    fn committed_of_damaged(&self, store: &dyn Store) -> io::Result<Vec<(usize, Vec<u8>)>> {
        let mut found = Vec::new();
        for Damaged { bytes, .. } in self.region.damaged() {
            let bytes = bytes.start..bytes.end.min(self.mapped).max(bytes.start);
            let committed = committed_bytes(store, bytes.clone()).map_err(io::Error::other)?;
            found.push((bytes.start, committed));
        }
        Ok(found)
    }

    /// Moves all bytes into a file, piece by piece, and maps that instead.
    fn move_into(&mut self, memory: &File) -> io::Result<()> {
        let mut at = 0;
        while at < self.mapped {
            let end = self.mapped.min(at + MOVED_BYTES);
            for (index, piece) in self.bytes(end)[at..].chunks(HOLE_BYTES).enumerate() {
                if piece.iter().any(|&byte| byte != 0) {
                    writing(|| memory.write_all_at(piece, (at + index * HOLE_BYTES) as u64))?;
                }
            }
            if self.region.first_damaged(&(at..end)).is_some() {
                // Lost just now: what went into the file are zeros.
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            self.region.place_file(at..end, memory.as_fd(), at as u64, STORES, PRIVATE)?;
            at = end;
        }
        Ok(())
    }
}
