//! A plain copy of the last commit, whole or not at all.

use std::io;
use std::path::Path;

use super::Store;
use crate::disk::{Access, Disk, FileKind, SyncPoint};
use crate::error::{Error, ErrorKind, Result};
use crate::knockout::{step, sync};
use crate::names;

const CHUNK_BYTES: u64 = 1 << 20;
/// Runs of zeros of this size are left as holes.
const HOLE_BYTES: usize = 64 << 10;

pub(crate) fn copy_committed(store: &dyn Store, disk: &dyn Disk, to: &Path) -> Result<()> {
    store.check()?;
    let failed = |error| Error::from_io("copy", error).path(to);
    let target = disk.resolve(to).map_err(failed)?;
    refuse_target(store, disk, &target)?;
    let source = disk.stat(store.path()).map_err(|error| Error::from_io("copy", error).path(store.path()))?;

    let temporary = names::unfinished_copy(&target);
    // no switch: a left-over that stays is in the way of the new one, which fails then
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let write = || -> Result<()> {
        let file = disk.open(&temporary, Access::CreateNew { mode: source.mode }).map_err(failed)?;
        let len = store.committed_len();
        // no switch: it is content, as what is written is
        file.set_len(len).map_err(failed)?;
        let mut chunk = vec![0; CHUNK_BYTES.min(len.max(1)) as usize];
        let mut at = 0;
        while at < len {
            let count = CHUNK_BYTES.min(len - at) as usize;
            store.read_committed(&mut chunk[..count], at)?;
            for (index, piece) in chunk[..count].chunks(HOLE_BYTES).enumerate() {
                if piece.iter().any(|&byte| byte != 0) {
                    file.write_at(&[piece], at + (index * HOLE_BYTES) as u64).map_err(failed)?;
                }
            }
            at += count as u64;
        }
        sync!("copy: whole before it has its name", file.sync(SyncPoint::Copy)).map_err(failed)?;
        step!("copy: gets its name", disk.rename(&temporary, &target)).map_err(failed)
    };
    write().inspect_err(|_| {
        // The cause is what matters.
        // no switch: it gives room back, and the next copy would do so as well
        let _ = disk.remove(&temporary);
    })?;
    let folder = names::folder(&target);
    sync!("copy: its name", disk.sync_dir(folder, SyncPoint::CopyName)).map_err(failed)
}

fn refuse_target(store: &dyn Store, disk: &dyn Disk, target: &Path) -> Result<()> {
    let refuse = |reason: &'static str| {
        Err(Error::new(ErrorKind::InvalidInput, "copy", reason).path(target).advice("choose another name"))
    };
    if names::is_companion(target) {
        return refuse("the name is one that journals have, and a file of that name would be taken for one");
    }
    if let (Ok(there), Ok(here)) = (disk.stat(target), disk.stat(store.path())) {
        if there.kind != FileKind::Regular {
            return refuse("the target exists and is not a regular file");
        }
        if (there.device, there.inode) == (here.device, here.inode) {
            return refuse("the target is the file that is copied");
        }
    }
    match disk.stat(&names::journal(target)) {
        Ok(_) => Err(Error::new(
            ErrorKind::RecoveryNeeded,
            "copy",
            "a journal stands beside the target: it is open for commits, or waits for recovery",
        )
        .path(target)
        .advice("close it there or run `steadfast recover` on it, or choose another name")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::from_io("copy", error).path(target)),
    }
}
