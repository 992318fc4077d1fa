//! What is done in turn: each step measures one kind of thing, or those that follow from one another.

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use steadfast::{AtomicMapping, ErrorKind, Mapping};

use super::kind::{Group, Kind};
use super::ledger::Ledger;
use super::reads::Reads;
use crate::append::{self, Append, Way};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::memory;
use crate::open::{self, OpenArgs};
use crate::pattern::{self, mix};

/// So often in a row, unless that takes too long.
const BURST: u64 = 10;
/// A burst ends after this: what is slow would only say the same again.
pub(super) const BURST_TIME_MAX: Duration = Duration::from_millis(200);
/// What a journal grows to, and its successor beside it for a moment.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;
const JOURNAL_BYTES_MIN: u64 = 4 << 20;
/// Those that are open at once.
const JOURNALS: u64 = 3;
/// Those that are mapped: for msync, plain stores, declared edits and reads.
const FILES: u64 = 4;

/// Room that all of it needs, with files of this size.
pub(super) fn needed_bytes(file_bytes: u64) -> u64 {
    let journals = JOURNALS * file_bytes.clamp(JOURNAL_BYTES_MIN, JOURNAL_BYTES_MAX);
    file_bytes.saturating_mul(FILES).saturating_add(journals + 2 * append::ROOM_BYTES)
}

/// A turn.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    One(Kind),
    /// Cold reads leave the file warm for the others.
    Reads,
}

impl Step {
    pub(super) fn all() -> Vec<Step> {
        let alone = Kind::all().into_iter().filter(|kind| kind.group() != Group::Read).map(Step::One);
        alone.chain([Step::Reads]).collect()
    }

    pub(super) fn describe(self, file_bytes: u64) -> String {
        match self {
            Step::One(kind) => kind.label(file_bytes),
            Step::Reads => "reads, cold and warm".to_owned(),
        }
    }
}

/// Everything that is measured, open.
pub(super) struct Bench {
    /// For `syncfs`.
    folder: File,
    folder_path: PathBuf,
    file_bytes: u64,
    append: Append,
    /// `None` where the file system has no such writes.
    append_direct: Option<Append>,
    synced: Mapping,
    /// `None` where the library refuses the file system.
    plain: Option<AtomicMapping>,
    declared: Option<AtomicMapping>,
    read_path: PathBuf,
    reads: Reads,
}

impl Bench {
    /// Makes the files and opens them. `None` if that was interrupted.
    pub(super) fn prepare(
        folder: &Path,
        file_bytes: u64,
        ledger: &mut Ledger,
        interrupt: &Interrupt,
        say: &dyn Fn(&str),
    ) -> Result<Option<Bench>, Failure> {
        let failed = |error| cannot_measure(folder, &error);
        let append = Append::create(&folder.join("append.bin"), Way::Cached).map_err(failed)?;
        // A try beforehand: some file systems refuse the open, others the write.
        let direct = Append::create(&folder.join("direct.bin"), Way::Direct)
            .and_then(|mut append| append.once(1).map(|_| append));
        let append_direct = match direct {
            Err(error) if error.raw_os_error().is_some_and(means_unsupported) => {
                ledger.refuse(Kind::AppendDirect, format!("the file system has no such writes: {error}"));
                None
            }
            direct => Some(direct.map_err(failed)?),
        };
        for (number, name) in ["sync.bin", "plain.bin", "declared.bin", "read.bin"].into_iter().enumerate() {
            say(&format!("writing file {} of {FILES}", number + 1));
            let written = pattern::write_file(&folder.join(name), file_bytes, |at, part| {
                if interrupt.is_asked() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                pattern::fill(number as u64, at, part);
                Ok(())
            });
            match written {
                Err(_) if interrupt.is_asked() => return Ok(None),
                written => written.map_err(failed)?,
            }
        }
        let synced = Mapping::options().write(true).open(folder.join("sync.bin"))?;
        black_box(
            synced.atomics::<AtomicU64>(..)?.iter().fold(0, |sum, word| sum ^ word.load(Ordering::Relaxed)),
        );
        let mut opened = |name: &str, group: &dyn Fn(Kind) -> bool| {
            let map = open::view(options(), &folder.join(name));
            let map = unless_unsupported(map, ledger, Kind::all().into_iter().filter(|kind| group(*kind)))?;
            if let Some(map) = &map {
                black_box(map.iter().fold(0, |sum, byte| sum ^ byte));
            }
            Ok::<_, Failure>(map)
        };
        let plain = opened("plain.bin", &|kind| matches!(kind, Kind::Plain(_)))?;
        let declared = opened("declared.bin", &|kind| matches!(kind, Kind::Declared(_)))?;
        let read_path = folder.join("read.bin");
        Ok(Some(Bench {
            folder: File::open(folder).map_err(failed)?,
            folder_path: folder.to_owned(),
            file_bytes,
            append,
            append_direct,
            synced,
            plain,
            declared,
            reads: Reads::of(&read_path, file_bytes),
            read_path,
        }))
    }

    /// One turn. The same `key` is the same stores at the same places, whoever makes them.
    pub(super) fn take(
        &mut self,
        step: Step,
        key: u64,
        ledger: &mut Ledger,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let kind = match step {
            Step::Reads => return self.reads.round(key, ledger, interrupt),
            Step::One(kind) => kind,
        };
        if ledger.refusal(kind).is_some() {
            return Ok(());
        }
        let begun = Instant::now();
        for number in 0..BURST {
            let Some(time) = self.once(kind, mix(key, number), ledger)? else { break };
            ledger.add(kind, time);
            if begun.elapsed() > BURST_TIME_MAX || interrupt.is_asked() {
                break;
            }
        }
        Ok(())
    }

    fn once(&mut self, kind: Kind, key: u64, ledger: &mut Ledger) -> Result<Option<Duration>, Failure> {
        let places = |pages| pattern::scattered(key, self.file_bytes, pages);
        let bytes = key.to_ne_bytes();
        Ok(Some(match kind {
            Kind::Append | Kind::AppendDirect => {
                let append =
                    if kind == Kind::Append { Some(&mut self.append) } else { self.append_direct.as_mut() };
                let Some(append) = append else { return Ok(None) };
                append.once(key as u8).map_err(|error| cannot_measure(&self.folder_path, &error))?
            }
            Kind::Sync(pages) => {
                let places = places(pages);
                let words = self.synced.atomics::<AtomicU64>(..)?;
                let timer = Instant::now();
                for place in places {
                    words[place / bytes.len()].store(key, Ordering::Relaxed);
                }
                self.synced.sync(..)?;
                timer.elapsed()
            }
            Kind::Plain(pages) => {
                let places = places(pages);
                let Some(map) = &mut self.plain else { return Ok(None) };
                let timer = Instant::now();
                let image: &mut [u8] = map;
                for place in places {
                    image[place..place + bytes.len()].copy_from_slice(&bytes);
                }
                map.commit()?;
                timer.elapsed()
            }
            Kind::Declared(pages) => {
                let places = places(pages);
                let Some(map) = &mut self.declared else { return Ok(None) };
                let timer = Instant::now();
                for place in places {
                    map.write_at(place, &bytes)?;
                }
                map.commit()?;
                timer.elapsed()
            }
            Kind::OpenView => return self.open_and_close(kind, ledger, |path| open::view(options(), path)),
            Kind::OpenLoad => {
                // A `load` keeps all of it in memory; a third part is left to everybody else.
                if memory::available_bytes().is_some_and(|bytes| bytes / 3 < self.file_bytes) {
                    ledger.refuse(kind, "too little memory for the whole file; give a smaller --size");
                    return Ok(None);
                }
                return self.open_and_close(kind, ledger, |path| options().load(path));
            }
            // With the reads.
            Kind::SequentialCold | Kind::SequentialWarm | Kind::RandomCold | Kind::RandomWarm => {
                return Ok(None);
            }
        }))
    }

    fn open_and_close(
        &self,
        kind: Kind,
        ledger: &mut Ledger,
        open: impl FnOnce(&Path) -> steadfast::Result<AtomicMapping>,
    ) -> Result<Option<Duration>, Failure> {
        let timer = Instant::now();
        let map = open(&self.read_path);
        let time = timer.elapsed();
        let Some(map) = unless_unsupported(map, ledger, [kind])? else { return Ok(None) };
        map.close()?;
        Ok(Some(time))
    }

    /// Waits until nothing is left to be written: what one step left is not written while the next one is timed.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        rustix::fs::syncfs(&self.folder).map_err(|error| cannot_measure(&self.folder_path, &error.into()))
    }

    /// Closes what is open, and says what failed.
    pub(super) fn close(self) -> Result<(), Failure> {
        self.synced.close()?;
        for map in [self.plain, self.declared].into_iter().flatten() {
            map.close()?;
        }
        Ok(())
    }
}

fn means_unsupported(error: i32) -> bool {
    [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS].iter().any(|errno| errno.raw_os_error() == error)
}

/// Nothing here is meant to outlive the run, so any file system will do.
fn options() -> steadfast::AtomicOptions {
    OpenArgs::volatile(true).options()
}

/// A file system that the library cannot work on is an answer, not a failure.
fn unless_unsupported<T>(
    opened: steadfast::Result<T>,
    ledger: &mut Ledger,
    kinds: impl IntoIterator<Item = Kind>,
) -> Result<Option<T>, Failure> {
    match opened {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            kinds.into_iter().for_each(|kind| ledger.refuse(kind, error.to_string()));
            Ok(None)
        }
        opened => Ok(Some(opened?)),
    }
}

fn cannot_measure(folder: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot measure in {}: {error}", folder.display()))
}
