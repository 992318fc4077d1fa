//! mmap, munmap and mremap.
//!
//! # Safety
//!
//! This file is trusted to take memory away and to put other memory in its place, where the program asks for it; and to do the same
//! with a file's image when it is given back to the kernel: only in windows that the table knows to be that image's.
#![allow(unsafe_code)]

#[cfg(all(test, feature = "guard"))]
mod tests;

use std::ffi::{c_int, c_void};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{MutexGuard, PoisonError};

use super::atomic::{self, AtomicFile};
use super::kernel::KernelFile;
use super::name::Name;
use super::process;
use super::sync::pages;
use super::table::{self, Place, Window};
use super::{os_error, protect, tail};
use crate::atomic::AtomicOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{address, freeze, page_size};

/// Flags with which one private image cannot serve.
const NOT_ATOMIC: c_int =
    libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE | libc::MAP_HUGETLB | libc::MAP_SYNC | libc::MAP_ANONYMOUS;
const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// Whoever changes what lies where, one after the other.
pub(super) fn changing() -> MutexGuard<'static, ()> {
    process::here().changes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_shared_file(flags: c_int, fd: c_int) -> bool {
    flags & libc::MAP_TYPE != libc::MAP_PRIVATE && flags & libc::MAP_ANONYMOUS == 0 && fd >= 0
}

/// # Safety
///
/// As [`super::mmap`].
pub(super) unsafe fn mmap(
    at: usize,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> Result<*mut c_void> {
    let failed = |error| os_error("mmap", error);
    let is_fixed = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
    if !is_shared_file(flags, fd) && !is_fixed {
        // SAFETY: passed on.
        return unsafe { address::mmap(at, len, prot, flags, fd, offset) }
            .map(|at| at as *mut c_void)
            .map_err(failed);
    }
    let changing = changing();
    let mut gone = Vec::new();
    if is_fixed {
        // A call that fails takes nothing away.
        check(at, len, flags, fd, offset)?;
    }
    if is_fixed && let Some(memory) = pages(at, len) {
        // What lies there goes; what commits does so first.
        let replaces = flags & libc::MAP_FIXED_NOREPLACE == 0;
        if replaces || is_free(&memory) {
            make_room("mmap", &memory)?;
            gone = table::remove(&memory);
        }
    }
    let file = if is_shared_file(flags, fd) {
        // SAFETY: the program's own descriptor, or one that is not open: then the call says so.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        if let Some(image) = atomic::of_descriptor(fd) {
            // One image cannot serve the kernel's mapping too: no store of either would be seen by the other.
            give_back(&image, Why::MappedTwice)?;
        }
        KernelFile::of(fd)
    } else {
        None
    };
    // SAFETY: passed on.
    let start = unsafe { address::mmap(at, len, prot, flags, fd, offset) }.map_err(failed)?;
    if let Some(file) = file
        && let Some(memory) = pages(start, len)
    {
        file.mapped(offset as u64..offset as u64 + memory.len() as u64);
        gone.extend(table::insert(memory, Place::Kernel(file, offset as u64)));
    }
    drop(changing);
    Ok(start as *mut c_void)
}

/// What mmap(2) looks at before it does anything.
fn check(at: usize, len: usize, flags: c_int, fd: c_int, offset: i64) -> Result<()> {
    let refuse = |errno| Err(os_error("mmap", io::Error::from_raw_os_error(errno)));
    if len == 0
        || !at.is_multiple_of(page_size())
        || offset < 0
        || !(offset as u64).is_multiple_of(page_size() as u64)
    {
        return refuse(libc::EINVAL);
    }
    if flags & libc::MAP_ANONYMOUS != 0 {
        return Ok(());
    }
    if fd < 0 {
        return refuse(libc::EBADF);
    }
    // SAFETY: only asked about, open or not.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(fd).map(drop).map_err(|error| os_error("mmap", error.into()))
}

/// # Safety
///
/// As [`super::mmap_atomic`].
pub(super) unsafe fn mmap_atomic(
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
    options: &AtomicOptions,
) -> Result<*mut c_void> {
    let refuse = |kind, reason: &'static str| Err(Error::new(kind, "mmap", reason));
    let invalid = |reason: &'static str| {
        Err(Error::new(ErrorKind::InvalidInput, "mmap", reason)
            .source_io(io::Error::from_raw_os_error(libc::EINVAL)))
    };
    if fd < 0 {
        return Err(os_error("mmap", io::Error::from_raw_os_error(libc::EBADF)));
    }
    if len == 0 {
        return invalid("a mapping has at least one byte");
    }
    if offset < 0 || !(offset as u64).is_multiple_of(page_size() as u64) {
        return invalid("the offset is not on a page boundary");
    }
    if !is_shared_file(flags, fd) || flags & NOT_ATOMIC != 0 {
        return refuse(ErrorKind::Unsupported, "the flags ask for what a private image cannot do");
    }
    // SAFETY: the program's own descriptor, or one that is not open: then the call says so.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let Some(identity) = atomic::identity_of(fd)? else {
        return refuse(
            ErrorKind::Unsupported,
            "commits need a regular file with a name, since the journal stands beside it",
        );
    };
    if !atomic::is_read_write(fd) {
        return refuse(ErrorKind::Unsupported, "the descriptor does not allow reading and writing");
    }
    let Some(end) = (offset as u64).checked_add(len as u64) else {
        return invalid("the end of the mapping is no offset");
    };
    let _changing = changing();
    let bytes = offset as u64..end.next_multiple_of(page_size() as u64);
    // The journal of one may stand beside the name that this file has now. What stays in the way is told below.
    if let Err(error) = give_back_all_lost() {
        log::warn!("{error}");
    }
    let known = atomic::of(identity);
    let file = match known {
        Some(file) => {
            let overlaps = |window: &Window, memory: &Range<usize>| {
                window.offset < bytes.end && bytes.start < window.offset + memory.len() as u64
            };
            if file.windows().iter().any(|(memory, window)| overlaps(window, memory)) {
                let path = path_of(&file);
                give_back(&file, Why::MappedTwice)?;
                return Err(Error::new(
                    ErrorKind::Busy,
                    "mmap",
                    "this process has mapped the same bytes already; both mappings are the kernel's from here on, and commit nothing",
                )
                .path(path)
                .advice("map each byte of a file once, or unmap it first"));
            }
            file
        }
        None => {
            let is_mapped = |_: Range<usize>, place: &Place| match place {
                Place::Kernel(file, _) if file.is(identity) => Some(()),
                _ => None,
            };
            if !table::find(is_mapped).is_empty() {
                return refuse(ErrorKind::Busy, "this process maps the file through the kernel already");
            }
            // SAFETY: passed on.
            unsafe { atomic::open(fd, identity, bytes.end, options)? }
        }
    };
    let Some(mut image) = file.image() else {
        return refuse(ErrorKind::Busy, "the file is being unmapped");
    };
    let (base, reserved) = (image.base()?, image.reserved_bytes()?);
    if bytes.end > reserved as u64 {
        return refuse(
            ErrorKind::Busy,
            "the file was mapped when it was much shorter, and has no more addresses to grow into",
        );
    }
    let memory = base + bytes.start as usize..base + bytes.end as usize;
    if let Err(error) = image.take_back(&(bytes.start as usize..bytes.end as usize)) {
        drop(image);
        if error.kind() == ErrorKind::Busy {
            give_back(&file, Why::MappedTwice)?;
        }
        return Err(error);
    }
    let window = Window { file: std::sync::Arc::clone(&file), offset: bytes.start, prot };
    table::insert(memory.clone(), Place::Atomic(window));
    tail::lay(&mut image);
    let len = image.len()?;
    drop(image);
    if prot != READ_WRITE {
        protect::set(&memory, prot, base + len.next_multiple_of(page_size()))?;
    }
    Ok(memory.start as *mut c_void)
}

fn path_of(file: &AtomicFile) -> std::path::PathBuf {
    file.image().and_then(|mut image| image.path().ok()).unwrap_or_default()
}

/// Before something else comes to lie there: what commits is given back, and what has a handle is not to be taken away.
fn make_room(operation: &'static str, memory: &Range<usize>) -> Result<()> {
    for (_, place) in table::parts(memory) {
        match place {
            Some(Place::Held(map)) if map.strong_count() > 0 => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    operation,
                    "the memory belongs to a map that the program has a handle of",
                )
                .source_io(io::Error::from_raw_os_error(libc::EINVAL))
                .advice("close or resize it through its handle"));
            }
            Some(Place::Atomic(window)) => give_back(&window.file, Why::MappedTwice)?,
            // To the program these addresses are free.
            Some(Place::Gap(file)) => give_back(&file, Why::MappedTwice)?,
            _ => {}
        }
    }
    Ok(())
}

static REFUSED: AtomicBool = AtomicBool::new(false);

pub(super) fn refuse_to_give_back(refuse: bool) {
    REFUSED.store(refuse, Ordering::Relaxed);
}

/// Why a file is given back to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    MappedTwice,
    LostItsName,
    ToBeRenamed,
    /// Its last name is about to be removed.
    ToBeRemoved,
}

impl Why {
    fn words(self) -> &'static str {
        match self {
            Why::MappedTwice => "mapped in a way that one image cannot serve",
            Why::LostItsName => "its name is gone, or leads to another file by now",
            Why::ToBeRenamed => "it is about to get another name",
            Why::ToBeRemoved => "it is about to be removed",
        }
    }
}

/// As `give_back`, for those who change nothing else.
pub(super) fn leave_to_kernel(file: &AtomicFile, why: Why) -> Result<()> {
    let _changing = changing();
    give_back(file, why)
}

/// While it is `changing`.
fn give_back_if_lost(file: &AtomicFile) -> Result<()> {
    let is_lost = file.image().is_some_and(|image| image.name() != Name::Kept);
    if is_lost { give_back(file, Why::LostItsName) } else { Ok(()) }
}

pub(super) fn notice_lost_name(file: &AtomicFile) -> Result<()> {
    let _changing = changing();
    give_back_if_lost(file)
}

/// Gives every file that has lost its name back to the kernel. The first error; every file was tried.
pub(super) fn notice_lost_names() -> Result<()> {
    let _changing = changing();
    give_back_all_lost()
}

/// While it is `changing`.
fn give_back_all_lost() -> Result<()> {
    let mut first = Ok(());
    for file in atomic::all() {
        first = first.and(give_back_if_lost(&file));
    }
    first
}

/// A file that has no name any more has no crash to be kept from, so there is nothing to refuse.
pub(super) fn refuse_to_leave(name: Name, path: &Path) -> Result<()> {
    if name == Name::Gone || !REFUSED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let (reason, advice) = match name {
        Name::Kept => (
            "it would have to be given back to the kernel, which was refused",
            "map each byte of a file once, and unmap it before other memory takes its place or it is renamed",
        ),
        _ => (
            "it lost its name, and is not to be given back to the kernel: nothing that is stored from now on reaches it",
            "rename it back; or rename its journal (`.steadfast`) to stand beside it, and open it there: it holds the last commit",
        ),
    };
    Err(Error::new(ErrorKind::Busy, "mmap", reason).path(path).advice(advice))
}

/// Commits everything, and puts the kernel's own mappings of the file where its windows are. Of a file that has lost its name, what is not
/// committed is written as it is. While it is `changing`.
fn give_back(file: &AtomicFile, why: Why) -> Result<()> {
    let Some(mut image) = file.image() else { return Ok(()) };
    let (name, path) = (image.name(), image.path()?);
    let why = if name == Name::Kept { why } else { Why::LostItsName };
    // What comes of its name: who has none has no crash to be kept from.
    let becomes = if why == Why::ToBeRemoved { Name::Gone } else { name };
    refuse_to_leave(becomes, &path)?;
    let opened = image.descriptor()?;
    let kernel = KernelFile::of(opened.as_fd());
    if name == Name::Kept {
        // What was stored up to here. What comes next is little, and committed while nobody can store.
        image.commit_all()?;
    }
    let windows = file.windows();
    {
        let memory: Vec<_> = windows.iter().map(|(memory, window)| (memory.clone(), window.prot)).collect();
        // SAFETY: the windows are mapped, and a thread that stores to them can wait.
        let frozen = unsafe { freeze::freeze(&memory) };
        let closed = match &frozen {
            Ok(_) => image.close_frozen(name, becomes),
            Err(error) => Err(Error::new(ErrorKind::LimitExceeded, "mmap", error.to_string()).path(&path)),
        };
        if let Err(error) = closed {
            for (memory, window) in &windows {
                protect::set(
                    memory,
                    window.prot,
                    image.base()? + image.len()?.next_multiple_of(page_size()),
                )?;
            }
            return Err(error);
        }
        for (memory, window) in &windows {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            let fd = opened.as_raw_fd();
            // SAFETY: the window is the image's, whose pages hold what the file holds by now; it is given up just below.
            let placed = unsafe {
                address::mmap(memory.start, memory.len(), window.prot, flags, fd, window.offset as i64)
            };
            if let Err(error) = placed {
                // Some windows may be the kernel's by now, and the others are not: no call could be right for both.
                let path = path.display();
                freeze::give_up(format_args!("{path}: {error} while the file was given back to the kernel"));
            }
        }
        for (memory, window) in &windows {
            if let Some(kernel) = &kernel {
                kernel.mapped(window.offset..window.offset + memory.len() as u64);
                let place = Place::Kernel(std::sync::Arc::clone(kernel), window.offset);
                table::insert(memory.clone(), place);
            } else {
                table::remove(memory);
            }
        }
    }
    // One line a file: some programs do it again and again.
    let is_news = becomes != Name::Gone && atomic::note_given_back(file.identity);
    if name == Name::Gone {
        atomic::forget_given_back(file.identity);
    }
    let (level, why) = (if is_news { log::Level::Warn } else { log::Level::Info }, why.words());
    log::log!(level, "{}: {why}: from here on it is the kernel's, and msync is not atomic", path.display());
    let windows: Vec<_> = windows.into_iter().map(|(memory, _)| memory).collect();
    image.give_up(&windows)
}

/// # Safety
///
/// As [`super::munmap`].
pub(super) unsafe fn munmap(at: usize, len: usize) -> Result<()> {
    let failed = |error| os_error("munmap", error);
    let memory = pages(at, len).filter(|memory| !memory.is_empty() && at.is_multiple_of(page_size()));
    let Some(memory) = memory.filter(table::knows) else {
        // SAFETY: passed on.
        return unsafe { address::munmap(&(at..at.saturating_add(len))) }.map_err(failed);
    };
    let _changing = changing();
    // First whatever can fail and leave everything as it is.
    for (part, place) in table::parts(&memory) {
        match place {
            Some(Place::Held(map)) if map.strong_count() > 0 => make_room("munmap", &part)?,
            Some(Place::Atomic(window)) => finish_before_unmap(&window.file, &memory)?,
            _ => {}
        }
    }
    let mut first = Ok(());
    // Looked at again: a file may be the kernel's by now.
    for (memory, place) in table::parts(&memory) {
        let gone = table::remove(&memory);
        let result = match place {
            Some(Place::Atomic(window)) => unmap_window(&memory, &window),
            Some(Place::Gap(file)) => {
                drop(table::insert(memory, Place::Gap(file)));
                Ok(())
            }
            // SAFETY: passed on.
            _ => unsafe { address::munmap(&memory) }.map_err(failed),
        };
        drop(gone);
        if first.is_ok() {
            first = result;
        }
    }
    first
}

/// Commits all of the file, as it stands now: what belongs together may lie in other windows, too. One that has lost its name is given
/// back to the kernel, unless nothing of it stays mapped: then what is stored is written, and that is all. While it is `changing`.
fn finish_before_unmap(file: &AtomicFile, memory: &Range<usize>) -> Result<()> {
    let Some(mut image) = file.image() else { return Ok(()) };
    let name = image.name();
    if name == Name::Kept {
        return image.commit_all();
    }
    if file.windows().iter().all(|(window, _)| memory.start <= window.start && window.end <= memory.end) {
        refuse_to_leave(name, &image.path()?)?;
        return image.close_without_name();
    }
    drop(image);
    give_back(file, Why::LostItsName)
}

/// A window that is committed and that the table has forgotten goes; with the last one the file is closed. While it is `changing`.
fn unmap_window(memory: &Range<usize>, window: &Window) -> Result<()> {
    let Some(mut image) = window.file.image() else { return Ok(()) };
    if window.file.windows().is_empty() {
        let path = image.path()?;
        if let Err(error) = image.close() {
            if window.file.image().is_some() {
                // Something was stored behind the commit before, and cannot be committed: it stays mapped.
                drop(table::insert(memory.clone(), Place::Atomic(window.clone())));
                return Err(error);
            }
            // The memory is gone, and every commit is safe in the journal.
            log::warn!("{}: unmapped, and left to the next open with its journal: {error}", path.display());
        }
        return Ok(());
    }
    let base = image.base()?;
    image.give_up_part(&(memory.start - base..memory.end - base))?;
    // SAFETY: the program uses it no more, and the image has no part in it.
    unsafe { address::munmap(memory) }.map_err(|error| os_error("munmap", error))
}

/// # Safety
///
/// As [`super::mremap`].
pub(super) unsafe fn mremap(
    old: usize,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new: usize,
) -> Result<*mut c_void> {
    let failed = |error| os_error("mremap", error);
    let old_memory = pages(old, old_len.max(1)).unwrap_or(old..old);
    let new_memory = pages(new, new_len).filter(|_| flags & libc::MREMAP_FIXED != 0).unwrap_or(0..0);
    if !table::knows(&old_memory) && !table::knows(&new_memory) {
        // SAFETY: passed on.
        return unsafe { address::mremap(old, old_len, new_len, flags, new) }
            .map(|at| at as *mut c_void)
            .map_err(failed);
    }
    let _changing = changing();
    make_room("mremap", &new_memory)?;
    for (_, place) in table::parts(&old_memory) {
        if let Some(Place::Atomic(window)) = place {
            give_back_if_lost(&window.file)?;
        }
    }
    let mut parts = table::parts(&old_memory);
    let place = match (parts.pop(), parts.is_empty()) {
        (Some((_, place)), true) => place,
        // Several mappings at once: the kernel refuses, or takes what it can (EFAULT, mremap(2)).
        _ => return Err(failed(io::Error::from_raw_os_error(libc::EFAULT))),
    };
    match place {
        Some(Place::Held(_)) => {
            make_room("mremap", &old_memory)?;
            Err(failed(io::Error::from_raw_os_error(libc::EFAULT)))
        }
        Some(Place::Gap(_)) => Err(failed(io::Error::from_raw_os_error(libc::EFAULT))),
        Some(Place::Atomic(window)) if old_len > 0 && flags & !libc::MREMAP_MAYMOVE == 0 => {
            let file = std::sync::Arc::clone(&window.file);
            match remap_window(&old_memory, window, new_len) {
                Err(error)
                    if error.kind() == ErrorKind::LimitExceeded && flags & libc::MREMAP_MAYMOVE != 0 =>
                {
                    // One image does not move; the kernel's mapping does.
                    log::debug!("{error}");
                    give_back(&file, Why::MappedTwice)?;
                    // SAFETY: passed on.
                    unsafe { remap_kernel(old, old_len, new_len, flags, new) }
                }
                result => result,
            }
        }
        Some(Place::Atomic(window)) => {
            // A second view of the same bytes, or a place of the program's choice.
            give_back(&window.file, Why::MappedTwice)?;
            // SAFETY: passed on.
            unsafe { remap_kernel(old, old_len, new_len, flags, new) }
        }
        // SAFETY: passed on.
        _ => unsafe { remap_kernel(old, old_len, new_len, flags, new) },
    }
}

/// Does nothing of the program's lie there, as far as is known here?
fn is_free(memory: &Range<usize>) -> bool {
    table::parts(memory).iter().all(|(_, place)| matches!(place, None | Some(Place::Gap(_))))
}

/// # Safety
///
/// As [`super::mremap`].
unsafe fn remap_kernel(
    old: usize,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new: usize,
) -> Result<*mut c_void> {
    let old_memory = pages(old, old_len.max(1)).unwrap_or(old..old);
    let place = table::parts(&old_memory).into_iter().next().and_then(|(_, place)| place);
    // SAFETY: passed on.
    let at = unsafe { address::mremap(old, old_len, new_len, flags, new) }
        .map_err(|error| os_error("mremap", error))?;
    let stays = old_len == 0 || flags & libc::MREMAP_DONTUNMAP != 0;
    if !stays {
        drop(table::remove(&old_memory));
    }
    if let (Some(Place::Kernel(file, offset)), Some(memory)) = (place, pages(at, new_len)) {
        file.mapped(offset..offset + memory.len() as u64);
        drop(table::insert(memory, Place::Kernel(file, offset)));
    }
    Ok(at as *mut c_void)
}

/// In place, always: the image has addresses to grow into. While it is `changing`.
fn remap_window(memory: &Range<usize>, window: Window, new_len: usize) -> Result<*mut c_void> {
    let invalid = || os_error("mremap", io::Error::from_raw_os_error(libc::EINVAL));
    let new_memory = pages(memory.start, new_len).filter(|new| !new.is_empty()).ok_or_else(invalid)?;
    if new_memory.end < memory.end {
        let cut = new_memory.end..memory.end;
        if let Some(mut image) = window.file.image() {
            image.commit_all()?;
        }
        drop(table::remove(&cut));
        unmap_window(&cut, &window)?;
        return Ok(memory.start as *mut c_void);
    }
    let grown = memory.end..new_memory.end;
    let Some(mut image) = window.file.image() else { return Err(invalid()) };
    let end = image.base()? + image.reserved_bytes()?;
    let base = image.base()?;
    // What was unmapped there before may be others' by now.
    let is_taken = !is_free(&grown)
        || (new_memory.end <= end && image.take_back(&(grown.start - base..grown.end - base)).is_err());
    if new_memory.end > end || is_taken {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            "mremap",
            "the image has no more addresses to grow into, or they are another mapping of the same file",
        )
        .source_io(io::Error::from_raw_os_error(libc::ENOMEM))
        .path(image.path()?)
        .advice("unmap it and map it again"));
    }
    let len = image.len()?;
    let prot = window.prot;
    drop(table::insert(new_memory.clone(), Place::Atomic(window.clone())));
    tail::lay(&mut image);
    drop(image);
    if prot != READ_WRITE {
        protect::set(&grown, prot, base + len.next_multiple_of(page_size()))?;
    }
    Ok(memory.start as *mut c_void)
}
