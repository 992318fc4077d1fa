//! The memory of this machine.

use crate::groups::Room;

/// What the kernel could make free without swapping (proc_meminfo(5)).
pub(crate) fn available_bytes() -> Option<u64> {
    meminfo("MemAvailable:")
}

/// The same as room: what of it are files that may go.
pub(crate) fn room() -> Option<Room> {
    let file_bytes = meminfo("Active(file):").unwrap_or(0) + meminfo("Inactive(file):").unwrap_or(0);
    Some(Room { spare_bytes: available_bytes()?, file_bytes })
}

/// The page cache: files in memory, those that live there among them.
pub(crate) fn cached_bytes() -> Option<u64> {
    meminfo("Cached:")
}

fn meminfo(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    text.lines().find_map(|line| {
        let number = line.strip_prefix(name)?.trim().strip_suffix(" kB")?;
        number.parse::<u64>().ok()?.checked_mul(1024)
    })
}

/// Pages that were written back since the machine started (proc_vmstat(5)).
pub(crate) fn written_pages() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("nr_written ")?.trim().parse().ok())
}
