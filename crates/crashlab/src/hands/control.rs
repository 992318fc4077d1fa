//! What the two processes tell each other, in words that both have mapped.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steadfast::{Mapping, Result};

/// How long one of them waits before it looks again, after it looked many times in a row.
const PAUSE: Duration = Duration::from_micros(30);
const LOOKS: u32 = 50;

/// A number that both processes see.
#[derive(Debug, Clone, Copy)]
pub(super) enum Word {
    /// The round whose files are open: the hand may begin. Rounds count from 1 here.
    Ready,
    /// The round whose work is done: the hand makes good what it did.
    Over,
    /// The round whose damage is made good.
    Good,
    /// How much work was done in this round.
    Progress,
    /// So many actions of the round were begun, and so many are done.
    Begun,
    Ended,
}

const WORDS: usize = 6;

/// One page in a file that both have mapped.
#[derive(Debug)]
pub(super) struct Control(Mapping);

impl Control {
    pub(super) fn open(path: &Path) -> Result<Control> {
        let map = Mapping::options().write(true).create(true).len(4096).open(path)?;
        map.atomics::<AtomicU64>(..WORDS * 8)?;
        Ok(Control(map))
    }

    fn word(&self, word: Word) -> &AtomicU64 {
        static NEVER: AtomicU64 = AtomicU64::new(0);
        // It was granted by `open`, and nobody cuts this file.
        self.0.atomic(word as usize * 8).unwrap_or(&NEVER)
    }

    pub(super) fn get(&self, word: Word) -> u64 {
        self.word(word).load(Ordering::SeqCst)
    }

    pub(super) fn set(&self, word: Word, value: u64) {
        self.word(word).store(value, Ordering::SeqCst);
    }

    pub(super) fn work(&self) {
        self.word(Word::Progress).fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until `done`; `go_on` is asked now and then whether it still makes sense. Says whether it is done.
    pub(super) fn wait(
        &self,
        mut done: impl FnMut(&Control) -> bool,
        mut go_on: impl FnMut() -> bool,
    ) -> bool {
        let mut looks = 0_u32;
        loop {
            if done(self) {
                return true;
            }
            looks += 1;
            if looks.is_multiple_of(LOOKS) {
                if !go_on() {
                    return done(self);
                }
                std::thread::sleep(PAUSE);
            } else {
                std::thread::yield_now();
            }
        }
    }
}
