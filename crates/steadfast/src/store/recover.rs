//! Recovery: the last commit, whatever happened before.
//!
//! 1. What the journal holds is copied into a fresh journal, synced and put in place. A record found in the page
//!    cache alone (its writer was killed before the flush) is durable from here on.
//! 2. The data file is marked with the new epoch.
//! 3. The fresh journal is checkpointed like any other.
//!
//! Stopped anywhere, the next recovery finds the old journal or the fresh one, and both make the same state.

use std::path::Path;
use std::sync::Arc;

use super::journaled_file::JournaledFileOptions;
use super::{CommitId, Store};
use crate::disk::{Disk, RealDisk};
use crate::error::Result;

/// What to do with a journal that does not fit.
///
/// See [`recover`] for an example.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resolution {
    /// Refuse it; replay one that fits.
    #[default]
    Replay,
    /// Replay it over this file although marks or lengths differ. It must be sound, and nobody may have written it who may not write
    /// the file.
    Adopt,
    /// Remove it, and the mark, and keep the data file as it stands. Whatever has the journal's name goes unread, a link or another
    /// user's file as well; a directory, and what is mounted there, is refused.
    Discard,
}

/// What a recovery did. From [`recover`] and [`Status`](super::Status).
///
/// See [`recover`] for an example.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// A journal stood beside the file.
    pub journal_found: bool,
    /// So many commits were brought into the data file.
    pub replayed_commits: u64,
    /// The last of them, or the one that the file held already.
    pub last: CommitId,
    /// Behind it a record had been begun that was never acknowledged; it was dropped.
    pub torn_tail: bool,
    /// The journal was discarded, as asked.
    pub discarded: bool,
}

/// Brings a file to its last commit and removes the journal: what the next open would do, without opening.
///
/// A file without a journal is left alone.
///
/// # Errors
///
/// As opening it for commits: a live writer, a journal that is damaged or belongs to another file, and whatever the
/// operating system reports. Nothing is changed then.
///
/// ```
/// use steadfast::store::{Resolution, recover};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("state.bin");
/// std::fs::write(&path, b"plain")?;
/// let recovery = recover(&path, Resolution::Replay)?;
/// assert!(!recovery.journal_found);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn recover(path: impl AsRef<Path>, how: Resolution) -> Result<Recovery> {
    recover_on(Arc::new(RealDisk), path.as_ref(), how)
}

/// As [`recover`], which has an example, on any [`Disk`].
///
/// # Errors
///
/// As `recover`.
pub fn recover_on(disk: Arc<dyn Disk>, path: impl AsRef<Path>, how: Resolution) -> Result<Recovery> {
    JournaledFileOptions::default().recover_on(disk, path, how)
}

impl JournaledFileOptions {
    /// As [`recover`], which has an example, with these options, as far as they mean anything to it.
    ///
    /// # Errors
    ///
    /// As `recover`; with [`scrub`](JournaledFileOptions::scrub) also [`NotScrubbed`](crate::ErrorKind::NotScrubbed).
    pub fn recover(self, path: impl AsRef<Path>, how: Resolution) -> Result<Recovery> {
        self.recover_on(Arc::new(RealDisk), path, how)
    }

    /// As [`recover`](JournaledFileOptions::recover), on any [`Disk`]. See [`recover`] for an example.
    ///
    /// # Errors
    ///
    /// As `recover`.
    pub fn recover_on(
        self,
        disk: Arc<dyn Disk>,
        path: impl AsRef<Path>,
        how: Resolution,
    ) -> Result<Recovery> {
        // Whoever asks for recovery by name takes the file as it is: links, device and file system were settled at open.
        let options = JournaledFileOptions {
            resolution: how,
            allow_hard_links: true,
            allow_other_device: true,
            allow_volatile: true,
            ..self
        };
        match super::open::recover_only(disk, path.as_ref(), &options)? {
            (recovery, None) => Ok(recovery),
            (recovery, Some(mut store)) => {
                store.close()?;
                Ok(recovery)
            }
        }
    }
}
