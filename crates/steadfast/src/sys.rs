//! System calls that need `unsafe`, one subject a file, each behind a face that is safe or says why it is not.

pub(crate) mod advise;
pub(crate) mod copy;
pub(crate) mod extents;
pub(crate) mod fork;
pub(crate) mod lock;
pub(crate) mod memfd;
pub(crate) mod pagemap;
pub(crate) mod protect;
pub(crate) mod region;
pub(crate) mod residency;
pub(crate) mod sync;

/// The system's page size in bytes: a power of two, 4096 on most machines, 16384 or 65536 on some.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}
