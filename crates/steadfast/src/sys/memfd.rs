//! Anonymous files in memory.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use crate::descriptors::opened;

/// A new one, never to be executed: with `vm.memfd_noexec=2` no other is to be had, and kernels before 6.3 do not know the
/// flag (memfd_create(2)).
pub(crate) fn create(name: &str) -> rustix::io::Result<OwnedFd> {
    match memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING),
        created => created,
    }
    .map(opened)
}

/// One that nobody can cut, whoever finds it under `/proc`: pages of it that are mapped stay.
pub(crate) fn create_uncut(name: &str) -> rustix::io::Result<OwnedFd> {
    let memory = create(name)?;
    fcntl_add_seals(&memory, SealFlags::SHRINK)?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_cut_it() {
        let memory = create_uncut("test").unwrap();
        rustix::fs::ftruncate(&memory, 8192).unwrap();
        assert_eq!(rustix::fs::ftruncate(&memory, 4096), Err(Errno::PERM));
    }
}
