//! Where something is measured: machine, file system, and the device under it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A device on a device on a device: no further down than that is looked for a model.
const LAYERS_MAX: usize = 4;

/// A line of the mount table.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The type of the file system, as the kernel calls it.
    pub kind: String,
    /// What is mounted: a device, or a word.
    pub source: PathBuf,
}

/// The mount that holds a folder: the last one with the longest matching point.
///
/// # Errors
///
/// The folder is not there, or the mount table cannot be read.
pub fn mount_of(folder: &Path) -> io::Result<Option<Mount>> {
    let folder = folder.canonicalize()?;
    Ok(mount_within(&fs::read_to_string("/proc/self/mountinfo")?, &folder))
}

fn mount_within(table: &str, folder: &Path) -> Option<Mount> {
    let mounts = table.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        Some(Mount {
            point: unescaped(before.split(' ').nth(4)?).into(),
            kind: after.next()?.to_owned(),
            source: unescaped(after.next()?).into(),
        })
    });
    mounts
        .filter(|mount| folder.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// proc_pid_mountinfo(5): space, tab, newline and backslash are written as octal numbers.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (octal, character)| text.replace(octal, character))
}

/// `MAJOR:MINOR` of the device under a folder. btrfs has a number of its own for each subvolume, so the mount table is asked first.
///
/// # Errors
///
/// As [`mount_of`].
pub fn device_of(folder: &Path) -> io::Result<String> {
    if let Some(mount) = mount_of(folder)?
        && mount.source.is_absolute()
        && let Ok(metadata) = fs::metadata(&mount.source)
        && metadata.rdev() != 0
    {
        return Ok(numbers(metadata.rdev()));
    }
    Ok(numbers(fs::metadata(folder)?.dev()))
}

fn numbers(dev: u64) -> String {
    format!("{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev))
}

/// A block device, as far as the kernel tells.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Device {
    /// Its name in /dev.
    pub name: String,
    /// What its maker calls it, or the one device that it lies on.
    pub model: Option<String>,
    /// Does it turn?
    pub rotational: Option<bool>,
    /// `write back`: it has a cache, and a flush empties that. `write through`: a write is durable without.
    pub write_cache: Option<String>,
}

impl Device {
    /// The device under a folder; `None` where the file system has none of its own.
    ///
    /// # Errors
    ///
    /// As [`mount_of`].
    pub fn under(folder: &Path) -> io::Result<Option<Device>> {
        let Ok(place) = fs::canonicalize(format!("/sys/dev/block/{}", device_of(folder)?)) else {
            return Ok(None);
        };
        // A partition's queue and model are its disk's.
        let ask = |what: &str| {
            [place.join(what), place.join("..").join(what)].iter().find_map(|path| {
                Some(fs::read_to_string(path).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
            })
        };
        Ok(Some(Device {
            name: place.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            model: ask("device/model").or_else(|| model_below(&place, LAYERS_MAX)),
            rotational: ask("queue/rotational").map(|text| text == "1"),
            write_cache: ask("queue/write_cache"),
        }))
    }

    /// Name, model and kind in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut words: Vec<&str> = Vec::new();
        words.extend(self.model.as_deref());
        if self.model.is_none() && self.name.starts_with("vd") {
            words.push("virtio");
        }
        words.extend(self.rotational.map(|turns| if turns { "rotating" } else { "not rotating" }));
        let cache = self.write_cache.as_ref().map(|cache| format!("cache: {cache}"));
        words.extend(cache.as_deref());
        if words.is_empty() { self.name.clone() } else { format!("{} ({})", self.name, words.join(", ")) }
    }
}

/// Of a device that is made of one other (a volume, an encrypted disk): that one's model.
fn model_below(place: &Path, layers: usize) -> Option<String> {
    let mut below = fs::read_dir(place.join("slaves")).ok()?.flatten();
    let (only, None) = (below.next()?, below.next()) else { return None };
    let place = fs::canonicalize(only.path()).ok()?;
    for path in [place.join("device/model"), place.join("../device/model")] {
        if let Ok(model) = fs::read_to_string(path) {
            return Some(format!("{} on {}", model.trim(), only.file_name().to_string_lossy()));
        }
    }
    if layers > 0 { model_below(&place, layers - 1) } else { None }
}

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many threads run at once.
    pub cores: usize,
    /// All of its memory.
    pub memory_bytes: u64,
    /// Name and version of the kernel.
    pub kernel: String,
    /// As uname(2) calls it.
    pub architecture: String,
    /// Bytes of a page.
    pub page_bytes: usize,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Machine {
        let line = |path: &str, name: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let found = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            found.trim_start_matches([' ', '\t', ':']).trim_end().to_owned()
        };
        let cpu = line("/proc/cpuinfo", "model name");
        let memory = line("/proc/meminfo", "MemTotal");
        let uname = rustix::system::uname();
        Machine {
            cpu: if cpu.is_empty() { "unknown".to_owned() } else { cpu },
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory.trim_end_matches(" kB").parse::<u64>().map_or(0, |kib| kib << 10),
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            architecture: uname.machine().to_string_lossy().into_owned(),
            page_bytes: rustix::param::page_size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_the_last_of_the_longest() {
        let table = "1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                     2 1 0:5 / /a\\040b rw - tmpfs tmpfs rw\n\
                     3 1 8:2 / /a\\040b rw - xfs /dev/sdb1 rw\n\
                     broken line\n";
        let kind = |folder: &str| mount_within(table, Path::new(folder)).map(|mount| mount.kind);
        assert_eq!(kind("/a b/c").as_deref(), Some("xfs"), "mounted over another");
        assert_eq!(kind("/a bc").as_deref(), Some("ext4"), "a name that begins the same is another");
        assert_eq!(mount_within("", Path::new("/")).map(|mount| mount.kind), None);
    }

    #[test]
    fn a_device_is_described_by_what_is_known() {
        let mut device = Device { name: "vda".to_owned(), ..Device::default() };
        assert_eq!(device.describe(), "vda (virtio)");
        device.model = Some("Fast 2000".to_owned());
        device.rotational = Some(false);
        device.write_cache = Some("write back".to_owned());
        assert_eq!(device.describe(), "vda (Fast 2000, not rotating, cache: write back)");
        assert_eq!(Device { name: "x".to_owned(), ..Device::default() }.describe(), "x");
    }
}
