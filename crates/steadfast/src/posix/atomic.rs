//! A file that this process maps as memory that commits: one image for all that asks for it.

mod close;

use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use rustix::fs;

use super::in_flight;
use super::name::{self, Name};
use super::process::{self, Process};
use super::table::{self, Place, Window};
use super::tail;
use crate::atomic::{AtomicMapping, AtomicOptions};
use crate::descriptors::opened;
use crate::error::{Error, ErrorKind, Result};
use crate::store::CommitTicket;
use crate::sys::address;
use crate::sys::page_size;

/// Addresses that are reserved for a file to grow into: they cost nothing, and a program's pointers cannot move.
const RESERVED_BYTES_MIN: usize = 16 << 30;

/// By device and inode.
pub(super) type Identity = (u64, u64);

/// The image. While it is in the list of files it has a map.
#[derive(Debug)]
pub(super) struct AtomicFile {
    pub(super) identity: Identity,
    /// All its addresses, from when they are known on: a search for its windows need not look anywhere else.
    memory: OnceLock<Range<usize>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Gone once the last window is, or once the file was given back to the kernel.
    map: Option<AtomicMapping>,
    /// Of the commit that was begun last.
    ticket: Option<CommitTicket>,
    /// Where it was found.
    place: Option<name::Place>,
    /// The file is closed, and only the memory is left.
    is_closed: bool,
    /// Pages were cut off. With the commit of that their addresses are free, and what belongs there is laid.
    has_cut: bool,
}

fn images(process: &Process) -> MutexGuard<'_, HashMap<Identity, Arc<AtomicFile>>> {
    process.images.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Identity of an open file; `None` for what is no regular file with a name.
pub(super) fn identity_of(fd: BorrowedFd<'_>) -> Result<Option<Identity>> {
    let stat = fs::fstat(fd).map_err(|error| Error::from_io("mmap", error.into()))?;
    let is_named_file = fs::FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_nlink > 0;
    Ok(is_named_file.then_some((stat.st_dev, stat.st_ino)))
}

/// The image of a descriptor's file, if it has one in this process.
pub(super) fn of_descriptor(fd: BorrowedFd<'_>) -> Option<Arc<AtomicFile>> {
    if !any() {
        return None;
    }
    let stat = fs::fstat(fd).ok()?;
    of((stat.st_dev, stat.st_ino))
}

pub(super) fn of(identity: Identity) -> Option<Arc<AtomicFile>> {
    images(process::here()).get(&identity).cloned()
}

/// Has any file an image? Costs one load.
pub(super) fn any() -> bool {
    process::known().is_some_and(|process| process.image_count.load(Ordering::Acquire) != 0)
}

/// Is it among those that have an image, or went back to the kernel? Without waiting: where the lists are held for long it says no.
pub(super) fn is_listed(identity: Identity) -> bool {
    process::known().is_some_and(|process| {
        glance(&process.images).is_some_and(|files| files.contains_key(&identity))
            || glance(&process.given_back).is_some_and(|files| files.contains(&identity))
    })
}

fn glance<T>(list: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        match list.try_lock() {
            Ok(list) => return Some(list),
            Err(TryLockError::Poisoned(list)) => return Some(list.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

pub(super) fn all() -> Vec<Arc<AtomicFile>> {
    images(process::here()).values().cloned().collect()
}

/// Is it the first time that this file goes back to the kernel?
pub(super) fn note_given_back(identity: Identity) -> bool {
    process::here().given_back.lock().unwrap_or_else(PoisonError::into_inner).insert(identity)
}

/// Its number may be another file's from here on.
pub(super) fn forget_given_back(identity: Identity) {
    if let Some(process) = process::known() {
        process.given_back.lock().unwrap_or_else(PoisonError::into_inner).remove(&identity);
    }
}

pub(super) fn was_given_back(identity: Identity) -> bool {
    process::known().is_some_and(|process| {
        process.given_back.lock().unwrap_or_else(PoisonError::into_inner).contains(&identity)
    })
}

fn forget(identity: Identity) {
    let process = process::here();
    let mut files = images(process);
    files.remove(&identity);
    process.image_count.store(files.len(), Ordering::Release);
}

/// Opens the file of a descriptor. `end` is where the window that is asked for ends in the file.
///
/// # Safety
///
/// As [`AtomicOptions::view`].
#[allow(unsafe_code)]
pub(super) unsafe fn open(
    fd: BorrowedFd<'_>,
    identity: Identity,
    end: u64,
    options: &AtomicOptions,
) -> Result<Arc<AtomicFile>> {
    let len = fs::fstat(fd).map_err(|error| Error::from_io("mmap", error.into()))?.st_size as u64;
    let least = usize::try_from(end.max(len)).unwrap_or(usize::MAX).saturating_add(page_size());
    let wanted = least.saturating_mul(2).max(RESERVED_BYTES_MIN);
    // Known before it is opened: whoever writes to the file meanwhile waits for the image, and writes into that.
    let file = Arc::new(AtomicFile { identity, memory: OnceLock::new(), state: Mutex::default() });
    let mut state = file.state.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let process = process::here();
        let mut files = images(process);
        files.insert(identity, Arc::clone(&file));
        process.image_count.store(files.len(), Ordering::Release);
    }
    // Those that looked before are let through to the plain file, which is read after them.
    in_flight::wait_for_writes_to(identity);
    // Before its name is gone by: whoever takes that away meanwhile is noticed by the next call.
    let place = name::Place::of(fd, identity).inspect_err(|_| forget(identity))?;
    let mut opened = Err(Error::new(ErrorKind::LimitExceeded, "mmap", "no addresses"));
    for reserve in [wanted, least] {
        let options = options.clone().keep_from_children(false).may_be_renamed(true).reserve(reserve);
        // SAFETY: passed on to the caller.
        opened = unsafe { options.view_fd(fd) };
        if !opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::LimitExceeded) {
            break;
        }
    }
    let mut map = match opened {
        Ok(map) => map,
        Err(error) => {
            forget(identity);
            return Err(error);
        }
    };
    // It was opened by its name, which may have gone to another file in between.
    let found = map.descriptor().and_then(|fd| fs::fstat(fd).ok()).map(|stat| (stat.st_dev, stat.st_ino));
    if found != Some(identity) {
        forget(identity);
        return Err(Error::new(ErrorKind::Unsupported, "mmap", "its name leads to another file by now")
            .path(map.path()));
    }
    // From here on stores are looked for.
    map.as_mut_ptr();
    state.place = Some(place.opened_by(map.path()));
    state.map = Some(map);
    drop(state);
    if let Some(mut image) = file.image() {
        let base = image.base()?;
        let memory = base..base + image.reserved_bytes()?;
        let memory = file.memory.get_or_init(|| memory).clone();
        drop(table::insert(memory, Place::Gap(Arc::clone(&file))));
    }
    Ok(file)
}

/// The map, for one call.
pub(super) struct Image<'file> {
    file: &'file AtomicFile,
    state: MutexGuard<'file, State>,
}

impl AtomicFile {
    /// `None` where the file has no image any more.
    pub(super) fn image(&self) -> Option<Image<'_>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.map.is_some().then_some(Image { file: self, state })
    }

    /// Whatever its addresses were, they are nothing of its any more.
    fn forget_gaps(&self) {
        let gaps = self.find(|memory, place| match place {
            Place::Gap(file) if file.identity == self.identity => Some(memory),
            _ => None,
        });
        gaps.iter().for_each(|gap| drop(table::remove(gap)));
    }

    /// The windows that the program has of it.
    pub(super) fn windows(&self) -> Vec<(Range<usize>, Window)> {
        self.find(|memory, place| match place {
            Place::Atomic(window) if window.file.identity == self.identity => Some((memory, window.clone())),
            _ => None,
        })
    }

    fn find<T>(&self, pick: impl FnMut(Range<usize>, &Place) -> Option<T>) -> Vec<T> {
        self.memory.get().map_or_else(Vec::new, |memory| table::find_in(memory, pick))
    }
}

impl Image<'_> {
    /// The map, which is there: `image` has looked.
    fn map(&mut self) -> Result<&mut AtomicMapping> {
        self.state
            .map
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Io, "commit", "the file is not mapped any more"))
    }

    pub(super) fn base(&mut self) -> Result<usize> {
        Ok(self.map()?.as_ptr() as usize)
    }

    pub(super) fn len(&mut self) -> Result<usize> {
        Ok(self.map()?.len())
    }

    pub(super) fn reserved_bytes(&mut self) -> Result<usize> {
        Ok(self.map()?.reserved_bytes())
    }

    /// Addresses of windows that are behind the last page.
    pub(super) fn tails(&mut self) -> Result<Vec<Range<usize>>> {
        // Pages that were cut off and wait for the commit of that are the image's still.
        let end = self.base()? + self.map()?.mapped_bytes();
        let behind = |memory: Range<usize>| memory.start.max(end)..memory.end;
        let windows = self.file.windows().into_iter();
        Ok(windows.map(|(memory, _)| behind(memory)).filter(|tail| !tail.is_empty()).collect())
    }

    fn clip(&mut self, bytes: Range<u64>) -> Result<Range<usize>> {
        let len = self.len()?;
        let at = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX).min(len);
        Ok(at(bytes.start)..at(bytes.end))
    }

    /// What changed in these bytes of the file is a commit, durable on return.
    pub(super) fn commit(&mut self, bytes: Range<u64>) -> Result<()> {
        let bytes = self.clip(bytes)?;
        if let Some(ticket) = self.state.ticket.take() {
            ticket.wait()?;
        }
        self.readable(|map| map.commit_range(bytes).map(drop))?;
        if std::mem::take(&mut self.state.has_cut) {
            tail::lay(self);
        }
        Ok(())
    }

    /// As `commit`, and captured on return.
    pub(super) fn start_commit(&mut self, bytes: Range<u64>) -> Result<()> {
        let bytes = self.clip(bytes)?;
        let ticket = self.readable(|map| map.commit_range_async(bytes))?;
        // It stands for all before it: they become durable in order.
        self.state.ticket = Some(ticket);
        Ok(())
    }

    pub(super) fn commit_all(&mut self) -> Result<()> {
        self.commit(0..u64::MAX)
    }

    /// Its folder may be found by another path by now.
    pub(super) fn follow(&mut self) -> Result<()> {
        let State { map: Some(map), place: Some(place), .. } = &mut *self.state else { return Ok(()) };
        place.moved().map_or(Ok(()), |path| map.moved_to(&path))
    }

    pub(super) fn goes_by(&self, folder: Identity, name: &[u8]) -> bool {
        self.state.place.as_ref().is_none_or(|place| place.is(folder, name))
    }

    /// What has become of the file's name.
    pub(super) fn name(&self) -> Name {
        name::name_of(self.state.map.as_ref().and_then(AtomicMapping::descriptor), self.state.place.as_ref())
    }

    /// One more descriptor of the file that is mapped, whatever its name leads to.
    pub(super) fn descriptor(&mut self) -> Result<OwnedFd> {
        let map = self.map()?;
        let copied = match map.descriptor() {
            Some(fd) => fd.try_clone_to_owned(),
            None => Err(std::io::Error::from_raw_os_error(libc::EBADF)),
        };
        copied.map(opened).map_err(|error| Error::from_io("mmap", error).path(map.path()))
    }

    pub(super) fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let within = self.clip(offset..offset.saturating_add(bytes.len() as u64))?;
        let bytes = &mut bytes[..within.len()];
        let page = page_size();
        let is_whole = !self.map()?.is_given_up(&whole_pages(&within));
        let mut at = within.start;
        while at < within.end {
            // Page by page only where some are not there: those are as they were committed.
            let end = if is_whole { within.end } else { within.end.min((at / page + 1) * page) };
            let part = &mut bytes[at - within.start..end - within.start];
            if self.map()?.is_given_up(&whole_pages(&(at..end))) {
                self.map()?.read_committed(part, at)?;
            } else {
                self.readable(|map| map.read_at(at, part))?;
            }
            at = end;
        }
        Ok(within.len())
    }

    /// Has the program unmapped any of these bytes of the file?
    pub(super) fn lacks(&mut self, bytes: Range<u64>) -> Result<bool> {
        let bytes = bytes.start as usize..usize::try_from(bytes.end).unwrap_or(usize::MAX / 2);
        let reserved = self.reserved_bytes()?;
        let pages = whole_pages(&bytes);
        Ok(self.map()?.is_given_up(&(pages.start.min(reserved)..pages.end.min(reserved))))
    }

    /// The program has unmapped these bytes of the file, of which nothing waits for a commit.
    pub(super) fn give_up_part(&mut self, bytes: &Range<usize>) -> Result<()> {
        self.map()?.give_up(bytes);
        Ok(())
    }

    /// The program maps these bytes of the file again.
    pub(super) fn take_back(&mut self, bytes: &Range<usize>) -> Result<()> {
        self.map()?.take_back(bytes)
    }

    /// Stores, as a program's own store would. Beyond the end the image becomes longer.
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.len()? as u64 {
            self.lengthen(end)?;
        }
        let at = offset as usize;
        self.writable(at..at + bytes.len(), |map| map.write_at(at, bytes))?;
        Ok(bytes.len())
    }

    fn lengthen(&mut self, len: u64) -> Result<()> {
        let reserved = self.reserved_bytes()?;
        let path = self.map()?.path().to_owned();
        let Some(len) = usize::try_from(len).ok().filter(|&len| len <= reserved) else {
            return Err(Error::new(
                ErrorKind::NoSpace,
                "write",
                format!(
                    "{len} bytes are more than the {reserved} that were reserved when the file was mapped"
                ),
            )
            .source_io(std::io::Error::from_raw_os_error(libc::EFBIG))
            .path(path)
            .advice("unmap it, let it grow, and map it again"));
        };
        self.map()?.resize(len)?;
        self.protect_again()
    }

    /// Sets the length, and commits everything with it.
    pub(super) fn set_len(&mut self, len: u64) -> Result<()> {
        let have = self.len()?;
        if len > have as u64 {
            self.lengthen(len)?;
        } else {
            let len = len as usize;
            let end = have.min(len.next_multiple_of(page_size()));
            if end > len {
                // What a page holds behind the new end reads as zeros (ftruncate(2)).
                self.writable(len..end, |map| map.write_at(len, &vec![0; end - len]))?;
            }
            self.map()?.resize(len)?;
            self.state.has_cut = true;
        }
        self.commit_all()
    }

    /// Makes zeros, as far as the file goes.
    pub(super) fn zero(&mut self, bytes: Range<u64>) -> Result<()> {
        static PIECE: [u8; 64 << 10] = [0; 64 << 10];
        let bytes = self.clip(bytes)?;
        let mut at = bytes.start;
        while at < bytes.end {
            let piece = &PIECE[..PIECE.len().min(bytes.end - at)];
            self.writable(at..at + piece.len(), |map| map.write_at(at, piece))?;
            at += piece.len();
        }
        Ok(())
    }

    /// Calls for which every page can be read, whatever the program may do there.
    fn readable<T>(&mut self, call: impl FnOnce(&mut AtomicMapping) -> Result<T>) -> Result<T> {
        let hidden: Vec<_> = self
            .file
            .windows()
            .into_iter()
            .filter(|(_, window)| window.prot & libc::PROT_READ == 0)
            .collect();
        self.opened(&hidden, libc::PROT_READ, call)
    }

    /// Calls for which these bytes of the file can be written, and all can be read.
    fn writable<T>(
        &mut self,
        bytes: Range<usize>,
        call: impl FnOnce(&mut AtomicMapping) -> Result<T>,
    ) -> Result<T> {
        let base = self.base()?;
        let memory = base + bytes.start..base + bytes.end;
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let closed: Vec<_> = self
            .file
            .windows()
            .into_iter()
            .filter(|(at, window)| {
                at.start < memory.end && memory.start < at.end && window.prot & both != both
            })
            .collect();
        self.opened(&closed, both, call)
    }

    #[allow(unsafe_code)]
    fn opened<T>(
        &mut self,
        windows: &[(Range<usize>, Window)],
        prot: i32,
        call: impl FnOnce(&mut AtomicMapping) -> Result<T>,
    ) -> Result<T> {
        for (memory, window) in windows {
            // SAFETY: takes no access away.
            unsafe { address::mprotect(memory, window.prot | prot) }
                .map_err(|error| Error::from_io("mprotect", error))?;
        }
        let result = self.map().and_then(call);
        for (memory, window) in windows {
            // SAFETY: the program itself asked for this access.
            if let Err(error) = unsafe { address::mprotect(memory, window.prot) } {
                log::warn!("memory stays accessible: {error}");
            }
        }
        result
    }

    /// Pages that were placed anew have the access again that the program asked for.
    #[allow(unsafe_code)]
    fn protect_again(&mut self) -> Result<()> {
        let end = self.base()? + self.len()?.next_multiple_of(page_size());
        for (memory, window) in self.file.windows() {
            let memory = memory.start..memory.end.min(end);
            if window.prot == libc::PROT_READ | libc::PROT_WRITE || memory.is_empty() {
                continue;
            }
            // SAFETY: the program itself asked for this access.
            unsafe { address::mprotect(&memory, window.prot) }
                .map_err(|error| Error::from_io("mprotect", error))?;
        }
        Ok(())
    }

    pub(super) fn path(&mut self) -> Result<std::path::PathBuf> {
        Ok(self.map()?.path().to_owned())
    }
}

fn whole_pages(bytes: &Range<usize>) -> Range<usize> {
    let page = page_size();
    bytes.start / page * page..bytes.end.next_multiple_of(page)
}

/// Whether a descriptor allows what a shared writable mapping needs.
pub(super) fn is_read_write(fd: BorrowedFd<'_>) -> bool {
    fs::fcntl_getfl(fd).is_ok_and(|flags| flags & fs::OFlags::RWMODE == fs::OFlags::RDWR)
}
