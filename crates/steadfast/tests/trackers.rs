//! Which way of finding stores serves, and stores in places where they are hard to find.
#![allow(unsafe_code)]

mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use stage::forbid::forbid;
use stage::{VERBS, Verb, folder, open, options};
use steadfast::{AtomicMapping, Tracker};

const ENV_PATH: &str = "STEADFAST_TRACKERS_PATH";
const ENV_DECLARED: &str = "STEADFAST_TRACKERS_DECLARED";
const ENV_FORBID: &str = "STEADFAST_TRACKERS_FORBID";

/// Plays its part only when it is asked to.
#[test]
fn as_another_process() {
    let Some(path) = std::env::var_os(ENV_PATH) else { return };
    if std::env::var_os(ENV_DECLARED).is_some() {
        return only_declared_edits(Path::new(&path));
    }
    if std::env::var_os(ENV_FORBID).is_some() {
        forbid(libc::SYS_userfaultfd);
        let error = options().tracker(Tracker::WriteProtect).load(&path).unwrap_err();
        println!("asked for write-protect: {error}");
    }
    match options().load(&path) {
        Ok(mut map) => {
            map[7] = 7;
            map.commit().unwrap();
            println!("tracker {}", map.tracker());
            map.close().unwrap();
        }
        Err(error) => println!("error {error}"),
    }
}

fn another_process(path: &Path, environment: &[(&str, &str)]) -> String {
    let Output { status, stdout, stderr } = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_another_process", "--nocapture"])
        .env_remove("STEADFAST_TRACKER")
        .env(ENV_PATH, path)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("state.bin");
    fs::write(&path, vec![1; 64 << 10]).unwrap();
    path
}

#[test]
fn the_environment_chooses_a_tracker_where_the_program_does_not() {
    let folder = folder();
    let path = file(&folder);
    for name in ["private-copies", "declared"] {
        let said = another_process(&path, &[("STEADFAST_TRACKER", name)]);
        assert!(said.contains(&format!("tracker {name}")), "{said}");
        assert_eq!(fs::read(&path).unwrap()[7], 7);
    }
    let said = another_process(&path, &[("STEADFAST_TRACKER", "fastest")]);
    assert!(said.contains("error") && said.contains("fastest") && said.contains("write-protect"), "{said}");
    let map = options().tracker(Tracker::Declared).load(&path).unwrap();
    assert_eq!(map.tracker(), Tracker::Declared);
}

#[test]
fn where_userfaultfd_is_forbidden_stores_are_found_all_the_same() {
    let folder = folder();
    let path = file(&folder);
    let said = another_process(&path, &[(ENV_FORBID, "1")]);
    assert!(said.contains("tracker private-copies"), "{said}");
    assert!(
        said.contains("userfaultfd") && said.contains("automatic"),
        "asked for by name it is an error: {said}"
    );
    assert_eq!(fs::read(&path).unwrap()[7], 7);
}

/// Alone in its process, whose descriptors it counts.
fn only_declared_edits(path: &Path) {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let mut map = options().load(path).unwrap();
    map.edit(0..10).unwrap().fill(2);
    map.commit().unwrap();
    let before = descriptors();
    map.edit(5..5000).unwrap().fill(3);
    map.write_at(6000, &[3]).unwrap();
    map.commit().unwrap();
    assert_eq!(descriptors(), before, "neither userfaultfd nor pagemap");
    map[0] = 4;
    map.commit().unwrap();
    assert!(descriptors() > before, "the first borrow of the whole slice is what begins it");
    map.close().unwrap();
    assert_eq!(fs::read(path).unwrap()[..6], [4, 2, 2, 2, 2, 3]);
    println!("not tracked");
}

#[test]
fn a_map_that_only_sees_declared_edits_is_not_tracked() {
    let folder = folder();
    let said = another_process(&file(&folder), &[(ENV_DECLARED, "1")]);
    assert!(said.contains("not tracked"), "{said}");
}

/// Swap space in a file, until it is dropped.
struct Swap(PathBuf);

impl Swap {
    fn on(path: PathBuf) -> Result<Swap, String> {
        fs::write(&path, vec![0; 16 << 20]).map_err(|error| error.to_string())?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        for command in ["mkswap", "swapon"] {
            let output =
                Command::new(command).arg(&path).output().map_err(|error| format!("{command}: {error}"))?;
            if !output.status.success() {
                return Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()));
            }
        }
        Ok(Swap(path))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let off = Command::new("swapoff").arg(&self.0).status();
        assert!(
            off.is_ok_and(|status| status.success()),
            "the swap file stays: swapoff {}",
            self.0.display()
        );
    }
}

fn swapped_bytes(map: &AtomicMapping) -> usize {
    let pagemap = fs::File::open("/proc/self/pagemap").unwrap();
    let page = 4096;
    (0..map.len() / page)
        .filter(|index| {
            let mut word = [0; 8];
            let at = (map.as_ptr() as usize / page + index) as u64 * 8;
            std::os::unix::fs::FileExt::read_exact_at(&pagemap, &mut word, at).unwrap();
            u64::from_ne_bytes(word) & (1 << 62) != 0
        })
        .count()
        * page
}

#[test]
fn stores_in_pages_that_were_swapped_out_are_committed() {
    let folder = folder();
    let _swap = match Swap::on(folder.path().join("swap")) {
        Ok(swap) => swap,
        Err(why) => {
            println!("not tested: swap space of our own is not to be had ({why})");
            return;
        }
    };
    for verb in VERBS {
        for tracker in [Tracker::Automatic, Tracker::PrivateCopies] {
            let path = folder.path().join("state.bin");
            fs::write(&path, vec![1; 4 << 20]).unwrap();
            let mut map = open(verb, options().tracker(tracker), &path).unwrap();
            // Once committed and once not, so that both kinds of pages are out.
            for round in 2..4u8 {
                for at in (0..map.len()).step_by(8192 * usize::from(round - 1)) {
                    map[at] = round;
                }
                if round == 2 {
                    map.commit().unwrap();
                }
            }
            // SAFETY: paging out changes no byte (madvise(2)).
            let out = unsafe { libc::madvise(map.as_ptr().cast_mut().cast(), map.len(), libc::MADV_PAGEOUT) };
            assert_eq!(out, 0);
            if swapped_bytes(&map) == 0 {
                println!("not tested with {verb:?}, {tracker}: the kernel swapped nothing out");
                continue;
            }
            map.commit().unwrap();
            map.close().unwrap();
            let bytes = fs::read(&path).unwrap();
            for at in (0..bytes.len()).step_by(8192) {
                let want = if at % 16384 == 0 { 3 } else { 2 };
                assert_eq!((bytes[at], bytes[at + 1]), (want, 1), "{verb:?}, {tracker}, at {at}");
            }
        }
    }
}

#[test]
fn stores_of_the_kernel_are_found() {
    for verb in [Verb::Load, Verb::View] {
        for tracker in [Tracker::Automatic, Tracker::PrivateCopies] {
            let folder = folder();
            let path = file(&folder);
            let mut map = open(verb, options().tracker(tracker), &path).unwrap();
            map[0] = 2;
            map.commit().unwrap();
            // read(2) into the map, over pages that were and were not stored to before.
            let zeros = fs::File::open("/dev/zero").unwrap();
            std::io::Read::read_exact(&mut &zeros, &mut map[100..20_000]).unwrap();
            map.commit().unwrap();
            map.close().unwrap();
            let bytes = fs::read(&path).unwrap();
            assert!(bytes[100..20_000].iter().all(|&byte| byte == 0), "{verb:?}, {tracker}");
            assert_eq!((bytes[0], bytes[99], bytes[20_000]), (2, 1, 1));
        }
    }
}

/// Bytes of memory files that lie in huge pages, in the whole system.
fn huge_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("ShmemHugePages:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[test]
fn huge_pages_change_where_bytes_lie_and_nothing_else() {
    const LEN: usize = 64 << 20;
    let folder = folder();
    let path = folder.path().join("state.bin");
    let expected: Vec<u8> = (0..LEN).map(|at| (at / 4096) as u8 | 1).collect();
    for tracker in [Tracker::Automatic, Tracker::PrivateCopies, Tracker::Declared] {
        fs::write(&path, &expected).unwrap();
        let before = huge_bytes();
        let mut map = options().create(false).tracker(tracker).huge_pages(true).load(&path).unwrap();
        assert_eq!(map[..], expected);
        map[LEN / 2] = 77;
        let more = huge_bytes().saturating_sub(before);
        if more < LEN as u64 / 2 {
            eprintln!(
                "NOT TESTED: the kernel put no more than {more} bytes together (before Linux 6.1 none)"
            );
        }
        let id = map.commit().unwrap();
        map[LEN - 1] = 78;
        map[0] = 79;
        map.rollback().unwrap();
        map[4096] = 80;
        assert!(map.commit().unwrap() > id);
        map.close().unwrap();
        let mut wanted = expected.clone();
        (wanted[LEN / 2], wanted[4096]) = (77, 80);
        assert!(fs::read(&path).unwrap() == wanted, "{tracker}");
    }
}
