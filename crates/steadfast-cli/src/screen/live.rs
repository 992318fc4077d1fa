//! Rounds: one thread looks, one hears keys, one hears signals; whoever shows waits for all of them at once.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event as Input};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::page::Page;
use super::plain;
use super::rounds::Rounds;
use super::terminal::{self, Screen};
use super::view::{View, Wish};
use crate::failure::Failure;
use crate::output::{self, Out};

/// After a look at very many files it rests longer than was asked for: at most a fifth of the time is spent looking.
const RESTS_PER_LOOK: u32 = 4;

/// What is known, and how it is told.
pub(crate) trait Shown {
    /// What one look sees.
    type Look: Send + 'static;

    /// Takes in what a look saw.
    fn take(&mut self, look: Self::Look);
    /// As a page.
    fn page(&self, view: &View) -> Page<'_>;
    /// As JSON.
    fn answer(&self, view: &View) -> impl Serialize;
    /// How many orders there are for the rows, and how many kinds of rows.
    fn choices(&self, view: &View) -> (usize, usize);
    /// How many rows there are at most where there is no screen.
    fn plain_lines(&self) -> usize {
        usize::MAX
    }
    /// What could not be looked at: where there is no screen, it is said on standard error, and the exit code is 1.
    fn complaints(&self) -> Vec<String>;
}

/// Shows it as `rounds` says. The first look is made before anything is shown: if it fails, the screen is not touched.
pub(crate) fn show<S: Shown>(
    mut shown: S,
    mut look: impl FnMut() -> Result<S::Look, Failure> + Send + 'static,
    mut view: View,
    rounds: &Rounds,
) -> Result<(), Failure> {
    let begun = Instant::now();
    shown.take(look()?);
    let first_took = begun.elapsed();
    if rounds.json {
        loop {
            let mut out = Out::open();
            out.json(&shown.answer(&view))?;
            out.flush()?;
            drop(out);
            if rounds.once {
                return complain(&shown);
            }
            thread::sleep(rounds.interval);
            shown.take(look()?);
        }
    }
    if rounds.once || !terminal::is_there() {
        let mut out = Out::open();
        for line in plain::lines(&shown.page(&view), shown.plain_lines()) {
            out.line(line)?;
        }
        out.flush()?;
        return complain(&shown);
    }
    let (tell, events) = mpsc::channel();
    // Before the screen is taken: from here on no signal leaves it behind.
    hear_signals(tell.clone())?;
    let mut screen = Screen::take()?;
    hear_keys(tell.clone())?;
    let order = start_looking(tell, look, rounds.interval, first_took)?;
    view.apart = apart(rounds.interval, first_took);
    screen.draw(&shown, &mut view)?;
    for event in events {
        match event {
            // Begun before the pause, and over after it.
            Event::Looked(look, _) if view.is_paused => {
                look?;
                continue;
            }
            Event::Looked(look, took) => {
                shown.take(look?);
                view.apart = apart(rounds.interval, took);
            }
            Event::Input(Input::Key(key)) => {
                let (orders, kinds) = shown.choices(&view);
                match view.press(key, orders, kinds) {
                    Wish::Leave => break,
                    Wish::Nothing => continue,
                    Wish::Redraw => {}
                    // Whoever looks is gone only after it said so.
                    Wish::Pause => drop(order.send(view.is_paused)),
                }
            }
            Event::Input(Input::Resize(..)) => {}
            Event::Input(_) => continue,
            Event::Asked | Event::Closed => break,
            Event::Died => {
                drop(screen);
                return Err(Failure::Failed("the screen ended by a defect, which is said above".to_owned()));
            }
        }
        screen.draw(&shown, &mut view)?;
    }
    Ok(())
}

fn complain(shown: &impl Shown) -> Result<(), Failure> {
    let complaints = shown.complaints();
    complaints.iter().for_each(|complaint| output::complain(complaint));
    if complaints.is_empty() { Ok(()) } else { Err(Failure::No) }
}

enum Event<L> {
    /// And how long that took.
    Looked(Result<L, Failure>, Duration),
    Input(Input),
    /// By a signal, to end.
    Asked,
    /// There is no terminal any more.
    Closed,
    /// Whoever looked or listened panicked.
    Died,
}

/// Says so if the thread that it lives in panics.
struct Witness<L>(Sender<Event<L>>);

impl<L> Drop for Witness<L> {
    fn drop(&mut self) {
        if thread::panicking() {
            // Nobody listens any more only when the program ends.
            let _ = self.0.send(Event::Died);
        }
    }
}

fn hear_signals<L: Send + 'static>(tell: Sender<Event<L>>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    start(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            let _ = tell.send(Event::Asked);
        }
        // A second one does not wait for a terminal that takes nothing.
        if let Some(signal) = signals.next() {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })
}

fn start(work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let started = thread::Builder::new().spawn(work);
    started.map(drop).map_err(|error| {
        Failure::Failed(format!("cannot start a thread for the screen: {error}; --once and --json need none"))
    })
}

fn hear_keys<L: Send + 'static>(tell: Sender<Event<L>>) -> Result<(), Failure> {
    start(move || {
        let witness = Witness(tell);
        loop {
            let event = event::read().map_or(Event::Closed, Event::Input);
            let is_closed = matches!(event, Event::Closed);
            if witness.0.send(event).is_err() || is_closed {
                return;
            }
        }
    })
}

/// Whoever gets what is returned says there whether to pause.
fn start_looking<L: Send + 'static>(
    tell: Sender<Event<L>>,
    mut look: impl FnMut() -> Result<L, Failure> + Send + 'static,
    interval: Duration,
    mut took: Duration,
) -> Result<Sender<bool>, Failure> {
    let (order, orders) = mpsc::channel();
    start(move || {
        let witness = Witness(tell);
        while rest(&orders, rest_after(interval, took)) {
            let begun = Instant::now();
            let looked = look();
            took = begun.elapsed();
            if witness.0.send(Event::Looked(looked, took)).is_err() {
                return;
            }
        }
    })?;
    Ok(order)
}

/// How long to rest after a look that took so long.
fn rest_after(interval: Duration, took: Duration) -> Duration {
    interval.max(took * RESTS_PER_LOOK)
}

/// From one look to the next, if that is not what was asked for.
fn apart(interval: Duration, took: Duration) -> Option<Duration> {
    let rest = rest_after(interval, took);
    (rest > interval).then(|| rest + took)
}

/// Until the next look is due. `false` once nobody wants one.
fn rest(orders: &Receiver<bool>, interval: Duration) -> bool {
    let mut is_paused = match orders.recv_timeout(interval) {
        Ok(is_paused) => is_paused,
        Err(RecvTimeoutError::Timeout) => return true,
        Err(RecvTimeoutError::Disconnected) => return false,
    };
    while is_paused {
        match orders.recv() {
            Ok(order) => is_paused = order,
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_take_a_fifth_of_the_time_at_most_and_are_said_to_be_further_apart() {
        let second = Duration::from_secs(1);
        assert_eq!(rest_after(second, second / 4), second);
        assert_eq!(apart(second, second / 4), None);
        assert_eq!(rest_after(second, second / 2), 2 * second);
        assert_eq!(apart(second, second / 2), Some(second * 5 / 2));
    }
}
