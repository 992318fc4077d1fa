//! What is in memory of files: `steadfast stat` beside vmtouch and fincore, as whole commands.
//!
//! Who begins moves on from round to round. The answers are compared, too.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::fs::{FallocateFlags, fallocate};
use steadfast::residency::CachedFile;

use crate::data::PAGE_BYTES;
use crate::disk::Ground;
use crate::report::Row;
use crate::shared_map::SharedMap;
use crate::{Outcome, Result, Scale};
use steadfast_cli::statistics::Samples;

const BIG_BYTES: u64 = 10 << 30;
const SPARSE_BYTES: u64 = 1 << 40;
/// In so many folders.
const TREE_FOLDERS: usize = 100;

/// A command that looks.
struct Tool {
    name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
    /// Pages in memory, from what it prints; `None` if it does not say.
    pages: fn(&str) -> Option<u64>,
    /// fincore takes no folders.
    takes_folders: bool,
}

pub(crate) fn run(scale: &Scale, rounds: usize, files: usize, command: Option<&Path>) -> Result<Outcome> {
    let ground = Ground::new(&scale.dir, 1 << 20, 0)?;
    let command = match command {
        Some(command) => command.canonicalize()?,
        None => std::env::current_exe()?.with_file_name("steadfast"),
    };
    let mut notes = vec![
        "Each sample is a whole command, from its start to its end, that prints totals; the first of each is thrown away.".to_owned(),
        "10 GiB: allocated, and read from its start to its end. 1 TiB: sparse, one page in memory.".to_owned(),
        "true: a command that does nothing, which bounds every ratio of whole commands.".to_owned(),
        "in the process: the question alone, as the library asks it (cachestat) and as vmtouch does (mincore)."
            .to_owned(),
    ];
    let all = [
        Tool {
            name: "steadfast",
            program: command,
            arguments: &["stat", "--total", "--json"],
            pages: |said| {
                serde_json::from_str::<serde_json::Value>(said).ok()?["total"]["resident_pages"].as_u64()
            },
            takes_folders: true,
        },
        Tool {
            name: "vmtouch",
            program: "vmtouch".into(),
            arguments: &[],
            pages: |said| {
                let line = said.lines().find_map(|line| line.trim().strip_prefix("Resident Pages: "))?;
                line.split('/').next()?.parse().ok()
            },
            takes_folders: true,
        },
        Tool {
            name: "fincore",
            program: "fincore".into(),
            arguments: &["--noheadings", "--output", "PAGES"],
            pages: |said| said.trim().parse().ok(),
            takes_folders: false,
        },
        Tool { name: "true", program: "true".into(), arguments: &[], pages: |_| None, takes_folders: true },
    ];
    let mut tools = Vec::new();
    for tool in all {
        match Command::new(&tool.program).arg("--help").output() {
            Ok(_) => tools.push(tool),
            Err(error) => notes.push(format!("{}: not measured: {error}", tool.name)),
        }
    }
    let able = |is_folder: bool| -> Vec<_> {
        tools.iter().filter(|tool| tool.takes_folders || !is_folder).collect()
    };
    let mut rows = Vec::new();
    let path = big(&ground)?;
    for state in ["10 GiB, absent", "10 GiB, read"] {
        if state == "10 GiB, read" {
            read(&path)?;
        }
        rows.extend(measure(state, &path, &able(false), rounds)?);
        rows.extend(measure_in_process(state, &path, rounds)?);
    }
    fs::remove_file(&path)?;
    let path = sparse(&ground)?;
    rows.extend(measure("1 TiB, sparse", &path, &able(false), rounds)?);
    fs::remove_file(&path)?;
    let path = tree(&ground, files)?;
    rows.extend(measure("tree", &path, &able(true), rounds)?);
    Ok(Outcome { rows, notes })
}

fn measure(what: &'static str, path: &Path, tools: &[&Tool], rounds: usize) -> Result<Vec<Row>> {
    let mut times: Vec<Samples> = tools.iter().map(|_| Samples::default()).collect();
    let mut pages: Vec<Option<u64>> = vec![None; tools.len()];
    for round in 0..=rounds {
        for turn in 0..tools.len() {
            let number = (round + turn) % tools.len();
            let tool = tools[number];
            let start = Instant::now();
            let output = Command::new(&tool.program).args(tool.arguments).arg(path).output()?;
            let taken = start.elapsed();
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{}: {}: {said}", tool.name, output.status).into());
            }
            pages[number] = (tool.pages)(&String::from_utf8_lossy(&output.stdout));
            if round > 0 {
                times[number].add(taken);
            }
        }
    }
    let ours = times.first().map_or(f64::NAN, Samples::p50);
    let told = pages.first().copied().flatten();
    let agrees = |pages: &Option<u64>| pages.map(|pages| Some(pages) == told);
    let rows = tools.iter().zip(&times).zip(&pages).map(|((tool, times), pages)| {
        Row::new("looks", tool.name)
            .with("file", what)
            .figure("p50_us", times.p50())
            .figure("times_steadfast", times.p50() / ours)
            .with("resident_pages", *pages)
            .with("agrees", agrees(pages))
            .with("samples", times.count())
    });
    Ok(rows.collect())
}

fn measure_in_process(what: &'static str, path: &Path, rounds: usize) -> Result<Vec<Row>> {
    let file = CachedFile::open(path)?;
    let map = SharedMap::open(path)?;
    let mut times = [Samples::default(), Samples::default()];
    let mut pages = [None; 2];
    for round in 0..=rounds {
        for turn in 0..2 {
            let number = (round + turn) % 2;
            let start = Instant::now();
            pages[number] = if number == 0 { file.counts(..)?.resident } else { Some(map.resident_pages()?) };
            if round > 0 {
                times[number].add(start.elapsed());
            }
        }
    }
    let names = ["the library, in the process", "mincore, in the process"];
    let rows = names.into_iter().zip(&times).zip(&pages).map(|((name, taken), found)| {
        Row::new("looks", name)
            .with("file", what)
            .figure("p50_us", taken.p50())
            .figure("times_steadfast", taken.p50() / times[0].p50())
            .with("resident_pages", *found)
            .with("agrees", *found == pages[0])
            .with("samples", taken.count())
    });
    Ok(rows.collect())
}

/// None of it is in memory.
fn big(ground: &Ground) -> Result<PathBuf> {
    let path = ground.path("big");
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fallocate(&file, FallocateFlags::empty(), 0, BIG_BYTES)
        .map_err(|error| format!("no room for 10 GiB in {}: {error}", ground.folder().display()))?;
    file.sync_all()?;
    Ok(path)
}

fn read(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    for at in (0..BIG_BYTES).step_by(piece.len()) {
        file.read_exact_at(&mut piece, at)?;
    }
    Ok(())
}

fn sparse(ground: &Ground) -> Result<PathBuf> {
    let path = ground.path("sparse");
    let file = File::options().write(true).create_new(true).open(&path)?;
    file.set_len(SPARSE_BYTES)?;
    file.write_all_at(b"x", SPARSE_BYTES / 3 / PAGE_BYTES as u64 * PAGE_BYTES as u64)?;
    Ok(path)
}

fn tree(ground: &Ground, files: usize) -> Result<PathBuf> {
    let path = ground.path("tree");
    for number in 0..files {
        let folder = path.join(format!("{:02}", number * TREE_FOLDERS / files));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(number.to_string()), vec![b'x'; number % 8 * 1000 + 1])?;
    }
    ground.settle()?;
    Ok(path)
}
