//! What a flush takes in programs that were not made for it, with the kernel's mapping and with the library under them.
//!
//! Each program times itself. A round starts it once under each library, on a file for each; who begins moves on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::programs::{Call, Preload, Program, Workshop, converted};

use crate::data;
use crate::disk::Ground;
use crate::harness::Effort;
use crate::report::Row;
use crate::{Outcome, Result, Scale};
use steadfast_cli::statistics::Samples;

/// The files that the library is to make atomic.
const ATOMIC: &str = "*.bin:*/data.mdb";
const KERNEL: &str = "kernel";

/// What stands under a program, and its timings there.
struct Under {
    name: &'static str,
    preload: Option<Preload>,
    folder: PathBuf,
    open: Samples,
    bursts: Vec<Burst>,
}

/// Flushes of so many pages.
struct Burst {
    pages: usize,
    stores: Samples,
    flushes: Samples,
    both: Samples,
}

pub(crate) fn run(
    scale: &Scale,
    pages: &[usize],
    rounds: usize,
    only: &[Program],
    library: Option<&Path>,
) -> Result<Outcome> {
    let ground = Ground::new(&scale.dir, scale.size, 0)?;
    let workshop = Workshop::beside(&std::env::current_exe()?)?;
    let library = library.map(Path::canonicalize).transpose()?;
    let mut rows = Vec::new();
    let mut notes = vec![
        "Each program changes 8 bytes in each of so many scattered pages (LMDB: so many records of half a page) and flushes once; it \
         times itself, and the first flush of each burst is thrown away."
            .to_owned(),
        "open: mapping the file and reading a byte of every page (LMDB: every record).".to_owned(),
    ];
    if library.is_none() {
        notes.push("Without --preload there is nothing to compare with.".to_owned());
    }
    for program in Program::ALL {
        if !only.is_empty() && !only.contains(&program) {
            continue;
        }
        match workshop.timer(program) {
            Ok(timer) => rows.extend(measure(&ground, program, &timer, pages, rounds, library.as_deref())?),
            Err(lacking) => {
                let note = format!("not measured: this machine lacks {lacking}");
                rows.push(Row::new("programs", &program.to_string()).with("note", note));
            }
        }
    }
    Ok(Outcome { rows, notes })
}

/// One program, in rounds.
fn measure(
    ground: &Ground,
    program: Program,
    timer: &Call,
    pages: &[usize],
    rounds: usize,
    library: Option<&Path>,
) -> Result<Vec<Row>> {
    let mut unders = vec![(KERNEL, None)];
    if let Some(library) = library {
        let published = Preload::of(library, ATOMIC);
        unders.push(("steadfast", Some(published.clone())));
        unders.push(("steadfast, publish(false)", Some(Preload { publish: false, ..published })));
    }
    let mut unders = unders
        .into_iter()
        .enumerate()
        .map(|(number, (name, preload))| {
            let folder = ground.path(&format!("{program}-{number}"));
            fs::create_dir(&folder)?;
            let preload = preload.map(|preload| Preload { log: Some(folder.join("preload.log")), ..preload });
            let burst = |&pages: &usize| Burst {
                pages,
                stores: Samples::default(),
                flushes: Samples::default(),
                both: Samples::default(),
            };
            let bursts = pages.iter().map(burst).collect();
            Ok(Under { name, preload, folder, open: Samples::default(), bursts })
        })
        .collect::<Result<Vec<_>>>()?;
    let bursts: Vec<String> =
        pages.iter().map(|&pages| format!("{pages}:{}", 1 + Effort::for_pages(pages, None).burst)).collect();
    for under in &unders {
        if program.is_database() {
            // Filled by itself, with nothing under it.
            told(&mut call(timer, None, program, under, "", 0, ground.len))?;
        } else {
            data::write_file(&program.argument(&under.folder), ground.len)?;
        }
    }
    let count = unders.len();
    for round in 0..rounds {
        for turn in 0..count {
            let under = &mut unders[(round + turn) % count];
            ground.settle()?;
            let preload = under.preload.as_ref();
            let seed = 1 + round as u64;
            let text = told(&mut call(timer, preload, program, under, &bursts.join(","), seed, ground.len))?;
            under.hear(&text).ok_or_else(|| format!("{program} says {text:?}"))?;
            if let Some(log) = under.preload.as_ref().and_then(|preload| preload.log.as_ref())
                && converted(log)? == 0
            {
                return Err(format!("{program}: the library made no mapping atomic").into());
            }
        }
    }
    for under in &unders {
        fs::remove_dir_all(&under.folder)?;
    }
    Ok(rows(program, &unders))
}

fn call(
    timer: &Call,
    preload: Option<&Preload>,
    program: Program,
    under: &Under,
    bursts: &str,
    seed: u64,
    size: usize,
) -> Command {
    let mut command = timer.command(preload);
    command.arg(program.argument(&under.folder)).arg(bursts).args([seed.to_string(), size.to_string()]);
    command
}

/// What a program says that ends well.
fn told(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {}", output.status, said.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

impl Under {
    /// Takes the timings, in nanoseconds: `open TIME`, then `PAGES STORES FLUSH` for each flush. `None` if it is anything else.
    fn hear(&mut self, text: &str) -> Option<()> {
        let mut previous = 0;
        for line in text.lines() {
            let (first, rest) = line.split_once(' ')?;
            if first == "open" {
                self.open.push(rest.parse::<f64>().ok()? / 1e3);
                continue;
            }
            let pages: usize = first.parse().ok()?;
            let (stores, flush) = rest.split_once(' ')?;
            let (stores, flush) = (stores.parse::<f64>().ok()? / 1e3, flush.parse::<f64>().ok()? / 1e3);
            let warm_up = std::mem::replace(&mut previous, pages) != pages;
            let burst = self.bursts.iter_mut().find(|burst| burst.pages == pages)?;
            if !warm_up {
                burst.stores.push(stores);
                burst.flushes.push(flush);
                burst.both.push(stores + flush);
            }
        }
        self.bursts.iter().all(|burst| burst.flushes.count() > 0).then_some(())
    }
}

fn rows(program: Program, unders: &[Under]) -> Vec<Row> {
    let row = |under: &Under| Row::new("programs", &program.to_string()).with("under", under.name);
    let compared = unders.len() > 1;
    let mut rows = Vec::new();
    let Some(base) = unders.first() else { return rows };
    for (number, of_base) in base.bursts.iter().enumerate() {
        for under in unders {
            let burst = &under.bursts[number];
            let ratio = |of: &Samples, to: &Samples| compared.then(|| of.p50() / to.p50());
            rows.push(
                row(under)
                    .with("pages", burst.pages)
                    .figure("stores_p50_us", burst.stores.p50())
                    .figure("flush_p50_us", burst.flushes.p50())
                    .figure("flush_p99_us", burst.flushes.p99())
                    .figure("p50_us", burst.both.p50())
                    .figure_if("flush_vs_kernel", ratio(&burst.flushes, &of_base.flushes))
                    .figure_if("vs_kernel", ratio(&burst.both, &of_base.both))
                    .with("samples", burst.flushes.count()),
            );
        }
    }
    for under in unders {
        let p50 = under.open.p50();
        rows.push(row(under).figure("open_p50_ms", p50 / 1e3).with("samples", under.open.count()));
    }
    rows
}
