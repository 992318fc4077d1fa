//! File systems that cannot lock files: nothing is opened for commits there, and says so; a writable mapping goes on, and says
//! so as well.

mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use stage::forbid::{When, refuse};
use stage::{VERBS, folder, open, options, picture};
use steadfast::disk::{CallKind, SimDisk};
use steadfast::store::{JournaledFile, Resolution, recover_on};
use steadfast::{ErrorKind, Mapping};

const ENV_FILE: &str = "STEADFAST_WITHOUT_LOCKS";
const ENV_ERROR: &str = "STEADFAST_LOCK_ERROR";

#[test]
fn a_file_that_cannot_be_locked_is_not_opened_for_commits() {
    for os_error in [libc::ENOLCK, libc::EOPNOTSUPP, libc::ENOSYS, libc::EINVAL, libc::EIO] {
        let disk = SimDisk::new();
        disk.put_file("/data", b"as it was");
        disk.fail_calls_from(Some(CallKind::Lock), 1, os_error);
        let on = || Arc::new(disk.clone());
        let open = JournaledFile::options().open_on(on(), "/data").map(drop);
        let recover = recover_on(on(), "/data", Resolution::Discard).map(drop);
        for error in [open, recover].map(Result::unwrap_err) {
            let text = error.to_string();
            let cannot = os_error != libc::EIO;
            assert_eq!(error.kind() == ErrorKind::Unsupported, cannot, "{text}");
            assert_eq!(text.contains("cannot lock files"), cannot, "{text}");
            assert_eq!(error.raw_os_error(), Some(os_error), "{text}");
            assert!(
                text.contains("/data") && text.contains("; commits need a file system with locks"),
                "{text}"
            );
        }
        assert_eq!(disk.read_file("/data").unwrap(), b"as it was");
        assert!(!disk.exists("/data.steadfast") && disk.mark_of("/data").is_none());
        // One that was only to be created is not left behind.
        let error = JournaledFile::options().create(true).open_on(on(), "/new").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(os_error), "{error}");
    }
}

/// Keeps what the library logs.
struct Log(Mutex<Vec<String>>);

impl log::Log for Log {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

static LOG: Log = Log(Mutex::new(Vec::new()));

/// The other side of [`a_writable_mapping_of_a_file_that_cannot_be_locked_goes_on_and_says_so`].
#[test]
fn as_a_process_without_locks() {
    let Some(path) = std::env::var_os(ENV_FILE).map(PathBuf::from) else { return };
    let os_error: i32 = std::env::var(ENV_ERROR).unwrap().parse().unwrap();
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    refuse(libc::SYS_fcntl, When::Is(1, libc::F_OFD_SETLK as u32), os_error);
    let warnings = |file: &Path| {
        let lines = std::mem::take(&mut *LOG.0.lock().unwrap());
        let about = |line: &&String| line.contains("cannot lock files");
        let said: Vec<&String> = lines.iter().filter(about).collect();
        assert!(said.iter().all(|line| line.starts_with("WARN") && line.contains(&*file.to_string_lossy())));
        said.len()
    };
    for verb in VERBS {
        let error = open(verb, options(), &path).unwrap_err();
        stage::assert_says(&error, ErrorKind::Unsupported, &path, &["cannot lock files", "use a local disk"]);
        assert_eq!(error.raw_os_error(), Some(os_error));
    }
    // Who only reads needs no lock and hears nothing of it.
    drop(Mapping::options().open(&path).unwrap());
    assert_eq!(warnings(&path), 0);
    let map = Mapping::options().write(true).open(&path).unwrap();
    assert_eq!(warnings(&path), 1);
    map.write_at(0, b"written").unwrap();
    map.sync(..).unwrap();
    map.close().unwrap();
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    Mapping::options().write(true).open_fd(&file).unwrap().close().unwrap();
    assert_eq!(warnings(&path), 1, "by descriptor too");
    println!("went on");
}

#[test]
fn a_writable_mapping_of_a_file_that_cannot_be_locked_goes_on_and_says_so() {
    for os_error in [libc::ENOLCK, libc::EOPNOTSUPP] {
        let folder = folder();
        let path = folder.path().join("data.bin");
        fs::write(&path, vec![7; 8192]).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_a_process_without_locks", "--nocapture"])
            .env(ENV_FILE, &path)
            .env(ENV_ERROR, os_error.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("went on"), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(&fs::read(&path).unwrap()[..8], b"written\x07");
        assert_eq!(picture(folder.path()).len(), 1);
    }
}
