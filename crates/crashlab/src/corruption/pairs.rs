//! Pairs that a drawn workload left when it was stopped somewhere.

use std::sync::Arc;

use rand::RngExt;
use steadfast::disk::SimDisk;
use steadfast::store::{Resolution, recover_on};
use steadfast::{AtomicMapping, AtomicOptions, Error};

use crate::history::{Content, History, Told};
use crate::outcome::Failure;
use crate::pair::{DATA, JOURNAL, Pair};
use crate::workload::{MapPlan, Profile, Scale, Stage, Workload, draws, play};

const SCALE: Scale = Scale { pages_max: 6, steps_max: 40, journal_pages_max: 12, views: false };

/// One map on a simulated disk.
struct Simulated(SimDisk);

impl Stage for Simulated {
    fn open(&self, map: usize, plan: &MapPlan, options: AtomicOptions) -> Result<AtomicMapping, Error> {
        let path = if map == 0 { DATA.to_owned() } else { format!("{DATA}{map}") };
        options.stepped(plan.checkpoint_steps).load_on(Arc::new(self.0.clone()), path)
    }
}

/// A pair, what made it, and the journals that stood there before.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// What made it.
    pub(super) name: String,
    pub(super) pair: Pair,
    /// The journal at earlier points of the session, or of a session before it.
    pub(super) earlier: Vec<Vec<u8>>,
}

/// Most sessions leave a pair: of so many at least one, or what is tried is not what was asked for.
const PAIR_OF_ONE_IN: u64 = 4;

/// The pairs of so many drawn sessions.
///
/// # Errors
///
/// [`Failure::Violation`] if a pair that nobody damaged is not recovered, [`Failure::Rig`] if too few sessions leave one.
pub(super) fn drawn(seed: u64, sessions: u64) -> Result<Vec<Made>, Failure> {
    let mut all = Vec::new();
    for number in 0..sessions {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(number);
        all.extend(drawn_one(seed, 100 + number)?);
    }
    enough(all.len(), sessions).map(|()| all)
}

fn enough(pairs: usize, sessions: u64) -> Result<(), Failure> {
    if (pairs as u64) < sessions / PAIR_OF_ONE_IN {
        return Err(Failure::Rig(format!("{sessions} drawn sessions left {pairs} pairs only")));
    }
    Ok(())
}

/// The pair of a workload that is killed at one of its operations; `None` if it has no journal or no mark there.
fn drawn_one(seed: u64, number: u64) -> Result<Option<Made>, Failure> {
    let mut random = draws(seed);
    let profile = Profile::ALL[random.random_range(0..Profile::ALL.len())];
    let workload = Workload::generate(seed, profile, SCALE);
    let whole = run(&workload, 0).map_err(Failure::Rig)?;
    let operations = whole.disk.operations();
    let stop = random.random_range(operations / 4..operations.max(1)) + 1;
    let name = format!("{profile} seed {seed} killed at operation {stop}");
    // Under the same numbers each time, so that it is a journal of this file.
    let left_at = |stop: u64| {
        left(&run(&workload, stop).map_err(Failure::Rig)?, number).map_err(|failure| {
            let told = |what| format!("{profile} seed {seed} killed at operation {stop}: {what}");
            match failure {
                Failure::Violation(what) => Failure::Violation(told(what)),
                Failure::Rig(what) => Failure::Rig(told(what)),
                other => other,
            }
        })
    };
    let Some(pair) = left_at(stop)? else { return Ok(None) };
    let mut journals = Vec::new();
    for point in (1..stop).step_by((stop as usize / 12).max(1)) {
        journals.extend(left_at(point)?.map(|pair| pair.journal));
    }
    Ok(Some(Made { name, pair, earlier: journals }))
}

struct Run {
    disk: SimDisk,
    history: History,
    /// How often the file was opened: each begins under another identity, since it was closed before.
    opened: u64,
}

fn run(workload: &Workload, stop: u64) -> Result<Run, String> {
    let disk = SimDisk::new();
    for map in 0..workload.maps.len() {
        if workload.maps[map].initial_bytes.is_some() {
            let path = if map == 0 { DATA.to_owned() } else { format!("{DATA}{map}") };
            disk.put_file(path, &workload.initial(map));
        }
    }
    disk.stop_at(stop);
    let mut history = History::new(workload.initial(0));
    let mut opened = 0;
    let played = play(workload, &Simulated(disk.clone()), &mut |map, told| {
        if map == 0 {
            opened += u64::from(matches!(told, Told::Opening));
            history.hear(told);
        }
    });
    match played {
        Err(error) if !disk.is_stopped() => Err(format!("the workload fails by itself: {error}")),
        _ => Ok(Run { disk, history, opened }),
    }
}

/// The pair on a disk; `None` if there is no journal or no mark. Undamaged, it must be recovered to an allowed state.
fn left(run: &Run, number: u64) -> Result<Option<Pair>, Failure> {
    let disk = run.disk.killed();
    // Without a mark it is closed but for the journal: there is nothing to recover.
    if !disk.exists(JOURNAL) || disk.mark_of(DATA).is_none() {
        return Ok(None);
    }
    let recovered = disk.killed();
    recover_on(Arc::new(recovered.clone()), DATA, Resolution::Replay)
        .map_err(|error| Failure::Violation(format!("undamaged, and refused: {error}")))?;
    let last = recovered.read_file(DATA).unwrap_or_default();
    let until = run
        .history
        .judge(&last)
        .map_err(|what| Failure::Violation(format!("undamaged, and recovered to another state: {what}")))?;
    // The one that recovery finds is the last of them here.
    let states: &[Content] = &run.history.states[..=until];
    let pair = Pair::of(&disk, states, number << 16 | run.opened);
    pair.map(Some).map_err(|what| Failure::Rig(format!("no pair was made: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session that leaves a pair.
    fn one() -> Run {
        let workload = Workload::generate(1, Profile::ALL[0], SCALE);
        let operations = run(&workload, 0).unwrap().disk.operations();
        let runs = (operations / 2..operations).map(|stop| run(&workload, stop).unwrap());
        runs.into_iter().find(|run| run.history.durable > 1 && left(run, 1).unwrap().is_some()).unwrap()
    }

    #[test]
    fn a_pair_that_is_not_recovered_to_what_was_told_is_no_pair_but_a_violation() {
        let mut run = one();
        for state in &mut run.history.states {
            Arc::make_mut(state).push(7);
        }
        let Err(Failure::Violation(what)) = left(&run, 1) else { panic!("not noticed") };
        assert!(what.contains("never was"), "{what}");
    }

    #[test]
    fn a_pair_that_lost_what_was_acknowledged_is_a_violation() {
        let mut run = one();
        // As if more had been acknowledged.
        let newer = Arc::new(vec![1, 2, 3]);
        run.history.hear(Told::Begun(newer));
        run.history.hear(Told::Durable(run.history.last()));
        assert!(matches!(left(&run, 1), Err(Failure::Violation(_))));
    }

    #[test]
    fn a_pair_that_recovery_refuses_is_a_violation() {
        let run = one();
        let mut journal = run.disk.killed().read_file(JOURNAL).unwrap();
        journal[..4096].fill(0xa5);
        let disk = run.disk.killed();
        disk.put_file(JOURNAL, &journal);
        let run = Run { disk, ..run };
        let Err(Failure::Violation(what)) = left(&run, 1) else { panic!("not noticed") };
        assert!(what.contains("refused"), "{what}");
    }

    #[test]
    fn sessions_that_leave_too_few_pairs_are_the_rigs_failure() {
        assert!(drawn(1, 12).is_ok_and(|pairs| pairs.len() >= 3));
        assert!(matches!(enough(2, 12), Err(Failure::Rig(_))));
    }
}
