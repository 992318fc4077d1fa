//! A disk of our own: a file in a FUSE file system of one file, under a loop device. It notes what is written and flushed,
//! its content can be exchanged while nobody uses it, and it fails when told to.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use super::log::{Entry, Log};
use super::media::Media;
use crate::fuse::{TTL, attributes};
use crate::history::{History, Told};

/// What a disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Reads sectors.
    Read,
    /// Writes sectors.
    Write,
    /// Makes all that was written durable.
    Flush,
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy)]
pub struct DeviceFault {
    /// At which operation.
    pub operation: Operation,
    /// The error.
    pub os_error: i32,
    /// So many of these operations still succeed.
    pub after: u64,
    /// And from then on for ever, or only once.
    pub lasting: bool,
    /// A write that fails has written its first half.
    pub short: bool,
}

#[derive(Debug)]
struct State {
    media: Media,
    /// What happened. A flush that failed is none.
    log: Option<Log>,
    fault: Option<DeviceFault>,
    failed: u64,
    served: [u64; 3],
}

/// The handle. A clone is the same disk.
#[derive(Debug, Clone)]
pub struct Device(Arc<Mutex<State>>);

impl Device {
    /// A disk with this content.
    pub fn new(media: Media) -> Device {
        Device(Arc::new(Mutex::new(State { media, log: None, fault: None, failed: 0, served: [0; 3] })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exchanges the content, while no file system is mounted on it. No fault is left.
    pub fn insert(&self, media: Media) {
        let mut state = self.state();
        state.media = media;
        state.log = None;
        state.fault = None;
        state.failed = 0;
        state.served = [0; 3];
    }

    /// The content.
    pub fn media(&self) -> Media {
        self.state().media.clone()
    }

    /// Notes from now on what happens.
    pub fn record(&self, histories: Vec<History>) {
        let mut state = self.state();
        state.log = Some(Log { base: state.media.clone(), histories, entries: Vec::new() });
    }

    /// Notes what the program above was told: after all that was written before, and before all that comes.
    pub fn tell(&self, file: usize, told: Told) {
        if let Some(log) = &mut self.state().log {
            log.entries.push(Entry::Told(file, told));
        }
    }

    /// What was noted. Nothing is noted from here on.
    pub fn take_log(&self) -> Option<Log> {
        self.state().log.take()
    }

    /// Fails from now on as the fault says; `None` heals the disk.
    pub fn fail(&self, fault: Option<DeviceFault>) {
        let mut state = self.state();
        state.fault = fault;
        state.served = [0; 3];
    }

    /// How many operations failed since the content was exchanged.
    pub fn failed(&self) -> u64 {
        self.state().failed
    }

    /// How many operations of this kind were served since the content was exchanged or a fault was set.
    pub fn served(&self, operation: Operation) -> u64 {
        self.state().served[operation as usize]
    }

    /// Serves the disk as `folder/disk` until the session is dropped.
    pub fn serve(&self, folder: &Path) -> io::Result<(BackgroundSession, PathBuf)> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("crashlab".into())];
        let session = fuser::spawn_mount(Served(self.clone()), folder, &config)?;
        Ok((session, folder.join(NAME)))
    }
}

impl State {
    /// Counts an operation. The fault, if it is this one's turn to fail.
    fn turn(&mut self, operation: Operation) -> Option<DeviceFault> {
        let served = &mut self.served[operation as usize];
        let fault = self.fault.filter(|fault| fault.operation == operation && *served >= fault.after);
        *served += 1;
        if let Some(fault) = fault {
            self.failed += 1;
            if !fault.lasting {
                self.fault = None;
            }
        }
        fault
    }

    fn write(&mut self, bytes: &[u8], offset: u64) {
        self.media.write(bytes, offset);
        if let Some(log) = &mut self.log {
            log.entries.push(Entry::Write { offset, bytes: Arc::new(bytes.to_vec()) });
        }
    }
}

struct Served(Device);

const NAME: &str = "disk";
const DISK: INodeNo = INodeNo(2);

impl Served {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        match ino {
            DISK => attributes(ino, FileType::RegularFile, self.0.state().media.len()),
            _ => attributes(ino, FileType::Directory, 0),
        }
    }
}

fn errno(os_error: i32) -> Errno {
    Errno::from_i32(os_error)
}

impl Filesystem for Served {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // As large as a block device would take them: a write that is cut in pieces is torn more often than it should be.
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == NAME {
            reply.entry(&TTL, &self.attr(DISK), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(ino));
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Past the page cache: every write of the loop device arrives here before it is complete.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.0.state();
        if let Some(fault) = state.turn(Operation::Read) {
            return reply.error(errno(fault.os_error));
        }
        let end = (offset + u64::from(size)).min(state.media.len());
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        state.media.read(&mut bytes, offset);
        drop(state);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.0.state();
        if let Some(fault) = state.turn(Operation::Write) {
            if fault.short {
                let half = (data.len() / 2).next_multiple_of(super::media::SECTOR).min(data.len());
                state.write(&data[..half], offset);
            }
            return reply.error(errno(fault.os_error));
        }
        state.write(data, offset);
        drop(state);
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
        // Of close(2): not a flush of the disk.
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let mut state = self.0.state();
        if let Some(fault) = state.turn(Operation::Flush) {
            return reply.error(errno(fault.os_error));
        }
        if let Some(log) = &mut state.log {
            log.entries.push(Entry::Flush);
        }
        drop(state);
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
        // No discards: the block layer writes zeros instead.
        reply.error(Errno::EOPNOTSUPP);
    }
}
