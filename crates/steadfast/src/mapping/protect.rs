//! Which pages may be read and written.

use std::ops::{Range, RangeBounds};

use rustix::mm::MprotectFlags;

use super::Mapping;
use crate::error::{ErrorKind, Result};

/// What this process may do with pages. Ordered: each allows what those before it allow.
///
/// See [`Mapping::protect`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protection(u8);

impl Protection {
    /// Nothing: every access is an error of the checked calls, and SIGSEGV for plain ones.
    pub const NONE: Protection = Protection(0);
    /// Loads only.
    pub const READ: Protection = Protection(1);
    /// Loads and stores.
    pub const READ_WRITE: Protection = Protection(2);

    /// As `PROT_*`.
    fn bits(self) -> i32 {
        self.flags().bits() as i32
    }

    pub(super) fn flags(self) -> MprotectFlags {
        match self {
            Protection::NONE => MprotectFlags::empty(),
            Protection::READ => MprotectFlags::READ,
            _ => MprotectFlags::READ | MprotectFlags::WRITE,
        }
    }
}

/// The protection of each page, run by run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProtectionMap {
    /// Where each run ends and what holds in it; ascending, neighbours differ.
    runs: Vec<(usize, Protection)>,
    /// What pages have when the mapping is opened, and new ones after.
    default: Protection,
}

impl ProtectionMap {
    /// `len` bytes with the same protection.
    pub(super) fn new(len: usize, default: Protection) -> ProtectionMap {
        let mut map = ProtectionMap { runs: Vec::new(), default };
        map.resize(len);
        map
    }

    fn len(&self) -> usize {
        self.runs.last().map_or(0, |&(end, _)| end)
    }

    /// The runs, each with where it lies.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Range<usize>, Protection)> + '_ {
        let starts = std::iter::once(0).chain(self.runs.iter().map(|&(end, _)| end));
        starts.zip(&self.runs).map(|(start, &(end, protection))| (start..end, protection))
    }

    /// The parts of the runs that lie in `range`.
    pub(super) fn runs_in(&self, range: &Range<usize>) -> impl Iterator<Item = (Range<usize>, Protection)> {
        let range = range.clone();
        let first = self.runs.partition_point(|&(end, _)| end <= range.start);
        let mut start = range.start;
        self.runs[first..].iter().map_while(move |&(end, protection)| {
            let part = start..end.min(range.end);
            start = part.end;
            (!part.is_empty()).then_some((part, protection))
        })
    }

    pub(super) fn set(&mut self, range: &Range<usize>, protection: Protection) {
        debug_assert!(range.end <= self.len());
        if range.is_empty() {
            return;
        }
        let after = range.end..self.len();
        let parts: Vec<_> = self
            .runs_in(&(0..range.start))
            .chain([(range.clone(), protection)])
            .chain(self.runs_in(&after))
            .collect();
        self.runs.clear();
        for (part, protection) in parts {
            self.push(part.end, protection);
        }
    }

    /// Cuts, or appends pages with the default.
    pub(super) fn resize(&mut self, len: usize) {
        if len < self.len() {
            let kept: Vec<_> = self.runs_in(&(0..len)).collect();
            self.runs.clear();
            for (part, protection) in kept {
                self.push(part.end, protection);
            }
        } else if len > self.len() {
            self.push(len, self.default);
        }
    }

    fn push(&mut self, end: usize, protection: Protection) {
        match self.runs.last_mut() {
            Some(last) if last.1 == protection => last.0 = end,
            _ => self.runs.push((end, protection)),
        }
    }
}

impl Mapping {
    /// Limits what this process may do with the pages of `range`, rounded outwards: mprotect(2).
    ///
    /// The checked calls know: [`write_at`](Self::write_at) into pages that are [`Protection::READ`] is an error and no
    /// signal. Other processes and other mappings of the file are not concerned.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly): [`Protection::READ_WRITE`] for a mapping opened for reading.
    /// [`OutOfRange`](ErrorKind::OutOfRange). [`Forked`](ErrorKind::Forked): in a child, once pages were kept from children. What
    /// the kernel refuses (too many differing runs of pages, vm.max_map_count), as its errno says; the pages then have what they had
    /// before.
    ///
    /// ```
    /// # fn main() -> steadfast::Result<()> {
    /// use steadfast::{ErrorKind, Mapping, Protection};
    ///
    /// let mut map = Mapping::options().len(100_000).anonymous()?;
    /// map.protect(..10, Protection::READ)?;
    /// assert_eq!(map.write_at(0, b"no").unwrap_err().kind(), ErrorKind::ReadOnly);
    /// # Ok(())
    /// # }
    /// ```
    pub fn protect(&mut self, range: impl RangeBounds<usize>, protection: Protection) -> Result<()> {
        let operation = "protect";
        self.refuse_without_pages(operation)?;
        let range = self.resolve(operation, &range)?;
        if protection == Protection::READ_WRITE && !self.placed.writable {
            return Err(self.opened_for_reading(operation, &range));
        }
        let pages = self.placed.pages(&range);
        if let Err(error) = self.placed.region.protect(pages.clone(), protection.flags()) {
            // Over several runs the kernel stops in the middle: back to what they had.
            for (run, before) in self.protections.runs_in(&pages) {
                if let Err(error) = self.placed.region.protect(run, before.flags()) {
                    log::error!("cannot restore the protection of pages: {error}");
                }
            }
            return Err(self.os_error(operation, &range, error));
        }
        self.protections.set(&pages, protection);
        self.tell_protections();
        Ok(())
    }

    /// Lets the guard know what may be done to which pages.
    pub(super) fn tell_protections(&mut self) {
        let default = self.default_protection();
        let parts: Vec<_> =
            self.protections.runs().map(|(pages, protection)| (pages, protection.bits())).collect();
        let even = parts.iter().all(|&(_, bits)| bits == default.bits());
        self.placed.region.note_protections((!even).then_some(parts));
    }

    /// Refuses an access to bytes whose pages do not allow it.
    pub(super) fn require(
        &self,
        operation: &'static str,
        range: &Range<usize>,
        wanted: Protection,
    ) -> Result<()> {
        self.refuse_without_pages(operation)?;
        // The whole mapping first: the usual case.
        if wanted == Protection::READ_WRITE && !self.placed.writable {
            return Err(self.opened_for_reading(operation, range));
        }
        let pages = self.placed.pages(range);
        let short = self.protections.runs_in(&pages).find(|&(_, has)| has < wanted);
        let Some((run, has)) = short else { return Ok(()) };
        let bytes = self.placed.bytes_of(&run);
        let (kind, reason) = match has {
            Protection::NONE => {
                (ErrorKind::PermissionDenied, "these pages are protected against every access")
            }
            _ => (ErrorKind::ReadOnly, "these pages are protected against stores"),
        };
        Err(self.error(kind, operation, &bytes, reason).advice("allow it with `protect` first"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEN: usize = 48;

    proptest! {
        /// Against one protection a byte.
        #[test]
        fn the_map_is_the_model(
            steps in prop::collection::vec((any::<bool>(), 0..=LEN, 0..=LEN, 0u8..3), 0..40),
            probe in (0..=LEN, 0..=LEN),
        ) {
            let mut map = ProtectionMap::new(LEN, Protection::READ_WRITE);
            let mut model = vec![Protection::READ_WRITE; LEN];
            for (set, a, b, protection) in steps {
                let protection = Protection(protection);
                if set {
                    let range = a.min(b).min(model.len())..a.max(b).min(model.len());
                    map.set(&range, protection);
                    model[range].fill(protection);
                } else {
                    map.resize(a);
                    model.resize(a, Protection::READ_WRITE);
                }
                let mut flat = Vec::new();
                for (range, protection) in map.runs() {
                    prop_assert_eq!(range.start, flat.len());
                    prop_assert!(!range.is_empty());
                    flat.resize(range.end, protection);
                }
                prop_assert_eq!(&flat, &model);
                prop_assert!(map.runs.windows(2).all(|pair| pair[0].1 != pair[1].1), "runs are the fewest");
            }
            let probe = probe.0.min(probe.1).min(model.len())..probe.0.max(probe.1).min(model.len());
            let mut at = probe.start;
            for (range, protection) in map.runs_in(&probe) {
                prop_assert_eq!(range.start, at);
                prop_assert!(model[range.clone()].iter().all(|&has| has == protection));
                at = range.end;
            }
            prop_assert_eq!(at, probe.end);
        }
    }
}
