//! Power cuts under programs that were not made for it: unmodified, with the library under them.
//!
//! A program of [`programs`](crate::programs) stores all over its file, version after version, on a file system on the disk of
//! [`block`](crate::block). What it prints is heard in order with what is written to the disk, so of each power cut it is known
//! which versions had been acknowledged and which had been begun. Each crash image is mounted and recovered: by the library's
//! call, by the command, or by the program's next start. The file must then be the last acknowledged version or one that was begun
//! since, byte for byte, and a plain file. What was written meanwhile is cut again.
//!
//! The same is done without the library, where nothing is promised: what was found there is counted to be compared with.

mod check;
mod record;
mod tally;
mod voice;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ::programs::{Call, Program, Workshop};
use clap::Args;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use crate::block::file_system::{self, FileSystem, Rig};
use crate::block::log::{Entry, Log};
use crate::block::{evidence, images};
use crate::history::Told;
use crate::kills::{rig, steadfast};
use crate::outcome::Failure;
use crate::programs::Found;
use crate::workload::draws;
pub use tally::{Figures, Tally};

/// What to try.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The file system
    #[arg(long)]
    pub fs: FileSystem,
    /// These programs, of those that store all over a file
    #[arg(long, value_enum, value_name = "PROGRAM", default_value = "python-mmap")]
    pub program: Vec<Program>,
    /// The library to put under them (libsteadfast_preload.so) [default: none, and the kernel's mapping is counted]
    #[arg(long, value_name = "PATH")]
    pub preload: Option<PathBuf>,
    /// So many crash images of each program
    #[arg(long, default_value_t = 1000)]
    pub images: u64,
    /// With the library: so many without it, to compare with [default: a tenth]
    #[arg(long, requires = "preload", value_name = "IMAGES")]
    pub compared: Option<u64>,
    /// Where the choices begin: the same seed, the same choices, but not the same instants
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only the recording of this number, as a violation names it
    #[arg(long)]
    pub recording: Option<u64>,
    /// The disk says of the flushes of one version that they are done, and does nothing: this must be found
    #[arg(long, requires = "preload")]
    pub lying_disk: bool,
    /// Disks that are worked on at once: most of the time they wait for the kernel
    #[arg(long, default_value_t = 4)]
    pub workers: usize,
    /// The `steadfast` that recovers [default: built with cargo, beside this program]
    #[arg(long)]
    pub command: Option<PathBuf>,
    /// This program, where the one that runs is another (a test)
    #[arg(long, hide = true)]
    pub this: Option<PathBuf>,
    /// Change a byte before each judgement: it must be noticed
    #[arg(long, hide = true)]
    pub spoil: bool,
}

/// Images of one recording, not counting those within recoveries: fewer in a small dose.
const IMAGES_OF_A_RECORDING: RangeInclusive<u64> = 8..=40;
const RECORDINGS_AT_LEAST: u64 = 20;
/// So many times more cuts are drawn than images are made of.
const DRAWN: usize = 6;
/// Of so many images one has what its check wrote cut as well,
const ONE_CHECK_CUT_IN: u32 = 6;
/// so many times while it recovers,
const CUTS_OF_A_RECOVERY: usize = 2;
/// and so many times anywhere.
const CUTS_OF_A_CHECK: usize = 1;
/// For the comparison where nothing else is said.
const ONE_COMPARED_IN: u64 = 10;
const COMPARED_AT_LEAST: u64 = 20;

/// A program that is at hand, and what stands under it.
struct Subject<'a> {
    program: Program,
    writer: &'a Call,
    preload: Option<&'a Path>,
    /// The command that recovers.
    steadfast: &'a Path,
    options: &'a Options,
}

/// All images of one program, with the library under it or without.
struct Run<'a> {
    subject: Subject<'a>,
    images: u64,
    next: AtomicU64,
    tally: Mutex<Tally>,
    ended: AtomicBool,
}

/// Tries it.
///
/// # Errors
///
/// With the library under the programs, the first violation; or what this machine lacks.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    if let Some(database) = options.program.iter().find(|program| program.is_database()) {
        return Err(Failure::Rig(format!(
            "{database} keeps records of its own: nothing here can judge its file"
        )));
    }
    file_system::lacks(options.fs)?;
    let started = Instant::now();
    let this = match &options.this {
        Some(this) => this.clone(),
        None => std::env::current_exe().map_err(rig("this program"))?,
    };
    let preload = match &options.preload {
        Some(library) => Some(library.canonicalize().map_err(rig("the library to preload"))?),
        None => None,
    };
    let workshop = Workshop::beside(&this).map_err(|lacking| Failure::Lacking(lacking.to_string()))?;
    // Nothing leaves a journal without the library.
    let steadfast = match preload {
        Some(_) => steadfast(options.command.as_deref(), &this)?,
        None => PathBuf::new(),
    };
    let mut figures = Figures::new(options);
    for program in options.program.iter().copied() {
        let writer = match workshop.writer(program) {
            Ok(writer) => writer,
            Err(lacking) => {
                figures.lacking.push(format!("what it takes for {program}: {lacking}"));
                continue;
            }
        };
        let mut attempt = |preload: Option<&Path>, images: u64| {
            let subject = Subject { program, writer: &writer, preload, steadfast: &steadfast, options };
            let tally = try_one(subject, images)?;
            figures.programs.push(tally);
            Ok(())
        };
        let alone = match &preload {
            None => options.images,
            Some(library) => {
                attempt(Some(library), options.images)?;
                options.compared.unwrap_or_else(|| (options.images / ONE_COMPARED_IN).max(COMPARED_AT_LEAST))
            }
        };
        if alone > 0 && !options.lying_disk {
            attempt(None, alone)?;
        }
    }
    figures.seconds = started.elapsed().as_secs_f64();
    if figures.programs.is_empty() {
        return Err(Failure::Lacking(figures.lacking.join("; ")));
    }
    for tally in figures.programs.iter().filter(|tally| !tally.preload && tally.torn == 0) {
        let what = format!(
            "an image that is torn without the library: {} has none, so this says little",
            tally.program
        );
        figures.lacking.push(what);
    }
    if options.lying_disk {
        return Err(Failure::Rig(format!("a disk that lies was not noticed:\n{figures}")));
    }
    Ok(figures)
}

fn try_one(subject: Subject<'_>, images: u64) -> Result<Tally, Failure> {
    let options = subject.options;
    let tally = Mutex::new(Tally::of(subject.program, subject.preload.is_some()));
    let run = Run { subject, images, next: AtomicU64::new(0), tally, ended: AtomicBool::new(false) };
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
    match failed {
        Some(failure) => Err(failure),
        None => Ok(run.tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)),
    }
}

impl Run<'_> {
    fn count<T>(&self, with: impl FnOnce(&mut Tally) -> T) -> T {
        with(&mut self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn is_done(&self) -> bool {
        self.count(|tally| tally.images + tally.unmountable) >= self.images
            || self.ended.load(Ordering::Relaxed)
    }

    /// Recordings, one after the other, on a disk of this worker's own.
    fn work(&self) -> Result<(), Failure> {
        let mut rig = Rig::new(self.subject.options.fs)?;
        if let Some(recording) = self.subject.options.recording {
            return self.recording(&mut rig, recording);
        }
        while !self.is_done() {
            let recording = self.next.fetch_add(1, Ordering::Relaxed);
            self.recording(&mut rig, recording)?;
        }
        Ok(())
    }

    fn recording(&self, rig: &mut Rig, number: u64) -> Result<(), Failure> {
        let Subject { program, preload, options, .. } = self.subject;
        let Options { fs, seed, .. } = options;
        let mut random = draws(*seed);
        random.set_stream(number);
        let told = |failure| match failure {
            Failure::Violation(what) => {
                let library = preload.map(|library| format!(" --preload {}", library.display()));
                Failure::Violation(format!(
                    "{program}: {what}\n  again, but not at the same instants: \
                     crashlab cuts --fs {fs} --program {program}{} --images {} --seed {seed} --recording {number}",
                    library.unwrap_or_default(),
                    self.images
                ))
            }
            other => other,
        };
        let life = record::Life::draw(&mut random);
        let log = record::record(rig, &self.subject, &life, &mut random).map_err(told)?;
        let log = if options.lying_disk { log.of_a_disk_that_lies(&mut random) } else { log };
        let (writes, flushes) = log.counts();
        self.count(|tally| {
            tally.recordings += 1;
            tally.unpublished += u64::from(preload.is_some() && !life.publish);
            tally.versions += life.versions;
            tally.writes += writes as u64;
            tally.flushes += flushes as u64;
        });
        let images = self.images / RECORDINGS_AT_LEAST;
        let images = images.clamp(*IMAGES_OF_A_RECORDING.start(), *IMAGES_OF_A_RECORDING.end()) as usize;
        let cuts = aimed(&log, fs.never_torn(), images, &mut random);
        for image in images::develop(&log, &cuts) {
            if self.is_done() {
                break;
            }
            let within = self.image(rig, &image, &life, false, &mut random).map_err(told)?;
            let Some(within) = within.filter(|_| preload.is_some()) else { continue };
            if random.random_ratio(1, ONE_CHECK_CUT_IN) {
                self.cut_again(rig, &within, &life, &mut random)
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

    /// Power cuts within what the check of an image wrote.
    fn cut_again(
        &self,
        rig: &mut Rig,
        within: &Log,
        life: &record::Life,
        random: &mut impl Rng,
    ) -> Result<(), Failure> {
        let in_recovery = |cut: &images::Cut| within.is_in_recovery(&[0], cut.position);
        let never_torn = self.subject.options.fs.never_torn();
        let mut cuts = images::draw(within, never_torn, 12 * CUTS_OF_A_RECOVERY, random);
        let (mut some, mut of_recovery) = (CUTS_OF_A_CHECK, CUTS_OF_A_RECOVERY);
        cuts.shuffle(random);
        cuts.retain(|cut| {
            let left = if in_recovery(cut) { &mut of_recovery } else { &mut some };
            let wanted = *left > 0;
            *left = left.saturating_sub(1);
            wanted
        });
        images::in_order(&mut cuts);
        for image in images::develop(within, &cuts) {
            self.image(rig, &image, life, in_recovery(&image.cut), random)?;
        }
        Ok(())
    }

    /// What its check wrote. `None` if a disk that lies took the file system with it.
    fn image(
        &self,
        rig: &mut Rig,
        image: &images::Image,
        life: &record::Life,
        in_recovery: bool,
        random: &mut impl Rng,
    ) -> Result<Option<Log>, Failure> {
        let Subject { preload, options, .. } = self.subject;
        let checked = check::check(rig, &self.subject, image, life, random);
        if options.lying_disk
            && matches!(&checked, Err(Failure::Rig(what)) if what.contains(file_system::UNMOUNTABLE))
        {
            self.count(|tally| tally.unmountable += 1);
            return Ok(None);
        }
        let (checked, log) = checked?;
        let wrong = self.count(|tally| {
            tally.in_recovery += u64::from(in_recovery);
            tally.torn_writes += u64::from(image.cut.tear.is_some());
            tally.add(&checked)
        });
        if let Some(what) = wrong.filter(|_| preload.is_some()) {
            let kept = if options.lying_disk || options.spoil {
                let unmountable = self.count(|tally| tally.unmountable);
                format!("no, it was meant to be; {unmountable} before it could not be mounted")
            } else {
                evidence::keep(rig.file_system(), &image.media)
            };
            let history = image.histories.first().cloned().unwrap_or_default();
            return Err(Failure::Violation(format!(
                "{what}\n  allowed were the versions {:?}; {life}\n  image: {}; recovered by {}\n  kept: {kept}",
                history.allowed(),
                image.cut,
                checked.by
            )));
        }
        Ok(Some(log))
    }
}

/// Draws power cuts, half of them where it is decided whether a version is there: much more is written when a program begins and ends.
fn aimed(log: &Log, never_torn: &[u64], count: usize, random: &mut impl Rng) -> Vec<images::Cut> {
    let windows = decisive(log);
    let mut drawn = images::draw(log, never_torn, DRAWN * count, random);
    drawn.shuffle(random);
    let (mut cuts, mut others): (Vec<_>, Vec<_>) =
        drawn.into_iter().partition(|cut| windows.iter().any(|window| window.contains(&cut.position)));
    cuts.truncate(count.div_ceil(2));
    others.truncate(count - cuts.len());
    cuts.append(&mut others);
    images::in_order(&mut cuts);
    cuts
}

/// From what is written before the last flush that an acknowledgement waits for, to right behind the acknowledgement.
fn decisive(log: &Log) -> Vec<RangeInclusive<usize>> {
    let mut windows = Vec::new();
    let (mut last, mut last_but_one) = (0, 0);
    for (at, entry) in log.entries.iter().enumerate() {
        match entry {
            Entry::Flush => (last_but_one, last) = (last, at + 1),
            Entry::Told(_, Told::Durable(_)) => windows.push(last_but_one..=at + 1),
            _ => {}
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block::images::write;
    use crate::block::media::Media;

    #[test]
    fn half_of_the_cuts_are_where_an_acknowledgement_is_near() {
        let many = |count: usize| (0..count).map(|number| write(512 * number as u64, vec![1; 1024]));
        let told = |told| Entry::Told(0, told);
        let mut entries: Vec<Entry> = many(500).collect();
        entries.extend([Entry::Flush, told(Told::Begun(Arc::new(vec![1])))]);
        entries.extend(many(20));
        entries.extend([Entry::Flush, told(Told::Durable(1))]);
        entries.extend(many(500));
        let log = Log { base: Media::blank(1 << 20), histories: Vec::new(), entries };
        assert_eq!(decisive(&log), [501..=524]);
        let cuts = aimed(&log, &[], 40, &mut draws(5));
        let near = cuts.iter().filter(|cut| (501..=524).contains(&cut.position)).count();
        assert_eq!((cuts.len(), near), (40, 20));
        assert!(cuts.is_sorted_by_key(|cut| cut.position));
    }
}
