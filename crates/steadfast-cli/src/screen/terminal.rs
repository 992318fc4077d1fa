//! The alternate screen: taken, and given back on every way out, panics and signals among them.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{execute, queue};

use super::draw::{Theme, draw, room};
use super::live::Shown;
use super::view::View;
use crate::failure::Failure;

/// A frame is written at once, so that no half of it is ever seen.
const FRAME_BYTES: usize = 1 << 18;

static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Is there a terminal that a screen can be shown on?
pub(super) fn is_there() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// As <https://no-color.org> has it.
fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The screen, until this is dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    theme: Theme,
}

impl Screen {
    pub(super) fn take() -> Result<Screen, Failure> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // First the screen, so that what the panic says stays to be read.
                give_back();
                before(panic);
            }));
        });
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME_BYTES, io::stdout()));
        IS_TAKEN.store(true, Ordering::SeqCst);
        let taken = enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, Hide))
            .and_then(|()| Terminal::new(backend));
        match taken {
            Ok(terminal) => Ok(Screen { terminal, theme: Theme { is_coloured: wants_colours() } }),
            Err(error) => {
                give_back();
                Err(failed(&error))
            }
        }
    }

    /// One frame. The terminal's size is asked for: after a change of it, everything is drawn anew.
    pub(super) fn draw(&mut self, shown: &impl Shown, view: &mut View) -> Result<(), Failure> {
        if !IS_TAKEN.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.terminal.autoresize().map_err(|error| failed(&error))?;
        let area = self.terminal.get_frame().area();
        let page = shown.page(view);
        view.fit(page.rows.len(), room(&page, area));
        self.terminal
            .draw(|frame| draw(&page, view, self.theme, frame))
            .map(|_| ())
            .map_err(|error| failed(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once, whoever calls first. Whether it works does not matter: a terminal that is gone wants nothing.
pub(super) fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        let mut stdout = io::stdout();
        let _ = queue!(stdout, Show, LeaveAlternateScreen);
        let _ = stdout.flush();
        let _ = disable_raw_mode();
    }
}

fn failed(error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot use the terminal: {error}; --once prints plain text"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use rustix::fs::{CWD, Mode, OFlags, openat};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;

    /// What the test below runs in a process of its own.
    #[test]
    #[ignore = "it panics, and is run by the test below"]
    fn panics_with_the_screen_taken() {
        let _screen = Screen::take().unwrap();
        panic!("planted");
    }

    #[test]
    fn a_panic_gives_the_screen_back_before_it_speaks() {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let name = std::ffi::OsStr::from_bytes(name.to_bytes());
        let end: OwnedFd = openat(CWD, name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let test = "screen::terminal::tests::panics_with_the_screen_taken";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .stdin(end.try_clone().unwrap())
            .stdout(end.try_clone().unwrap())
            .stderr(end.try_clone().unwrap())
            .spawn()
            .unwrap();
        // Less than a terminal holds without being read.
        assert!(!child.wait().unwrap().success());
        assert!(tcgetattr(&end).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
        drop(end);
        let mut said = Vec::new();
        // Ends with an error once nobody has the other end.
        let _ = File::from(terminal).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let at = |part: &str| said.find(part).unwrap_or_else(|| panic!("{part:?} is missing: {said:?}"));
        assert!(at("\x1b[?1049h") < at("\x1b[?1049l"), "{said:?}");
        assert!(at("\x1b[?1049l") < at("planted"), "{said:?}");
        assert!(at("\x1b[?25l") < at("\x1b[?25h"), "{said:?}");
    }
}
