//! A file that the kernel maps, and what its msync leaves out: write-out that begins, a name that is durable, errors that are told
//! until the data is safe, pages that are read again.

use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError, Weak};

use rustix::fs;

use super::process;
use super::table::{self, Place};
use crate::error::{Error, Result};
use crate::mapping::{Background, MappedFile, Through, run_in_background};
use crate::sys::{self, page_size};

/// The page cache keeps neighbouring pages in units of up to this size: one that straddles a range's edge goes only as a whole.
const UNIT_BYTES: u64 = 2 << 20;

/// By device, inode, and whether stores are possible.
pub(super) type Key = (u64, u64, bool);

/// One open file description that stands for all mappings of a file in this process.
#[derive(Debug)]
pub(super) struct KernelFile {
    key: Key,
    mapped: Arc<MappedFile>,
}

impl KernelFile {
    /// The file of a descriptor; `None` for what is no regular file.
    pub(super) fn of(fd: BorrowedFd<'_>) -> Option<Arc<KernelFile>> {
        let stat = fs::fstat(fd).ok()?;
        if !fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return None;
        }
        let access = fs::fcntl_getfl(fd).ok()? & fs::OFlags::RWMODE;
        let key = (stat.st_dev, stat.st_ino, access == fs::OFlags::RDWR);
        let mut files = process::here().kernel_files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = files.get(&key).and_then(Weak::upgrade) {
            return Some(known);
        }
        files.retain(|_, file| file.strong_count() > 0);
        let mapped = Arc::new(MappedFile::of_descriptor(fd, key.2)?);
        let file = Arc::new(KernelFile { key, mapped });
        files.insert(key, Arc::downgrade(&file));
        Some(file)
    }

    /// Is this the file with that device and inode?
    pub(super) fn is(&self, identity: (u64, u64)) -> bool {
        (self.key.0, self.key.1) == identity
    }

    /// A mapping of these bytes is new.
    pub(super) fn mapped(&self, bytes: Range<u64>) {
        self.mapped.widen_extent(bytes);
    }

    fn to_len(&self, bytes: Range<u64>) -> Range<u64> {
        let end = self.mapped.len().unwrap_or(bytes.end).next_multiple_of(page_size() as u64);
        bytes.start.min(end)..bytes.end.min(end)
    }

    /// Durable on return.
    pub(super) fn sync(&self, bytes: Range<u64>) -> Result<()> {
        // What is under way in the background is not waited for: this writes the same pages, waits for those that are being written, and
        // has its turn between whole slices of that (`MappedFile::sync`), which note what failed.
        let within = self.to_len(bytes);
        let synced = if within.is_empty() || !self.mapped.writable {
            self.mapped.sync(&within, Through::Descriptor)
        } else {
            run_in_background(&self.mapped, &within)
        };
        synced.map_err(|failure| {
            let error = self.mapped.error("msync", &failure);
            // The kernel counts the pages as clean, and may let go of them: dirty again, the next sync has what to write. Until that
            // has succeeded the failure stays noted.
            if let Err(why) = self.mapped.redirty_failed() {
                log::error!("{error}; and the pages could not be made dirty again: {why}");
            }
            error
        })
    }

    /// Begun on return.
    pub(super) fn start_sync(&self, bytes: Range<u64>) -> Result<()> {
        let within = self.to_len(bytes);
        match Background::submit(&self.mapped, within.clone()) {
            // Who syncs the same bytes later is told what failed.
            Ok(_) => Ok(()),
            Err(why) => {
                log::warn!("no thread to sync in the background ({why}): syncing now");
                self.sync(within)
            }
        }
    }

    /// After a sync: the next access reads the disk.
    pub(super) fn invalidate(self: &Arc<Self>, bytes: Range<u64>) -> Result<()> {
        let wide = bytes.start / UNIT_BYTES * UNIT_BYTES..bytes.end.next_multiple_of(UNIT_BYTES);
        self.sync(wide.clone())?;
        let of_file = |memory: Range<usize>, place: &Place| match place {
            Place::Kernel(file, offset) if file.is((self.key.0, self.key.1)) => {
                let here = *offset..*offset + memory.len() as u64;
                let cut = here.start.max(wide.start)..here.end.min(wide.end);
                let at = |byte: u64| memory.start + (byte - here.start) as usize;
                (cut.start < cut.end).then(|| at(cut.start)..at(cut.end))
            }
            _ => None,
        };
        for memory in table::find(of_file) {
            // Pages that somebody has in his page tables are not dropped. Of a shared mapping nothing is lost so (madvise(2)).
            if let Err(error) = sys::address::forget_pages(&memory) {
                log::debug!("pages stay mapped: {error}");
            }
        }
        let Some(len) = NonZeroU64::new(wide.end - wide.start) else { return Ok(()) };
        fs::fadvise(self.mapped.fd.as_fd(), wide.start, Some(len), fs::Advice::DontNeed)
            .map_err(|error| Error::from_io("msync", error.into()))
    }
}

impl Drop for KernelFile {
    fn drop(&mut self) {
        self.mapped.background.finish();
    }
}
