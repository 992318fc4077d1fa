//! Screens kept as text under tests/screens, to be compared with what is drawn. STEADFAST_REWRITE_SCREENS=1 writes them anew.

use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Rect;

use super::draw::{Theme, draw, room};
use super::live::Shown;
use super::names::width;
use super::view::View;

/// A terminal of this size, in memory.
pub(crate) fn terminal(width: u16, height: u16) -> Terminal<TestBackend> {
    Terminal::new(TestBackend::new(width, height)).unwrap()
}

/// Draws, and says what stands there.
pub(crate) fn drawn(terminal: &mut Terminal<TestBackend>, shown: &impl Shown, view: &mut View) -> String {
    let size = terminal.backend().buffer().area;
    let page = shown.page(view);
    view.fit(page.rows.len(), room(&page, Rect::new(0, 0, size.width, size.height)));
    let page = shown.page(view);
    terminal.draw(|frame| draw(&page, view, Theme { is_coloured: false }, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for line in buffer.content().chunks(usize::from(buffer.area.width)) {
        // A terminal has nothing in the cell behind a wide letter; this one keeps what was there.
        let mut cells = line.iter();
        let mut shown = String::new();
        while let Some(cell) = cells.next() {
            shown.push_str(cell.symbol());
            cells.by_ref().take(width(cell.symbol()).saturating_sub(1)).for_each(drop);
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

/// Two sizes, by themselves and after a resize, which must leave nothing of the size before.
#[track_caller]
pub(crate) fn at_both_sizes(name: &str, shown: &impl Shown, view: &mut View) {
    let sizes = [(80, 24), (200, 50)];
    for (width, height) in sizes {
        assert_is_kept(
            &format!("{name}-{width}x{height}"),
            &drawn(&mut terminal(width, height), shown, view),
        );
    }
    for [before, after] in [[sizes[0], sizes[1]], [sizes[1], sizes[0]]] {
        let mut terminal = terminal(before.0, before.1);
        drawn(&mut terminal, shown, view);
        terminal.backend_mut().resize(after.0, after.1);
        let text = drawn(&mut terminal, shown, view);
        assert_is_kept(&format!("{name}-{}x{}", after.0, after.1), &text);
    }
}

#[track_caller]
pub(crate) fn assert_is_kept(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/screens/{name}.txt"));
    if std::env::var_os("STEADFAST_REWRITE_SCREENS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{name}: kept is\n{kept}\nand drawn was\n{text}\n(STEADFAST_REWRITE_SCREENS=1 keeps it)"
    );
}
