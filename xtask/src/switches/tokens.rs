//! Rust source as tokens: enough to tell a call from a comment, a string or a type.

use std::collections::BTreeMap;

/// A word, a number or an operator. Strings and characters are one token without content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
    /// White space stands on both sides of it, as it does around a comparison and never around the brackets of generics.
    pub(crate) apart: bool,
}

/// A file, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) tokens: Vec<Token>,
    /// The `//` comments, by line.
    pub(crate) comments: BTreeMap<usize, String>,
}

/// Longer ones first.
const OPERATORS: [&str; 14] =
    ["<<=", ">>=", "..=", "...", "<<", ">>", "->", "=>", "==", "!=", "<=", ">=", "::", ".."];

impl Source {
    pub(crate) fn read(text: &str) -> Source {
        let mut source = Source::default();
        let (mut at, mut line) = (0, 1);
        while let Some(next) = text[at..].chars().next() {
            let rest = &text[at..];
            let length = if next.is_whitespace() {
                next.len_utf8()
            } else if rest.starts_with("//") {
                let comment = rest.split('\n').next().unwrap_or(rest);
                source.comments.insert(line, comment.to_owned());
                comment.len()
            } else if rest.starts_with("/*") {
                block_comment(rest)
            } else {
                let (length, shown) = token(rest);
                let before = text[..at].chars().next_back().is_none_or(char::is_whitespace);
                let after = rest[length..].chars().next().is_none_or(char::is_whitespace);
                source.tokens.push(Token { text: shown.to_owned(), line, apart: before && after });
                length
            };
            line += rest[..length].matches('\n').count();
            at += length;
        }
        source
    }

    /// Does a line hold nothing but a comment?
    pub(crate) fn is_comment(&self, line: usize) -> bool {
        self.comments.contains_key(&line)
            && self.tokens.binary_search_by_key(&line, |token| token.line).is_err()
    }
}

/// The length of the token that `rest` begins with, and what is shown of it.
fn token(rest: &str) -> (usize, &str) {
    if let Some(length) = string(rest).or_else(|| character(rest)) {
        return (length, "\"\"");
    }
    let word = rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
    let operator = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
    let length = match operator {
        _ if word > 0 => word,
        Some(operator) => operator.len(),
        None => rest.chars().next().map_or(1, char::len_utf8),
    };
    (length, &rest[..length])
}

/// The length of a string literal, raw ones and those of bytes included.
fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    })?;
    let marks = rest[prefix.len()..].find('"')?;
    let raw = prefix.ends_with('r');
    // `#"` without an `r` is no string.
    if !raw && marks > 0 {
        return None;
    }
    let begin = prefix.len() + marks + 1;
    if raw {
        let end = format!("\"{}", "#".repeat(marks));
        return Some(rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len()));
    }
    Some(begin + closed_by(&rest[begin..], '"'))
}

/// The length of a character literal; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let prefix = usize::from(rest.starts_with("b'"));
    let inside = rest[prefix..].strip_prefix('\'')?;
    let mut letters = inside.chars();
    let first = letters.next()?;
    (first == '\\' || letters.next() == Some('\'')).then(|| prefix + 1 + closed_by(inside, '\''))
}

/// The length up to and with the `quote` that no backslash stands before.
fn closed_by(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, next) in inside.char_indices() {
        if next == quote && !escaped {
            return at + quote.len_utf8();
        }
        escaped = next == '\\' && !escaped;
    }
    inside.len()
}

/// They nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let here = &rest[at..];
        if here.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            let Some(next) = here.chars().next() else { return rest.len() };
            at += next.len_utf8();
        }
        if depth == 0 {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    fn words(text: &str) -> Vec<String> {
        Source::read(text).tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn strings_characters_and_comments_are_not_code() {
        assert_eq!(
            words(r#"a("x == \" y", b'\'', '"') /* == /* < */ */ b // !="#),
            ["a", "(", "\"\"", ",", "\"\"", ",", "\"\"", ")", "b"]
        );
        assert_eq!(words("r#\"a \" b\"# br\"\\\" c\"d\\\"\""), ["\"\"", "\"\"", "\"\""]);
    }

    #[test]
    fn lifetimes_and_operators_are_told_apart() {
        assert_eq!(
            words("<'a>x->y=>z..=w<<1"),
            ["<", "'", "a", ">", "x", "->", "y", "=>", "z", "..=", "w", "<<", "1"]
        );
    }

    #[test]
    fn lines_are_counted_through_strings_and_comments() {
        let source = Source::read("\"a\nb\" /*\n*/ c // one\n// two\n");
        assert_eq!(source.tokens.last().map(|token| token.line), Some(3));
        assert_eq!(source.comments.keys().copied().collect::<Vec<_>>(), [3, 4]);
        assert!(source.is_comment(4) && !source.is_comment(3));
    }
}
