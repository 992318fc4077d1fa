//! Opening a file for atomic edits.
//!
//! # Safety
//!
//! This file is trusted with [`AtomicOptions::view`]: its clean pages are the file's own pages in the page
//! cache, so that a file of any size opens at once, and the caller must promise that nothing else writes the
//! file while it is open. A command cannot see to that alone. What it can do, it does: it holds the library's
//! exclusive lock, which keeps every other user of the library out, it never writes the file through another
//! handle, and the help of each command that opens this way says in words what the person who runs it
//! promises.
#![allow(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use clap::Args;
use steadfast::{AtomicMapping, AtomicOptions};

/// Options of every command that opens a file for commits.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OpenArgs {
    /// Wait up to this many seconds (a fraction is fine) for another program to let go of the file.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    lock_timeout: Option<Duration>,
    /// Accept a file that has several hard links. Under another name its journal is not found after a crash.
    #[arg(long)]
    allow_hard_links: bool,
    /// Accept a journal that would lie on another device than the file.
    #[arg(long)]
    allow_other_device: bool,
    /// Accept a file system that keeps nothing over a power cut (tmpfs) or leaves it to a server (NFS).
    #[arg(long)]
    allow_volatile: bool,
    /// Overwrite what was committed over, cut off or given up in the journal before it is let go of.
    #[arg(long)]
    scrub: bool,
}

impl OpenArgs {
    /// Accepts every file system, whatever it promises.
    pub(crate) fn volatile(allowed: bool) -> OpenArgs {
        OpenArgs { allow_volatile: allowed, ..OpenArgs::default() }
    }

    /// The library's options that these stand for.
    pub(crate) fn options(&self) -> AtomicOptions {
        let options = AtomicMapping::options()
            .allow_hard_links(self.allow_hard_links)
            .allow_other_device(self.allow_other_device)
            .allow_volatile(self.allow_volatile)
            .scrub(self.scrub);
        match self.lock_timeout {
            Some(timeout) => options.lock_timeout(timeout),
            None => options,
        }
    }
}

/// Opens `path` in microseconds at any size. Nothing else may write the file until it is closed.
pub(crate) fn view(options: AtomicOptions, path: &Path) -> steadfast::Result<AtomicMapping> {
    // SAFETY: this process has no other handle that writes the file (see the head of this file), other users
    // of the library are kept out by its lock, and the person who started the command was told to keep
    // everybody else out.
    unsafe { options.view(path) }
}

/// Reads a time, such as `0.5`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "give a number of seconds that is not negative, such as 5 or 0.5".to_owned())
}
