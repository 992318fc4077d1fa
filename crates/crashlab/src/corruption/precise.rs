//! What must become of damage at one place, beyond that no wrong state is found.

use steadfast::ErrorKind;

use super::cases::{Case, Kind};
use crate::pair::Pair;
use crate::pair::judge::Outcome;
use crate::pair::seal::{self, HEADER_BYTES, RECORD_BYTES, Record};

/// Is this outcome the right one, and told in the right words?
pub(super) fn check(pair: &Pair, case: &Case, outcome: &Outcome) -> Result<(), String> {
    let (kind, text) = match outcome {
        Outcome::Refused(error) => (Some(error.kind()), error.to_string()),
        _ => (None, String::new()),
    };
    match case.kind {
        // A journal in another's place: what it says is judged, not its bytes.
        Kind::Foreign => {
            return must(kind == Some(ErrorKind::Identity), "another file's journal is not refused");
        }
        Kind::Older => return Ok(()),
        Kind::Cut => {
            return must(
                kind.is_some() && (text.contains("was cut") || text.contains("not a journal")),
                "cut, and not refused so",
            );
        }
        Kind::Extended => return must(matches!(outcome, Outcome::Exact), "longer, and not the last state"),
        _ => {}
    }
    let damage = Damage::of(pair, &case.journal);
    if damage.header {
        let named = ["header is damaged (offset 0)", "is not a journal", "format version"];
        return must(named.iter().any(|words| text.contains(words)), "a damaged header is not named");
    }
    let anchors = seal::anchors(&pair.journal);
    let newest = anchors.last();
    let intact = seal::anchors(&case.journal);
    if intact.is_empty() {
        return must(
            text.contains("both anchors") && text.contains("offsets 4096 and 8192"),
            "the anchors are not named",
        );
    }
    if intact.last() != newest {
        // The chain is read from the older anchor: to the same end, or it is refused with the place where it ends.
        // A file that is closed but for its journal has no mark, and the older anchor has records.
        let named = [" at journal offset ", "older than the file", "does not carry the journal's mark"];
        let named = named.iter().any(|words| text.contains(words));
        // A block that was moved may have been a record's, too: then the anchor is not all that is gone.
        let also = damage.record.is_some() && matches!(outcome, Outcome::Dropped { .. });
        return must(matches!(outcome, Outcome::Exact) || named || also, "a damaged anchor is not named");
    }
    let Some((before, record)) = damage.record else {
        return must(
            matches!(outcome, Outcome::Exact),
            "nothing that counts is damaged, and it is not the last state",
        );
    };
    if pair.durable(&case.journal) >= record.id {
        // A block that went elsewhere may be named where it stands now.
        let at = match case.kind {
            Kind::Swap | Kind::Duplicate => " at journal offset ".to_owned(),
            _ => format!(" at journal offset {} ", record.at),
        };
        let id = format!("commit {}", record.id);
        let older = text.contains("older than the file");
        // A number may be left out between two commits: a header that is gone does not tell.
        let next = format!("commit {}", before + 1);
        let named = text.contains(&at) && (text.contains(&id) || text.contains(&next));
        return must(named || older, "the damaged record is not named");
    }
    match outcome {
        Outcome::Dropped { id, reported } => {
            must(*id == before, "more than the damaged record was dropped")?;
            // Nothing is left of a record of which the first block is gone.
            let lost = damage.head_is_gone;
            must(*reported || lost, "a record was dropped, and it is not reported")
        }
        // Nothing in the journal says that it was durable; but the data file has its length.
        Outcome::Refused(_) if text.contains("none that the journal knows") => Ok(()),
        _ => Err(format!("record {} was damaged, and the outcome is {outcome:?}", record.id)),
    }
}

fn must(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// Which parts of a journal that count are not as they were.
struct Damage {
    header: bool,
    /// The first record of the chain that is not as it was, and the commit before it.
    record: Option<(u64, Record)>,
    /// Nothing is left of that record's header.
    head_is_gone: bool,
}

impl Damage {
    fn of(pair: &Pair, journal: &[u8]) -> Damage {
        let differs = |range: std::ops::Range<usize>| journal.get(range.clone()) != pair.journal.get(range);
        let anchor = seal::anchors(&pair.journal).last().copied();
        let chain = anchor.map(|anchor| seal::chain(&pair.journal, &anchor)).unwrap_or_default();
        let before = anchor.map_or(0, |anchor| anchor.through);
        let ids = [before].into_iter().chain(chain.iter().map(|record| record.id));
        let record = ids.zip(&chain).find(|(_, record)| differs(record.range()));
        let head_is_gone = record.as_ref().is_some_and(|(_, record)| {
            let head = |journal: &[u8]| journal[record.at..record.at + RECORD_BYTES].to_vec();
            let (was, is) = (head(&pair.journal), head(journal));
            was[..8] == is[..8]
                && is[8..] != was[8..]
                && is[48..56] != was[48..56]
                && is[32..40] != was[32..40]
                || is[..8] != was[..8] && is[48..56] != was[48..56]
        });
        Damage {
            header: differs(0..HEADER_BYTES),
            record: record.map(|(before, record)| (before, record.clone())),
            head_is_gone,
        }
    }
}
