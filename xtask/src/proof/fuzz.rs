//! The fuzz targets, half an hour each, beside the other steps.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::steps::Step;
use super::{Outcome, commit};

const TARGETS: [(&str, &str); 2] =
    [("journal", "Fuzzing the journal"), ("apply", "Fuzzing what `apply` reads")];
const SECONDS: &str = "1800";

/// A target that runs, or cannot.
pub(super) struct Fuzzer {
    running: Result<Running, String>,
    step: Step,
    commit: String,
    started: Instant,
}

struct Running {
    child: Child,
    log: PathBuf,
}

fn step((target, title): (&str, &'static str)) -> Step {
    // A folder of its own for what it finds on the way: the corpus in the repository stays as it is.
    let arguments = format!(
        "fuzz run {target} target/fuzz-corpus/{target} fuzz/corpus/{target} -- -max_total_time={SECONDS} -timeout=20 -rss_limit_mb=4096"
    );
    Step {
        title,
        program: super::steps::CARGO,
        arguments: arguments.split_whitespace().map(str::to_owned).collect(),
        // libFuzzer's instrumentation is unstable; no other part of the toolchain needs to be.
        environment: vec![("RUSTC_BOOTSTRAP", "1")],
    }
}

/// The triple that cargo-fuzz builds for.
fn host() -> Option<String> {
    let output = Command::new("rustc").arg("-vV").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

/// All targets.
pub(super) fn steps() -> Vec<Step> {
    TARGETS.map(step).to_vec()
}

/// Starts these, each in a process of its own.
pub(super) fn start(root: &Path, steps: Vec<Step>) -> Vec<Fuzzer> {
    steps
        .into_iter()
        .map(|step| Fuzzer {
            running: start_one(root, &step),
            step,
            commit: commit(),
            started: Instant::now(),
        })
        .collect()
}

/// Or what this machine lacks for it.
fn start_one(root: &Path, step: &Step) -> Result<Running, String> {
    let target = step.arguments.get(2).map_or("", String::as_str);
    let found = Command::new("cargo").args(["fuzz", "--version"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        return Err("cargo-fuzz (cargo install cargo-fuzz)".into());
    }
    let host = host().ok_or("rustc")?;
    let build = Command::new("cargo")
        .args(["fuzz", "build", target])
        .envs(step.environment.iter().copied())
        .current_dir(root)
        .status();
    if !build.is_ok_and(|status| status.success()) {
        return Err(format!("a toolchain that builds fuzz target {target} (a C++ compiler is needed)"));
    }
    let corpus = root.join("target/fuzz-corpus").join(target);
    let log = root.join("target").join(format!("fuzz-{target}.log"));
    let file = fs::create_dir_all(&corpus).and_then(|()| fs::File::create(&log));
    let file = file.map_err(|error| format!("room for its findings: {error}"))?;
    eprintln!("xtask: {step}");
    // What `cargo fuzz run` would start, without a process between that would have to be ended as well.
    let child = Command::new(root.join("fuzz/target").join(&host).join("release").join(target))
        .args(step.arguments.iter().skip(3).filter(|argument| *argument != "--"))
        .current_dir(root)
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .map_err(|error| format!("cargo fuzz: {error}"))?;
    Ok(Running { child, log })
}

impl Fuzzer {
    /// Waits for its end. A finding is a failure.
    pub(super) fn finish(self) -> Result<Outcome, String> {
        let Fuzzer { running, step, commit, started } = self;
        let mut running = match running {
            Ok(running) => running,
            Err(lacking) => {
                eprintln!("xtask: NOT TESTED: this machine lacks {lacking}");
                return Ok(Outcome { step, commit, text: None, figures: lacking.into(), seconds: 0.0 });
            }
        };
        let status = running.child.wait().map_err(|error| format!("{step}: {error}"))?;
        let log = fs::read_to_string(&running.log).unwrap_or_default();
        if !status.success() {
            return Err(format!("{step}: {status}; see {}", running.log.display()));
        }
        let last = |start: &str| {
            log.lines().rfind(|line| line.starts_with(start)).unwrap_or_default().trim().to_owned()
        };
        let done = last("Done");
        let reached = log.lines().rfind(|line| line.contains("cov: ")).unwrap_or_default().trim().to_owned();
        Ok(Outcome {
            text: Some(format!("{reached}\n{done}\nno finding")),
            figures: serde_json::json!({ "done": done, "reached": reached, "findings": 0 }),
            seconds: started.elapsed().as_secs_f64(),
            commit,
            step,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing, if it came to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
