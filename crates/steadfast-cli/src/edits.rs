//! The language of `apply`: one JSON object a line.
//!
//! | line | means |
//! |---|---|
//! | `{"at":4096,"hex":"00ff"}` | these bytes, at this offset |
//! | `{"at":0,"text":"abc"}` | this text in UTF-8 |
//! | `{"at":0,"file":"patch.bin"}` | the content of another file |
//! | `{"fill":0,"at":0,"len":8192}` | one byte, repeated |
//! | `{"resize":1048576}` | cut the file, or let it grow with zeros |
//! | `{"commit":true}` | make everything since the last commit durable, all or nothing |
//!
//! Blank lines and lines that start with `#` are skipped. Whatever is not exactly one of these is refused: a
//! line that means something else than its writer thinks is worse than one that stops.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

/// One line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Put these bytes at an offset.
    Bytes {
        /// Offset in the file.
        at: u64,
        /// What to put there.
        bytes: Vec<u8>,
    },
    /// Put the content of a file at an offset.
    File {
        /// Offset in the file that is edited.
        at: u64,
        /// The file whose content it is.
        path: PathBuf,
    },
    /// Put one byte everywhere in a range.
    Fill {
        /// Offset in the file.
        at: u64,
        /// How many bytes.
        len: u64,
        /// Which byte.
        byte: u8,
    },
    /// Set the file's length.
    Resize {
        /// The new length in bytes.
        len: u64,
    },
    /// Make all of it durable.
    Commit,
}

/// Keys that say what a line does. A line has exactly one of them.
const KINDS: [&str; 6] = ["hex", "text", "file", "fill", "resize", "commit"];

/// Reads one line. `Ok(None)` is a line that says nothing: blank, or a comment.
pub fn parse(line: &[u8]) -> Result<Option<Edit>, String> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let Fields(mut fields) = serde_json::from_slice(line).map_err(|error| plain(&error))?;

    let kinds: Vec<&str> =
        KINDS.into_iter().filter(|kind| fields.iter().any(|(key, _)| key == kind)).collect();
    let kind = match kinds[..] {
        [kind] => kind,
        [] => {
            return Err(
                "it says nothing to do: give one of hex, text, file, fill, resize or commit".to_owned()
            );
        }
        [first, second, ..] => {
            return Err(format!("it has both `{first}` and `{second}`: give one edit a line"));
        }
    };
    let mut take = |key: &str| {
        let index = fields.iter().position(|(name, _)| name == key);
        // The order of what remains does not matter.
        index
            .map(|index| fields.swap_remove(index).1)
            .ok_or_else(|| format!("`{kind}` needs `{key}` beside it"))
    };
    let edit = match kind {
        "hex" => Edit::Bytes { bytes: hex(&string("hex", take("hex")?)?)?, at: whole("at", &take("at")?)? },
        "text" => {
            Edit::Bytes { bytes: string("text", take("text")?)?.into_bytes(), at: whole("at", &take("at")?)? }
        }
        "file" => Edit::File { path: string("file", take("file")?)?.into(), at: whole("at", &take("at")?)? },
        "fill" => {
            let byte = take("fill")?;
            let byte = byte.as_u64().and_then(|byte| u8::try_from(byte).ok()).ok_or_else(|| {
                format!("`fill` must be a byte, a whole number from 0 to 255, not {}", brief(&byte))
            })?;
            Edit::Fill { byte, at: whole("at", &take("at")?)?, len: whole("len", &take("len")?)? }
        }
        "resize" => Edit::Resize { len: whole("resize", &take("resize")?)? },
        _ => match take("commit")? {
            Value::Bool(true) => Edit::Commit,
            other => return Err(format!("`commit` must be true, not {}", brief(&other))),
        },
    };
    match fields.first() {
        None => Ok(Some(edit)),
        Some((key, _)) => Err(format!("`{key}` does not go with `{kind}`")),
    }
}

fn whole(key: &str, value: &Value) -> Result<u64, String> {
    value
        .as_u64()
        .ok_or_else(|| format!("`{key}` must be a whole number of bytes, 0 or more, not {}", brief(value)))
}

fn string(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("`{key}` must be a string, not {}", brief(&other))),
    }
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    if let Some((position, character)) =
        text.chars().enumerate().find(|(_, digit)| !digit.is_ascii_hexdigit())
    {
        return Err(format!("`hex` has {character:?} at position {position}, which is no hexadecimal digit"));
    }
    if !text.len().is_multiple_of(2) {
        return Err(format!("`hex` has an odd number of digits ({}): two make a byte", text.len()));
    }
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        // Only hexadecimal digits are left (checked above): setting bit 5 makes a letter small.
        _ => (digit | 0x20) - b'a' + 10,
    };
    Ok(text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
}

/// A value as it stood in the line, short enough for a message.
fn brief(value: &Value) -> String {
    cut(&value.to_string(), 40).into_owned()
}

/// The beginning of a text that came with the line, and may be as long as that.
fn cut(text: &str, characters_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// What the JSON parser says, with its own count of lines (always 1 here) taken out.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        // It may quote a string of the line in full.
        Some(text) => format!("{}, at column {}", cut(text, 200), error.column()),
        None => cut(&text, 200).into_owned(),
    }
}

/// An object's keys and values as they stand in the line.
///
/// Not a struct with optional fields: a key that is there twice or with `null` must be told from one that is
/// not there.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object such as {\"at\":0,\"text\":\"abc\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields: Vec<(String, Value)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !KINDS.contains(&key.as_str()) && key != "at" && key != "len" {
                        let known = "at, len, hex, text, file, fill, resize and commit";
                        let key = cut(&key, 40);
                        return Err(A::Error::custom(format!("unknown key `{key}`: the keys are {known}")));
                    }
                    if fields.iter().any(|(name, _)| *name == key) {
                        return Err(A::Error::custom(format!("`{key}` is there twice")));
                    }
                    fields.push((key, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn good(line: &str) -> Edit {
        parse(line.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn every_kind() {
        assert_eq!(
            good(r#"{"at":4096,"hex":"00fFA9"}"#),
            Edit::Bytes { at: 4096, bytes: vec![0, 255, 0xa9] }
        );
        assert_eq!(good(r#" {"text":"aé\n","at":0} "#), Edit::Bytes { at: 0, bytes: "aé\n".into() });
        assert_eq!(good(r#"{"at":0,"file":"p.bin"}"#), Edit::File { at: 0, path: "p.bin".into() });
        assert_eq!(good(r#"{"fill":255,"at":1,"len":8192}"#), Edit::Fill { at: 1, len: 8192, byte: 255 });
        assert_eq!(good(r#"{"resize":18446744073709551615}"#), Edit::Resize { len: u64::MAX });
        assert_eq!(good(r#"{"commit":true}"#), Edit::Commit);
        assert_eq!(good(r#"{"at":3,"hex":""}"#), Edit::Bytes { at: 3, bytes: vec![] });
    }

    #[test]
    fn lines_that_say_nothing() {
        for line in ["", "   ", "\r\n", "# a comment", "  # {\"commit\":true}"] {
            assert_eq!(parse(line.as_bytes()), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn every_wrong_line_says_why() {
        for (line, why) in [
            (r#"{"at":0,"hex":"0"}"#, "odd number of digits (1)"),
            (r#"{"at":0,"hex":"0g"}"#, "'g' at position 1"),
            (r#"{"at":0,"hex":"é0"}"#, "'é' at position 0"),
            (r#"{"at":0,"hex":5}"#, "`hex` must be a string, not 5"),
            (r#"{"at":-1,"hex":"00"}"#, "`at` must be a whole number of bytes, 0 or more, not -1"),
            (r#"{"at":1.5,"hex":"00"}"#, "not 1.5"),
            (r#"{"at":1e3,"hex":"00"}"#, "not 1000.0"),
            (r#"{"at":18446744073709551616,"hex":"00"}"#, "`at` must be a whole number"),
            (r#"{"at":"7","hex":"00"}"#, "not \"7\""),
            (r#"{"at":null,"hex":"00"}"#, "not null"),
            (r#"{"hex":"00"}"#, "`hex` needs `at` beside it"),
            (r#"{"at":0}"#, "nothing to do"),
            ("{}", "nothing to do"),
            (r#"{"at":0,"hex":"00","text":"a"}"#, "both `hex` and `text`"),
            (r#"{"resize":1,"commit":true}"#, "both `resize` and `commit`"),
            (r#"{"at":0,"hex":"00","len":1}"#, "`len` does not go with `hex`"),
            (r#"{"at":0,"resize":5}"#, "`at` does not go with `resize`"),
            (r#"{"fill":256,"at":0,"len":1}"#, "from 0 to 255, not 256"),
            (r#"{"fill":-1,"at":0,"len":1}"#, "from 0 to 255, not -1"),
            (r#"{"fill":"a","at":0,"len":1}"#, "from 0 to 255, not \"a\""),
            (r#"{"fill":0,"at":0}"#, "`fill` needs `len` beside it"),
            (r#"{"fill":0,"len":1}"#, "`fill` needs `at` beside it"),
            (r#"{"commit":false}"#, "`commit` must be true, not false"),
            (r#"{"commit":1}"#, "`commit` must be true, not 1"),
            (r#"{"at":0,"at":1,"hex":"00"}"#, "`at` is there twice"),
            (r#"{"offset":0,"hex":"00"}"#, "unknown key `offset`"),
            (r#"{"at":0,"hex":"00"} {"commit":true}"#, "trailing characters, at column 21"),
            (r#"{"at":0,"hex":"00""#, "EOF while parsing an object, at column 18"),
            ("[1]", "a JSON object such as"),
            ("commit", "expected value, at column 1"),
            (r#"{"at":0,"file":["p"]}"#, "`file` must be a string, not [\"p\"]"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{line}\n  {error}");
            assert!(!error.contains("line 1"), "the parser's own line count leaks: {error}");
        }
        let long = "x".repeat(100_000);
        for line in [format!("{{\"{long}\":0}}"), format!("\"{long}\""), format!("{{\"commit\":\"{long}\"}}")]
        {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.len() < 400, "{} bytes of complaint", error.len());
        }
        assert!(parse(b"{\"at\":0,\"text\":\"\xff\"}").is_err(), "not UTF-8");
        assert!(parse("[".repeat(100_000).as_bytes()).is_err(), "deep nesting is no stack overflow");
    }
}
