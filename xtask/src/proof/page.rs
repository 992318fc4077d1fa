//! docs/proof.md and docs/proof.json, from what the steps printed.

use std::fmt::Write;
use std::process::Command;

use serde_json::{Value, json};

use super::Outcome;

/// What every figure came from, for other programs.
pub(super) fn raw(outcomes: &[Outcome]) -> String {
    let steps: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            json!({
                "title": outcome.step.title,
                "command": outcome.step.to_string(),
                "tried": outcome.text.is_some(),
                "seconds": outcome.seconds.round(),
                "commit": outcome.commit,
                "figures": outcome.figures,
            })
        })
        .collect();
    let machine: Vec<Value> = machine().into_iter().map(|(name, value)| json!([name, value])).collect();
    let text = serde_json::to_string_pretty(&json!({ "machine": machine, "steps": steps }));
    // Strings, numbers and lists of them always have a form.
    text.unwrap_or_default() + "\n"
}

pub(super) fn render(outcomes: &[Outcome]) -> String {
    let mut page = String::from(
        "# How hard it was tried to break it\n\n\
         `cargo xtask proof` wrote this page, and nothing on it was typed. Each part says how to see it again. The guarantees\n\
         themselves, and which of these parts holds which, are in [promise.md](promise.md); the figures for other programs are\n\
         in [proof.json](proof.json). `cargo xtask proof --short` is the dose that every change gets.\n\n",
    );
    page += "| part | violations | seconds | of commit | command |\n|---|---:|---:|---|---|\n";
    for outcome in outcomes {
        let Outcome { step, commit, seconds, .. } = outcome;
        let seconds = format!("{seconds:.0}");
        row(&mut page, &[step.title, &violations(outcome), &seconds, commit, &format!("`{step}`")]);
    }
    page += "\nAs long as a step fails there is no page. Steps can be run one by one (`--only`), and side by side, which takes each longer.\n\n## What it ran on\n\n| | |\n|---|---|\n";
    for (name, value) in machine() {
        row(&mut page, &[name, &value]);
    }
    for outcome in outcomes {
        if let Some(text) = &outcome.text {
            let _ = write!(page, "\n## {}\n\n", outcome.step.title);
            // Tables are tables; the rest is shown as it was printed.
            let (table, plain): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('|'));
            if !table.is_empty() {
                page += &table.join("\n");
                page += "\n\n";
            }
            let _ = writeln!(page, "```text\n{}\n```", plain.join("\n"));
        }
    }
    page
}

/// How often a promise was broken. A step that breaks one has no outcome; what was counted where nothing is promised is no violation.
fn violations(Outcome { text, figures, .. }: &Outcome) -> String {
    let Some(text) = text else {
        return format!("not tried: {}", figures.as_str().unwrap_or("this machine cannot do it"));
    };
    let counted = match figures["violations"].as_u64() {
        None | Some(0) => "0".to_owned(),
        Some(counted) => format!("nothing is promised here; {counted} counted"),
    };
    if text.contains("NOT TESTED") { counted + "; in part not tried" } else { counted }
}

fn row(page: &mut String, cells: &[&str]) {
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

/// Kernel and tools, as they name themselves.
fn machine() -> Vec<(&'static str, String)> {
    let first_line = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        Some(String::from_utf8_lossy(&text).lines().next()?.trim().to_owned())
    };
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "not installed".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("kernel", or_none(first_line("uname", &["-srm"]))),
        ("cores", cores.to_string()),
        ("ext4", or_none(first_line("mkfs.ext4", &["-V"]))),
        ("XFS", or_none(first_line("mkfs.xfs", &["-V"]))),
        ("btrfs", or_none(first_line("mkfs.btrfs", &["-V"]))),
        ("QEMU", or_none(first_line("qemu-storage-daemon", &["--version"]))),
        ("Python", or_none(first_line("python3", &["--version"]))),
        ("Java", or_none(first_line("java", &["-version"]))),
        ("Node.js", or_none(first_line("node", &["--version"]))),
        ("Rust", or_none(first_line("rustc", &["--version"]))),
        ("cargo-fuzz", or_none(first_line("cargo", &["fuzz", "--version"]))),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Dose;
    use super::super::steps;
    use super::*;

    fn outcome(title: &str, text: Option<&str>, figures: Value) -> Outcome {
        let step = steps::all(Dose::Long).into_iter().find(|step| step.title == title).unwrap();
        Outcome { step, commit: "abc".to_owned(), text: text.map(str::to_owned), figures, seconds: 1.4 }
    }

    #[test]
    fn the_page_says_what_was_tried_what_was_only_counted_and_what_could_not_be_tried() {
        const KILLED: &str = "Unmodified programs, killed";
        const ALONE: &str = "The same programs without the library, to compare with";
        let sound = outcome(KILLED, Some("python-mmap: 200 runs"), json!({ "violations": 0 }));
        assert_eq!(violations(&sound), "0");
        let text = "NOT TESTED: this machine lacks what it takes for java-force: a JDK";
        assert_eq!(
            violations(&outcome(KILLED, Some(text), json!({ "violations": 0 }))),
            "0; in part not tried"
        );
        let alone = outcome(ALONE, Some("python-mmap: 100 runs"), json!({ "violations": 97 }));
        assert_eq!(violations(&alone), "nothing is promised here; 97 counted");
        let lacking = outcome("Programs' own tests", None, "not tried on this machine".into());
        assert_eq!(violations(&lacking), "not tried: not tried on this machine");
        let page = render(&[sound, alone, lacking]);
        assert!(
            page.contains("\n## Unmodified programs, killed\n\n```text\npython-mmap: 200 runs\n```\n"),
            "{page}"
        );
        assert!(!page.contains("## Programs' own tests"), "{page}");
    }
}
