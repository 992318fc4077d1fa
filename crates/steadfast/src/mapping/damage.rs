//! Bytes that others took away: noticed, named, and put back.
//!
//! The [guard](crate::fault) puts zeros where a page could not be had, and notes it. Everything that hands bytes out or makes
//! them durable asks here.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Kind, Mapping};
use crate::error::{Error, Result};
use crate::fault::Cause;

/// Damage that a refresh made good before any call had told of it: stores to those bytes are lost, and the next sync must
/// not pass that over.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// Bytes of the file, and why they were lost.
    lost: Mutex<Vec<(Range<u64>, Cause)>>,
    /// The damage that is there now was told of.
    told: AtomicBool,
}

impl Mapping {
    /// Is every byte what the file holds, as far as anybody touched it? To be asked after work on slices and raw pointers,
    /// which cannot return an error: where a page could not be had (the file was truncated, the device or the network mount
    /// failed, a hole got no block), they found zeros.
    ///
    /// It touches no page: what nobody tried to access is not looked at, except that the file has its length.
    ///
    /// # Errors
    ///
    /// The first damaged bytes, with the likely cause: [`Truncated`](crate::ErrorKind::Truncated) where they lay past the
    /// end of the file, [`Io`](crate::ErrorKind::Io) otherwise. Stores to them since are lost, [`sync`](Self::sync) of them
    /// fails, and so does every checked access, until [`refresh`](Self::refresh) puts the file's own pages back.
    ///
    /// See [`MappingOptions::guard`](super::MappingOptions::guard) for an example.
    pub fn check(&self) -> Result<()> {
        let operation = "check";
        self.refuse_damaged(operation, &(0..self.len()))?;
        // Behind a new end, within the page that it lies in, loads find zeros and no fault.
        let Some(file) = &self.file else { return Ok(()) };
        let len = file.len().map_err(|error| self.os_error(operation, &(0..self.len()), error))?;
        let has = usize::try_from(len.saturating_sub(self.placed.offset())).unwrap_or(usize::MAX);
        if has < self.len() {
            return self.check_length(operation, &(has..self.len()));
        }
        Ok(())
    }

    /// Takes the file as it is now: damaged pages become the file's own again, and the mapping as long as what the file has
    /// to offer.
    ///
    /// A mapping that reached to the file's end, as far as it knew, reaches to the new one, be that earlier or later. One
    /// of a part of the file keeps its length unless the file is shorter now. Within the reservation
    /// ([`reserve`](super::MappingOptions::reserve)) every address stays; a longer mapping may move, as by
    /// [`resize`](Self::resize). Advice and locks of pages that were damaged are gone, protections stay.
    ///
    /// Stores to damaged bytes are lost. Where no call had named them before, the next [`sync`](Self::sync) of them, or the
    /// [`close`](Self::close), does once. Where a private mapping's file was
    /// truncated, the kernel dropped its changed pages beyond the new end (mmap(2)).
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded): no memory or addresses; try again.
    /// [`Forked`](crate::ErrorKind::Forked): in a child. A page that still cannot be read is no error here, but at its next
    /// access.
    ///
    /// See [`MappingOptions::guard`](super::MappingOptions::guard) for an example.
    pub fn refresh(&mut self) -> Result<()> {
        let operation = "refresh";
        self.refuse_in_child(operation)?;
        // Cloned so that the file can be asked while `self` changes.
        let Some(file) = self.file.clone() else { return self.put_back(operation) };
        let len = file.len().map_err(|error| self.with_path(Error::from_io(operation, error)))?;
        let follows = self.placed.end_in_file() == self.file_len;
        let has = usize::try_from(len.saturating_sub(self.placed.offset())).unwrap_or(usize::MAX);
        if has < self.len() {
            self.shorten_pages(has);
        }
        self.put_back(operation)?;
        if has > self.len() && follows {
            self.enlarge_pages(has).map_err(|error| self.with_path(error))?;
        }
        self.file_len = len;
        self.tell_extent();
        Ok(())
    }

    /// Maps the file's pages where there are zeros instead.
    fn put_back(&mut self, operation: &'static str) -> Result<()> {
        let file = self.file.clone();
        let told = self.untold.told.swap(false, Ordering::Relaxed);
        for damaged in self.placed.region.damaged() {
            // What is no longer mapped is nobody's any more.
            let bytes = damaged.bytes.start..damaged.bytes.end.min(self.placed.end());
            if bytes.is_empty() {
                continue;
            }
            if !told && self.is_shared_writer() {
                let lost = (self.placed.in_file(&bytes), damaged.cause);
                self.untold.lost.lock().unwrap_or_else(PoisonError::into_inner).push(lost);
            }
            let fd = file.as_ref().map(|file| std::os::fd::AsFd::as_fd(&file.fd));
            self.placed.place(operation, bytes.clone(), fd, false).map_err(|error| self.with_path(error))?;
            let parts: Vec<_> = self.protections.runs_in(&bytes).collect();
            for (part, protection) in parts {
                if protection != self.default_protection() {
                    let protected = self.placed.region.protect(part, protection.flags());
                    protected.map_err(|error| self.with_path(Error::from_io(operation, error)))?;
                }
            }
        }
        Ok(())
    }

    /// An error if these bytes are not the file's any more.
    #[inline]
    pub(super) fn refuse_damaged(&self, operation: &'static str, range: &Range<usize>) -> Result<()> {
        let lead = self.placed.lead;
        match self.placed.region.first_damaged(&(lead + range.start..lead + range.end)) {
            None => Ok(()),
            Some(damaged) => {
                self.untold.told.store(true, Ordering::Relaxed);
                let bytes = self.placed.bytes_of(&damaged.bytes);
                let error = self.error(damaged.cause.kind(), operation, &bytes, damaged.cause.reason());
                Err(error.advice(match self.placed.kind {
                    Kind::Shared => {
                        "stores to them since are lost; mend the cause, call `refresh`, and store again what must be kept"
                    }
                    _ => "mend the cause and call `refresh`",
                }))
            }
        }
    }

    /// As `refuse_damaged`, and tells once of what was damaged and put back without a word.
    pub(super) fn tell_damage(&self, operation: &'static str, range: &Range<usize>) -> Result<()> {
        self.refuse_damaged(operation, range)?;
        let in_file = self.placed.in_file(&self.placed.pages(range));
        let mut lost = self.untold.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let overlaps = |(lost, _): &(Range<u64>, Cause)| lost.start < in_file.end && in_file.start < lost.end;
        let Some(first) = lost.iter().position(overlaps).map(|index| lost[index].clone()) else {
            return Ok(());
        };
        lost.retain(|lost| !overlaps(lost));
        let from = |at: u64| at.saturating_sub(self.placed.offset()).min(self.len() as u64) as usize;
        let (bytes, cause) = (from(first.0.start)..from(first.0.end), first.1);
        Err(self
            .error(
                cause.kind(),
                operation,
                &bytes,
                "before the last `refresh` these bytes were lost, and no call had said so",
            )
            .advice("store again what must be kept, and sync once more"))
    }

    /// Touches the pages of `range`, so that what cannot be had is an error before anybody gets a reference.
    #[inline]
    pub(super) fn probe(&self, operation: &'static str, range: &Range<usize>) -> Result<()> {
        let lead = self.placed.lead;
        self.placed.region.probe(&(lead + range.start..lead + range.end));
        self.refuse_damaged(operation, range)
    }

    pub(super) fn is_shared_writer(&self) -> bool {
        self.placed.kind == Kind::Shared && self.placed.writable
    }
}
