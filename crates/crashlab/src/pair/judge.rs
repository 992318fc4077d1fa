//! What became of a pair whose journal is not what was written: recovered, or refused with nothing changed.

use std::sync::Arc;

use steadfast::disk::SimDisk;
use steadfast::store::{Recovery, Resolution, recover_on};
use steadfast::{AtomicMapping, Error, ErrorKind};

use super::{DATA, JOURNAL, Pair};
use crate::history::difference;

/// In every complaint of a state that is none, or not the one that was told.
pub const WRONG_STATE: &str = "another state found";

/// How it ended well.
#[derive(Debug)]
pub enum Outcome {
    /// The last state.
    Exact,
    /// An earlier state, from which on nothing is known to have been durable; said to be one with a torn tail, or not.
    Dropped {
        /// Its commit.
        id: u64,
        /// `Recovery::torn_tail`.
        reported: bool,
    },
    /// An error, and nothing was changed.
    Refused(Error),
}

/// Recovers the pair with this journal, by `recover` and by opening it, and says what is wrong with the result.
pub fn judge(pair: &Pair, journal: &[u8]) -> Result<Outcome, String> {
    let disk = pair.disk(journal)?;
    let outcome = match recover_on(Arc::new(disk.clone()), DATA, Resolution::Replay) {
        Ok(recovery) => found(pair, journal, &disk, &recovery)?,
        Err(error) => refused(pair, journal, &disk, error)?,
    };
    opened_as_well(pair, journal, &disk, &outcome)?;
    Ok(outcome)
}

/// A recovery that says it did.
pub fn found(pair: &Pair, journal: &[u8], disk: &SimDisk, recovery: &Recovery) -> Result<Outcome, String> {
    let data = disk.read_file(DATA).unwrap_or_default();
    let id = recovery.last.get();
    let Some((_, state)) = pair.states.iter().find(|(known, _)| *known == id) else {
        return Err(format!("recovered to commit {id}, which this journal does not hold"));
    };
    if data != ***state {
        return Err(format!("commit {id} was told and {WRONG_STATE}: {}", difference(&data, state)));
    }
    let durable = pair.durable(journal);
    if id < durable {
        return Err(format!("commit {id} was found although the journal says that {durable} was durable"));
    }
    settled(disk)?;
    let exact = id == pair.last().0;
    Ok(if exact { Outcome::Exact } else { Outcome::Dropped { id, reported: recovery.torn_tail } })
}

/// After a recovery a plain file stands there, and another recovery does nothing.
pub fn settled(disk: &SimDisk) -> Result<(), String> {
    let data = disk.read_file(DATA);
    if disk.exists(JOURNAL) || disk.mark_of(DATA).is_some() {
        return Err("after the recovery a journal or a mark is left".into());
    }
    let again = recover_on(Arc::new(disk.clone()), DATA, Resolution::Replay)
        .map_err(|error| format!("a second recovery fails: {error}"))?;
    if again.journal_found || disk.read_file(DATA) != data {
        return Err("a second recovery changed something".into());
    }
    Ok(())
}

/// A recovery that refuses.
pub fn refused(pair: &Pair, journal: &[u8], disk: &SimDisk, error: Error) -> Result<Outcome, String> {
    if disk.read_file(DATA).as_ref() != Some(&pair.data)
        || disk.mark_of(DATA) != pair.mark
        || disk.read_file(JOURNAL).as_deref() != Some(journal)
        || disk.exists(format!("{JOURNAL}.fresh"))
    {
        return Err(format!("refused, and something was changed all the same: {error}"));
    }
    let text = error.to_string();
    if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Identity | ErrorKind::Unsupported) {
        return Err(format!("refused as {:?}: {text}", error.kind()));
    }
    if !text.contains(DATA) || !text.contains("; ") || text.contains('\n') {
        return Err(format!("refused in words that do not say what and what to do: {text:?}"));
    }
    Ok(Outcome::Refused(error))
}

/// Opening for commits finds what recovering found.
fn opened_as_well(pair: &Pair, journal: &[u8], recovered: &SimDisk, outcome: &Outcome) -> Result<(), String> {
    let disk = pair.disk(journal)?;
    let options = AtomicMapping::options().journal_bytes(8 * 4096).stepped(0);
    match (options.load_on(Arc::new(disk.clone()), DATA), outcome) {
        (Err(error), Outcome::Refused(first)) if error.to_string() == first.to_string() => {
            refused(pair, journal, &disk, error).map(drop)
        }
        (Ok(map), Outcome::Exact | Outcome::Dropped { .. }) => {
            let want = recovered.read_file(DATA).unwrap_or_default();
            if map[..] != want[..] {
                return Err(format!("opened, it shows another state: {}", difference(&map, &want)));
            }
            map.close().map_err(|error| format!("cannot be closed: {error}"))?;
            if disk.read_file(DATA) != Some(want) {
                return Err("closed, it holds another state".into());
            }
            Ok(())
        }
        (Ok(_), Outcome::Refused(first)) => Err(format!("opened, although recovery refuses: {first}")),
        (Err(error), _) => Err(format!("refused at open, and otherwise not recovered so: {error}")),
    }
}
