//! The plain model of the programs that store all over a file: the file after each version, and which of them was found.

use std::sync::Arc;

use super::Found;
use crate::history::{Content, History};

/// The file's length.
pub(super) const LEN: usize = 16 << 20;
const RECORDS: u64 = 512;
const RECORD_WORDS_MAX: u64 = 256;
const PAGE: usize = 4096;

/// The programs have it too: see `crates/programs/kill/scatter.py`.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The file before the first version.
pub(super) fn initial(seed: u64) -> Vec<u8> {
    let words = (0..LEN as u64 / 8).map(|at| mix(seed.wrapping_add(at)));
    words.flat_map(u64::to_le_bytes).collect()
}

/// Stores what a version stores.
fn advance(state: &mut [u8], seed: u64, version: u64) {
    let begin = mix(seed ^ mix(version));
    for number in 0..RECORDS {
        let size = mix(begin.wrapping_add(number));
        let words = 1 + (size % RECORD_WORDS_MAX) as usize;
        let place = mix(size);
        let at = (place % (state.len() - 8 * words + 1) as u64) as usize;
        state[at..at + 8 * words].copy_from_slice(&mix(place).to_le_bytes().repeat(words));
    }
}

/// The file before the first version, and after each of so many.
pub(crate) fn states(seed: u64, versions: u64) -> Vec<Content> {
    let mut state = initial(seed);
    let mut states = vec![Arc::new(state.clone())];
    for version in 1..=versions {
        advance(&mut state, seed, version);
        states.push(Arc::new(state.clone()));
    }
    states
}

/// Which of these states is it? It may be one that this history allows, and no other.
pub(crate) fn judge_by(history: &History, found: &[u8]) -> Found {
    let allowed = history.allowed();
    let known = history.states.iter().rposition(|state| state.as_slice() == found);
    match known {
        Some(state) if allowed.contains(&state) => Found::Sound(state as u64),
        Some(state) => Found::Lost(state as u64),
        None if found.len() != LEN => Found::Torn(format!("the file is {} bytes long", found.len())),
        None => {
            let [before, after] = [allowed.start(), allowed.end()].map(|&state| &history.states[state]);
            Found::Torn(mixture(found, before, after, *allowed.start() as u64, *allowed.end() as u64))
        }
    }
}

/// Which version is it? The one behind the last acknowledged may have been begun, and no other.
pub(super) fn judge(seed: u64, found: &[u8], acknowledged: u64) -> Found {
    if found.len() != LEN {
        return Found::Torn(format!("the file is {} bytes long", found.len()));
    }
    let mut state = initial(seed);
    let mut lost = (found == state).then_some(0);
    for version in 1..=acknowledged {
        advance(&mut state, seed, version);
        if found == state {
            lost = Some(version);
        }
    }
    if lost == Some(acknowledged) {
        return Found::Sound(acknowledged);
    }
    let before = state.clone();
    advance(&mut state, seed, acknowledged + 1);
    match lost {
        _ if found == state => Found::Sound(acknowledged + 1),
        Some(version) => Found::Lost(version),
        None => Found::Torn(mixture(found, &before, &state, acknowledged, acknowledged + 1)),
    }
}

/// What a file that is of no version is made of.
fn mixture(found: &[u8], before: &[u8], after: &[u8], old_version: u64, new_version: u64) -> String {
    let (mut old, mut new, mut both, mut neither) = (0, 0, 0, Vec::new());
    let pages = found.chunks(PAGE).zip(before.chunks(PAGE)).zip(after.chunks(PAGE)).enumerate();
    for (number, ((found, before), after)) in pages {
        match (found == before, found == after) {
            (true, true) => {}
            (true, false) => old += 1,
            (false, true) => new += 1,
            (false, false) => {
                let bytes = found.iter().zip(before).zip(after);
                let foreign =
                    bytes.clone().position(|((found, before), after)| found != before && found != after);
                match foreign {
                    Some(at) => neither.push(number * PAGE + at),
                    None => both += 1,
                }
            }
        }
    }
    let mut text =
        format!("{old} pages are of version {old_version}, {new} of version {new_version}, {both} of both");
    if let Some(at) = neither.first() {
        text += &format!(", {} of neither (the first at byte {at})", neither.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judge_knows_each_state_and_every_mixture() {
        let mut state = initial(7);
        let first = state.clone();
        advance(&mut state, 7, 1);
        let second = state.clone();
        advance(&mut state, 7, 2);
        assert_eq!(judge(7, &first, 0), Found::Sound(0));
        assert_eq!(judge(7, &second, 0), Found::Sound(1), "begun, not acknowledged");
        assert_eq!(judge(7, &second, 1), Found::Sound(1));
        assert_eq!(judge(7, &first, 1), Found::Lost(0));
        assert!(matches!(judge(7, &state, 0), Found::Torn(_)), "a version that was not begun");
        assert!(matches!(judge(7, &state[1..], 2), Found::Torn(_)), "another length");
        // Each page of the newer state that is missing, and each byte that nobody stored.
        let changed: Vec<usize> = (0..LEN / PAGE)
            .filter(|page| second[page * PAGE..][..PAGE] != state[page * PAGE..][..PAGE])
            .collect();
        assert!(changed.len() > 512, "{}", changed.len());
        for page in [changed[0], changed[changed.len() / 2], changed[changed.len() - 1]] {
            let mut torn = state.clone();
            torn[page * PAGE..][..PAGE].copy_from_slice(&second[page * PAGE..][..PAGE]);
            let Found::Torn(what) = judge(7, &torn, 1) else { panic!("page {page}") };
            assert!(what.starts_with("1 pages are of version 1, "), "{what}");
        }
        let history = |durable: usize, begun: usize| History {
            states: states(7, 3)[..=begun].to_vec(),
            durable,
            ..History::default()
        };
        assert_eq!(judge_by(&history(1, 2), &second), Found::Sound(1));
        assert_eq!(judge_by(&history(1, 2), &state), Found::Sound(2));
        assert_eq!(judge_by(&history(1, 2), &first), Found::Lost(0));
        assert!(matches!(judge_by(&history(1, 1), &state), Found::Torn(_)), "a version that was not begun");
        let mut torn = state.clone();
        torn[changed[1] * PAGE..][..PAGE].copy_from_slice(&second[changed[1] * PAGE..][..PAGE]);
        assert!(
            matches!(judge_by(&history(1, 2), &torn), Found::Torn(what) if what.starts_with("1 pages are of version 1, "))
        );
        assert!(matches!(judge_by(&history(1, 2), &state[1..]), Found::Torn(_)), "another length");
        for at in [0, LEN / 2, LEN - 1] {
            let mut spoilt = state.clone();
            spoilt[at] ^= 1;
            assert!(matches!(judge(7, &spoilt, 2), Found::Torn(_)), "byte {at}");
        }
    }
}
