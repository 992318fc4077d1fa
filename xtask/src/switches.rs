//! `crashlab mutate` leaves out what stands in a switch. What was forgotten to be put into one it cannot leave out, and nobody
//! would see that no test notices.

mod manifests;
mod scan;
pub(crate) mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use scan::Scope;

const SOURCE: &str = "crates/steadfast/src";
/// The way to the disk.
const STEPS: [&str; 4] = ["journal.rs", "journal", "store.rs", "store"];
/// The files that decide whether bytes are believed.
const CHECKS: [&str; 5] =
    ["journal/format.rs", "journal/scan.rs", "store/identity.rs", "store/mark.rs", "store/trust.rs"];

/// Every step and check of the way to the disk is a switch or says why not, and only crashlab turns switches on.
pub(crate) fn check() -> Result<(), String> {
    let root = crate::root()?;
    let mut files = Vec::new();
    for path in STEPS {
        collect(&root.join(SOURCE).join(path), &mut files)?;
    }
    files.sort();
    let checks = CHECKS.map(|path| root.join(SOURCE).join(path));
    // One that was renamed is not to be looked at less.
    if let Some(gone) = checks.iter().find(|path| !files.contains(path)) {
        return Err(format!("{} does not exist: xtask/src/switches.rs names it", gone.display()));
    }
    let mut found = Vec::new();
    for file in files {
        let text = read(&file)?;
        let scope = if checks.contains(&file) { Scope::StepsAndChecks } else { Scope::Steps };
        let shown = file.strip_prefix(root).unwrap_or(&file).display();
        found.extend(
            scan::findings(&text, scope).into_iter().map(|(line, what)| format!("{shown}:{line}: {what}")),
        );
    }
    found.extend(manifests::findings(root)?);
    if found.is_empty() { Ok(()) } else { Err(format!("switches:\n{}", found.join("\n"))) }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The Rust files at or below `path`, less those of tests.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", path.display());
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            collect(&entry.map_err(failed)?.path(), files)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
        files.push(path.to_owned());
    }
    Ok(())
}
