//! What is known of the watched files: what the last look saw, and how that differs from the one before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::look::{Look, Seen, Trouble};
use super::{Order, journal, page};
use crate::screen::{Page, Shown, View};
use crate::select::Selection;
use crate::size;
use crate::stat::{self, page_bytes};

/// So many rounds a change stays noted.
const NOTED_ROUNDS: u32 = 5;

/// Something that happened to a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    New,
    /// Another file has its name now.
    Replaced,
    Grew(u64),
    Shrank(u64),
    Gone,
    /// It cannot be looked at.
    Unreadable,
}

impl Change {
    pub(super) fn words(&self) -> String {
        match self {
            Change::New => "new".to_owned(),
            Change::Replaced => "replaced".to_owned(),
            Change::Grew(bytes) => format!("grew by {}", size::short(*bytes)),
            Change::Shrank(bytes) => format!("shrank by {}", size::short(*bytes)),
            Change::Gone => "gone".to_owned(),
            Change::Unreadable => "cannot be read".to_owned(),
        }
    }
}

/// A name, and the file behind it.
#[derive(Debug)]
pub(super) struct Watched {
    identity: (u64, u64),
    /// Without pages where there is nothing.
    pub(super) row: stat::Row,
    /// `None` after one look, and where nobody can tell.
    pub(super) written_per_second: Option<f64>,
    pub(super) journal: Option<journal::Seen>,
    pub(super) commits_per_second: Option<f64>,
    /// And for how many rounds it is still noted.
    change: Option<(Change, u32)>,
    pub(super) is_there: bool,
}

impl Watched {
    pub(super) fn change(&self) -> Option<&Change> {
        self.change.as_ref().map(|(change, _)| change)
    }
}

/// All of it.
pub(super) struct Known {
    /// Names that stay although nothing is there.
    named: HashSet<PathBuf>,
    pub(super) title: String,
    interval: Duration,
    pub(super) round: u64,
    pub(super) at: Duration,
    pub(super) files: BTreeMap<PathBuf, Watched>,
    failed: Vec<(PathBuf, Trouble)>,
    written_pages: Option<u64>,
    /// Of the whole machine.
    pub(super) machine_written_per_second: Option<f64>,
}

impl Known {
    pub(super) fn new(selection: &Selection, interval: Duration) -> Known {
        let names: Vec<_> = selection.paths().iter().map(|path| path.display().to_string()).collect();
        Known {
            named: selection.paths().iter().cloned().collect(),
            title: names.join(" "),
            interval,
            round: 0,
            at: Duration::ZERO,
            files: BTreeMap::new(),
            failed: Vec::new(),
            written_pages: None,
            machine_written_per_second: None,
        }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// In the order that is asked for.
    pub(super) fn sorted(&self, view: &View) -> Vec<(&PathBuf, &Watched)> {
        let key: &dyn Fn(&Watched) -> u64 = match page::order(view) {
            Order::Path => &|_| 0,
            Order::Size => &|file| file.row.size_bytes,
            Order::Cached => &|file| file.row.resident_pages.unwrap_or(0),
            Order::Percent => {
                &|file| file.row.resident_pages.unwrap_or(0) * 1_000_000 / file.row.pages.max(1)
            }
            Order::Dirty => &|file| file.row.dirty_pages.unwrap_or(0),
            Order::Writing => &|file| file.row.write_back_pages.unwrap_or(0),
            Order::Out => &|file| file.written_per_second.unwrap_or(0.0) as u64,
            Order::Commits => &|file| file.journal.as_ref().map_or(0, |journal| journal.last_commit),
        };
        let mut files: Vec<_> = self.files.iter().collect();
        // Stable: of equals, names stay in order.
        files.sort_by_key(|(_, file)| std::cmp::Reverse(key(file)));
        if view.is_reversed() {
            files.reverse();
        }
        files
    }

    pub(super) fn total(&self) -> stat::Total {
        let there = self.files.values().filter(|file| file.is_there).map(|file| &file.row);
        stat::Total::of(there, self.failed.len())
    }

    /// What the file that stands at a name now has to do with what stood there before.
    fn compare(&self, seen: Seen, seconds: f64) -> Watched {
        let before = self.files.get(&seen.path).filter(|before| before.is_there);
        let mut now = Watched {
            identity: seen.identity,
            row: seen.row,
            written_per_second: None,
            journal: seen.journal,
            commits_per_second: None,
            change: None,
            is_there: true,
        };
        let Some(before) = before else {
            now.change = (self.round > 0).then_some((Change::New, NOTED_ROUNDS));
            return now;
        };
        if before.identity != now.identity {
            now.change = Some((Change::Replaced, NOTED_ROUNDS));
            return now;
        }
        let (was, is) = (before.row.size_bytes, now.row.size_bytes);
        let grown =
            before.change.as_ref().filter(|(change, _)| matches!(change, Change::New | Change::Replaced));
        now.change = match (is.cmp(&was), grown) {
            // A file that is new grows, as all do; that it is new says more.
            (_, Some((change, rounds))) if *rounds > 1 => Some((change.clone(), rounds - 1)),
            (std::cmp::Ordering::Greater, _) => Some((Change::Grew(is - was), NOTED_ROUNDS)),
            (std::cmp::Ordering::Less, _) => Some((Change::Shrank(was - is), NOTED_ROUNDS)),
            (std::cmp::Ordering::Equal, _) => before
                .change
                .as_ref()
                .filter(|(_, rounds)| *rounds > 1)
                .map(|(change, rounds)| (change.clone(), rounds - 1)),
        };
        let waiting = |row: &stat::Row| Some(row.dirty_pages? + row.write_back_pages?);
        // What is cut off is not written.
        if let (Some(was_waiting), Some(waits)) = (waiting(&before.row), waiting(&now.row))
            && seconds > 0.0
        {
            let went = if is < was { 0 } else { was_waiting.saturating_sub(waits) };
            now.written_per_second = Some((went * page_bytes()) as f64 / seconds);
        }
        if let (Some(then), Some(journal)) = (&before.journal, &now.journal) {
            let seconds = journal.at.saturating_sub(then.at).as_secs_f64();
            now.commits_per_second = if seconds > 0.0 {
                Some(journal.last_commit.saturating_sub(then.last_commit) as f64 / seconds)
            } else {
                // Not read again yet.
                before.commits_per_second
            };
        }
        now
    }

    /// Nothing can be seen there.
    fn missing(&self, path: &PathBuf, change: Change, is_named: bool) -> Option<Watched> {
        let before = self.files.get(path);
        let rounds = match before.and_then(|before| before.change.as_ref()) {
            Some((noted, rounds)) if *noted == change => rounds - 1,
            _ => NOTED_ROUNDS,
        };
        (is_named || rounds > 0).then(|| Watched {
            identity: (0, 0),
            row: stat::Row { path: path.display().to_string(), ..stat::Row::default() },
            written_per_second: None,
            journal: None,
            commits_per_second: None,
            change: Some((change, rounds.max(1))),
            is_there: false,
        })
    }
}

impl Shown for Known {
    type Look = Look;

    fn take(&mut self, look: Look) {
        let seconds = look.at.saturating_sub(self.at).as_secs_f64();
        let mut files = BTreeMap::new();
        for seen in look.files {
            files.insert(seen.path.clone(), self.compare(seen, seconds));
        }
        for (path, trouble) in &look.failed {
            let change = match trouble {
                Trouble::Gone => Change::Gone,
                Trouble::Other(_) => Change::Unreadable,
            };
            files.extend(self.missing(path, change, true).map(|file| (path.clone(), file)));
        }
        // What was there, or was said to be gone a moment ago.
        let gone: HashMap<_, _> = self
            .files
            .keys()
            .filter(|path| !files.contains_key(*path))
            .filter_map(|path| {
                Some((path.clone(), self.missing(path, Change::Gone, self.named.contains(path))?))
            })
            .collect();
        files.extend(gone);
        self.machine_written_per_second = match (self.written_pages, look.written_pages) {
            (Some(before), Some(now)) if seconds > 0.0 => {
                Some((now.saturating_sub(before) * page_bytes()) as f64 / seconds)
            }
            _ => None,
        };
        self.written_pages = look.written_pages;
        self.failed = look.failed;
        self.files = files;
        self.at = look.at;
        self.round += 1;
    }

    fn page(&self, view: &View) -> Page<'_> {
        page::of(self, view)
    }

    fn answer(&self, view: &View) -> impl Serialize {
        Answer {
            schema: 1,
            round: self.round,
            seconds: self.at.as_secs_f64(),
            page_bytes: page_bytes(),
            files: self
                .sorted(view)
                .into_iter()
                .filter(|(_, file)| file.is_there)
                .map(|(_, file)| File::of(file))
                .collect(),
            gone: self
                .files
                .iter()
                .filter(|(_, file)| file.change() == Some(&Change::Gone))
                .map(|(path, _)| path.display().to_string())
                .collect(),
            total: self.total(),
            machine_written_bytes_per_second: self.machine_written_per_second,
            failed: self
                .failed
                .iter()
                .filter_map(|(path, trouble)| match trouble {
                    Trouble::Gone => None,
                    Trouble::Other(error) => {
                        Some(Failed { path: path.display().to_string(), error: error.clone() })
                    }
                })
                .collect(),
        }
    }

    fn choices(&self, _view: &View) -> (usize, usize) {
        (page::orders(), 1)
    }

    fn complaints(&self) -> Vec<String> {
        let words = |(path, trouble): &(PathBuf, Trouble)| match trouble {
            Trouble::Gone => format!("there is no file {}", path.display()),
            Trouble::Other(error) => error.clone(),
        };
        self.failed.iter().map(words).collect()
    }
}

/// A line of JSON: a round.
#[derive(Debug, Serialize)]
struct Answer<'known> {
    schema: u32,
    round: u64,
    /// Since the watch began.
    seconds: f64,
    page_bytes: u64,
    files: Vec<File<'known>>,
    gone: Vec<String>,
    total: stat::Total,
    machine_written_bytes_per_second: Option<f64>,
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct File<'known> {
    #[serde(flatten)]
    row: &'known stat::Row,
    written_bytes_per_second: Option<f64>,
    /// `new`, `replaced`, `grew` or `shrank`, for some rounds after it happened.
    change: Option<&'static str>,
    journal: Option<&'known journal::Seen>,
    commits_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Failed {
    path: String,
    error: String,
}

impl<'known> File<'known> {
    fn of(file: &'known Watched) -> File<'known> {
        File {
            row: &file.row,
            written_bytes_per_second: file.written_per_second,
            change: file.change().map(|change| match change {
                Change::New => "new",
                Change::Replaced => "replaced",
                Change::Grew(_) => "grew",
                Change::Shrank(_) => "shrank",
                Change::Gone => "gone",
                Change::Unreadable => "unreadable",
            }),
            journal: file.journal.as_ref(),
            commits_per_second: file.commits_per_second,
        }
    }
}
