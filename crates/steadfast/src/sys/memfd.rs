//! Anonymous files in memory.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

/// A new one, never to be executed: with `vm.memfd_noexec=2` no other is to be had, and kernels before 6.3 do not know the
/// flag (memfd_create(2)).
pub(crate) fn create(name: &str) -> rustix::io::Result<OwnedFd> {
    match memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, MemfdFlags::CLOEXEC),
        created => created,
    }
}
