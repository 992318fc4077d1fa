//! The least that durability can cost: one append of 4 KiB and a flush, with nothing else to do.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::{ReadWriteFlags, pwritev2};

/// The room of the file. It is written beforehand, as a journal is, so that an append changes no metadata; at its end it begins
/// anew.
pub(crate) const ROOM_BYTES: u64 = 4 << 20;
const BLOCK_BYTES: usize = 4096;

/// How it becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through the page cache, then fdatasync(2).
    Cached,
    /// Past the page cache, and durable by the same call (`O_DIRECT`, `RWF_DSYNC`). Not every file system does it.
    Direct,
}

/// A file that is appended to.
pub(crate) struct Append {
    file: File,
    way: Way,
    end: u64,
    /// Twice a block: one that is aligned, as direct writes want it, lies within.
    room: Vec<u8>,
}

impl Append {
    /// Makes the file.
    pub(crate) fn create(path: &Path, way: Way) -> io::Result<Append> {
        let file = File::create_new(path)?;
        file.write_all_at(&vec![1; ROOM_BYTES as usize], 0)?;
        file.sync_all()?;
        let file = match way {
            Way::Cached => file,
            Way::Direct => {
                File::options().write(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path)?
            }
        };
        Ok(Append { file, way, end: 0, room: vec![0; 2 * BLOCK_BYTES] })
    }

    /// One append and a flush, timed.
    pub(crate) fn once(&mut self, byte: u8) -> io::Result<Duration> {
        let start = self.room.as_ptr().align_offset(BLOCK_BYTES);
        let Some(block) = self.room.get_mut(start..start.saturating_add(BLOCK_BYTES)) else {
            return Err(io::Error::other("no aligned memory"));
        };
        block.fill(byte);
        let at = self.end % ROOM_BYTES;
        let timer = Instant::now();
        match self.way {
            Way::Cached => {
                self.file.write_all_at(block, at)?;
                self.file.sync_data()?;
            }
            Way::Direct => {
                let written = pwritev2(&self.file, &[IoSlice::new(block)], at, ReadWriteFlags::DSYNC)?;
                if written < block.len() {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
        }
        self.end += BLOCK_BYTES as u64;
        Ok(timer.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_go_on_and_begin_anew_at_the_end_of_the_room() {
        for way in [Way::Cached, Way::Direct] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            let mut append = match Append::create(&path, way) {
                Err(error) if way == Way::Direct => {
                    return eprintln!("not tested: no direct writes here: {error}");
                }
                append => append.unwrap(),
            };
            append.end = ROOM_BYTES - BLOCK_BYTES as u64;
            append.once(7).unwrap();
            append.once(8).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len() as u64, ROOM_BYTES);
            assert_eq!((bytes[0], bytes[BLOCK_BYTES], bytes[bytes.len() - 1]), (8, 1, 7));
        }
    }
}
