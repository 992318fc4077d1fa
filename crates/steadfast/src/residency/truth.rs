//! Who tells the truth about a file's pages: cachestat(2), mincore(2), or nobody.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{PoisonError, RwLock};

use rustix::fs::{self, Access, AtFlags, FileType, Statx, StatxAttributes};

/// Why nothing, or not all, is told of a file's pages.
///
/// See [`Counts`](super::Counts).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unknown {
    /// A directory, device, pipe or socket: cachestat(2) says zero, and means nothing by it.
    NotRegular,
    /// A file that is made up as it is read (/proc, /sys), or that is read past the page cache (DAX).
    NoPageCache,
    /// hugetlbfs: its pages are of another size, and counted elsewhere.
    HugePages,
    /// The kernel tells only who owns the file or may write to it; mincore(2) tells others that all of it is in memory.
    NotYours,
    /// Only whether pages are in memory is told here: an older kernel, or an overlay, whose files' pages are counted under others.
    DirtyNotTold,
    /// The file lives in memory (tmpfs): dirty means nothing there.
    InMemory,
    /// The file cannot be mapped, and the kernel has no other way to tell.
    NotMappable,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unknown::NotRegular => "not a regular file",
            Unknown::NoPageCache => "it has no pages in the page cache",
            Unknown::HugePages => "its pages are huge ones, which are counted elsewhere",
            Unknown::NotYours => "the kernel tells only its owner, and who may write to it",
            Unknown::DirtyNotTold => "only presence is told here: an overlay, or a kernel before Linux 6.5",
            Unknown::InMemory => "it lives in memory, where dirty means nothing",
            Unknown::NotMappable => "it cannot be mapped, and the kernel has no other way to tell",
        })
    }
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Witness {
    /// cachestat(2). Of a file in memory nothing is believed about writing.
    Cachestat {
        in_memory: bool,
    },
    /// mincore(2), by a mapping that is made for it.
    Mincore,
    Nobody(Unknown),
}

// linux/magic.h; the types differ between architectures.
const OVERLAYFS: u64 = 0x794c_7630;
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const HUGETLBFS: u64 = 0x9584_58f6;
/// proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, selinuxfs, bpf, configfs, pstore, efivarfs, devpts, binfmt_misc, nsfs,
/// mqueue.
const MADE_UP: [u64; 16] = [
    0x9fa0,
    0x6265_6572,
    0x27_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xf97c_ff8c,
    0xcafe_4a11,
    0x6265_6570,
    0x6165_676c,
    0xde5e_81e4,
    0x1cd1,
    0x4249_4e4d,
    0x6e73_6673,
    0x1980_0202,
];

/// File systems that were met, each asked once.
#[derive(Debug, Default)]
pub(super) struct Systems(RwLock<Vec<(u64, u64)>>);

impl Systems {
    /// Whom to ask about an open file.
    pub(super) fn witness_of(&self, fd: BorrowedFd<'_>, stat: &Statx) -> Witness {
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            return Witness::Nobody(Unknown::NotRegular);
        }
        if stat.stx_attributes.contains(StatxAttributes::DAX) {
            return Witness::Nobody(Unknown::NoPageCache);
        }
        match self.magic(fd, device_of(stat)) {
            None | Some(OVERLAYFS) => Witness::Mincore,
            Some(TMPFS | RAMFS) => Witness::Cachestat { in_memory: true },
            Some(HUGETLBFS) => Witness::Nobody(Unknown::HugePages),
            Some(made_up) if MADE_UP.contains(&made_up) => Witness::Nobody(Unknown::NoPageCache),
            Some(_) => Witness::Cachestat { in_memory: false },
        }
    }

    /// The kind of the file system, by the number in linux/magic.h.
    fn magic(&self, fd: BorrowedFd<'_>, device: u64) -> Option<u64> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, magic)) = known.iter().find(|(known, _)| *known == device) {
            return Some(*magic);
        }
        drop(known);
        let magic = fs::fstatfs(fd).ok()?.f_type as u64;
        self.0.write().unwrap_or_else(PoisonError::into_inner).push((device, magic));
        Some(magic)
    }
}

pub(super) fn device_of(stat: &Statx) -> u64 {
    fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

/// overlayfs: its files' pages are cached under another file, and cachestat counts none.
pub(crate) fn is_overlay(fd: impl AsFd) -> bool {
    fs::fstatfs(fd).is_ok_and(|stat| stat.f_type as u64 == OVERLAYFS)
}

/// Whether mincore answers this process with the truth: the rule of the kernel (mm/mincore.c, can_do_mincore), on the safe side.
pub(crate) fn tells_mincore_the_truth(fd: impl AsFd) -> bool {
    let fd = fd.as_fd();
    if fs::fcntl_getfl(fd).is_ok_and(|flags| flags.intersects(fs::OFlags::WRONLY | fs::OFlags::RDWR))
        || fs::fstat(fd).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw())
    {
        return true;
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fs::accessat(fs::CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}
