//! What the file systems that crashlab serves by itself (FUSE) say alike: attributes that never change by themselves.

use std::time::{Duration, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

/// Names and attributes are good for ever: what the kernel does to a file it knows by itself.
pub(crate) const TTL: Duration = Duration::from_secs(1 << 30);

/// A file, or a folder, of the user who serves it and of nobody else.
pub(crate) fn attributes(ino: INodeNo, kind: FileType, size: u64) -> FileAttr {
    FileAttr {
        ino,
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: if kind == FileType::Directory { 0o700 } else { 0o600 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
