//! How an atomic map is opened.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::working::Working;
use super::{AtomicMapping, Tracker};
use crate::batch::Batch;
use crate::disk::{Disk, RealDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Flush, JournaledFileOptions, Resolution, Snapshot, Store};
use crate::sys::region::{Hidden, Region, RegionOptions};

/// Options of an [`AtomicMapping`], which has an example.
#[derive(Debug, Clone, Default)]
pub struct AtomicOptions {
    create: bool,
    len: Option<usize>,
    reserve: usize,
    tracker: Tracker,
    unguarded: bool,
    keep_from_dumps: bool,
    keep_addresses: bool,
    huge_pages: bool,
    shown_to_children: bool,
    read_only: bool,
    allow_volatile: bool,
    file: JournaledFileOptions,
}

impl AtomicOptions {
    /// Create the file if it does not exist, and let [`len`](AtomicOptions::len) grow it. Default: no.
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self.file = self.file.create(create);
        self
    }

    /// The least length in bytes. A shorter file is grown to it, as a commit of its own, if it may be created; else it is an
    /// error. A longer file stays as long as it is. Default: the file's length.
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn len(mut self, len: usize) -> Self {
        self.len = Some(len);
        self
    }

    /// Addresses to reserve, in bytes: growth within them never moves the memory. Costs no memory. Default: the length.
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn reserve(mut self, bytes: usize) -> Self {
        self.reserve = bytes;
        self
    }

    /// How plain stores are found; declared edits need no search. Nothing is tracked, and nothing paid, before the whole
    /// slice is borrowed mutably for the first time; that first borrow of a loaded map takes about as long as loading it,
    /// unless a tracker is named here. Default: [`Automatic`](Tracker::Automatic), or what the environment variable
    /// `STEADFAST_TRACKER` says (`automatic`, `write-protect`, `private-copies` or `declared`).
    ///
    /// ```
    /// use steadfast::{AtomicMapping, Tracker};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("a");
    /// let options = AtomicMapping::options().tracker(Tracker::PrivateCopies);
    /// let mut map = options.create(true).len(4096).allow_volatile(true).load(&path)?;
    /// assert_eq!(map.tracker(), Tracker::PrivateCopies);
    /// map[7] = 7;
    /// map.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tracker(mut self, tracker: Tracker) -> Self {
        self.tracker = tracker;
        self
    }

    /// Show the last commit, and change nothing: for [`load`](AtomicOptions::load), which then takes no lock, leaves no trace, and needs
    /// no more than permission to read, also on a read-only file system. Default: no.
    ///
    /// - Beside a live writer the map holds its last commit, whole, also while a checkpoint is under way; the writer goes on. What it
    ///   commits later is seen by the next open.
    /// - After a crash it holds what recovery will make. Nothing is recovered: that is for the next open that writes.
    /// - Of a plain file it holds the bytes. (Where another program writes such a file meanwhile, there is no commit to show.)
    ///
    /// [`status`](AtomicMapping::status) tells which commit it is; it is durable. To know that, the journal is flushed and its last
    /// record is read back from the disk: that is one flush more for the writer's disk.
    ///
    /// Stores into the memory are private; [`rollback`](AtomicMapping::rollback) throws them away, and
    /// [`copy_to`](AtomicMapping::copy_to) copies the commit without them. `commit`, `checkpoint` and the like are errors of kind
    /// [`ReadOnly`](ErrorKind::ReadOnly); `close` just lets go.
    ///
    /// Whoever wants each commit at once maps the plain file of a writer with [`publish`](AtomicOptions::publish).
    ///
    /// An open fails with [`Busy`](ErrorKind::Busy) where one checkpoint after the other comes to its end before the file is read, and, as one
    /// that writes, where journal and file do not belong together or the journal is damaged. With `create`, and for `view`,
    /// `read_only` is [`InvalidInput`](ErrorKind::InvalidInput); options that concern writing mean nothing with it.
    ///
    /// ```
    /// use steadfast::{AtomicMapping, ErrorKind};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("state.bin");
    /// let mut writer = AtomicMapping::options().create(true).len(4096).allow_volatile(true).load(&path)?;
    /// writer.edit(0..5)?.copy_from_slice(b"hello");
    /// let id = writer.commit()?;
    /// writer.edit(0..5)?.copy_from_slice(b"world"); // not committed
    ///
    /// let mut reader = AtomicMapping::options().read_only(true).load(&path)?;
    /// assert_eq!(&reader[0..5], b"hello");
    /// assert_eq!(reader.status().last, id);
    /// reader[0] = b'j';                              // private
    /// assert_eq!(reader.commit().unwrap_err().kind(), ErrorKind::ReadOnly);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// After each durable commit, show its bytes to readers of the plain file. Default: no.
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn publish(mut self, publish: bool) -> Self {
        self.file = self.file.publish(publish);
        self
    }

    /// As [`JournaledFileOptions::may_be_renamed`](crate::store::JournaledFileOptions::may_be_renamed).
    pub(crate) fn may_be_renamed(mut self, may: bool) -> Self {
        self.file = self.file.may_be_renamed(may);
        self
    }

    /// Leave no committed-over bytes behind in the journal: [`rollback`](AtomicMapping::rollback), commits that make the map shorter,
    /// [`checkpoint`](AtomicMapping::checkpoint) and [`close`](AtomicMapping::close) overwrite them with zeros before they return.
    /// What that means, costs and cannot do: see [`JournaledFileOptions::scrub`]. Default: no.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("a");
    /// let options = AtomicMapping::options().scrub(true);
    /// let mut map = options.create(true).len(64).allow_volatile(true).load(&path)?;
    /// map.edit(0..6)?.copy_from_slice(b"secret");
    /// map.commit()?;
    /// map.edit(0..6)?.fill(0);
    /// map.commit()?;
    /// map.rollback()?;                            // or `checkpoint`, `close`, a shorter map
    /// let journal = std::fs::read(folder.path().join("a.steadfast"))?;
    /// assert!(!journal.windows(6).any(|part| part == b"secret"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn scrub(mut self, scrub: bool) -> Self {
        self.file = self.file.scrub(scrub);
        self
    }

    /// Size of the journal in bytes: see [`JournaledFileOptions::journal_bytes`].
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn journal_bytes(mut self, bytes: u64) -> Self {
        self.file = self.file.journal_bytes(bytes);
        self
    }

    /// How long to wait for another writer to let go of the file. Default: not at all.
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.file = self.file.lock_timeout(timeout);
        self
    }

    /// Accept a data file with several hard links: see [`JournaledFileOptions::allow_hard_links`].
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn allow_hard_links(mut self, allow: bool) -> Self {
        self.file = self.file.allow_hard_links(allow);
        self
    }

    /// Accept a journal on another device: see [`JournaledFileOptions::allow_other_device`].
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn allow_other_device(mut self, allow: bool) -> Self {
        self.file = self.file.allow_other_device(allow);
        self
    }

    /// Accept tmpfs and network file systems: see [`JournaledFileOptions::allow_volatile`].
    ///
    /// See [`AtomicMapping`] for an example.
    #[must_use]
    pub fn allow_volatile(mut self, allow: bool) -> Self {
        self.allow_volatile = allow;
        self.file = self.file.allow_volatile(allow);
        self
    }

    /// Checkpoints go on by so many steps with each commit: see [`JournaledFileOptions::stepped`].
    ///
    /// See [`AtomicMapping`] for an example.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn stepped(mut self, steps: u32) -> Self {
        self.file = self.file.stepped(steps);
        self
    }

    /// Turn the fault of an access to a page that is gone into zeros and an error, where SIGBUS would end the process: see
    /// [`fault`](crate::fault). Default: yes, where the feature `guard` is on.
    ///
    /// See [`AtomicMapping::check`] for an example.
    #[must_use]
    pub fn guard(mut self, guard: bool) -> Self {
        self.unguarded = !guard;
        self
    }

    /// Keep the memory out of forked children (`MADV_DONTFORK`, madvise(2)): what they touch there is a fault, and never a store that
    /// nobody commits. Otherwise a child has a copy of its own, of what was there when it was forked; calls on the map are
    /// errors there all the same. Default: yes.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// let options = AtomicMapping::options().create(true).len(4096).keep_from_children(false);
    /// # let map = options.allow_volatile(true).load(folder.path().join("a"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn keep_from_children(mut self, keep: bool) -> Self {
        self.shown_to_children = !keep;
        self
    }

    /// Keep the memory out of core dumps (`MADV_DONTDUMP`, madvise(2)). Default: no.
    ///
    /// What a commit carries to the journal passes through buffers of its own for a moment; the larger ones are kept out of
    /// dumps in any case.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// let options = AtomicMapping::options().create(true).len(4096).keep_from_dumps(true);
    /// # let map = options.allow_volatile(true).load(folder.path().join("keys"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn keep_from_dumps(mut self, keep: bool) -> Self {
        self.keep_from_dumps = keep;
        self
    }

    /// Where the map once had memory there is memory for as long as it lives: pages that a [`resize`](AtomicMapping::resize) cuts off become
    /// zeros with its commit (until then, and in the page of the new end, an old pointer finds what was there), growth beyond what was [reserved](AtomicOptions::reserve) is an error of kind
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) instead of a move, and what a [`refresh`](AtomicMapping::refresh) leaves behind reads as
    /// zeros. For languages in which nobody knows who still has a pointer: no access through an old one is a fault, and none reaches a file.
    /// [`AtomicMapping::close_keeping_memory`] goes on with that. Default: no.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// let options = AtomicMapping::options().create(true).len(8192).reserve(1 << 30).keep_addresses(true);
    /// let mut map = options.allow_volatile(true).load(folder.path().join("a"))?;
    /// let last = map.as_mut_ptr().wrapping_add(8191);
    /// map.resize(1)?;
    /// map.commit()?;
    /// // SAFETY: the addresses are kept, and nobody else knows them.
    /// assert_eq!(unsafe { last.read() }, 0);
    /// assert!(map.resize(2 << 30).is_err(), "that would be elsewhere");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn keep_addresses(mut self, keep: bool) -> Self {
        self.keep_addresses = keep;
        self
    }

    /// Puts what is loaded together into huge pages, once stores begin to be looked for (`MADV_COLLAPSE`, madvise(2), Linux 6.1): that takes 0.1 s
    /// more for 256 MiB, once, and loads of what was not stored to cost two thirds of the time from then on. Only for
    /// [`load`](AtomicOptions::load), and up to 1 GiB; where the kernel cannot do it nothing changes. Default: no.
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// let options = AtomicMapping::options().create(true).len(4 << 20).huge_pages(true);
    /// let mut map = options.allow_volatile(true).load(folder.path().join("a"))?;
    /// map[1 << 20] = 1;
    /// map.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn huge_pages(mut self, huge: bool) -> Self {
        self.huge_pages = huge;
        self
    }

    pub(super) fn keeps_addresses(&self) -> bool {
        self.keep_addresses
    }

    /// Addresses to reserve when the file is opened again.
    pub(super) fn reserve_again(&self) -> usize {
        if self.keep_addresses { self.reserve } else { 0 }
    }

    pub(super) fn region(&self) -> RegionOptions {
        RegionOptions {
            hidden: Hidden { from_children: !self.shown_to_children, from_dumps: self.keep_from_dumps },
            guarded: !self.unguarded,
            never_bare: self.keep_addresses,
            put_together: self.huge_pages,
        }
    }

    /// Opens with the whole file in private memory, filled by one sequential read: nothing that another process does can
    /// change it. Costs as much memory as the file has data.
    ///
    /// A journal that waits is recovered first.
    ///
    /// # Errors
    ///
    /// Whatever stands against keeping the promises: a file that is missing, not regular, in use, on tmpfs or a network file
    /// system, or does not belong to the journal beside it; a folder that takes no journal; a full disk. The message says what
    /// to do, and nothing was changed.
    ///
    /// See [`AtomicMapping`] for an example.
    pub fn load(self, path: impl AsRef<Path>) -> Result<AtomicMapping> {
        self.load_on(Arc::new(RealDisk), path)
    }

    /// As [`load`](AtomicOptions::load), on any [`Disk`]. (`view` needs the kernel's.)
    ///
    /// # Errors
    ///
    /// As `load`.
    ///
    /// See [`AtomicMapping`] for an example.
    pub fn load_on(self, disk: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<AtomicMapping> {
        let tracker = self.choose_tracker(path.as_ref())?;
        if self.read_only {
            let store = self.open_snapshot(&disk, path.as_ref())?;
            // Its image belongs to this process alone: it lies under the memory, and is not copied.
            let working = Working::view(&*store, self.reserve, self.region(), tracker)?;
            return Ok(AtomicMapping::begin(self, disk, store, working));
        }
        let store = self.open_store(&disk, path.as_ref())?;
        // Whoever asks for a tracker by name will have stores to find: then the images are apart from the start.
        let split = !matches!(self.tracker, Tracker::Automatic | Tracker::Declared);
        let working = Working::load(&*store, self.reserve, self.region(), tracker, split)?;
        Ok(AtomicMapping::begin(self, disk, store, working))
    }

    /// As [`load`](AtomicOptions::load), for a file that is open already. Its path is found through the descriptor, since the
    /// journal stands beside it.
    ///
    /// # Errors
    ///
    /// As `load`; and where the file has no name any more.
    ///
    /// See [`AtomicMapping`] for an example.
    pub fn load_fd(self, fd: impl AsFd) -> Result<AtomicMapping> {
        let path = path_of(&fd)?;
        self.load(path)
    }

    /// Opens with the file's page cache under the memory: in no time and at any size; pages come when they are touched, and only
    /// what is changed costs memory.
    ///
    /// # Safety
    ///
    /// While the map is open nothing else may write the file or change its length: no other process, and no other handle of
    /// this one. A page that was not changed here shows what is stored there: a foreign store would change bytes under a
    /// `&[u8]`, and so would a cut: what lies beyond the new end becomes zeros, which [`AtomicMapping::check`] tells (without the guard
    /// it raises SIGBUS).
    ///
    /// # Errors
    ///
    /// As [`load`](AtomicOptions::load).
    ///
    /// ```
    /// # use steadfast::AtomicMapping;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("a");
    /// // SAFETY: the file is in a folder of our own; nobody else writes it.
    /// let mut map = unsafe {
    ///     AtomicMapping::options().create(true).len(1 << 40).allow_volatile(true).view(&path)?
    /// };
    /// map.edit((1 << 39)..(1 << 39) + 5)?.copy_from_slice(b"hello");
    /// map.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[allow(unsafe_code)]
    pub unsafe fn view(self, path: impl AsRef<Path>) -> Result<AtomicMapping> {
        if self.read_only {
            return Err(self
                .contradiction("`view` shows the file itself, where a reader may find a checkpoint at work")
                .path(path)
                .advice("use `load` with `read_only`, or map the plain file with `Mapping`"));
        }
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let tracker = self.choose_tracker(path.as_ref())?;
        let mut store = self.open_store(&disk, path.as_ref())?;
        // The opening growth may still stand in the journal alone; the page cache is to show it.
        store.checkpoint()?;
        let working = Working::view(&*store, self.reserve, self.region(), tracker)?;
        Ok(AtomicMapping::begin(self, disk, store, working))
    }

    /// As [`view`](AtomicOptions::view), for a file that is open already.
    ///
    /// # Safety
    ///
    /// As `view`.
    ///
    /// # Errors
    ///
    /// As `view`; and where the file has no name any more.
    ///
    /// See [`AtomicMapping`] for an example.
    #[allow(unsafe_code)]
    pub unsafe fn view_fd(self, fd: impl AsFd) -> Result<AtomicMapping> {
        let path = path_of(&fd)?;
        // SAFETY: the caller promises for the file behind the descriptor what `view` asks for the file at the path: the same.
        unsafe { self.view(path) }
    }

    /// Before anything is created: a tracker that is not to be had, or a name that is none.
    fn choose_tracker(&self, path: &Path) -> Result<Tracker> {
        Tracker::asked(self.tracker).and_then(Tracker::choose).map_err(|error| error.path(path))
    }

    /// The file at `path` once more, taken as `resolution` says.
    pub(super) fn open_again(
        &self,
        disk: &Arc<dyn Disk>,
        path: &Path,
        resolution: Resolution,
    ) -> Result<Box<dyn Store>> {
        let file = self.file.clone().create(false).resolution(resolution);
        Ok(Box::new(file.open_on(Arc::clone(disk), path)?))
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn contradiction(&self, reason: &'static str) -> Error {
        Error::new(ErrorKind::InvalidInput, "open", reason)
    }

    pub(super) fn open_snapshot(&self, disk: &Arc<dyn Disk>, path: &Path) -> Result<Box<dyn Store>> {
        if self.create {
            return Err(self
                .contradiction("`create` and `read_only` contradict each other")
                .path(path)
                .advice("leave one of them out"));
        }
        self.check_addresses(path)?;
        let store = Snapshot::open_on(disk, path, self.allow_volatile)?;
        self.check_len(store.committed_len(), path)?;
        Ok(Box::new(store))
    }

    /// Before anything is created or read.
    fn check_addresses(&self, path: &Path) -> Result<()> {
        if let Some(bytes) =
            self.len.into_iter().chain([self.reserve]).find(|&bytes| bytes > isize::MAX as usize)
        {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "open",
                format!("{bytes} bytes are beyond the address space"),
            )
            .path(path)
            .advice("ask for fewer"));
        }
        // The file is not grown to a length for which there are no addresses.
        Region::reserve(self.len.unwrap_or(0).max(self.reserve))
            .map(drop)
            .map_err(|error| Error::from_io("open", error).path(path))
    }

    /// Unless it may be grown, a file is as long as it is.
    fn check_len(&self, have: u64, path: &Path) -> Result<()> {
        let want = self.len.unwrap_or(0) as u64;
        if want <= have || self.create {
            return Ok(());
        }
        let advice = if self.read_only {
            "ask for its own length: nothing grows that is opened for reading only"
        } else {
            "ask for its own length, or set create to let it grow"
        };
        Err(Error::new(
            ErrorKind::OutOfRange,
            "open",
            format!("the file has {have} bytes, {want} were asked for"),
        )
        .path(path)
        .advice(advice))
    }

    fn open_store(&self, disk: &Arc<dyn Disk>, path: &Path) -> Result<Box<dyn Store>> {
        self.check_addresses(path)?;
        let mut store = self.file.clone().open_on(Arc::clone(disk), path)?;
        let have = store.committed_len();
        self.check_len(have, path)?;
        let want = self.len.unwrap_or(0) as u64;
        if want > have {
            store.commit(&Batch { len_min: have, len: want, extents: &[], bytes: &[] }, Flush::Now)?;
        }
        Ok(Box::new(store))
    }
}

/// The name of an open file.
fn path_of(fd: &impl AsFd) -> Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let failed = |error: std::io::Error| {
        Error::from_io("open", error).advice(
            "commits need a file with a name, since the journal stands beside it; open it by its path",
        )
    };
    let stat = rustix::fs::fstat(fd).map_err(|error| failed(error.into()))?;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())).map_err(failed)?;
    let named = rustix::fs::stat(&path).map_err(|error| failed(error.into()).path(&path))?;
    if (named.st_dev, named.st_ino) != (stat.st_dev, stat.st_ino) {
        return Err(failed(std::io::ErrorKind::NotFound.into()).path(path));
    }
    Ok(path)
}
