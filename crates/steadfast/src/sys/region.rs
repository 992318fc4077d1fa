//! Address space that one owner holds: reserved, filled with mappings, given back.
//!
//! # Safety
//!
//! This file is trusted with `mmap`, `munmap` and `madvise` inside address ranges that it reserved itself. The
//! invariant of [`Region`]: `base .. base + len` was returned to it by the kernel and nobody else maps or
//! unmaps there (save where it was given up), so `MAP_FIXED` within it replaces only its own mappings.
//!
//! What it hands out are raw pointers; who dereferences them answers for aliasing.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use rustix::mm::{self, Advice, MapFlags, MsyncFlags, ProtFlags};

use super::fork::Birth;
use crate::fault::{Cause, Damaged, Guard, probe};
use crate::range::{self, RangeSet};

/// At most so many ranges are advised at once.
const IOV_MAX: usize = 1024;
/// This thread, where a descriptor of a process or thread is asked for (linux/fcntl.h).
const PIDFD_SELF: libc::c_int = -10000;

/// From whom the pages of a region are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// From forked children (`MADV_DONTFORK`): an access there is a fault, never a shared fate.
    pub(crate) from_children: bool,
    /// From core dumps (`MADV_DONTDUMP`).
    pub(crate) from_dumps: bool,
}

impl Hidden {
    /// The advice that does it (madvise(2)).
    pub(crate) fn advice(self) -> impl Iterator<Item = libc::c_int> {
        let children = self.from_children.then_some(libc::MADV_DONTFORK);
        children.into_iter().chain(self.from_dumps.then_some(libc::MADV_DONTDUMP))
    }

    /// As one byte, for a signal handler to read.
    #[cfg(feature = "guard")]
    pub(crate) fn bits(self) -> u8 {
        u8::from(self.from_children) | u8::from(self.from_dumps) << 1
    }

    #[cfg(feature = "guard")]
    pub(crate) fn from_bits(bits: u8) -> Hidden {
        Hidden { from_children: bits & 1 != 0, from_dumps: bits & 2 != 0 }
    }
}

/// What is done for everything that is placed in a region.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RegionOptions {
    pub(crate) hidden: Hidden,
    /// A page that cannot be had is replaced by zeros and noted, where SIGBUS would end the process. A file that is placed
    /// here lies at the same distance from the region's start as in the file's own bytes, only memory comes behind it, and
    /// it stays open for as long as the region lives.
    pub(crate) guarded: bool,
    /// Where something was placed once there is memory for as long as the region lives: what is cleared becomes zeros, and no access
    /// there is a fault.
    pub(crate) never_bare: bool,
    /// A file in memory that is placed here may be put together into huge pages.
    pub(crate) put_together: bool,
}

/// An owned range of addresses, page-aligned. Unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    birth: Birth,
    options: RegionOptions,
    /// Answers faults of what is placed here, where that is wanted.
    guard: Option<Guard>,
    /// Bytes that belong to somebody else by now.
    given_up: RangeSet,
}

// SAFETY: a region is an address range; the calls on it are system calls, which any thread may make, and those that
// change mappings take `&mut self`.
unsafe impl Send for Region {}
// SAFETY: as above; through `&self` only the address and the length can be had.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves at least `len` bytes of addresses that nothing backs: every access faults until something is placed.
    pub(crate) fn reserve(len: usize) -> io::Result<Region> {
        let len = range::page_ceil(len.max(1), super::page_size()).ok_or(rustix::io::Errno::NOMEM)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            mm::mmap_anonymous(
                ptr::null_mut(),
                len,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let base = NonNull::new(base.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Region {
            base,
            len,
            birth: Birth::here(),
            options: RegionOptions::default(),
            guard: None,
            given_up: RangeSet::new(),
        })
    }

    /// As [`reserve`](Region::reserve), and does for what is placed there what `options` say.
    pub(crate) fn reserve_as(len: usize, options: RegionOptions) -> io::Result<Region> {
        let mut region = Region::reserve(len)?;
        region.options = options;
        if options.guarded {
            region.guard = Guard::over(region.base.as_ptr() as usize, region.len, options.hidden);
        }
        Ok(region)
    }

    pub(crate) fn options(&self) -> RegionOptions {
        self.options
    }

    /// The first bytes of `bytes` that were replaced by zeros.
    #[inline]
    pub(crate) fn first_damaged(&self, bytes: &Range<usize>) -> Option<Damaged> {
        self.guard.as_ref()?.first_damaged(bytes)
    }

    /// All that was replaced by zeros, in order.
    pub(crate) fn damaged(&self) -> Vec<Damaged> {
        self.guard.as_ref().map(Guard::damaged).unwrap_or_default()
    }

    /// Children do not have all of it: what faults there may be something of their own.
    pub(crate) fn note_kept_from_children(&self) {
        if let Some(guard) = &self.guard {
            guard.hide(Hidden { from_children: true, ..self.options.hidden });
        }
    }

    /// The file that is placed here is closed, although it stays mapped.
    pub(crate) fn forget_descriptor(&self) {
        if let Some(guard) = &self.guard {
            guard.descriptor_gone();
        }
    }

    /// Loads a byte of each page of `bytes`, where faults are answered: what cannot be had is then noted.
    ///
    /// The pages are mapped and readable.
    #[inline]
    pub(crate) fn probe(&self, bytes: &Range<usize>) {
        if self.guard.is_none() || bytes.is_empty() {
            return;
        }
        let page = super::page_size();
        let mut at = bytes.start;
        while at < bytes.end {
            // SAFETY: within the region (`address` checks), readable as the callers see to, and guarded.
            unsafe { probe::touch(self.address(at)) };
            at = (at / page + 1) * page;
        }
    }

    /// How parts of the region may be accessed, `PROT_*`; `None`: as they were placed.
    pub(crate) fn note_protections(&mut self, parts: Option<Vec<(Range<usize>, i32)>>) {
        if let Some(guard) = &mut self.guard {
            guard.protections(parts);
        }
    }

    /// These bytes count as sound from here on; what was damaged among them.
    pub(crate) fn forget_damaged(&self, bytes: &Range<usize>) -> Vec<Damaged> {
        self.guard.as_ref().map(|guard| guard.forget(bytes)).unwrap_or_default()
    }

    /// What `forget_damaged` told counts as damaged again, or what lay at the same place of another region.
    pub(crate) fn note_damaged(&self, damaged: &[Damaged]) {
        if let Some(guard) = &self.guard {
            guard.note(damaged);
        }
    }

    /// What every placement is followed by. `damaged` were the bytes that it was to make good.
    fn placed(
        &mut self,
        bytes: &Range<usize>,
        placed: rustix::io::Result<()>,
        damaged: &[Damaged],
    ) -> io::Result<()> {
        if let Err(error) = placed {
            self.note_damaged(damaged);
            return Err(self.hold(bytes, error.into()));
        }
        for advice in self.options.hidden.advice() {
            // SAFETY: changes no byte in this process; the pages are our own (checked by the callers).
            let done = unsafe { libc::madvise(self.address(bytes.start).cast(), bytes.len(), advice) };
            if done != 0 {
                let error = io::Error::last_os_error();
                // Whoever placed it goes no further: what was to come there has not come.
                self.note_damaged(damaged);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The first address. Valid for what was placed there, for as long as the region lives.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Reserved bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of `at`, which may be one past the end.
    pub(super) fn address(&self, at: usize) -> *mut u8 {
        assert!(at <= self.len, "address {at} outside a region of {} bytes", self.len);
        self.base.as_ptr().wrapping_add(at)
    }

    pub(super) fn check(&self, bytes: &Range<usize>) {
        let page = super::page_size();
        assert!(bytes.start.is_multiple_of(page) && bytes.end.is_multiple_of(page), "unaligned placement");
        assert!(bytes.start <= bytes.end && bytes.end <= self.len, "placement outside the region");
    }

    /// Maps `fd` from `offset` on over `bytes`, replacing what was there.
    ///
    /// `flags` says shared or private and the like; `bytes` and `offset` are page-aligned.
    /// What was given up is left out.
    pub(crate) fn place_file(
        &mut self,
        bytes: Range<usize>,
        fd: BorrowedFd<'_>,
        offset: u64,
        protection: ProtFlags,
        flags: MapFlags,
    ) -> io::Result<()> {
        self.check(&bytes);
        for part in self.held(&bytes) {
            let offset = offset + (part.start - bytes.start) as u64;
            self.place_file_whole(part, fd, offset, protection, flags)?;
        }
        Ok(())
    }

    fn place_file_whole(
        &mut self,
        bytes: Range<usize>,
        fd: BorrowedFd<'_>,
        offset: u64,
        protection: ProtFlags,
        flags: MapFlags,
    ) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Before: what a fault notes from here on is about the new pages.
        let before = self.forget_damaged(&bytes);
        if let Some(guard) = &self.guard {
            guard.file_placed(&bytes, fd.as_raw_fd(), offset, protection.bits() as i32);
        }
        // SAFETY: the target lies in our own reservation (checked above), so MAP_FIXED replaces only our own mappings,
        // and `&mut self` says that no reference into them lives.
        let placed = unsafe {
            mm::mmap(
                self.address(bytes.start).cast(),
                bytes.len(),
                protection,
                flags | MapFlags::FIXED,
                fd,
                offset,
            )
        };
        self.placed(&bytes, placed.map(drop), &before)
    }

    /// Maps fresh zeros over `bytes`, replacing what was there. What was given up is left out.
    pub(crate) fn place_anonymous(
        &mut self,
        bytes: Range<usize>,
        protection: ProtFlags,
        flags: MapFlags,
    ) -> io::Result<()> {
        self.check(&bytes);
        for part in self.held(&bytes) {
            self.place_anonymous_whole(part, protection, flags)?;
        }
        Ok(())
    }

    fn place_anonymous_whole(
        &mut self,
        bytes: Range<usize>,
        protection: ProtFlags,
        flags: MapFlags,
    ) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let before = self.forget_damaged(&bytes);
        // SAFETY: as in `place_file`.
        let placed = unsafe {
            mm::mmap_anonymous(
                self.address(bytes.start).cast(),
                bytes.len(),
                protection,
                flags | MapFlags::FIXED,
            )
        };
        if let Some(guard) = self.guard.as_ref().filter(|_| placed.is_ok()) {
            guard.memory_placed(&bytes, protection.bits() as i32);
        }
        self.placed(&bytes, placed.map(drop), &before)
    }

    /// After a call that was to replace what is mapped at `bytes` and failed: the kernel may have taken the old mappings away first
    /// (mmap(2)), and whatever another thread maps next could come to lie in the gap, to be replaced or unmapped by us later.
    /// So the addresses are reserved again: in a guarded region with zeros that count as damaged, since safe calls may be made on what
    /// lay there. Returns the error.
    fn hold(&self, bytes: &Range<usize>, error: io::Error) -> io::Error {
        let address = self.address(bytes.start).cast();
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        let access = match self.guard {
            Some(_) => ProtFlags::READ | ProtFlags::WRITE,
            None => ProtFlags::empty(),
        };
        // SAFETY: replaces nothing: where anything is mapped the call fails.
        let held = unsafe { mm::mmap_anonymous(address, bytes.len(), access, flags) };
        match held {
            Ok(at) if at == address => {
                self.note_damaged(&[Damaged { bytes: bytes.clone(), cause: Cause::Unreadable }]);
                return error;
            }
            // Linux before 4.17 takes the flag for nothing, and an address that is taken for a mere wish.
            Ok(elsewhere) => {
                // SAFETY: mapped just now, and nobody knows it.
                let unmapped = unsafe { mm::munmap(elsewhere, bytes.len()) };
                log::debug!("a mapping that nobody needs: {unmapped:?}");
            }
            // Nothing was taken away: the usual case.
            Err(_) => {}
        }
        self.require_whole(bytes);
        error
    }

    /// Ends the process if `bytes` are not mapped as a whole: then somebody else's mapping has come to lie among them within the
    /// moment that they were free, or the kernel has no memory left to hold them, and nothing more could be sound.
    fn require_whole(&self, bytes: &Range<usize>) {
        // SAFETY: MS_ASYNC does nothing but look whether the range is mapped (msync(2): ENOMEM if not).
        let whole = unsafe { mm::msync(self.address(bytes.start).cast(), bytes.len(), MsyncFlags::ASYNC) };
        if whole == Err(rustix::io::Errno::NOMEM) {
            super::freeze::give_up(format_args!(
                "{} bytes of addresses were lost to somebody else",
                bytes.len()
            ));
        }
    }

    /// Takes what is placed at `bytes` away; the addresses stay reserved.
    pub(crate) fn clear(&mut self, bytes: Range<usize>) -> io::Result<()> {
        let access =
            if self.options.never_bare { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::empty() };
        self.place_anonymous(bytes, access, MapFlags::PRIVATE | MapFlags::NORESERVE)
    }

    /// Leaves the region to nobody: what is returned owns the addresses from here on, and this one is empty.
    pub(crate) fn take(&mut self) -> Region {
        let empty = Region {
            base: NonNull::dangling(),
            len: 0,
            birth: self.birth,
            options: self.options,
            guard: None,
            given_up: RangeSet::new(),
        };
        std::mem::replace(self, empty)
    }

    /// Drops this process's private copies of the pages in these runs (`MADV_DONTNEED`): the next access reads the backing
    /// file, or zeros where there is none. After an error some are gone.
    pub(crate) fn drop_private(&mut self, runs: &[Range<usize>]) -> io::Result<()> {
        self.advise_runs(runs, Advice::LinuxDontNeed)
    }

    /// Maps the pages of these runs ahead of their next use, as far as the kernel can.
    pub(crate) fn map_pages(&mut self, runs: &[Range<usize>]) {
        if let Err(error) = self.advise_runs(runs, Advice::LinuxPopulateRead) {
            log::debug!("pages are mapped when they are used: {error}");
        }
    }

    /// Advice that changes no byte of memory that somebody else has, and none of our own but what `DontNeed` drops.
    fn advise_runs(&mut self, runs: &[Range<usize>], advice: Advice) -> io::Result<()> {
        runs.iter().for_each(|bytes| self.check(bytes));
        let held: Vec<Range<usize>> = runs.iter().flat_map(|bytes| self.held(bytes)).collect();
        let mut runs: Vec<&Range<usize>> = held.iter().collect();
        while runs.len() > 1 {
            let batch = runs.len().min(IOV_MAX);
            if !self.advise_runs_at_once(&runs[runs.len() - batch..], advice) {
                break;
            }
            runs.truncate(runs.len() - batch);
        }
        for bytes in runs {
            // SAFETY: only our own pages change (checked above), and `&mut self` says that no reference into them lives.
            unsafe { mm::madvise(self.address(bytes.start).cast(), bytes.len(), advice)? };
        }
        Ok(())
    }

    /// The same in one call, in half the time, where the kernel lets a process advise itself like that (process_madvise(2),
    /// Linux 6.14).
    fn advise_runs_at_once(&mut self, runs: &[&Range<usize>], advice: Advice) -> bool {
        let vector: Vec<libc::iovec> = runs
            .iter()
            .map(|bytes| libc::iovec { iov_base: self.address(bytes.start).cast(), iov_len: bytes.len() })
            .collect();
        // SAFETY: the kernel reads the vector, which lives across the call; only our own pages change (checked by the
        // caller), and `&mut self` says that no reference into them lives.
        let advised = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                PIDFD_SELF,
                vector.as_ptr(),
                vector.len(),
                advice as libc::c_int,
                0,
            )
        };
        usize::try_from(advised).is_ok_and(|advised| advised == runs.iter().map(|bytes| bytes.len()).sum())
    }

    /// Takes what is mapped at `bytes` of another region over, which is left with fresh zeros there: private anonymous memory, one
    /// mapping. After an error the other region has all of it still, and here are addresses with nothing behind them, or what was
    /// there before.
    ///
    /// Several mappings at once the kernel moves since Linux 6.17. Before, it first took away what is to be replaced and refused then
    /// (mremap(2)): the addresses were free until they were held again.
    pub(crate) fn take_over(&mut self, other: &mut Region, bytes: Range<usize>) -> io::Result<()> {
        self.check(&bytes);
        other.check(&bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        let (from, to) = (other.address(bytes.start), self.address(bytes.start));
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
        // SAFETY: both ranges lie within reservations of ours (checked above), and `&mut` on both says that no reference
        // into them lives; the old range stays mapped, so nobody else can come to be there.
        let moved = unsafe { libc::mremap(from.cast(), bytes.len(), bytes.len(), flags, to) };
        if moved == libc::MAP_FAILED {
            return Err(self.hold(&bytes, io::Error::last_os_error()));
        }
        Ok(())
    }

    /// Has the kernel back these pages with huge ones where it can.
    pub(crate) fn allow_huge_pages(&mut self, bytes: Range<usize>) {
        if let Err(error) = self.advise_runs(&[bytes], Advice::LinuxHugepage) {
            log::debug!("huge pages are not to be had: {error}");
        }
    }

    /// Has the kernel put these pages together into huge ones, now, as far as it can and that is wanted.
    pub(crate) fn put_together(&self, bytes: Range<usize>) {
        if self.options.put_together
            && let Err(error) = self.advise(bytes, super::advise::Advice::Collapse)
        {
            log::debug!("pages stay apart: {error}");
        }
    }

    /// Has the kernel back these pages one by one. Where it knows no others that is no error.
    pub(crate) fn refuse_huge_pages(&mut self, bytes: Range<usize>) {
        if let Err(error) = self.advise_runs(&[bytes], Advice::LinuxNoHugepage) {
            log::debug!("huge pages are not refused: {error}");
        }
    }

    /// Whatever is mapped at `bytes` from here on is somebody else's: nothing is placed there, advised, or unmapped with the region. The
    /// caller sees to it that nothing is looked at there.
    pub(crate) fn give_up(&mut self, bytes: &Range<usize>) {
        self.check(bytes);
        self.given_up.insert(bytes.start as u64..bytes.end as u64);
    }

    /// Was any of it given up?
    pub(crate) fn is_given_up(&self, bytes: &Range<usize>) -> bool {
        self.given_up.first_within(&(bytes.start as u64..bytes.end as u64)).is_some()
    }

    /// The parts of `bytes` that were given up.
    pub(crate) fn given_up(&self, bytes: &Range<usize>) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut at = bytes.start as u64;
        while let Some(gap) = self.given_up.first_within(&(at..bytes.end as u64)) {
            at = gap.end;
            parts.push(gap.start as usize..gap.end as usize);
        }
        parts
    }

    /// What was given up among `bytes` and is free by now belongs to the region again, with nothing placed there. An error, and nothing
    /// changed, where any of it is somebody's.
    pub(crate) fn take_back(&mut self, bytes: &Range<usize>) -> io::Result<()> {
        self.check(bytes);
        let mut taken: Vec<Range<usize>> = Vec::new();
        for gap in self.given_up(bytes) {
            let address = self.address(gap.start).cast();
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
            // SAFETY: replaces nothing: where anything is mapped the call fails.
            let held = unsafe { mm::mmap_anonymous(address, gap.len(), ProtFlags::empty(), flags) };
            let error = match held {
                Ok(found) if found == address => {
                    taken.push(gap);
                    continue;
                }
                Ok(elsewhere) => {
                    // SAFETY: mapped just now, and nobody knows it.
                    let unmapped = unsafe { mm::munmap(elsewhere, gap.len()) };
                    log::debug!("a mapping that nobody needs: {unmapped:?}");
                    rustix::io::Errno::EXIST
                }
                Err(error) => error,
            };
            for gap in taken {
                // SAFETY: reserved just now, and nobody knows it.
                let unmapped = unsafe { mm::munmap(self.address(gap.start).cast(), gap.len()) };
                log::debug!("given up again: {unmapped:?}");
            }
            return Err(error.into());
        }
        self.given_up.remove(bytes.start as u64..bytes.end as u64);
        Ok(())
    }

    /// The parts of `bytes` that were not given up.
    pub(crate) fn held(&self, bytes: &Range<usize>) -> Vec<Range<usize>> {
        let gaps = self.given_up.gaps(bytes.start as u64..bytes.end as u64);
        gaps.into_iter().map(|part| part.start as usize..part.end as usize).collect()
    }

    /// Unmaps everything now, and says how that went; dropping can only log it. The region is then empty.
    pub(crate) fn unmap(&mut self) -> io::Result<()> {
        let len = std::mem::take(&mut self.len);
        // Before the addresses can become somebody else's.
        self.guard = None;
        // A forked child never had these pages (they are kept from children), or shares them with nobody who could miss
        // them; it may since have mapped something else at the same addresses.
        if len == 0 || self.birth.is_elsewhere() {
            return Ok(());
        }
        for ours in self.given_up.gaps(0..len as u64) {
            let (start, len) = (ours.start as usize, (ours.end - ours.start) as usize);
            // SAFETY: the range is ours (invariant, and not given up), and from here on the region is empty: nothing more can be had
            // from it.
            unsafe { mm::munmap(self.base.as_ptr().wrapping_add(start).cast(), len)? };
        }
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Err(error) = self.unmap() {
            log::error!("cannot unmap a region: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_placement_that_fails_leaves_no_gap_for_others() {
        let page = crate::sys::page_size();
        // The kernel asks a socket whether it can be mapped only when it has made room for it.
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut region = Region::reserve(4 * page).unwrap();
        let stores = ProtFlags::READ | ProtFlags::WRITE;
        region.place_anonymous(0..4 * page, stores, MapFlags::PRIVATE).unwrap();
        let placed = region.place_file(page..3 * page, socket.as_fd(), 0, stores, MapFlags::PRIVATE);
        assert_eq!(placed.unwrap_err().raw_os_error(), Some(libc::ENODEV));
        let mapped =
            super::super::maps::mappings(&(region.as_ptr() as usize..region.as_ptr() as usize + 4 * page));
        assert_eq!(mapped.unwrap().iter().map(|mapping| mapping.len() / page).collect::<Vec<_>>(), [1, 2, 1]);
        // And it is still usable.
        region.place_anonymous(page..3 * page, stores, MapFlags::PRIVATE).unwrap();
    }

    #[cfg(feature = "guard")]
    #[test]
    fn a_placement_that_fails_leaves_zeros_that_are_damaged_and_can_be_touched() {
        let page = crate::sys::page_size();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let options = RegionOptions { guarded: true, ..RegionOptions::default() };
        let mut region = Region::reserve_as(4 * page, options).unwrap();
        region.place_anonymous(0..4 * page, ProtFlags::READ, MapFlags::PRIVATE).unwrap();
        // SAFETY: as if the memory had failed (`BUS_MCEERR_AR`): the page is this test's own.
        assert!(unsafe { crate::fault::answer(region.as_ptr() as usize + page, 4) });
        region.place_file(0..4 * page, socket.as_fd(), 0, ProtFlags::READ, MapFlags::PRIVATE).unwrap_err();
        let mut at = 0;
        for damaged in region.damaged() {
            assert_eq!(damaged.bytes.start, at);
            at = damaged.bytes.end;
        }
        assert_eq!(at, 4 * page, "the kernel had taken all of it away");
        // SAFETY: the region is mapped, and nobody else knows it.
        assert_eq!(unsafe { region.as_ptr().wrapping_add(2 * page).read_volatile() }, 0);
        region.place_anonymous(0..4 * page, ProtFlags::READ, MapFlags::PRIVATE).unwrap();
        assert_eq!(region.damaged(), []);
    }
}
