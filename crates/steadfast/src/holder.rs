//! Who holds the lock on a file.
//!
//! `F_OFD_GETLK` cannot name the owner of an open file description lock: it answers pid -1 (fcntl(2)). But
//! `/proc/<pid>/fdinfo/<fd>` lists the locks of each descriptor (proc_pid_fdinfo(5)):
//!
//! ```text
//! lock:   1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 9223372036854775806 9223372036854775806
//! ```
//!
//! Only processes that this one may look at can be found.

use std::fs;
use std::path::Path;

/// A process that holds the lock of a data file.
///
/// Found in [`JournalReport`](crate::JournalReport), and named in errors of kind [`Locked`](crate::ErrorKind::Locked).
///
/// See [`inspect`](crate::inspect) for an example.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// The name of its program, at most 15 bytes of it.
    pub command: String,
}

/// The processes that hold an open file description lock on the file, in ascending order; this one too.
pub(crate) fn holders(device: u64, inode: u64) -> Vec<Holder> {
    let mut holders = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else { return holders };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if holds(&process.path().join("fdinfo"), device, inode) {
            holders.push(named(pid));
        }
    }
    holders.sort_by_key(|holder| holder.pid);
    holders
}

/// A process that is known by its number: its name is for everybody to read.
pub(crate) fn named(pid: u32) -> Holder {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Holder { pid, command: command.trim_end().to_owned() }
}

/// The holders in words, for `it is … by {}`.
pub(crate) fn in_words(holders: &[Holder]) -> String {
    let me = std::process::id();
    let mut names: Vec<String> = holders
        .iter()
        .map(|holder| match holder.pid == me {
            true => "this process".to_owned(),
            false => format!("process {} ({})", holder.pid, holder.command),
        })
        .collect();
    match names.pop() {
        None => "a process that cannot be looked at from here".to_owned(),
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} and {last}", names.join(", ")),
    }
}

fn holds(fdinfo: &Path, device: u64, inode: u64) -> bool {
    let Ok(descriptors) = fs::read_dir(fdinfo) else { return false };
    descriptors.flatten().any(|descriptor| {
        fs::read_to_string(descriptor.path())
            .is_ok_and(|text| text.lines().any(|line| is_lock_on(line, device, inode)))
    })
}

/// Whether a line of fdinfo is an open file description lock on the file.
fn is_lock_on(line: &str, device: u64, inode: u64) -> bool {
    let Some(lock) = line.strip_prefix("lock:") else { return false };
    if !lock.split_whitespace().any(|word| word == "OFDLCK") {
        return false;
    }
    // btrfs names the device of the whole file system here and another one for each subvolume in stat(2). Our own lock
    // stands at an offset that nobody else uses: there the inode alone decides.
    let ours = lock.contains(&crate::sys::lock::LOCK_OFFSET.to_string());
    lock.split_whitespace().any(|word| {
        let mut parts = word.split(':');
        let (Some(major), Some(minor), Some(number), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let same_device = u32::from_str_radix(major, 16) == Ok(rustix::fs::major(device))
            && u32::from_str_radix(minor, 16) == Ok(rustix::fs::minor(device));
        number.parse() == Ok(inode) && (same_device || ours)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_fdinfo_names_the_file() {
        let device = rustix::fs::makedev(0xfe, 0x1a);
        let line = "lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:1a:1234 0 EOF";
        assert!(is_lock_on(line, device, 1234));
        assert!(!is_lock_on(line, device, 1235));
        assert!(!is_lock_on(line, rustix::fs::makedev(0xfe, 0x1b), 1234));
        assert!(!is_lock_on("lock:\t1: POSIX  ADVISORY  WRITE 7 fe:1a:1234 0 EOF", device, 1234));
        assert!(!is_lock_on("pos:\t0", device, 1234));
        let ours = format!("lock:\t1: OFDLCK ADVISORY  READ -1 00:1b:1234 {0} {0}", i64::MAX - 1);
        assert!(is_lock_on(&ours, device, 1234));
    }

    #[test]
    fn the_words_read_well() {
        let holder = |pid, command: &str| Holder { pid, command: command.into() };
        assert_eq!(in_words(&[holder(1234, "myapp")]), "process 1234 (myapp)");
        let two = [holder(12, "a"), holder(std::process::id(), "b")];
        assert_eq!(in_words(&two), "process 12 (a) and this process");
        assert!(in_words(&[]).contains("cannot be looked at"));
    }
}
