//! What the programs need, set up below the build's folder by the registries' own clients. Each piece is one that a machine may lack.
//!
//! A piece is made once: its *recipe*, which says everything that went into it, is written last and compared first.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Call, Program, Suite};

/// From PyPI: what the programs import, and what runs the suites.
const NUMPY: &str = "numpy==2.4.6";
const LMDB: &str = "lmdb==3.0.0";
const TESTERS: [&str; 2] = ["pytest==9.2.0", "hypothesis==6.170.17"];
/// From npm.
const NODE_PACKAGES: &str = r#"{"private": true, "dependencies": {"lmdb": "3.5.6"}}"#;

/// What Debian's own tools use, whichever else is there.
const DEBIANS_PYTHON: &str = "/usr/bin/python3";

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");

/// What cannot be had on this machine, and how it could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking(String);

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lacking {}

/// Names the piece, the reason and the way out.
fn lacking(what: &str, why: impl fmt::Display, how: &str) -> Lacking {
    Lacking(format!("{what} ({why}); {how}"))
}

/// The folder in which the pieces are.
#[derive(Debug, Clone)]
pub struct Workshop(PathBuf);

impl Workshop {
    /// In the folder that cargo built `program` in.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be written to.
    pub fn beside(program: &Path) -> Result<Workshop, Lacking> {
        let unwritable =
            |why: &dyn fmt::Display| lacking("a folder for the programs", why, "run it as cargo built it");
        // target/PROFILE/program, or target/PROFILE/deps/program for a test.
        let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
        let target = target.ok_or_else(|| unwritable(&format!("{} is in no target", program.display())))?;
        let folder = target.join("programs");
        fs::create_dir_all(&folder).map_err(|error| unwritable(&error))?;
        Ok(Workshop(folder))
    }

    /// The writer to kill: it takes what to open, a seed, and a number of versions.
    ///
    /// # Errors
    ///
    /// A piece that it needs.
    pub fn writer(&self, program: Program) -> Result<Call, Lacking> {
        Ok(match program {
            Program::PythonMmap => Call::new(self.python()?).arg(source("kill/mmap_flush.py")),
            Program::NumpyMemmap => Call::new(self.numpy()?).arg(source("kill/memmap_flush.py")),
            Program::LmdbPython => Call::new(self.lmdb()?).arg(source("kill/lmdb_commit.py")),
            Program::JavaForce => self.java("MappedForce", "kill/MappedForce.java")?,
            Program::LmdbNode => self.node(&["kill/lmdb_commit.mjs", "kill/lmdb_records.mjs"])?,
        })
    }

    /// For a database: reads everything and tells what is there. It takes what to open, and the seed.
    ///
    /// # Errors
    ///
    /// A piece that it needs.
    pub fn reader(&self, program: Program) -> Result<Option<Call>, Lacking> {
        Ok(match program {
            Program::LmdbPython => Some(Call::new(self.lmdb()?).arg(source("kill/lmdb_check.py"))),
            Program::LmdbNode => Some(self.node(&["kill/lmdb_check.mjs", "kill/lmdb_records.mjs"])?),
            Program::PythonMmap | Program::NumpyMemmap | Program::JavaForce => None,
        })
    }

    /// The one that times itself: it takes what to open, bursts as `PAGES:FLUSHES,…`, a seed, and the size of the file.
    ///
    /// # Errors
    ///
    /// A piece that it needs.
    pub fn timer(&self, program: Program) -> Result<Call, Lacking> {
        Ok(match program {
            Program::PythonMmap => Call::new(self.python()?).arg(source("bench/mmap_times.py")),
            Program::NumpyMemmap => Call::new(self.numpy()?).arg(source("bench/memmap_times.py")),
            Program::LmdbPython => Call::new(self.lmdb()?).arg(source("bench/lmdb_times.py")),
            Program::JavaForce => self.java("ForceTimes", "bench/ForceTimes.java")?,
            Program::LmdbNode => self.node(&["bench/lmdb_times.mjs"])?,
        })
    }

    /// A suite's own tests, which write each test's outcome into the file that the variable `OUTCOMES` names, and what they are of.
    ///
    /// # Errors
    ///
    /// A piece that it needs.
    pub fn suite(&self, suite: Suite) -> Result<(Call, String), Lacking> {
        let pytest = |python| {
            let call = Call::new(python).env("PYTHONPATH", source("suites"));
            ["-m", "pytest", "-p", "pytest_outcomes", "-p", "no:cacheprovider"]
                .into_iter()
                .fold(call, Call::arg)
        };
        Ok(match suite {
            Suite::Cpython => {
                let (python, version, tests) = self.cpython()?;
                let call = Call::new(python).arg(source("suites/unittest_outcomes.py")).arg("test.test_mmap");
                let call = tests.into_iter().fold(call, |call, tests| call.env("PYTHONPATH", tests));
                (call, format!("Python {version}, test.test_mmap"))
            }
            Suite::Numpy => {
                let call = pytest(self.numpy()?).arg("--pyargs").arg("numpy._core.tests.test_memmap");
                (call, format!("{NUMPY}, numpy/_core/tests/test_memmap.py"))
            }
            Suite::Lmdb => {
                let tests = self.lmdb_source()?.join("tests");
                (pytest(self.lmdb()?).arg(tests), format!("{LMDB}, tests of its source"))
            }
        })
    }

    /// A Python that has its tests, its version, and the folder with the tests if they are not its own.
    fn cpython(&self) -> Result<(PathBuf, String, Option<PathBuf>), Lacking> {
        let has_tests = |python: &PathBuf| {
            run(Command::new(python).args(["-c", "import test.test_mmap"]), "", "").is_ok()
        };
        for name in ["python3", DEBIANS_PYTHON] {
            if let Ok((python, version)) = interpreter(name)
                && has_tests(&python)
            {
                return Ok((python, version, None));
            }
        }
        // Debian's Python comes without them: they are a package of their own, which need not be installed to be read.
        let (python, version) = interpreter(DEBIANS_PYTHON)?;
        let minor = version.rsplit_once('.').map_or(&*version, |(minor, _)| minor);
        let package = format!("libpython{minor}-testsuite");
        let what = "CPython's own tests";
        let how = format!("Debian: apt-get install {package}");
        let folder = self.piece("cpython-tests", what, &format!("{package} for {version}"), |folder| {
            run(Command::new("apt-get").args(["download", "--quiet", &package]).current_dir(folder), what, &how)?;
            let unpack = "import glob, os, shutil, subprocess, test\n\
                subprocess.run(['dpkg', '-x', *glob.glob('*.deb'), 'unpacked'], check=True)\n\
                shutil.copytree(test.__path__[0], 'tests/test')\n\
                shutil.copytree(glob.glob('unpacked/usr/lib/python3*/test')[0], 'tests/test', dirs_exist_ok=True)";
            run(Command::new(&python).args(["-c", unpack]).current_dir(folder), what, &how)
        })?;
        Ok((python, version, Some(folder.join("tests"))))
    }

    /// The package's source, with its tests.
    fn lmdb_source(&self) -> Result<PathBuf, Lacking> {
        let what = "the source of Python's lmdb";
        let how = "PyPI must be reached";
        let python = self.lmdb()?;
        let folder = self.piece("lmdb-source", what, LMDB, |folder| {
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
            run(pip.args(["--no-binary", "lmdb", LMDB]).current_dir(folder), what, how)?;
            let unpack = "import glob, os, shutil\n\
                shutil.unpack_archive(*glob.glob('*.tar.gz'))\n\
                os.rename(glob.glob('lmdb-*/')[0], 'lmdb')";
            run(Command::new(&python).args(["-c", unpack]).current_dir(folder), what, how)
        })?;
        Ok(folder.join("lmdb"))
    }

    /// `python3` itself, past whatever wrapper has the name.
    fn python(&self) -> Result<PathBuf, Lacking> {
        interpreter("python3").map(|(path, _)| path)
    }

    fn numpy(&self) -> Result<PathBuf, Lacking> {
        self.venv("numpy", &[NUMPY])
    }

    fn lmdb(&self) -> Result<PathBuf, Lacking> {
        self.venv("lmdb", &[LMDB])
    }

    /// An environment with these packages and what runs their suites: one for each, so that one that cannot be had takes no other with it.
    fn venv(&self, name: &str, packages: &[&str]) -> Result<PathBuf, Lacking> {
        let (python, version) = interpreter("python3")?;
        let packages: Vec<&str> = packages.iter().chain(&TESTERS).copied().collect();
        let recipe = format!("{} {version}\n{}\n", python.display(), packages.join(" "));
        let what = format!("a Python environment with {}", packages[0]);
        let folder = self.piece(&format!("venv-{name}"), &what, &recipe, |folder| {
            let how = "Debian: apt-get install python3-venv";
            run(Command::new(&python).args(["-m", "venv"]).arg(folder), &what, how)?;
            let mut pip = Command::new(folder.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(&packages);
            run(&mut pip, &what, "PyPI must be reached")
        })?;
        Ok(folder.join("bin/python"))
    }

    /// A class, compiled.
    fn java(&self, class: &str, path: &str) -> Result<Call, Lacking> {
        let what = "a JDK";
        let how = "Debian: apt-get install default-jdk-headless";
        let file = source(path);
        let text =
            fs::read_to_string(&file).map_err(|error| lacking(path, error, "take a whole checkout"))?;
        let folder = self.piece(&format!("java-{class}"), what, &text, |folder| {
            run(Command::new("java").arg("-version"), what, how)?;
            run(Command::new("javac").arg("-d").arg(folder).arg(&file), what, how)
        })?;
        Ok(Call::new("java").arg("-cp").arg(folder).arg(class))
    }

    /// The first of some scripts, all of which lie beside the packages: a module's imports are looked for from where it lies.
    fn node(&self, scripts: &[&str]) -> Result<Call, Lacking> {
        let what = "npm's lmdb";
        let how = "Debian: apt-get install nodejs npm; npm's registry must be reached";
        let folder = self.piece("node", what, NODE_PACKAGES, |folder| {
            let written = fs::write(folder.join("package.json"), NODE_PACKAGES);
            written.map_err(|error| lacking(what, error, "is the disk full?"))?;
            let mut npm = Command::new("npm");
            // Built ones come as packages; without scripts nothing is compiled or fetched by anything but npm.
            npm.args([
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--no-package-lock",
                "--ignore-scripts",
            ]);
            run(npm.current_dir(folder), what, how)?;
            let mut load = Command::new("node");
            run(load.args(["-e", "require('lmdb')"]).current_dir(folder), what, how)
        })?;
        let mut first = None;
        for script in scripts {
            let from = source(script);
            let to = folder.join(from.file_name().unwrap_or_default());
            let copied = fs::read(&from).and_then(|text| {
                let same = fs::read(&to).is_ok_and(|have| have == text);
                if same { Ok(()) } else { fs::write(&to, text) }
            });
            copied.map_err(|error| lacking(script, error, "take a whole checkout"))?;
            first.get_or_insert(to);
        }
        Ok(first.into_iter().fold(Call::new("node"), Call::arg))
    }

    /// A folder, filled by `make` unless it was made by the same recipe.
    fn piece(
        &self,
        name: &str,
        what: &str,
        recipe: &str,
        make: impl FnOnce(&Path) -> Result<(), Lacking>,
    ) -> Result<PathBuf, Lacking> {
        let fail = |error: std::io::Error| lacking(what, error, "is the disk full?");
        // Given back at the end: two processes may want the same piece.
        let lock = File::create(self.0.join(format!("{name}.lock"))).map_err(fail)?;
        lock.lock().map_err(fail)?;
        let folder = self.0.join(name);
        let made_by = folder.join("recipe.txt");
        if fs::read_to_string(&made_by).is_ok_and(|have| have == recipe) {
            return Ok(folder);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(fail)?;
        }
        fs::create_dir_all(&folder).map_err(fail)?;
        eprintln!("setting up {what}");
        make(&folder)?;
        fs::write(made_by, recipe).map_err(fail)?;
        Ok(folder)
    }
}

/// A file of this package.
fn source(path: &str) -> PathBuf {
    Path::new(SOURCES).join(path)
}

/// A Python, by its own account of where it is and what it is.
fn interpreter(name: &str) -> Result<(PathBuf, String), Lacking> {
    let what = "Python";
    let how = "Debian: apt-get install python3";
    let tell = "import sys; print(sys.executable); print(*sys.version_info[:3], sep='.')";
    let told = output(Command::new(name).args(["-c", tell]), what, how)?;
    match told.lines().collect::<Vec<_>>()[..] {
        [path, version] if !path.is_empty() => Ok((path.into(), version.to_owned())),
        _ => Err(lacking(what, format!("{name} says {told:?}"), how)),
    }
}

/// Runs a command that says nothing that counts.
fn run(command: &mut Command, what: &str, how: &str) -> Result<(), Lacking> {
    output(command, what, how).map(drop)
}

/// What a command says.
fn output(command: &mut Command, what: &str, how: &str) -> Result<String, Lacking> {
    crate::preload::clear(command);
    let name = command.get_program().to_string_lossy().into_owned();
    let ended = command.output().map_err(|error| lacking(what, format!("{name}: {error}"), how))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ended.status.success() {
        return Ok(text(&ended.stdout));
    }
    let said = text(&ended.stderr) + &text(&ended.stdout);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(lacking(what, format!("{name}: {last}"), how))
}
