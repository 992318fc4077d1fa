//! `cargo xtask sanitize`: the library's tests under AddressSanitizer, ThreadSanitizer and Miri.
//!
//! The toolchain of the project suffices for the first two: their runtimes come with it, and `RUSTC_BOOTSTRAP` opens the flags that
//! are not stable yet. Before any test is believed, defects that were planted on purpose must be reported (`tests/planted.rs`).

mod plan;
mod std_sync;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use plan::{Plan, Scope};

const FOLDER: &str = "target/sanitize";
const TESTS: &str = "crates/steadfast/tests";

/// Who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sanitizer {
    Address,
    Thread,
    Miri,
}

impl Sanitizer {
    const ALL: [Sanitizer; 3] = [Sanitizer::Address, Sanitizer::Thread, Sanitizer::Miri];

    fn name(self) -> &'static str {
        match self {
            Sanitizer::Address => "asan",
            Sanitizer::Thread => "tsan",
            Sanitizer::Miri => "miri",
        }
    }

    fn named(name: &str) -> Result<Sanitizer, String> {
        let found = Sanitizer::ALL.into_iter().find(|sanitizer| sanitizer.name() == name);
        found.ok_or_else(|| format!("there is no sanitizer {name:?}: they are asan, tsan and miri"))
    }

    /// Planted defects, and the words by which each must be reported.
    fn planted(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Sanitizer::Address => &[
                ("a_use_after_free", "heap-use-after-free"),
                ("a_heap_overflow", "heap-buffer-overflow"),
                ("a_stack_overflow", "stack-buffer-overflow"),
                ("a_leak", "detected memory leaks"),
            ],
            Sanitizer::Thread => {
                &[("a_race_in_a_mapping", "data race"), ("a_race_beside_locks", "data race")]
            }
            Sanitizer::Miri => &[],
        }
    }
}

pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut wanted = Sanitizer::ALL.to_vec();
    let mut scope = Scope::All;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--short" => scope = Scope::Short,
            "--only" => {
                wanted = vec![Sanitizer::named(&arguments.next().ok_or("--only wants asan, tsan or miri")?)?];
            }
            other => return Err(format!("sanitize knows --short and --only NAME, not {other}")),
        }
    }
    for sanitizer in wanted {
        if sanitizer == Sanitizer::Miri {
            miri(scope)?;
        } else {
            one(sanitizer, scope, &Build::new(sanitizer)?)?;
        }
    }
    Ok(())
}

/// What is affordable with every test run: the threads. A toolchain that cannot do it is no failure of the code.
pub(crate) fn dose() -> Result<(), String> {
    match Build::new(Sanitizer::Thread) {
        Ok(build) => one(Sanitizer::Thread, Scope::Short, &build),
        Err(reason) => {
            println!("tsan: not run: {reason}");
            Ok(())
        }
    }
}

/// What the library is built for: the machine that it is built on.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// The folder of the libraries that programs for the target are linked with.
fn target_libraries() -> Result<PathBuf, String> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", &target()])
        .output()
        .map_err(|error| format!("rustc: {error}"))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn tell_left_out(sanitizer: Sanitizer, plan: &Plan) {
    for (what, reason) in &plan.left_out {
        println!("{}: not run: {what}: {reason}", sanitizer.name());
    }
}

fn one(sanitizer: Sanitizer, scope: Scope, build: &Build) -> Result<(), String> {
    let root = crate::root()?;
    let plan = Plan::of(sanitizer, scope, &root.join(TESTS))?;
    tell_left_out(sanitizer, &plan);
    let started = Instant::now();
    build.compile(&plan)?;
    let built = started.elapsed();
    for (defect, report) in sanitizer.planted() {
        build.must_find(defect, report)?;
    }
    let started = Instant::now();
    build.test(&plan)?;
    println!(
        "{}: clean; {} planted defects were found; {} s to build, {} s to run",
        sanitizer.name(),
        sanitizer.planted().len(),
        built.as_secs(),
        started.elapsed().as_secs()
    );
    Ok(())
}

/// A build of its own, with what it needs at run time.
struct Build {
    sanitizer: Sanitizer,
    environment: Vec<(&'static str, String)>,
}

impl Build {
    fn new(sanitizer: Sanitizer) -> Result<Build, String> {
        let root = crate::root()?;
        let runtime = format!("_rt.{}.a", sanitizer.name());
        let libraries = target_libraries()?;
        let mut there = std::fs::read_dir(&libraries).into_iter().flatten().flatten();
        if !there.any(|entry| entry.file_name().to_string_lossy().ends_with(&runtime)) {
            return Err(format!("this toolchain has no librustc{runtime} in {}", libraries.display()));
        }
        let folder = root.join(FOLDER).join(sanitizer.name());
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut environment = vec![
            // The flags are not stable; the toolchain is the project's.
            ("RUSTC_BOOTSTRAP", "1".to_owned()),
            ("CARGO_TARGET_DIR", folder.display().to_string()),
            // For reports; the rest takes a third of the build.
            ("CARGO_PROFILE_DEV_DEBUG", "line-tables-only".to_owned()),
            ("CARGO_PROFILE_TEST_DEBUG", "line-tables-only".to_owned()),
        ];
        match sanitizer {
            Sanitizer::Address => {
                environment.push(("RUSTFLAGS", "-Zsanitizer=address".to_owned()));
                environment
                    .push(("ASAN_OPTIONS", "detect_stack_use_after_return=1:strict_init_order=1".to_owned()));
            }
            Sanitizer::Thread => {
                let mut flags = vec![
                    "-Zsanitizer=thread".to_owned(),
                    // The standard library is not instrumented: see `std_sync`.
                    "-Cunsafe-allow-abi-mismatch=sanitizer".to_owned(),
                    // Generic code of it is built here once more, and so it is.
                    "-Zshare-generics=no".to_owned(),
                    // The sanitizer is to see what is mapped and unmapped: by functions of libc, not by system calls of our own.
                    "--cfg=rustix_use_libc".to_owned(),
                ];
                flags.extend(std_sync::flags(root, &folder)?);
                environment.push(("RUSTFLAGS", flags.join(" ")));
                let suppressions = root.join(SUPPRESSIONS);
                environment.push(("TSAN_OPTIONS", format!("suppressions={}", suppressions.display())));
            }
            Sanitizer::Miri => {}
        }
        Ok(Build { sanitizer, environment })
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["test", "--locked", "--package", "steadfast", "--target", &target()]).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn compile(&self, plan: &Plan) -> Result<(), String> {
        let mut arguments = vec!["--no-run", "--test", "planted"];
        arguments.extend(plan.selection.iter().map(String::as_str));
        self.must_succeed("build", &arguments)
    }

    fn test(&self, plan: &Plan) -> Result<(), String> {
        let mut arguments: Vec<&str> = plan.selection.iter().map(String::as_str).collect();
        arguments.extend(["--no-fail-fast", "--"]);
        arguments.extend(plan.skipped.iter().flat_map(|test| ["--skip", test]));
        self.must_succeed("tests", &arguments)
    }

    fn must_succeed(&self, what: &str, arguments: &[&str]) -> Result<(), String> {
        let step = format!("{what} under {}", self.sanitizer.name());
        eprintln!("xtask: {step}: cargo test {}", arguments.join(" "));
        let status = self.cargo(arguments).status().map_err(|error| format!("{step}: {error}"))?;
        if status.success() { Ok(()) } else { Err(step) }
    }

    /// A sanitizer that does not report what is surely there reports nothing.
    fn must_find(&self, defect: &str, report: &str) -> Result<(), String> {
        let output = self
            .cargo(&["--quiet", "--test", "planted", "--", "--ignored", "--exact", defect])
            .env("STEADFAST_PLANTED", "1")
            .output()
            .map_err(|error| format!("{defect}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        if !output.status.success() && text.contains(report) {
            return Ok(());
        }
        Err(format!(
            "{} does not find {defect}, which is planted: {}\n{text}",
            self.sanitizer.name(),
            output.status
        ))
    }
}

/// Only where somebody has installed it: it comes with nightly toolchains.
fn miri(scope: Scope) -> Result<(), String> {
    let root = crate::root()?;
    let plan = Plan::of(Sanitizer::Miri, scope, &root.join(TESTS))?;
    tell_left_out(Sanitizer::Miri, &plan);
    const COMMAND: [&str; 3] = ["+nightly", "miri", "test"];
    let there = Command::new("cargo").args(["+nightly", "miri", "--version"]).output();
    let mut arguments = vec!["--locked", "--package", "steadfast", "--lib", "--"];
    arguments.extend(plan.modules.iter().copied());
    if !there.is_ok_and(|output| output.status.success()) {
        println!(
            "miri: not run: it is not installed (rustup +nightly component add miri rust-src); then: cargo {} {}",
            COMMAND.join(" "),
            arguments.join(" ")
        );
        return Ok(());
    }
    let status = Command::new("cargo")
        .args(COMMAND)
        .args(&arguments)
        .env("CARGO_TARGET_DIR", root.join(FOLDER).join("miri"))
        // Properties are drawn, and each case takes long.
        .env("PROPTEST_CASES", "8")
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .status()
        .map_err(|error| format!("miri: {error}"))?;
    if status.success() { Ok(()) } else { Err("tests under miri".to_owned()) }
}

/// What the parts of the standard library that are not instrumented look like to ThreadSanitizer.
const SUPPRESSIONS: &str = "xtask/sanitize/tsan.supp";
