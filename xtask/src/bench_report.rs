//! `cargo xtask bench-report`: runs every benchmark and writes docs/benchmarks.md from what they print.
//!
//! Nothing on that page is typed: whoever doubts a figure runs the command again.

mod chart;
mod figures;
mod image;
mod page;
mod plan;
mod requirements;

use std::fs;
use std::path::{Path, PathBuf};

use figures::Figures;
use plan::Plan;

/// Where the page and its charts go, below the workspace.
const PAGE: &str = "docs/benchmarks.md";
const RAW: &str = "docs/benchmarks.json";
const CHARTS: &str = "docs/benchmarks";

pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask stands in no workspace")?;
    let options = Options::parse(arguments, root)?;
    let library = root.join(super::PRELOAD);
    let plan = if options.quick { Plan::quick(&library) } else { Plan::full(&library) };
    super::cargo(&["build", "--release", "--locked", "-p", "bench", "-p", "steadfast-preload"], &[])?;

    fs::create_dir_all(&options.dir).map_err(|error| format!("{}: {error}", options.dir.display()))?;
    let mut all = vec![Figures::measure(&plan.here, |arguments| figures::command(&options.dir, arguments))?];
    let mut missing = Vec::new();
    for (kind, package) in [("xfs", "xfsprogs"), ("btrfs", "btrfs-progs")] {
        match image::Image::make(&options.dir, kind, package) {
            Ok(image) => all.push(Figures::measure(&plan.elsewhere, |arguments| image.command(arguments))?),
            Err(reason) => missing.push(format!("{}: not measured: {reason}", figures::proper(kind))),
        }
    }

    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let charts = root.join(CHARTS);
    fs::create_dir_all(&charts).map_err(|error| format!("{}: {error}", charts.display()))?;
    for figures in &all {
        for (bench, draw) in chart::CHARTS {
            if figures.of(bench).next().is_some() {
                write(&format!("{CHARTS}/{bench}-{}.svg", figures.file_system), &draw(figures))?;
            }
        }
    }
    write(RAW, &figures::raw(&all))?;
    write(PAGE, &page::render(&all, &missing, &options.arguments))?;
    eprintln!("xtask: wrote {PAGE}, {RAW} and {CHARTS}/");
    let short = requirements::all().iter().filter(|row| row.falls_short(&all[0])).count();
    if short > 0 {
        eprintln!("xtask: {short} requirements fall short here: see the first table");
    }
    Ok(())
}

struct Options {
    quick: bool,
    dir: PathBuf,
    /// As given, for the page; without the folder, which is this machine's own.
    arguments: String,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>, root: &Path) -> Result<Options, String> {
        let dir = root.join("target/bench-report");
        let mut options = Options { quick: false, dir, arguments: String::new() };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => {
                    options.quick = true;
                    options.arguments.push_str(" --quick");
                }
                "--dir" => options.dir = arguments.next().ok_or("--dir needs a folder")?.into(),
                other => return Err(format!("bench-report knows --quick and --dir PATH, not {other}")),
            }
        }
        options.dir = std::path::absolute(&options.dir).map_err(|error| error.to_string())?;
        Ok(options)
    }
}
