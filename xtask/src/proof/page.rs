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
    for Outcome { step, commit, text, figures, seconds } in outcomes {
        let violations = match text {
            None => format!("not tried: {}", figures.as_str().unwrap_or("this machine cannot do it")),
            Some(text) if text.contains("NOT TESTED") => "0; in part not tried".to_owned(),
            Some(_) => "0".to_owned(),
        };
        row(&mut page, &[step.title, &violations, &format!("{seconds:.0}"), commit, &format!("`{step}`")]);
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
        ("Rust", or_none(first_line("rustc", &["--version"]))),
        ("cargo-fuzz", or_none(first_line("cargo", &["fuzz", "--version"]))),
    ]
}
