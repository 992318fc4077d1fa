//! Who has a data file open for commits.
//!
//! `fcntl(F_OFD_GETLK)` does not name the owner of an open file description lock (it says pid -1), but every process
//! lists the locks of its descriptors in `/proc/<pid>/fdinfo` (proc_pid_fdinfo(5)), forked children that keep a lock
//! alive included.

use std::fmt;
use std::fs;

use crate::sys::lock::LOCK_OFFSET;

/// A process that holds a data file's lock.
///
/// Found in [`JournalReport`](crate::store::JournalReport), and named in errors of kind
/// [`Locked`](crate::ErrorKind::Locked).
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// The command's name, as `/proc/<pid>/comm` has it.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// All processes whose descriptors hold our lock on this inode, as far as `/proc` shows them to us.
pub(crate) fn holders(inode: u64) -> Vec<Holder> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut holders: Vec<Holder> = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| holds(pid, inode))
        .map(|pid| {
            let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Holder { pid, command: command.trim_end().to_owned() }
        })
        .collect();
    holders.sort_by_key(|holder| holder.pid);
    holders
}

fn holds(pid: u32, inode: u64) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return false };
    descriptors.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).any(|info| {
        info.lines().filter_map(|line| line.strip_prefix("lock:")).any(|lock| is_ours(lock, inode))
    })
}

/// `1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 9223372036854775806 9223372036854775806`: the inode after two device numbers
/// (which on btrfs and overlayfs are not those of `stat`, so they are not compared), and the byte that is locked.
fn is_ours(lock: &str, inode: u64) -> bool {
    let fields: Vec<&str> = lock.split_ascii_whitespace().collect();
    let Some(kind) = fields.iter().position(|&field| field == "OFDLCK") else { return false };
    let file = fields.get(kind + 4).and_then(|file| file.rsplit(':').next()?.parse::<u64>().ok());
    let start = fields.get(kind + 5).and_then(|start| start.parse::<i64>().ok());
    file == Some(inode) && start == Some(LOCK_OFFSET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_line_is_read_as_the_kernel_writes_it() {
        let line = "\t1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 9223372036854775806 9223372036854775806";
        assert!(is_ours(line, 1234));
        assert!(!is_ours(line, 1235));
        assert!(!is_ours(&line.replace("9223372036854775806", "0"), 1234));
        assert!(!is_ours("\t1: POSIX ADVISORY WRITE 7 fe:00:1234 9223372036854775806 EOF", 1234));
    }
}
