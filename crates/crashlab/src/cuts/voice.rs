//! A program's standard output, heard at once: a file in a FUSE file system of one file.
//!
//! A line counts as said while the program still waits for its `write`. So what it said stands in the log of the disk behind
//! everything that it had written before, and before everything that it writes after. A pipe would be read some time later.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fuser::{
    BackgroundSession, Config, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};
use tempfile::TempDir;

use crate::block::file_system::unmount;
use crate::fuse::{TTL, attributes};
use crate::kills::rig;
use crate::outcome::Failure;

const NAME: &str = "said";
const SAID: INodeNo = INodeNo(2);

/// Takes a line, without its end.
type Ear = Box<dyn FnMut(&str) + Send>;

struct Hearing {
    ear: Ear,
    /// The beginning of a line.
    begun: Vec<u8>,
}

/// Everything is taken down when it is dropped.
pub(super) struct Voice {
    // Ends when it is dropped: after the unmount.
    session: Option<BackgroundSession>,
    folder: TempDir,
}

impl Voice {
    pub(super) fn new(ear: impl FnMut(&str) + Send + 'static) -> Result<Voice, Failure> {
        let folder = tempfile::Builder::new().prefix("crashlab-voice-").tempdir().map_err(rig("a folder"))?;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("crashlab-voice".into())];
        let hearing = Served(Arc::new(Mutex::new(Hearing { ear: Box::new(ear), begun: Vec::new() })));
        let session = fuser::spawn_mount(hearing, folder.path(), &config).map_err(|error| {
            Failure::Lacking(format!("a FUSE mount at {}: {error}", folder.path().display()))
        })?;
        Ok(Voice { session: Some(session), folder })
    }

    /// To be a program's standard output.
    pub(super) fn open(&self) -> Result<File, Failure> {
        let path = self.path().join(NAME);
        File::options().write(true).open(path).map_err(rig("a standard output"))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        let unmounted = unmount(self.path());
        match self.session.take() {
            Some(session) if unmounted.is_ok() => drop(session.join()),
            // It unmounts by itself as soon as nobody has the file any more.
            session => {
                eprintln!("could not unmount {}: {unmounted:?}", self.path().display());
                drop(session);
            }
        }
    }
}

struct Served(Arc<Mutex<Hearing>>);

impl Hearing {
    fn hear(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            (self.ear)(String::from_utf8_lossy(&line[..end]).trim_end());
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == NAME {
            reply.entry(&TTL, &attributes(SAID, FileType::RegularFile, 0), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let kind = if ino == SAID { FileType::RegularFile } else { FileType::Directory };
        reply.attr(&TTL, &attributes(ino, kind, 0));
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Past the page cache: a `write` returns when its line was heard.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NONSEEKABLE);
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hear(data);
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
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_line_was_heard_when_its_write_returns() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let voice = match Voice::new(move |line| ear.lock().unwrap().push(line.to_owned())) {
            Ok(voice) => voice,
            Err(failure) => return println!("{failure}"),
        };
        let mut file = voice.open().unwrap();
        for (said, want) in [("ready\n", 1), ("1", 1), ("2\n3\n", 3)] {
            file.write_all(said.as_bytes()).unwrap();
            assert_eq!(heard.lock().unwrap().len(), want);
        }
        drop(file);
        let place = voice.path().to_owned();
        drop(voice);
        assert!(!place.exists(), "nothing is left behind");
        assert_eq!(*heard.lock().unwrap(), ["ready", "12", "3"]);
    }
}
