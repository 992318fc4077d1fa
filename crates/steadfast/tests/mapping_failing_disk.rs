//! A write-back error from a real device, and the way on after it. Needs root and loop devices.
//!
//! The device: a loop device whose backing file is sparse and lies on a tmpfs that is too small for it. The file system on
//! it believes that it has the space; the write of a page that finds no memory below fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use steadfast::{ErrorKind, Mapping};

/// What was set up, taken down in the other order, also after a panic.
#[derive(Default)]
struct Setup {
    undo: Vec<Command>,
}

impl Setup {
    /// Runs a command; if it succeeds, `undo` runs at the end.
    fn run(&mut self, command: &mut Command, undo: Option<Command>) -> Option<String> {
        let output = command.output().ok()?;
        if !output.status.success() {
            eprintln!("lacks {command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        self.undo.extend(undo);
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        for mut command in self.undo.drain(..).rev() {
            if !command.status().is_ok_and(|status| status.success()) {
                eprintln!("could not undo with {command:?}");
            }
        }
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// A file system of 64 MiB on memory for some 12, and the file that takes that memory away from it.
fn small_disk(setup: &mut Setup, folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let below = folder.join("below");
    let disk = folder.join("disk");
    std::fs::create_dir(&below).ok()?;
    std::fs::create_dir(&disk).ok()?;
    let (below_name, disk_name) = (below.to_str()?, disk.to_str()?);
    let mount = &mut command("mount", &["-t", "tmpfs", "-o", "size=12m", "tmpfs", below_name]);
    setup.run(mount, Some(command("umount", &["-l", below_name])))?;
    let image = below.join("image");
    std::fs::File::create(&image).ok()?.set_len(64 << 20).ok()?;
    let image = image.to_str()?;
    // No journal: its own failing writes would make the file system read-only before the data's turn comes.
    setup.run(&mut command("mkfs.ext4", &["-q", "-O", "^has_journal", "-E", "nodiscard", image]), None)?;
    let device = setup.run(&mut command("losetup", &["-f", "--show", image]), None)?;
    setup.undo.push(command("losetup", &["-d", &device]));
    let mount = &mut command("mount", &["-o", "errors=continue", &device, disk_name]);
    setup.run(mount, Some(command("umount", &[disk_name])))?;
    Some((disk, below.join("ballast")))
}

/// The bytes on the device, read from there.
fn on_disk(path: &Path) -> Vec<u8> {
    let mut map = Mapping::options().open(path).unwrap();
    map.invalidate(..).unwrap();
    let mut bytes = vec![0; map.len()];
    map.read_at(0, &mut bytes).unwrap();
    bytes
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Takes all memory that is left under the device.
fn fill(ballast: &Path) {
    let mut filler = std::fs::File::create(ballast).unwrap();
    while std::io::Write::write(&mut filler, &[1; 4096]).is_ok_and(|count| count > 0) {}
}

#[test]
fn write_back_errors_of_a_device_are_remembered_until_redirtied() {
    let folder = folder();
    let mut setup = Setup::default();
    let Some((disk, ballast)) = small_disk(&mut setup, folder.path()) else { return };
    let page = rustix::param::page_size();
    let len = 4 << 20;
    let path = disk.join("data.bin");
    let map = Mapping::options().write(true).create(true).len(len).open(&path).unwrap();
    map.write_at(0, &vec![1; len]).unwrap();
    map.sync(..).unwrap();
    // What the device has written so far loses its memory, and that goes to something else.
    let image = ballast.with_file_name("image");
    let bytes = std::fs::read(&image).unwrap();
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    let file = std::fs::File::options().write(true).open(&image).unwrap();
    for (index, block) in
        bytes.chunks(4096).enumerate().filter(|(_, block)| block.iter().all(|&byte| byte == 1))
    {
        rustix::fs::fallocate(&file, punch, index as u64 * 4096, block.len() as u64).unwrap();
    }
    fill(&ballast);
    map.write_at(0, &vec![7; len]).unwrap();
    let error = map.sync(..).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WriteBack, "{error}");
    // As the loop device reports it: EIO or ENOSPC.
    assert!(matches!(error.raw_os_error(), Some(5 | 28)), "{error}");

    // The kernel has told it and regards the pages as clean: it would say 0 from here on.
    let plain = std::fs::File::options().write(true).open(&path).unwrap();
    plain.sync_all().unwrap();
    assert_eq!(map.residency(..).unwrap().dirty().unwrap_or(0), 0);
    for range in [0..len, 0..1, len - page..len] {
        assert_eq!(map.sync(range).unwrap_err().kind(), ErrorKind::WriteBack);
    }
    let ticket = map.start_sync(..).unwrap();
    assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::WriteBack);

    // Dirty again, but the device still cannot.
    map.redirty(..).unwrap();
    assert_eq!(map.sync(..).unwrap_err().kind(), ErrorKind::WriteBack);

    // There is room again.
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(map.sync(..).unwrap_err().kind(), ErrorKind::WriteBack);
    map.redirty(..).unwrap();
    map.sync(..).unwrap();
    map.close().unwrap();
    assert!(on_disk(&path) == vec![7; len]);
}

#[test]
fn a_sync_after_an_error_never_succeeds_over_blocks_that_read_as_zeros() {
    let folder = folder();
    let mut setup = Setup::default();
    let Some((disk, ballast)) = small_disk(&mut setup, folder.path()) else { return };
    let len = 4 << 20;
    let path = disk.join("data.bin");
    // Allocated and never written.
    let map = Mapping::options().write(true).create(true).len(len).open(&path).unwrap();
    map.sync(..).unwrap();
    fill(&ballast);
    map.write_at(0, &vec![7; len]).unwrap();
    assert_eq!(map.sync(..).unwrap_err().kind(), ErrorKind::WriteBack);
    std::fs::remove_file(&ballast).unwrap();
    map.write_at(0, &vec![7; len]).unwrap();
    map.redirty(..).unwrap();
    let synced = map.sync(..);
    let closed = map.close();
    if synced.is_ok() {
        // A file system that does it right.
        closed.unwrap();
        assert!(on_disk(&path) == vec![7; len]);
        return;
    }
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::WriteBack);
    // What the advice says.
    assert!(on_disk(&path) != vec![7; len], "the test finds what it is about");
    let map = Mapping::options().write(true).open(&path).unwrap();
    map.write_at(0, &vec![7; len]).unwrap();
    map.sync(..).unwrap();
    map.close().unwrap();
    assert!(on_disk(&path) == vec![7; len]);
}
