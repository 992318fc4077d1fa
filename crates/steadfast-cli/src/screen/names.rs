//! Names of files on a screen: as wide as there is room, and nothing in them that a terminal would obey.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Without control characters: a name may hold a line's end, or an escape.
pub(super) fn clean(name: &str) -> String {
    name.chars().map(|one| if one.is_control() { char::REPLACEMENT_CHARACTER } else { one }).collect()
}

/// Cells that a text takes.
pub(super) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// At most so many cells wide: what is too long loses its middle.
pub(super) fn shorten(name: &str, cells: usize) -> String {
    if width(name) <= cells {
        return name.to_owned();
    }
    if cells == 0 {
        return String::new();
    }
    // The end says more: most of a path's folders are known.
    let head_cells = (cells - 1) / 3;
    let head = as_much_of(name.chars(), head_cells);
    let mut tail: Vec<char> = as_much_of(name.chars().rev(), cells - 1 - head_cells);
    tail.reverse();
    head.into_iter().chain(['…']).chain(tail).collect()
}

fn as_much_of(text: impl Iterator<Item = char>, cells: usize) -> Vec<char> {
    let mut left = cells;
    text.map_while(|one| {
        left = left.checked_sub(one.width().unwrap_or(0))?;
        Some(one)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_their_middle_and_keep_their_ends() {
        assert_eq!(shorten("/var/lib/data.bin", 17), "/var/lib/data.bin");
        assert_eq!(shorten("/var/lib/data.bin", 13), "/var…data.bin");
        assert_eq!(shorten("/var/lib/data.bin", 1), "…");
        assert_eq!(shorten("/var/lib/data.bin", 0), "");
        // Two cells each: what does not fit whole is left out.
        assert_eq!(shorten("文文文文文文", 6), "…文文");
        for cells in 0..40 {
            for name in ["/a/b/c/文文文文文/é/x.bin", "", "a", "ααααααααααααα"] {
                assert!(width(&shorten(name, cells)) <= cells, "{name} {cells}");
            }
        }
    }

    #[test]
    fn a_name_cannot_speak_to_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{9b}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
        assert_eq!(clean("plain ß 文"), "plain ß 文");
    }
}
