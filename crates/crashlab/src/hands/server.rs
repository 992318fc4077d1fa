//! A file system of our own, in memory and without folders, through the page cache: reads and writes fail when told to.
//!
//! Times never change, and attributes are good for ever: what the kernel does to a file it knows by itself.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::fuse::{TTL, attributes};
use crate::workload::PAGE;

/// A file that is there from the start, of zeros that nobody keeps.
pub(super) const LARGE: &str = "large";
const LARGE_INO: u64 = 2;

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    attributes: BTreeMap<OsString, Vec<u8>>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<OsString, u64>,
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    /// Reads fail: of all pages if the number is 0, of one in so many otherwise.
    reads_fail: Option<u64>,
    writes_fail: bool,
    failed: u64,
}

/// The handle. A clone is the same content.
#[derive(Debug, Clone)]
pub(super) struct Files(Arc<Mutex<State>>);

impl Files {
    pub(super) fn new() -> Files {
        let mut state = State { next: LARGE_INO + 1, ..State::default() };
        state.names.insert(LARGE.into(), LARGE_INO);
        Files(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fail_reads(&self, of: Option<u64>) {
        self.state().reads_fail = of;
    }

    pub(super) fn fail_writes(&self, fail: bool) {
        self.state().writes_fail = fail;
    }

    /// How many reads and writes failed so far.
    pub(super) fn failed(&self) -> u64 {
        self.state().failed
    }

    /// Every file that may be cached.
    pub(super) fn inodes(&self) -> Vec<u64> {
        self.state().inodes.keys().copied().collect()
    }

    pub(super) fn serve(&self, at: &Path) -> io::Result<BackgroundSession> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("crashlab-hands".into())];
        fuser::spawn_mount(self.clone(), at, &config)
    }
}

impl State {
    fn attr(&self, ino: u64) -> Option<FileAttr> {
        let (kind, size) = match ino {
            LARGE_INO => (FileType::RegularFile, super::flood::BYTES),
            _ if ino == INodeNo::ROOT.0 => (FileType::Directory, 0),
            _ => (FileType::RegularFile, self.inodes.get(&ino)?.bytes.len() as u64),
        };
        Some(attributes(INodeNo(ino), kind, size))
    }

    fn fails(&self, offset: u64, size: u64) -> bool {
        let page = PAGE as u64;
        self.reads_fail.is_some_and(|of| {
            of == 0 || (offset / page..(offset + size).div_ceil(page)).any(|number| number.is_multiple_of(of))
        })
    }
}

impl Filesystem for Files {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        match state.names.get(name).and_then(|&ino| state.attr(ino)) {
            Some(attr) => reply.entry(&TTL, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().attr(ino.0) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        if let (Some(size), Some(inode)) = (size, state.inodes.get_mut(&ino.0)) {
            inode.bytes.resize(size as usize, 0);
        }
        match state.attr(ino.0) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.state();
        let ino = state.next;
        state.next += 1;
        state.inodes.insert(ino, Inode::default());
        state.names.insert(name.to_owned(), ino);
        match state.attr(ino) {
            Some(attr) => {
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE)
            }
            None => reply.error(Errno::EIO),
        }
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn unlink(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        // Whoever has it open keeps it.
        match self.state().names.remove(name) {
            Some(_) => reply.ok(),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn rename(
        &self,
        _request: &Request,
        _parent: INodeNo,
        name: &OsStr,
        _newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        match state.names.remove(name) {
            Some(ino) => {
                state.names.insert(newname.to_owned(), ino);
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.state();
        if state.fails(offset, u64::from(size)) {
            state.failed += 1;
            return reply.error(Errno::EIO);
        }
        match state.inodes.get(&ino.0) {
            Some(inode) => {
                let end = inode.bytes.len().min((offset + u64::from(size)) as usize);
                reply.data(inode.bytes.get(offset as usize..end).unwrap_or_default());
            }
            None => reply.data(&vec![0; size as usize]),
        }
    }

    fn write(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        if state.writes_fail {
            state.failed += 1;
            return reply.error(Errno::EIO);
        }
        let Some(inode) = state.inodes.get_mut(&ino.0) else { return reply.error(Errno::EIO) };
        let (start, end) = (offset as usize, offset as usize + data.len());
        if inode.bytes.len() < end {
            inode.bytes.resize(end, 0);
        }
        inode.bytes[start..end].copy_from_slice(data);
        reply.written(data.len() as u32);
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(&self, _request: &Request, _ino: INodeNo, _handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        let mut state = self.state();
        if state.writes_fail {
            state.failed += 1;
            return reply.error(Errno::EIO);
        }
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _data: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _len: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }

    fn setxattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        match self.state().inodes.get_mut(&ino.0) {
            Some(inode) => {
                inode.attributes.insert(name.to_owned(), value.to_vec());
                reply.ok();
            }
            None => reply.error(Errno::ENODATA),
        }
    }

    fn getxattr(&self, _request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.state().inodes.get(&ino.0).and_then(|inode| inode.attributes.get(name)) {
            Some(value) if size == 0 => reply.size(value.len() as u32),
            Some(value) if value.len() <= size as usize => reply.data(value),
            Some(_) => reply.error(Errno::ERANGE),
            None => reply.error(Errno::ENODATA),
        }
    }

    fn removexattr(&self, _request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.state().inodes.get_mut(&ino.0).and_then(|inode| inode.attributes.remove(name)) {
            Some(_) => reply.ok(),
            None => reply.error(Errno::ENODATA),
        }
    }
}
