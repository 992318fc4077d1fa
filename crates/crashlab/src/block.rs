//! Power cuts under real file systems.
//!
//! A workload runs on a file system on a disk of our own, which notes every write and every flush, and between them what the
//! workload was told. From that log come crash images: each is mounted, the file system recovers, the library recovers, and
//! what is found is judged. What both write meanwhile is a log again, and is cut again.

pub(crate) mod check;
pub mod device;
pub(crate) mod evidence;
pub mod file_system;
pub mod images;
pub mod log;
pub mod media;
mod qemu;
pub(crate) mod record;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::Serialize;

use crate::outcome::Failure;
use crate::workload::{Profile, Scale, Workload, draws};
use file_system::{FileSystem, Rig};
use log::Log;

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The file system
    #[arg(long)]
    pub fs: FileSystem,
    /// So many crash images
    #[arg(long, default_value_t = 2000)]
    pub images: u64,
    /// Where the choices begin
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only the recording of this number, as a violation names it
    #[arg(long)]
    pub recording: Option<u64>,
    /// Who notes what happens to the disk
    #[arg(long, value_enum, default_value_t = Recorder::Own)]
    pub recorder: Recorder,
    /// The disk says of the flushes of one commit that they are done, and does nothing: this must be found
    #[arg(long)]
    pub lying_disk: bool,
    /// Disks that are worked on at once: most of the time they wait for the kernel
    #[arg(long, default_value_t = 4)]
    pub workers: usize,
    /// The `steadfast` command, to be driven as well. Default: the one beside this program, if it is there
    #[arg(long)]
    pub command: Option<PathBuf>,
}

/// Who notes what happens to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Recorder {
    /// The rig's own disk
    Own,
    /// QEMU's storage daemon, for a second opinion
    Qemu,
}

/// What was tried, and held.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// On which file system.
    pub fs: FileSystem,
    /// Where the choices began.
    pub seed: u64,
    /// Who noted what happened to the disk.
    pub recorder: Recorder,
    /// Workloads that were recorded.
    pub recordings: u64,
    /// Block writes that were recorded.
    pub writes: u64,
    /// Flushes that were recorded.
    pub flushes: u64,
    /// Images that were mounted, recovered and judged.
    pub images: u64,
    /// Those that were cut within a recovery.
    pub in_recovery: u64,
    /// Those with a torn write.
    pub torn: u64,
    /// Those in which a journal was replayed.
    pub replayed: u64,
    /// Those that held a commit which had not been acknowledged.
    pub in_flight: u64,
    /// Those that the file system's own repair tool had to see first: a tear went through its super block.
    pub repaired: u64,
    /// Of a disk that lies: those that its file system did not survive, which are not judged. On an honest disk the first ends the run.
    pub unmountable: u64,
    /// Images by workload.
    pub by_workload: BTreeMap<String, u64>,
    /// What could not be tried.
    pub lacking: Vec<String>,
    /// None: the first one ends the run.
    pub violations: u64,
    /// How long it took.
    pub seconds: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { fs, seed, recordings, writes, flushes, images, .. } = self;
        writeln!(
            f,
            "{fs}: {images} crash images of {recordings} workloads ({writes} block writes, {flushes} flushes{}), seed {seed}, {:.0} s",
            if self.recorder == Recorder::Qemu { ", recorded by QEMU" } else { "" },
            self.seconds
        )?;
        let share = 100.0 * self.in_recovery as f64 / (*images).max(1) as f64;
        writeln!(
            f,
            "  {} ({share:.1} %) cut within a recovery, {} with a torn write, {} replayed a journal, {} held the commit in flight",
            self.in_recovery, self.torn, self.replayed, self.in_flight
        )?;
        if self.repaired > 0 {
            writeln!(f, "  {} had to be repaired by the file system's own tool first", self.repaired)?;
        }
        if self.unmountable > 0 {
            writeln!(f, "  {} more could not be mounted", self.unmountable)?;
        }
        let by_workload: Vec<String> =
            self.by_workload.iter().map(|(name, images)| format!("{name} {images}")).collect();
        writeln!(f, "  by workload: {}", by_workload.join(", "))?;
        for lacking in &self.lacking {
            writeln!(f, "  NOT TESTED: {lacking}")?;
        }
        write!(f, "  {} violations", self.violations)
    }
}

/// Images of one recording, not counting those within recoveries: fewer in a small dose, which is to see every kind of workload.
const IMAGES_OF_A_RECORDING: std::ops::RangeInclusive<u64> = 8..=150;
const RECORDINGS_AT_LEAST: u64 = 22;
/// Of so many images one has what its check wrote cut as well,
const ONE_CHECK_CUT_IN: u32 = 6;
/// so many times while it recovers,
const CUTS_OF_A_RECOVERY: usize = 2;
/// and so many times anywhere: before its recovery, within, or in the work and the close behind it.
const CUTS_OF_A_CHECK: usize = 1;
/// One recording in so many drives the command, and one a kernel's mapping.
const ONE_OF_EACH_IN: u64 = 12;

const SCALE: Scale = Scale { pages_max: 24, steps_max: 150, journal_pages_max: 48, views: true };

struct Run<'a> {
    options: &'a Options,
    command: Option<PathBuf>,
    next: AtomicU64,
    figures: Mutex<Figures>,
    ended: AtomicBool,
}

/// Tries it.
///
/// # Errors
///
/// The first violation, or what this machine lacks.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    file_system::lacks(options.fs)?;
    let started = Instant::now();
    let command = options.command.clone().or_else(|| {
        let beside = std::env::current_exe().ok()?.with_file_name("steadfast");
        beside.exists().then_some(beside)
    });
    let lacking = match &command {
        Some(_) => Vec::new(),
        None => {
            vec!["the command: cargo build --release -p steadfast-cli puts it beside this program".to_owned()]
        }
    };
    let run = Run {
        options,
        command,
        next: AtomicU64::new(0),
        figures: Mutex::new(Figures {
            fs: options.fs,
            seed: options.seed,
            recorder: options.recorder,
            recordings: 0,
            writes: 0,
            flushes: 0,
            images: 0,
            in_recovery: 0,
            torn: 0,
            replayed: 0,
            in_flight: 0,
            repaired: 0,
            unmountable: 0,
            by_workload: BTreeMap::new(),
            lacking,
            violations: 0,
            seconds: 0.0,
        }),
        ended: AtomicBool::new(false),
    };
    let workers = if options.recording.is_some() { 1 } else { options.workers.max(1) };
    let failed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| run.work().inspect_err(|_| run.ended.store(true, Ordering::Relaxed))))
            .collect();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(Failure::Rig("a worker panicked".into()))));
        // A violation before all else.
        let mut failures: Vec<Failure> = joined.filter_map(Result::err).collect();
        failures.sort_by_key(|failure| !matches!(failure, Failure::Violation(_)));
        failures.into_iter().next()
    });
    let mut figures = run.figures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    figures.seconds = started.elapsed().as_secs_f64();
    match failed {
        Some(failure) => Err(failure),
        None if options.lying_disk => {
            Err(Failure::Rig(format!("a disk that lies was not noticed:\n{figures}")))
        }
        None => Ok(figures),
    }
}

impl Run<'_> {
    fn count(&self, with: impl FnOnce(&mut Figures)) {
        with(&mut self.figures.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn is_done(&self) -> bool {
        let mut images = 0;
        self.count(|figures| images = figures.images + figures.unmountable);
        images >= self.options.images || self.ended.load(Ordering::Relaxed)
    }

    /// Recordings, one after the other, on a disk of this worker's own.
    fn work(&self) -> Result<(), Failure> {
        let mut rig = Rig::new(self.options.fs)?;
        if let Some(recording) = self.options.recording {
            return self.recording(&mut rig, recording);
        }
        while !self.is_done() {
            let recording = self.next.fetch_add(1, Ordering::Relaxed);
            self.recording(&mut rig, recording)?;
        }
        Ok(())
    }

    fn recording(&self, rig: &mut Rig, number: u64) -> Result<(), Failure> {
        let Options { fs, seed, recorder, .. } = self.options;
        let mut random = draws(*seed);
        random.set_stream(number);
        let seed_here: u64 = random.random();
        let profile = Profile::ALL[(number - number / ONE_OF_EACH_IN * 2) as usize % Profile::ALL.len()];
        let again =
            format!("crashlab block --fs {fs} --recorder {recorder:?} --seed {seed} --recording {number}")
                .to_lowercase();
        let (name, log, said) = match &self.command {
            Some(command) if *recorder == Recorder::Own && number % ONE_OF_EACH_IN == 10 => (
                "Command".to_owned(),
                record::command(rig, command, seed_here, 40),
                "steadfast apply".to_owned(),
            ),
            _ if *recorder == Recorder::Own && number % ONE_OF_EACH_IN == 11 => {
                ("Mapping".to_owned(), record::mapping(rig, seed_here, 60), "a kernel's mapping".to_owned())
            }
            _ => {
                let workload = Workload::generate(seed_here, profile, SCALE);
                let log = match recorder {
                    Recorder::Own => record::library(rig, &workload),
                    Recorder::Qemu => qemu::library(*fs, &workload),
                };
                (profile.to_string(), log, format!("{workload:?}"))
            }
        };
        let told = |failure| match failure {
            Failure::Violation(what) => {
                Failure::Violation(format!("{what}\n  again: {again}\n  workload: {said}"))
            }
            other => other,
        };
        let log = log.map_err(told)?;
        let log = if self.options.lying_disk { log.of_a_disk_that_lies(&mut random) } else { log };
        let (writes, flushes) = log.counts();
        self.count(|figures| {
            figures.recordings += 1;
            figures.writes += writes as u64;
            figures.flushes += flushes as u64;
        });
        let images = self.options.images / RECORDINGS_AT_LEAST;
        let images = images.clamp(*IMAGES_OF_A_RECORDING.start(), *IMAGES_OF_A_RECORDING.end()) as usize;
        let cuts = images::draw(&log, fs.never_torn(), images, &mut random);
        for image in images::develop(&log, &cuts) {
            if self.is_done() {
                break;
            }
            let checked = self.image(rig, &image, &name, false, &mut random).map_err(told)?;
            let Some((found, within)) = checked else { continue };
            if !random.random_ratio(1, ONE_CHECK_CUT_IN) {
                continue;
            }
            let in_recovery = |cut: &images::Cut| within.is_in_recovery(&found.with_journal, cut.position);
            // A recovery is a small part of the log, and not every check has one.
            let mut cuts = images::draw(&within, fs.never_torn(), 12 * CUTS_OF_A_RECOVERY, &mut random);
            let (mut some, mut of_recovery) = (CUTS_OF_A_CHECK, CUTS_OF_A_RECOVERY);
            cuts.shuffle(&mut random);
            cuts.retain(|cut| {
                let left = if in_recovery(cut) { &mut of_recovery } else { &mut some };
                let wanted = *left > 0;
                *left = left.saturating_sub(1);
                wanted
            });
            images::in_order(&mut cuts);
            for again in images::develop(&within, &cuts) {
                self.image(rig, &again, &name, in_recovery(&again.cut), &mut random)
                    .map_err(|failure| match failure {
                        Failure::Violation(what) => {
                            Failure::Violation(format!("{what}\n  within the check of {}", image.cut))
                        }
                        other => other,
                    })
                    .map_err(told)?;
            }
        }
        Ok(())
    }

    /// `None` if a disk that lies took the file system with it.
    fn image(
        &self,
        rig: &mut Rig,
        image: &images::Image,
        name: &str,
        in_recovery: bool,
        random: &mut impl rand::Rng,
    ) -> Result<Option<(check::Found, Log)>, Failure> {
        let checked = check::check(rig, image, random);
        if self.options.lying_disk
            && matches!(&checked, Err(Failure::Rig(what)) if what.contains(file_system::UNMOUNTABLE))
        {
            self.count(|figures| figures.unmountable += 1);
            return Ok(None);
        }
        let (found, log) = checked.map_err(|failure| match failure {
            Failure::Violation(what) => {
                let kept = if self.options.lying_disk {
                    let mut unmountable = 0;
                    self.count(|figures| unmountable = figures.unmountable);
                    format!("no, it was meant to be; {unmountable} before it could not be mounted")
                } else {
                    evidence::keep(rig.file_system(), &image.media)
                };
                Failure::Violation(format!("{what}\n  image: {}\n  kept: {kept}", image.cut))
            }
            other => other,
        })?;
        self.count(|figures| {
            figures.images += 1;
            figures.in_recovery += u64::from(in_recovery);
            figures.torn += u64::from(image.cut.tear.is_some());
            figures.replayed += u64::from(found.recovered);
            figures.in_flight += u64::from(found.in_flight);
            figures.repaired += u64::from(found.repaired);
            *figures.by_workload.entry(name.to_owned()).or_default() += 1;
        });
        Ok(Some((found, log)))
    }
}
