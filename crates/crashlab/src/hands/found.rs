//! What is found of a file after a round: in its journal, after its recovery, and when it is opened and used again.

use std::fs;
use std::path::Path;

use steadfast::{AtomicMapping, Resolution, recover};

use super::atomic::{Live, PAGES_MAX, Side};
use super::child::{Round, violated};
use super::plan::{Action, Place, Plan};
use crate::history::difference;
use crate::kills::judge::journal_of;
use crate::workload::PAGE;

/// What stands where no record says anything.
const CANVAS: u8 = 0xee;

/// Judges it all.
pub(super) fn judge(side: &Side<'_>, live: &Live, round: &Round<'_>, begun: u64) -> Result<(), String> {
    let name = side.script.name();
    let path = &side.path;
    let named = |why: String| format!("{name}: {why}");
    let foreign = begun > 0 && matches!(round.place, Place::Disk | Place::Memory);
    if journal_of(path).exists() {
        // A look at the file cannot see what is cut and made longer between two looks, and a view has no memory of its own to tell by.
        let lost = |at: u64| foreign && side.script.is_view() && round.plan.takes(at, 0..begun);
        let zeros = recorded(path, live, round.scratch, lost).map_err(named)?;
        side.count(|counts| {
            counts.journals_judged += 1;
            counts.zeros_recorded += u64::from(zeros);
        });
    }
    if foreign {
        recover_after_hands(path, live, round.plan, begun).map_err(named)?;
    } else {
        if !live.closed {
            copied(path, live, round.scratch).map_err(|why| named(format!("a copy: {why}")))?;
        }
        let recovery = recover(path, Resolution::Replay);
        recovery.map_err(|error| named(violated("a recovery after the round", &error)))?;
        let bytes = fs::read(path).map_err(|error| format!("rig: {error}"))?;
        whole_commit(&bytes, live).map_err(named)?;
    }
    side.count(|counts| counts.files_judged += 1);
    usable(path).map_err(named)
}

/// The state of an allowed commit, whole.
fn whole_commit(bytes: &[u8], live: &Live) -> Result<(), String> {
    let allowed = live.durable..=live.begun();
    if live.states[allowed.clone()].iter().any(|state| state == bytes) {
        return Ok(());
    }
    let once = live.states.iter().position(|state| state == bytes);
    Err(format!(
        "found state {once:?} (none: it never was), allowed {allowed:?}; against the newest: {}",
        difference(bytes, &live.states[live.begun()])
    ))
}

/// The records of a journal, laid over a file that nothing else was ever in: whatever they say is of one commit, and no zeros stand for bytes that
/// were taken away. Says whether zeros stand where something was `lost`.
fn recorded(path: &Path, live: &Live, scratch: &Path, lost: impl Fn(u64) -> bool) -> Result<bool, String> {
    let rig = |error: std::io::Error| format!("rig: a canvas: {error}");
    let folder = tempfile::tempdir_in(scratch).map_err(rig)?;
    let canvas = folder.path().join("canvas");
    fs::copy(journal_of(path), journal_of(&canvas)).map_err(rig)?;
    // A file that was adopted may be longer than any that the script makes.
    let longest = live.states.iter().map(Vec::len).max().unwrap_or(0);
    fs::write(&canvas, vec![CANVAS; longest.max(PAGES_MAX * PAGE)]).map_err(rig)?;
    let recovery = recover(&canvas, Resolution::Adopt)
        .map_err(|error| violated("its journal cannot be adopted", &error))?;
    if recovery.replayed_commits == 0 {
        return Ok(false);
    }
    let bytes = fs::read(&canvas).map_err(rig)?;
    let allowed = &live.states[live.durable..];
    match says_one_commit(&bytes, allowed, |_| false) {
        Ok(()) => Ok(false),
        Err(_) => says_one_commit(&bytes, allowed, lost).map(|()| true),
    }
}

/// Every byte that is no canvas is of one of these states, except where something was `lost`: there it may be zero, or of an earlier one.
fn says_one_commit(bytes: &[u8], allowed: &[Vec<u8>], lost: impl Fn(u64) -> bool) -> Result<(), String> {
    let differs = |state: &Vec<u8>| {
        if state.len() != bytes.len() {
            return Some(format!("a length of {} for {}", bytes.len(), state.len()));
        }
        let wrong = |at: usize| bytes[at] != state[at] && bytes[at] != CANVAS && !lost(at as u64);
        let at = (0..bytes.len()).find(|&at| wrong(at))?;
        Some(format!("byte {at} is {} for {}", bytes[at], state[at]))
    };
    let mut why = String::new();
    for state in allowed {
        match differs(state) {
            None => return Ok(()),
            Some(what) => why = what,
        }
    }
    Err(format!("the journal records what no commit was: against the newest, {why}"))
}

/// A copy of file and journal, elsewhere, recovers to a whole commit.
fn copied(path: &Path, live: &Live, scratch: &Path) -> Result<(), String> {
    let rig = |error: std::io::Error| format!("rig: a copy: {error}");
    let folder = tempfile::tempdir_in(scratch).map_err(rig)?;
    let copy = folder.path().join("copy");
    fs::copy(path, &copy).map_err(rig)?;
    let journal = journal_of(path);
    if journal.exists() {
        fs::copy(&journal, journal_of(&copy)).map_err(rig)?;
    }
    let mut mark = [0; 256];
    if let Ok(len) = rustix::fs::lgetxattr(path, "user.steadfast", &mut mark[..]) {
        let copied =
            rustix::fs::lsetxattr(&copy, "user.steadfast", &mark[..len], rustix::fs::XattrFlags::empty());
        copied.map_err(|error| rig(error.into()))?;
    }
    recover(&copy, Resolution::Replay).map_err(|error| violated("a recovery of a copy", &error))?;
    whole_commit(&fs::read(&copy).map_err(rig)?, live)
}

/// What the hand left is taken as it is, with the journal over it, or without.
fn recover_after_hands(path: &Path, live: &Live, plan: &Plan, begun: u64) -> Result<(), String> {
    let done = &plan.actions[..(begun as usize).min(plan.actions.len())];
    let renamed = done.iter().any(|(_, action)| action.takes_name());
    let resized = done.iter().any(|(_, action)| matches!(action, Action::SetLen(_)));
    if !path.exists() {
        fs::write(path, b"").map_err(|error| format!("rig: {error}"))?;
    }
    let how = if plan.seed.is_multiple_of(2) { Resolution::Adopt } else { Resolution::Discard };
    recover(path, how)
        .map_err(|error| violated(&format!("a recovery by {how:?} after the round"), &error))?;
    if how == Resolution::Discard || renamed {
        return Ok(());
    }
    let bytes = fs::read(path).map_err(|error| format!("rig: {error}"))?;
    left_alone(&bytes, &live.states[live.durable..], resized, |at| plan.takes(at, 0..begun))
}

/// Bytes that nobody took are those of one of these states.
fn left_alone(
    bytes: &[u8],
    allowed: &[Vec<u8>],
    resized: bool,
    taken: impl Fn(u64) -> bool,
) -> Result<(), String> {
    let differs = |state: &Vec<u8>| {
        if !resized && state.len() != bytes.len() {
            return Some(format!("a length of {} for {}", bytes.len(), state.len()));
        }
        let at = (0..bytes.len().min(state.len())).find(|&at| bytes[at] != state[at] && !taken(at as u64))?;
        Some(format!("byte {at} is {} for {}", bytes[at], state[at]))
    };
    let mut why = String::new();
    for state in allowed {
        match differs(state) {
            None => return Ok(()),
            Some(what) => why = what,
        }
    }
    Err(format!("bytes that nobody took are of no commit that may be found: against the newest, {why}"))
}

/// It can be opened, changed and closed as if nothing had happened.
fn usable(path: &Path) -> Result<(), String> {
    let again = || {
        let mut map = AtomicMapping::options().allow_volatile(true).load(path)?;
        map.resize(map.len().max(100))?;
        map.write_at(3, b"again")?;
        map.commit()?;
        map.close()
    };
    again().map_err(|error| violated("work after the round", &error))?;
    let bytes = fs::read(path).map_err(|error| format!("rig: {error}"))?;
    if bytes.get(3..8) != Some(b"again") || journal_of(path).exists() {
        return Err("work after the round is not in the file".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_in_a_journal_that_no_commit_made_are_noticed() {
        let states = [vec![1, 2, 3], vec![1, 9, 3]];
        let nothing = |_| false;
        assert!(says_one_commit(&[CANVAS, 9, CANVAS], &states, nothing).is_ok());
        assert!(says_one_commit(&[CANVAS, 0, CANVAS], &states, nothing).is_err());
        assert!(says_one_commit(&[CANVAS, 9], &states, nothing).is_err());
        assert!(says_one_commit(&[CANVAS, 0, CANVAS], &states, |at| at == 1).is_ok());
        assert!(says_one_commit(&[CANVAS, 0, CANVAS], &states, |at| at == 2).is_err());
    }

    #[test]
    fn what_nobody_took_must_be_of_one_commit() {
        let states = [vec![1, 2, 3], vec![4, 5, 3]];
        let cut = |at| at >= 2;
        assert!(left_alone(&[4, 5, 0], &states, false, cut).is_ok());
        assert!(left_alone(&[4, 5], &states, true, cut).is_ok());
        assert!(left_alone(&[4, 5], &states, false, cut).is_err());
        assert!(left_alone(&[1, 5, 0], &states, false, cut).is_err(), "a mix");
        assert!(left_alone(&[0, 5, 3], &states, false, cut).is_err());
    }
}
