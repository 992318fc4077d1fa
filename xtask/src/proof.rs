//! `cargo xtask proof`: tries to break the library in every way the rig knows, and writes docs/proof.md with what that gave.
//!
//! Nothing on that page is typed: whoever doubts a figure runs the command again.

mod fuzz;
mod page;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};
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
    /// For the page: an hour.
    Long,
}

/// What one step gave.
struct Outcome {
    step: Step,
    /// `None` where this machine cannot do it.
    text: Option<String>,
    /// The figures, where they come as JSON; or why there are none.
    figures: serde_json::Value,
    seconds: f64,
}

pub(crate) fn run(dose: Dose, arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let dose = arguments.into_iter().try_fold(dose, |_, argument| match argument.as_str() {
        "--short" => Ok(Dose::Short),
        other => Err(format!("proof knows --short, not {other}")),
    })?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask stands in no workspace")?;
    super::cargo(
        &["build", "--release", "--locked", "--package", "crashlab", "--package", "steadfast-cli"],
        &[],
    )?;
    // They take half an hour of their own, beside the others.
    let fuzzers = if dose == Dose::Long { fuzz::start(root) } else { Ok(Vec::new()) };
    let mut outcomes = Vec::new();
    for step in steps::all(dose) {
        outcomes.push(attempt(root, step)?);
    }
    match fuzzers {
        Ok(fuzzers) => {
            for fuzzer in fuzzers {
                outcomes.push(fuzzer.finish()?);
            }
        }
        Err(lacking) => outcomes.push(fuzz::untried(lacking)),
    }
    if dose == Dose::Long {
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        write(RAW, &page::raw(&outcomes))?;
        write(PAGE, &page::render(&outcomes))?;
        eprintln!("xtask: wrote {PAGE} and {RAW}");
    }
    Ok(())
}

/// One step. What it lacks here is told and is no failure; a violation is one.
fn attempt(root: &Path, step: Step) -> Result<Outcome, String> {
    const LACKING: i32 = 77;
    let figures_at: PathBuf = root.join("target/proof-figures.json");
    let _ = fs::remove_file(&figures_at);
    let mut command = if step.program == steps::CARGO {
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    } else {
        let mut rig = Command::new(root.join("target/release").join(step.program));
        rig.arg("--figures").arg(&figures_at);
        rig
    };
    eprintln!("xtask: {step}");
    let started = Instant::now();
    let output = command
        .args(&step.arguments)
        .envs(step.environment.iter().copied())
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{step}: {error}"))?;
    let seconds = started.elapsed().as_secs_f64();
    let text = step.interesting(&String::from_utf8_lossy(&output.stdout));
    println!("{text}");
    match output.status.code() {
        Some(0) => {
            let figures = fs::read_to_string(&figures_at)
                .ok()
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or(serde_json::Value::Null);
            Ok(Outcome { step, text: Some(text), figures, seconds })
        }
        Some(LACKING) => {
            Ok(Outcome { step, text: None, figures: "not tried on this machine".into(), seconds })
        }
        _ => Err(format!("{step}: {}", output.status)),
    }
}
