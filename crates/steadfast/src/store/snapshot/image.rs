//! The bytes of one commit, in a file in memory that belongs to this process alone.
//!
//! They are made as `docs/format.md` says it: the data file as far as the anchor vouches for it, then the records one by one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::SealFlags;

use crate::disk::DiskFile;
use crate::journal::{Scan, extents_of};
use crate::knockout::step;
use crate::sys;

/// Read at once; one that holds nothing but zeros stays a hole.
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Image {
    memory: File,
    len: u64,
}

impl Image {
    /// The data file as it stands, which may be in the middle of a checkpoint.
    pub(super) fn of_file(data: &dyn DiskFile, len: u64) -> io::Result<Image> {
        let mut image = Image { memory: sys::memfd::create("steadfast")?.into(), len: 0 };
        image.resize(len)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < len {
            let want = CHUNK_BYTES.min(usize::try_from(len - at).unwrap_or(CHUNK_BYTES));
            let count = data.read_at(&mut chunk[..want], at)?;
            if chunk[..count].iter().any(|&byte| byte != 0) {
                image.memory.write_all_at(&chunk[..count], at)?;
            }
            // Short where a checkpoint has cut the file meanwhile: zeros follow.
            at += want as u64;
        }
        Ok(image)
    }

    /// From the data file to the last commit of a chain. An error of kind `InvalidData` says that a record is not, or not any more,
    /// what was found.
    pub(super) fn lay(&mut self, scan: &Scan, journal: &dyn DiskFile) -> io::Result<()> {
        // What lies behind is no commit's: a stopped checkpoint left it, or one under way.
        let vouched_for = scan.anchor.data_len.get();
        step!("snapshot: as far as the anchor vouches for the file", self.resize(vouched_for))?;
        for record in &scan.records {
            let body = record.placed.read_body(journal)?;
            let header = &record.placed.header;
            let (extents, payload_at) = extents_of(header, &body);
            step!("snapshot: what a record cut off reads as zeros", self.cut(header.len_min.get()))?;
            self.resize(header.len.get())?;
            let mut bytes = &body[payload_at..];
            // Within the length, and as many bytes as they say: checked with the body.
            for extent in extents {
                let (these, rest) = bytes.split_at(extent.len as usize);
                self.memory.write_all_at(these, extent.offset)?;
                bytes = rest;
            }
        }
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.resize(self.len.min(len))
    }

    fn resize(&mut self, len: u64) -> io::Result<()> {
        if len != self.len {
            sys::check_file_size(len)?;
            // no switch: memory
            self.memory.set_len(len)?;
            self.len = len;
        }
        Ok(())
    }

    /// From here on nobody changes it, not even this process.
    pub(super) fn seal(&self) {
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        if let Err(error) = rustix::fs::fcntl_add_seals(&self.memory, seals) {
            // Kernels before 6.3: the file has no name and no other descriptor.
            log::debug!("the image is not sealed: {error}");
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.memory.read_exact_at(buf, offset)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}
