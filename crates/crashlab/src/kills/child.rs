//! The processes that are killed: this program again, with a job.
//!
//! They speak in lines, each a single `write`, so that a kill cuts none:
//!
//! | line | means |
//! |---|---|
//! | `b M N` | the commit that makes state N of file M begins |
//! | `a M N` | state N of file M was acknowledged |
//! | `c M` | file M was closed |
//! | `f PID` | a child was forked |
//! | `w` | the file is about to be opened |
//! | `o REPLAYED` | the file is open; a copy of what it shows stands beside it |

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steadfast::{AtomicMapping, CommitTicket, ErrorKind};

use super::raw;
use super::script::{Script, Way, perform};

/// How long a waiter waits for the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// What a process is started for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Job {
    /// One thread for each script, all at once.
    Threads { folder: PathBuf, scripts: Vec<Script>, commits: usize, fork: Option<Fork> },
    /// Commits until its standard input ends.
    Holder { folder: PathBuf, script: Script },
    /// Waits for the lock, and keeps the file open until its standard input ends.
    Waiter { path: PathBuf, seen: PathBuf },
}

/// The thread of the first file forks.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Fork {
    /// After this commit.
    pub(super) after: usize,
    /// The child drops its copy of the map.
    pub(super) drops: bool,
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Does a job, and says what went wrong on standard error.
pub(super) fn work(job: &str) -> ! {
    let done = serde_json::from_str(job).map_err(Into::into).and_then(|job| match job {
        Job::Threads { folder, scripts, commits, fork } => threads(&folder, &scripts, commits, fork),
        Job::Holder { folder, script } => hold(&folder, script),
        Job::Waiter { path, seen } => wait(&path, &seen),
    });
    if let Err(error) = &done {
        eprintln!("{error}");
    }
    std::process::exit(i32::from(done.is_err()))
}

/// Standard output without a buffer and without a lock; and no copy of it, which a forked child would keep open.
struct Out;

impl Out {
    fn say(&self, line: &str) -> io::Result<()> {
        let line = format!("{line}\n");
        // As short as it is, a pipe takes the whole of it.
        rustix::io::write(io::stdout(), line.as_bytes())?;
        Ok(())
    }
}

fn open(folder: &Path, script: &Script) -> steadfast::Result<AtomicMapping> {
    let path = folder.join(script.name());
    crate::real::open(script.is_view(), script.options(), &path)
}

/// What is said by whom: each thread has one of these.
struct Player<'a> {
    script: Script,
    map: Option<AtomicMapping>,
    out: &'a Out,
    tickets: Sender<(usize, usize, CommitTicket)>,
}

impl Player<'_> {
    fn commit(&mut self, n: usize) -> Outcome {
        let Some(map) = self.map.as_mut() else { return Ok(()) };
        let (number, out) = (self.script.map, self.out);
        let change = self.script.change(n, map.len());
        if let Some(op) = change.undone {
            perform(map, op, n)?;
            map.rollback()?;
        }
        for op in change.ops {
            perform(map, op, n)?;
        }
        out.say(&format!("b {number} {n}"))?;
        match change.way {
            Way::Now => {
                map.commit()?;
                out.say(&format!("a {number} {n}"))?;
            }
            Way::Relaxed => drop(map.commit_relaxed()?),
            Way::Ticket => self.tickets.send((number, n, map.commit_async()?))?,
        }
        if change.checkpoint {
            map.checkpoint()?;
            out.say(&format!("a {number} {n}"))?;
        }
        Ok(())
    }

    fn close(mut self) -> Outcome {
        if let Some(map) = self.map.take() {
            map.close()?;
            self.out.say(&format!("c {}", self.script.map))?;
        }
        Ok(())
    }

    fn fork(&mut self, drops: bool) -> Outcome {
        let pid = raw::fork(|| inherit(&mut self.map, drops))?;
        Ok(self.out.say(&format!("f {pid}"))?)
    }
}

/// Waits for the tickets of other threads.
fn wait_for_tickets(tickets: Receiver<(usize, usize, CommitTicket)>, out: &Out) -> Outcome {
    for (number, n, ticket) in tickets {
        ticket.wait()?;
        out.say(&format!("a {number} {n}"))?;
    }
    Ok(())
}

fn threads(folder: &Path, scripts: &[Script], commits: usize, fork: Option<Fork>) -> Outcome {
    let out = &Out;
    // A fork is to find all files open.
    let all_open = &Barrier::new(scripts.len());
    thread::scope(|scope| {
        let mut waiters = Vec::new();
        let mut players = Vec::new();
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (sender, receiver) = mpsc::channel();
                waiters.push(scope.spawn(move || wait_for_tickets(receiver, out)));
                sender
            })
            .collect();
        for (&script, tickets) in scripts.iter().zip(senders.iter().cycle()) {
            let tickets = tickets.clone();
            players.push(scope.spawn(move || {
                let opened = open(folder, &script);
                all_open.wait();
                let mut player = Player { script, map: Some(opened?), out, tickets };
                for n in 1..=commits {
                    player.commit(n)?;
                    if let Some(fork) = fork
                        && script.map == 0
                        && fork.after == n
                    {
                        player.fork(fork.drops)?;
                    }
                }
                player.close()
            }));
        }
        drop(senders);
        let mut ended = players.into_iter().chain(waiters).map(|thread| thread.join());
        ended.try_for_each(|ended| ended.unwrap_or_else(|_| Err("a thread panicked".into())))
    })
}

/// What a forked child does with its parent's map: finds out that it can do nothing, and stays, with all descriptors.
fn inherit(map: &mut Option<AtomicMapping>, drops: bool) {
    // The end of standard output shows the end of the parent.
    let told = rustix::stdio::dup2_stdout(io::stderr()).is_ok();
    let verdict = match map.as_mut() {
        Some(map) if told => allowed(map).map_or("ok", |what| what),
        _ => "nothing to try it on",
    };
    if drops {
        drop(map.take());
    }
    let line = format!("heir {} {verdict}\n", std::process::id());
    let _ = rustix::io::write(io::stderr(), line.as_bytes());
    until_input_ends();
}

/// The call that was not refused as it should be.
fn allowed(map: &mut AtomicMapping) -> Option<&'static str> {
    let refused =
        |result: steadfast::Result<()>| result.is_err_and(|error| error.kind() == ErrorKind::Forked);
    let calls: [(&str, bool); 9] = [
        ("commit", refused(map.commit().map(drop))),
        ("commit_relaxed", refused(map.commit_relaxed().map(drop))),
        ("commit_async", refused(map.commit_async().map(drop))),
        ("checkpoint", refused(map.checkpoint())),
        ("rollback", refused(map.rollback())),
        ("resize", refused(map.resize(5))),
        ("write_at", refused(map.write_at(0, b"x"))),
        ("edit", refused(map.edit(..).map(drop))),
        ("read_at", refused(map.read_at(0, &mut [0]))),
    ];
    calls.into_iter().find_map(|(call, refused)| (!refused).then_some(call))
}

fn until_input_ends() {
    while rustix::io::read(io::stdin(), &mut [0; 16]).is_ok_and(|count| count > 0) {}
}

fn hold(folder: &Path, script: Script) -> Outcome {
    let out = &Out;
    let map = Some(open(folder, &script)?);
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    thread::spawn(move || {
        until_input_ends();
        told.store(true, Ordering::Release);
    });
    thread::scope(|scope| {
        let (tickets, receiver) = mpsc::channel();
        let waiter = scope.spawn(move || wait_for_tickets(receiver, out));
        let mut player = Player { script, map, out, tickets };
        let mut n = 0;
        while !stop.load(Ordering::Acquire) {
            n += 1;
            player.commit(n)?;
        }
        player.close()?;
        waiter.join().unwrap_or_else(|_| Err("a thread panicked".into()))
    })
}

fn wait(path: &Path, seen: &Path) -> Outcome {
    let out = Out;
    out.say("w")?;
    let map = AtomicMapping::options().lock_timeout(LOCK_TIMEOUT).load(path)?;
    File::create(seen)?.write_all(&map)?;
    out.say(&format!("o {}", map.status().recovery.replayed_commits))?;
    io::stdin().read_to_end(&mut Vec::new())?;
    map.close()?;
    out.say("c 0")?;
    Ok(())
}
