//! The memory of this machine.

/// What the kernel could make free without swapping (proc_meminfo(5)).
pub(crate) fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    text.lines().find_map(|line| {
        let number = line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?;
        number.parse::<u64>().ok()?.checked_mul(1024)
    })
}
