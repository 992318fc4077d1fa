//! What is known of the watched files: what the last look saw, and how that differs from the one before.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::answer::Answer;
use super::look::{Look, Seen, Trouble};
use super::{Order, journal, page};
use crate::screen::{Page, Shown, View};
use crate::select::Selection;
use crate::size;
use crate::stat::{self, page_bytes};

/// So long a change stays noted; a round at least.
const NOTED: Duration = Duration::from_secs(5);

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
            Change::Unreadable => "unreadable".to_owned(),
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
    /// And when it was seen.
    change: Option<(Change, Duration)>,
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
    pub(super) failed: Vec<(PathBuf, Trouble)>,
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
            Order::Percent => &|file| file.row.resident_ppm(),
            Order::Dirty => &|file| file.row.dirty_pages.unwrap_or(0),
            Order::Writing => &|file| file.row.write_back_pages.unwrap_or(0),
            Order::Out => &|file| file.written_per_second.unwrap_or(0.0) as u64,
            Order::Commits => &|file| file.journal.as_ref().map_or(0, |journal| journal.last_commit),
        };
        let mut files: Vec<_> = self.files.iter().collect();
        // Stable: of equals, names stay in order.
        stat::largest_first(
            &mut files,
            |(_, file)| key(file),
            |_, _| std::cmp::Ordering::Equal,
            view.is_reversed(),
        );
        files
    }

    pub(super) fn total(&self) -> stat::Total {
        let there = self.files.values().filter(|file| file.is_there).map(|file| &file.row);
        stat::Total::of(there, self.failed.len())
    }

    /// What the file that stands at a name now has to do with what stood there before.
    fn compare(&self, before: Option<&Watched>, seen: Seen, at: Duration) -> Watched {
        let seconds = at.saturating_sub(self.at).as_secs_f64();
        let mut now = Watched {
            identity: seen.identity,
            row: seen.row,
            written_per_second: None,
            journal: seen.journal,
            commits_per_second: None,
            change: None,
            is_there: true,
        };
        let Some(before) = before.filter(|before| before.is_there) else {
            now.change = (self.round > 0).then_some((Change::New, at));
            return now;
        };
        if before.identity != now.identity {
            now.change = Some((Change::Replaced, at));
            return now;
        }
        let (was, is) = (before.row.size_bytes, now.row.size_bytes);
        let noted = before.change.clone().filter(|(_, since)| at.saturating_sub(*since) < NOTED);
        now.change = match is.cmp(&was) {
            // A file that is new grows, as all do; that it is new says more.
            _ if matches!(noted, Some((Change::New | Change::Replaced, _))) => noted,
            Ordering::Greater => Some((Change::Grew(is - was), at)),
            Ordering::Less => Some((Change::Shrank(was - is), at)),
            Ordering::Equal => noted,
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

    /// Nothing can be seen there. `None` once that was said for long enough.
    fn missing(
        before: Option<&Watched>,
        path: &Path,
        change: Change,
        is_named: bool,
        at: Duration,
    ) -> Option<Watched> {
        let since = match before.and_then(|before| before.change.as_ref()) {
            Some((noted, since)) if *noted == change => *since,
            _ => at,
        };
        (is_named || at == since || at.saturating_sub(since) < NOTED).then(|| Watched {
            identity: (0, 0),
            row: stat::Row { path: path.display().to_string(), ..stat::Row::default() },
            written_per_second: None,
            journal: None,
            commits_per_second: None,
            change: Some((change, since)),
            is_there: false,
        })
    }
}

impl Shown for Known {
    type Look = Look;

    fn take(&mut self, look: Look) {
        let seconds = look.at.saturating_sub(self.at).as_secs_f64();
        let before = std::mem::take(&mut self.files);
        // Both in the order of their names: each is passed once, without a search, as they may be very many.
        let mut seen = look.files;
        seen.sort_by(|one, other| one.path.cmp(&other.path));
        // Of two with one name the last.
        seen.dedup_by(|later, kept| {
            let is_same = later.path == kept.path;
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
        let mut passed = before.iter().peekable();
        let mut now = Vec::with_capacity(seen.len());
        let mut unseen = Vec::new();
        for seen in seen {
            while let Some(other) = passed.next_if(|(path, _)| **path < seen.path) {
                unseen.push(other);
            }
            let own = passed.next_if(|(path, _)| **path == seen.path).map(|(_, before)| before);
            now.push((seen.path.clone(), self.compare(own, seen, look.at)));
        }
        unseen.extend(passed);
        let mut files: BTreeMap<_, _> = now.into_iter().collect();
        for (path, trouble) in &look.failed {
            let change = match trouble {
                Trouble::Gone => Change::Gone,
                Trouble::Other(_) => Change::Unreadable,
            };
            let missing = Known::missing(before.get(path), path, change, true, look.at);
            files.extend(missing.map(|file| (path.clone(), file)));
        }
        // What was there, or was said to be gone a moment ago.
        for (path, own) in unseen {
            if !files.contains_key(path) {
                let is_named = self.named.contains(path);
                let missing = Known::missing(Some(own), path, Change::Gone, is_named, look.at);
                files.extend(missing.map(|file| (path.clone(), file)));
            }
        }
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
        Answer::of(self, view)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::snapshots::{assert_is_kept, at_both_sizes, drawn, terminal};

    const PAGE: u64 = 4096;

    fn known() -> Known {
        Known::new(&Selection::of(&["/srv/data".into()]), Duration::from_secs(1))
    }

    /// A file of so many pages, half of them in memory, `dirty` of those dirty.
    fn seen(path: &str, inode: u64, pages: u64, dirty: u64) -> Seen {
        let parts = (0..64).map(|part| stat::Part {
            pages: pages.div_ceil(64),
            resident_pages: Some(if part % 2 == 0 { pages.div_ceil(64) } else { 0 }),
            dirty_pages: Some(u64::from(dirty > 0 && part == 8)),
        });
        Seen {
            path: path.into(),
            identity: (1, inode),
            row: stat::Row {
                path: path.to_owned(),
                size_bytes: pages * PAGE,
                pages,
                resident_pages: Some(pages / 2),
                dirty_pages: Some(dirty),
                write_back_pages: Some(0),
                evicted_pages: Some(pages / 4),
                recently_evicted_pages: Some(0),
                unknown: None,
                parts: parts.collect(),
            },
            journal: None,
        }
    }

    fn look(second: u64, files: Vec<Seen>) -> Look {
        Look {
            at: Duration::from_secs(second),
            files,
            failed: Vec::new(),
            written_pages: Some(second * 2560),
        }
    }

    fn change(known: &Known, path: &str) -> Option<Change> {
        known.files[&PathBuf::from(path)].change().cloned()
    }

    #[test]
    fn every_file_is_found_again_however_its_name_sorts() {
        // As bytes `a-b` and `a.b` come before what lies below `a`, as names after it.
        let all =
            || ["a", "a-b", "a.b", "a/b", "a/b-c", "a/b/c", "b"].map(|path| seen(path, 1, 10, 0)).to_vec();
        let mut known = known();
        known.take(look(0, all()));
        known.take(look(1, all()));
        assert!(known.files.values().all(|file| file.change().is_none()));
        let mut some = all();
        some.retain(|file| file.path != Path::new("a.b") && file.path != Path::new("b"));
        known.take(look(2, some));
        let gone = |known: &Known| -> Vec<_> {
            let is_gone = |file: &Watched| file.change() == Some(&Change::Gone);
            known.files.iter().filter(|(_, file)| is_gone(file)).map(|(path, _)| path.clone()).collect()
        };
        assert_eq!(gone(&known), [PathBuf::from("a.b"), PathBuf::from("b")]);
        // Two with one name: the last.
        let mut twice = all();
        twice.push(seen("a/b", 2, 10, 0));
        known.take(look(3, twice));
        assert!(gone(&known).is_empty());
        assert_eq!(change(&known, "a/b"), Some(Change::Replaced));
        assert_eq!(change(&known, "a-b"), None);
    }

    #[test]
    fn growth_replacement_new_files_and_those_that_vanish_are_told() {
        let mut known = known();
        known.take(look(0, vec![seen("a", 1, 10, 0), seen("b", 2, 10, 0), seen("c", 3, 10, 0)]));
        assert_eq!([change(&known, "a"), change(&known, "b")], [None, None], "nothing is new at first");
        known.take(look(
            1,
            vec![seen("a", 1, 12, 0), seen("b", 9, 10, 0), seen("d", 4, 10, 0), seen("e", 5, 9, 0)],
        ));
        assert_eq!(change(&known, "a"), Some(Change::Grew(2 * PAGE)));
        assert_eq!(change(&known, "b"), Some(Change::Replaced));
        assert_eq!(change(&known, "c"), Some(Change::Gone));
        assert_eq!(change(&known, "d"), Some(Change::New));
        assert_eq!(known.total().files, 4, "what is gone is no file");
        known.take(look(2, vec![seen("a", 1, 5, 0)]));
        assert_eq!(change(&known, "a"), Some(Change::Shrank(7 * PAGE)));
        // For five seconds it is said, then the name goes too.
        for second in 3..=7 {
            known.take(look(second, vec![seen("a", 1, 5, 0)]));
            let is_there = known.files.contains_key(&PathBuf::from("d"));
            assert_eq!(is_there, second < 7, "{second}");
        }
        assert_eq!(change(&known, "a"), None);
        assert_eq!(known.files.keys().collect::<Vec<_>>(), [&PathBuf::from("a")]);
    }

    #[test]
    fn a_name_that_was_given_stays_when_nothing_is_there_and_comes_back_as_new() {
        let mut known = known();
        let failed = vec![(PathBuf::from("/srv/data"), Trouble::Gone)];
        for round in 0..20 {
            known.take(Look { failed: failed.clone(), ..look(round, Vec::new()) });
            assert_eq!(change(&known, "/srv/data"), Some(Change::Gone));
        }
        assert_eq!(known.complaints(), ["there is no file /srv/data"]);
        known.take(look(20, vec![seen("/srv/data", 1, 1, 0)]));
        assert_eq!(change(&known, "/srv/data"), Some(Change::New));
    }

    #[test]
    fn what_waits_no_longer_was_written_unless_it_was_cut_off_or_is_another_files() {
        let mut known = known();
        let rate = |known: &Known| known.files[&PathBuf::from("a")].written_per_second;
        known.take(look(0, vec![seen("a", 1, 100, 50)]));
        assert_eq!((rate(&known), known.machine_written_per_second), (None, None), "one look is no rate");
        known.take(look(2, vec![seen("a", 1, 100, 30)]));
        let page = page_bytes() as f64;
        assert_eq!(
            (rate(&known), known.machine_written_per_second),
            (Some(10.0 * page), Some(2560.0 * page))
        );
        known.take(look(3, vec![seen("a", 1, 100, 60)]));
        assert_eq!(rate(&known), Some(0.0));
        known.take(look(4, vec![seen("a", 1, 50, 0)]));
        assert_eq!(rate(&known), Some(0.0));
        known.take(look(5, vec![seen("a", 2, 50, 0)]));
        assert_eq!(rate(&known), None);
    }

    fn with_journal(mut seen: Seen, second: u64, commits: u64) -> Seen {
        seen.journal = Some(journal::Seen {
            journal_bytes: 1000,
            filled_bytes: 450,
            last_commit: commits,
            writer: Some(7),
            recovery_waits: false,
            problem: None,
            at: Duration::from_secs(second),
        });
        seen
    }

    #[test]
    fn commits_in_a_second_come_from_when_the_journal_was_read() {
        let mut known = known();
        let file = |second, commits| with_journal(seen("a", 1, 1, 0), second, commits);
        let rate = |known: &Known| known.files[&PathBuf::from("a")].commits_per_second;
        known.take(look(0, vec![file(0, 10)]));
        assert_eq!(rate(&known), None);
        known.take(look(2, vec![file(2, 30)]));
        assert_eq!(rate(&known), Some(10.0));
        // Not read again this time.
        known.take(look(3, vec![file(2, 30)]));
        assert_eq!(rate(&known), Some(10.0));
        known.take(look(4, vec![file(4, 34)]));
        assert_eq!(rate(&known), Some(2.0));
    }

    /// A folder of many files, in which everything happens that can be shown.
    fn busy() -> Known {
        let mut known = known();
        let files = |second: u64| -> Vec<Seen> {
            let mut files: Vec<Seen> = (0..40)
                .map(|n| seen(&format!("/srv/data/segment-{n:03}.bin"), n, 100 * (n + 1), n * (2 - second)))
                .collect();
            let long =
                format!("/srv/data/{}/of a name.bin", "a long way down/".repeat(9).trim_end_matches('/'));
            files.push(with_journal(seen(&long, 50, 1 << 20, 3), second, 1000 + 250 * second));
            files.push(seen("/srv/data/文字.bin", 51, 1000, 0));
            files
        };
        known.take(look(0, files(0)));
        let mut next = files(1);
        next[1].identity.1 = 99;
        next[2] = seen("/srv/data/segment-002.bin", 2, 612, 0);
        next.remove(3);
        next[4].row.unknown = Some(steadfast::residency::Unknown::InMemory);
        (next[4].row.dirty_pages, next[4].row.write_back_pages) = (None, None);
        next.insert(0, seen("/srv/data/a\n\x1b[2Jfresh", 60, 7, 7));
        known.take(look(1, next));
        known
    }

    #[test]
    fn the_screen_is_as_it_is_kept_at_both_sizes_and_after_a_resize() {
        at_both_sizes("watch", &busy(), &mut View::default());
        let by_size = Order::Size as usize;
        at_both_sizes("watch-by-size", &busy(), &mut View::new(0, by_size, true));
    }

    #[test]
    fn scrolled_to_the_end_the_last_file_stands_last_and_the_keys_are_explained() {
        use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
        let (known, mut view) = (busy(), View::default());
        drawn(&mut terminal(80, 24), &known, &mut view);
        let press = |code, view: &mut View| {
            view.press(KeyEvent::new(code, KeyModifiers::NONE), page::orders(), 1);
            drawn(&mut terminal(80, 24), &known, view)
        };
        assert_is_kept("watch-end-80x24", &press(KeyCode::End, &mut view));
        assert_is_kept("watch-keys-80x24", &press(KeyCode::Char('?'), &mut view));
    }

    #[test]
    fn a_line_of_json_has_the_shape_that_docs_screens_md_names() {
        let known = busy();
        let line = serde_json::to_value(known.answer(&View::default())).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let documented = include_str!("../../../../docs/screens.md");
        let journal =
            line["files"].as_array().unwrap().iter().find(|file| !file["journal"].is_null()).unwrap();
        let all = [keys(&line), keys(&line["files"][0]), keys(&line["total"]), keys(&journal["journal"])];
        for key in all.concat() {
            assert!(documented.contains(&format!("`{key}`")), "{key} is not in docs/screens.md");
        }
        assert_eq!(line["gone"], serde_json::json!(["/srv/data/segment-003.bin"]));
        assert_eq!(line["files"][0]["change"], "new");
    }
}
