//! Recovery of a file whose writer was killed, beside the least that plain calls need for the same.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use steadfast::store::Resolution;

use crate::data::{self, PAGE_BYTES, Random};
use crate::disk::{Ground, drop_from_cache};
use crate::peers::steadfast::{Base, Stores, open_map, store};
use crate::report::Row;
use crate::{Outcome, Result, Scale};
use steadfast_cli::statistics::Samples;

/// Pages changed by each commit of the writer.
const PAGES: usize = 16;

/// The writer stops when this part of the journal is in use: about as much as waits for recovery in the worst case.
const FILL_PERCENT: u64 = 45;

/// It also stops here, should checkpoints keep the journal emptier than that.
const COMMITS_MAX: u64 = 200_000;

const SEED: u64 = 6;

pub(crate) fn run(scale: &Scale, rounds: usize) -> Result<Outcome> {
    let mut recoveries = Samples::default();
    let mut baselines = Samples::default();
    let mut last = None;
    for _ in 0..rounds {
        let ground = Ground::new(&scale.dir, scale.size, PAGES)?;
        let path = ground.data_file("recovery")?;
        let copy = ground.data_file("plain")?;
        let commits = write_and_die(&path)?;
        let journal = journal_of(&path);
        let inspected = steadfast::inspect(&path)?;
        let waiting =
            inspected.records.iter().filter(|record| record.id > inspected.checkpointed_through).count();
        let journal_bytes = fs::metadata(&journal)?.len();
        let pages = changed_pages(ground.len, commits, waiting as u64)?;

        // Recovery removes the journal, so the plain calls go first.
        baselines.add(from_cold(&ground, [&journal, &copy], || plain(&journal, &copy, &pages))?);
        let mut replayed = 0;
        recoveries.add(from_cold(&ground, [&journal, &path], || {
            replayed = steadfast::recover(&path, Resolution::Replay)?.replayed_commits;
            Ok(())
        })?);
        last = Some((replayed, pages.len(), journal_bytes));
    }
    let Some((replayed, pages, journal_bytes)) = last else { return Err("no rounds, no figures".into()) };
    let row = |system: &str, samples: &Samples| {
        Row::new("recovery", system)
            .figure("p50_us", samples.p50())
            .figure("vs_plain", samples.p50() / baselines.p50())
            .with("replayed_commits", replayed)
            .with("pages", pages)
            .with("journal_bytes", journal_bytes)
            .with("samples", samples.count())
    };
    let rows = vec![row("steadfast-recover", &recoveries), row("plain-calls", &baselines)];
    let notes = vec![
        format!("A child process commits {PAGES} declared edits at a time until its journal is well filled, and is killed."),
        "plain-calls: reads the whole journal file, writes the same pages to a copy of the data file in offset order, and calls fsync."
            .to_owned(),
        "Both begin with journal and data file dropped from the page cache (POSIX_FADV_DONTNEED).".to_owned(),
    ];
    Ok(Outcome { rows, notes })
}

/// Times `work` on a quiet disk, with these files out of the page cache.
fn from_cold(ground: &Ground, files: [&Path; 2], work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    files.into_iter().try_for_each(drop_from_cache)?;
    ground.settle()?;
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// The child's part: commits until the journal is well filled, says how many, and dies without closing.
pub(crate) fn write_until_killed(path: &Path) -> Result<()> {
    let mut map = open_map(path, Base::Load)?;
    let mut random = Random::new(SEED);
    let len = map.len();
    let mut commits = 0;
    loop {
        store(&mut map, Stores::Declared, &data::scattered(&mut random, len, PAGES)?)?;
        map.commit()?;
        commits += 1;
        let status = map.status();
        if status.journal_used_bytes * 100 >= status.journal_bytes * FILL_PERCENT || commits == COMMITS_MAX {
            println!("{commits}");
            // A kill, not an abort, which may leave a core file behind.
            kill_process(getpid(), Signal::KILL)?;
        }
    }
}

fn write_and_die(path: &Path) -> Result<u64> {
    let output = Command::new(std::env::current_exe()?)
        .arg("write-until-killed")
        .arg(path)
        .stderr(Stdio::inherit())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().map_err(|_| format!("the writing child ended with {}", output.status).into())
}

fn journal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".steadfast");
    name.into()
}

/// The pages of the last `waiting` of the child's commits.
fn changed_pages(len: usize, commits: u64, waiting: u64) -> Result<BTreeSet<usize>> {
    let mut random = Random::new(SEED);
    let mut pages = BTreeSet::new();
    for commit in 0..commits {
        let edits = data::scattered(&mut random, len, PAGES)?;
        if commit + waiting >= commits {
            pages.extend(edits.iter().map(|edit| edit.offset / PAGE_BYTES));
        }
    }
    Ok(pages)
}

/// The least that recovery has to do, with plain calls and nothing checked.
fn plain(journal: &Path, copy: &Path, pages: &BTreeSet<usize>) -> Result<()> {
    let mut file = File::open(journal)?;
    let mut chunk = vec![0; 1 << 20];
    while file.read(&mut chunk)? > 0 {}
    let data = File::options().write(true).open(copy)?;
    for &page in pages {
        data.write_all_at(&chunk[..PAGE_BYTES], (page * PAGE_BYTES) as u64)?;
    }
    Ok(data.sync_all()?)
}
