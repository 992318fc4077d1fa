//! Whether commits grow slower: a hundred thousand of them, in windows of a thousand.

use std::time::Instant;

use crate::data::{self, Random};
use crate::disk::Ground;
use crate::peers::steadfast::{Base, Stores, open_map, store};
use crate::report::Row;
use crate::{Outcome, Result, Scale};
use steadfast_cli::statistics::Samples;

const WINDOW_COMMITS: usize = 1000;

const PAGES: usize = 16;

/// Windows that are shown between the first and the last.
const SHOWN: usize = 10;

pub(crate) fn run(scale: &Scale, commits: usize) -> Result<Outcome> {
    if commits < 2 * WINDOW_COMMITS {
        return Err(format!("{commits} commits are less than two windows of {WINDOW_COMMITS}").into());
    }
    let ground = Ground::new(&scale.dir, scale.size, PAGES)?;
    let mut map = open_map(&ground.data_file("decay")?, Base::Load)?;
    data::touch(&map);
    let mut random = Random::new(5);
    let mut commit = |timed: &mut Samples| -> Result<()> {
        let edits = data::scattered(&mut random, ground.len, PAGES)?;
        store(&mut map, Stores::Declared, &edits)?;
        let start = Instant::now();
        map.commit()?;
        timed.add(start.elapsed());
        Ok(())
    };
    let mut warm_up = Samples::default();
    for _ in 0..WINDOW_COMMITS / 10 {
        commit(&mut warm_up)?;
    }
    let mut windows = Vec::new();
    for _ in 0..commits / WINDOW_COMMITS {
        let mut window = Samples::default();
        for _ in 0..WINDOW_COMMITS {
            commit(&mut window)?;
        }
        windows.push(window);
    }
    map.close()?;
    let first = windows[0].p50();
    let last = windows.len() - 1;
    let step = last.div_ceil(SHOWN).max(1);
    let shown = windows.iter().enumerate().filter(|(index, _)| index % step == 0 || *index == last);
    let rows = shown
        .map(|(index, window)| {
            Row::new("decay", "steadfast-declared")
                .with("pages", PAGES)
                .with("window", index + 1)
                .figure("p50_us", window.p50())
                .figure("p99_us", window.p99())
                .figure("vs_first", window.p50() / first)
        })
        .collect();
    let notes =
        vec![format!("{commits} commits of {PAGES} declared edits each, in windows of {WINDOW_COMMITS}.")];
    Ok(Outcome { rows, notes })
}
