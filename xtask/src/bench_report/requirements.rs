//! What the design must reach (docs/design.md and the issue behind it), each as a figure of the run.

use serde_json::Value;

use super::figures::Figures;

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

type Measure = Box<dyn Fn(&Figures) -> Option<f64>>;

/// One line of the first table.
pub(crate) struct Requirement {
    pub(crate) what: String,
    /// Nothing is required of some lines, which stand there because a reader of their neighbours wants them.
    bound: Option<Bound>,
    measure: Measure,
}

impl Requirement {
    fn at_most(what: impl Into<String>, bound: f64, measure: Measure) -> Requirement {
        Requirement { what: what.into(), bound: Some(Bound::AtMost(bound)), measure }
    }

    fn at_least(what: impl Into<String>, bound: f64, measure: Measure) -> Requirement {
        Requirement { what: what.into(), bound: Some(Bound::AtLeast(bound)), measure }
    }

    fn reported(what: impl Into<String>, measure: Measure) -> Requirement {
        Requirement { what: what.into(), bound: None, measure }
    }

    pub(crate) fn required(&self) -> String {
        match self.bound {
            Some(Bound::AtMost(bound)) => format!("≤ {bound}"),
            Some(Bound::AtLeast(bound)) => format!("≥ {bound}"),
            None => "reported".to_owned(),
        }
    }

    /// The figure and the verdict.
    pub(crate) fn cell(&self, figures: &Figures) -> String {
        let Some(measured) = (self.measure)(figures) else { return "–".to_owned() };
        let figure = if measured >= 100.0 { format!("{measured:.0}") } else { format!("{measured:.2}") };
        match self.bound {
            None => figure,
            Some(_) if self.falls_short(figures) => format!("**{figure}** falls short"),
            Some(_) => format!("{figure} holds"),
        }
    }

    pub(crate) fn falls_short(&self, figures: &Figures) -> bool {
        match ((self.measure)(figures), self.bound) {
            (Some(measured), Some(Bound::AtMost(bound))) => measured > bound,
            (Some(measured), Some(Bound::AtLeast(bound))) => measured < bound,
            _ => false,
        }
    }
}

/// A figure of one commit row.
fn commit(system: &'static str, pages: u64, name: &'static str) -> Measure {
    Box::new(move |figures| figures.at("commit", system, pages, name))
}

/// How many times faster declared edits are than a peer.
fn times_faster(peer: &'static str, pages: u64) -> Measure {
    Box::new(move |figures| {
        let p50 = |system| figures.at("commit", system, pages, "p50_us");
        Some(p50(peer)? / p50("steadfast-declared")?)
    })
}

/// What a commit of plain stores takes at the least, beside what it is held against.
fn floor_of_stores(figures: &Figures, pages: u64) -> Option<f64> {
    let fastest = |systems: [&str; 2]| {
        let of = |system| figures.at("commit", system, pages, "p50_us");
        systems.into_iter().filter_map(of).min_by(f64::total_cmp)
    };
    let search = |name| figures.at("search", "kernel", pages, name);
    let limit = fastest(["limit-buffered", "limit-direct"])?;
    let least = search("scan_p50_us")? + search("compare_p50_us")? + limit;
    let full_pages = fastest(["full-pages-buffered", "full-pages-direct"])?;
    Some(least / if pages <= 16 { limit } else { full_pages })
}

/// The largest figure of this name among these systems.
fn worst(
    bench: &'static str,
    systems: &'static [&'static str],
    with: Vec<(&'static str, Value)>,
    name: &'static str,
) -> Measure {
    Box::new(move |figures| {
        systems.iter().flat_map(|system| figures.all(bench, system, &with, name)).max_by(f64::total_cmp)
    })
}

/// `1 page`, `16 pages`.
fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Every requirement, in the design's order.
pub(crate) fn all() -> Vec<Requirement> {
    let mut rows = against_limits();
    rows.extend(against_memmap2());
    rows.extend(against_databases());
    rows.extend(over_time());
    rows.extend(under_programs());
    rows
}

fn against_limits() -> Vec<Requirement> {
    let mut rows = Vec::new();
    for (system, way) in [("steadfast-declared", "load"), ("steadfast-view-declared", "view")] {
        for (pages, bound) in [(1, 1.3), (16, 1.3), (256, 1.3), (4096, 2.0)] {
            let what =
                format!("{way}: commit of {} ÷ a bare 4 KiB append+flush", count(pages, "declared edit"));
            rows.push(Requirement::at_most(what, bound, commit(system, pages, "vs_limit")));
        }
    }
    for (system, way) in [("steadfast-stores", "load"), ("steadfast-view-stores", "view")] {
        for pages in [1, 16] {
            let what = format!("{way}: plain stores, {} ÷ a bare 4 KiB append+flush", count(pages, "page"));
            rows.push(Requirement::at_most(what, 1.7, commit(system, pages, "vs_limit")));
        }
        for (pages, bound) in [(256, 1.0), (4096, 1.3)] {
            let what =
                format!("{way}: plain stores, {pages} pages ÷ append+flush of full images of those pages");
            rows.push(Requirement::at_most(what, bound, commit(system, pages, "vs_full_pages")));
        }
    }
    for pages in [1, 16, 256, 4096] {
        let to = if pages <= 16 { "a bare 4 KiB append+flush" } else { "append+flush of full images" };
        let what = format!(
            "the least for that: the kernel's search, reading {}, and a bare append+flush ÷ {to}",
            count(pages, "page")
        );
        rows.push(Requirement::reported(what, Box::new(move |figures| floor_of_stores(figures, pages))));
    }
    // Other programs' flushes fall into the count, and can only add to it.
    let flushes = |figures: &Figures| {
        let of = |pages| figures.at("commit", "steadfast-declared", pages, "flushes_per_commit");
        [1, 16, 256].into_iter().filter_map(of).min_by(f64::total_cmp)
    };
    let what = "flushes a commit, checkpoints included (1; the least of 1, 16 and 256 pages)";
    rows.push(Requirement::at_most(what, 1.1, Box::new(flushes)));
    rows
}

fn against_memmap2() -> Vec<Requirement> {
    let mut rows = Vec::new();
    let systems = [
        ("steadfast-declared", "declared edits", [2.5, 30.0, 200.0, 300.0]),
        ("steadfast-stores", "plain stores", [2.0, 20.0, 60.0, 8.0]),
    ];
    for (system, stores, bounds) in systems {
        for (pages, bound) in [1, 16, 256, 4096].into_iter().zip(bounds) {
            let what = format!("{stores}, {}: times faster than `memmap2` flush", count(pages, "page"));
            rows.push(Requirement::at_least(what, bound, commit(system, pages, "vs_memmap2")));
        }
        for pages in [1, 16, 256, 4096] {
            let what = format!(
                "{stores}, {}: times faster than `memmap2` flush with folios of one page",
                count(pages, "page")
            );
            rows.push(Requirement::reported(what, commit(system, pages, "vs_memmap2_random")));
        }
    }
    for (system, stores) in [("steadfast-declared", "declared edits"), ("steadfast-stores", "plain stores")] {
        for pages in [16, 256] {
            let of = move |figures: &Figures| figures.at("sustained", system, pages, "vs_memmap2");
            let what =
                format!("sustained, checkpoints included, {stores}, {pages} pages: times `memmap2` flush");
            rows.push(Requirement::at_least(what, 5.0, Box::new(of)));
        }
    }
    rows
}

fn against_databases() -> Vec<Requirement> {
    let mut rows = Vec::new();
    let peers = [
        ("sqlite-wal", "SQLite WAL", [1.0, 2.5, 15.0, 200.0]),
        ("redb", "redb", [3.0, 8.0, 80.0, 200.0]),
        ("lmdb", "LMDB", [3.0, 8.0, 80.0, 200.0]),
    ];
    for (peer, name, bounds) in peers {
        for (pages, bound) in [1, 16, 256, 4096].into_iter().zip(bounds) {
            let what = format!("declared edits, {}: times faster than {name}", count(pages, "record"));
            rows.push(Requirement::at_least(what, bound, times_faster(peer, pages)));
        }
        for pages in [1, 16, 256, 4096] {
            let what = format!("the same of a bare 4 KiB append+flush, {}: {name}", count(pages, "record"));
            let limit = move |figures: &Figures| {
                let p50 = |system| figures.at("commit", system, pages, "p50_us");
                Some(p50(peer)? / p50("limit-direct")?.min(p50("limit-buffered")?))
            };
            rows.push(Requirement::reported(what, Box::new(limit)));
        }
    }
    rows
}

fn over_time() -> Vec<Requirement> {
    const STORES: &[&str] = &["steadfast-stores", "steadfast-view-stores"];
    const LOADS: &[&str] = &["steadfast-load", "steadfast-view"];
    const DECLARED_VIEW: &[&str] = &["steadfast-view-declared"];
    const MEMORY: &[&str] = &["steadfast-declared", "steadfast-stores"];
    const THREADS: &[&str] = &["steadfast-commit", "steadfast-commit-async"];
    let mut rows = Vec::new();
    for when in ["first-touch", "after-commit"] {
        let what = format!(
            "first store to a page ({when}, the worst of load and view, 16 to 4096 pages) ÷ MAP_SHARED after msync"
        );
        let measure = worst("first-store", STORES, vec![("when", when.into())], "vs_shared");
        rows.push(Requirement::at_most(what, 0.5, measure));
    }
    let folios = worst("first-store", &["map-shared-random"], Vec::new(), "vs_shared");
    rows.push(Requirement::reported(
        "the same of MAP_SHARED with folios of one page, the worst ÷ MAP_SHARED",
        folios,
    ));
    for access in ["sequential", "random"] {
        let what = format!("{access} loads, the worse of load and view ÷ `memmap2`");
        let measure = worst("load", LOADS, vec![("access", access.into())], "vs_memmap2");
        rows.push(Requirement::at_most(what, 1.02, measure));
    }
    for access in ["loads, sequential", "loads, random"] {
        let what = format!("{access}, through a guarded `Mapping` ÷ `memmap2`");
        let measure = worst("guard", &["steadfast-mapping"], vec![("access", access.into())], "vs_memmap2");
        rows.push(Requirement::at_most(what, 1.02, measure));
    }
    for pages in [1, 16] {
        let with = vec![("file", "64 GiB".into()), ("pages", Value::from(pages))];
        let what = format!(
            "declared edits, {}: view of a 64 GiB sparse file ÷ of a 64 MiB file",
            count(pages, "page")
        );
        rows.push(Requirement::at_most(what, 1.2, worst("sparse", DECLARED_VIEW, with, "vs_small")));
    }
    let last = |figures: &Figures| figures.all("decay", "steadfast-declared", &[], "vs_first").last();
    rows.push(Requirement::at_most("the last thousand-commit window ÷ the first", 1.2, Box::new(last)));
    let recovery = worst("recovery", &["steadfast-recover"], Vec::new(), "vs_plain");
    rows.push(Requirement::at_most("recovery ÷ the same with plain calls, synced", 2.5, recovery));
    // The smallest file has hardly any pages: a third more than it is what a constant looks like beside noise.
    let sizes = |figures: &Figures| {
        let of =
            |file: &str| figures.all("open", "steadfast-view", &[("file", file.into())], "p50_us").next();
        Some(of("4 GiB allocated")? / of("256 MiB full")?)
    };
    rows.push(Requirement::at_most("`view` open of a clean file, 4 GiB ÷ 256 MiB", 1.3, Box::new(sizes)));
    let load = worst("open", &["steadfast-load"], Vec::new(), "vs_read");
    rows.push(Requirement::at_most("`load` open of a clean file ÷ one sequential read of it", 1.3, load));
    let threads = worst("threads", THREADS, Vec::new(), "vs_one_after_another");
    rows.push(Requirement::at_most("many writers together ÷ one after another, the worst", 1.05, threads));
    let memory = worst("memory", MEMORY, Vec::new(), "vs_bound");
    rows.push(Requirement::at_most(
        "memory above the data ÷ (2 × bytes since the checkpoint + 16 MiB)",
        1.0,
        memory,
    ));
    rows
}

/// How many times faster than with the kernel's mapping an unmodified program's flush of so many pages is.
fn times_the_kernel(program: &'static str, under: &'static str, pages: u64) -> Measure {
    Box::new(move |figures| {
        let of = |under: &str| {
            let with = [("under", Value::from(under)), ("pages", pages.into())];
            figures.all("programs", program, &with, "flush_p50_us").next()
        };
        Some(of("kernel")? / of(under)?)
    })
}

/// LMDB stores and syncs more than it is asked for, by its own rules (copies of the pages of its tree, then where they are): nothing is
/// required of it.
fn under_programs() -> Vec<Requirement> {
    const UNDER: [(&str, &str, [f64; 2]); 2] =
        [("steadfast", "", [4.0, 7.0]), ("steadfast, publish(false)", ", without publish", [10.0, 30.0])];
    const MAPS: [(&str, &str); 3] =
        [("python-mmap", "Python"), ("numpy-memmap", "NumPy"), ("java-force", "Java")];
    const DATABASES: [(&str, &str); 2] =
        [("lmdb-node", "LMDB under Node.js"), ("lmdb-python", "LMDB under Python")];
    let mut rows = Vec::new();
    for (under, how, bounds) in UNDER {
        for (pages, bound) in [16, 256].into_iter().zip(bounds) {
            for (program, name) in MAPS {
                let what = format!(
                    "{name}, unmodified{how}, a flush of {pages} pages: times faster than without the library"
                );
                rows.push(Requirement::at_least(what, bound, times_the_kernel(program, under, pages)));
            }
            for (program, name) in DATABASES {
                let what = format!(
                    "{name}, unmodified{how}, a flush of {pages} records: times faster than without the library"
                );
                rows.push(Requirement::reported(what, times_the_kernel(program, under, pages)));
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cells(what: &str, rows: Value) -> Vec<String> {
        let rows = serde_json::from_value(rows).unwrap();
        let figures = Figures { file_system: "ext4".to_owned(), rows };
        let wanted = all().into_iter().filter(|row| row.what.contains(what));
        wanted.map(|row| format!("{}: {}", row.required(), row.cell(&figures))).collect()
    }

    #[test]
    fn an_unmodified_program_is_held_against_itself_over_the_kernels_mapping() {
        let row = |program: &str, under: &str, pages: u64, p50: f64| {
            json!({
                "bench": "programs", "system": program, "under": under, "pages": pages, "flush_p50_us": p50, "p50_us": 1.0, "vs_kernel": 9.0,
            })
        };
        let rows = json!([
            row("python-mmap", "kernel", 16, 9000.0),
            row("python-mmap", "kernel", 256, 90000.0),
            row("python-mmap", "steadfast", 16, 2000.0),
            row("python-mmap", "steadfast", 256, 20000.0),
            row("python-mmap", "steadfast, publish(false)", 16, 901.0),
            row("lmdb-node", "kernel", 16, 1000.0),
            row("lmdb-node", "steadfast", 16, 2000.0),
            // How long it takes to open has no pages.
            { "bench": "programs", "system": "python-mmap", "under": "kernel", "open_p50_ms": 1.0 },
        ]);
        let of = |what: &str| cells(what, rows.clone());
        assert_eq!(of("Python, unmodified, a flush of 16 pages"), ["≥ 4: 4.50 holds"]);
        assert_eq!(of("Python, unmodified, a flush of 256 pages"), ["≥ 7: **4.50** falls short"]);
        assert_eq!(
            of("Python, unmodified, without publish, a flush of 16 pages"),
            ["≥ 10: **9.99** falls short"]
        );
        assert_eq!(of("Python, unmodified, without publish, a flush of 256 pages"), ["≥ 30: –"]);
        assert_eq!(of("LMDB under Node.js, unmodified, a flush of 16 records"), ["reported: 0.50"]);
        assert_eq!(of("NumPy, unmodified").len(), 4);
        assert_eq!(
            of("Java, unmodified"),
            ["≥ 4: –", "≥ 7: –", "≥ 10: –", "≥ 30: –"],
            "where it was not timed"
        );
    }
}
