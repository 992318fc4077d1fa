//! Finds what stands in no switch: syncs, steps and checks that `crashlab mutate` could not leave out.

use std::collections::BTreeSet;

use super::tokens::{Source, Token};

/// What keeps data safe in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Its calls. Where a function has one check in a switch, all of its comparisons are to be looked at too.
    Steps,
    /// All of its comparisons as well: the whole file decides whether bytes are believed.
    StepsAndChecks,
}

/// Calls of a disk or a file on it that an order of steps is made of.
const CALLS: [&str; 12] = [
    "check_len",
    "drop_clean_pages",
    "remove",
    "rename",
    "reserve",
    "set_len",
    "set_mark",
    "sync",
    "sync_data",
    "sync_dir",
    "write_durably",
    "zero",
];
const SWITCHES: [&str; 4] = ["sync", "step", "holds", "not_yet"];
const NO_SWITCH: &str = "// no switch: ";
const NO_CHECK: &str = "// no check: ";

/// What is wrong in a file: the line, and what to do.
pub(super) fn findings(text: &str, scope: Scope) -> Vec<(usize, String)> {
    let source = Source::read(text);
    let mut scan = Scan { source: &source, excuses: BTreeSet::new(), findings: Vec::new() };
    let places = places(&source.tokens);
    let checking: BTreeSet<usize> =
        places.iter().filter(|place| place.in_check).filter_map(|place| place.function).collect();
    for (index, place) in places.iter().enumerate() {
        if place.in_test {
            continue;
        }
        scan.step(index, place);
        let checks = place.function.is_some_and(|line| checking.contains(&line));
        if checks || scope == Scope::StepsAndChecks {
            scan.check(index, place);
        }
    }
    scan.idle_excuses();
    scan.findings.sort();
    scan.findings
}

struct Scan<'a> {
    source: &'a Source,
    /// Lines of the comments that excused something.
    excuses: BTreeSet<usize>,
    findings: Vec<(usize, String)>,
}

impl Scan<'_> {
    fn step(&mut self, index: usize, place: &Place) {
        let text = |index: usize| self.source.tokens.get(index).map_or("", |token| token.text.as_str());
        let before = index.checked_sub(1).map_or("", text);
        let token = &self.source.tokens[index];
        let is_call = CALLS.contains(&text(index)) && text(index + 1) == "(" && matches!(before, "." | "::");
        let is_purpose = text(index) == "SyncPoint" && text(index + 1) == "::";
        if place.in_switch || !(is_call || is_purpose) || self.is_excused(token.line, NO_SWITCH) {
            return;
        }
        let what = if is_call { token.text.clone() } else { format!("{}::{}", token.text, text(index + 2)) };
        self.findings.push((
            token.line,
            format!(
                "`{what}` stands in no switch: wrap it in `sync!` or `step!` and let `crashlab mutate` leave it out, or say why \
                 not, here or on the line above: `{NO_SWITCH}<reason>`"
            ),
        ));
    }

    fn check(&mut self, index: usize, place: &Place) {
        let token = &self.source.tokens[index];
        let compares = match token.text.as_str() {
            "==" | "!=" | "<=" | ">=" | "is_multiple_of" => true,
            // `cargo fmt` puts space around a comparison and none around the brackets of generics.
            "<" | ">" => token.apart,
            _ => false,
        };
        if place.in_check || !compares || self.is_excused(token.line, NO_CHECK) {
            return;
        }
        // Or all of its function has a reason.
        if place.function.is_some_and(|line| self.is_excused(line, NO_CHECK)) {
            return;
        }
        self.findings.push((
            token.line,
            format!(
                "`{}` stands in no switch, where bytes are believed or not: wrap the condition in `holds!` and let `crashlab \
                 mutate` leave it out, or say why not, here, on the line above or above the function: `{NO_CHECK}<reason>`",
                token.text
            ),
        ));
    }

    /// Does a comment on this line, or among those directly above it, give a reason?
    fn is_excused(&mut self, line: usize, word: &str) -> bool {
        let above = (1..line).rev().take_while(|line| self.source.is_comment(*line));
        let excuse = [line].into_iter().chain(above).find(|line| {
            self.source.comments.get(line).is_some_and(|comment| {
                comment.strip_prefix(word).is_some_and(|reason| !reason.trim().is_empty())
            })
        });
        self.excuses.extend(excuse);
        excuse.is_some()
    }

    /// A reason that outlived what it was given for would excuse whatever comes to stand below it.
    fn idle_excuses(&mut self) {
        for (line, comment) in &self.source.comments {
            let is_excuse = [NO_SWITCH, NO_CHECK].iter().any(|word| comment.starts_with(word.trim_end()));
            if is_excuse && !self.excuses.contains(line) {
                self.findings.push((*line, format!("`{comment}` excuses nothing here: remove it")));
            }
        }
    }
}

/// Where a token stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    in_switch: bool,
    /// In a switch that is a check.
    in_check: bool,
    in_test: bool,
    /// The line where the innermost function begins.
    function: Option<usize>,
}

/// The place of each token.
fn places(tokens: &[Token]) -> Vec<Place> {
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    // What is open around a token, from the outside in.
    let mut around = vec![Place::default()];
    let mut places = Vec::with_capacity(tokens.len());
    // The function whose body is about to begin, and the item that is only for tests: where they were met, by depth.
    let mut head: Option<(usize, usize)> = None;
    let mut test_item: Option<usize> = None;
    for (index, token) in tokens.iter().enumerate() {
        let depth = around.len();
        let here = around.last().copied().unwrap_or_default();
        if (0..7).map(|next| text(index + next)).eq(["#", "[", "cfg", "(", "test", ")", "]"]) {
            test_item.get_or_insert(depth);
        }
        places.push(Place { in_test: test_item.is_some(), ..here });
        match token.text.as_str() {
            "fn" if text(index + 1) != "(" => head = Some((depth, token.line)),
            "(" | "[" | "{" => {
                let mut inner = here;
                if index > 1 && text(index - 1) == "!" && SWITCHES.contains(&text(index - 2)) {
                    inner.in_switch = true;
                    inner.in_check |= text(index - 2) == "holds";
                }
                if let Some((_, line)) = head.filter(|(at, _)| token.text == "{" && *at == depth) {
                    inner.function = Some(line);
                    head = None;
                }
                around.push(inner);
            }
            ")" | "]" | "}" => {
                around.pop();
                // Attributes and parameters end with other brackets.
                test_item = test_item.filter(|at| token.text != "}" || around.len() > *at);
            }
            ";" => {
                head = head.filter(|(at, _)| *at != depth);
                test_item = test_item.filter(|at| *at != depth);
            }
            _ => {}
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::{Scope, findings};

    fn lines(text: &str, scope: Scope) -> Vec<usize> {
        findings(text, scope).into_iter().map(|(line, _)| line).collect()
    }

    fn steps(text: &str) -> Vec<usize> {
        lines(text, Scope::Steps)
    }

    fn checks(text: &str) -> Vec<usize> {
        lines(text, Scope::StepsAndChecks)
    }

    #[test]
    fn what_stands_in_a_switch_or_has_a_reason_passes() {
        let text = r#"
            use crate::disk::SyncPoint;
            fn close(&self) -> io::Result<()> {
                step!("the mark is removed", self.data.set_mark(None))?;
                sync!(
                    "written durably",
                    file.write_durably(blocks, (1 + 2), SyncPoint::Record),
                    or file.write_at(parts, position)
                )?;
                // no switch: it gives room back, and
                // nothing is lost where it does not
                let _ = disk.remove(&temporary);
                file.reserve(0..bytes)?; // no switch: only for speed
                log("file.sync(SyncPoint::Mark)"); // file.sync(SyncPoint::Mark)
            }
            fn decode<'a, T: Into<Vec<u8>>>(block: &'a [u8]) -> Option<T> {
                let sound = holds!("its magic", header.magic == MAGIC)
                    && holds!("room", Some(1 << 3).is_some_and(|len| len < 4));
                // no check: as far as it goes
                while at < end { at += 1; }
                let Ok(entries) = <[Entry]>::ref_from_bytes(table) else { return None };
                for x in 0..=2 { y >>= 1 }
                sound.then_some(header)
            }
            /// Only told.
            // no check: it is only told
            fn remains(&self) -> bool {
                a == b
                    && c > d
            }
            #[cfg(test)]
            mod tests {
                fn syncs() { file.set_len(1).unwrap(); assert!(a == b); file.sync(SyncPoint::Mark) }
            }
        "#;
        assert_eq!(findings(text, Scope::StepsAndChecks), []);
    }

    #[test]
    fn a_purpose_outside_a_switch_is_found() {
        assert_eq!(steps("fn f() {\n self.write_mark(SyncPoint::Mark)?;\n}"), [2]);
        assert_eq!(steps("fn f() {\n step!(\"a\", b)?;\n let point = SyncPoint::Mark;\n}"), [3]);
        // A macro of another name is no switch.
        assert_eq!(steps("fn f() {\n try_it!(\"a\", self.write_mark(SyncPoint::Mark))\n}"), [2]);
    }

    #[test]
    fn a_call_outside_a_switch_is_found() {
        for call in super::CALLS {
            assert_eq!(steps(&format!("fn f() {{\n file.{call}(x)?;\n}}")), [2], "{call}");
            assert_eq!(steps(&format!("fn f() {{\n DiskFile::{call}(file)?;\n}}")), [2], "{call}");
        }
        assert_eq!(steps("fn f() {\n step!(\"a\", file.zero(a))?; file.zero(b)?;\n}"), [2]);
        assert_eq!(steps("#[cfg(test)]\nuse a::{b, c};\nfn f() {\n file.zero(a);\n}"), [4]);
        assert_eq!(steps("#[cfg(test)]\nfn f(a: [u8; 4]) { file.zero(a) }\nfn g() { file.zero(a) }"), [3]);
    }

    #[test]
    fn a_comparison_outside_a_check_is_found() {
        for operator in ["==", "!=", "<", "<=", ">", ">="] {
            assert_eq!(checks(&format!("fn decode() {{\n if a {operator} b {{}}\n}}")), [2], "{operator}");
        }
        assert_eq!(checks("fn f() {\n a.is_multiple_of(b)\n}"), [2]);
        assert_eq!(checks("fn f() {\n holds!(\"a\", x == y)\n && z\n == w\n}"), [4]);
        // A step that may be left out is no check that may be.
        assert_eq!(checks("fn f() {\n step!(\"a\", x == y)\n}"), [2]);
    }

    #[test]
    fn elsewhere_comparisons_count_beside_a_check() {
        let beside = "fn f() {\n holds!(\"a\", x == y)\n && z > w\n}\nfn g() {\n z > w\n}";
        assert_eq!(steps(beside), [3]);
        assert!(steps("fn f() {\n fn g() {\n holds!(\"a\", x)\n }\n z > w\n}").is_empty());
    }

    #[test]
    fn a_reason_is_given_where_it_belongs_and_is_one() {
        assert_eq!(steps("fn f() {\n // no switch: \n file.zero(a)\n}"), [2, 3], "no reason");
        assert_eq!(steps("fn f() {\n // no check: a\n file.zero(a)\n}"), [2, 3], "the other kind");
        assert_eq!(steps("fn f() {\n // no switch: a\n\n file.zero(a)\n}"), [2, 4], "too far above");
        assert_eq!(steps("fn f() {\n g(); // no switch: a\n file.zero(a)\n}"), [2, 3], "of another line");
        assert_eq!(steps("// no switch: a\nfn f() {\n file.zero(a)\n}"), [1, 3], "above a function");
        assert_eq!(steps("fn f() {\n // no switch: a\n step!(\"a\", file.zero(a))\n}"), [2], "for nothing");
    }
}
