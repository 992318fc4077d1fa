//! Every stop of a case, and the images that each leaves.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use steadfast::disk::{SimDisk, Survivors};

use super::case::{Case, Stop, mixed};
use super::figures::Tally;
use super::going_on::go_on;
use super::judge::{Known, check, is_torn};
use crate::workload::draws;

/// How closely a case is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depth {
    /// So many stops; beyond that a sample.
    pub(super) stops: usize,
    /// So many power cuts of each.
    pub(super) cuts: usize,
    /// The recovery of one image in so many is stopped as well; 0 for none.
    pub(super) nest_one_in: u32,
    /// After one image in so many the program goes on and is stopped once more; 0 for none.
    pub(super) go_on_one_in: u32,
}

impl Depth {
    /// What a case gets that is one of many: the time is better spent on others.
    pub(super) const ONE_OF_MANY: Depth = Depth { stops: 24, cuts: 6, nest_one_in: 150, go_on_one_in: 40 };
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) stop: Option<Stop>,
    /// What was left of the disk.
    pub(super) image: String,
    pub(super) what: String,
    pub(super) unsynced: Vec<String>,
    /// It takes a second crash.
    pub(super) second_crash: bool,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stop {
            Some(Stop { operation, within: 0 }) => write!(f, "stopped at operation {operation}, ")?,
            Some(Stop { operation, within }) => {
                write!(f, "stopped in operation {operation} after {within} bytes, ")?;
            }
            None => {}
        }
        write!(f, "{}: {}", self.image, self.what)?;
        if !self.unsynced.is_empty() {
            write!(f, "\n  unsynced at the stop: {}", self.unsynced.join(", "))?;
        }
        Ok(())
    }
}

/// Power cuts of this disk, at most so many.
pub(super) fn cuts(disk: &SimDisk, most: usize, random: &mut impl Rng) -> Vec<Survivors> {
    chosen(disk.power_cuts(random.random(), 5, 8).collect(), most, random)
}

/// All, or so many of them.
fn chosen<T: Clone>(mut all: Vec<T>, most: usize, random: &mut impl Rng) -> Vec<T> {
    if all.len() <= most { all } else { all.partial_shuffle(random, most).0.to_vec() }
}

impl Case {
    /// Stops the workload here and there and judges what is left.
    pub(super) fn walk(&self, depth: Depth) -> Result<Tally, Violation> {
        // A panic of the library breaks a promise like any other, and can be shrunk.
        catch_unwind(AssertUnwindSafe(|| self.walk_stops(depth))).unwrap_or_else(|panic| {
            let what = format!("panicked: {}", message(&*panic));
            Err(Violation {
                stop: None,
                image: "somewhere".into(),
                what,
                unsynced: Vec::new(),
                second_crash: true,
            })
        })
    }

    fn walk_stops(&self, depth: Depth) -> Result<Tally, Violation> {
        let stops = self.stops().map_err(|what| Violation {
            stop: None,
            image: "never stopped".into(),
            what,
            unsynced: Vec::new(),
            second_crash: false,
        })?;
        let stops = chosen(stops, depth.stops, &mut draws(mixed(&[self.seed, 4])));
        let mut tally = Tally { cases: 1, ..Tally::default() };
        for stop in stops {
            self.stopped(stop, depth, &mut tally)?;
        }
        Ok(tally)
    }

    /// The images of one stop.
    fn stopped(&self, stop: Stop, depth: Depth, tally: &mut Tally) -> Result<(), Violation> {
        let played = self.play(Some(stop), false);
        let mut random = self.draws(stop);
        let disk = &played.disk;
        let plans = self.workload.maps.iter();
        let known: Vec<Known> = plans
            .zip(played.histories)
            .map(|(plan, history)| Known { history, created: plan.initial_bytes.is_none() })
            .collect();
        tally.stops += 1;
        let images = std::iter::once(None).chain(cuts(disk, depth.cuts, &mut random).into_iter().map(Some));
        for survivors in images {
            let image =
                survivors.as_ref().map_or_else(|| disk.killed(), |survivors| disk.power_cut(survivors));
            let torn = stop.within > 0 || survivors.as_ref().is_some_and(is_torn);
            let mut one_in = |times| times > 0 && random.random_ratio(1, times);
            let (nest, on) = (one_in(depth.nest_one_in), one_in(depth.go_on_one_in));
            tally.torn += u64::from(torn);
            let mut result = check(&image, &known, nest, &mut random, tally);
            if result.is_ok() && on {
                result = go_on(&image, &known, &mut random, tally);
            }
            result.map_err(|what| Violation {
                stop: Some(stop),
                image: survivors.map_or_else(|| "killed".into(), |cut| format!("power cut {cut}")),
                second_crash: nest || on,
                what,
                unsynced: disk.unsynced_trace(),
            })?;
        }
        match played.error {
            // Without faults the stop is the only error there is.
            Some(error) if !disk.is_stopped() => Err(Violation {
                stop: Some(stop),
                image: "not yet".into(),
                what: format!("an error before the stop: {error}"),
                unsynced: Vec::new(),
                second_crash: false,
            }),
            _ => Ok(()),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
