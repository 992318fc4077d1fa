//! The kernel's files, through rustix.

use std::fs::File;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::{
    self as unix, AtFlags, FallocateFlags, FileType, IFlags, Mode, OFlags, SeekFrom, StatxFlags, XattrFlags,
};
use rustix::io::{Errno, ReadWriteFlags};

use super::{Access, Disk, DiskFile, Durability, FileKind, FileStat, Lock, SyncPoint};
use crate::descriptors::opened;
use crate::fault::writing;
use crate::names::MARK;
use crate::sys::fork::Birth;
use crate::sys::{check_file_size, lock};

/// Ranges up to this length are reserved without asking which parts of them are holes.
const RESERVED_WHOLE_BYTES: u64 = 64 << 10;
/// After so many of them that were holes it is asked again.
const LOOK_AGAIN: u32 = 16;

/// Longer than any mark of any version: what does not fit is not ours.
const MARK_BYTES_MAX: usize = 256;

/// The machine's own file systems.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::disk::{Access, Disk, FileKind, Lock, RealDisk, SyncPoint};
///
/// let folder = tempfile::tempdir()?;
/// let path = RealDisk.resolve(&folder.path().join("a"))?;
/// let file = RealDisk.open(&path, Access::Create { mode: 0o644 })?;
/// assert!(file.try_lock(Lock::Exclusive)?);
/// file.reserve(0..4096)?;
/// file.write_at(&[b"one", b"two"], 0)?;
/// file.sync_data(SyncPoint::Copy)?;
/// RealDisk.sync_dir(folder.path(), SyncPoint::CopyName)?;
///
/// let stat = RealDisk.stat(&path)?;
/// assert_eq!((stat.kind, stat.len), (FileKind::Regular, 6));
/// let mut bytes = [0; 6];
/// assert_eq!(file.read_at(&mut bytes, 0)?, 6);
/// file.set_len(3)?;
/// RealDisk.rename(&path, &folder.path().join("b"))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile {
    file: File,
    /// The process that took the lock, if one did.
    locked_by: OnceLock<Birth>,
    /// The same file, past the page cache; `None` where its file system refuses.
    direct: OnceLock<Option<File>>,
    /// The same file, opened once more.
    apart: OnceLock<Option<File>>,
    /// It opened, and then refused a write.
    direct_refused: AtomicBool,
    /// Ranges that were asked for and had no blocks, without one between them that had.
    holes_in_a_row: AtomicU32,
}

impl Drop for RealFile {
    /// Gives a lock back by name. Closing alone would leave it with every child of this process that holds a copy of the
    /// descriptor: those that were forked, and those that another thread is starting just now, up to their exec.
    fn drop(&mut self) {
        if self.locked_by.get().is_some_and(|owner| !owner.is_elsewhere())
            && let Err(error) = lock::unlock(self.file.as_fd())
        {
            log::warn!("cannot give a lock back: {error}");
        }
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        // NONBLOCK: opening a FIFO must not wait for its other end; it has no effect on regular files.
        let always = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let (flags, mode) = match access {
            Access::Read => (OFlags::RDONLY, 0),
            Access::ReadWrite => (OFlags::RDWR, 0),
            Access::Create { mode } => (OFlags::RDWR | OFlags::CREATE, mode),
            Access::CreateNew { mode } => (OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode),
        };
        let fd = opened(unix::open(path, always | flags, Mode::from_raw_mode(mode))?);
        if let Access::CreateNew { mode } = access {
            unix::fchmod(&fd, Mode::from_raw_mode(mode))?;
        }
        Ok(Box::new(RealFile {
            file: File::from(fd),
            locked_by: OnceLock::new(),
            direct: OnceLock::new(),
            apart: OnceLock::new(),
            direct_refused: AtomicBool::new(false),
            holes_in_a_row: AtomicU32::new(0),
        }))
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        look(unix::CWD, path, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The file is still to be created: resolve its folder. A dangling link is not a place for a file.
                if path.symlink_metadata().is_ok() {
                    return Err(error);
                }
                // `name/` means a folder, to open(2) too.
                if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
                    return Err(error);
                }
                let name = path.file_name().ok_or(error)?;
                let folder = match path.parent() {
                    Some(folder) if !folder.as_os_str().is_empty() => folder,
                    _ => Path::new("."),
                };
                Ok(folder.canonicalize()?.join(name))
            }
            resolved => resolved,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(unix::unlink(path)?)
    }

    fn sync_dir(&self, folder: &Path, _point: SyncPoint) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(unix::fsync(opened(unix::open(folder, flags, Mode::empty())?))?)
    }

    fn durability(&self, path: &Path) -> io::Result<Durability> {
        // Magic numbers: linux/magic.h, and statfs(2).
        Ok(match unix::statfs(path)?.f_type as u64 {
            0x0102_1994 => Durability::Volatile("tmpfs"),
            0x8584_58f6 => Durability::Volatile("ramfs"),
            0x6969 => Durability::Network("NFS"),
            0xff53_4d42 | 0xfe53_4d42 | 0x517b => Durability::Network("SMB"),
            0x0102_1997 => Durability::Network("9p"),
            0x00c3_6400 => Durability::Network("Ceph"),
            0x5346_414f | 0x6b41_4653 => Durability::Network("AFS"),
            0x0161_1970 | 0x7461_636f => Durability::Network("a cluster file system"),
            _ => Durability::Local,
        })
    }
}

impl DiskFile for RealFile {
    fn stat(&self) -> io::Result<FileStat> {
        look(self.file.as_fd(), Path::new(""), AtFlags::EMPTY_PATH)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match rustix::io::pread(&self.file, &mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    fn expect_use(&self, range: Range<u64>) {
        let len = NonZeroU64::new(range.end.saturating_sub(range.start));
        if let Some(len) = len
            && let Err(error) = unix::fadvise(&self.file, range.start, Some(len), unix::Advice::WillNeed)
        {
            log::debug!("no read-ahead: {error}");
        }
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        match unix::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(Some(data.max(offset))),
            Err(Errno::NXIO) => Ok(None),
            // A file system that cannot tell.
            Err(_) => Ok(Some(offset)),
        }
    }

    fn write_at(&self, parts: &[&[u8]], mut offset: u64) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            // One call for the usual few parts; the kernel takes at most IOV_MAX (1024) at once.
            let batch = rest.len().min(1024);
            match writing(|| rustix::io::pwritev(&self.file, &rest[..batch], offset)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    offset += count as u64;
                    IoSlice::advance_slices(&mut rest, count);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write_durably(&self, blocks: &[u8], offset: u64, point: SyncPoint) -> io::Result<()> {
        let Some(direct) = self.direct() else {
            self.write_at(&[blocks], offset)?;
            return self.sync_data_apart(point);
        };
        let mut done = 0;
        while done < blocks.len() {
            let rest = [IoSlice::new(&blocks[done..])];
            let at = offset + done as u64;
            match writing(|| rustix::io::pwritev2(direct, &rest, at, ReadWriteFlags::DSYNC)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                // A file system may open for direct I/O and then want another alignment, or not know the flag.
                Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    self.direct_refused.store(true, Ordering::Relaxed);
                    self.write_at(&[&blocks[done..]], offset + done as u64)?;
                    return self.sync_data_apart(point);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > unix::fstat(&self.file)?.st_size as u64 {
            check_file_size(len)?;
        }
        Ok(writing(|| unix::ftruncate(&self.file, len))?)
    }

    fn check_len(&self, len: u64) -> io::Result<()> {
        check_file_size(len)?;
        // The file position means nothing here, and may not lie beyond what the file system can hold (lseek(2)).
        match unix::seek(&self.file, SeekFrom::Start(len)) {
            Err(Errno::INVAL | Errno::OVERFLOW) => Err(Errno::FBIG.into()),
            _ => Ok(()),
        }
    }

    fn reserve(&self, range: Range<u64>) -> io::Result<Range<u64>> {
        let short = range.end - range.start <= RESERVED_WHOLE_BYTES;
        // What has blocks keeps them: in the middle of holes it is not worth asking where they end.
        if short && !self.holes_in_a_row.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_AGAIN) {
            self.give_blocks(range.clone())?;
            return Ok(range);
        }
        let mut at = range.start;
        while at < range.end {
            // Past the end of the file there is only hole, which SEEK_HOLE answers with ENXIO; without SEEK_HOLE
            // everything is asked for, which is harmless.
            let hole = unix::seek(&self.file, SeekFrom::Hole(at)).unwrap_or(at);
            if hole >= range.end {
                self.holes_in_a_row.store(0, Ordering::Relaxed);
                return Ok(range.start..hole);
            }
            let end = match unix::seek(&self.file, SeekFrom::Data(hole)) {
                Ok(data) if data > hole => data.min(range.end),
                _ => range.end,
            };
            self.give_blocks(hole..end)?;
            at = end;
        }
        Ok(range)
    }

    fn zero(&self, range: Range<u64>) -> io::Result<()> {
        let end = range.end.min(unix::fstat(&self.file)?.st_size as u64);
        let mut at = range.start;
        while at < end {
            // Holes are zeros already, and zeroing them would give them blocks: a sparse file may have no room for those.
            let data = match unix::seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => return Ok(()),
                Err(_) => at,
            };
            if data >= end {
                return Ok(());
            }
            let hole = match unix::seek(&self.file, SeekFrom::Hole(data)) {
                Ok(hole) if hole > data => hole.min(end),
                _ => end,
            };
            self.zero_data(data..hole)?;
            at = hole;
        }
        Ok(())
    }

    fn sync_data(&self, _point: SyncPoint) -> io::Result<()> {
        Ok(unix::fdatasync(&self.file)?)
    }

    fn sync(&self, _point: SyncPoint) -> io::Result<()> {
        Ok(unix::fsync(&self.file)?)
    }

    fn drop_clean_pages(&self) -> io::Result<()> {
        Ok(unix::fadvise(&self.file, 0, None, unix::Advice::DontNeed)?)
    }

    fn mark(&self) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; MARK_BYTES_MAX];
        match unix::fgetxattr(&self.file, MARK, value.as_mut_slice()) {
            Ok(count) => {
                value.truncate(count);
                Ok(Some(value))
            }
            Err(Errno::NODATA) => Ok(None),
            Err(Errno::RANGE) => Ok(Some(value)),
            Err(error) => Err(unsupported(error)),
        }
    }

    fn set_mark(&self, mark: Option<&[u8]>) -> io::Result<()> {
        match mark {
            Some(value) => unix::fsetxattr(&self.file, MARK, value, XattrFlags::empty()).map_err(unsupported),
            None => match unix::fremovexattr(&self.file, MARK) {
                Ok(()) | Err(Errno::NODATA) => Ok(()),
                Err(error) => Err(unsupported(error)),
            },
        }
    }

    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        let taken = lock::try_lock(self.file.as_fd(), lock)?;
        if taken {
            self.locked_by.get_or_init(Birth::here);
        }
        Ok(taken)
    }

    fn unlock(&self) -> io::Result<()> {
        lock::unlock(self.file.as_fd())
    }

    fn keep_in_place(&self) -> io::Result<()> {
        const BTRFS: u64 = 0x9123_683e;
        if unix::fstatfs(&self.file)?.f_type as u64 != BTRFS {
            return Ok(());
        }
        let flags = unix::ioctl_getflags(&self.file)?;
        Ok(unix::ioctl_setflags(&self.file, flags | IFlags::NOCOW)?)
    }

    fn set_owner(&self, (user, group): (u32, u32), mode: u32) -> io::Result<()> {
        let user = rustix::process::Uid::from_raw(user);
        let group = rustix::process::Gid::from_raw(group);
        // Only root may give a file away; the group may be had all the same.
        let mut groups_own = 0;
        for (user, group) in [(Some(user), Some(group)), (None, Some(group))] {
            match unix::fchown(&self.file, user, group) {
                Err(Errno::PERM) => {}
                result => {
                    result?;
                    groups_own = mode & 0o070;
                    break;
                }
            }
        }
        // The bits come last: a file that others may open before it is theirs would stay open for them.
        let mode = mode & !0o070 | (mode & 0o007) << 3 | groups_own;
        Ok(unix::fchmod(&self.file, Mode::from_raw_mode(mode))?)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

impl RealFile {
    /// The file once more, for writes past the page cache, if that is to be had. Opened through its descriptor, since its
    /// name may have changed.
    fn direct(&self) -> Option<&File> {
        if self.direct_refused.load(Ordering::Relaxed) {
            return None;
        }
        let open = || {
            let name = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            unix::open(&name, OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty())
                .map(opened)
                .map(File::from)
                .inspect_err(|error| log::debug!("no direct I/O ({error}): writing through the page cache"))
                .ok()
        };
        self.direct.get_or_init(open).as_ref()
    }

    /// A write that failed is told once to each open descriptor: whoever syncs this file at the same time is told, too.
    fn sync_data_apart(&self, point: SyncPoint) -> io::Result<()> {
        let open = || {
            let name = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            unix::open(&name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map(opened).map(File::from).ok()
        };
        match self.apart.get_or_init(open) {
            Some(file) => Ok(unix::fdatasync(file)?),
            None => self.sync_data(point),
        }
    }

    /// A file system that cannot do this is no error.
    fn give_blocks(&self, range: Range<u64>) -> io::Result<()> {
        match retry(|| {
            unix::fallocate(&self.file, FallocateFlags::KEEP_SIZE, range.start, range.end - range.start)
        }) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn zero_data(&self, range: Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        match retry(|| unix::fallocate(&self.file, flags, range.start, range.end - range.start)) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        check_file_size(range.end)?;
        let zeros = vec![0; (1 << 16).min(range.end - range.start) as usize];
        let mut at = range.start;
        while at < range.end {
            let count = (range.end - at).min(zeros.len() as u64);
            self.write_at(&[&zeros[..count as usize]], at)?;
            at += count;
        }
        Ok(())
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// File systems without extended attributes answer EOPNOTSUPP; all that matters is that they have none.
fn unsupported(error: Errno) -> io::Error {
    match error {
        Errno::OPNOTSUPP | Errno::NOSYS => io::ErrorKind::Unsupported.into(),
        error => error.into(),
    }
}

/// What the kernel says of a file. Only statx(2) tells the mount; where it is missing or forbidden, the older calls must do.
fn look(folder: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> io::Result<FileStat> {
    match unix::statx(folder, path, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID) {
        Ok(stat) => Ok(stat_of(&stat)),
        Err(Errno::NOSYS | Errno::PERM) => Ok(stat_without_mount(&unix::statat(folder, path, flags)?)),
        Err(error) => Err(error.into()),
    }
}

fn kind_of(mode: u32) -> FileKind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Fifo => FileKind::Fifo,
        FileType::CharacterDevice | FileType::BlockDevice => FileKind::Device,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn stat_of(stat: &unix::Statx) -> FileStat {
    let mode = u32::from(stat.stx_mode);
    let ns = |time: &unix::StatxTimestamp| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    FileStat {
        kind: kind_of(mode),
        len: stat.stx_size,
        device: unix::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        mount: (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id),
        inode: stat.stx_ino,
        links: u64::from(stat.stx_nlink),
        mode: mode & 0o7777,
        owner: (stat.stx_uid, stat.stx_gid),
        changed_ns: ns(&stat.stx_ctime),
        modified_ns: ns(&stat.stx_mtime),
    }
}

fn stat_without_mount(stat: &unix::Stat) -> FileStat {
    FileStat {
        kind: kind_of(stat.st_mode),
        len: stat.st_size as u64,
        device: stat.st_dev,
        mount: None,
        inode: stat.st_ino,
        links: u64::from(stat.st_nlink as u32),
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        changed_ns: i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec),
        modified_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
    }
}
