//! Advice to the kernel about memory: madvise(2).
//!
//! # Safety
//!
//! This file is trusted with `madvise` inside a [`Region`], and with sorting its advice into two kinds: what can never
//! change a byte that this process reads from a shared file mapping ([`Advice`]), and the rest ([`UncheckedAdvice`]).
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;

use super::region::Region;

/// Advice that changes no content: how pages will be used, kept or shared. Linux, madvise(2).
///
/// Given with [`Mapping::advise`](crate::Mapping::advise), where an example stands. What the running kernel does not
/// know is [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Advice {
    /// No special treatment: undoes `Random` and `Sequential`.
    Normal,
    /// Accesses come in no order: read nothing ahead.
    Random,
    /// Accesses come in ascending order: read far ahead, and reclaim early what lies behind.
    Sequential,
    /// Accesses come soon: start reading now.
    WillNeed,
    /// Take the pages out of this process's page tables. Only for a shared mapping of a file, where the page cache keeps
    /// their bytes.
    DontNeed,
    /// Reclaim these pages before others. Since Linux 5.4.
    Cold,
    /// Reclaim these pages now: write dirty ones back, then drop them. Since Linux 5.4.
    PageOut,
    /// Read the pages in and map them, before the call returns. Since Linux 5.14.
    PopulateRead,
    /// As `PopulateRead`, and make them ready for stores. Since Linux 5.14.
    PopulateWrite,
    /// Put the pages together into huge pages now. Since Linux 6.1.
    Collapse,
    /// Use transparent huge pages where it can be done.
    HugePage,
    /// Use no transparent huge pages.
    NoHugePage,
    /// Let the kernel share equal pages (KSM); of use for anonymous and private memory only.
    Mergeable,
    /// Undoes `Mergeable`.
    Unmergeable,
    /// Leave the pages out of core dumps.
    DontDump,
    /// Undoes `DontDump`.
    DoDump,
    /// Forked children do not get these pages: from then on they may not touch the mapping at all, as something else may come to
    /// stand at its addresses there. Checked calls are errors in them, also after `DoFork`.
    DontFork,
    /// Children get the pages again, for what they do without the checked calls.
    DoFork,
}

/// Advice that can change or take away content, here or in the file. Linux, madvise(2).
///
/// Given with the unsafe [`Mapping::advise_unchecked`](crate::Mapping::advise_unchecked).
///
/// See [`Mapping::advise_unchecked`](crate::Mapping::advise_unchecked) for an example.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UncheckedAdvice {
    /// Drop the pages: what a private mapping changed is lost, anonymous memory becomes zeros.
    DontNeed,
    /// The kernel may drop the pages at any later time until they are stored to again. Private anonymous memory only.
    Free,
    /// Punch a hole into the file: the bytes become zeros in the file too.
    Remove,
    /// Forked children see zeros. Private anonymous memory only.
    WipeOnFork,
    /// Undoes `WipeOnFork`.
    KeepOnFork,
    /// Treat the page as broken memory (needs `CAP_SYS_ADMIN`): later accesses raise SIGBUS.
    HwPoison,
    /// Move the content away and retire the page frame (needs `CAP_SYS_ADMIN`).
    SoftOffline,
    /// Drop the pages and make every access raise SIGSEGV. Since Linux 6.13 for private anonymous memory, later for files.
    GuardInstall,
    /// Undoes `GuardInstall`.
    GuardRemove,
}

// linux: include/uapi/asm-generic/mman-common.h; not in every libc yet.
const MADV_GUARD_INSTALL: i32 = 102;
const MADV_GUARD_REMOVE: i32 = 103;

impl Advice {
    fn code(self) -> i32 {
        match self {
            Advice::Normal => libc::MADV_NORMAL,
            Advice::Random => libc::MADV_RANDOM,
            Advice::Sequential => libc::MADV_SEQUENTIAL,
            Advice::WillNeed => libc::MADV_WILLNEED,
            Advice::DontNeed => libc::MADV_DONTNEED,
            Advice::Cold => libc::MADV_COLD,
            Advice::PageOut => libc::MADV_PAGEOUT,
            Advice::PopulateRead => libc::MADV_POPULATE_READ,
            Advice::PopulateWrite => libc::MADV_POPULATE_WRITE,
            Advice::Collapse => libc::MADV_COLLAPSE,
            Advice::HugePage => libc::MADV_HUGEPAGE,
            Advice::NoHugePage => libc::MADV_NOHUGEPAGE,
            Advice::Mergeable => libc::MADV_MERGEABLE,
            Advice::Unmergeable => libc::MADV_UNMERGEABLE,
            Advice::DontDump => libc::MADV_DONTDUMP,
            Advice::DoDump => libc::MADV_DODUMP,
            Advice::DontFork => libc::MADV_DONTFORK,
            Advice::DoFork => libc::MADV_DOFORK,
        }
    }
}

impl UncheckedAdvice {
    fn code(self) -> i32 {
        match self {
            UncheckedAdvice::DontNeed => libc::MADV_DONTNEED,
            UncheckedAdvice::Free => libc::MADV_FREE,
            UncheckedAdvice::Remove => libc::MADV_REMOVE,
            UncheckedAdvice::WipeOnFork => libc::MADV_WIPEONFORK,
            UncheckedAdvice::KeepOnFork => libc::MADV_KEEPONFORK,
            UncheckedAdvice::HwPoison => libc::MADV_HWPOISON,
            UncheckedAdvice::SoftOffline => libc::MADV_SOFT_OFFLINE,
            UncheckedAdvice::GuardInstall => MADV_GUARD_INSTALL,
            UncheckedAdvice::GuardRemove => MADV_GUARD_REMOVE,
        }
    }
}

impl Region {
    /// Gives `advice` about the pages at `bytes`, which is page-aligned.
    ///
    /// The caller sees to it that [`Advice::DontNeed`] meets only a shared mapping of a file.
    pub(crate) fn advise(&self, bytes: Range<usize>, advice: Advice) -> io::Result<()> {
        // SAFETY: none of this advice changes what a read of the pages returns (the list's own condition).
        unsafe { self.madvise(bytes, advice.code()) }
    }

    /// As [`advise`](Region::advise), for advice that can change content.
    ///
    /// # Safety
    ///
    /// No reference into the pages is live, and the caller means the loss of what they hold.
    pub(crate) unsafe fn advise_unchecked(
        &mut self,
        bytes: Range<usize>,
        advice: UncheckedAdvice,
    ) -> io::Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { self.madvise(bytes, advice.code()) }
    }

    /// # Safety
    ///
    /// What the advice does to the content of the pages is meant.
    unsafe fn madvise(&self, bytes: Range<usize>, code: i32) -> io::Result<()> {
        self.check(&bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        loop {
            // SAFETY: only pages of this region are named (checked above); their content is the caller's affair.
            let result = unsafe { libc::madvise(self.address(bytes.start).cast(), bytes.len(), code) };
            if result == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            // PopulateRead, PopulateWrite and Collapse can be interrupted by a signal.
            if error.raw_os_error() != Some(libc::EINTR) {
                return Err(error);
            }
        }
    }
}
