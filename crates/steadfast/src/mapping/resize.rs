//! Changing the length of a mapping, and of its file with it.

use rustix::fs;
use rustix::mm::MprotectFlags;

use super::growth::Growth;
use super::options::end_in_file;
use super::place::Placed;
use super::{Kind, Mapping, Protection};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::pagemap::Pagemap;

const OPERATION: &str = "resize";

impl Mapping {
    /// Makes the mapping `len` bytes long.
    ///
    /// **Growing** past the end of the file makes the file longer, with blocks allocated at once unless the mapping was opened
    /// `sparse`; new bytes are zeros. A private mapping or one for reading can only grow as far as the file reaches.
    /// **Shrinking** cuts the file too, if the mapping is shared and writable and reaches to the file's end; otherwise only
    /// the mapping becomes shorter.
    ///
    /// Within the reservation ([`reserve`](super::MappingOptions::reserve)) every address stays; beyond, the mapping moves.
    /// What a private mapping stored is kept, and so are the protections of pages; advice and locks are lost by a move, and
    /// new pages have the protection that the mapping was opened with.
    ///
    /// The file's new length is durable after the next [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// [`NoSpace`](ErrorKind::NoSpace), [`OutOfRange`](ErrorKind::OutOfRange) (the file is too short and not ours to change),
    /// [`Truncated`](ErrorKind::Truncated) and [`Io`](ErrorKind::Io) (growing a damaged mapping, see [`check`](Self::check)),
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) (no addresses or memory), [`InvalidInput`](ErrorKind::InvalidInput) (longer
    /// than files can be), [`Forked`](ErrorKind::Forked). After an error nothing has changed.
    ///
    /// See [`Mapping`] for an example.
    pub fn resize(&mut self, len: usize) -> Result<()> {
        self.refuse_in_child(OPERATION)?;
        let result = if len > self.len() { self.enlarge(len) } else { self.shorten(len) };
        result.map_err(|error| self.with_path(error))
    }

    fn enlarge(&mut self, len: usize) -> Result<()> {
        // A move would take the zeros for what stood there.
        self.refuse_damaged(OPERATION, &(0..self.len()))?;
        let end = end_in_file(OPERATION, self.placed.offset(), len)?;
        // Cloned so that the growth, which borrows the descriptor, does not borrow `self`.
        let file = self.file.clone();
        let mut growth = None;
        let mut now_len = self.file_len;
        if let Some(file) = &file {
            let file_len = file.len().map_err(|error| Error::from_io(OPERATION, error))?;
            now_len = file_len.max(end);
            if end > file_len {
                if !file.writable {
                    return Err(Error::new(
                        ErrorKind::OutOfRange,
                        OPERATION,
                        format!("the mapping would reach to byte {end} of a file of {file_len} bytes"),
                    )
                    .advice("only a shared mapping opened with `write(true)` can make the file longer"));
                }
                let fd = std::os::fd::AsFd::as_fd(&file.fd);
                growth =
                    Some(Growth::of(fd, file_len, end, self.sparse).map_err(|e| e.into_error(OPERATION))?);
            }
        }
        // If this fails, the file gets its length back.
        self.enlarge_pages(len)?;
        if let (Some(growth), Some(file)) = (growth, &file) {
            growth.keep();
            file.length_changed();
        }
        self.file_len = now_len;
        self.tell_extent();
        Ok(())
    }

    pub(super) fn enlarge_pages(&mut self, len: usize) -> Result<()> {
        let fits = self.placed.lead.checked_add(len).is_some_and(|end| end <= self.placed.region.len());
        if !fits && self.placed.region.options().never_bare {
            let reason = format!(
                "{len} bytes are more than the {} that are reserved, and the memory is to stay where it is",
                self.reserved_bytes()
            );
            return Err(Error::new(ErrorKind::LimitExceeded, OPERATION, reason)
                .advice("open it again, and reserve more"));
        }
        if !fits {
            return self.move_pages(len);
        }
        let old_end = self.placed.end();
        let old_len = std::mem::replace(&mut self.placed.len, len);
        let new = old_end..self.placed.end();
        let fd = self.file.as_ref().map(|file| std::os::fd::AsFd::as_fd(&file.fd));
        if let Err(error) = self.placed.place(OPERATION, new, fd, false) {
            self.placed.len = old_len;
            return Err(error);
        }
        self.protections.resize(self.placed.end());
        self.tell_protections();
        Ok(())
    }

    /// Maps everything once more at other addresses, and takes over what is not in the file.
    fn move_pages(&mut self, len: usize) -> Result<()> {
        let mut new = self.placed.elsewhere(len, self.fd())?;
        if self.placed.kind != Kind::Shared {
            let copied = self.copy_private_pages(&mut new);
            if let Err(error) = copied {
                return Err(Error::from_io(OPERATION, error).advice("free memory, and try again"));
            }
        }
        for (pages, protection) in self.protections.runs() {
            if protection != self.default_protection() {
                new.region
                    .protect(pages, protection.flags())
                    .map_err(|error| Error::from_io(OPERATION, error))?;
            }
        }
        self.placed = new;
        self.protections.resize(self.placed.end());
        self.tell_protections();
        self.forget_atomics();
        Ok(())
    }

    /// Copies the pages that only this process has. The old ones stay as they are.
    fn copy_private_pages(&mut self, new: &mut Placed) -> std::io::Result<()> {
        let all = self.all_pages();
        let base = self.placed.region.as_ptr() as usize;
        // Without a page map: all pages, which makes private ones of all.
        let private = match Pagemap::open().and_then(|map| map.private_pages(base, all.len())) {
            Ok(runs) => runs,
            Err(_) => vec![all.clone()],
        };
        let hidden: Vec<_> = self
            .protections
            .runs()
            .filter(|&(_, protection)| protection == Protection::NONE)
            .map(|(pages, _)| pages)
            .collect();
        let mut result = Ok(());
        for pages in &hidden {
            result = result.and_then(|()| self.placed.region.protect(pages.clone(), MprotectFlags::READ));
        }
        // A mapping for reading has no pages of its own, and could not be written here either.
        if self.placed.writable {
            for run in private {
                result = result.and_then(|()| {
                    new.region.copy_from(run.start, &self.placed.region, run.start, run.len())
                });
            }
        }
        for pages in hidden {
            if let Err(error) = self.placed.region.protect(pages, MprotectFlags::empty()) {
                log::error!("cannot restore the protection of pages: {error}");
            }
        }
        result
    }

    pub(super) fn default_protection(&self) -> Protection {
        if self.placed.writable { Protection::READ_WRITE } else { Protection::READ }
    }

    fn shorten(&mut self, len: usize) -> Result<()> {
        let old_len = self.len();
        if let Some(file) = self.file.as_ref().filter(|file| file.writable && len < old_len) {
            // What is being synced in the background is synced before it is cut.
            file.background.wait_for(&(0..u64::MAX));
            let file_len = file.len().map_err(|error| Error::from_io(OPERATION, error))?;
            if file_len == self.placed.end_in_file() {
                fs::ftruncate(&file.fd, self.placed.offset() + len as u64)
                    .map_err(|error| Error::from_io(OPERATION, error.into()))?;
                file.length_changed();
                self.file_len = self.placed.offset() + len as u64;
            }
        }
        self.shorten_pages(len);
        self.tell_extent();
        Ok(())
    }

    /// The mapping ends earlier; the file is as it is.
    pub(super) fn shorten_pages(&mut self, len: usize) {
        let old_end = self.placed.end();
        self.reset_tail(len);
        self.placed.len = len;
        let gone = self.placed.end()..old_end;
        self.protections.resize(self.placed.end());
        self.forget_atomics();
        if !gone.is_empty()
            && let Err(error) = self.placed.region.clear(gone)
        {
            // Nobody reaches them any more; they are unmapped with the rest.
            log::warn!("cannot unmap the end of a shortened mapping: {error}");
        }
        self.tell_protections();
    }

    /// What lies between the new end and the end of its page is what the file has there, or zeros, should the mapping grow
    /// again. The kernel sees to it for the file itself, we for what only this process has.
    fn reset_tail(&mut self, len: usize) {
        if self.placed.kind == Kind::Shared || !self.placed.writable || len == self.len() {
            return;
        }
        let tail = len..self.placed.bytes_of(&self.placed.pages(&(len..len + 1))).end;
        let mut bytes = vec![0; tail.len()];
        if let Some(file) = &self.file {
            let mut done = 0;
            while let Ok(count @ 1..) = rustix::io::pread(
                &file.fd,
                &mut bytes[done..],
                self.placed.offset() + (tail.start + done) as u64,
            ) {
                done += count;
            }
        }
        let pages = self.placed.pages(&tail);
        let before = self.protections.runs_in(&pages).next().map(|(_, protection)| protection);
        let write = |mapping: &mut Mapping| {
            mapping.placed.region.protect(pages.clone(), Protection::READ_WRITE.flags())?;
            mapping.placed.region.write(mapping.placed.lead + tail.start, &bytes, mapping.route)?;
            mapping.placed.region.protect(pages.clone(), before.unwrap_or(Protection::READ_WRITE).flags())
        };
        if let Err(error) = write(self) {
            log::debug!("cannot reset the end of a page: {error}");
        }
    }
}
