//! What the figures were measured on, and with which versions.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::disk;

/// The crates whose versions a reader needs to know.
const CRATES: [&str; 8] =
    ["heed", "lmdb-master-sys", "memmap2", "mmap-io", "mmap-snapshot", "redb", "rusqlite", "libsqlite3-sys"];

/// A line of the mount table.
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    pub(crate) kind: String,
    pub(crate) source: PathBuf,
}

/// The mount that holds a folder: the last one with the longest matching point.
pub(crate) fn mount_of(folder: &Path) -> Result<Option<Mount>> {
    let folder = folder.canonicalize()?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mounts = table.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        Some(Mount {
            point: before.split(' ').nth(4)?.replace("\\040", " ").into(),
            kind: after.next()?.to_owned(),
            source: after.next()?.into(),
        })
    });
    Ok(mounts
        .filter(|mount| folder.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count()))
}

/// Machine, file system and versions, by name.
pub(crate) fn describe(folder: &Path) -> Result<Vec<(&'static str, String)>> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let memory_kib: u64 = memory_kib.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    let uname = rustix::system::uname();
    let mount = mount_of(folder)?;
    let kind = mount.map_or_else(|| "unknown".to_owned(), |mount| mount.kind);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    Ok(vec![
        ("cpu", cpu.trim_start_matches([' ', '\t', ':']).to_owned()),
        ("cores", cores.to_string()),
        ("memory", format!("{} GiB", memory_kib.div_ceil(1 << 20))),
        ("kernel", format!("{} {}", uname.sysname().to_string_lossy(), release(&uname))),
        ("architecture", uname.machine().to_string_lossy().into_owned()),
        ("file_system", kind),
        ("device", device(folder)?),
        ("steadfast", env!("CARGO_PKG_VERSION").to_owned()),
        ("sqlite", rusqlite::version().to_owned()),
        ("crates", versions().join(", ")),
    ])
}

fn release(uname: &rustix::system::Uname) -> String {
    uname.release().to_string_lossy().into_owned()
}

/// The device's name and what its write cache does: whether a flush costs anything depends on it.
fn device(folder: &Path) -> Result<String> {
    let numbers = disk::device_of(folder)?;
    let Ok(place) = fs::canonicalize(format!("/sys/dev/block/{numbers}")) else {
        return Ok("none".to_owned());
    };
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A partition's queue is its disk's.
    let queue = [place.join("queue"), place.join("../queue")];
    let ask = |what: &str| queue.iter().find_map(|queue| fs::read_to_string(queue.join(what)).ok());
    let cache = ask("write_cache").unwrap_or_default();
    let rotational = ask("rotational").is_some_and(|text| text.trim() == "1");
    let virtual_disk = if name.starts_with("vd") { "virtio, " } else { "" };
    let medium = if rotational { "rotating" } else { "not rotating" };
    Ok(format!("{name} ({virtual_disk}{medium}, cache: {})", cache.trim()))
}

/// From the lock file that this program was built with.
fn versions() -> Vec<String> {
    CRATES.iter().filter_map(|name| Some(format!("{name} {}", version(name)?))).collect()
}

fn version(name: &str) -> Option<&'static str> {
    let lock = include_str!("../../../Cargo.lock");
    let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(after.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_crate_named_has_a_version() {
        assert_eq!(super::versions().len(), super::CRATES.len());
    }
}
