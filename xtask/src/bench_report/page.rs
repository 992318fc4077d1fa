//! docs/benchmarks.md, from the figures.

use std::fmt::Write;

use serde_json::Value;

use super::chart::CHARTS;
use super::figures::{Figures, Row, proper};
use super::requirements;

/// Each benchmark's heading and what to know before reading its table.
const BENCHES: [(&str, &str, &str); 13] = [
    (
        "commit",
        "One commit",
        "Stores of 8 bytes, one in each of so many random pages of a resident map; for the databases, updates of as many random records of \
         256 bytes, one from each of those pages. `p50_us` and `p99_us` are the commit alone, `store_p50_us` the stores before it. \
         `vs_limit` and `vs_full_pages` are ratios to the faster limit (smaller is better), the other `vs_` columns say how many times \
         faster than that peer (larger is better). Between bursts the file system is synced, outside the timing, so that nobody \
         pays for another's write-back; `flushes_per_commit` counts all flushes of the device meanwhile, checkpoints included.",
    ),
    (
        "search",
        "Finding plain stores, at the least",
        "Where the time of a commit of plain stores goes. `scan`: one `PAGEMAP_SCAN` over the whole map, all pages of which are mapped and \
         protected; `compare`: reading the pages that it found, and those that they are copies of, on one thread. With the flush that is \
         the least that such a commit takes; the rest is the library's own.",
    ),
    (
        "sustained",
        "Sustained",
        "Commits a second over a long run; the time includes the stores, every checkpoint, and the final checkpoint and close. Bytes on \
         the disk are what the device wrote up to the end of a sync, metadata and other programs' included.",
    ),
    (
        "first-store",
        "The first store to a page",
        "Resident pages, one store of 8 bytes each. `first-touch`: never stored to since the open; `after-commit`: stored to, committed, \
         and stored to again. `map-shared-random` is MAP_SHARED over a file that was not in the page cache, with MADV_RANDOM: its folios \
         are single pages.",
    ),
    ("load", "Loads", "Reads of 8 bytes; the same code over a `&[u8]` for each map."),
    (
        "guard",
        "The SIGBUS guard",
        "What it costs where nothing is wrong, and how long it takes when something is.",
    ),
    (
        "sparse",
        "Sparse files",
        "Views of two files with as many written pages each, all of the small one, one in every 4 MiB of the large one; stores go to these.",
    ),
    ("decay", "Over time", "Commits of 16 declared edits, in windows of 1000."),
    (
        "recovery",
        "Recovery",
        "A child process fills its journal with commits and is killed. `plain-calls` reads the whole journal file, writes the same pages to a \
         copy of the data file in offset order, and calls fsync. Both begin outside the page cache.",
    ),
    ("threads", "Many writers", "Each thread has a map of its own on the same device."),
    (
        "memory",
        "Memory above the data",
        "Private pages, memory files (all their blocks, mapped or not) and page tables, less the data, while whole random pages are \
         committed. `nearest_` is the moment that came nearest to the bound.",
    ),
    ("open", "Opening", "Clean files; closing is not timed."),
    (
        "programs",
        "Programs that were not made for it",
        "Python's `mmap`, NumPy's `memmap`, Java's `MappedByteBuffer` and LMDB with a writable map, unmodified, as they are installed \
         from their registries, with and without `libsteadfast_preload.so` under them. Each times itself: 8 bytes are changed in each of \
         so many scattered pages (LMDB: so many records of half a page) and flushed once. The first table is about the flush alone; \
         `p50_us` and `vs_kernel` are the stores and the flush. The first flush of a burst is thrown away. `publish(false)` does not show \
         commits to readers of the plain file. LMDB is atomic as it is: a transaction copies the pages of its tree that it changes to \
         other places of the map, and says afterwards, in a page of its own, where they are. So more is stored and synced than was asked \
         for, and how much is its own affair: its figures are reported without a bound. `open_p50_ms` is the mapping and a read of every \
         page.",
    ),
];

/// Columns that a table in a page does without.
const HIDDEN: [&str; 2] = ["bench", "samples"];

pub(crate) fn render(all: &[Figures], missing: &[String], arguments: &str) -> String {
    let mut page = String::from("# Benchmarks\n\n");
    let _ = write!(
        page,
        "Regenerated, never typed: `cargo xtask bench-report{arguments}` wrote this page and [the figures behind it](benchmarks.json). One \
         harness, one data set, the same stores in the same order; peers at the newest versions, each set up as its own documentation \
         advises. Figures move from machine to machine and with whatever else that does: the ratios are the point.\n\n"
    );
    first_table(&mut page, all, missing);
    machines(&mut page, all);
    setups(&mut page, &all[0]);
    for (bench, heading, about) in BENCHES {
        let mut begun = false;
        for figures in all {
            let rows: Vec<&Row> = figures.of(bench).collect();
            if rows.is_empty() {
                continue;
            }
            if !begun {
                let _ = write!(page, "## {heading}\n\n{about}\n\n");
                begun = true;
            }
            let _ = write!(page, "### {heading}: {}\n\n", proper(&figures.file_system));
            if CHARTS.iter().any(|(charted, _)| *charted == bench) {
                let _ = write!(page, "![{heading}](benchmarks/{bench}-{}.svg)\n\n", figures.file_system);
            }
            table(&mut page, &rows);
        }
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn first_table(page: &mut String, all: &[Figures], missing: &[String]) {
    page.push_str("## What is required, and what was measured\n\n| what | required |");
    for figures in all {
        let _ = write!(page, " {} |", proper(&figures.file_system));
    }
    let _ = write!(page, "\n|---|---|{}\n", "---|".repeat(all.len()));
    for row in requirements::all() {
        let _ = write!(page, "| {} | {} |", row.what, row.required());
        for figures in all {
            let _ = write!(page, " {} |", row.cell(figures));
        }
        page.push('\n');
    }
    page.push_str(
        "\nRequired on ext4 and XFS; btrfs is reported beside them. – was not measured there. All other file systems than the first are in a \
         file under a loop device.\n\n",
    );
    for reason in missing {
        let _ = write!(page, "{reason}.\n\n");
    }
    page.push_str(
        "`memmap2` flush appears twice. A file lies in the page cache in folios as large as its reads and writes were, up to megabytes, and the \
         kernel marks dirty and writes back whole folios: that is what a map costs as it comes. *With folios of one page* is the same map \
         over a file that was not in the page cache, after `advise(Random)`: what it costs at its best.\n\n",
    );
}

fn machines(page: &mut String, all: &[Figures]) {
    page.push_str("## The machine\n\n| | |\n|---|---|\n");
    let Some(machine) = all[0].machine() else { return };
    for name in ["cpu", "cores", "memory", "kernel", "architecture"] {
        let _ = writeln!(page, "| {name} | {} |", cell(machine.get(name)));
    }
    for figures in all {
        let device = figures.machine().map(|row| cell(row.get("device"))).unwrap_or_default();
        let _ = writeln!(page, "| {} | {device} |", proper(&figures.file_system));
    }
    for name in ["steadfast", "sqlite", "crates"] {
        let _ = writeln!(page, "| {name} | {} |", cell(machine.get(name)));
    }
    page.push('\n');
}

fn setups(page: &mut String, figures: &Figures) {
    page.push_str("## How each is set up\n\n| system | atomic | set-up |\n|---|---|---|\n");
    for row in figures.of("about").filter(|row| row["system"] != "machine") {
        let atomic = match row.get("atomic").and_then(Value::as_bool) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        let _ = writeln!(page, "| {} | {atomic} | {} |", cell(row.get("system")), cell(row.get("setup")));
    }
    page.push('\n');
}

/// Rows under the columns that any of them has, in the order in which the benchmark printed them.
fn table(page: &mut String, rows: &[&Row]) {
    // The map behind a row sorts its names: the identifying ones come first, ratios and notes last.
    let rank = |name: &str| match name {
        "system" => 0,
        "under" | "pages" | "threads" | "file" | "access" | "when" | "window" => 1,
        "note" => 4,
        name if name.starts_with("vs_") => 3,
        _ => 2,
    };
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        if !names.contains(&name.as_str()) && !HIDDEN.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| (rank(name), (*name).to_owned()));
    let rule = names.iter().map(|name| if rank(name) == 0 || *name == "note" { "---|" } else { "---:|" });
    let _ = write!(page, "| {} |\n|{}\n", names.join(" | "), rule.collect::<String>());
    for row in rows {
        let cells: Vec<String> = names.iter().map(|name| cell(row.get(*name))).collect();
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    page.push('\n');
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.replace('|', "\\|"),
        Some(Value::Number(number)) => number.to_string().trim_end_matches(".0").to_owned(),
        Some(other) => other.to_string(),
    }
}
