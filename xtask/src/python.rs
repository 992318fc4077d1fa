//! `cargo xtask python`: the wheel, and every test of it, in a virtual environment that is made for it.
//!
//! A Python of 3.11 or newer is all that is needed, and a package index for what `requirements-test.txt` pins, the first time. What is
//! missing is an error that names it: a Python that is not tested must not look like one that is.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CRATE: &str = "crates/steadfast-python";
const FOLDER: &str = "target/python";
const REQUIREMENTS: &str = "requirements-test.txt";
const IMAGE: &str = "docs/images/python-commit-latency.png";

/// The least that the package runs under: `requires-python` of pyproject.toml.
const OLDEST: (u32, u32) = (3, 11);
/// In the order in which they are asked: whatever is called `python3` is what people mean.
const PROGRAMS: [&str; 5] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];

pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let task = arguments.next();
    let rest: Vec<String> = arguments.collect();
    match task.as_deref() {
        None | Some("test") if rest.is_empty() => test(),
        Some("wheel") if rest.is_empty() => {
            let wheel = Environment::new()?.wheel()?;
            println!("{}", wheel.display());
            Ok(())
        }
        Some("docs") if rest.is_empty() => docs(),
        Some("bench") => bench(&rest),
        _ => Err("python knows wheel, test, docs and bench [OPTIONS]; alone it is test".to_owned()),
    }
}

/// Builds the wheel, installs it, and asks everything there is to ask of it.
pub(crate) fn test() -> Result<(), String> {
    let environment = Environment::new()?;
    environment.install()?;
    step("types", environment.python().args(["-m", "mypy"]))?;
    // What the stubs say against what the built module has.
    let stubs = ["-m", "mypy.stubtest", "steadfast._native", "--mypy-config-file", "pyproject.toml"];
    // What only some versions of Python have is not missed, nor missed in the list.
    let allowed = ["--allowlist", "stubtest-allowlist.txt", "--ignore-unused-allowlist"];
    step("stubs", environment.python().args(stubs).args(allowed))?;
    step("tests", environment.python().args(["-m", "pytest", "-p", "no:cacheprovider", "tests"]))
}

/// Measures on this machine's disk and draws the figure of docs/python.md.
fn docs() -> Result<(), String> {
    let environment = Environment::new()?;
    environment.install()?;
    let folder = environment.folder.join("docs");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let example = environment.package.join("examples/commit_latency.py");
    step("figure", environment.python().current_dir(&folder).env("MPLBACKEND", "agg").arg(example))?;
    let (drawn, image) = (folder.join("commit-latency.png"), crate::root()?.join(IMAGE));
    fs::copy(&drawn, &image).map_err(|error| format!("{} to {IMAGE}: {error}", drawn.display()))?;
    eprintln!("xtask: wrote {IMAGE}");
    Ok(())
}

/// `bench/commit.py`, with whatever options it is given, on the disk below target/.
fn bench(options: &[String]) -> Result<(), String> {
    let environment = Environment::new()?;
    environment.install()?;
    let program = environment.package.join("bench/commit.py");
    step("bench", environment.python().current_dir(&environment.folder).arg(program).args(options))
}

/// A virtual environment with what `requirements-test.txt` pins.
struct Environment {
    /// The crate.
    package: PathBuf,
    /// Where everything that is made here lies.
    folder: PathBuf,
    venv: PathBuf,
}

impl Environment {
    fn new() -> Result<Environment, String> {
        let root = crate::root()?;
        let folder = root.join(FOLDER);
        let environment =
            Environment { package: root.join(CRATE), venv: folder.join("venv"), folder: folder.clone() };
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let interpreter = Interpreter::find()?;
        let requirements = environment.package.join(REQUIREMENTS);
        let pinned = fs::read_to_string(&requirements)
            .map_err(|error| format!("{}: {error}", requirements.display()))?;
        // What it was made from: written last, so that one whose making was interrupted is made again.
        let (stamp, made_from) = (folder.join("venv.stamp"), format!("{}\n{pinned}", interpreter.version));
        let complete = fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_from);
        if !(complete && environment.python().arg("--version").output().is_ok_and(|run| run.status.success()))
        {
            // One that is half made is not taken for what the old stamp says.
            if stamp.exists() {
                fs::remove_file(&stamp).map_err(|error| format!("{}: {error}", stamp.display()))?;
            }
            environment.make(&interpreter, &requirements)?;
            fs::write(&stamp, made_from).map_err(|error| format!("{}: {error}", stamp.display()))?;
        }
        Ok(environment)
    }

    fn make(&self, interpreter: &Interpreter, requirements: &Path) -> Result<(), String> {
        let mut command = Command::new(interpreter.program);
        step("environment", command.args(["-m", "venv", "--clear"]).arg(&self.venv)).map_err(|step| {
            format!(
                "{step}: {} {} has the module venv but could not make one with it (Debian, Ubuntu: apt-get install \
                 python3-venv)",
                interpreter.program, interpreter.version
            )
        })?;
        step("packages", self.pip().arg("--requirement").arg(requirements)).map_err(|step| {
            format!(
                "{step}: pip could not install what {CRATE}/{REQUIREMENTS} pins: that takes the network, or an index that \
                 pip is told of (PIP_INDEX_URL, PIP_FIND_LINKS). Nothing of the Python package was tested"
            )
        })
    }

    /// The wheel of this tree: built by maturin, and alone in its folder.
    fn wheel(&self) -> Result<PathBuf, String> {
        let wheels = self.folder.join("wheels");
        if wheels.exists() {
            fs::remove_dir_all(&wheels).map_err(|error| format!("{}: {error}", wheels.display()))?;
        }
        let maturin = self.venv.join("bin/maturin");
        let mut command = Command::new(maturin);
        command
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(self.package.join("Cargo.toml"));
        command.arg("--interpreter").arg(self.interpreter()).arg("--out").arg(&wheels);
        step("wheel", &mut command)?;
        let entries = fs::read_dir(&wheels).map_err(|error| format!("{}: {error}", wheels.display()))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        match (found.pop(), found.is_empty()) {
            (Some(wheel), true) if wheel.extension() == Some(OsStr::new("whl")) => Ok(wheel),
            _ => Err(format!("maturin left no wheel, or more than one, in {}", wheels.display())),
        }
    }

    /// Builds the wheel and puts it into the environment: what is tested is what is shipped.
    fn install(&self) -> Result<(), String> {
        let wheel = self.wheel()?;
        step("install", self.pip().args(["--force-reinstall", "--no-deps", "--no-index"]).arg(wheel))
    }

    fn interpreter(&self) -> PathBuf {
        self.venv.join("bin/python")
    }

    /// The environment's Python, in the crate's folder, with no traces left there.
    fn python(&self) -> Command {
        let mut command = Command::new(self.interpreter());
        command.current_dir(&self.package);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("MYPY_CACHE_DIR", self.folder.join("mypy"));
        command.env("HYPOTHESIS_STORAGE_DIRECTORY", self.folder.join("hypothesis"));
        // Neither is this environment's business.
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        command
    }

    fn pip(&self) -> Command {
        let mut command = self.python();
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        command
    }
}

fn step(what: &str, command: &mut Command) -> Result<(), String> {
    let step = format!("python {what}");
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    eprintln!("xtask: {step}: {} {}", command.get_program().to_string_lossy(), arguments.join(" "));
    let status = command.status().map_err(|error| format!("{step}: {error}"))?;
    if status.success() { Ok(()) } else { Err(step) }
}

/// A Python that is new enough.
struct Interpreter {
    program: &'static str,
    version: String,
}

impl Interpreter {
    fn find() -> Result<Interpreter, String> {
        let mut seen = Vec::new();
        for program in PROGRAMS {
            match version(program) {
                Ok(version) if number(&version).is_some_and(|number| number >= OLDEST) => {
                    return Ok(Interpreter { program, version });
                }
                Ok(version) => seen.push(format!("{program} is {version}")),
                Err(reason) => seen.push(format!("{program}: {reason}")),
            }
        }
        Err(format!(
            "no Python of {}.{} or newer was found ({}): install one, with its module venv; nothing of the Python package \
             was built or tested",
            OLDEST.0,
            OLDEST.1,
            seen.join("; ")
        ))
    }
}

/// As `3.11.7`; an error where the program, or its module `venv`, is missing.
fn version(program: &str) -> Result<String, String> {
    let ask = "import sys, venv, ensurepip; print('.'.join(map(str, sys.version_info[:3])))";
    let output = Command::new(program).args(["-c", ask]).output();
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "not installed".to_owned(),
        _ => error.to_string(),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("it failed without a word").to_owned())
}

fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(number("3.9.18") < Some(OLDEST), "3.9 is older than 3.11");
        assert!(number("3.11.7") >= Some(OLDEST));
        assert!(number("4.0.0") >= Some(OLDEST));
        assert_eq!(number("three"), None);
    }

    #[test]
    fn the_oldest_python_is_the_one_that_the_package_names() {
        let manifest = crate::root().unwrap().join(CRATE).join("pyproject.toml");
        let wanted = format!("requires-python = \">={}.{}\"", OLDEST.0, OLDEST.1);
        assert!(fs::read_to_string(manifest).unwrap().contains(&wanted), "{wanted}");
    }
}
