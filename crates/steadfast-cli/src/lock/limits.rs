//! What could be in the way of locking memory, found out before anything is read.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::failure::Failure;
use crate::memory::available_bytes;
use crate::size;

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
    let tightest = control_groups().filter_map(|group| Some((room_in(&group)?, group))).min();
    if let Some((left, group)) = tightest
        && absent_bytes > left
    {
        return refuse(
            format!(
                "{} are still to be read, and the control group {} has room for {}",
                size::show(absent_bytes),
                group.display(),
                size::show(left)
            ),
            "raise its memory.max, or lock less",
        );
    }
    if let Some(free) = available_bytes()
        && absent_bytes > free
    {
        return refuse(
            format!(
                "{} are still to be read, and {} of memory are free",
                size::show(absent_bytes),
                size::show(free)
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

/// This process's, and all above it.
fn control_groups() -> impl Iterator<Item = PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(own.trim_start_matches('/'));
    let all: Vec<_> =
        own.ancestors().take_while(|group| group.starts_with(root)).map(Path::to_owned).collect();
    all.into_iter()
}

/// `None` where there is no limit.
fn room_in(group: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    Some(number("memory.max")?.saturating_sub(number("memory.current").unwrap_or(0)))
}
