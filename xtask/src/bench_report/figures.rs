//! What the benchmarks printed on one file system, and how to find a figure in it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Map, Value};

/// One line of a benchmark's array.
pub(crate) type Row = Map<String, Value>;

/// All rows from one file system.
pub(crate) struct Figures {
    pub(crate) file_system: String,
    pub(crate) rows: Vec<Row>,
}

impl Figures {
    /// Runs these benchmarks, each with the command that `command` makes of its arguments.
    pub(crate) fn measure(
        plan: &[Vec<String>],
        command: impl Fn(&[String]) -> Command,
    ) -> Result<Figures, String> {
        let mut rows: Vec<Row> = Vec::new();
        for arguments in plan {
            let step = format!("bench {}", arguments.join(" "));
            eprint!("xtask: {step}");
            let start = Instant::now();
            let output = command(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .output()
                .map_err(|error| format!("{step}: {error}"))?;
            eprintln!(", {} s", start.elapsed().as_secs());
            if !output.status.success() {
                return Err(format!("{step}: {}", String::from_utf8_lossy(&output.stderr)));
            }
            let printed: Vec<Row> =
                serde_json::from_slice(&output.stdout).map_err(|error| format!("{step}: {error}"))?;
            rows.extend(printed);
        }
        let mut figures = Figures { file_system: String::new(), rows };
        let file_system = figures.machine().and_then(|row| row["file_system"].as_str());
        figures.file_system = file_system.unwrap_or("unknown").to_owned();
        Ok(figures)
    }

    /// The row that describes the machine.
    pub(crate) fn machine(&self) -> Option<&Row> {
        self.of("about").find(|row| row["system"] == "machine")
    }

    /// The rows of one benchmark.
    pub(crate) fn of<'a>(&'a self, bench: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row["bench"] == bench)
    }

    /// Every figure of this name in the rows of a system in a benchmark that also have these values.
    pub(crate) fn all<'a>(
        &'a self,
        bench: &'a str,
        system: &'a str,
        with: &'a [(&str, Value)],
        name: &'a str,
    ) -> impl Iterator<Item = f64> {
        self.of(bench)
            .filter(move |row| row["system"] == system)
            .filter(move |row| with.iter().all(|(key, value)| row.get(*key) == Some(value)))
            .filter_map(move |row| row.get(name)?.as_f64())
    }

    /// The one figure of a system in a benchmark with so many pages.
    pub(crate) fn at(&self, bench: &str, system: &str, pages: u64, name: &str) -> Option<f64> {
        self.all(bench, system, &[("pages", pages.into())], name).next()
    }
}

/// The benchmark, working in `dir`.
pub(crate) fn command(dir: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["run", "--quiet", "--release", "--locked", "--package", "bench", "--"]);
    command.args(arguments).arg("--json").arg("--dir").arg(dir);
    command
}

/// How a file system is written in prose.
pub(crate) fn proper(file_system: &str) -> &str {
    if file_system == "xfs" { "XFS" } else { file_system }
}

/// Everything as printed, one object with an array for each file system.
pub(crate) fn raw(all: &[Figures]) -> String {
    let mut text = String::from("{\n");
    for (index, figures) in all.iter().enumerate() {
        let lines: Vec<String> =
            figures.rows.iter().map(|row| Value::from(row.clone()).to_string()).collect();
        let comma = if index + 1 < all.len() { "," } else { "" };
        text.push_str(&format!("\"{}\": [\n{}\n]{comma}\n", figures.file_system, lines.join(",\n")));
    }
    text.push_str("}\n");
    text
}
