//! What the kernel says of this process's memory.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::Result;

/// A line of `/proc/self/status`, in KiB.
pub(crate) fn status_kib(name: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let line = line.ok_or_else(|| format!("/proc/self/status has no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Bytes of the memory files that this process has open: they count whether they are mapped or not.
pub(crate) fn memory_file_bytes() -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        // The folder's own descriptor is gone by now.
        let Ok(target) = fs::read_link(&path) else { continue };
        if target.to_string_lossy().starts_with("/memfd:") {
            bytes += fs::metadata(&path)?.blocks() * 512;
        }
    }
    Ok(bytes)
}
