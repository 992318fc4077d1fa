//! Copies into and out of a region that end in an error value, never in a signal.
//!
//! # Safety
//!
//! This file is trusted with handing addresses inside a [`Region`] to `process_vm_readv`, `pread` and `pwrite`. The
//! kernel does the copying and answers `EFAULT` where an access by this process would have been a SIGSEGV or SIGBUS.
//! It is also a copy that Rust's memory model does not see, like one by another process: it may race with the stores
//! of others.
//!
//! Two ways, tried in this order:
//!
//! 1. `process_vm_readv` on this very process: one call, one copy. The mapping is always the *local* side when it is
//!    written: the kernel then stores through this process's page tables and takes ordinary page faults. As the remote
//!    side (`process_vm_writev`) its pages would be pinned and marked dirty behind the file system's back, and a
//!    write-back between the two could lose the bytes.
//! 2. Where that is forbidden (a seccomp filter) or cannot look at the caller's buffer (device memory): through a memfd,
//!    written from the one side and read to the other.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::region::Region;

/// Bytes that go through the memfd at a time: bounds its memory.
const CHUNK_BYTES: usize = 1 << 20;

/// So many parts are copied in one call (IOV_MAX).
const PARTS_MAX: usize = 1024;

/// Set once `process_vm_readv` was refused outright, so that it is not asked again.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// How bytes get across.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The first way, and the second where it fails.
    Fastest,
    /// The second way only: tests see to it that it works where the first one does too.
    #[cfg_attr(not(test), expect(dead_code))]
    Scratch,
}

impl Region {
    /// Copies the bytes at `at` into `to`. An error, usually `EFAULT`, says nothing about how far it came.
    pub(crate) fn read(&self, at: usize, to: &mut [u8], route: Route) -> io::Result<()> {
        self.within(at, to.len());
        // SAFETY: `to` is writable memory that is ours alone; bytes are valid for any content.
        unsafe { copy(self.address(at), to.as_mut_ptr(), to.len(), route) }
    }

    /// Copies several parts into `to`, which is as long as all of them, one behind the other: in one call where that is to be had. An error
    /// says nothing about how far it came.
    pub(crate) fn read_parts(&self, parts: &[Range<usize>], to: &mut [u8]) -> io::Result<()> {
        let len: usize = parts.iter().map(ExactSizeIterator::len).sum();
        assert_eq!(len, to.len(), "parts of another length");
        parts.iter().for_each(|part| self.within(part.start, part.len()));
        if parts.len() > 1 && parts.len() <= PARTS_MAX && !REFUSED.load(Ordering::Relaxed) {
            let remote: Vec<_> = parts
                .iter()
                .map(|part| libc::iovec { iov_base: self.address(part.start).cast(), iov_len: part.len() })
                .collect();
            let local = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: len };
            let me = rustix::process::getpid().as_raw_nonzero().get();
            // SAFETY: the kernel checks every page of both sides itself; `to` is the caller's alone, the other side is only read, and
            // all descriptions live across the call.
            let count = unsafe {
                libc::process_vm_readv(
                    me,
                    &raw const local,
                    1,
                    remote.as_ptr(),
                    remote.len() as libc::c_ulong,
                    0,
                )
            };
            if usize::try_from(count) == Ok(len) {
                return Ok(());
            }
        }
        let mut rest = to;
        for part in parts {
            let (these, others) = rest.split_at_mut(part.len());
            self.read(part.start, these, Route::Fastest)?;
            rest = others;
        }
        Ok(())
    }

    /// Copies `from` to the bytes at `at`. After an error a part from the start may have been written.
    ///
    /// Whoever holds a reference to these bytes promised, where it was made, that nobody writes them.
    pub(crate) fn write(&self, at: usize, from: &[u8], route: Route) -> io::Result<()> {
        self.within(at, from.len());
        // SAFETY: the target lies in this region, whose bytes no safe reference covers except as atomics.
        unsafe { copy(from.as_ptr(), self.address(at), from.len(), route) }
    }

    /// Copies `len` bytes from another region. Both are the caller's alone while this runs.
    pub(crate) fn copy_from(
        &mut self,
        at: usize,
        from: &Region,
        from_at: usize,
        len: usize,
    ) -> io::Result<()> {
        self.within(at, len);
        from.within(from_at, len);
        // SAFETY: the target lies in this region, and `&mut self` says that nobody refers to it.
        unsafe { copy(from.address(from_at), self.address(at), len, Route::Fastest) }
    }

    fn within(&self, at: usize, len: usize) {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len()), "a copy outside the region");
    }
}

/// # Safety
///
/// `to .. to + len` may be overwritten with any bytes. Neither side needs to be mapped.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize, route: Route) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let mut done = 0;
    if route == Route::Fastest && !REFUSED.load(Ordering::Relaxed) {
        // SAFETY: passed on.
        match unsafe { copy_direct(from, to, len) } {
            Ok(count) => done = count,
            Err(_) => REFUSED.store(true, Ordering::Relaxed),
        }
    }
    if done == len {
        return Ok(());
    }
    // What is left either faults, which this way finds out too, or is memory that the first way cannot look at.
    // SAFETY: passed on; both sides stay within the given span.
    unsafe { copy_through_memfd(from.wrapping_add(done), to.wrapping_add(done), len - done) }
}

/// Copies until the end or the first fault; an error means that the call is not to be had at all.
///
/// # Safety
///
/// As for [`copy`].
unsafe fn copy_direct(from: *const u8, to: *mut u8, len: usize) -> io::Result<usize> {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let mut done = 0;
    while done < len {
        let local = libc::iovec { iov_base: to.wrapping_add(done).cast(), iov_len: len - done };
        let remote = libc::iovec { iov_base: from.wrapping_add(done).cast_mut().cast(), iov_len: len - done };
        // SAFETY: the kernel checks every page of both sides itself; the local side may be overwritten (contract), the
        // remote side is only read, and both descriptions live across the call.
        let count = unsafe { libc::process_vm_readv(me, &raw const local, 1, &raw const remote, 1, 0) };
        match count {
            1.. => done += count as usize,
            0 => break,
            _ => {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EFAULT) => break,
                    Some(libc::EINTR) => {}
                    // A shortage of memory passes, the other way is for this time only.
                    Some(libc::ENOMEM) => break,
                    _ => return Err(error),
                }
            }
        }
    }
    Ok(done)
}

/// # Safety
///
/// As for [`copy`].
unsafe fn copy_through_memfd(from: *const u8, to: *mut u8, len: usize) -> io::Result<()> {
    // Beyond the limit of file sizes a write to the memfd would raise SIGXFSZ.
    let chunk_max =
        super::file_size_limit().map_or(CHUNK_BYTES, |limit| limit.min(CHUNK_BYTES as u64) as usize);
    if chunk_max == 0 {
        // What the first way could not reach stays out of reach.
        return Err(rustix::io::Errno::FAULT.into());
    }
    // One a call, so that threads and forked children never meet in it.
    let scratch = super::memfd::create("steadfast-copy")?;
    let mut done = 0;
    while done < len {
        let chunk = (len - done).min(chunk_max);
        fill(&scratch, from.wrapping_add(done), chunk)?;
        // SAFETY: `to` may be overwritten (contract).
        unsafe { drain(&scratch, to.wrapping_add(done), chunk)? };
        done += chunk;
    }
    Ok(())
}

fn fill(scratch: &OwnedFd, from: *const u8, len: usize) -> io::Result<()> {
    transfer(len, |at| {
        // SAFETY: the kernel only reads the source, and checks each page of it itself.
        unsafe {
            libc::pwrite(scratch.as_raw_fd(), from.wrapping_add(at).cast(), len - at, at as libc::off_t)
        }
    })
}

/// # Safety
///
/// `to .. to + len` may be overwritten with any bytes.
unsafe fn drain(scratch: &OwnedFd, to: *mut u8, len: usize) -> io::Result<()> {
    transfer(len, |at| {
        // SAFETY: the target may be overwritten (contract), and the kernel checks each page of it itself.
        unsafe { libc::pread(scratch.as_raw_fd(), to.wrapping_add(at).cast(), len - at, at as libc::off_t) }
    })
}

/// Calls until `len` bytes went across. A bad page shows as a short count and then as `EFAULT`.
fn transfer(len: usize, mut call: impl FnMut(usize) -> isize) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        match call(done) {
            count @ 1.. => done += count as usize,
            0 => return Err(rustix::io::Errno::FAULT.into()),
            _ => {
                let error = io::Error::last_os_error();
                if error.raw_os_error() != Some(libc::EINTR) {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mm::{MapFlags, ProtFlags};

    /// A page, a hole of a page, a page.
    fn region() -> (Region, usize) {
        let page = crate::sys::page_size();
        let mut region = Region::reserve(3 * page).unwrap();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        region.place_anonymous(0..page, access, MapFlags::PRIVATE).unwrap();
        region.place_anonymous(2 * page..3 * page, access, MapFlags::PRIVATE).unwrap();
        (region, page)
    }

    #[test]
    fn both_routes_copy_and_answer_a_hole_with_efault() {
        for route in [Route::Fastest, Route::Scratch] {
            let (region, page) = region();
            let bytes: Vec<u8> = (0..page).map(|at| at as u8 ^ 0x5a).collect();
            region.write(2 * page, &bytes, route).unwrap();
            let mut back = vec![0; page];
            region.read(2 * page, &mut back, route).unwrap();
            assert_eq!(back, bytes, "{route:?}");
            region.read(page, &mut [], route).unwrap();

            for at in [page - 3, page, 2 * page - 1] {
                let error = region.read(at, &mut [0; 6], route).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EFAULT), "{route:?} read at {at}");
                let error = region.write(at, &[1; 6], route).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EFAULT), "{route:?} write at {at}");
            }
        }
    }

    #[test]
    fn parts_come_one_behind_the_other_and_a_hole_in_any_is_efault() {
        let page = crate::sys::page_size();
        let mut region = Region::reserve(4 * page).unwrap();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        region.place_anonymous(0..3 * page, access, MapFlags::PRIVATE).unwrap();
        let bytes: Vec<u8> = (0..3 * page).map(|at| (at / 3) as u8).collect();
        region.write(0, &bytes, Route::Fastest).unwrap();
        let few = vec![2 * page..2 * page + 7, 5..5, 0..page, page - 1..page + 1];
        // More than one call takes.
        let many: Vec<_> = (0..2 * PARTS_MAX).map(|part| part..part + 2).collect();
        for parts in [few, many, Vec::new()] {
            let want: Vec<u8> = parts.iter().flat_map(|part| bytes[part.clone()].to_vec()).collect();
            let mut found = vec![0; want.len()];
            region.read_parts(&parts, &mut found).unwrap();
            assert!(found == want);
        }
        for hole in 0..3 {
            let mut parts = vec![0..8, 8..16, 16..24];
            parts[hole] = 3 * page - 4..3 * page + 4;
            let error = region.read_parts(&parts, &mut [0; 24]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EFAULT), "{hole}");
        }
    }

    #[test]
    fn more_than_a_chunk_goes_through_the_memfd() {
        let len = 3 * CHUNK_BYTES + crate::sys::page_size();
        let mut region = Region::reserve(len).unwrap();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        region.place_anonymous(0..len, access, MapFlags::PRIVATE).unwrap();
        let bytes: Vec<u8> = (0..len - 5).map(|at| (at / 7) as u8).collect();
        region.write(3, &bytes, Route::Scratch).unwrap();
        let mut back = vec![0; bytes.len()];
        region.read(3, &mut back, Route::Scratch).unwrap();
        assert!(back == bytes);
    }
}
