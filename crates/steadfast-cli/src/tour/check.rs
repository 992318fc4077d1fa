//! Compares every byte of the file with what must be there.
//!
//! Two states are right: that of the last acknowledged commit, and that of the one in flight when the child
//! died. A file with some edits of the commit in flight and not others is neither.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::model::Model;

/// The file is compared in windows of this size: each worker holds two of them.
const WINDOW_BYTES: u64 = 32 << 20;
/// More than this many workers only wait for memory.
const WORKERS_MAX: usize = 4;

/// What the comparison found.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The file is, byte for byte, in the state of this commit.
    Whole(u64),
    /// It is in neither state that is right.
    Wrong(Wrong),
}

/// How a file is wrong.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Wrong {
    /// The first offset that differs from the last acknowledged commit's state.
    pub(crate) offset: u64,
    /// The byte of that state; none where the file should have ended.
    pub(crate) expected: Option<u8>,
    /// The byte in the file; none where it has ended.
    pub(crate) found: Option<u8>,
    /// The last acknowledged commit.
    pub(crate) acknowledged: u64,
    /// Edits of the commit in flight.
    pub(crate) in_flight_edits: u64,
    /// How many of them are in the file.
    pub(crate) in_flight_edits_found: u64,
}

/// The first difference between the file and one state.
#[derive(Debug, Clone, Copy)]
struct Difference {
    offset: u64,
    expected: Option<u8>,
    found: Option<u8>,
}

/// Compares the file with the states of commits `acknowledged` and `acknowledged + 1`.
pub(crate) fn check(path: &Path, model: &Model, acknowledged: u64) -> io::Result<Outcome> {
    let file = File::open(path)?;
    let file_len = file.metadata()?.len();
    let candidates = [acknowledged, acknowledged + 1];
    let longest = candidates.map(|n| model.len_after(n)).into_iter().fold(file_len, u64::max);
    let windows = longest.div_ceil(WINDOW_BYTES);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);

    // Windows are handed out in order, so that no worker idles while another has a long stretch left.
    let next = AtomicU64::new(0);
    let work = || -> io::Result<[Option<Difference>; 2]> {
        let mut first = [None; 2];
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        loop {
            let window = next.fetch_add(1, Ordering::Relaxed);
            if window >= windows {
                return Ok(first);
            }
            let offset = window * WINDOW_BYTES;
            let len = (longest - offset).min(WINDOW_BYTES) as usize;
            expected.resize(len, 0);
            found.resize(len, 0);
            // Past the end of the file nothing is read, and nothing compared.
            let held = file_len.saturating_sub(offset).min(len as u64) as usize;
            file.read_exact_at(&mut found[..held], offset)?;

            model.base(offset, &mut expected);
            for n in 1..=acknowledged {
                model.advance(n, offset, &mut expected);
            }
            for (n, first) in candidates.into_iter().zip(&mut first) {
                if n > acknowledged {
                    model.advance(n, offset, &mut expected);
                }
                let right = model.len_after(n).saturating_sub(offset).min(len as u64) as usize;
                let difference = compare(offset, &expected[..right], &found[..held]);
                *first = earlier(*first, difference);
            }
        }
    };
    let results: Vec<io::Result<_>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut first = [None; 2];
    for result in results {
        for (first, found) in first.iter_mut().zip(result?) {
            *first = earlier(*first, found);
        }
    }
    Ok(match first {
        [None, _] => Outcome::Whole(acknowledged),
        [_, None] => Outcome::Whole(acknowledged + 1),
        [Some(difference), _] => Outcome::Wrong(Wrong {
            offset: difference.offset,
            expected: difference.expected,
            found: difference.found,
            acknowledged,
            in_flight_edits: model.edits(acknowledged + 1).count() as u64,
            in_flight_edits_found: edits_found(&file, model, acknowledged + 1),
        }),
    })
}

fn earlier(a: Option<Difference>, b: Option<Difference>) -> Option<Difference> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.offset < a.offset { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The first difference of two windows; that one is longer counts as one.
fn compare(offset: u64, expected: &[u8], found: &[u8]) -> Option<Difference> {
    if expected == found {
        return None;
    }
    let shared = expected.len().min(found.len());
    let at = expected.iter().zip(found).position(|(a, b)| a != b).unwrap_or(shared);
    Some(Difference {
        offset: offset + at as u64,
        expected: expected.get(at).copied(),
        found: found.get(at).copied(),
    })
}

/// How many edits of commit `n` are in the file: for the message only.
fn edits_found(file: &File, model: &Model, n: u64) -> u64 {
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    model
        .edits(n)
        .filter(|edit| {
            found.resize(edit.len, 0);
            expected.resize(edit.len, 0);
            edit.fill(&mut expected);
            file.read_exact_at(&mut found, edit.start).is_ok() && found == expected
        })
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::super::model::{EDIT_BYTES, RESIZE_EVERY};
    use super::*;

    /// A file in the state of commit `through`, and the first `more` edits of the next one.
    fn state(model: &Model, len: u64, through: u64, more: usize) -> tempfile::NamedTempFile {
        let mut bytes = vec![0; len as usize + (1 << 20)];
        model.base(0, &mut bytes);
        for n in 1..=through {
            model.advance(n, 0, &mut bytes);
        }
        for edit in model.edits(through + 1).take(more) {
            edit.fill(&mut bytes[edit.start as usize..][..edit.len]);
        }
        bytes.truncate(model.len_after(through) as usize);
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(&bytes, 0).unwrap();
        file
    }

    #[test]
    fn whole_states_are_told_from_torn_ones() {
        const LEN: u64 = 33 << 20;
        let model = Model::new(3, LEN);
        // A commit with several edits that does not resize.
        let n = (RESIZE_EVERY + 1..)
            .find(|n| model.edits(n + 1).count() > 20 && model.resize(n + 1).is_none())
            .unwrap();
        let edits = model.edits(n + 1).count();
        let check = |file: &tempfile::NamedTempFile| check(file.path(), &model, n).unwrap();

        assert!(matches!(check(&state(&model, LEN, n, 0)), Outcome::Whole(is) if is == n));
        assert!(matches!(check(&state(&model, LEN, n + 1, 0)), Outcome::Whole(is) if is == n + 1));
        for torn in [1, edits / 2, edits - 1] {
            match check(&state(&model, LEN, n, torn)) {
                Outcome::Wrong(wrong) => assert_eq!(wrong.in_flight_edits_found, torn as u64),
                whole => panic!("{torn} of {edits} edits passed for {whole:?}"),
            }
        }
        // One commit too few, one too many.
        assert!(matches!(check(&state(&model, LEN, n - 1, 0)), Outcome::Wrong(_)));
        assert!(matches!(check(&state(&model, LEN, n + 2, 0)), Outcome::Wrong(_)));
    }

    #[test]
    fn a_single_bit_and_a_single_byte_of_length_are_noticed() {
        const LEN: u64 = 40 << 20;
        let model = Model::new(4, LEN);
        let n = RESIZE_EVERY;
        for offset in [0, WINDOW_BYTES - 1, WINDOW_BYTES, model.len_after(n) - 1] {
            let file = state(&model, LEN, n, 0);
            let mut byte = [0];
            file.as_file().read_exact_at(&mut byte, offset).unwrap();
            file.as_file().write_all_at(&[byte[0] ^ 16], offset).unwrap();
            match check(file.path(), &model, n).unwrap() {
                Outcome::Wrong(wrong) => {
                    assert_eq!(
                        (wrong.offset, wrong.expected, wrong.found),
                        (offset, Some(byte[0]), Some(byte[0] ^ 16))
                    );
                }
                whole => panic!("{whole:?}"),
            }
        }
        let len = model.len_after(n);
        for wrong_len in [len - 1, len + 1, len + EDIT_BYTES.end] {
            let file = state(&model, LEN, n, 0);
            file.as_file().set_len(wrong_len).unwrap();
            match check(file.path(), &model, n).unwrap() {
                Outcome::Wrong(wrong) => assert_eq!(wrong.offset, len.min(wrong_len)),
                whole => panic!("{whole:?}"),
            }
        }
    }
}
