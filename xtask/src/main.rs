//! Chores of the workspace: `cargo xtask test` sets up what the tests need and runs every one of them.

mod bench_report;
mod promises;
mod proof;
mod python;
mod sanitize;
mod soundness;
mod switches;

use std::path::Path;
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask test     run every test: unit, crash matrix, properties, threads, command line, examples in the docs;
                     the Python package; threads under ThreadSanitizer; then the short dose of the proof
cargo xtask python [test]    the Python package, in an environment of its own below target/python: the wheel, its types, its stubs
                     against the built module, its tests (a Python of 3.11 or newer; the network, the first time)
cargo xtask python wheel     build the wheel alone, into target/python/wheels
cargo xtask python bench [--json] [--dir PATH]
                     commits of a NumPy array, and access to its elements, beside numpy.memmap and the bare disk
cargo xtask python docs      measure on this disk and draw the figure of docs/python.md
cargo xtask interleavings    the threads of a store under a model checker, many thousand schedules (a minute)
cargo xtask proof [--short] [--only TEXT]
                     tries to break it: power cuts under real file systems, a simulated disk at scale, failing disks,
                     corruption, kills, unmodified programs, mutations, fuzzing; writes docs/proof.md (three hours, root for
                     most of it);
                     with --only, steps whose title contains TEXT, and the page if all others were run before
cargo xtask sanitize [--short] [--only NAME]
                     the library's tests under AddressSanitizer (asan), ThreadSanitizer (tsan) and, where it is installed,
                     Miri (miri), once each has found what is planted for it
cargo xtask lint     formatting, clippy and docs, warnings denied; every test that docs/promise.md names exists; every file with
                     unsafe code stands in docs/soundness.md; every step and check of the way to the disk can be left out by
                     `crashlab mutate`, and in no other build
cargo xtask bench-report [--quick] [--dir PATH]
                     run every benchmark, on XFS and btrfs too where that is possible, and write docs/benchmarks.md
";

/// The library that is put under unmodified programs, as a release build leaves it in the workspace.
const PRELOAD: &str = "target/release/libsteadfast_preload.so";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let done = match task.as_str() {
        "test" => test(),
        "interleavings" => interleavings("1500"),
        "proof" => proof::run(proof::Dose::Long, std::env::args().skip(2)),
        "python" => python::run(std::env::args().skip(2)),
        "sanitize" => sanitize::run(std::env::args().skip(2)),
        "lint" => lint(),
        "bench-report" => bench_report::run(std::env::args().skip(2)),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(step) => {
            eprintln!("xtask: failed: {step}");
            ExitCode::FAILURE
        }
    }
}

/// Tests print what they could not do here (no root, no such file system) instead of passing silently.
fn test() -> Result<(), String> {
    // Cargo's own defaults: every dependency comes with the lock file, nothing else is needed.
    cargo(&["test", "--workspace", "--locked", "--lib", "--bins", "--tests", "--no-fail-fast"], &[])?;
    interleavings("150")?;
    cargo(&["test", "--workspace", "--locked", "--doc"], &[])?;
    python::test()?;
    sanitize::dose()?;
    proof::run(proof::Dose::Short, std::iter::empty())
}

/// Built apart: the same code with the model checker's locks and threads.
fn interleavings(schedules: &str) -> Result<(), String> {
    let environment = [
        ("RUSTFLAGS", "--cfg shuttle"),
        ("CARGO_TARGET_DIR", "target/shuttle"),
        ("STEADFAST_SCHEDULES", schedules),
    ];
    cargo(
        &["test", "--locked", "-p", "steadfast", "--test", "interleavings", "--", "--nocapture"],
        &environment,
    )
}

fn lint() -> Result<(), String> {
    promises::check()?;
    soundness::check()?;
    switches::check()?;
    for component in ["fmt", "clippy"] {
        let found = Command::new("cargo").args([component, "--version"]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            return Err(format!("cargo {component} is missing: rustup component add rustfmt clippy"));
        }
    }
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])?;
    let unguarded = ["clippy", "-p", "steadfast", "--lib", "--no-default-features", "--locked"];
    cargo(&[&unguarded[..], &["--", "-D", "warnings"]].concat(), &[])?;
    cargo(
        &["doc", "--workspace", "--no-deps", "--all-features", "--locked"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )
}

/// The workspace's folder.
fn root() -> Result<&'static Path, String> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or_else(|| "xtask stands in no workspace".to_owned())
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let step = format!("cargo {}", arguments.join(" "));
    eprintln!("xtask: {step}");
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .map_err(|error| format!("{step}: {error}"))?;
    if status.success() { Ok(()) } else { Err(step) }
}
