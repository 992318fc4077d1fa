//! docs/promise.md names tests and parts of the rig; a name that nothing has is a promise that nothing holds.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// The parts of the rig, and `tests` where none of them checks the promise.
const PARTS: [&str; 10] =
    ["block", "sim", "failing", "corrupt", "fuzz", "kill", "hands", "mutate", "sanitize", "tests"];
const HELD_UP_BY: &str = "held up by";

/// Every test that docs/promise.md names exists, and every promise names what holds it up.
pub(crate) fn check() -> Result<(), String> {
    let root = crate::root()?;
    let page = root.join("docs/promise.md");
    let text = fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    let wrong: Vec<String> =
        held_up(&text).map(|(line, what)| format!("docs/promise.md:{line}: {what}")).collect();
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    tests_exist("docs/promise.md", &text)
}

/// Every test in the last column of a page's tables exists.
pub(crate) fn tests_exist(page: &str, text: &str) -> Result<(), String> {
    let mut tests = BTreeSet::new();
    for folder in ["crates", "xtask"] {
        collect(&crate::root()?.join(folder), &mut tests)
            .map_err(|error| format!("reading the tests: {error}"))?;
    }
    let unknown: Vec<&str> = named(text).filter(|name| !tests.contains(*name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!("{page} names tests that do not exist: {}", unknown.join(", ")))
}

/// The tests that the tables name: the last part of every path between backticks in a row's last column.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.trim_end_matches('|').rsplit('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter_map(|path| path.rsplit("::").next())
        // Some cells name a sync point or a call beside the test.
        .filter(|name| {
            name.contains('_')
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
        })
}

/// What is wrong with the rows of promises, by line: each names one known part at least between its promise and its tests.
fn held_up(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut header: Option<Vec<&str>> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let Some(row) = line.strip_prefix('|') else {
            header = None;
            return None;
        };
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        let what = match &header {
            None => {
                let what = match cells[..] {
                    // What the parts are.
                    ["part", ..] | [_, HELD_UP_BY, "test"] => None,
                    _ => Some(format!("a table of promises has three columns: what, `{HELD_UP_BY}`, `test`")),
                };
                header = Some(cells);
                what
            }
            Some(header) if header.get(1) != Some(&HELD_UP_BY) || row.starts_with("---") => None,
            Some(_) => parts(&cells),
        };
        Some((index + 1, what?))
    })
}

/// What is wrong with the parts of a row.
fn parts(cells: &[&str]) -> Option<String> {
    let [_, parts, _] = cells else {
        return Some("a row of three columns has other than three cells".into());
    };
    let named: Vec<&str> = parts.split('`').skip(1).step_by(2).collect();
    let alone = !named.contains(&"tests") || named.len() == 1;
    if named.is_empty() {
        return Some(format!("it names nothing that holds it up: one of {}", PARTS.join(", ")));
    }
    if let Some(unknown) = named.iter().find(|part| !PARTS.contains(part)) {
        return Some(format!("`{unknown}` is no part of the rig: they are {}", PARTS.join(", ")));
    }
    (!alone).then(|| "`tests` stands alone: it says that no part of the rig checks this".into())
}

/// The names of all functions below `folder`.
fn collect(folder: &Path, names: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, names)?;
            continue;
        }
        let before = match path.extension().and_then(OsStr::to_str) {
            Some("rs") => "fn ",
            Some("py") => "def ",
            _ => continue,
        };
        let text = fs::read_to_string(&path)?;
        names.extend(text.lines().filter_map(|line| {
            let (name, _) = line.trim_start().strip_prefix(before)?.split_once('(')?;
            Some(name.to_owned())
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{held_up, named};

    #[test]
    fn names_are_taken_from_the_last_column_of_tables() {
        let page = "text `not_this`\n| a `nor_this` | `one_two`, `a::b::three_four` (`Record`) |\n";
        assert_eq!(named(page).collect::<Vec<_>>(), ["one_two", "three_four"]);
    }

    #[test]
    fn each_promise_names_known_parts_that_hold_it_up() {
        let wrong = |header: &str, row: &str| {
            let page = format!("text\n\n| {header} |\n|---|---|---|\n| {row} |\n");
            held_up(&page).map(|(line, _)| line).collect::<Vec<_>>()
        };
        let header = "promise | held up by | test";
        assert!(wrong(header, "a | `block` (most of it), `sim` | `b`").is_empty());
        assert!(wrong(header, "a | `tests` | `b`").is_empty());
        assert!(wrong("part | what it does | test", "`sim` | anything | `b`").is_empty());
        for row in [
            "a | | `b`",
            "a | block | `b`",
            "a | `blok` | `b`",
            "a | `sim`, `blok` | `b`",
            "a | `sim`, `tests` | `b`",
            "a | `b`",
        ] {
            assert_eq!(wrong(header, row), [5], "{row}");
        }
        assert_eq!(wrong("promise | test", "a | `b`"), [3], "a column is missing");
    }
}
