//! What is said, and where: one `write` a line, straight to the kernel.
//!
//! Warnings go to standard error, beginning `steadfast: `. With `STEADFAST_LOG` everything goes to the place that it names, and warnings
//! to standard error as well.

use std::os::fd::IntoRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::stdio;

use crate::owned;
use crate::settings::{self, Place};

/// The descriptor of a log file; negative where there is none.
static FILE: AtomicI32 = AtomicI32::new(-1);
/// What standard error was when the program began: device and inode.
static STDERR: OnceLock<Option<(u64, u64)>> = OnceLock::new();

/// From here on it is said. To be called inside (`inside.rs`).
pub(crate) fn start() {
    STDERR.get_or_init(|| rustix::fs::fstat(stdio::stderr()).ok().map(|stat| (stat.st_dev, stat.st_ino)));
    let place = &settings::get().log;
    let _ = log::set_logger(&Lines);
    log::set_max_level(if place.is_some() { LevelFilter::Debug } else { LevelFilter::Warn });
    if let Some(Place::File(path)) = place {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
        match rustix::fs::open(path, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => {
                FILE.store(owned::kept(file).into_raw_fd(), Ordering::Release);
            }
            Err(error) => log::warn!(
                "STEADFAST_LOG: {}: {error}; name a file that can be written, or stderr",
                path.display()
            ),
        }
    }
    // A panic is turned into an error of the call (`inside.rs`); this says which.
    std::panic::set_hook(Box::new(|panic| {
        log::error!("a fault of this library, not of the program: {panic}")
    }));
}

struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string().replace('\n', " ");
        let level = match record.level() {
            Level::Error | Level::Warn => "",
            Level::Info => "info: ",
            Level::Debug | Level::Trace => "debug: ",
        };
        if level.is_empty() || settings::get().log == Some(Place::Stderr) {
            to_stderr(&format!("steadfast: {level}{text}\n"));
        }
        let file = FILE.load(Ordering::Acquire);
        if file >= 0 {
            owned::write(file, format!("steadfast[{}]: {level}{text}\n", std::process::id()).as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Unless its number has come to be another file's. A program that closes it and then opens a file of data gets number 2, and a line of
/// ours would stand in the data.
fn to_stderr(line: &str) {
    let Ok(stat) = rustix::fs::fstat(stdio::stderr()) else { return };
    let is_as_before = STDERR.get().is_some_and(|before| *before == Some((stat.st_dev, stat.st_ino)));
    let is_a_log = || {
        FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
            || rustix::fs::fcntl_getfl(stdio::stderr()).is_ok_and(|flags| flags.contains(OFlags::APPEND))
    };
    if is_as_before || is_a_log() {
        let _ = rustix::io::write(stdio::stderr(), line.as_bytes());
    }
}
