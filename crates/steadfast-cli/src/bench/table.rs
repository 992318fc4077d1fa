//! The table on the screen: 80 columns.

use super::kind::Group;
use super::report::Report;
use super::words::wrapped;
use crate::failure::Failure;
use crate::output::{Out, printable};

const WIDTH: usize = 80;
/// In front of what was measured on which machine.
const NAME: usize = 12;

/// Prints it.
pub(super) fn print(report: &Report, out: &mut Out) -> Result<(), Failure> {
    lines(report).into_iter().try_for_each(|line| out.line(line))
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in report.facts() {
        for (number, part) in wrapped(&printable(&value), WIDTH - NAME).into_iter().enumerate() {
            let name = if number == 0 { name } else { "" };
            lines.push(format!("{name:<NAME$}{part}").trim_end().to_owned());
        }
    }
    for warning in report.warnings() {
        lines.push(String::new());
        lines.extend(wrapped(&printable(&warning), WIDTH));
    }
    for (group, title, beside) in [
        (Group::Durable, "MADE DURABLE", "x LIMIT"),
        (Group::Open, "OPENED", "x LIMIT"),
        (Group::Read, "READ", "RATE"),
    ] {
        lines.push(String::new());
        lines.push(row(title, "MEDIAN", "P99", beside, "SAMPLES"));
        for measured in report.in_group(group) {
            let label = measured.kind.label(report.file_bytes);
            let figures = measured.figures();
            match &measured.not_measured {
                None => {
                    lines.push(row(&label, &figures.p50, &figures.p99, &figures.beside, &figures.samples))
                }
                Some(why) => {
                    lines.push(label);
                    lines.extend(
                        wrapped(&format!("not measured: {}", printable(why)), WIDTH - 2)
                            .into_iter()
                            .map(|line| format!("  {line}")),
                    );
                }
            }
        }
    }
    for text in report.summary().iter().chain(&report.notes) {
        lines.push(String::new());
        lines.extend(wrapped(&printable(text), WIDTH));
    }
    lines
}

fn row(label: &str, p50: &str, p99: &str, beside: &str, samples: &str) -> String {
    format!("{label:<36} {p50:>9} {p99:>9} {beside:>14} {samples:>8}")
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;
    use super::super::report::tests::{ledger, report};
    use super::*;

    #[test]
    fn the_table_has_every_row_in_80_columns() {
        let mut ledger = ledger();
        ledger.note("A note. ".repeat(30));
        let mut report = report(&ledger);
        report.rows.last_mut().unwrap().not_measured = Some("because ".repeat(30));
        let lines = lines(&report);
        for line in &lines {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
        for kind in Kind::all() {
            assert!(lines.iter().any(|line| line.starts_with(&kind.label(64 << 20))), "{kind:?}");
        }
    }
}
