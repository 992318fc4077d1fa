//! A file from start to end, as a line of blocks.

use super::row::{Part, Row};

const FULL: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// As wide as `width`, between two bars.
pub(super) fn of(row: &Row, width: usize) -> String {
    if row.pages == 0 || row.resident_pages.is_none() {
        return String::new();
    }
    if row.parts.is_empty() {
        return format!("▏{}▕", " ".repeat(width));
    }
    let cells = (0..width).map(|cell| {
        // A file with fewer pages than cells has wider pages.
        let part = cell * row.parts.len() / width;
        row.parts.get(part).map_or(' ', cell_of)
    });
    format!("▏{}▕", cells.collect::<String>())
}

fn cell_of(part: &Part) -> char {
    if part.dirty_pages.unwrap_or(0) > 0 {
        return '!';
    }
    match (part.resident_pages.unwrap_or(0), part.pages) {
        (0, _) | (_, 0) => ' ',
        // Something is there, however little, and not everything unless it is.
        (resident, pages) if resident >= pages => FULL[8],
        (resident, pages) => FULL[(resident * 8 / pages).clamp(1, 7) as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_shown_and_only_all_is_full() {
        let part = |resident, pages| Part { pages, resident_pages: Some(resident), dirty_pages: Some(0) };
        let shown = [(0, 1000), (1, 1000), (500, 1000), (999, 1000), (1000, 1000)];
        let shown: String = shown.map(|(resident, pages)| cell_of(&part(resident, pages))).iter().collect();
        assert_eq!(shown, " ▁▄▇█");
        assert_eq!(cell_of(&Part { dirty_pages: Some(1), ..part(1, 1000) }), '!');
    }
}
