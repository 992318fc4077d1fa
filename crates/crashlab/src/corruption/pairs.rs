//! Pairs that a drawn workload left when it was stopped somewhere.

use std::sync::Arc;

use rand::RngExt;
use steadfast::disk::SimDisk;
use steadfast::store::{Resolution, recover_on};
use steadfast::{AtomicMapping, AtomicOptions, Error};

use crate::history::{Content, History, Told};
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

/// The pair of a workload that is killed at one of its operations; `None` if it has no journal there.
pub(super) fn drawn(seed: u64, number: u64) -> Result<Option<Made>, String> {
    let mut random = draws(seed);
    let profile = Profile::ALL[random.random_range(0..Profile::ALL.len())];
    let workload = Workload::generate(seed, profile, SCALE);
    let whole = run(&workload, 0)?;
    let operations = whole.disk.operations();
    let stop = random.random_range(operations / 4..operations.max(1)) + 1;
    let name = format!("{profile} seed {seed} killed at operation {stop}");
    let Some((pair, earlier)) = left(&run(&workload, stop)?, number)
        .map(|pair| (pair, (1..stop).step_by((stop as usize / 12).max(1))))
    else {
        return Ok(None);
    };
    let mut journals = Vec::new();
    for point in earlier {
        // Under the same numbers, so that it is a journal of this file.
        journals.extend(left(&run(&workload, point)?, number).map(|pair| pair.journal));
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

/// The pair on a disk, if there is one.
fn left(run: &Run, number: u64) -> Option<Pair> {
    let disk = run.disk.killed();
    if !disk.exists(JOURNAL) {
        return None;
    }
    let recovered = disk.killed();
    recover_on(Arc::new(recovered.clone()), DATA, Resolution::Replay).ok()?;
    let last = recovered.read_file(DATA)?;
    // The one that recovery finds is the last of them here.
    let states: &[Content] = &run.history.states;
    let until = states.iter().rposition(|state| **state == last)?;
    // Without a mark it is closed but for the journal: there is nothing to recover.
    Pair::of(&disk, &states[..=until], number << 16 | run.opened).ok().filter(|pair| pair.mark.is_some())
}
