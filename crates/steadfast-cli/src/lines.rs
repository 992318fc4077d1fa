//! The input of `apply`, line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::failure::Failure;

/// The longest line, in bytes. Nobody means a longer one: it is a binary file, or bytes that belong into a
/// patch file; reading on would only fill the memory.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The lines of the edits, one at a time as they arrive.
pub struct Lines {
    reader: Box<dyn BufRead>,
    name: String,
    number: u64,
}

impl Lines {
    /// The lines that `reader` gives. Messages call it by `name`.
    pub fn new(reader: Box<dyn BufRead>, name: impl Into<String>) -> Lines {
        Lines { reader, name: name.into(), number: 0 }
    }

    pub(crate) fn open(path: &Path) -> Result<Lines, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Lines::new(Box::new(io::stdin().lock()), "standard input"));
        }
        let name = path.display().to_string();
        let file = File::open(path)
            .map_err(|error| Failure::Failed(format!("cannot read the edits in {name}: {error}")))?;
        Ok(Lines::new(Box::new(BufReader::with_capacity(1 << 16, file)), name))
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The next line without its end, or `None` where the input ends. Never waits for more than this line.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        self.number += 1;
        let mut line = Vec::new();
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Failed(self.place(&format!("cannot read it: {error}")))),
            };
            if available.is_empty() {
                return Ok((!line.is_empty()).then_some(line));
            }
            let end = available.iter().position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(available.len());
            if line.len() + taken > LINE_BYTES_MAX {
                let why =
                    format!("it is longer than {LINE_BYTES_MAX} bytes; put the bytes into a patch file");
                return Err(Failure::Failed(self.place(&why)));
            }
            line.extend_from_slice(&available[..taken]);
            // The newline itself is taken too.
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }

    /// A reason with the place it belongs to, on one line: what it quotes may hold anything.
    pub(crate) fn place(&self, why: &str) -> String {
        let mut text = format!("{}, line {}: ", self.name, self.number);
        for character in why.chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reason_quotes_does_not_break_its_line() {
        let lines = Lines::new(Box::new(io::empty()), "edits");
        assert_eq!(lines.place("key `a\nb\u{1b}[1m`"), "edits, line 0: key `a\\nb\\u{1b}[1m`");
    }
}
