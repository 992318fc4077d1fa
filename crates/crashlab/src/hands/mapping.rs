//! Four threads on one `Mapping`, by every way that there is to its bytes, while another hand works on its file.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::{AtomicU64, Ordering};
use steadfast::{ErrorKind, Mapping};

use super::child::{Round, violated};
use super::control::Word;
use super::plan::{PAGES_MAX, Place};
use super::raw;
use super::tally::Counts;
use super::words::{WORD, Words};
use crate::workload::{PAGE, draws};

/// Words that are read at once.
const READ_MAX: usize = 1024;

/// What all threads share.
struct Work<'a> {
    round: &'a Round<'a>,
    map: RwLock<Mapping>,
    words: Words,
    /// The file as any other program has it open.
    file: File,
    counts: Mutex<Counts>,
}

type Outcome = Result<(), String>;

/// Does the work, and judges it. Says what was counted.
pub(super) fn play(round: &Round<'_>, folder: &Path) -> Result<Counts, String> {
    round.begin();
    let plan = round.plan;
    let path = folder.join("data");
    let count = PAGES_MAX * PAGE / WORD;
    let stored = if plan.sparse { 0 } else { plan.pages * PAGE / WORD };
    let bytes: Vec<u8> = (0..stored).flat_map(|word| super::words::value(word, 1).to_le_bytes()).collect();
    std::fs::write(&path, bytes).map_err(|error| format!("rig: making a file: {error}"))?;
    let open = || {
        let options = Mapping::options().write(true).guard(round.guard).reserve(PAGES_MAX * PAGE);
        let options = options.sparse(plan.sparse).grow(true).len(plan.pages * PAGE);
        options.open(&path)
    };
    let map = open().map_err(|error| format!("rig: opening a mapping: {error}"))?;
    let file = File::options().read(true).write(true).open(&path);
    let work = Work {
        round,
        map: RwLock::new(map),
        words: Words::new(count, stored, plan.has(super::plan::Action::loses_stores)),
        file: file.map_err(|error| format!("rig: a second descriptor: {error}"))?,
        counts: Mutex::new(Counts::default()),
    };
    round.ready();
    let done: Vec<Outcome> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                scope.spawn({
                    let work = &work;
                    move || work.thread(number)
                })
            })
            .collect();
        let ended = |thread: thread::ScopedJoinHandle<'_, Outcome>| {
            thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))
        };
        threads.into_iter().map(ended).collect()
    });
    done.into_iter().collect::<Outcome>()?;
    let gone = plan.has(|action| action == super::plan::Action::Gone);
    if gone {
        // Nothing comes back to what a mount that is gone had open.
        let Work { map, words, counts, .. } = work;
        drop(map);
        round.made_good()?;
        let map = open().map_err(|error| violated("opening after the mount came back", &error))?;
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|error| format!("rig: a second descriptor: {error}"))?;
        return Work { round, map: RwLock::new(map), words, file, counts }.finish(&path);
    }
    round.made_good()?;
    work.finish(&path)
}

impl Work<'_> {
    fn read(&self) -> RwLockReadGuard<'_, Mapping> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Mapping> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn file_len(&self) -> Option<u64> {
        self.file.metadata().ok().map(|meta| meta.len())
    }

    fn begun(&self) -> u64 {
        self.round.control.get(Word::Begun)
    }

    fn ended(&self) -> u64 {
        self.round.control.get(Word::Ended)
    }

    fn thread(&self, number: usize) -> Outcome {
        let mut random = draws(self.round.plan.seed ^ (number as u64 + 1) << 40);
        for _ in 0..self.round.plan.ops {
            match random.random_range(0..100) {
                0..30 => self.load(&mut random, Load::Checked)?,
                30..38 => self.load(&mut random, Load::Raw)?,
                38..44 => self.load(&mut random, Load::Atomic)?,
                44..48 => self.load(&mut random, Load::Typed)?,
                48..68 => self.store(&mut random, number, Store::Checked)?,
                68..76 => self.store(&mut random, number, Store::Raw)?,
                76..82 => self.store(&mut random, number, Store::Atomic)?,
                82..86 => self.sync(&mut random, true)?,
                86..89 => self.sync(&mut random, false)?,
                89..93 => self.check()?,
                93..96 => self.refresh()?,
                96..98 => self.resize(&mut random)?,
                98 => self.compare()?,
                _ => self.invalidate()?,
            }
            self.round.control.work();
        }
        Ok(())
    }

    /// Some words within the mapping.
    fn pick(&self, map: &Mapping, random: &mut ChaCha8Rng) -> Option<std::ops::Range<usize>> {
        let words = map.len() / WORD;
        if words == 0 {
            return None;
        }
        let first = random.random_range(0..words);
        let most = [1, 8, 64, READ_MAX][random.random_range(0..4)];
        Some(first..(first + random.random_range(1..=most)).min(words))
    }

    /// An error must have a reason, and be of a kind that says so.
    fn expect(&self, what: &str, error: &steadfast::Error) -> Outcome {
        if self.begun() == 0 && self.round.place != Place::Limited {
            return Err(violated(&format!("{what}, although no hand had done anything"), error));
        }
        self.count(|counts| counts.refused += 1);
        let kinds: &[ErrorKind] = match self.round.place {
            Place::Disk | Place::Memory => &[ErrorKind::Truncated, ErrorKind::Io],
            Place::Served => &[ErrorKind::Io, ErrorKind::WriteBack, ErrorKind::Truncated],
            Place::Small | Place::Limited => &[ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::WriteBack],
        };
        if kinds.contains(&error.kind()) {
            Ok(())
        } else {
            Err(violated(&format!("{what} ({:?})", error.kind()), error))
        }
    }

    fn load(&self, random: &mut ChaCha8Rng, how: Load) -> Outcome {
        let map = self.read();
        let Some(range) = self.pick(&map, random) else { return Ok(()) };
        let range = match how {
            Load::Checked | Load::Raw => range,
            Load::Atomic | Load::Typed => range.start..range.start + 1,
        };
        let at = range.start * WORD;
        let known: Vec<_> = range.clone().map(|word| self.words.known(word)).collect();
        let (len, ended, begun) = (self.file_len(), self.ended(), self.begun());
        let mut found = vec![0; range.len()];
        let outcome = match how {
            Load::Checked => {
                let mut bytes = vec![0; range.len() * WORD];
                let outcome = map.read_at(at, &mut bytes);
                for (word, bytes) in found.iter_mut().zip(bytes.chunks_exact(WORD)) {
                    *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
                }
                outcome
            }
            Load::Raw => {
                raw::load(&map, at, &mut found);
                map.check()
            }
            Load::Atomic => map.atomic::<AtomicU64>(at).and_then(|word| {
                found[0] = word.load(Ordering::SeqCst);
                map.check()
            }),
            Load::Typed => raw::typed(&map, at).and_then(|word| {
                found[0] = word;
                map.check()
            }),
        };
        if let Err(error) = outcome {
            return self.expect("a load", &error);
        }
        let begun_by_now = self.begun();
        let shorter = |len: Option<u64>| len.is_some_and(|len| len < (range.end * WORD) as u64);
        let still = ended == begun && begun == begun_by_now;
        if still && shorter(len) && shorter(self.file_len()) && self.round.place != Place::Served {
            if how == Load::Checked {
                return Err(format!(
                    "bytes {at}.. beyond the file's end of {len:?} were read, and no hand was at work"
                ));
            }
            // No fault tells of the rest of a page that the file ends in.
            self.count(|counts| counts.unnamed += 1);
        }
        self.count(|counts| counts.loads += 1);
        for ((word, found), known) in range.zip(found).zip(known) {
            self.words
                .judge(self.round.plan, word, found, known, begun_by_now)
                .map_err(|why| format!("{how:?}: {why}"))?;
        }
        Ok(())
    }

    fn store(&self, random: &mut ChaCha8Rng, thread: usize, how: Store) -> Outcome {
        let map = self.read();
        let words = map.len() / WORD;
        let Some(range) = self.pick(&map, random) else { return Ok(()) };
        let Some(first) = (range.start..words).find(|&word| Words::owner(word) == thread) else {
            return Ok(());
        };
        let count = range.len().min(Words::run_from(first)).min(words - first);
        let count = if how == Store::Atomic { 1 } else { count };
        let at = first * WORD;
        let ended = self.ended();
        let len_before = self.file_len();
        let stored: Vec<u64> = (first..first + count).map(|word| self.words.begin(word)).collect();
        let outcome = match how {
            Store::Checked => {
                let bytes: Vec<u8> = stored.iter().flat_map(|word| word.to_le_bytes()).collect();
                map.write_at(at, &bytes)
            }
            Store::Raw => {
                raw::store(&map, at, &stored);
                map.check()
            }
            Store::Atomic => map.atomic::<AtomicU64>(at).and_then(|word| {
                word.store(stored[0], Ordering::SeqCst);
                map.check()
            }),
        };
        // A plain store beyond the end of the file, in the page that it ends in, is nobody's.
        let reaches = |len: Option<u64>| len.is_none_or(|len| len >= ((first + count) * WORD) as u64);
        let within = how == Store::Checked || reaches(len_before) && reaches(self.file_len());
        for word in first..first + count {
            self.words.end(word, outcome.is_ok() && within, ended);
        }
        self.count(|counts| counts.stores += u64::from(outcome.is_ok()));
        outcome.or_else(|error| self.expect("a store", &error))
    }

    fn sync(&self, random: &mut ChaCha8Rng, now: bool) -> Outcome {
        let map = self.read();
        let Some(range) = self.pick(&map, random) else { return Ok(()) };
        let range = range.start * WORD..range.end * WORD;
        let outcome = match now {
            true => map.sync(range),
            false => map.start_sync(range).and_then(|ticket| ticket.wait()),
        };
        outcome.or_else(|error| self.expect("a sync", &error))
    }

    fn check(&self) -> Outcome {
        self.read().check().or_else(|error| self.expect("a check", &error))
    }

    fn refresh(&self) -> Outcome {
        let mut map = self.write();
        self.count(|counts| counts.refreshed += u64::from(map.check().is_err()));
        map.refresh().or_else(|error| self.expect("a refresh", &error))
    }

    fn resize(&self, random: &mut ChaCha8Rng) -> Outcome {
        let mut map = self.write();
        let words = random.random_range(1..=self.words.count());
        let shorter = words.min(map.len() / WORD);
        if words * WORD < map.len() {
            self.words.cut(shorter);
        }
        map.resize(words * WORD).or_else(|error| self.expect("a resize", &error))
    }

    fn invalidate(&self) -> Outcome {
        let outcome = self.write().invalidate(..);
        match outcome {
            Err(error) if error.kind() == ErrorKind::Busy || error.kind() == ErrorKind::Unsupported => Ok(()),
            outcome => outcome.or_else(|error| self.expect("an invalidate", &error)),
        }
    }

    /// What memory shows is in the file after a sync that succeeded.
    fn compare(&self) -> Outcome {
        let map = self.write();
        let (ended, begun) = (self.ended(), self.begun());
        let mut shown = vec![0; map.len()];
        if let Err(error) = map.sync(..).and_then(|()| map.read_at(0, &mut shown)) {
            return self.expect("a sync of everything", &error);
        }
        if self.words.are_forgotten() {
            return Ok(());
        }
        let mut filed = vec![0; map.len()];
        if self.file.read_exact_at(&mut filed, 0).is_err() || ended != begun || self.begun() != begun {
            return Ok(());
        }
        same("after a sync that succeeded, in memory and in the file", &shown, &filed)
    }

    /// The hand is gone, and what it did is made good as far as it can be.
    fn finish(self, path: &Path) -> Result<Counts, String> {
        let place = self.round.place;
        let begun = self.begun();
        {
            let mut map = self.write();
            map.refresh().map_err(|error| violated("a refresh after the round", &error))?;
            map.check().map_err(|error| violated("a check after a refresh", &error))?;
            let len = map.len();
            if self.file_len().is_some_and(|file| file < len as u64) {
                return Err(format!(
                    "{len} bytes are mapped after a refresh, the file has {:?}",
                    self.file_len()
                ));
            }
            let mut shown = vec![0; len];
            map.read_at(0, &mut shown).map_err(|error| violated("a read after a refresh", &error))?;
            for (word, bytes) in shown.chunks_exact(WORD).enumerate() {
                let found = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
                let known = self.words.known(word);
                self.words
                    .judge(self.round.plan, word, found, known, begun)
                    .map_err(|why| format!("after a refresh: {why}"))?;
            }
            let mut filed = vec![0; len];
            self.file
                .read_exact_at(&mut filed, 0)
                .map_err(|error| format!("rig: reading the file: {error}"))?;
            if self.words.are_forgotten() {
                // After a write that failed a page is read from the device again by the next read, mapped or not.
                map.read_at(0, &mut shown).map_err(|error| violated("a read after a refresh", &error))?;
            }
            same("after a refresh, in memory and in the file", &shown, &filed)?;

            let len = self.round.plan.pages * PAGE;
            map.resize(len).map_err(|error| violated("a resize after the round", &error))?;
            let stored: Vec<u8> =
                (0..len / WORD).flat_map(|word| self.words.begin(word).to_le_bytes()).collect();
            map.write_at(0, &stored).map_err(|error| violated("a store after the round", &error))?;
            map.redirty(..).map_err(|error| violated("redirty after the round", &error))?;
            let mut synced = map.sync(..);
            if self.words.are_forgotten()
                && synced.as_ref().is_err_and(|error| error.kind() == ErrorKind::WriteBack)
            {
                // What was lost before is told once. The way on that the error names:
                synced = map.redirty(..).and_then(|()| map.sync(..));
            }
            synced.map_err(|error| violated("a sync after the round", &error))?;
            map.check().map_err(|error| violated("a check after the round", &error))?;
            let mut back = vec![0; len];
            map.read_at(0, &mut back).map_err(|error| violated("a read after the round", &error))?;
            same("stored after the round, and read back", &stored, &back)?;
            self.file
                .read_exact_at(&mut back, 0)
                .map_err(|error| format!("rig: reading the file: {error}"))?;
            same("stored after the round, and in the file", &stored, &back)?;
            if place == Place::Served {
                past_the_cache(path, &mut back)
                    .map_err(|error| format!("rig: reading past the cache: {error}"))?;
                same("stored and synced after the round, and on the device", &stored, &back)?;
            }
        }
        let Work { map, counts, .. } = self;
        let map = map.into_inner().unwrap_or_else(PoisonError::into_inner);
        map.close().map_err(|error| violated("a close after the round", &error))?;
        Ok(counts.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads what the server of the file has.
fn past_the_cache(path: &Path, to: &mut [u8]) -> std::io::Result<()> {
    // O_DIRECT wants memory that begins at a block.
    let mut aligned = vec![0; to.len() + PAGE];
    let start = aligned.as_ptr().align_offset(PAGE);
    let file = File::options().read(true).custom_flags(libc::O_DIRECT).open(path)?;
    file.read_exact_at(&mut aligned[start..start + to.len()], 0)?;
    to.copy_from_slice(&aligned[start..start + to.len()]);
    Ok(())
}

fn same(what: &str, a: &[u8], b: &[u8]) -> Outcome {
    if a == b { Ok(()) } else { Err(format!("{what}: {}", crate::history::difference(a, b))) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Checked,
    Raw,
    Atomic,
    Typed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Checked,
    Raw,
    Atomic,
}
