//! Access to pages, and pages that stay in memory.
//!
//! # Safety
//!
//! This file is trusted with `mprotect`, `mlock` and `munlock` inside a [`Region`].
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;

use rustix::mm::{self, MprotectFlags};

use super::region::Region;

impl Region {
    /// Lets this process do no more than `access` with the pages at `bytes`.
    pub(crate) fn protect(&mut self, bytes: Range<usize>, access: MprotectFlags) -> io::Result<()> {
        self.check(&bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: only pages of this region are named (checked above), and `&mut self` says that no reference into them
        // lives that the change could make a fault of.
        unsafe { mm::mprotect(self.address(bytes.start).cast(), bytes.len(), access)? };
        Ok(())
    }

    /// Brings the pages at `bytes` into memory and keeps them there.
    pub(crate) fn lock(&self, bytes: Range<usize>) -> io::Result<()> {
        self.check(&bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: changes no byte; only pages of this region are named (checked above).
        unsafe { mm::mlock(self.address(bytes.start).cast(), bytes.len())? };
        Ok(())
    }

    /// Undoes [`lock`](Region::lock).
    pub(crate) fn unlock(&self, bytes: Range<usize>) -> io::Result<()> {
        self.check(&bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: as in `lock`.
        unsafe { mm::munlock(self.address(bytes.start).cast(), bytes.len())? };
        Ok(())
    }
}
