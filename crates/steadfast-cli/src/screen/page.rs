//! What a screen shows: columns, rows, a total. Which columns there is room for.

use crate::stat;

/// The smallest terminal that anything is shown in.
pub(super) const WIDTH_MIN: u16 = 40;
pub(super) const HEIGHT_MIN: u16 = 8;

/// Cells of a bar, its two ends not counted.
const BAR_MIN: u16 = 8;
pub(crate) const BAR_MAX: u16 = 64;
const NAME_MIN: u16 = 20;

/// Everything on a screen, whatever its size.
#[derive(Debug, Default)]
pub(crate) struct Page<'known> {
    /// First line.
    pub(crate) title: String,
    pub(crate) columns: Vec<Column>,
    /// The title of the column that the rows are sorted by.
    pub(crate) sorted: &'static str,
    /// As many cells each as there are columns.
    pub(crate) rows: Rows<'known>,
    pub(crate) total: Vec<Cell<'known>>,
    /// Below the total.
    pub(crate) notes: Vec<String>,
    /// Keys of this screen alone, and what they do.
    pub(crate) keys: &'static [(&'static str, &'static str)],
}

/// Rows, each made when it is looked at: of a hundred thousand a screen has room for thirty.
pub(crate) struct Rows<'known> {
    count: usize,
    make: Box<dyn Fn(usize) -> Vec<Cell<'known>> + 'known>,
}

impl<'known> Rows<'known> {
    /// So many, made from their numbers.
    pub(crate) fn new(count: usize, make: impl Fn(usize) -> Vec<Cell<'known>> + 'known) -> Rows<'known> {
        Rows { count, make: Box::new(make) }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// So many at most, from this one on.
    pub(crate) fn from(&self, first: usize, rows_max: usize) -> impl Iterator<Item = Vec<Cell<'known>>> {
        (first.min(self.count)..first.saturating_add(rows_max).min(self.count)).map(&self.make)
    }
}

impl<'known> From<Vec<Vec<Cell<'known>>>> for Rows<'known> {
    fn from(rows: Vec<Vec<Cell<'known>>>) -> Rows<'known> {
        Rows::new(rows.len(), move |number| rows[number].clone())
    }
}

impl Default for Rows<'_> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.from(0, usize::MAX)).finish()
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) width: Width,
    /// Where there is no room, the column with the highest rank goes first; one of rank 0 stays.
    pub(crate) rank: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// So many cells, text on the right.
    Number(u16),
    /// Where in a file its pages are.
    Bar,
    /// The rest.
    Name,
}

#[derive(Debug, Clone)]
pub(crate) enum Cell<'known> {
    Text(String),
    Toned(String, Tone),
    Bar(&'known stat::Row),
    /// Shortened in the middle, what is noted of it behind.
    Name(String, Option<(String, Tone)>),
}

/// What a text says beyond its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// It happens.
    Notice,
    /// It waits.
    Waits,
    /// It is wrong.
    Wrong,
}

impl Column {
    /// Of numbers, so many cells wide.
    pub(crate) const fn number(title: &'static str, cells: u16, rank: u8) -> Column {
        Column { title, width: Width::Number(cells), rank }
    }

    /// Of names: it stays.
    pub(crate) const fn name(title: &'static str) -> Column {
        Column { title, width: Width::Name, rank: 0 }
    }
}

impl Cell<'_> {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Cell::Text(String::new())
    }

    /// Pages as bytes, `?` where nobody can tell.
    pub(crate) fn pages(pages: Option<u64>) -> Self {
        Cell::Text(stat::pages_cell(pages, false))
    }

    /// The same of pages that are to be written.
    pub(crate) fn waiting(pages: Option<u64>) -> Self {
        match pages {
            Some(1..) => Cell::Toned(stat::pages_cell(pages, false), Tone::Waits),
            _ => Cell::pages(pages),
        }
    }
}

/// Between two columns.
pub(super) fn gap(width: u16) -> u16 {
    if width < 120 { 1 } else { 2 }
}

/// Columns that are shown in `width` cells, by their numbers, with their own widths. Depends on nothing else, so that no column moves
/// from one round to the next.
pub(super) fn fit(columns: &[Column], width: u16) -> Vec<(usize, u16)> {
    let gap = gap(width);
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let least = |column: &Column| match column.width {
        // One more for the mark of the order.
        Width::Number(cells) => cells.max(column.title.chars().count() as u16 + 1),
        Width::Bar => BAR_MIN + 2,
        Width::Name => NAME_MIN,
    };
    let needed = |shown: &[usize]| {
        let gaps = gap * (shown.len().saturating_sub(1)) as u16;
        shown.iter().map(|&number| least(&columns[number])).sum::<u16>() + gaps
    };
    while needed(&shown) > width {
        // The last of equals: the order of the columns is the order of their weight.
        let first_to_go = shown.iter().copied().filter(|&number| columns[number].rank > 0);
        let Some(number) = first_to_go.max_by_key(|&number| columns[number].rank) else { break };
        shown.retain(|&other| other != number);
    }
    let mut left = width.saturating_sub(needed(&shown));
    let mut widths: Vec<_> = shown.iter().map(|&number| (number, least(&columns[number]))).collect();
    // Half of what is left for the bar, as long as that makes it finer; the rest for names.
    for (number, cells) in &mut widths {
        if columns[*number].width == Width::Bar {
            let more = (left / 2).min(BAR_MAX - BAR_MIN);
            *cells += more;
            left -= more;
        }
    }
    for (number, cells) in &mut widths {
        if columns[*number].width == Width::Name {
            *cells += left;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 5] = [
        Column { title: "SIZE", width: Width::Number(6), rank: 0 },
        Column { title: "DIRTY", width: Width::Number(6), rank: 1 },
        Column { title: "EVICTED", width: Width::Number(7), rank: 2 },
        Column { title: "WHERE", width: Width::Bar, rank: 3 },
        Column { title: "PATH", width: Width::Name, rank: 0 },
    ];

    #[test]
    fn columns_take_the_whole_width_and_never_more() {
        for width in WIDTH_MIN..400 {
            let shown = fit(&COLUMNS, width);
            let gaps = gap(width) * (shown.len() as u16 - 1);
            assert_eq!(shown.iter().map(|(_, cells)| cells).sum::<u16>() + gaps, width, "{shown:?}");
        }
    }

    #[test]
    fn only_rows_that_are_looked_at_are_made() {
        let made = std::cell::RefCell::new(Vec::new());
        let rows = Rows::new(100_000, |number| {
            made.borrow_mut().push(number);
            vec![Cell::Text(number.to_string())]
        });
        assert_eq!(
            (rows.len(), rows.from(99_998, 30).count(), rows.from(200_000, 30).count()),
            (100_000, 2, 0)
        );
        assert_eq!(*made.borrow(), [99_998, 99_999]);
    }

    #[test]
    fn what_matters_least_goes_first() {
        let shown = |width| fit(&COLUMNS, width).into_iter().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(shown(80), [0, 1, 2, 3, 4]);
        assert_eq!(shown(50), [0, 1, 2, 4]);
        assert_eq!(shown(35), [0, 1, 4]);
        assert_eq!(shown(28), [0, 4]);
        assert_eq!(shown(3), [0, 4], "what is never left out");
    }
}
