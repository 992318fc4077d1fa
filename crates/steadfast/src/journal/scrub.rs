//! Overwriting what a journal held, so that bytes which nobody can read any more by way of the store are gone from its blocks.

use std::io;
use std::iter::once;
use std::ops::Range;
use std::path::Path;

use crate::disk::{Access, Disk, DiskFile, FileKind, FileStat, SyncPoint};
use crate::knockout::{step, sync};

/// Zeros are written in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;

/// Writes zeros over `range`. They are not durable yet.
///
/// They are written, and not asked for with `DiskFile::zero`: a file system may only mark the blocks as unwritten then, and what
/// they held stays on the disk.
pub(super) fn write_zeros(file: &dyn DiskFile, range: Range<u64>) -> io::Result<()> {
    let zeros = vec![0; PIECE_BYTES.min(range.end.saturating_sub(range.start)) as usize];
    let mut at = range.start;
    while at < range.end {
        let count = PIECE_BYTES.min(range.end - at);
        file.write_at(&[&zeros[..count as usize]], at)?;
        at += count;
    }
    Ok(())
}

/// Overwrites these ranges with zeros, durably. After an error all of it is to be done again.
pub(super) fn overwrite(file: &dyn DiskFile, ranges: impl IntoIterator<Item = Range<u64>>) -> io::Result<()> {
    let overwritten: io::Result<()> = (|| {
        for range in ranges {
            // Whoever wrote a journal may have been allowed more than this process.
            step!("scrub: may be written that far", file.check_len(range.end))?;
            step!("scrub: zeros over what was there", write_zeros(file, range))?;
        }
        sync!("scrub: the zeros", file.sync_data(SyncPoint::Scrub))
    })();
    overwritten.inspect_err(|_| {
        // Pages of a sync that failed look clean: whoever tries again is not to build upon them.
        let _ = step!("scrub: failed pages are dropped", file.drop_clean_pages());
    })
}

/// Overwrites all of a file that nobody will read again.
pub(crate) fn overwrite_whole(file: &dyn DiskFile) -> io::Result<()> {
    overwrite(file, once(0..file.stat()?.len))
}

/// Overwrites what stands at `path` from offset `from` on, if that is a file of one name: it was not read, and what has other names
/// too may be somebody else's.
pub(crate) fn overwrite_unread(disk: &dyn Disk, path: &Path, from: u64) -> io::Result<()> {
    let is_one_file = |stat: &FileStat| stat.kind == FileKind::Regular && stat.links == 1;
    match disk.stat(path) {
        Ok(stat) if is_one_file(&stat) => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let file = disk.open(path, Access::ReadWrite)?;
    // What was opened counts: the name may since have gone to a file that has others.
    let stat = file.stat()?;
    if !is_one_file(&stat) {
        return Ok(());
    }
    let len = stat.len;
    if len > from { overwrite(&*file, once(from..len)) } else { Ok(()) }
}
