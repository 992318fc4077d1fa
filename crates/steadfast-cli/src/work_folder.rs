//! A folder to work in: fresh, and gone afterwards, however the command ends.
//!
//! A process that is killed cannot clean up after itself. So a small process of its own, the janitor, waits at the end of a pipe:
//! when the other end closes, because the command is done or because it has died of anything, the janitor removes the folder.

use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::failure::Failure;
use crate::output;
use crate::size;

/// Who works in it: part of its name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Tour,
    Bench,
}

impl Purpose {
    const ALL: [Purpose; 2] = [Purpose::Tour, Purpose::Bench];

    /// Every such folder is called this and a number. The janitor removes nothing that is called otherwise.
    fn prefix(self) -> &'static str {
        match self {
            Purpose::Tour => "steadfast-tour-",
            Purpose::Bench => "steadfast-bench-",
        }
    }
}

/// A folder that goes away when this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    janitor: Option<Child>,
}

impl Folder {
    /// Makes a folder inside `dir`. With `keep` it stays.
    pub(crate) fn create(dir: &Path, purpose: Purpose, keep: bool) -> Result<Folder, Failure> {
        let fail =
            |error: io::Error| Failure::Failed(format!("cannot make a folder in {}: {error}", dir.display()));
        // Absolute, so that nothing depends on the current folder of whoever removes it.
        let dir = dir.canonicalize().map_err(fail)?;
        let mut number = std::process::id();
        loop {
            let path = dir.join(format!("{}{number}", purpose.prefix()));
            // A left-over of a process that had our number.
            number = number.wrapping_add(1);
            if path.exists() {
                continue;
            }
            // First: whoever is killed behind it leaves nothing.
            let janitor = if keep { None } else { Some(start_janitor(&path)?) };
            let error = match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Folder { path, janitor }),
                Err(error) => error,
            };
            if let Some(mut janitor) = janitor {
                // There is nothing of ours to remove.
                janitor.kill().and_then(|()| janitor.wait()).map_err(fail)?;
            }
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(fail(error));
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn start_janitor(folder: &Path) -> Result<Child, Failure> {
    let fail = |error: io::Error| Failure::Failed(format!("cannot start a second process: {error}"));
    Command::new(std::env::current_exe().map_err(fail)?)
        .arg("janitor")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        // Ctrl-C goes to the whole process group of the terminal: the janitor must not be in it.
        .process_group(0)
        .spawn()
        .map_err(fail)
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

/// Removes a folder once standard input ends. Started by the command that made it, not by people.
#[derive(Debug, clap::Args)]
pub(crate) struct JanitorArgs {
    folder: PathBuf,
}

/// Runs the janitor.
pub(crate) fn run_janitor(args: &JanitorArgs) -> Result<(), Failure> {
    let name = args.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !Purpose::ALL.iter().any(|purpose| name.starts_with(purpose.prefix())) {
        return Err(Failure::Usage(format!("{} is no folder to be removed", args.folder.display())));
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

/// Refuses a disk without room for `bytes`, before anything is written to it. `otherwise` says what else can be asked for.
pub(crate) fn check_space(dir: &Path, bytes: u64, otherwise: &str) -> Result<(), Failure> {
    let stat = rustix::fs::statvfs(dir)
        .map_err(|error| Failure::Failed(format!("{}: {}", dir.display(), io::Error::from(error))))?;
    let available = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Of a file system that counts nothing (ramfs) nothing is known.
    if available < bytes && stat.f_blocks > 0 {
        return Err(Failure::Failed(format!(
            "{} are needed in {}, and {} are free; {otherwise}",
            size::show(bytes),
            dir.display(),
            size::show(available)
        )));
    }
    Ok(())
}
