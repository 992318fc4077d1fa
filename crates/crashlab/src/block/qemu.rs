//! A second opinion: the same workloads, recorded by somebody else.
//!
//! QEMU's storage daemon (Debian: qemu-utils) serves a disk by FUSE and writes down what happens to it, in the format of the
//! kernel's dm-log-writes. It has no marks, so a mark is a write to a block behind the file system's end, whose number stands for
//! what was told then.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::file_system::{FileSystem, output, unmount};
use super::images::write;
use super::log::{Entry, Log};
use super::media::{Media, SECTOR};
use crate::history::{History, Told};
use crate::outcome::Failure;
use crate::real::Folder;
use crate::workload::{Workload, play};

const PROGRAM: &str = "qemu-storage-daemon";
/// Behind the file system there is room for marks.
const MARKS_BYTES: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

fn rig_failed(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Rig(format!("{what}: {error}"))
}

/// The daemon, and what it serves. Taken down when it is dropped.
struct Daemon {
    child: Child,
    loop_device: Option<PathBuf>,
    mounted: bool,
    folder: TempDir,
    bytes: u64,
}

impl Daemon {
    fn start(bytes: u64) -> Result<Daemon, Failure> {
        let lacking = |error: io::Error| {
            Failure::Lacking(format!("{PROGRAM} (Debian: apt-get install qemu-utils): {error}"))
        };
        let folder = tempfile::Builder::new()
            .prefix("crashlab-qemu-")
            .tempdir()
            .map_err(|error| rig_failed("no folder to work in", error))?;
        let at = |name: &str| folder.path().join(name);
        let make = |name: &str, len: u64| File::create(at(name)).and_then(|file| file.set_len(len));
        for (name, len) in [("raw", bytes + MARKS_BYTES), ("log", 1 << 32), ("disk", 0)] {
            make(name, len).map_err(|error| rig_failed("no file to work with", error))?;
        }
        fs::create_dir(at("mount")).map_err(|error| rig_failed("no folder to mount on", error))?;
        let shown = |name: &str| at(name).display().to_string();
        let child = Command::new(PROGRAM)
            .args(["--blockdev", &format!("driver=file,node-name=raw,filename={}", shown("raw"))])
            .args(["--blockdev", &format!("driver=file,node-name=log,filename={}", shown("log"))])
            .args(["--blockdev"])
            .arg(
                "driver=blklogwrites,node-name=recorder,file=raw,log=log,log-sector-size=512,log-super-update-interval=1",
            )
            .arg("--export")
            .arg(format!("type=fuse,id=disk,node-name=recorder,mountpoint={},writable=on,growable=off", shown("disk")))
            .stdin(Stdio::null())
            .spawn()
            .map_err(lacking)?;
        let mut daemon = Daemon { child, loop_device: None, mounted: false, folder, bytes };
        daemon.wait_until_served()?;
        Ok(daemon)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn wait_until_served(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while fs::metadata(self.path("disk")).map_or(0, |disk| disk.len()) == 0 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Failure::Lacking(format!("a {PROGRAM} that can serve a disk by FUSE: {status}")));
            }
            if Instant::now() > deadline {
                return Err(rig_failed(PROGRAM, "it serves no disk"));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    fn attach(&mut self) -> Result<PathBuf, Failure> {
        let size = self.bytes.to_string();
        let device = output(
            Command::new("losetup").args(["-f", "--show", "--sizelimit", &size]).arg(self.path("disk")),
            0,
        )
        .map_err(|error| Failure::Lacking(format!("a loop device: {error}")))?;
        self.loop_device = Some(device.clone().into());
        Ok(device.into())
    }

    fn mount(&mut self, file_system: FileSystem, device: &Path) -> Result<(), Failure> {
        rustix::mount::mount(device, self.path("mount"), file_system.name(), MountFlags::NOATIME, None)
            .map_err(|error| rig_failed("mount", error))?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), Failure> {
        unmount(&self.path("mount")).map_err(|error| rig_failed("umount", error))?;
        self.mounted = false;
        Ok(())
    }

    /// Ends it, so that its log is whole.
    fn end(&mut self) -> Result<(), Failure> {
        if let Some(device) = self.loop_device.take() {
            output(Command::new("losetup").arg("-d").arg(device), 0)
                .map_err(|error| rig_failed("losetup -d", error))?;
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(|error| rig_failed("ending the daemon", error))?;
        self.child.wait().map_err(|error| rig_failed("waiting for the daemon", error))?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.mounted {
            let _ = rustix::mount::unmount(self.path("mount"), UnmountFlags::DETACH);
        }
        if let Some(device) = self.loop_device.take() {
            let _ = output(Command::new("losetup").arg("-d").arg(device), 0);
        }
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = rustix::mount::unmount(self.path("disk"), UnmountFlags::DETACH);
        }
    }
}

/// Marks, in order: what each stands for.
struct Marks {
    disk: File,
    at: u64,
    told: Vec<(usize, Told)>,
}

impl Marks {
    fn set(&mut self, file: usize, told: Told) -> io::Result<()> {
        self.told.push((file, told));
        let mut sector = [0; SECTOR];
        sector[..8].copy_from_slice(&(self.told.len() as u64).to_le_bytes());
        self.disk.write_all_at(&sector, self.at)
    }
}

/// Plays a workload of the library on a disk that QEMU records.
///
/// # Errors
///
/// As [`record::library`](super::record::library).
pub(super) fn library(file_system: FileSystem, workload: &Workload) -> Result<Log, Failure> {
    let mut daemon = Daemon::start(file_system.bytes())?;
    let device = daemon.attach()?;
    output(&mut file_system.mkfs(&device), 0).map_err(|error| rig_failed("mkfs", error))?;
    daemon.mount(file_system, &device)?;
    let folder = Folder(daemon.path("mount"));
    let mut histories = Vec::new();
    for (number, plan) in workload.maps.iter().enumerate() {
        let content = workload.initial(number);
        if plan.initial_bytes.is_some() {
            fs::write(folder.path(number), &content).map_err(|error| rig_failed("writing a file", error))?;
        }
        histories.push(History::new(content));
    }
    daemon.unmount()?;
    let disk = File::options()
        .write(true)
        .open(daemon.path("disk"))
        .map_err(|error| rig_failed("opening the disk", error))?;
    let marks = Mutex::new(Marks { disk, at: daemon.bytes, told: Vec::new() });
    let failed = Mutex::new(None);
    let tell = |file, told| {
        let mut marks = marks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = marks.set(file, told) {
            failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
        }
    };
    // The first mark stands where the recording begins: nothing is known of any file there but what it holds.
    tell(usize::MAX, Told::Durable(0));
    daemon.mount(file_system, &device)?;
    let played = play(workload, &folder, &mut |file, told| tell(file, told));
    daemon.unmount()?;
    played.map_err(|error| Failure::Violation(format!("a workload failed on a sound disk: {error}")))?;
    if let Some(error) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(rig_failed("a mark", error));
    }
    let Marks { told, disk, at } = marks.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    drop(disk);
    daemon.end()?;
    read(&daemon.path("log"), file_system.bytes(), at, &told, histories)
        .map_err(|error| rig_failed("reading the recorder's log", error))
}

/// Reads a log in the format of dm-log-writes: a super block, then for each entry a sector with its head and the data.
fn read(
    path: &Path,
    bytes: u64,
    marks_at: u64,
    told: &[(usize, Told)],
    histories: Vec<History>,
) -> io::Result<Log> {
    const MAGIC: u64 = 0x006a_7366_7773_6872;
    const FLUSH: u64 = 1;
    const FUA: u64 = 2;
    const DISCARD: u64 = 4;
    let file = File::open(path)?;
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut sector = [0; SECTOR];
    let word = |sector: &[u8; SECTOR], index: usize| {
        sector[8 * index..][..8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    file.read_exact_at(&mut sector, 0)?;
    if word(&sector, 0) != MAGIC || word(&sector, 3) as u32 as usize != SECTOR {
        return Err(invalid("it is no log of dm-log-writes with sectors of 512 bytes"));
    }
    let entries = word(&sector, 2);
    let mut log = Log { base: Media::blank(bytes), histories, entries: Vec::new() };
    let mut begun = false;
    let mut at = SECTOR as u64;
    for _ in 0..entries {
        file.read_exact_at(&mut sector, at)?;
        at += SECTOR as u64;
        let (offset, sectors, flags) = (word(&sector, 0) * SECTOR as u64, word(&sector, 1), word(&sector, 2));
        if flags & FLUSH != 0 {
            log.entries.push(Entry::Flush);
        }
        if sectors == 0 {
            continue;
        }
        if flags & DISCARD != 0 {
            return Err(invalid("a discard, which the file systems here are told not to make"));
        }
        let mut data = vec![0; sectors as usize * SECTOR];
        file.read_exact_at(&mut data, at)?;
        at += data.len() as u64;
        if offset == marks_at {
            let number = word(data.first_chunk().ok_or_else(|| invalid("a short mark"))?, 0) as usize;
            let (file, told) = number
                .checked_sub(1)
                .and_then(|index| told.get(index))
                .ok_or_else(|| invalid("a mark that nobody set"))?;
            if *file == usize::MAX {
                // The file system was unmounted here: all before is durable.
                begun = true;
                for entry in log.entries.drain(..) {
                    if let Entry::Write { offset, bytes } = entry {
                        log.base.write(&bytes, offset);
                    }
                }
            } else {
                log.entries.push(Entry::Told(*file, told.clone()));
            }
            continue;
        }
        log.entries.push(write(offset, data));
        if flags & FUA != 0 {
            // Durable by itself; a flush says a little more than that.
            log.entries.push(Entry::Flush);
        }
    }
    if !begun {
        return Err(invalid("the first mark is missing"));
    }
    Ok(log)
}
