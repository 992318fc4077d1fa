//! What the keys change: which rows are seen, in which order, and whether anything moves.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Keys of every screen.
pub(super) const KEYS: [(&str, &str); 8] = [
    ("q, Ctrl-C", "leave"),
    ("j k, arrows", "scroll by a line"),
    ("PgDn PgUp", "scroll by a screen"),
    ("g G, Home End", "to the first line, to the last"),
    ("s", "sort by the next column"),
    ("r", "turn the order around"),
    ("space", "pause, go on"),
    ("?", "these keys"),
];

/// How a screen is looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Which order, counted through those that there are.
    pub(crate) order: usize,
    pub(super) is_reversed: bool,
    /// Which kind of rows, where there are several.
    pub(crate) kind: usize,
    pub(crate) is_paused: bool,
    /// Looks are so far apart, if that is more than was asked for.
    pub(super) apart: Option<Duration>,
    pub(super) shows_keys: bool,
    /// The first row that is seen.
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) room: usize,
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Leave,
    Redraw,
    /// Redraw, and stop looking or go on.
    Pause,
    Nothing,
}

impl View {
    /// As it begins.
    pub(crate) fn new(kind: usize, order: usize, is_reversed: bool) -> View {
        View { kind, order, is_reversed, ..View::default() }
    }

    /// The smallest first.
    pub(crate) fn is_reversed(&self) -> bool {
        self.is_reversed
    }

    /// So many rows there are, and room for so many: nothing is scrolled past the end. Before each drawing.
    pub(super) fn fit(&mut self, rows: usize, room: usize) {
        (self.rows, self.room) = (rows, room);
        self.first = self.first.min(self.last_first());
    }

    fn last_first(&self) -> usize {
        self.rows.saturating_sub(self.room)
    }

    /// There are `orders` and `kinds`, the first of each being 0.
    pub(crate) fn press(&mut self, key: KeyEvent, orders: usize, kinds: usize) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Nothing;
        }
        let screen = self.room.max(1);
        match key.code {
            KeyCode::Char('c' | 'C') if key.modifiers.contains(KeyModifiers::CONTROL) => return Wish::Leave,
            _ if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => return Wish::Nothing,
            KeyCode::Char('q') => return Wish::Leave,
            KeyCode::Char('j') | KeyCode::Down => self.first += 1,
            KeyCode::Char('k') | KeyCode::Up => self.first = self.first.saturating_sub(1),
            KeyCode::PageDown => self.first += screen,
            KeyCode::PageUp => self.first = self.first.saturating_sub(screen),
            KeyCode::Char('g') | KeyCode::Home => self.first = 0,
            KeyCode::Char('G') | KeyCode::End => self.first = self.last_first(),
            KeyCode::Char('s') => self.order = (self.order + 1) % orders.max(1),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('b') if kinds > 1 => {
                self.kind = (self.kind + 1) % kinds;
                (self.order, self.first) = (0, 0);
            }
            KeyCode::Char('?') => self.shows_keys = !self.shows_keys,
            KeyCode::Esc if self.shows_keys => self.shows_keys = false,
            KeyCode::Char(' ') => {
                self.is_paused = !self.is_paused;
                return Wish::Pause;
            }
            _ => return Wish::Nothing,
        }
        Wish::Redraw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(view: &mut View, code: KeyCode) -> Wish {
        let wish = view.press(KeyEvent::new(code, KeyModifiers::NONE), 3, 2);
        view.fit(view.rows, view.room);
        wish
    }

    #[test]
    fn scrolling_stops_at_both_ends() {
        let mut view = View::default();
        view.fit(10, 4);
        press(&mut view, KeyCode::Up);
        assert_eq!(view.first, 0);
        press(&mut view, KeyCode::Down);
        press(&mut view, KeyCode::Char('j'));
        assert_eq!(view.first, 2);
        press(&mut view, KeyCode::PageDown);
        press(&mut view, KeyCode::Down);
        assert_eq!(view.first, 6);
        press(&mut view, KeyCode::Char('k'));
        press(&mut view, KeyCode::Char('G'));
        assert_eq!(view.first, 6);
        // A larger window, and fewer rows.
        view.fit(10, 8);
        assert_eq!(view.first, 2);
        view.fit(3, 8);
        assert_eq!(view.first, 0);
    }

    #[test]
    fn keys_leave_sort_turn_pause_and_explain() {
        let mut view = View::default();
        assert_eq!(press(&mut view, KeyCode::Char('q')), Wish::Leave);
        let control = |code| KeyEvent::new(KeyCode::Char(code), KeyModifiers::CONTROL);
        assert_eq!(view.press(control('c'), 1, 1), Wish::Leave);
        assert_eq!(view.press(control('q'), 1, 1), Wish::Nothing);
        for order in [1, 2, 0] {
            assert_eq!(press(&mut view, KeyCode::Char('s')), Wish::Redraw);
            assert_eq!(view.order, order);
        }
        press(&mut view, KeyCode::Char('r'));
        assert!(view.is_reversed);
        assert_eq!(press(&mut view, KeyCode::Char(' ')), Wish::Pause);
        assert!(view.is_paused);
        press(&mut view, KeyCode::Char('?'));
        assert!(view.shows_keys);
        press(&mut view, KeyCode::Esc);
        assert!(!view.shows_keys);
        press(&mut view, KeyCode::Char('b'));
        assert_eq!(view.kind, 1);
        assert_eq!(view.press(KeyEvent::new(KeyCode::Char('b'), KeyModifiers::NONE), 1, 1), Wish::Nothing);
    }
}
