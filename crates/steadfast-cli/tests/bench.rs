//! `steadfast bench`, in small: the table, the JSON and the page say the same, and nothing is left behind.

mod run;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use roxmltree::{Document, Node, ParsingOptions};
use run::{Said, folder, keys, run, steadfast};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

/// Every row's name and pages.
const ROWS: [(&str, Option<u64>); 17] = [
    ("append", None),
    ("append-direct", None),
    ("msync", Some(1)),
    ("commit-plain", Some(1)),
    ("commit-declared", Some(1)),
    ("msync", Some(16)),
    ("commit-plain", Some(16)),
    ("commit-declared", Some(16)),
    ("msync", Some(256)),
    ("commit-plain", Some(256)),
    ("commit-declared", Some(256)),
    ("open-view", None),
    ("open-load", None),
    ("read-sequential-cold", None),
    ("read-sequential-warm", None),
    ("read-random-cold", None),
    ("read-random-warm", None),
];

#[test]
fn the_json_has_every_row_and_the_shape_that_is_documented() {
    let dir = folder();
    let report = run(dir.path(), &["bench", "--size", "1MiB", "--rounds", "2", "--json"]).code(0).json();
    assert!(is_empty(dir.path()), "it cleans up after itself");
    assert_eq!(
        (&report["schema"], &report["rounds"], &report["interrupted"]),
        (&json!(1), &json!(2), &json!(false))
    );
    assert_eq!(report["file_bytes"], json!(1 << 20));
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| (row["id"].as_str().unwrap(), row["pages"].as_u64())).collect();
    assert_eq!(names, ROWS);
    for row in rows {
        if row["not_measured"] != Value::Null {
            assert_eq!((&row["samples"], &row["p50_us"]), (&json!(0), &Value::Null), "{row}");
            continue;
        }
        let (p50, p99) = (row["p50_us"].as_f64().unwrap(), row["p99_us"].as_f64().unwrap());
        assert!(p50 > 0.0 && p99 >= p50, "{row}");
        let is_read = row["group"] == json!("read");
        assert_eq!(
            (row["vs_limit"].is_null(), row["p50_bytes_per_second"].is_null()),
            (is_read, !is_read),
            "{row}"
        );
        if !is_read {
            let ratio = p50 / report["limit_us"].as_f64().unwrap();
            assert!((row["vs_limit"].as_f64().unwrap() - ratio).abs() < 1e-9, "{row}");
        }
    }
    // Two rounds that count, of ten each, unless they are slow: the third, which warmed up, is not among them.
    assert!(rows[0]["samples"].as_u64().is_some_and(|samples| (2..=20).contains(&samples)), "{}", rows[0]);

    // Whatever docs/json.md calls a field is one, and the other way round.
    let documented = include_str!("../../../docs/json.md");
    let (_, documented) = documented.split_once("## bench").unwrap();
    let documented = documented.split("\n## ").next().unwrap();
    let mut fields: Vec<String> = documented
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned()))
        .collect();
    fields.sort();
    let mut have: Vec<String> = keys(&report).into_iter().map(str::to_owned).collect();
    for (prefix, value) in
        [("place.", &report["place"]), ("rows[].", &rows[0]), ("place.device.", &report["place"]["device"])]
    {
        if value.is_object() {
            have.extend(keys(value).into_iter().map(|name| format!("{prefix}{name}")));
        } else {
            fields.retain(|field| !field.starts_with(prefix));
        }
    }
    have.sort();
    assert_eq!(fields, have);
}

/// Figures of the table, row by row: label, median, 99th percentile, ratio or rate, samples.
fn table(said: &Said) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for line in said.out.lines().skip_while(|line| !line.starts_with("MADE DURABLE")) {
        let is_title = line.contains("MEDIAN") || line.is_empty();
        if is_title || line.starts_with(' ') {
            continue;
        }
        let label: String = line.chars().take(36).collect();
        let cells: String = line.chars().skip(36).collect();
        let cells: Vec<&str> = cells.split_whitespace().collect();
        // "312 µs": two words each.
        if let [p50, unit, p99, other, beside @ .., samples] = &cells[..]
            && samples.parse::<u64>().is_ok()
        {
            let label = label.trim_end().to_owned();
            rows.push(vec![
                label,
                format!("{p50} {unit}"),
                format!("{p99} {other}"),
                beside.join(" "),
                (*samples).to_owned(),
            ]);
        }
    }
    rows
}

fn words(node: Node<'_, '_>) -> String {
    node.descendants().filter_map(|node| node.is_text().then(|| node.text())?).collect()
}

#[test]
fn the_page_has_every_figure_of_the_table_and_loads_nothing() {
    let dir = folder();
    // What comes from outside is text, whatever it says.
    let name = "a <b>&\"'";
    fs::create_dir(dir.path().join(name)).unwrap();
    let args = ["bench", name, "--size", "1MiB", "--rounds", "1", "--html", "report.html"];
    let said = run(dir.path(), &args).code(0);
    assert_eq!(said.err, "", "no progress without a terminal");
    assert!(is_empty(&dir.path().join(name)));
    for line in said.out.lines().filter(|line| !line.starts_with("folder") && !line.contains('/')) {
        assert!(line.chars().count() <= 80, "{line}");
    }

    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&page, options).unwrap();
    let shown: Vec<Vec<String>> = document
        .descendants()
        .filter(|node| node.has_tag_name("tr") && node.attribute("id").is_some())
        .map(|row| row.children().filter(Node::is_element).map(words).collect())
        .collect();
    let table = table(&said);
    assert!(table.len() >= ROWS.len() - 3, "{}", said.out);
    for row in &table {
        assert!(shown.contains(row), "{row:?} is not among {shown:?}");
    }
    assert_eq!(shown.len(), ROWS.len());
    for part in ["http:", "https:", "url(", "src=", "<script", "<link", "@import", "<b>"] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(page.contains("a &lt;b&gt;&amp;&quot;&#39;"));
    assert!(page.contains("bench &#39;a &lt;b&gt;"), "the command line");
}

#[test]
fn an_interrupted_run_prints_what_was_measured_and_leaves_nothing_behind() {
    let dir = folder();
    let mut child =
        steadfast(dir.path(), &["bench", "--size", "1MiB", "--seconds", "600", "--html", "report.html"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    let started = Instant::now();
    // Until it measures: an atomic map is open. (Not INT, which does the same, but is ignored in what a shell runs in the
    // background.)
    let at_work = || {
        let entries = fs::read_dir(dir.path()).unwrap().flatten();
        entries.into_iter().any(|entry| entry.path().join("declared.bin.steadfast").exists())
    };
    while !at_work() {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not begin");
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let said: Said = child.wait_with_output().unwrap().into();
    let said = said.code(130);
    said.complains(&["interrupted"]);
    assert!(said.out.contains("MADE DURABLE") && said.out.contains("interrupted"), "{said:?}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["report.html"], "its folder is gone");
    assert!(fs::read_to_string(dir.path().join("report.html")).unwrap().contains("It was interrupted"));
}

#[test]
fn a_killed_run_leaves_nothing_behind() {
    let dir = folder();
    let mut child = steadfast(dir.path(), &["bench", "--size", "1MiB", "--seconds", "600"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while is_empty(dir.path()) {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    while !is_empty(dir.path()) {
        assert!(started.elapsed() < Duration::from_secs(90), "the folder is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let dir = folder();
    let bench = |args: &[&str]| run(dir.path(), &[&["bench"], args].concat());
    bench(&["--size", "1K"]).code(2);
    bench(&["--size", "lots"]).code(2);
    bench(&["--rounds", "0"]).code(2);
    bench(&["--seconds", "-1"]).code(2);
    bench(&["missing"]).code(1).complains(&["missing", "No such file"]);
    bench(&["--size", "1000000T"]).code(1).complains(&["--size", "free"]);
    bench(&["--html", "missing/report.html"])
        .code(1)
        .complains(&["cannot write the report", "missing/report.html"]);
    assert!(is_empty(dir.path()));
    fs::write(dir.path().join("file"), "kept").unwrap();
    bench(&["file"]).code(2).complains(&["file is not a folder"]);
    // A report that exists is not touched by a run that fails.
    bench(&["missing", "--html", "file"]).code(1);
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "kept");
    if rustix::process::geteuid().is_root() {
        return eprintln!("not tested: a folder without permission, which root always has");
    }
    fs::create_dir(dir.path().join("closed")).unwrap();
    fs::set_permissions(dir.path().join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    bench(&["closed"]).code(1).complains(&["closed", "denied"]);
}

#[test]
fn a_file_system_in_memory_is_measured_and_said_to_keep_nothing() {
    let Ok(dir) = tempfile::TempDir::new_in("/dev/shm") else {
        return eprintln!("not tested: no /dev/shm here");
    };
    let bench =
        |args: &[&str]| run(dir.path(), &[&["bench", "--size", "1MiB", "--rounds", "1"], args].concat());
    let report = bench(&["--json"]).code(0).json();
    if report["place"]["durable"] != json!(false) {
        return eprintln!("not tested: /dev/shm is {} here", report["place"]["file_system"]);
    }
    let row =
        |id: &str| report["rows"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone();
    assert!(row("read-random-cold")["not_measured"].as_str().unwrap().contains("cannot be evicted"));
    assert!(row("read-random-warm")["samples"].as_u64().unwrap() > 0);
    assert!(row("commit-declared")["samples"].as_u64().unwrap() > 0);
    assert!(bench(&[]).code(0).out.contains("Nothing is durable here: tmpfs lives in memory"));
}
