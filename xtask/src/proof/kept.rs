//! What each step of the long dose gave, kept until the page is written: a step can be run again without all others.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Outcome;
use super::steps::Step;

fn folder(root: &Path) -> PathBuf {
    root.join("target/proof")
}

/// The whole command, as a file's name.
fn place(root: &Path, step: &Step) -> PathBuf {
    let name = step.to_string().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    folder(root).join(name).with_extension("json")
}

/// Where a step leaves its figures: several can be under way.
pub(super) fn figures(root: &Path, step: &Step) -> Result<PathBuf, String> {
    let folder = folder(root);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(place(root, step).with_extension("figures.json"))
}

pub(super) fn keep(root: &Path, outcome: &Outcome) -> Result<(), String> {
    let Outcome { step, commit, text, figures, seconds } = outcome;
    let kept = json!({ "commit": commit, "text": text, "figures": figures, "seconds": seconds });
    let path = place(root, step);
    fs::create_dir_all(folder(root))
        .and_then(|()| fs::write(&path, kept.to_string()))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// What this very command gave when it was last run.
pub(super) fn find(root: &Path, step: Step) -> Result<Outcome, String> {
    let parsed =
        fs::read(place(root, &step)).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(mut kept) = parsed else { return Err(format!("{step}: not run yet")) };
    Ok(Outcome {
        commit: kept["commit"].as_str().unwrap_or_default().to_owned(),
        text: kept["text"].as_str().map(str::to_owned),
        seconds: kept["seconds"].as_f64().unwrap_or_default(),
        figures: kept["figures"].take(),
        step,
    })
}

/// Forgets the steps of an earlier run.
pub(super) fn forget(root: &Path, steps: &[Step]) {
    for step in steps {
        // It may never have been run.
        let _ = fs::remove_file(place(root, step));
    }
}
