//! The least that durability can cost: one append of 4 KiB and a flush, with nothing else to do.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The room of the file. It is written beforehand, as a journal is, so that an append changes no metadata; at its end it begins anew.
pub(crate) const ROOM_BYTES: u64 = 4 << 20;
const BLOCK_BYTES: usize = 4096;

/// A file that is appended to.
pub(crate) struct Append {
    file: File,
    end: u64,
}

impl Append {
    /// Makes the file.
    pub(crate) fn create(path: &Path) -> io::Result<Append> {
        let file = File::create_new(path)?;
        file.write_all_at(&vec![1; ROOM_BYTES as usize], 0)?;
        file.sync_all()?;
        Ok(Append { file, end: 0 })
    }

    /// One append and a flush, timed.
    pub(crate) fn once(&mut self, byte: u8) -> io::Result<Duration> {
        let block = [byte; BLOCK_BYTES];
        let timer = Instant::now();
        self.file.write_all_at(&block, self.end % ROOM_BYTES)?;
        self.file.sync_data()?;
        self.end += BLOCK_BYTES as u64;
        Ok(timer.elapsed())
    }
}
