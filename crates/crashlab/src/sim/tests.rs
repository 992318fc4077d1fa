//! Planted bugs are found, found again, and told shortly.

use steadfast::disk::{Disk, SimDisk, SyncPoint};

use super::case::file;
use super::judge::{Known, check};
use super::*;
use crate::history::History;
use crate::workload::{Workload, draws};

fn found(ignored: SyncPoint, states: u64) -> Found {
    match search(7, states, 2, Some(ignored)).unwrap() {
        Ok(tallies) => {
            let states: u64 = tallies.iter().map(|tally| tally.states).sum();
            panic!("{ignored:?} was left out and {states} states held")
        }
        Err(found) => *found,
    }
}

#[test]
fn every_sync_that_is_left_out_is_found_and_found_again() {
    // Nobody scrubs, copies or reads there.
    use SyncPoint::{Copy, CopyName, Scrub, Shown, ShownName};
    let points = SyncPoint::ALL
        .into_iter()
        .filter(|point| !matches!(point, Scrub | Copy | CopyName | Shown | ShownName));
    for point in points {
        let Found { case, violation, .. } = found(point, 20_000);
        println!("without {point:?}, case {:#x}: {violation}", case.seed);
        let again = Case { ignored: Some(point), ..Case::of_seed(case.seed) };
        assert_eq!(again, case);
        assert_eq!(again.walk(Depth::ONE_OF_MANY).unwrap_err().to_string(), violation.to_string());
    }
}

#[test]
fn what_is_found_is_shrunk() {
    for (point, most) in [(SyncPoint::Record, 5), (SyncPoint::Checkpoint, 8), (SyncPoint::Unmark, 5)] {
        let Found { case, violation, .. } = found(point, 20_000);
        let shrunk = shrink::shrink(&case, violation);
        println!("{point:?}: {} tries\n{}\n{}", shrunk.tries, shrunk.text(), shrunk.violation);
        assert!(shrunk.case.workload.steps.len() <= most, "{}", shrunk.text());
        let Failure::Violation(text) = told(&case, shrunk.violation) else {
            panic!("told as something else")
        };
        assert!(text.contains(&format!("crashlab sim --case {:#x}", case.seed)), "{text}");
    }
}

#[test]
fn nothing_is_found_where_nothing_is_planted() {
    let figures = attempt(3, 10_000, 2).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{figures}");
    assert!(
        figures.in_recovery_share >= 0.1
            && figures.torn > 0
            && figures.gone_on > 0
            && figures.new_commit_found > 0
    );
    assert!(figures.by_profile.iter().all(|of| of.states > 0));
}

#[test]
fn one_thread_tries_what_two_do() {
    for number in 0..10 {
        let case = Case::of_seed(case_seed(11, number));
        let tally = case.walk(Depth::ONE_OF_MANY).unwrap();
        assert_eq!(one(case.seed).unwrap().states, tally.states);
    }
}

#[test]
fn seeds_are_read_as_they_are_told() {
    assert_eq!(number(&format!("{:#x}", u64::MAX)), Ok(u64::MAX));
    assert_eq!(number("10"), Ok(10));
}

#[test]
fn the_judge_sees_a_changed_byte_an_old_state_and_a_file_that_is_gone() {
    let mut case = Case::of_seed(0);
    case.workload = Workload { close: true, ..case.workload };
    let played = case.play(None, false);
    let judge = |disk: &SimDisk, history: &History| {
        let known = [Known { history: history.clone(), created: false }];
        check(&disk.killed(), &known, true, &mut draws(1), &mut Tally::default())
    };
    let mut history = played.histories[0].clone();
    judge(&played.disk, &history).unwrap();

    let mut bytes = played.disk.read_file(file(0)).unwrap();
    bytes[0] ^= 1;
    let changed = played.disk.killed();
    changed.put_file(file(0), &bytes);
    assert!(judge(&changed, &history).unwrap_err().contains("the plain file differs"));
    history.closed = None;
    assert!(judge(&changed, &history).unwrap_err().contains("a state that never was"));
    let old = played.disk.killed();
    old.put_file(file(0), &history.states[0]);
    assert!(judge(&old, &history).unwrap_err().contains("found state 0"));
    old.remove(file(0).as_ref()).unwrap();
    assert!(judge(&old, &history).unwrap_err().contains("the data file is gone"));
}
