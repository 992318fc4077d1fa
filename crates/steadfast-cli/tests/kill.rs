//! A killed `steadfast apply` leaves a whole number of commits: all that were acknowledged, and perhaps one
//! more.
//!
//! 10,000 scattered edits in 100 commits on a file of 10 GiB, killed with SIGKILL at moments spread over a
//! whole run, right behind random acknowledgements, and within the commit that follows one. After `steadfast
//! recover` the file must equal the model at the last printed commit or the one after it, in every byte: data
//! is compared where the file has any, and a hole is zeros.
//!
//! `STEADFAST_KILL_RUNS` says how many runs (20 without it).

mod run;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use run::{commit_id, folder, run, steadfast};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

const FILE_BYTES: u64 = 10 << 30;
const COMMITS: usize = 100;
const EDITS_PER_COMMIT: usize = 100;
/// Of the model, not of the system.
const PAGE_BYTES: u64 = 4096;
const RUNS_DEFAULT: usize = 20;

/// Numbers that look random and are the same every time (splitmix64).
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % end
    }
}

type Edit = (u64, Vec<u8>);

/// The commits, each a list of edits. One edit in ten lies close to an edit of the commit before, and may
/// overlap it.
fn commits() -> Vec<Vec<Edit>> {
    let mut draws = Draws(1);
    let mut near = 0;
    (0..COMMITS)
        .map(|_| {
            (0..EDITS_PER_COMMIT)
                .map(|k| {
                    let len = 1 + draws.below(300);
                    let at = if k % 10 == 0 { near + draws.below(200) } else { draws.below(FILE_BYTES) };
                    let at = at.min(FILE_BYTES - len);
                    near = at;
                    // No zero bytes: a lost edit must show against a hole.
                    (at, (0..len).map(|_| 1 + draws.below(255) as u8).collect())
                })
                .collect()
        })
        .collect()
}

fn script(commits: &[Vec<Edit>]) -> String {
    let mut script = String::new();
    for edits in commits {
        for (at, bytes) in edits {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            script += &format!("{{\"at\":{at},\"hex\":\"{hex}\"}}\n");
        }
        script += "{\"commit\":true}\n";
    }
    script
}

/// What the file must hold: pages, and zeros everywhere else. The models of successive commits share pages.
#[derive(Clone, Default)]
struct Model(BTreeMap<u64, Rc<Vec<u8>>>);

impl Model {
    fn apply(&mut self, edits: &[Edit]) {
        for (at, bytes) in edits {
            for (offset, &byte) in (*at..).zip(bytes) {
                let page = self
                    .0
                    .entry(offset / PAGE_BYTES)
                    .or_insert_with(|| Rc::new(vec![0; PAGE_BYTES as usize]));
                Rc::make_mut(page)[(offset % PAGE_BYTES) as usize] = byte;
            }
        }
    }

    /// The first byte of the file that is not the model's.
    fn first_difference(&self, file: &File) -> Option<u64> {
        const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];
        if file.metadata().unwrap().len() != FILE_BYTES {
            return Some(file.metadata().unwrap().len().min(FILE_BYTES));
        }
        let seek = |to| match rustix::fs::seek(file, to) {
            Ok(offset) => Some(offset),
            Err(Errno::NXIO) => None,
            Err(error) => panic!("{error}"),
        };
        let mut chunk = vec![0; 256 * PAGE_BYTES as usize];
        // Pages below this one are compared.
        let mut compared = 0;
        let zero = |page: &[u8]| page.iter().position(|&byte| byte != 0);
        let in_hole = |pages: std::ops::Range<u64>| {
            self.0.range(pages).find_map(|(page, bytes)| Some(page * PAGE_BYTES + zero(bytes)? as u64))
        };
        let mut from = 0;
        while let Some(data) = seek(SeekFrom::Data(from)) {
            let hole = seek(SeekFrom::Hole(data)).unwrap();
            let mut page = (data / PAGE_BYTES).max(compared);
            if let Some(offset) = in_hole(compared..page) {
                return Some(offset);
            }
            let end = hole.div_ceil(PAGE_BYTES);
            while page < end {
                let pages = (end - page).min(chunk.len() as u64 / PAGE_BYTES);
                let bytes = &mut chunk[..(pages * PAGE_BYTES) as usize];
                file.read_exact_at(bytes, page * PAGE_BYTES).unwrap();
                for (page, found) in (page..).zip(bytes.chunks(PAGE_BYTES as usize)) {
                    let expected = self.0.get(&page).map_or(&ZEROS[..], |page| page);
                    if found != expected {
                        let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap();
                        return Some(page * PAGE_BYTES + at as u64);
                    }
                }
                page += pages;
            }
            compared = end;
            from = hole;
        }
        in_hole(compared..FILE_BYTES / PAGE_BYTES)
    }
}

/// A fresh file of zeros that takes no space, and an `apply` at work on it.
fn start(folder: &Path) -> Child {
    let path = folder.join("data.bin");
    let _ = std::fs::remove_file(&path);
    File::create_new(&path).unwrap().set_len(FILE_BYTES).unwrap();
    steadfast(folder, &["apply", "data.bin", "edits"]).stdout(Stdio::piped()).spawn().unwrap()
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    /// This long after the start.
    After(Duration),
    /// So long after so many acknowledgements are read.
    Behind(usize, Duration),
}

/// How a run ended.
struct End {
    acknowledged: usize,
    /// How long the run took, if it was over before it could be killed.
    over_after: Option<Duration>,
}

/// Kills `apply` at a moment.
fn kill_at(mut child: Child, moment: Moment) -> End {
    let started = Instant::now();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut acknowledged = 0;
    let mut last = 0;
    let mut count = |line: &str| {
        let id = commit_id(line.trim_end());
        assert!(id > last, "ids grow");
        last = id;
        acknowledged += 1;
    };
    let mut over_after = None;
    let mut line = String::new();
    match moment {
        // Its lines stay in the pipe meanwhile: all of them fit.
        Moment::After(delay) => {
            while started.elapsed() < delay {
                if child.try_wait().unwrap().is_some() {
                    over_after = Some(started.elapsed());
                    break;
                }
                let rest = delay.saturating_sub(started.elapsed());
                std::thread::sleep(rest.min(Duration::from_millis(1)));
            }
        }
        Moment::Behind(lines, delay) => {
            for _ in 0..lines {
                line.clear();
                output.read_line(&mut line).unwrap();
                count(&line);
            }
            // Less than a sleep can be trusted with.
            let read = Instant::now();
            while read.elapsed() < delay {
                std::hint::spin_loop();
            }
        }
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    loop {
        line.clear();
        output.read_line(&mut line).unwrap();
        // A line is one write, so none is cut.
        if line.is_empty() {
            break;
        }
        count(&line);
    }
    if status.signal() == Some(9) {
        over_after = None;
    } else {
        assert!(status.success(), "{status}");
        over_after = over_after.or(Some(started.elapsed()));
    }
    End { acknowledged, over_after }
}

#[test]
fn killed_at_any_moment_the_file_holds_a_whole_number_of_commits() {
    let runs = match std::env::var("STEADFAST_KILL_RUNS") {
        Ok(runs) => runs.parse().expect("STEADFAST_KILL_RUNS must be a number"),
        Err(_) => RUNS_DEFAULT,
    };
    let dir = folder();
    let path = dir.path().join("data.bin");
    let commits = commits();
    std::fs::write(dir.path().join("edits"), script(&commits)).unwrap();
    let mut models = vec![Model::default()];
    for edits in &commits {
        let mut model = models.last().unwrap().clone();
        model.apply(edits);
        models.push(model);
    }

    // One run to its end: it takes so long, and the whole of it is right.
    let started = Instant::now();
    let mut child = start(dir.path());
    let acknowledged: Vec<Duration> =
        BufReader::new(child.stdout.take().unwrap()).lines().map(|_| started.elapsed()).collect();
    assert_eq!(acknowledged.len(), COMMITS, "one line a commit");
    assert!(child.wait().unwrap().success());
    let mut whole_run = started.elapsed();
    let mut between: Vec<Duration> = acknowledged.windows(2).map(|pair| pair[1] - pair[0]).collect();
    between.sort_unstable();
    let one_commit = between[between.len() / 2];
    assert_eq!(models[COMMITS].first_difference(&File::open(&path).unwrap()), None, "without any kill");

    let mut draws = Draws(u64::from(std::process::id()));
    let (mut recovery_time, mut recoveries_killed) = (Duration::ZERO, 0);
    let (mut mid_run, mut replayed, mut in_flight, mut violations) = (0, 0, 0, Vec::new());
    for number in 0..runs {
        let behind = 1 + draws.below(COMMITS as u64 - 1) as usize;
        let part = draws.below(1 << 20) as f64 / f64::from(1 << 20);
        let moment = match number % 3 {
            0 => Moment::After(whole_run.mul_f64(part)),
            1 => Moment::Behind(behind, Duration::ZERO),
            // Closing the file takes much of a whole run: this is aimed at the commits.
            _ => Moment::Behind(behind, one_commit.mul_f64(2.0 * part)),
        };
        let End { acknowledged, over_after } = kill_at(start(dir.path()), moment);
        match over_after {
            None => mid_run += 1,
            // This run was faster than the first one (caches, other work on the machine): aim better from now
            // on.
            Some(over_after) => whole_run = (whole_run + over_after) / 2,
        }
        // A crash during recovery is just another crash.
        if number % 4 == 3 {
            let mut recovery =
                steadfast(dir.path(), &["recover", "data.bin"]).stdout(Stdio::null()).spawn().unwrap();
            std::thread::sleep(recovery_time.mul_f64(part));
            recovery.kill().unwrap();
            recoveries_killed += usize::from(recovery.wait().unwrap().signal() == Some(9));
        }
        let started = Instant::now();
        let recovery = run(dir.path(), &["recover", "--json", "data.bin"]).code(0).json();
        recovery_time = started.elapsed();
        replayed += usize::from(recovery["replayed_commits"].as_u64().unwrap() > 0);
        assert!(!dir.path().join("data.bin.steadfast").exists(), "a plain file is left");

        let file = File::open(&path).unwrap();
        let Some(first) = models[acknowledged].first_difference(&file) else { continue };
        match models.get(acknowledged + 1).map(|next| next.first_difference(&file)) {
            Some(None) => in_flight += 1,
            second => violations.push(format!(
                "run {number}, killed {moment:?}, {acknowledged} acknowledged: differs from that state at offset {first}, from \
                 the next at {second:?}; {recovery}"
            )),
        }
    }
    // Straight to standard error, past the test harness: the figures belong to the result.
    let _ = writeln!(
        std::io::stderr(),
        "kill: {runs} runs of {} ms ({} us a commit), {mid_run} killed mid-run, {recoveries_killed} killed again in recovery, \
         {replayed} recoveries replayed commits, {in_flight} kept the commit in flight, {} violations",
        whole_run.as_millis(),
        one_commit.as_micros(),
        violations.len()
    );
    assert!(violations.is_empty(), "{violations:#?}");
}

/// The comparison itself: it must see one wrong byte anywhere.
#[test]
fn the_comparison_sees_a_single_byte() {
    let dir = folder();
    let commits = commits();
    let mut model = Model::default();
    model.apply(&commits[0]);
    let file = File::options().read(true).write(true).create_new(true).open(dir.path().join("f")).unwrap();
    file.set_len(FILE_BYTES).unwrap();
    for (at, bytes) in &commits[0] {
        file.write_all_at(bytes, *at).unwrap();
    }
    assert_eq!(model.first_difference(&file), None);
    // A byte that should be zero, in a hole, and beside an edit; an edit that is missing.
    for offset in [0, 5 << 30, FILE_BYTES - 1, commits[0][7].0 - 1] {
        file.write_all_at(&[7], offset).unwrap();
        assert_eq!(model.first_difference(&file), Some(offset));
        file.write_all_at(&[0], offset).unwrap();
        assert_eq!(model.first_difference(&file), None);
    }
    model.apply(&[(FILE_BYTES - 100, vec![1])]);
    assert_eq!(model.first_difference(&file), Some(FILE_BYTES - 100));
    file.set_len(FILE_BYTES - 1).unwrap();
    assert_eq!(model.first_difference(&file), Some(FILE_BYTES - 1));
}
