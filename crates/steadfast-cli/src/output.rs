//! Where words go: answers to standard output, complaints and progress to standard error.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Standard output, buffered until [`flush`](Out::flush).
pub(crate) struct Out {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Out {
    /// Takes standard output for as long as this lives.
    pub(crate) fn open() -> Out {
        Out { stdout: BufWriter::new(io::stdout().lock()) }
    }

    /// One line of text.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        writeln!(self.stdout, "{}", text.as_ref()).map_err(unwritable)
    }

    /// Text that ends its lines itself.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.stdout.write_all(text.as_bytes()).map_err(unwritable)
    }

    /// One line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::Failed(format!("cannot put the answer into JSON: {error}")))?;
        self.line(text)
    }

    /// Hands everything over to whoever reads.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        // Twice: the buffer here, and the line buffer of the standard library below it.
        self.stdout.flush().map_err(unwritable)
    }
}

fn unwritable(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::PipeClosed
    } else {
        Failure::Failed(format!("cannot write to standard output: {error}"))
    }
}

/// One complaint on standard error: one line, whatever the names in it hold.
pub(crate) fn complain(text: &str) {
    note(&format!("steadfast: {}", printable(text)));
}

/// Without anything that would drive a terminal, break a line or turn the reading direction.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let turns =
            matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control()
            || turns
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
        {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// One line on standard error.
pub(crate) fn note(text: &str) {
    // Standard error may be closed; then nobody wants to know, and the exit code still tells.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// `1 edit`, `2 edits`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A line that says what goes on, where there is a terminal to say it on.
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    /// Decides once whether to show anything.
    pub(crate) fn new() -> Progress {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Progress { shown: io::stderr().is_terminal() && !dumb }
    }

    /// Replaces the line.
    pub(crate) fn say(&self, text: &str) {
        if self.shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
        }
    }

    /// Takes the line away, so that other output starts on an empty one.
    pub(crate) fn clear(&self) {
        self.say("");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_drives_a_terminal_or_breaks_a_line() {
        assert_eq!(printable("a\u{1b}[31m\n\u{202e}b é"), "a\\u{1b}[31m\\n\\u{202e}b é");
    }
}
