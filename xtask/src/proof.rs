//! `cargo xtask proof`: tries to break the library in every way the rig knows, and writes docs/proof.md with what that gave.
//!
//! Nothing on that page is typed: whoever doubts a figure runs the command again.

mod fuzz;
mod kept;
mod page;
mod steps;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use steps::Step;

const PAGE: &str = "docs/proof.md";
const RAW: &str = "docs/proof.json";

/// How hard it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dose {
    /// For every change: some minutes.
    Short,
    /// For the page: three hours.
    Long,
}

/// What one step gave.
struct Outcome {
    step: Step,
    /// What was tried: as git describes it.
    commit: String,
    /// `None` where this machine cannot do it.
    text: Option<String>,
    /// The figures, where they come as JSON; or why there are none.
    figures: serde_json::Value,
    seconds: f64,
}

/// As git describes what stands in the checkout.
fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

pub(crate) fn run(mut dose: Dose, mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut only = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--short" => dose = Dose::Short,
            "--only" => only = Some(arguments.next().ok_or("--only wants a part of a step's title")?),
            other => return Err(format!("proof knows --short and --only TEXT, not {other}")),
        }
    }
    let wanted = |step: &Step| {
        only.as_ref().is_none_or(|only| step.title.to_lowercase().contains(&only.to_lowercase()))
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask stands in no workspace")?;
    // The rig, the command that recovers, and the library that stands under unmodified programs.
    let built = "build --release --locked -p crashlab -p steadfast-cli -p steadfast-preload";
    super::cargo(&built.split(' ').collect::<Vec<_>>(), &[])?;
    let steps = steps::all(dose);
    let fuzz = if dose == Dose::Long { fuzz::steps() } else { Vec::new() };
    let now = |steps: &[Step]| steps.iter().filter(|step| wanted(step)).cloned().collect::<Vec<Step>>();
    let (steps_now, fuzz_now) = (now(&steps), now(&fuzz));
    if steps_now.is_empty() && fuzz_now.is_empty() {
        return Err("no step has such a title".to_owned());
    }
    if dose == Dose::Long {
        kept::forget(root, &steps_now);
        kept::forget(root, &fuzz_now);
    }
    // They take half an hour of their own, beside the others.
    let fuzzers = fuzz::start(root, fuzz_now);
    // One that fails does not keep the others from being run.
    let mut failed = Vec::new();
    let mut note = |outcome: Result<Outcome, String>| match outcome {
        Ok(outcome) if dose == Dose::Long => {
            if let Err(error) = kept::keep(root, &outcome) {
                failed.push(error);
            }
        }
        Ok(_) => {}
        Err(error) => failed.push(error),
    };
    for step in steps_now {
        note(attempt(root, step));
    }
    for fuzzer in fuzzers {
        note(fuzzer.finish());
    }
    if !failed.is_empty() {
        return Err(failed.join("; "));
    }
    if dose == Dose::Short {
        return Ok(());
    }
    let outcomes: Result<Vec<Outcome>, String> =
        steps.into_iter().chain(fuzz).map(|step| kept::find(root, step)).collect();
    match outcomes {
        Ok(outcomes) => write_page(root, &outcomes),
        Err(missing) => {
            eprintln!("xtask: no page yet: {missing}");
            Ok(())
        }
    }
}

fn write_page(root: &Path, outcomes: &[Outcome]) -> Result<(), String> {
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    write(RAW, &page::raw(outcomes))?;
    write(PAGE, &page::render(outcomes))?;
    eprintln!("xtask: wrote {PAGE} and {RAW}");
    Ok(())
}

/// One step. What it lacks here is told and is no failure; a violation is one.
fn attempt(root: &Path, step: Step) -> Result<Outcome, String> {
    const LACKING: i32 = 77;
    let figures_at = kept::figures(root, &step)?;
    let _ = fs::remove_file(&figures_at);
    let mut command = if step.program == steps::CARGO {
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    } else {
        let mut rig = Command::new(root.join("target/release").join(step.program));
        rig.arg("--figures").arg(&figures_at);
        rig
    };
    eprintln!("xtask: {step}");
    // Not what stands there at its end.
    let commit = commit();
    let started = Instant::now();
    let output = command
        .args(&step.arguments)
        .envs(step.environment.iter().copied())
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{step}: {error}"))?;
    let seconds = started.elapsed().as_secs_f64();
    // Where the checkout lies says something of this machine alone.
    let here = format!("{}/", root.display());
    let text = step.interesting(&String::from_utf8_lossy(&output.stdout)).replace(&here, "");
    println!("{text}");
    match output.status.code() {
        Some(0) => {
            let figures = fs::read_to_string(&figures_at)
                .ok()
                .and_then(|text| serde_json::from_str(&text.replace(&here, "")).ok())
                .unwrap_or(serde_json::Value::Null);
            Ok(Outcome { step, commit, text: Some(text), figures, seconds })
        }
        Some(LACKING) => {
            let figures = "not tried on this machine".into();
            Ok(Outcome { step, commit, text: None, figures, seconds })
        }
        _ => Err(format!("{step}: {}", output.status)),
    }
}
