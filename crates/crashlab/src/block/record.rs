//! A workload on a mounted file system, recorded.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rand::RngExt;
use steadfast::Mapping;

use super::file_system::Rig;
use super::log::{Entry, Log};
use crate::history::{History, Told};
use crate::outcome::Failure;
use crate::real::Folder;
use crate::workload::{Workload, draws, play};

fn rig_failed(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Rig(format!("{what}: {error}"))
}

/// A file system with these files, durable and unmounted.
///
/// # Errors
///
/// Of the rig.
pub(crate) fn prepare(rig: &mut Rig, files: &[Option<Vec<u8>>]) -> Result<(), Failure> {
    rig.device.insert(rig.fresh.clone());
    rig.mount()?;
    let folder = Folder(rig.root());
    for (number, content) in files.iter().enumerate() {
        if let Some(content) = content {
            let path = folder.path(number);
            fs::write(&path, content).map_err(|error| rig_failed("writing a file", error))?;
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|error| rig_failed("syncing a file", error))?;
        }
    }
    rig.unmount()
}

/// Plays a workload of the library.
///
/// # Errors
///
/// A workload that fails although the disk does not is a violation.
pub(super) fn library(rig: &mut Rig, workload: &Workload) -> Result<Log, Failure> {
    let files: Vec<Option<Vec<u8>>> = workload
        .maps
        .iter()
        .enumerate()
        .map(|(number, plan)| plan.initial_bytes.map(|_| workload.initial(number)))
        .collect();
    prepare(rig, &files)?;
    let histories = files.into_iter().map(|content| History::new(content.unwrap_or_default())).collect();
    rig.device.record(histories);
    rig.mount()?;
    let device = rig.device.clone();
    let played = play(workload, &Folder(rig.root()), &mut |file, told| device.tell(file, told));
    rig.unmount()?;
    played.map_err(|error| Failure::Violation(format!("a workload failed on a sound disk: {error}")))?;
    let log = rig.device.take_log().ok_or_else(|| Failure::Rig("nothing was recorded".into()))?;
    if log.entries.iter().any(|entry| matches!(entry, Entry::Told(_, Told::NotCommitted))) {
        return Err(Failure::Violation("a commit was refused on a sound disk".into()));
    }
    Ok(log)
}

/// Stores into a kernel's mapping, and syncs it: what was synced is there, with the file's length and name; what was not may be.
///
/// # Errors
///
/// A mapping that fails although the disk does not is a violation.
pub(super) fn mapping(rig: &mut Rig, seed: u64, stores: usize) -> Result<Log, Failure> {
    let mut random = draws(seed);
    let created = random.random_ratio(1, 2);
    let len = random.random_range(1..120_000);
    let mut model = if created { Vec::new() } else { vec![7; random.random_range(1..=len)] };
    prepare(rig, &[(!created).then(|| model.clone())])?;
    rig.device.record(vec![History::mixed(model.clone())]);
    rig.mount()?;
    let device = rig.device.clone();
    let mut last = 0;
    let stored = (|| {
        model.resize(len, 0);
        device.tell(0, Told::Begun(Arc::new(model.clone())));
        last += 1;
        let path = Folder(rig.root()).path(0);
        let map = Mapping::options().write(true).create(created).grow(true).len(len).open(&path)?;
        for _ in 0..stores {
            let at = random.random_range(0..len);
            let count = random.random_range(1..=6000).min(len - at);
            let bytes: Vec<u8> = (0..count).map(|_| random.random()).collect();
            model[at..at + count].copy_from_slice(&bytes);
            // The kernel may write it out at any time from here on.
            device.tell(0, Told::Begun(Arc::new(model.clone())));
            last += 1;
            map.write_at(at, &bytes)?;
            match random.random_range(0..6) {
                0 => map.sync(..)?,
                1 => map.start_sync(..)?.wait()?,
                // Only a part: nothing is known of the rest.
                2 => {
                    map.sync(at..at + count)?;
                    continue;
                }
                _ => continue,
            }
            device.tell(0, Told::Durable(last));
        }
        map.close()
    })();
    rig.unmount()?;
    stored.map_err(|error| Failure::Violation(format!("a mapping failed on a sound disk: {error}")))?;
    rig.device.take_log().ok_or_else(|| Failure::Rig("nothing was recorded".into()))
}

/// Drives `steadfast apply` through its pipe, which acknowledges each commit by a line.
///
/// # Errors
///
/// A command that fails although the disk does not is a violation.
pub(super) fn command(rig: &mut Rig, command: &Path, seed: u64, commits: usize) -> Result<Log, Failure> {
    let mut random = draws(seed);
    let mut model: Vec<u8> = (0..random.random_range(1..60_000)).map(|at| (at % 251) as u8).collect();
    prepare(rig, &[Some(model.clone())])?;
    rig.device.record(vec![History::new(model.clone())]);
    rig.mount()?;
    let device = rig.device.clone();
    device.tell(0, Told::Opening);
    let mut child = Command::new(command)
        .arg("apply")
        .arg(Folder(rig.root()).path(0))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| rig_failed("starting the command", error))?;
    let driven = (|| {
        let broken = |error: std::io::Error| error.to_string();
        let mut input = child.stdin.take().ok_or("no pipe")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        for state in 1..=commits {
            let mut lines = String::new();
            for _ in 0..random.random_range(1..6) {
                lines += &edit(&mut model, &mut random);
            }
            lines += "{\"commit\":true}\n";
            device.tell(0, Told::Begun(Arc::new(model.clone())));
            input.write_all(lines.as_bytes()).map_err(broken)?;
            let mut line = String::new();
            output.read_line(&mut line).map_err(broken)?;
            if !line.contains("\"commit\"") {
                return Err(format!("instead of an acknowledgement of commit {state} it said {line:?}"));
            }
            device.tell(0, Told::Durable(state));
        }
        drop(input);
        Ok(())
    })();
    let ended = child.wait().map_err(|error| rig_failed("waiting for the command", error))?;
    if driven.is_ok() && ended.success() {
        device.tell(0, Told::Closed);
    }
    rig.unmount()?;
    driven.map_err(Failure::Violation)?;
    if !ended.success() {
        return Err(Failure::Violation(format!("the command failed on a sound disk: {ended}")));
    }
    rig.device.take_log().ok_or_else(|| Failure::Rig("nothing was recorded".into()))
}

/// One line for `apply`, done to the model as well.
fn edit(model: &mut Vec<u8>, random: &mut impl rand::Rng) -> String {
    let value: u8 = random.random_range(1..=255);
    if model.is_empty() || random.random_ratio(1, 12) {
        let len = random.random_range(1..80_000);
        model.resize(len, 0);
        return format!("{{\"resize\":{len}}}\n");
    }
    let at = random.random_range(0..model.len());
    let most = [8, 100, 9000].get(random.random_range(0..3)).copied().unwrap_or(8);
    let len = random.random_range(1..=most).min(model.len() - at);
    if random.random() {
        model[at..at + len].fill(value);
        return format!("{{\"fill\":{value},\"at\":{at},\"len\":{len}}}\n");
    }
    let mut hex = String::new();
    for byte in &mut model[at..at + len] {
        *byte = random.random_range(1..=255);
        hex += &format!("{byte:02x}");
    }
    format!("{{\"at\":{at},\"hex\":\"{hex}\"}}\n")
}
