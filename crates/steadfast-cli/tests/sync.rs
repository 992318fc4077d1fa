//! `sync`: what it says is durable is found again after a power cut, and what cannot be is said.

mod mounts;
mod run;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use mounts::{Kind, Mounted, done};
use run::{folder, keys, run, run_with, steadfast, until_it_listens};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// A user without any rights of its own.
const NOBODY: &str = "65534";

fn page() -> u64 {
    rustix::param::page_size() as u64
}

fn dirty_pages(folder: &Path, arguments: &[&str]) -> Option<u64> {
    let answer = run(folder, &[&["stat", "--json", "-t"], arguments].concat()).code(0).json();
    (answer["total"]["dirty_unknown_files"] == 0).then(|| {
        answer["total"]["dirty_pages"].as_u64().unwrap()
            + answer["total"]["write_back_pages"].as_u64().unwrap()
    })
}

/// On ext4 and XFS, without what happened before.
fn on_each(test: impl Fn(Kind, &Mounted)) {
    for kind in [Kind::Ext4, Kind::Xfs] {
        if let Some(mounted) = Mounted::new(kind) {
            let _ = done(Command::new("sync").arg("-f").arg(&mounted.path));
            test(kind, &mounted);
        }
    }
}

#[test]
fn bytes_size_and_name_of_a_file_survive_a_power_cut() {
    on_each(|kind, mounted| {
        let path = mounted.path.join("f");
        fs::write(&path, vec![7; 100_000]).unwrap();
        assert!(!mounted.after_power_cut().path.join("f").exists(), "{kind:?}: nothing is lost here");
        run(&mounted.path, &["sync", "f"]).code(0);
        assert_eq!(fs::read(mounted.after_power_cut().path.join("f")).unwrap(), vec![7; 100_000], "{kind:?}");
        // Another name, and longer.
        fs::rename(&path, mounted.path.join("g")).unwrap();
        File::options().append(true).open(mounted.path.join("g")).unwrap().write_all(&[8; 5]).unwrap();
        run(&mounted.path, &["sync", "g"]).code(0);
        let after = mounted.after_power_cut();
        assert_eq!(fs::read(after.path.join("g")).unwrap()[99_999..], [7, 8, 8, 8, 8, 8], "{kind:?}");
        assert!(!after.path.join("f").exists(), "{kind:?}");
        drop(after);
        // No name is new: the bytes and the size alone.
        File::options().append(true).open(mounted.path.join("g")).unwrap().write_all(&[9; 50_000]).unwrap();
        run(&mounted.path, &["sync", "g"]).code(0);
        let after = mounted.after_power_cut();
        assert_eq!(fs::read(after.path.join("g")).unwrap()[100_005..], [9; 50_000], "{kind:?}");
    });
}

#[test]
fn everything_below_a_folder_survives_a_power_cut_with_the_folders() {
    on_each(|kind, mounted| {
        let at = |name: &str| mounted.path.join(name);
        fs::create_dir_all(at("t/deep/er")).unwrap();
        for number in 0..300 {
            fs::write(at(&format!("t/deep/{number}")), vec![3; 5000]).unwrap();
        }
        fs::write(at("t/deep/er/empty"), "").unwrap();
        symlink("deep/0", at("t/link")).unwrap();
        run(&mounted.path, &["sync", "t"]).code(0);
        let after = mounted.after_power_cut();
        for number in 0..300 {
            let bytes = fs::read(after.path.join(format!("t/deep/{number}"))).unwrap();
            assert_eq!(bytes, vec![3; 5000], "{kind:?} {number}");
        }
        assert_eq!(fs::read(after.path.join("t/deep/er/empty")).unwrap(), b"", "{kind:?}");
        assert_eq!(fs::read(after.path.join("t/link")).unwrap(), vec![3; 5000], "{kind:?}");
        drop(after);
        // No file is there to bring these along: names alone.
        fs::remove_dir_all(at("t/deep")).unwrap();
        fs::create_dir(at("t/hollow")).unwrap();
        run(&mounted.path, &["sync", "t"]).code(0);
        let after = mounted.after_power_cut();
        assert!(after.path.join("t/hollow").is_dir() && !after.path.join("t/deep").exists(), "{kind:?}");
        drop(after);
        // The name of a folder that is named.
        fs::create_dir(at("alone")).unwrap();
        run(&mounted.path, &["sync", "alone"]).code(0);
        assert!(mounted.after_power_cut().path.join("alone").is_dir(), "{kind:?}");
    });
}

/// The command as somebody who may do nothing that is not allowed to all.
fn as_nobody(folder: &Path, arguments: &[&str]) -> Option<run::Said> {
    let program = env!("CARGO_BIN_EXE_steadfast");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", program])
        .args(["stat", "/proc/self/exe"]);
    done(&mut command)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", program]).args(arguments);
    Some(command.current_dir(folder).output().unwrap().into())
}

#[test]
fn what_may_only_be_read_is_made_durable_too_also_in_a_folder_that_may_not_be_read() {
    let Some(mounted) = Mounted::new(Kind::Ext4) else { return };
    let at = |name: &str| mounted.path.join(name);
    let all = Permissions::from_mode;
    fs::set_permissions(mounted.path.parent().unwrap(), all(0o755)).unwrap();
    fs::set_permissions(&mounted.path, all(0o755)).unwrap();
    fs::write(at("f"), vec![1; 10_000]).unwrap();
    fs::set_permissions(at("f"), all(0o444)).unwrap();
    let Some(said) = as_nobody(&mounted.path, &["sync", "f"]) else { return };
    said.code(0);
    assert_eq!(fs::read(mounted.after_power_cut().path.join("f")).unwrap(), [1; 10_000]);
    // A part cannot be, by whoever may not write: all is.
    fs::set_permissions(at("f"), all(0o644)).unwrap();
    File::options().write(true).open(at("f")).unwrap().write_all_at(&[2; 10_000], 0).unwrap();
    as_nobody(&mounted.path, &["sync", "--range", "..1", "f"]).unwrap().code(0);
    assert_eq!(fs::read(mounted.after_power_cut().path.join("f")).unwrap(), [2; 10_000]);
    // May be passed through and not be read: its names cannot be synced by themselves. No bytes bring them along.
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/f"), "x").unwrap();
    run(&mounted.path, &["sync", "d"]).code(0);
    fs::hard_link(at("d/f"), at("d/g")).unwrap();
    fs::set_permissions(at("d"), all(0o711)).unwrap();
    as_nobody(&mounted.path, &["sync", "d/g"]).unwrap().code(0);
    assert_eq!(fs::read(mounted.after_power_cut().path.join("d/g")).unwrap(), b"x");
    // What may not be read at all is named.
    fs::set_permissions(at("f"), all(0o600)).unwrap();
    as_nobody(&mounted.path, &["sync", "f"]).unwrap().code(1).complains(&["f", "refused"]);
    as_nobody(&mounted.path, &["sync", "d"]).unwrap().code(1).complains(&["d"]);
}

#[test]
fn sync_takes_folders_lists_patterns_and_processes_as_the_others_do() {
    let dir = folder();
    fs::create_dir_all(dir.path().join("t/deep")).unwrap();
    for name in ["t/a.log", "t/deep/b.log", "t/deep/c.txt", "d"] {
        fs::write(dir.path().join(name), vec![1; 10_000]).unwrap();
    }
    fs::hard_link(dir.path().join("t/a.log"), dir.path().join("t/deep/hard.log")).unwrap();
    let answer = run(dir.path(), &["sync", "--json", "t"]).code(0).json();
    assert_eq!(
        keys(&answer),
        [
            "dirty_bytes",
            "dirty_unknown_files",
            "failed_files",
            "failed_folders",
            "files",
            "folders",
            "interrupted",
            "schema"
        ]
    );
    // t, t/deep, and where t has its name.
    assert_eq!((&answer["files"], &answer["folders"], &answer["schema"]), (&json!(3), &json!(3), &json!(1)));
    assert_eq!((&answer["failed_files"], &answer["failed_folders"]), (&json!(0), &json!(0)));
    if let Some(dirty) = dirty_pages(dir.path(), &["t"]) {
        assert_eq!(dirty, 0);
        assert!(answer["dirty_bytes"].as_u64().unwrap() <= 3 * 3 * page().max(10_000), "{answer}");
    }
    assert_eq!(run(dir.path(), &["sync", "--json", "t", "--glob", "*.txt"]).code(0).json()["files"], 1);
    let listed =
        |list: &str| run_with(dir.path(), &["sync", "--json", "--files0-from", "-"], list).code(0).json();
    let answer = listed("d\0t/a.log\0");
    assert_eq!((&answer["files"], &answer["folders"]), (&json!(2), &json!(2)));
    assert_eq!(listed("")["files"], 0);
    assert_eq!(run(dir.path(), &["sync", "--json", "--threads", "1", "t", "d"]).code(0).json()["files"], 4);
    // One that is open and one that has no name any more, which nothing can keep.
    let open = ["d", "t/a.log"].map(|name| File::open(dir.path().join(name)).unwrap());
    fs::remove_file(dir.path().join("t/deep/hard.log")).unwrap();
    fs::remove_file(dir.path().join("t/a.log")).unwrap();
    let pid = std::process::id().to_string();
    assert!(run(dir.path(), &["sync", "--json", "--pid", &pid]).code(0).json()["files"].as_u64() > Some(0));
    drop(open);
}

#[test]
fn only_the_range_is_written_and_what_ends_before_it_is_no_failure() {
    let dir = folder();
    let path = dir.path().join("f");
    fs::write(&path, vec![1; 300 * page() as usize]).unwrap();
    run(dir.path(), &["sync", "f"]).code(0);
    run(dir.path(), &["evict", "f"]).code(0);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).unwrap();
    for number in [0, 200] {
        file.write_all_at(&vec![2; page() as usize], number * page()).unwrap();
    }
    let Some(2) = dirty_pages(dir.path(), &["f"]) else {
        return eprintln!("lacks cachestat, or pages of one size");
    };
    run(dir.path(), &["sync", "--range", &format!("..{}", 10 * page()), "f"]).code(0);
    let after = format!("{}..", 10 * page());
    assert_eq!(dirty_pages(dir.path(), &["f"]), Some(1));
    assert_eq!(dirty_pages(dir.path(), &["f", "--range", &after]), Some(1));
    run(dir.path(), &["sync", "--range", &after, "f"]).code(0);
    assert_eq!(dirty_pages(dir.path(), &["f"]), Some(0));
    fs::write(dir.path().join("short"), "x").unwrap();
    assert_eq!(
        run(dir.path(), &["sync", "--json", "--range", "1G..", "f", "short"]).code(0).json()["files"],
        2
    );
}

#[test]
fn what_cannot_be_synced_is_named_and_the_others_are_synced() {
    let dir = folder();
    fs::write(dir.path().join("f"), vec![1; 10_000]).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let said = run(dir.path(), &["sync", "--json", "gone", "pipe", "f"]).code(1);
    assert!(said.err.contains("gone") && said.err.contains("pipe: it is not a regular file"), "{said:?}");
    assert_eq!((&said.json()["files"], &said.json()["failed_files"]), (&json!(1), &json!(2)));
    assert_eq!(dirty_pages(dir.path(), &["f"]).unwrap_or(0), 0);
    // What has no device below it says so.
    run(dir.path(), &["sync", "/proc/self/status"]).code(1).complains(&["/proc/self/status"]);
    // Of a folder they are no files.
    run(dir.path(), &["sync", "."]).code(0);
    run(dir.path(), &["sync"]).code(2);
    run(dir.path(), &["sync", "--files0-from", "no-list"]).code(1).complains(&["no-list"]);
}

#[test]
fn a_device_that_does_not_take_the_bytes_is_a_failure() {
    let Some(memory) = Mounted::in_memory(12 << 20) else { return };
    let image = memory.path().join("image");
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    // No journal: its own failing writes would make the file system read-only before the data's turn comes.
    let options = ["-q", "-O", "^has_journal", "-E", "nodiscard"];
    let Some(()) = done(Command::new("mkfs.ext4").args(options).arg(&image)) else { return };
    let disk = folder();
    let mount = &mut Command::new("mount");
    let Some(()) = done(mount.args(["-o", "loop,errors=continue"]).arg(&image).arg(disk.path())) else {
        return;
    };
    fs::write(disk.path().join("f"), vec![1; 30 << 20]).unwrap();
    let said = run(disk.path(), &["sync", "--json", "f"]);
    let unmounted = Command::new("umount").arg(disk.path()).status();
    let answer = said.code(1);
    assert!(unmounted.unwrap().success());
    assert_eq!((&answer.json()["files"], &answer.json()["failed_files"]), (&json!(0), &json!(1)));
    assert!(answer.err.contains("f: "), "{answer:?}");
}

#[test]
fn an_interrupt_claims_nothing_that_was_not_done() {
    let dir = folder();
    fs::write(dir.path().join("f"), "x").unwrap();
    let mut child = steadfast(dir.path(), &["sync", "--json", "--files0-from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It waits for its list.
    until_it_listens(&mut child);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    child.stdin.take().unwrap().write_all(b"f\0").unwrap();
    let said: run::Said = child.wait_with_output().unwrap().into();
    let said = said.code(130);
    assert!(said.err.contains("interrupted"), "{said:?}");
    assert_eq!((&said.json()["files"], &said.json()["interrupted"]), (&json!(0), &json!(true)));
}
