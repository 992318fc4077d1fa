//! A page in a frame. From top to bottom: title, titles of the columns, rows, total, notes, keys.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::names::{self, clean, shorten};
use super::page::{Cell, HEIGHT_MIN, Page, Tone, WIDTH_MIN, Width, fit, gap};
use super::view::{KEYS, View};
use crate::stat::bar;

/// Lines besides rows and notes.
const FIXED_LINES: u16 = 4;
/// Below this no notes are shown.
const NOTES_HEIGHT_MIN: u16 = 12;

/// With colours, or without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) is_coloured: bool,
}

impl Theme {
    fn toned(self, tone: Tone) -> Style {
        let (colour, otherwise) = match tone {
            Tone::Notice => (Color::Cyan, Modifier::empty()),
            Tone::Waits => (Color::Yellow, Modifier::empty()),
            Tone::Wrong => (Color::Red, Modifier::BOLD),
        };
        if self.is_coloured { Style::new().fg(colour) } else { Style::new().add_modifier(otherwise) }
    }

    fn bar(self) -> Style {
        if self.is_coloured { Style::new().fg(Color::Green) } else { Style::new() }
    }
}

const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);
const HEAD: Style = Style::new().add_modifier(Modifier::REVERSED);
const QUIET: Style = Style::new().add_modifier(Modifier::DIM);

/// Rows that there is room for.
pub(super) fn room(page: &Page<'_>, area: Rect) -> usize {
    usize::from(area.height.saturating_sub(FIXED_LINES + notes_shown(page, area)))
}

fn notes_shown(page: &Page<'_>, area: Rect) -> u16 {
    if area.height < NOTES_HEIGHT_MIN { 0 } else { page.notes.len().min(3) as u16 }
}

/// Draws all of it.
pub(super) fn draw(page: &Page<'_>, view: &View, theme: Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        too_small(area, buffer);
        return;
    }
    let mut lines = Lines { buffer, area, at: 0 };
    let direction = if view.is_reversed { ", reversed" } else { "" };
    let paused = if view.is_paused { "PAUSED  " } else { "" };
    let apart =
        view.apart.map_or_else(String::new, |apart| format!("now every {:.1}s  ", apart.as_secs_f64()));
    lines.two(&page.title, &format!("{paused}{apart}by {}{direction}", page.sorted.to_lowercase()), TITLE);
    let room = room(page, area);
    if view.shows_keys {
        keys(page, &mut lines);
    } else {
        let shown = fit(&page.columns, area.width);
        head(page, view, &shown, &mut lines);
        for row in page.rows.from(view.first, room) {
            cells(&row, page, &shown, theme, &mut lines);
        }
    }
    lines.at = area.height - FIXED_LINES + 2 - notes_shown(page, area);
    let shown = fit(&page.columns, area.width);
    cells(&page.total, page, &shown, theme, &mut lines);
    lines.buffer.set_style(lines.line(lines.at - 1), TITLE);
    for note in page.notes.iter().take(usize::from(notes_shown(page, area))) {
        lines.two(note, "", QUIET);
    }
    let count = page.rows.len();
    let place = match count {
        0 => "nothing".to_owned(),
        _ => format!("{}-{} of {count}", view.first + 1, (view.first + room).min(count)),
    };
    lines.two("q leave  j k scroll  s sort  r reverse  space pause  ? keys", &place, QUIET);
}

fn too_small(area: Rect, buffer: &mut Buffer) {
    let text =
        format!("too small: {WIDTH_MIN}x{HEIGHT_MIN} is needed, {}x{} is here", area.width, area.height);
    // As many lines as it takes, and as there are.
    let width = usize::from(area.width.max(1));
    let letters: Vec<char> = text.chars().collect();
    for (y, line) in letters.chunks(width).take(usize::from(area.height)).enumerate() {
        buffer.set_stringn(area.x, area.y + y as u16, line.iter().collect::<String>(), width, Style::new());
    }
}

struct Lines<'frame> {
    buffer: &'frame mut Buffer,
    area: Rect,
    /// The next line.
    at: u16,
}

impl Lines<'_> {
    fn line(&self, at: u16) -> Rect {
        Rect { x: self.area.x, y: self.area.y + at, width: self.area.width, height: 1 }
    }

    /// Text on the left, which gives way, and on the right.
    fn two(&mut self, left: &str, right: &str, style: Style) {
        let width = usize::from(self.area.width);
        let right_cells = names::width(right);
        let left_cells = width.saturating_sub(if right.is_empty() { 0 } else { right_cells + 2 });
        let y = self.area.y + self.at;
        self.buffer.set_stringn(self.area.x, y, shorten(&clean(left), left_cells), width, style);
        if right_cells <= width {
            let x = self.area.x + (width - right_cells) as u16;
            self.buffer.set_stringn(x, y, right, right_cells, style);
        }
        self.at += 1;
    }

    fn cell(&mut self, x: u16, cells: u16, text: &str, style: Style, on_the_right: bool) {
        let taken = names::width(text).min(usize::from(cells)) as u16;
        let x = self.area.x + x + if on_the_right { cells - taken } else { 0 };
        self.buffer.set_stringn(x, self.area.y + self.at, text, usize::from(taken), style);
    }
}

fn keys(page: &Page<'_>, lines: &mut Lines<'_>) {
    lines.at += 1;
    let room = lines.area.height - FIXED_LINES;
    for (key, meaning) in KEYS.iter().chain(page.keys).take(usize::from(room)) {
        lines.two(&format!("  {key:<16}{meaning}"), "", Style::new());
    }
}

fn head(page: &Page<'_>, view: &View, shown: &[(usize, u16)], lines: &mut Lines<'_>) {
    lines.buffer.set_style(lines.line(lines.at), HEAD);
    let mut x = 0;
    for &(number, width) in shown {
        let column = &page.columns[number];
        let mark = match (column.title == page.sorted, view.is_reversed) {
            (false, _) => "",
            (true, false) => "▼",
            (true, true) => "▲",
        };
        let is_number = matches!(column.width, Width::Number(_));
        lines.cell(x, width, &format!("{}{mark}", column.title), HEAD, is_number);
        x += width + gap(lines.area.width);
    }
    lines.at += 1;
}

fn cells(row: &[Cell<'_>], page: &Page<'_>, shown: &[(usize, u16)], theme: Theme, lines: &mut Lines<'_>) {
    let mut x = 0;
    for &(number, width) in shown {
        let is_number = matches!(page.columns[number].width, Width::Number(_));
        match row.get(number) {
            None => {}
            Some(Cell::Text(text)) => lines.cell(x, width, text, Style::new(), is_number),
            Some(Cell::Toned(text, tone)) => lines.cell(x, width, text, theme.toned(*tone), is_number),
            Some(Cell::Bar(row)) => {
                lines.cell(x, width, &bar::of(row, usize::from(width - 2)), theme.bar(), false);
                let y = lines.area.y + lines.at;
                for x in lines.area.x + x..lines.area.x + x + width {
                    if lines.buffer[(x, y)].symbol() == "!" {
                        lines.buffer[(x, y)].set_style(theme.toned(Tone::Waits));
                    }
                }
            }
            Some(Cell::Name(name, note)) => {
                let note = note.as_ref().map(|(text, tone)| (noted(text, width), *tone));
                let taken = note.as_ref().map_or(0, |(text, _)| names::width(text)) as u16;
                let name = shorten(&clean(name), usize::from(width.saturating_sub(taken)));
                lines.cell(x, width, &name, Style::new(), false);
                if let Some((text, tone)) = note {
                    let after = names::width(&name) as u16;
                    lines.cell(x + after, width - after, &text, theme.toned(tone), false);
                }
            }
        }
        x += width + gap(lines.area.width);
    }
    lines.at += 1;
}

/// What is noted of a name: its first word where the rest would take the name's room.
fn noted(note: &str, width: u16) -> String {
    let words = if names::width(note) + 3 > usize::from(width) / 2 { note.split(' ').next() } else { None };
    format!(" ({})", words.unwrap_or(note))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::page::Column;
    use super::*;

    fn page() -> Page<'static> {
        Page {
            title: "steadfast".to_owned(),
            columns: vec![
                Column { title: "SIZE", width: Width::Number(6), rank: 0 },
                Column { title: "PATH", width: Width::Name, rank: 0 },
            ],
            sorted: "PATH",
            rows: (0..30)
                .map(|n| {
                    let note = (n == 1).then(|| ("replaced".to_owned(), Tone::Notice));
                    let size = Cell::Toned(n.to_string(), Tone::Waits);
                    vec![size, Cell::Name(format!("a\x1b[31m/{n}"), note)]
                })
                .collect::<Vec<_>>()
                .into(),
            total: vec![Cell::Text("465".to_owned()), Cell::Name("total".to_owned(), None)],
            notes: vec!["?  1 file: nobody knows".to_owned()],
            keys: &[],
        }
    }

    fn drawn(width: u16, height: u16, view: &View, is_coloured: bool) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(&page(), view, Theme { is_coloured }, frame)).unwrap();
        terminal
    }

    #[test]
    fn every_size_is_drawn_without_leaving_it() {
        for shows_keys in [false, true] {
            for (width, height) in (1..=100).step_by(7).flat_map(|w| (1..30).map(move |h| (w, h))) {
                let mut view = View { shows_keys, ..View::default() };
                view.fit(30, room(&page(), Rect::new(0, 0, width, height)));
                let terminal = drawn(width, height, &view, true);
                let text = terminal.backend().to_string().replace('"', "");
                let says_so = text.replace('\n', "").starts_with("too small"[..].split_at(1).0)
                    && !text.contains("steadfast");
                assert_eq!(says_so, width < WIDTH_MIN || height < HEIGHT_MIN, "{width}x{height}\n{text}");
            }
        }
    }

    #[test]
    fn a_terminal_that_is_too_small_says_so() {
        let text = drawn(30, 5, &View::default(), false).backend().to_string().replace(['"', '\n'], "");
        assert!(text.starts_with("too small: 40x8 is needed, 30x5 is here"), "{text}");
    }

    #[test]
    fn without_colours_no_cell_has_one() {
        let colours = |is_coloured| {
            let terminal = drawn(80, 24, &View::default(), is_coloured);
            let cells = terminal.backend().buffer().content().to_vec();
            cells.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
        };
        assert_eq!(colours(false), 0);
        assert!(colours(true) > 0);
    }

    #[test]
    fn no_name_reaches_the_terminal_with_an_escape() {
        let terminal = drawn(80, 24, &View::default(), true);
        for cell in terminal.backend().buffer().content() {
            assert!(!cell.symbol().chars().any(char::is_control), "{cell:?}");
        }
        assert!(
            terminal.backend().to_string().contains("a\u{fffd}[31m/0"),
            "that something was there is seen"
        );
    }
}
