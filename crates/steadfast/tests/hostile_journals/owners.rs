//! Whose journal is believed, and by whom.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use steadfast::ErrorKind;
use steadfast::disk::{Access, Disk, RealDisk};
use steadfast::store::{Resolution, recover};

use crate::stage::{NOBODY, crash, folder, lacking, other_process};
use crate::ways_in::{ENV_FILE, Pair, STRANGER, needs_root, users};

#[test]
fn a_journal_that_may_be_believed_is() {
    for user in users() {
        let pair = Pair::new(user);
        // Stricter than the file, or as open as that.
        pair.mode(&pair.journal, 0o600);
        pair.is_fine("a private journal", &[1, 2, 3]);
        let pair = Pair::new(user);
        pair.mode(&pair.path, 0o666);
        pair.mode(&pair.journal, 0o666);
        pair.is_fine("a journal for everybody of a file for everybody", &[1, 2, 3]);
    }
    if let Err(what) = needs_root() {
        return lacking(&what);
    }
    let pair = Pair::new(Some(NOBODY));
    chown(&pair.journal, Some(0), Some(0)).unwrap();
    pair.is_fine("root's journal", &[1, 2, 3]);
    // Root opened the file for its owner: what it made is the owner's.
    let pair = Pair::new(Some(NOBODY));
    recover(&pair.path, Resolution::Replay).unwrap();
    crash(&pair.path, "4");
    pair.is_fine("a journal that root made", &[1, 2, 3, 4]);
}

/// A file for everybody, opened by one who cannot give its journal away.
#[test]
fn a_journal_of_one_who_may_only_write_the_file_is_for_that_one_to_recover() {
    if let Err(what) = needs_root() {
        return lacking(&what);
    }
    let pair = Pair::new(None);
    recover(&pair.path, Resolution::Replay).unwrap();
    pair.mode(&pair.path, 0o666);
    pair.mode(pair.folder.path(), 0o777);
    let mut other = other_process("4 kill", &pair.path, Some(NOBODY));
    other.child.wait().unwrap();
    assert_eq!(fs::metadata(&pair.journal).unwrap().permissions().mode() & 0o777, 0o666);
    pair.refused(
        "the owner",
        ErrorKind::Identity,
        &["belongs to user 65534, the file to user 0", "recover it"],
    );
    Pair { user: Some(STRANGER), ..pair }.trusts_itself(NOBODY);
}

impl Pair {
    /// A third user is refused as well; `user`, whose journal it is, recovers.
    fn trusts_itself(mut self, user: u32) {
        self.refused("a third user", ErrorKind::Identity, &["belongs to user 65534"]);
        self.user = Some(user);
        self.is_fine("the one who made it", &[1, 2, 3, 4]);
    }
}

/// Where neither owner nor group can be had, the group that the journal has by chance gets nothing from the file's.
#[test]
fn the_group_that_a_journal_has_by_chance_gets_no_more_than_everybody() {
    if let Err(what) = needs_root() {
        return lacking(&what);
    }
    for (mode, want) in [(0o666, 0o666), (0o662, 0o622), (0o642, 0o622), (0o606, 0o666)] {
        let folder = folder();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let file = folder.path().join("journal");
        // As NOBODY would make it, whose group is not the file's.
        let disk = RealDisk;
        let made = disk.open(&file, Access::CreateNew { mode: 0o600 }).unwrap();
        made.set_owner((NOBODY, NOBODY), 0o600).unwrap();
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (NOBODY, NOBODY, 0o600));
        let as_nobody = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "owners::takes_the_owner_of_another_file", "--nocapture"])
            .env(ENV_FILE, &file)
            .env("STEADFAST_MODE", mode.to_string())
            .uid(NOBODY)
            .gid(NOBODY)
            .output();
        assert!(as_nobody.unwrap().status.success());
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY));
        assert_eq!(meta.mode() & 0o777, want, "of a file of mode {mode:o}");
    }
}

/// The other side of [`the_group_that_a_journal_has_by_chance_gets_no_more_than_everybody`].
#[test]
fn takes_the_owner_of_another_file() {
    let Ok(mode) = std::env::var("STEADFAST_MODE") else { return };
    let path = PathBuf::from(std::env::var_os(ENV_FILE).unwrap());
    let file = RealDisk.open(&path, Access::ReadWrite).unwrap();
    file.set_owner((STRANGER, STRANGER), mode.parse().unwrap()).unwrap();
}
