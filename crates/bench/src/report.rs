//! Rows, and the two forms in which they are printed.

use std::fmt::Write;
use std::io;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::Result;

/// One line of a result: names and figures in the order in which they were added.
#[derive(Clone)]
pub(crate) struct Row(Vec<(&'static str, Value)>);

impl Row {
    pub(crate) fn new(bench: &'static str, system: &str) -> Row {
        Row(vec![("bench", bench.into()), ("system", system.into())])
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Row {
        self.0.push((name, value.into()));
        self
    }

    /// A figure with four digits that count: more would be noise.
    pub(crate) fn figure(self, name: &'static str, figure: f64) -> Row {
        self.with(name, rounded(figure))
    }

    /// A figure, if there is one.
    pub(crate) fn figure_if(self, name: &'static str, figure: Option<f64>) -> Row {
        match figure {
            Some(figure) => self.figure(name, figure),
            None => self,
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(have, _)| *have == name).map(|(_, value)| value)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn rounded(figure: f64) -> f64 {
    format!("{figure:.3e}").parse().unwrap_or(figure)
}

/// Prints what was measured: with `json` one array on standard output and the rest on standard error.
pub(crate) fn print(rows: &[Row], notes: &[String], json: bool) -> Result<()> {
    let notes = notes.join("\n");
    let text = if json {
        eprintln!("{notes}");
        serde_json::to_string(rows)? + "\n"
    } else {
        format!("{}\n{notes}\n", table(rows))
    };
    match io::Write::write_all(&mut io::stdout(), text.as_bytes()) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// The rows as a table: a column for each name that any of them has.
fn table(rows: &[Row]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.0) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    // Sentences come last, where they may be of any length.
    names.sort_by_key(|&name| name == "note");
    let mut lines = vec![names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| names.iter().map(|name| cell(row.get(name))).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut printed = String::new();
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            // Words to the left, figures to the right. Writing to a string cannot fail.
            let _ = match names[column] {
                "bench" | "system" | "note" => write!(printed, "{cell:<width$}  "),
                _ => write!(printed, "{cell:>width$}  "),
            };
        }
        text.push_str(printed.trim_end());
        text.push('\n');
    }
    text
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_an_object_in_order_and_a_line_of_the_table() {
        let row = Row::new("commit", "msync").with("pages", 16).figure("p50_us", 1234.5678);
        assert_eq!(
            serde_json::to_string(&row).unwrap(),
            r#"{"bench":"commit","system":"msync","pages":16,"p50_us":1235.0}"#
        );
        let other = Row::new("commit", "tmfalloc").with("note", "does not compile");
        let table = table(&[row, other]);
        assert_eq!(table.lines().count(), 3);
        assert!(table.lines().all(|line| line == line.trim_end()));
    }
}
