//! System calls that need `unsafe`, one subject a file, each behind a face that is safe or says why it is not.

pub(crate) mod address;
pub(crate) mod advise;
pub(crate) mod buffer;
pub(crate) mod copy;
pub(crate) mod extents;
pub(crate) mod fork;
pub(crate) mod freeze;
pub(crate) mod lock;
pub(crate) mod maps;
pub(crate) mod memfd;
pub(crate) mod pagemap;
pub(crate) mod prefetch;
pub(crate) mod priority;
pub(crate) mod process_advise;
pub(crate) mod protect;
pub(crate) mod region;
pub(crate) mod residency;
pub(crate) mod sync;
pub(crate) mod write_protect;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// The largest file that this process may write; `None` is unlimited. Beyond it the kernel sends SIGXFSZ, which ends the
/// process (setrlimit(2)): so it is asked for before a file grows.
pub(crate) fn file_size_limit() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// An error if this process may not write a file up to byte `end`.
pub(crate) fn check_file_size(end: u64) -> rustix::io::Result<()> {
    match file_size_limit() {
        Some(limit) if limit < end => Err(Errno::FBIG),
        _ => Ok(()),
    }
}

/// The system's page size in bytes: a power of two, 4096 on most machines, 16384 or 65536 on some.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}
