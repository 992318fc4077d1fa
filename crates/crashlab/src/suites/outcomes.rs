//! What the runners write of each test, a line each.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// How a test ended, and why if that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) how: String,
    pub(super) reason: String,
}

/// By test.
pub(super) type Outcomes = BTreeMap<String, Outcome>;

/// A list that was never begun is empty.
pub(super) fn read(list: &Path) -> io::Result<Outcomes> {
    match std::fs::read(list) {
        Ok(bytes) => Ok(parse(&String::from_utf8_lossy(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcomes::new()),
        Err(error) => Err(error),
    }
}

/// Of several lines the last counts, but nothing makes good a failure. A test that was begun and no more said of has not ended.
fn parse(text: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, '\t');
        let (Some(how), Some(test)) = (fields.next(), fields.next()) else { continue };
        let how = if how == "begun" { "not ended" } else { how };
        let reason = fields.next().unwrap_or_default();
        let outcome = outcomes
            .entry(test.to_owned())
            .or_insert_with(|| Outcome { how: how.to_owned(), reason: String::new() });
        if outcome.how != "failed" {
            *outcome = Outcome { how: how.to_owned(), reason: reason.to_owned() };
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stays_one_and_a_test_that_was_only_begun_has_not_ended() {
        let text = "begun\ta\npassed\ta\t\nbegun\tb\nfailed\tb\twhy\npassed\tb\t\nskipped\tc\tno\nbegun\td\n";
        let outcomes = parse(text);
        let how: Vec<&str> = outcomes.values().map(|outcome| &*outcome.how).collect();
        assert_eq!(how, ["passed", "failed", "skipped", "not ended"]);
        assert_eq!(outcomes["b"].reason, "why");
    }
}
