//! A program's life on a mounted file system, recorded.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::programs::{Preload, converted};
use rand::{Rng, RngExt};
use rustix::fs::Advice;

use super::Subject;
use super::voice::Voice;
use crate::block::file_system::Rig;
use crate::block::log::Log;
use crate::history::{Content, History, Told};
use crate::kills::judge::journal_of;
use crate::kills::rig;
use crate::outcome::Failure;
use crate::programs::{ATOMIC, scatter};

/// So long a program may take altogether.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
const VERSIONS: std::ops::RangeInclusive<u64> = 2..=7;
/// Between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(2);
const WRITTEN_OUT_MILLISECONDS_MAX: u64 = 20;

/// What is drawn of a life before it begins.
pub(super) struct Life {
    /// What the program's contents are made of.
    pub(super) seed: u64,
    /// It ends by itself after so many.
    pub(super) versions: u64,
    /// Commits are shown to those who read the plain file.
    pub(super) publish: bool,
    /// The kernel is asked again and again to write out what it has, as it does where memory is short.
    written_out: bool,
}

impl Life {
    pub(super) fn draw(random: &mut impl Rng) -> Life {
        Life {
            // Below 2^53, which every language reads as it stands.
            seed: random.random_range(0..1 << 53),
            versions: random.random_range(VERSIONS),
            publish: random.random_ratio(2, 3),
            written_out: random.random(),
        }
    }

    /// The library under the program.
    pub(super) fn preload(&self, library: &Path) -> Preload {
        Preload { publish: self.publish, ..Preload::of(library, ATOMIC) }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Life { seed, versions, publish, written_out } = self;
        write!(f, "{versions} versions of the seed {seed}, ")?;
        write!(f, "{}, ", if *publish { "published" } else { "not published" })?;
        f.write_str(if *written_out { "written out early" } else { "written out as the kernel likes" })
    }
}

/// What was heard of the program.
struct Heard {
    states: Vec<Content>,
    acknowledged: usize,
    ready: bool,
    nonsense: Option<String>,
}

impl Heard {
    /// What this line tells.
    fn hear(&mut self, line: &str) -> Vec<Told> {
        let mut told = Vec::new();
        match line.parse() {
            _ if line == "ready" && !self.ready => self.ready = true,
            Ok(version) if self.ready && version == self.acknowledged + 1 && version < self.states.len() => {
                self.acknowledged = version;
                told.push(Told::Durable(version));
            }
            _ => {
                self.nonsense.get_or_insert_with(|| line.to_owned());
                return told;
            }
        }
        // The next one is begun right behind.
        told.extend(self.states.get(self.acknowledged + 1).cloned().map(Told::Begun));
        told
    }
}

/// Lets it live, on a file system of its own.
///
/// # Errors
///
/// A program that fails although the disk does not is a violation where the library is under it.
pub(super) fn record(
    rig_here: &mut Rig,
    subject: &Subject<'_>,
    life: &Life,
    random: &mut impl Rng,
) -> Result<Log, Failure> {
    let states = scatter::states(life.seed, life.versions);
    let data_file = subject.program.data_file(&rig_here.root());
    prepare(rig_here, &data_file, &states[0])?;
    let initial = History { states: states[..1].to_vec(), closed: Some(0), ..History::default() };
    rig_here.device.record(vec![initial]);
    rig_here.mount()?;
    let done = live(rig_here, subject, life, states, &data_file, random);
    rig_here.unmount()?;
    done?;
    rig_here.device.take_log().ok_or_else(|| Failure::Rig("nothing was recorded".into()))
}

/// A file system with this file, durable and unmounted.
fn prepare(rig_here: &mut Rig, data_file: &Path, content: &[u8]) -> Result<(), Failure> {
    rig_here.device.insert(rig_here.fresh.clone());
    rig_here.mount()?;
    let written = fs::write(data_file, content).and_then(|()| File::open(data_file)?.sync_all());
    rig_here.unmount()?;
    written.map_err(rig("a file to store into"))
}

fn live(
    rig_here: &Rig,
    subject: &Subject<'_>,
    life: &Life,
    states: Vec<Content>,
    data_file: &Path,
    random: &mut impl Rng,
) -> Result<(), Failure> {
    let Subject { program, writer, preload, .. } = subject;
    // Not on the disk that is recorded.
    let beside = tempfile::tempdir().map_err(rig("a folder"))?;
    let library_log = beside.path().join("preload.log");
    let preload = preload.map(|library| Preload { log: Some(library_log.clone()), ..life.preload(library) });
    let heard = Arc::new(Mutex::new(Heard { states, acknowledged: 0, ready: false, nonsense: None }));
    let (ear, device) = (Arc::clone(&heard), rig_here.device.clone());
    let voice = Voice::new(move |line| {
        for told in ear.lock().unwrap_or_else(PoisonError::into_inner).hear(line) {
            device.tell(0, told);
        }
    })?;
    let mut errors = tempfile::tempfile().map_err(rig("a file"))?;
    let mut command = writer.command(preload.as_ref());
    command.arg(data_file).args([life.seed, life.versions].map(|number| number.to_string()));
    command.stdin(Stdio::null()).stdout(voice.open()?).stderr(errors.try_clone().map_err(rig("a file"))?);
    rig_here.device.tell(0, Told::Opening);
    let ended = wait(&mut command, || {
        if life.written_out {
            std::thread::sleep(Duration::from_millis(random.random_range(0..WRITTEN_OUT_MILLISECONDS_MAX)));
            write_out(data_file);
            write_out(&journal_of(data_file));
        }
    })?;
    drop(command);
    let fails = |what: String| match preload {
        Some(_) => Err(Failure::Violation(what)),
        None => Err(Failure::Rig(format!("{program} without a library under it: {what}"))),
    };
    match ended {
        Some(ended) if ended.success() => rig_here.device.tell(0, Told::Closed),
        Some(ended) => {
            return fails(format!("it ended with {ended} on a sound disk: {}", last_line(&mut errors)));
        }
        None => return fails(format!("it does not end within {PATIENCE:?}: {}", last_line(&mut errors))),
    }
    drop(voice);
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(line) = &heard.nonsense {
        return Err(Failure::Rig(format!("{program} said {line:?}")));
    }
    if heard.acknowledged as u64 != life.versions {
        return fails(format!("it ended after {} of {} versions", heard.acknowledged, life.versions));
    }
    if preload.is_some() && converted(&library_log).map_err(rig("the library's log"))? == 0 {
        return fails("the library's log tells of no conversion".into());
    }
    Ok(())
}

/// A process that does not outlive this.
struct Alive(Child);

impl Drop for Alive {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Its end, or none as long as there is patience. Meanwhile something else is done again and again.
pub(super) fn wait(
    command: &mut Command,
    mut meanwhile: impl FnMut(),
) -> Result<Option<ExitStatus>, Failure> {
    let mut alive = Alive(command.spawn().map_err(rig("starting the program"))?);
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(status) = alive.0.try_wait().map_err(rig("waiting for the program"))? {
            return Ok(Some(status));
        }
        std::thread::sleep(LOOK);
        meanwhile();
    }
    Ok(None)
}

/// Has the kernel begin to write out what it has of a file, if there is one: it flushes nothing.
fn write_out(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    }
}

/// What a program said last on its standard error.
pub(super) fn last_line(errors: &mut File) -> String {
    let mut text = Vec::new();
    let read = errors.rewind().and_then(|()| errors.read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    match read {
        Err(error) => error.to_string(),
        Ok(_) => text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_begun_behind_the_one_before_and_nonsense_is_noticed() {
        let states = (0..3).map(|version| Arc::new(vec![version])).collect();
        let mut heard = Heard { states, acknowledged: 0, ready: false, nonsense: None };
        let mut history = History { states: vec![Arc::new(vec![0])], ..History::default() };
        for (line, allowed) in [("ready", 0..=1), ("1", 1..=2), ("2", 2..=2)] {
            heard.hear(line).into_iter().for_each(|told| history.hear(told));
            assert_eq!((history.allowed(), &heard.nonsense), (allowed, &None));
        }
        for line in ["3", "2", "ready", ""] {
            heard.nonsense = None;
            assert!(heard.hear(line).is_empty() && heard.nonsense.as_deref() == Some(line));
        }
    }
}
