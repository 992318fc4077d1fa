//! The limits: bare appends and flushes into space that was written before, so that no flush carries metadata.
//!
//! # Safety
//!
//! This file is trusted with one allocation, aligned for `O_DIRECT`.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::File;
use std::io::IoSlice;
use std::ops::Deref;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::ptr::NonNull;

use rustix::fs::{OFlags, fdatasync};
use rustix::io::{ReadWriteFlags, pwritev2};

use super::{Open, Peer, System};
use crate::Result;
use crate::data::{self, Edit, PAGE_BYTES};
use crate::disk::Ground;
use crate::harness::Lap;

/// The least room of an append file; it wraps around at its end.
const ROOM_BYTES: usize = 64 << 20;

pub(crate) const LIMIT_BUFFERED: System = System {
    name: "limit-buffered",
    setup: "pwrite of 4 KiB and fdatasync into preallocated space that was written before; the pages do not matter.",
    atomic: None,
    open: Open::With(|ground| Append::open(ground, "limit-buffered", Way::Buffered, Amount::OnePage)),
};

pub(crate) const LIMIT_DIRECT: System = System {
    name: "limit-direct",
    setup: "The same 4 KiB as one pwritev2 with RWF_DSYNC on a descriptor with O_DIRECT.",
    atomic: None,
    open: Open::With(|ground| Append::open(ground, "limit-direct", Way::Direct, Amount::OnePage)),
};

pub(crate) const FULL_PAGES_BUFFERED: System = System {
    name: "full-pages-buffered",
    setup: "pwrite of the full images of all changed pages and fdatasync, into space that was written before.",
    atomic: None,
    open: Open::With(|ground| Append::open(ground, "full-pages-buffered", Way::Buffered, Amount::EveryPage)),
};

pub(crate) const FULL_PAGES_DIRECT: System = System {
    name: "full-pages-direct",
    setup: "The same full images as one pwritev2 with RWF_DSYNC on a descriptor with O_DIRECT.",
    atomic: None,
    open: Open::With(|ground| Append::open(ground, "full-pages-direct", Way::Direct, Amount::EveryPage)),
};

enum Way {
    Buffered,
    Direct,
}

#[derive(Clone, Copy)]
enum Amount {
    OnePage,
    EveryPage,
}

struct Append {
    file: File,
    way: Way,
    amount: Amount,
    images: AlignedBytes,
    room: usize,
    end: usize,
}

impl Append {
    fn open(ground: &Ground, name: &str, way: Way, amount: Amount) -> Result<Box<dyn Peer>> {
        let path = ground.path(name);
        let images = match amount {
            Amount::OnePage => PAGE_BYTES,
            Amount::EveryPage => ground.pages_max.max(1) * PAGE_BYTES,
        };
        let room = ROOM_BYTES.max(2 * images);
        data::write_file(&path, room)?;
        let mut options = File::options();
        options.read(true).write(true);
        if let Way::Direct = way {
            options.custom_flags(OFlags::DIRECT.bits().cast_signed());
        }
        let file = options.open(&path)?;
        Ok(Box::new(Append { file, way, amount, images: AlignedBytes::zeroed(images), room, end: 0 }))
    }
}

impl Peer for Append {
    fn commit(&mut self, edits: &[Edit]) -> Result<Lap> {
        let count = match self.amount {
            Amount::OnePage => PAGE_BYTES,
            Amount::EveryPage => edits.len() * PAGE_BYTES,
        };
        if self.end + count > self.room {
            self.end = 0;
        }
        let at = self.end as u64;
        self.end += count;
        let images = &self.images[..count];
        // There is nothing to store: the images stand ready, and the limit is the write alone.
        Lap::of(
            || Ok(()),
            |()| match self.way {
                Way::Buffered => {
                    self.file.write_all_at(images, at)?;
                    Ok(fdatasync(&self.file)?)
                }
                Way::Direct => {
                    let mut written = 0;
                    while written < count {
                        let rest = [IoSlice::new(&images[written..])];
                        written += pwritev2(&self.file, &rest, at + written as u64, ReadWriteFlags::DSYNC)?;
                    }
                    Ok(())
                }
            },
        )
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Zeros, aligned to a page.
struct AlignedBytes {
    start: NonNull<u8>,
    layout: Layout,
}

impl AlignedBytes {
    /// `len` is not 0.
    fn zeroed(len: usize) -> AlignedBytes {
        assert_ne!(len, 0);
        let layout = Layout::from_size_align(len, PAGE_BYTES).expect("far below the address space");
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        AlignedBytes { start, layout }
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the allocation is of this size, initialised, and never written.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and no slice of it outlives `self`.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
