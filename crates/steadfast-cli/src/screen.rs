//! Live screens: what is known is turned into a [`Page`], and a page is drawn, or printed once as plain text.
//!
//! | file | subject |
//! |---|---|
//! | `page` | columns, rows, a total; which columns fit into a width |
//! | `draw` | a page in a frame: the same page, view and area always give the same cells |
//! | `plain` | a page as lines of text |
//! | `names` | names that fit, and hold nothing that a terminal would obey |
//! | `view` | what the keys change: scrolling, order, pause |
//! | `terminal` | the alternate screen, and that it is always left |
//! | `live` | rounds: look, take what was seen, draw |

mod draw;
mod live;
mod names;
mod page;
mod plain;
mod rounds;
#[cfg(test)]
pub(crate) mod snapshots;
mod terminal;
mod view;

pub(crate) use live::{Shown, show};
pub(crate) use page::{BAR_MAX, Cell, Column, Page, Rows, Tone, Width};
pub(crate) use rounds::Rounds;
pub(crate) use view::View;
