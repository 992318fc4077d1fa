//! A file from start to end, as a line of blocks.

use super::row::{Part, Row};

const FULL: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// As wide as `width`, between two bars.
pub(crate) fn of(row: &Row, width: usize) -> String {
    if row.pages == 0 || row.resident_pages.is_none() {
        return String::new();
    }
    if row.parts.is_empty() {
        return format!("▏{}▕", " ".repeat(width));
    }
    let count = row.parts.len();
    let cells = (0..width).map(|cell| {
        // A file with fewer parts than cells has wider parts; with more, several are one cell, and none is left out.
        let first = cell * count / width;
        let end = ((cell + 1) * count / width).clamp(first + 1, count);
        cell_of(&row.parts[first..end])
    });
    format!("▏{}▕", cells.collect::<String>())
}

fn cell_of(parts: &[Part]) -> char {
    let sum = |of: fn(&Part) -> Option<u64>| parts.iter().filter_map(of).sum::<u64>();
    if sum(|part| part.dirty_pages) > 0 {
        return '!';
    }
    match (sum(|part| part.resident_pages), sum(|part| Some(part.pages))) {
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
        let shown: String = shown.map(|(resident, pages)| cell_of(&[part(resident, pages)])).iter().collect();
        assert_eq!(shown, " ▁▄▇█");
        assert_eq!(cell_of(&[Part { dirty_pages: Some(1), ..part(1, 1000) }]), '!');
    }

    #[test]
    fn a_narrow_bar_leaves_no_part_out() {
        let clean = Part { pages: 10, resident_pages: Some(10), dirty_pages: Some(0) };
        let absent = Part { resident_pages: Some(0), ..clean };
        for dirty in 0..7 {
            let mut parts = vec![absent; 7];
            parts[dirty] = Part { dirty_pages: Some(1), ..clean };
            let row = Row { pages: 70, resident_pages: Some(10), parts, ..Row::default() };
            for width in 1..9 {
                assert!(of(&row, width).contains('!'), "{dirty} {width}: {}", of(&row, width));
            }
        }
        let row = Row { pages: 20, resident_pages: Some(20), parts: vec![clean, absent], ..Row::default() };
        assert_eq!(of(&row, 4), "▏██  ▕");
        assert_eq!(of(&row, 1), "▏▄▕");
    }
}
