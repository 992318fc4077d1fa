//! docs/promise.md names tests; a name that no test has is a promise that nothing holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every test that docs/promise.md names exists.
pub(crate) fn check() -> Result<(), String> {
    let root = crate::root()?;
    let page = root.join("docs/promise.md");
    let text = fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    let mut tests = BTreeSet::new();
    collect(&root.join("crates"), &mut tests).map_err(|error| format!("reading the tests: {error}"))?;
    let unknown: Vec<&str> = named(&text).filter(|name| !tests.contains(*name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!("docs/promise.md names tests that do not exist: {}", unknown.join(", ")))
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

/// The names of all functions below `folder`.
fn collect(folder: &Path, names: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, names)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            names.extend(text.lines().filter_map(|line| {
                let (name, _) = line.trim_start().strip_prefix("fn ")?.split_once('(')?;
                Some(name.to_owned())
            }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn names_are_taken_from_the_last_column_of_tables() {
        let page = "text `not_this`\n| a `nor_this` | `one_two`, `a::b::three_four` (`Record`) |\n";
        assert_eq!(named(page).collect::<Vec<_>>(), ["one_two", "three_four"]);
    }
}
