//! What each word of a mapping may hold: its own place and a number that grows with every store, or zero where something was taken away.
//!
//! A word is stored to by one thread only, and read by all. What a reader may find follows from what was known before it looked and after.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use super::plan::Plan;

pub(super) const WORD: usize = 8;
/// Words in a row that one thread stores to. Runs lie across the boundaries of pages.
const RUN: usize = 64;
const THREADS: usize = 4;

/// The number of a store, at its place. Never zero.
pub(super) fn value(word: usize, store: u32) -> u64 {
    (word as u64 + 1) << 32 | u64::from(store)
}

#[derive(Debug, Default)]
struct Word {
    /// The newest store that was begun.
    next: AtomicU32,
    /// The newest that succeeded: nothing older is found any more.
    safe: AtomicU32,
    /// One is under way.
    busy: AtomicBool,
    /// Zero is right, whatever others do.
    hole: AtomicBool,
    /// So many actions had ended when the newest store that succeeded began: they took nothing from it.
    clean: AtomicU64,
}

/// What was known of a word at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    next: u32,
    safe: u32,
    busy: bool,
    hole: bool,
    clean: u64,
}

#[derive(Debug)]
pub(super) struct Words {
    words: Vec<Word>,
    /// Stores may be lost on their way to the device.
    forgetful: bool,
}

impl Words {
    /// So many words, of which the first `stored` hold their first store.
    pub(super) fn new(count: usize, stored: usize, forgetful: bool) -> Words {
        let words: Vec<Word> = (0..count).map(|_| Word::default()).collect();
        for (index, word) in words.iter().enumerate() {
            word.hole.store(index >= stored, SeqCst);
            word.next.store(u32::from(index < stored), SeqCst);
            word.safe.store(u32::from(index < stored), SeqCst);
        }
        Words { words, forgetful }
    }

    pub(super) fn count(&self) -> usize {
        self.words.len()
    }

    pub(super) fn are_forgotten(&self) -> bool {
        self.forgetful
    }

    /// The thread that stores to a word.
    pub(super) fn owner(word: usize) -> usize {
        (word + RUN / 2) / RUN % THREADS
    }

    /// From `word` on, so many words belong to the same thread.
    pub(super) fn run_from(word: usize) -> usize {
        RUN - (word + RUN / 2) % RUN
    }

    pub(super) fn known(&self, word: usize) -> Known {
        let word = &self.words[word];
        Known {
            next: word.next.load(SeqCst),
            safe: word.safe.load(SeqCst),
            busy: word.busy.load(SeqCst),
            hole: word.hole.load(SeqCst),
            clean: word.clean.load(SeqCst),
        }
    }

    /// A store begins: what is to be stored.
    pub(super) fn begin(&self, word: usize) -> u64 {
        let state = &self.words[word];
        state.busy.store(true, SeqCst);
        value(word, state.next.fetch_add(1, SeqCst) + 1)
    }

    /// It ended; `ended` actions had ended when it began.
    pub(super) fn end(&self, word: usize, stored: bool, ended: u64) {
        let word = &self.words[word];
        if stored {
            word.clean.store(ended, SeqCst);
            if !self.forgetful {
                word.safe.store(word.next.load(SeqCst), SeqCst);
                word.hole.store(false, SeqCst);
            }
        }
        word.busy.store(false, SeqCst);
    }

    /// The program itself cut off everything from `word` on.
    pub(super) fn cut(&self, word: usize) {
        for word in &self.words[word..] {
            word.hole.store(true, SeqCst);
        }
    }

    /// Is this what a word may hold? `before` was known before it was loaded, and `begun` actions had begun after.
    pub(super) fn judge(
        &self,
        plan: &Plan,
        word: usize,
        found: u64,
        before: Known,
        begun: u64,
    ) -> Result<(), String> {
        let after = self.known(word);
        if before.busy || after.busy || before.next != after.next {
            // A store came between: any mix of old and new bytes.
            return Ok(());
        }
        if found == 0 {
            // Cuts and holes begin and end between words.
            let allowed = before.hole || after.hole || plan.takes((word * WORD) as u64, before.clean..begun);
            let why = || {
                format!(
                    "word {word} is zero: nobody took it since store {}, which began after {} actions ({begun} begun by now)",
                    after.safe, before.clean
                )
            };
            return if allowed { Ok(()) } else { Err(why()) };
        }
        let store = found as u32;
        if found != value(word, store) {
            return Err(format!("word {word} holds {found:#x}, which is not of its place"));
        }
        if (before.safe..=after.next).contains(&store) {
            return Ok(());
        }
        Err(format!("word {word} holds store {store}; allowed are {}..={}", before.safe, after.next))
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Action, On};
    use super::*;

    fn plan(actions: &[Action]) -> Plan {
        let actions = actions.iter().map(|&action| (0, action)).collect();
        Plan { on: On::Mapping, pages: 1, actions, ops: 1, sparse: false, seed: 0 }
    }

    #[test]
    fn what_was_there_is_right_and_what_was_not_is_not() {
        let words = Words::new(512, 256, false);
        let nobody = plan(&[]);
        let judge = |word: usize, found| words.judge(&nobody, word, found, words.known(word), 0);
        assert!(judge(5, value(5, 1)).is_ok());
        assert!(judge(300, 0).is_ok(), "a hole");
        for wrong in [0, value(5, 2), value(6, 1), 7] {
            assert!(judge(5, wrong).is_err(), "{wrong:#x}");
        }
        words.begin(5);
        assert!(judge(5, 7).is_ok(), "a store is under way");
        words.end(5, false, 0);
        assert!(
            judge(5, value(5, 1)).is_ok() && judge(5, value(5, 2)).is_ok(),
            "a store that failed, in part or not"
        );
        words.begin(5);
        words.end(5, true, 0);
        assert!(judge(5, value(5, 2)).is_err(), "older than a store that succeeded");
        assert!(judge(5, value(5, 3)).is_ok());
    }

    #[test]
    fn zeros_are_right_only_where_something_was_taken_since() {
        let words = Words::new(512, 512, false);
        let cut = plan(&[Action::SetLen(2048)]);
        let zero = |word, begun| words.judge(&cut, word, 0, words.known(word), begun);
        assert!(zero(255, 1).is_err(), "before the cut");
        assert!(zero(256, 0).is_err(), "before it was cut");
        assert!(zero(256, 1).is_ok());
        words.begin(256);
        words.end(256, true, 0);
        assert!(zero(256, 1).is_ok(), "the cut had not ended when the store began");
        words.begin(256);
        words.end(256, true, 1);
        assert!(zero(256, 1).is_err(), "stored after the cut");
        let punched = plan(&[Action::Punch(8, 16)]);
        let zero = |word| words.judge(&punched, word, 0, words.known(word), 1);
        assert!(zero(1).is_ok() && zero(0).is_err() && zero(2).is_err());
    }

    #[test]
    fn every_word_has_one_owner_and_runs_lie_across_pages() {
        for word in 0..4096 {
            let run = Words::run_from(word);
            assert!((word..word + run).all(|other| Words::owner(other) == Words::owner(word)));
        }
        assert_eq!(Words::owner(511), Words::owner(512));
    }
}
