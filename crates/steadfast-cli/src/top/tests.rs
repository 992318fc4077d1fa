//! Sums, and the screen.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::look::{Look, sum};
use super::page::Known;
use super::processes::{Process, Walk};
use crate::groups::Counted;
use crate::screen::snapshots::at_both_sizes;
use crate::screen::{Shown, View};
use crate::stat;

fn row(path: &str, pages: u64, resident: u64) -> stat::Row {
    stat::Row {
        path: path.to_owned(),
        size_bytes: pages * 4096,
        pages,
        resident_pages: Some(resident),
        dirty_pages: Some(resident / 10),
        write_back_pages: Some(0),
        ..stat::Row::default()
    }
}

fn process(pid: u32, group: &str, files: impl IntoIterator<Item = u64>) -> Process {
    let files = files.into_iter().map(|inode| (1, inode)).collect::<HashSet<_>>();
    Process { pid, command: format!("worker-{pid}"), group: Some(PathBuf::from(group)), files }
}

fn counted(group: &Path) -> Counted {
    match group.to_str() {
        Some("/system") => Counted { file: Some(5 << 20), dirty: Some(8192), write_back: Some(0) },
        _ => Counted::default(),
    }
}

fn looked() -> Look {
    let rows: HashMap<_, _> =
        (0..60).map(|n| ((1, n), row(&format!("/usr/lib/library-{n:02}.so"), 100 + n, n))).collect();
    let walk = Walk {
        processes: vec![
            process(10, "/system", 0..20),
            process(11, "/system", 10..30),
            process(12, "/user", [59, 7]),
            process(13, "/user", []),
        ],
        unreadable: 3,
        lost_files: 1,
    };
    Look { cached_bytes: Some(64 << 20), ..sum(rows, walk, counted) }
}

fn known() -> Known {
    let mut known = Known::new(Duration::from_secs(1), None);
    known.take(looked());
    known
}

#[test]
fn a_file_counts_once_in_every_row() {
    let look = looked();
    let pages_of = |range: std::ops::Range<u64>| range.sum::<u64>();
    let pages = |name: &str| {
        let sums = look.processes.iter().chain(&look.groups);
        sums.into_iter().find(|sum| sum.name == name).map(|sum| (sum.total.files, sum.total.resident_pages))
    };
    assert_eq!(pages("worker-10"), Some((20, pages_of(0..20))));
    assert_eq!(pages("worker-13"), Some((0, 0)));
    assert_eq!(pages("/system"), Some((30, pages_of(0..30))), "what both have is there once");
    assert_eq!(pages("/user"), Some((2, 66)));
    assert_eq!(look.total.resident_pages, pages_of(0..60));
    let users = |path: &str| look.files.iter().find(|file| file.row.path == path).unwrap().processes;
    assert_eq!((users("/usr/lib/library-15.so"), users("/usr/lib/library-07.so")), (2, 2));
    assert_eq!(users("/usr/lib/library-40.so"), 0);
}

#[test]
fn the_screen_is_as_it_is_kept_at_both_sizes_and_after_a_resize() {
    for (kind, name) in ["top-file", "top-process", "top-cgroup"].into_iter().enumerate() {
        at_both_sizes(name, &known(), &mut View::new(kind, 0, false));
    }
}

#[test]
fn a_line_of_json_has_the_shape_that_docs_screens_md_names() {
    let documented = include_str!("../../../../docs/screens.md");
    for kind in 0..3 {
        let line = serde_json::to_value(known().answer(&View::new(kind, 0, false))).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut all = [keys(&line), keys(&line["rows"][0])].concat();
        if kind == 2 {
            all.extend(keys(&line["rows"][0]["kernel"]));
        }
        for key in all {
            assert!(documented.contains(&format!("`{key}`")), "{key} is not in docs/screens.md");
        }
    }
}

#[test]
fn what_nobody_can_tell_is_no_zero() {
    let rows = HashMap::from([((1, 0), stat::Row { pages: 9, ..stat::Row::default() })]);
    let walk = Walk { processes: vec![process(10, "/system", [0])], ..Walk::default() };
    let mut known = known();
    known.take(sum(rows, walk, counted));
    for kind in 0..3 {
        let view = View::new(kind, 0, false);
        let row = &serde_json::to_value(known.answer(&view)).unwrap()["rows"][0];
        for key in ["cached_bytes", "dirty_bytes", "write_back_bytes"] {
            assert!(row[key].is_null(), "{kind} {key}: {row}");
        }
        let page = known.page(&view);
        for cells in page.rows.from(0, usize::MAX).chain([page.total.clone()]) {
            assert!(matches!(&cells[0], crate::screen::Cell::Text(text) if text == "?"), "{kind}: {cells:?}");
        }
    }
}
