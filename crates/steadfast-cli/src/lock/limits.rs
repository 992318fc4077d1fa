//! What could be in the way of locking memory, found out before anything is read.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::failure::Failure;
use crate::groups::own_room;
use crate::{memory, size};

/// `CAP_IPC_LOCK` (capabilities(7)).
const IPC_LOCK: u64 = 14;

/// An error that names the first limit that `locked_bytes`, of which `absent_bytes` are not in memory yet, would exceed.
pub(super) fn check(locked_bytes: u64, absent_bytes: u64) -> Result<(), Failure> {
    let refuse = |limit: String, way: &str| {
        Err(Failure::Failed(format!(
            "cannot lock {}: {limit}; {way}; nothing was locked",
            size::show(locked_bytes)
        )))
    };
    if let Some(limit) = getrlimit(Resource::Memlock).current
        && locked_bytes > limit
        && !may_lock_anything()
    {
        return refuse(
            format!("RLIMIT_MEMLOCK allows {}", size::show(limit)),
            "raise it (`ulimit -l`, LimitMEMLOCK= of a service), or grant CAP_IPC_LOCK",
        );
    }
    let present_bytes = locked_bytes.saturating_sub(absent_bytes);
    if let Some((room, group)) = own_room()
        && absent_bytes > room.beside(present_bytes)
    {
        return refuse(
            format!(
                "{} are still to be read, and the control group {} has room for {}",
                size::show(absent_bytes),
                group.display(),
                size::show(room.beside(present_bytes))
            ),
            "raise its limit of memory, or lock less",
        );
    }
    if let Some(room) = memory::room()
        && absent_bytes > room.beside(present_bytes)
    {
        return refuse(
            format!(
                "{} are still to be read, and {} of memory are free",
                size::show(absent_bytes),
                size::show(room.beside(present_bytes))
            ),
            "lock less",
        );
    }
    Ok(())
}

fn may_lock_anything() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    effective.is_some_and(|effective| effective >> IPC_LOCK & 1 != 0)
}
