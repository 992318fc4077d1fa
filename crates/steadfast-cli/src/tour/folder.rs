//! The tour's folder: fresh, and gone afterwards, however the tour ends.
//!
//! A process that is killed cannot clean up after itself, and one that is interrupted (Ctrl-C) would need a
//! signal handler. So a small process of its own, the janitor, waits at the end of a pipe: when the other end
//! closes, because the tour is done or because it has died of anything, the janitor removes the folder.

use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::failure::Failure;
use crate::output;
use crate::size;

/// Every folder of a tour is called this and a number. The janitor removes nothing that is called otherwise.
const NAME: &str = "steadfast-tour-";

/// What the library's journal may need beside the files, generously.
const JOURNAL_BYTES: u64 = 256 << 20;

/// A folder that goes away when this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    janitor: Option<Child>,
}

impl Folder {
    /// Makes a folder inside `dir`. With `keep` it stays.
    pub(crate) fn create(dir: &Path, keep: bool) -> Result<Folder, Failure> {
        let fail =
            |error: io::Error| Failure::Failed(format!("cannot make a folder in {}: {error}", dir.display()));
        // Absolute, so that nothing depends on the current folder of whoever removes it.
        let dir = dir.canonicalize().map_err(fail)?;
        let mut number = std::process::id();
        let path = loop {
            let path = dir.join(format!("{NAME}{number}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break path,
                // A left-over of a process that had our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number = number.wrapping_add(1),
                Err(error) => return Err(fail(error)),
            }
        };
        let mut folder = Folder { path, janitor: None };
        if !keep {
            let janitor = start_janitor(&folder.path);
            match janitor {
                Ok(janitor) => folder.janitor = Some(janitor),
                Err(error) => {
                    // Still empty: nothing else can hold it.
                    let _ = std::fs::remove_dir(&folder.path);
                    return Err(Failure::Failed(format!("cannot start a second process: {error}")));
                }
            }
        }
        Ok(folder)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn start_janitor(folder: &Path) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("tour-janitor")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        // Ctrl-C goes to the whole process group of the terminal: the janitor must not be in it.
        .process_group(0)
        .spawn()
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(mut janitor) = self.janitor.take() else { return };
        // The janitor's signal to begin.
        drop(janitor.stdin.take());
        if !janitor.wait().is_ok_and(|status| status.success()) {
            output::complain(&format!("cannot remove {}; remove it by hand", self.path.display()));
        }
    }
}

/// Removes a folder once standard input ends. Started by `tour`, not by people.
#[derive(Debug, clap::Args)]
pub(crate) struct JanitorArgs {
    folder: PathBuf,
}

/// Runs the janitor.
pub(crate) fn run_janitor(args: &JanitorArgs) -> Result<(), Failure> {
    let named =
        args.folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(NAME));
    if !named {
        return Err(Failure::Usage(format!("{} is no folder of a tour", args.folder.display())));
    }
    let mut stdin = io::stdin().lock();
    let mut nothing = [0; 64];
    loop {
        match stdin.read(&mut nothing) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // A child that is just being killed may still be making a file in there: a few attempts.
    const ATTEMPTS: u32 = 50;
    for attempt in 1.. {
        match std::fs::remove_dir_all(&args.folder) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) if attempt == ATTEMPTS => return Err(Failure::Failed(error.to_string())),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    Ok(())
}

/// Refuses a disk without room for `bytes` and a journal, before anything is written to it.
pub(crate) fn check_space(dir: &Path, bytes: u64) -> Result<(), Failure> {
    let stat = rustix::fs::statvfs(dir)
        .map_err(|error| Failure::Failed(format!("{}: {}", dir.display(), io::Error::from(error))))?;
    let available = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed = bytes.saturating_add(JOURNAL_BYTES);
    if available < needed {
        return Err(Failure::Failed(format!(
            "the tour needs {} in {}, and {} are free; give a smaller --size or another --dir",
            size::show(needed),
            dir.display(),
            size::show(available)
        )));
    }
    Ok(())
}

/// Memory that programs can have without others being pushed out, as far as the kernel says.
pub(crate) fn memory_available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}
