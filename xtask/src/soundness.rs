//! docs/soundness.md says of each file with `unsafe` what that rests on. A file that it does not name rests on nothing that anybody has
//! looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::switches::tokens::Source;

const PAGE: &str = "docs/soundness.md";
/// Where files with `unsafe` are looked for.
const CRATES: &str = "crates";
/// Where a name on the page begins that does not begin with [`CRATES`].
const LIBRARY: &str = "crates/steadfast/src";

/// Every file that may hold `unsafe` is named, and every file that is named holds some.
pub(crate) fn check() -> Result<(), String> {
    let root = crate::root()?;
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let text = read(&root.join(PAGE))?;
    let mut files = Vec::new();
    collect(root, &root.join(CRATES), &mut files)?;
    let mut opened = BTreeSet::new();
    let mut idle = BTreeSet::new();
    for file in files {
        match unsafety(&read(&root.join(&file))?) {
            Unsafety::Some => opened.insert(file),
            Unsafety::OpenedForNothing => idle.insert(file),
            Unsafety::None => false,
        };
    }
    let findings = findings(&text, &opened, &idle);
    if !findings.is_empty() {
        return Err(findings.join("\n"));
    }
    crate::promises::tests_exist(PAGE, &exercised(&text))
}

/// The tables that say by what a file is exercised.
fn exercised(page: &str) -> String {
    let tables = page.split("\n\n").filter(|part| {
        part.lines()
            .next()
            .is_some_and(|header| header.starts_with('|') && header.ends_with("| exercised by |"))
    });
    tables.collect::<Vec<_>>().join("\n")
}

#[derive(Debug, PartialEq, Eq)]
enum Unsafety {
    None,
    /// The lint is allowed, and nothing needs it.
    OpenedForNothing,
    Some,
}

fn unsafety(text: &str) -> Unsafety {
    let source = Source::read(text);
    let words: Vec<&str> = source.tokens.iter().map(|token| token.text.as_str()).collect();
    // Every other file is denied it by the compiler.
    let is_open = words.windows(3).any(|three| matches!(three, ["allow" | "expect", "(", "unsafe_code"]));
    match (is_open, words.contains(&"unsafe")) {
        (true, true) => Unsafety::Some,
        (true, false) => Unsafety::OpenedForNothing,
        (false, _) => Unsafety::None,
    }
}

/// What is wrong with the page.
fn findings(page: &str, opened: &BTreeSet<String>, idle: &BTreeSet<String>) -> Vec<String> {
    let named: Vec<(usize, String)> = named(page).collect();
    let is_named = |file: &String| named.iter().any(|(_, name)| name == file);
    let unnamed = opened.iter().filter(|file| !is_named(file)).map(|file| {
        format!("{file} may hold unsafe code, and {PAGE} does not say what that rests on: add a row for it")
    });
    let idle = idle.iter().map(|file| {
        format!("{file} allows unsafe code and holds none: take the attribute out, and its row in {PAGE}")
    });
    let wrong = named.iter().filter(|(_, name)| !opened.contains(name)).map(|(line, name)| {
        format!("{PAGE}:{line}: {name} does not exist, or holds no unsafe code any more")
    });
    unnamed.chain(idle).chain(wrong).collect()
}

/// The files in the first column of tables, from the root of the workspace on, with their lines.
fn named(page: &str) -> impl Iterator<Item = (usize, String)> {
    page.lines().enumerate().flat_map(|(index, line)| {
        let cell = line.strip_prefix('|').and_then(|row| row.split('|').next()).unwrap_or_default();
        let names = cell.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs"));
        names.map(move |name| {
            let is_whole = name.split('/').next() == Some(CRATES);
            (index + 1, if is_whole { name.to_owned() } else { format!("{LIBRARY}/{name}") })
        })
    })
}

/// The Rust files below `folder`, from the root on.
fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.strip_prefix(root).unwrap_or(&path).display().to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BTreeSet, Unsafety, exercised, findings, unsafety};

    fn set(files: &[&str]) -> BTreeSet<String> {
        files.iter().map(|&file| file.to_owned()).collect()
    }

    const PAGE: &str =
        "`text.rs`\n\n| file | rests on |\n|---|---|\n| `sys/a.rs`, `crates/b/src/b.rs` | see `c.rs` |\n";

    #[test]
    fn a_page_that_names_what_there_is_passes() {
        let opened = set(&["crates/steadfast/src/sys/a.rs", "crates/b/src/b.rs"]);
        assert!(findings(PAGE, &opened, &set(&[])).is_empty());
    }

    #[test]
    fn a_file_that_is_not_named_is_found() {
        let opened =
            set(&["crates/steadfast/src/sys/a.rs", "crates/b/src/b.rs", "crates/steadfast/src/c.rs"]);
        let found = findings(PAGE, &opened, &set(&[]));
        assert!(matches!(&found[..], [one] if one.starts_with("crates/steadfast/src/c.rs ")), "{found:?}");
    }

    #[test]
    fn a_name_that_nothing_has_is_found_with_its_line() {
        let found = findings(PAGE, &set(&["crates/b/src/b.rs"]), &set(&[]));
        assert!(
            matches!(&found[..], [one] if one.contains(":5: crates/steadfast/src/sys/a.rs ")),
            "{found:?}"
        );
    }

    #[test]
    fn a_file_that_needs_no_unsafe_any_more_is_found_twice_over() {
        let found = findings(PAGE, &set(&["crates/b/src/b.rs"]), &set(&["crates/steadfast/src/sys/a.rs"]));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn unsafe_code_is_told_from_words_about_it() {
        let opened = "#![allow(unsafe_code)]\n";
        let about = "// unsafe\nfn f() { g(\"unsafe {}\") }";
        assert_eq!(unsafety(about), Unsafety::None);
        assert_eq!(unsafety(&format!("{opened}{about}")), Unsafety::OpenedForNothing);
        for code in ["fn f() { unsafe { g() } }", "unsafe fn f() {}", "unsafe impl Send for X {}"] {
            assert_eq!(unsafety(&format!("{opened}{code}")), Unsafety::Some, "{code}");
        }
        assert_eq!(unsafety("#[allow(unsafe_code)]\nunsafe fn f() {}"), Unsafety::Some);
        assert_eq!(unsafety("#[expect(unsafe_code, reason = \"\")]\nunsafe fn f() {}"), Unsafety::Some);
    }

    #[test]
    fn tests_are_looked_for_where_a_table_names_them() {
        let page = "text `a_b`\n\n| file | exercised by |\n|---|---|\n| x | `c_d` |\n\n| file | rests on |\n|---|---|\n| x | `e_f` |\n";
        let tables = exercised(page);
        assert!(tables.contains("c_d") && !tables.contains("a_b") && !tables.contains("e_f"), "{tables}");
    }
}
