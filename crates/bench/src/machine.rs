//! What the figures were measured on, and with which versions.

use std::path::Path;

use steadfast_cli::place::{Device, Machine, mount_of};

use crate::Result;

/// The crates whose versions a reader needs to know.
const CRATES: [&str; 8] =
    ["heed", "lmdb-master-sys", "memmap2", "mmap-io", "mmap-snapshot", "redb", "rusqlite", "libsqlite3-sys"];

/// Machine, file system and versions, by name.
pub(crate) fn describe(folder: &Path) -> Result<Vec<(&'static str, String)>> {
    let machine = Machine::here();
    let kind = mount_of(folder)?.map_or_else(|| "unknown".to_owned(), |mount| mount.kind);
    let device = Device::under(folder)?.map_or_else(|| "none".to_owned(), |device| device.describe());
    Ok(vec![
        ("cpu", machine.cpu),
        ("cores", machine.cores.to_string()),
        ("memory", format!("{} GiB", machine.memory_bytes.div_ceil(1 << 30))),
        ("kernel", machine.kernel),
        ("architecture", machine.architecture),
        ("file_system", kind),
        // Whether a flush costs anything depends on what its write cache does.
        ("device", device),
        ("steadfast", env!("CARGO_PKG_VERSION").to_owned()),
        ("sqlite", rusqlite::version().to_owned()),
        ("crates", versions().join(", ")),
    ])
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
