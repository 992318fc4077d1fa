//! Another file system, in a sparse file that is mounted while a benchmark runs on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::figures;

/// Room for every system's data at once. Sparse: only what is written takes space.
const IMAGE_BYTES: u64 = 8 << 30;

/// Mounts `$1` at `$2` and becomes the rest of the arguments.
const MOUNTED: &str = r#"mount -o loop "$1" "$2" && shift 2 && exec "$@""#;

/// The image and its mount point; both are removed when it is dropped.
pub(crate) struct Image {
    file: PathBuf,
    point: PathBuf,
}

impl Image {
    /// Makes one in `dir`, or says what is missing.
    pub(crate) fn make(dir: &Path, kind: &str, package: &str) -> Result<Image, String> {
        let mkfs = format!("mkfs.{kind}");
        if !succeeds(Command::new(&mkfs).arg("-V")) {
            return Err(format!("{mkfs} is missing (Debian: apt-get install {package})"));
        }
        let image =
            Image { file: dir.join(format!("{kind}.image")), point: dir.join(format!("{kind}.mount")) };
        let made = File::create(&image.file).and_then(|file| file.set_len(IMAGE_BYTES));
        made.and_then(|()| fs::create_dir_all(&image.point))
            .map_err(|error| format!("the image cannot be made: {error}"))?;
        if !succeeds(Command::new(&mkfs).args(["-q", "-f"]).arg(&image.file)) {
            return Err(format!("{mkfs} failed"));
        }
        if !succeeds(&mut image.mounted("true".as_ref())) {
            return Err(
                "a loop mount takes root, a free loop device, and this file system in the kernel".to_owned()
            );
        }
        Ok(image)
    }

    /// The benchmark, working on the image.
    pub(crate) fn command(&self, arguments: &[String]) -> Command {
        let bench = figures::command(&self.point, arguments);
        let mut command = self.mounted(bench.get_program());
        command.args(bench.get_args());
        command
    }

    /// A program that sees the image mounted. The mount lives in a namespace of its own, so the kernel takes it and its loop device
    /// away with the program, however that ends: there is nothing to clean up after a failure or a signal.
    fn mounted(&self, program: &std::ffi::OsStr) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", MOUNTED, "sh"]);
        command.arg(&self.file).arg(&self.point).arg(program);
        command
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // What was never made cannot be removed, and that is all that can go wrong.
        let _ = fs::remove_dir(&self.point);
        let _ = fs::remove_file(&self.file);
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
