//! A file whose pages are looked at.

use std::ffi::CStr;
use std::io;
use std::num::NonZeroU64;
use std::ops::{Bound, Range, RangeBounds};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::Counts;
use super::bisect::{PageState, Span, spans_between};
use super::truth::{Systems, Unknown, Witness, device_of, tells_mincore_the_truth};
use crate::descriptors::opened;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::page_size;
use crate::sys::region::{Region, RegionOptions};
use crate::sys::residency::{CacheCounts, cache_counts};

pub(super) const OPERATION: &str = "look at the pages of";

/// For looking: nothing happens to whatever it is.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// So many bytes are mapped at once where mincore(2) is asked.
const PIECE_BYTES: u64 = 1 << 30;

/// A file, open to be looked at: no byte of it is read, written or mapped by that.
///
/// ```
/// use steadfast::residency::CachedFile;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("data.bin");
/// # std::fs::write(&path, [1; 10_000])?;
/// let file = CachedFile::open(&path)?;
/// match file.counts(..)?.resident {
///     Some(resident) => println!("{resident} of {} pages are in memory", file.pages()),
///     None => println!("nobody can tell"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CachedFile {
    /// `None` of what is no regular file.
    fd: Option<OwnedFd>,
    path: PathBuf,
    about: About,
    witness: Witness,
}

/// What statx(2) said when it was opened: of the quarter of a kilobyte, what is asked for.
#[derive(Debug, Clone, Copy)]
struct About {
    is_regular: bool,
    len: u64,
    identity: (u64, u64),
    links: u64,
    modified_s: i64,
}

impl About {
    fn of(stat: &Statx) -> About {
        About {
            is_regular: FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile,
            len: stat.stx_size,
            identity: (device_of(stat), stat.stx_ino),
            links: stat.stx_nlink.into(),
            modified_s: stat.stx_mtime.tv_sec,
        }
    }
}

/// Opens many files for looking: each file system is asked once what it is.
///
/// ```
/// use steadfast::residency::Opener;
/// # let folder = tempfile::tempdir()?;
/// # std::fs::write(folder.path().join("data.bin"), [1; 10_000])?;
/// let opener = Opener::default();
/// for entry in std::fs::read_dir(folder.path())? {
///     let file = opener.open(entry?.path())?;
///     println!("{}: {:?}", file.path().display(), file.counts(..)?.resident);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Opener {
    systems: Systems,
}

impl Opener {
    /// As [`CachedFile::open`].
    ///
    /// See [`Opener`] for an example.
    ///
    /// # Errors
    ///
    /// Those of open(2): the file must be readable.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<CachedFile> {
        let path = path.as_ref();
        let stat = fs::statx(fs::CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)
            .map_err(|error| Error::from_io("open", error.into()).path(path))?;
        let about = About::of(&stat);
        if !about.is_regular {
            // Opening a device may do something, and opening a pipe may wait.
            let witness = Witness::Nobody(Unknown::NotRegular);
            return Ok(CachedFile { fd: None, path: path.to_owned(), about, witness });
        }
        let fd = fs::open(path, FLAGS, Mode::empty())
            .map(opened)
            .map_err(|error| Error::from_io("open", error.into()).path(path))?;
        self.adopt(fd, path.to_owned())
    }

    /// As [`open`](Self::open) of what its folder says is a regular file, from that folder. `path` is for errors.
    ///
    /// See [`Opener`] for an example.
    ///
    /// # Errors
    ///
    /// Those of open(2): also ELOOP, if it is a symbolic link by now.
    pub fn open_regular_at(&self, folder: BorrowedFd<'_>, name: &CStr, path: PathBuf) -> Result<CachedFile> {
        match fs::openat(folder, name, FLAGS | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => self.adopt(opened(fd), path),
            Err(error) => Err(Error::from_io("open", error.into()).path(path)),
        }
    }

    fn adopt(&self, fd: OwnedFd, path: PathBuf) -> Result<CachedFile> {
        let stat = fs::statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
            .map_err(|error| Error::from_io(OPERATION, error.into()).path(&path))?;
        let witness = self.systems.witness_of(fd.as_fd(), &stat);
        let about = About::of(&stat);
        Ok(CachedFile { fd: about.is_regular.then_some(fd), path, about, witness })
    }
}

impl CachedFile {
    /// Opens a file for looking. Symbolic links are followed; what is no regular file is not opened, and all about it is
    /// [unknown](Unknown::NotRegular).
    ///
    /// See [`CachedFile`] for an example.
    ///
    /// # Errors
    ///
    /// Those of open(2): the file must be readable.
    pub fn open(path: impl AsRef<Path>) -> Result<CachedFile> {
        Opener::default().open(path)
    }

    /// A file that is open already, with the name that errors shall use.
    ///
    /// See [`CachedFile`] for an example.
    ///
    /// # Errors
    ///
    /// Those of statx(2).
    pub fn of(fd: OwnedFd, path: impl AsRef<Path>) -> Result<CachedFile> {
        Opener::default().adopt(fd, path.as_ref().to_owned())
    }

    /// Its name, as it was given.
    ///
    /// See [`CachedFile`] for an example.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes it, and gives its name back.
    ///
    /// See [`CachedFile`] for an example.
    #[must_use]
    pub fn into_path(self) -> PathBuf {
        self.path
    }

    /// Its length in bytes when it was opened. (What is no regular file has none.)
    ///
    /// See [`CachedFile`] for an example.
    #[must_use]
    pub fn len(&self) -> u64 {
        if self.about.is_regular { self.about.len } else { 0 }
    }

    /// Was it empty when it was opened?
    ///
    /// See [`CachedFile`] for an example.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its pages, the last one perhaps in part.
    ///
    /// See [`CachedFile`] for an example.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.len().div_ceil(page_size() as u64)
    }

    /// When a byte of it was changed last, before it was opened: seconds since 1970.
    ///
    /// See [`CachedFile`] for an example.
    #[must_use]
    pub fn modified_s(&self) -> i64 {
        self.about.modified_s
    }

    /// Device and inode: two names with the same are one file.
    ///
    /// See [`CachedFile`] for an example.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        self.about.identity
    }

    /// How many names it has.
    ///
    /// See [`CachedFile`] for an example.
    #[must_use]
    pub fn links(&self) -> u64 {
        self.about.links
    }

    /// How many pages of `range`, rounded outwards, are in memory, dirty or being written. A range that reaches beyond the end ends there.
    ///
    /// One call of cachestat(2), whatever the size; where that is not to be believed or not there, mincore(2), page by page.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput): the range ends before it starts.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// # std::fs::write(&path, [1; 10_000])?;
    /// let counts = steadfast::residency::CachedFile::open(&path)?.counts(..)?;
    /// assert!(counts.pages > 0);
    /// assert!(counts.resident.is_none_or(|resident| resident <= counts.pages));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counts(&self, range: impl RangeBounds<u64>) -> Result<Counts> {
        let range = self.pages_of(&range)?;
        Ok(self.count(&range))
    }

    /// The same of `count` parts of the range, of as equal length as whole pages allow, in order: where in the file its pages are. Fewer
    /// parts where there are fewer pages.
    ///
    /// See [`counts`](Self::counts) for an example.
    ///
    /// # Errors
    ///
    /// As [`counts`](Self::counts).
    pub fn buckets(&self, range: impl RangeBounds<u64>, count: usize) -> Result<Vec<Counts>> {
        let range = self.pages_of(&range)?;
        let page = page_size() as u64;
        let pages = (range.end - range.start) / page;
        let count = (count as u64).min(pages);
        let bound = |number: u64| {
            let through = u128::from(pages) * u128::from(number) / u128::from(count.max(1));
            range.start + through as u64 * page
        };
        Ok((0..count).map(|number| self.count(&(bound(number)..bound(number + 1)))).collect())
    }

    /// The state of every page of `range`, rounded outwards, in order, neighbours that agree as one. By bisection: it takes as long as
    /// there are changes from one state to another.
    ///
    /// # Errors
    ///
    /// As [`counts`](Self::counts).
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("data.bin");
    /// # std::fs::write(&path, [1; 10_000])?;
    /// let file = steadfast::residency::CachedFile::open(&path)?;
    /// for span in file.spans(..)? {
    ///     println!("{:?} {:?}", span.range, span.state);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spans(&self, range: impl RangeBounds<u64>) -> Result<Vec<Span>> {
        let range = self.pages_of(&range)?;
        Ok(self.spans_of(&range))
    }

    pub(super) fn spans_of(&self, range: &Range<u64>) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        if range.is_empty() {
            return spans;
        }
        let mut tell = |range: Range<u64>, state| match spans.last_mut() {
            Some(last) if last.state == state => last.range.end = range.end,
            _ => spans.push(Span { range, state }),
        };
        if let (Witness::Cachestat { in_memory }, Some(fd)) = (self.witness, &self.fd) {
            let count = |range: &Range<u64>| {
                let counts = cache_counts(fd.as_fd(), range.clone()).ok()?;
                Some(if in_memory { CacheCounts { dirty: 0, write_back: 0, ..counts } } else { counts })
            };
            if let Some(total) = count(range)
                && spans_between(range.clone(), total, count, &mut tell).is_some()
            {
                return spans;
            }
            spans.clear();
        }
        let page = page_size() as u64;
        let told = self.by_mincore(range, |at, is_resident| {
            let state = if is_resident { PageState::Resident } else { PageState::Absent };
            let range = at..at + page;
            match spans.last_mut() {
                Some(last) if last.state == state => last.range.end = range.end,
                _ => spans.push(Span { range, state }),
            }
        });
        if told.is_err() {
            spans = vec![Span { range: range.clone(), state: PageState::Unknown }];
        }
        spans
    }

    /// Of whole pages.
    pub(super) fn count(&self, range: &Range<u64>) -> Counts {
        let pages = (range.end - range.start) / page_size() as u64;
        if range.is_empty() {
            // To cachestat an empty range reaches to the end.
            return match self.witness {
                Witness::Nobody(unknown) => Counts::none_of(0, unknown),
                _ => Counts::told(0, &CacheCounts::default()),
            };
        }
        if let (Witness::Cachestat { in_memory }, Some(fd)) = (self.witness, &self.fd)
            && let Ok(counts) = cache_counts(fd.as_fd(), range.clone())
        {
            let counts = Counts::told(pages, &counts);
            return if in_memory { counts.in_memory() } else { counts };
        }
        let mut resident = 0;
        match self.by_mincore(range, |_, is_resident| resident += u64::from(is_resident)) {
            Ok(()) => Counts::resident_alone(pages, resident),
            Err(unknown) => Counts::none_of(pages, unknown),
        }
    }

    /// Tells of each page, in order, whether it is in memory.
    fn by_mincore(
        &self,
        range: &Range<u64>,
        mut tell: impl FnMut(u64, bool),
    ) -> std::result::Result<(), Unknown> {
        let fd = match (self.witness, &self.fd) {
            (Witness::Nobody(unknown), _) => return Err(unknown),
            (_, Some(fd)) => fd,
            (_, None) => return Err(Unknown::NotRegular),
        };
        if !tells_mincore_the_truth(fd) {
            return Err(Unknown::NotYours);
        }
        let page = page_size() as u64;
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + PIECE_BYTES);
            let states = pages_in_memory(fd.as_fd(), at..end).map_err(|_| Unknown::NotMappable)?;
            states.iter().zip((at..end).step_by(page as usize)).for_each(|(&state, at)| tell(at, state));
            at = end;
        }
        Ok(())
    }

    /// Whole pages of the file, clipped to its end.
    pub(super) fn pages_of(&self, range: &impl RangeBounds<u64>) -> Result<Range<u64>> {
        let page = page_size() as u64;
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        if start > end {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                OPERATION,
                format!("the range {start}..{end} ends before it starts"),
            )
            .path(&self.path)
            .advice("give start..end with start at or below end"));
        }
        let whole = self.pages() * page;
        let (start, end) = (start.min(whole), end.min(whole));
        let first = start / page * page;
        // No bytes lie in no page.
        Ok(first..if start == end { first } else { end.next_multiple_of(page) })
    }

    /// `None` of what has no pages.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        if matches!(self.witness, Witness::Nobody(_)) { None } else { self.regular() }
    }

    /// Of a regular file, also where it has no pages: its bytes can be synced all the same (DAX).
    pub(super) fn regular(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn advise(&self, range: &Range<u64>, advice: fs::Advice) -> Result<()> {
        let (Some(fd), Some(len)) = (self.descriptor(), NonZeroU64::new(range.end - range.start)) else {
            return Ok(());
        };
        fs::fadvise(fd, range.start, Some(len), advice)
            .map_err(|error| Error::from_io("advise", error.into()).path(&self.path).range(range.clone()))
    }
}

fn pages_in_memory(fd: BorrowedFd<'_>, range: Range<u64>) -> io::Result<Vec<bool>> {
    let len = (range.end - range.start) as usize;
    let mut region = Region::reserve_as(len, RegionOptions { guarded: false, ..RegionOptions::default() })?;
    // Nothing of it is touched.
    region.place_file(0..len, fd, range.start, ProtFlags::empty(), MapFlags::SHARED | MapFlags::NORESERVE)?;
    region.pages_in_memory(0..len)
}
