//! Several `AtomicMapping`s, with a writer and a reader for each, while another hand works on their files.
//!
//! What is committed follows a script, so every state is known. A loaded map's memory is right whatever happens to its file. A view's promise
//! is broken on purpose: bytes that the hand took may be zeros, all others are right, and no commit records what was not stored.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use steadfast::{AtomicMapping, Error, ErrorKind};

use super::child::{Round, violated};
use super::control::Word;
use super::found;
use super::plan::{Action, Place};
use super::raw;
use super::tally::Counts;
use crate::kills::script::{Script, Way, perform};
use crate::workload::draws;

pub(super) const PAGES_MAX: usize = 16;

type Outcome = Result<(), String>;

/// One file, its map, and what was told of it.
pub(super) struct Side<'a> {
    round: &'a Round<'a>,
    pub(super) script: Script,
    pub(super) path: PathBuf,
    live: RwLock<Live>,
    counts: &'a Mutex<Counts>,
}

/// What changes.
pub(super) struct Live {
    map: Option<AtomicMapping>,
    /// What was there at first, and what each commit made or would make of it.
    pub(super) states: Vec<Vec<u8>>,
    /// What memory holds.
    working: Vec<u8>,
    /// The state that the last commit made, and whether the next one's changes are made and refused so far.
    done: usize,
    pending: bool,
    /// What must be found, at least.
    pub(super) durable: usize,
    /// A rollback failed, and it is not said whether before it began or after: until one succeeds nothing is known of memory.
    unsure: bool,
    /// What the last commit that was refused was told.
    refusal: String,
    /// Commits are refused from here on.
    latched: bool,
    /// Nothing was opened since it was made or closed: a plain file.
    pub(super) closed: bool,
    /// What an open would show is known.
    may_open: bool,
}

/// Does the work, and judges it.
pub(super) fn play(round: &Round<'_>, folder: &Path) -> Result<Counts, String> {
    round.begin();
    let counts = Mutex::new(Counts::default());
    let maps: &[usize] =
        if matches!(round.place, Place::Small | Place::Limited) { &[0, 1, 3] } else { &[0, 3] };
    let begin = |&map: &usize| {
        let script = Script { seed: round.plan.seed, map, pages_max: PAGES_MAX };
        let path = folder.join(script.name());
        let initial = script.initial();
        std::fs::write(&path, &initial).map_err(|error| format!("rig: {}: {error}", path.display()))?;
        Ok(Side { round, script, path, live: RwLock::new(Live::new(initial)), counts: &counts })
    };
    let sides = maps.iter().map(begin).collect::<Result<Vec<_>, String>>()?;
    round.limit(Some(32 << 10 << (round.number % 4)));
    if !matches!(round.place, Place::Small | Place::Limited) {
        for side in &sides {
            side.open(&mut side.write())?;
        }
    }
    round.ready();
    let done: Vec<Outcome> = thread::scope(|scope| {
        let writers = sides.iter().map(|side| scope.spawn(move || side.writer()));
        let readers = sides.iter().rev().take(4 - sides.len()).map(|side| scope.spawn(move || side.reader()));
        let threads: Vec<_> = writers.chain(readers).collect();
        let ended = |thread: thread::ScopedJoinHandle<'_, Outcome>| {
            thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))
        };
        threads.into_iter().map(ended).collect()
    });
    done.into_iter().collect::<Outcome>()?;
    let gone = round.plan.has(|action| action == Action::Gone);
    for side in &sides {
        side.compare_all()?;
        if gone {
            side.write().map = None;
        }
    }
    round.made_good()?;
    for side in sides {
        side.end()?;
    }
    Ok(counts.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Live {
    fn new(initial: Vec<u8>) -> Live {
        Live {
            map: None,
            working: initial.clone(),
            states: vec![initial],
            done: 0,
            pending: false,
            durable: 0,
            unsure: false,
            refusal: String::new(),
            latched: false,
            closed: true,
            may_open: true,
        }
    }

    /// The newest state that may be found.
    pub(super) fn begun(&self) -> usize {
        self.states.len() - 1
    }
}

impl Side<'_> {
    fn read(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn begun(&self) -> u64 {
        self.round.control.get(Word::Begun)
    }

    fn is_view(&self) -> bool {
        self.script.is_view()
    }

    /// Does the hand change files?
    fn is_foreign(&self) -> bool {
        matches!(self.round.place, Place::Disk | Place::Memory)
    }

    fn open(&self, live: &mut Live) -> Outcome {
        let options = self.script.options().allow_volatile(true).guard(self.round.guard);
        live.closed = false;
        match raw::open(self.is_view(), options, &self.path) {
            Ok(_) if self.begun() > 0 && self.is_foreign() => {
                // What it shows may be anything.
                live.may_open = false;
                Ok(())
            }
            Ok(map) => {
                live.map = Some(map);
                Ok(())
            }
            Err(error) => self.expect(
                "an open",
                &error,
                &[ErrorKind::NotFound, ErrorKind::Identity, ErrorKind::NoSpace],
            ),
        }
    }

    /// An error must have a reason, and be of a kind that says so.
    fn expect(&self, what: &str, error: &Error, also: &[ErrorKind]) -> Outcome {
        use ErrorKind::{ForeignChange, InDoubt, Io, Latched, NoSpace, NotCommitted, Truncated, WriteBack};
        let what = format!("{what} of {} ({:?})", self.script.name(), error.kind());
        if self.begun() == 0 && self.round.place != Place::Limited {
            return Err(violated(&format!("{what}, although no hand had done anything"), error));
        }
        self.count(|counts| counts.refused += 1);
        let kinds: &[ErrorKind] = match self.round.place {
            Place::Disk | Place::Memory => &[ForeignChange, Latched, NotCommitted, InDoubt, Truncated, Io],
            Place::Served => &[Latched, NotCommitted, InDoubt, Io, WriteBack, Truncated],
            // A view's hole may need a block to be read (tmpfs).
            Place::Small if self.is_view() => &[NoSpace, NotCommitted, Io],
            Place::Small | Place::Limited => &[NoSpace, NotCommitted],
        };
        let of_kind = kinds.contains(&error.kind()) || also.contains(&error.kind());
        if of_kind { Ok(()) } else { Err(violated(&what, error)) }
    }

    fn writer(&self) -> Outcome {
        let mut random = draws(self.round.plan.seed ^ (self.script.map as u64 + 1) << 44);
        for _ in 0..self.round.plan.ops {
            let live = &mut *self.write();
            if live.map.is_none() {
                if live.may_open {
                    self.open(live)?;
                }
            } else {
                match random.random_range(0..100) {
                    0..66 => self.commit(live)?,
                    66..74 => self.roll_back(live)?,
                    74..80 => self.checkpoint(live)?,
                    80..86 => self.refresh(live)?,
                    86..90 => self.close(live)?,
                    _ => self.look(live, &mut random)?,
                }
            }
            self.round.control.work();
        }
        Ok(())
    }

    fn reader(&self) -> Outcome {
        let mut random = draws(self.round.plan.seed ^ (self.script.map as u64 + 1) << 36);
        for _ in 0..self.round.plan.ops {
            self.look(&self.read(), &mut random)?;
            self.round.control.work();
        }
        Ok(())
    }

    /// Reads a part.
    fn look(&self, live: &Live, random: &mut ChaCha8Rng) -> Outcome {
        let Some(map) = live.map.as_ref().filter(|map| !map.is_empty()) else { return Ok(()) };
        let at = random.random_range(0..map.len());
        let len = random.random_range(1..=6000).min(map.len() - at);
        let mut bytes = vec![0; len];
        let outcome = if random.random() {
            map.read_at(at, &mut bytes)
        } else {
            bytes.copy_from_slice(&map[at..at + len]);
            map.check()
        };
        match outcome {
            Err(error) if self.is_view() => self.expect("a read", &error, &[]),
            Err(error) => Err(violated("memory of a loaded map", &error)),
            Ok(()) => self.judge(live, at, &bytes),
        }
    }

    /// These bytes were read from `at` on, and nothing said that they are damaged.
    fn judge(&self, live: &Live, at: usize, bytes: &[u8]) -> Outcome {
        self.count(|counts| counts.loads += 1);
        let want = &live.working[at..at + bytes.len()];
        if bytes == want || live.unsure {
            return Ok(());
        }
        let begun = self.begun();
        let wrong = (0..bytes.len()).find(|&index| {
            let place = at + index;
            // Uncommitted pages beyond a new end are dropped, and what a checkpoint wrote there since, or zeros, comes to light.
            let once = || live.states.iter().any(|state| state.get(place) == Some(&bytes[index]));
            let taken = self.is_view() && self.round.plan.takes(place as u64, 0..begun);
            bytes[index] != want[index] && !(taken && (bytes[index] == 0 || once()))
        });
        match wrong {
            None => Ok(()),
            Some(index) => Err(format!(
                "byte {} of {} is {}, {} was stored there; {begun} actions begun",
                at + index,
                self.script.name(),
                bytes[index],
                want[index]
            )),
        }
    }

    /// All of a loaded map.
    fn compare_all(&self) -> Outcome {
        let live = self.read();
        match &live.map {
            Some(map) if !self.is_view() => {
                map.check().map_err(|error| violated("memory of a loaded map", &error))?;
                if map.len() != live.working.len() {
                    return Err(format!(
                        "{} has {} bytes for {}",
                        self.script.name(),
                        map.len(),
                        live.working.len()
                    ));
                }
                self.judge(&live, 0, map)
            }
            _ => Ok(()),
        }
    }

    fn commit(&self, live: &mut Live) -> Outcome {
        if live.unsure {
            return self.roll_back(live);
        }
        let Some(map) = live.map.as_mut() else { return Ok(()) };
        let n = live.done + 1;
        let change = self.script.change(n, live.states[live.done].len());
        if !live.pending {
            for op in change.ops {
                if let Err(error) = perform(map, op, n) {
                    self.expect("an edit", &error, &[])?;
                    return self.undo(live);
                }
            }
            let mut next = live.states[live.done].clone();
            self.script.advance(&mut next, n);
            live.working.clone_from(&next);
            live.states.truncate(n);
            live.states.push(next);
            live.pending = true;
        }
        let (outcome, durable) = match change.way {
            Way::Now => (map.commit(), true),
            Way::Relaxed => (map.commit_relaxed(), false),
            Way::Ticket => (map.commit_async().and_then(|ticket| ticket.wait()), true),
        };
        match outcome {
            Ok(_) if live.latched => {
                Err(format!("{}: a commit after one that said that none will be", self.script.name()))
            }
            Ok(_) => {
                self.count(|counts| counts.commits += 1);
                live.done = n;
                live.pending = false;
                if durable {
                    live.durable = n;
                }
                Ok(())
            }
            Err(error) => {
                self.count(|counts| counts.commits_refused += 1);
                live.refusal = error.to_string();
                live.latched |= matches!(
                    error.kind(),
                    ErrorKind::ForeignChange | ErrorKind::Latched | ErrorKind::InDoubt
                );
                self.expect("a commit", &error, &[])
            }
        }
    }

    /// After an edit that failed: back to the last commit, or no further.
    fn undo(&self, live: &mut Live) -> Outcome {
        live.working.clone_from(&live.states[live.done]);
        let Some(map) = live.map.as_mut() else { return Ok(()) };
        match map.rollback() {
            Ok(()) => {
                live.pending = false;
                Ok(())
            }
            Err(error) => {
                // Some of the change is made, and cannot be taken back.
                live.map = None;
                live.may_open = false;
                live.pending = false;
                self.expect("a rollback", &error, &[])
            }
        }
    }

    fn roll_back(&self, live: &mut Live) -> Outcome {
        let Some(map) = live.map.as_mut() else { return Ok(()) };
        match map.rollback() {
            Ok(()) => {
                live.working.clone_from(&live.states[live.done]);
                live.pending = false;
                live.unsure = false;
                Ok(())
            }
            Err(error) => {
                live.unsure |= self.is_view();
                self.expect("a rollback", &error, &[])
            }
        }
    }

    fn checkpoint(&self, live: &mut Live) -> Outcome {
        let Some(map) = live.map.as_mut() else { return Ok(()) };
        match map.checkpoint() {
            Ok(()) => {
                live.durable = live.done;
                Ok(())
            }
            Err(error) => {
                live.latched |= error.kind() == ErrorKind::ForeignChange;
                self.expect("a checkpoint", &error, &[])
            }
        }
    }

    fn refresh(&self, live: &mut Live) -> Outcome {
        let Some(map) = live.map.as_mut() else { return Ok(()) };
        let damaged = map.check().is_err();
        if damaged && !self.is_view() {
            return Err("a loaded map is damaged".into());
        }
        self.count(|counts| counts.refreshed += u64::from(damaged));
        match map.refresh() {
            // The file was opened again as the hand left it: all that is known from here on is what it shows now.
            Ok(()) if self.is_foreign() && self.begun() > 0 && (live.latched || map[..] != live.working) => {
                // Where nothing was adopted after all, what is not committed is no part of it.
                if let Err(error) = map.rollback() {
                    (live.map, live.may_open) = (None, false);
                    return self.expect("a rollback", &error, &[]);
                }
                let now = map.to_vec();
                self.count(|counts| counts.adopted += 1);
                if now.is_empty() || self.is_view() {
                    // The script has nothing to do with an empty file; and what a view showed a moment ago the hand may have taken again.
                    (live.map, live.may_open) = (None, false);
                }
                live.working.clone_from(&now);
                live.states = vec![now];
                (live.done, live.durable) = (0, 0);
                (live.pending, live.unsure, live.latched) = (false, false, false);
                Ok(())
            }
            // What was stored plainly to damaged pages is lost, and the change is to be made again as a whole.
            Ok(()) if damaged && live.pending => self.roll_back(live),
            Ok(()) => Ok(()),
            Err(error) => {
                live.latched |= matches!(
                    error.kind(),
                    ErrorKind::ForeignChange | ErrorKind::Latched | ErrorKind::NotFound
                );
                // The name may be gone; or the hand was there again while the file was opened, and the open's journal no longer fits.
                let also = [ErrorKind::InvalidInput, ErrorKind::NotFound, ErrorKind::Identity];
                self.expect("a refresh", &error, &also)
            }
        }
    }

    fn close(&self, live: &mut Live) -> Outcome {
        let Some(map) = live.map.take() else { return Ok(()) };
        (live.pending, live.unsure) = (false, false);
        live.working.clone_from(&live.states[live.done]);
        match map.close() {
            Ok(()) => {
                live.durable = live.done;
                live.states.truncate(live.done + 1);
                live.closed = true;
                live.latched = false;
                self.open(live)
            }
            Err(error) => {
                live.may_open = false;
                self.expect("a close", &error, &[])
            }
        }
    }

    /// What is found when it is opened again.
    fn end(self) -> Outcome {
        let (begun, place) = (self.begun(), self.round.place);
        {
            let live = &mut *self.write();
            let damaged = self.is_view() && live.map.as_ref().is_some_and(|map| map.check().is_err());
            if matches!(place, Place::Small | Place::Limited) && (live.pending || live.unsure) {
                if damaged || live.unsure {
                    // A hole that got no block: what was stored there is lost, and the change is made again.
                    self.roll_back(live)?;
                }
                // What failed in the background meanwhile is told once.
                for _ in 0..2 {
                    if live.pending || live.unsure || damaged {
                        self.commit(live).map_err(|why| format!("there is space again: {why}"))?;
                    }
                }
                if live.pending || live.unsure {
                    let name = self.script.name();
                    return Err(format!(
                        "there is space again, and {name} is refused the same commit: {}",
                        live.refusal
                    ));
                }
            }
            live.map = None;
        }
        found::judge(&self, &self.read(), self.round, begun)
    }
}
