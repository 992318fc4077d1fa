//! References to atomics inside the mapping.
//!
//! # Safety
//!
//! This file is trusted with turning addresses of a mapping into references to atomics. What makes that sound: the
//! pages `0..end` of the region are mapped for as long as the reference lives (what moves or hides pages takes
//! `&mut self`); every bit pattern is valid; others who store at the same time are met with atomic accesses, or are the
//! kernel or another process; and two atomics of different size never cover the same byte ([`Granted`]), as mixed-size
//! accesses that race are undefined in Rust's memory model.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::{Range, RangeBounds};
use std::slice;
use std::sync::atomic;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::{Mapping, Protection};
use crate::error::{ErrorKind, Result};
use crate::range;

/// An atomic integer of the standard library: `AtomicU8` to `AtomicU64`, `AtomicI8` to `AtomicI64`, `AtomicUsize` and
/// `AtomicIsize`. Others cannot be added: each must be valid for any bytes.
///
/// See [`Mapping::atomic`] for an example.
pub trait Atomic: sealed::Sealed + Sync + Sized + 'static {}

mod sealed {
    /// # Safety
    ///
    /// Every bit pattern is a value, and the type is nothing but an atomic integer.
    pub unsafe trait Sealed {}
}

macro_rules! atomics {
    ($($name:ident)*) => {$(
        // SAFETY: an atomic integer, with the same representation as the integer.
        unsafe impl sealed::Sealed for atomic::$name {}
        impl Atomic for atomic::$name {}
    )*};
}

atomics! {
    AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicUsize
    AtomicI8 AtomicI16 AtomicI32 AtomicI64 AtomicIsize
}

/// Which bytes have been handed out as atomics, and of which size. Entries that touch and agree are one.
#[derive(Debug, Default)]
pub(super) struct Granted(Mutex<Runs>);

/// Where each run of atomics starts; where it ends, and their size.
type Runs = BTreeMap<usize, (usize, usize)>;

/// How often a forked child looks whether the note is free.
const TRIES_IN_CHILD: usize = 50;

impl Granted {
    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As `lock`, for a forked child, which may have inherited it taken by a thread that it does not have.
    fn lock_in_child(&self) -> Option<MutexGuard<'_, Runs>> {
        for _ in 0..TRIES_IN_CHILD {
            match self.0.try_lock() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        None
    }
}

/// Notes `bytes` as atomics of `size` bytes; the first bytes that are atomics of another size, if any.
fn grant(granted: &mut Runs, bytes: Range<usize>, size: usize) -> Result<(), (Range<usize>, usize)> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut merged = bytes.clone();
    let mut absorbed = Vec::new();
    for (&start, &(end, other)) in granted.range(..=bytes.end).rev() {
        if end < bytes.start {
            break;
        }
        if other == size {
            if start <= bytes.start && bytes.end <= end {
                return Ok(());
            }
            merged = merged.start.min(start)..merged.end.max(end);
            absorbed.push(start);
        } else if start < bytes.end && bytes.start < end {
            return Err((start..end, other));
        }
    }
    for start in absorbed {
        granted.remove(&start);
    }
    granted.insert(merged.start, (merged.end, size));
    Ok(())
}

impl Granted {
    /// Forgets everything: `&mut self` says that no reference lives.
    pub(super) fn clear(&mut self) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Mapping {
    /// The bytes at `offset` as an atomic, shared with every process that maps the file.
    ///
    /// The same bytes can be had again as an atomic of the same size only. A page that cannot be had is an error here; one
    /// that is lost later reads as zeros, and [`check`](Self::check) says so (without the
    /// [guard](crate::MappingOptions::guard): SIGBUS).
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](ErrorKind::OutOfRange): it would reach past the end. [`InvalidInput`](ErrorKind::InvalidInput): its
    /// address is not aligned for it (the mapping's first byte lies where it does in its page of the file), or the bytes
    /// were handed out as atomics of another size since the last call with `&mut self` that moves pages.
    /// [`ReadOnly`](ErrorKind::ReadOnly): the mapping or these pages are not for stores. [`Forked`](ErrorKind::Forked): in a
    /// child that was forked while another thread was in this very call.
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let map = steadfast::Mapping::options().len(16).anonymous()?;
    /// map.atomic::<AtomicU32>(8)?.fetch_add(3, Ordering::AcqRel);
    /// assert_eq!(map.read_value::<u32>(8)?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn atomic<A: Atomic>(&self, offset: usize) -> Result<&A> {
        let range = self.span("view", offset, size_of::<A>())?;
        let address = self.granted::<A>(&range)?;
        self.probe("view", &range)?;
        // SAFETY: mapped for as long as `&self` lives, aligned, writable, any bytes are a value; see the file's head.
        Ok(unsafe { &*address })
    }

    /// The bytes of `range` as atomics, as many as fit exactly. See [`atomic`](Self::atomic).
    ///
    /// # Errors
    ///
    /// As for [`atomic`](Self::atomic); a range that is not a multiple of the atomic's size is
    /// [`InvalidInput`](ErrorKind::InvalidInput).
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// let map = steadfast::Mapping::options().len(80).anonymous()?;
    /// let slots = map.atomics::<AtomicU64>(..)?;
    /// slots[9].store(1, Ordering::Release);
    /// # Ok(())
    /// # }
    /// ```
    pub fn atomics<A: Atomic>(&self, range: impl RangeBounds<usize>) -> Result<&[A]> {
        let range = self.resolve("view", &range)?;
        if !range.len().is_multiple_of(size_of::<A>()) {
            let reason = format!("{} bytes are not a multiple of {}", range.len(), size_of::<A>());
            return Err(self.error(ErrorKind::InvalidInput, "view", &range, reason));
        }
        self.refuse_damaged("view", &range)?;
        let address = self.granted::<A>(&range)?;
        // SAFETY: as in `atomic`; the range lies in the mapping as a whole.
        Ok(unsafe { slice::from_raw_parts(address, range.len() / size_of::<A>()) })
    }

    /// The address of `range`, if atomics may be made of it.
    fn granted<A: Atomic>(&self, range: &Range<usize>) -> Result<*const A> {
        self.require("view", range, Protection::READ_WRITE)?;
        let address = self.as_ptr().wrapping_add(range.start).cast::<A>();
        if !address.is_aligned() {
            return Err(self.misaligned::<A>(range));
        }
        let mut granted = if self.birth.is_elsewhere() {
            self.atomics.lock_in_child().ok_or_else(|| {
                self.error(
                    ErrorKind::Forked,
                    "view",
                    range,
                    "a thread of the parent was handing out atomics when this process was forked",
                )
                .advice("open the file again in the child, or make the atomics before the fork")
            })?
        } else {
            self.atomics.lock()
        };
        grant(&mut granted, range.clone(), size_of::<A>()).map_err(|(other, size)| {
            let reason =
                format!("bytes {}..{} are in use as atomics of {size} bytes", other.start, other.end);
            self.error(ErrorKind::InvalidInput, "view", range, reason)
                .advice("use atomics of one size for the same bytes")
        })?;
        Ok(address)
    }

    /// The pages move or go: no reference to an atomic lives.
    pub(super) fn forget_atomics(&mut self) {
        self.atomics.clear();
    }

    /// All of the mapping's pages, in the region: for callers that need more than a range.
    pub(super) fn all_pages(&self) -> Range<usize> {
        debug_assert!(range::page_floor(self.placed.end(), crate::sys::page_size()) == self.placed.end());
        0..self.placed.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against one size a byte.
        #[test]
        fn no_byte_is_granted_in_two_sizes(
            steps in prop::collection::vec((0usize..64, 1usize..5, prop::sample::select(vec![1usize, 2, 4, 8])), 0..60)
        ) {
            let mut granted = Runs::new();
            let mut sizes = [0; 128];
            for (start, count, size) in steps {
                let range = start..start + count * size;
                let fits = sizes[range.clone()].iter().all(|&other| other == 0 || other == size);
                prop_assert_eq!(grant(&mut granted, range.clone(), size).is_ok(), fits);
                if fits {
                    sizes[range].fill(size);
                }
            }
        }
    }
}
