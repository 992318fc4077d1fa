//! A terminal of a size of one's choice, and what stands on it: tmux(1), a server of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Ends with its server.
pub(crate) struct Terminal {
    /// For the socket: its name must be short.
    folder: TempDir,
}

impl Terminal {
    /// With a shell in it. `None`, said on standard error, where there is no tmux.
    pub(crate) fn start(width: u16, height: u16) -> Option<Terminal> {
        if Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_err() {
            eprintln!("not looked at in a terminal: tmux is not here (Debian: apt-get install tmux)");
            return None;
        }
        let terminal = Terminal { folder: tempfile::tempdir().unwrap() };
        let configuration = terminal.folder.path().join("conf");
        std::fs::write(&configuration, "set -g status off\nset -g default-terminal screen-256color\n")
            .unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_steadfast")).parent().unwrap().to_str().unwrap();
        let path = format!("PATH={built}:{}", std::env::var("PATH").unwrap());
        let (width, height) = (width.to_string(), height.to_string());
        let made = terminal
            .command()
            .arg("-f")
            .arg(&configuration)
            .args(["new-session", "-d", "-x", &width, "-y", &height])
            // Whatever the user's shell is: this one greets nobody.
            .args(["env", "-u", "NO_COLOR", "-u", "ENV", &path, "LC_ALL=C.UTF-8", "PS1=$ ", "sh"])
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        terminal.until("there is a prompt", |screen| screen.starts_with('$'));
        Some(terminal)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.folder.path().join("s")).stdin(Stdio::null()).env_remove("TMUX");
        command
    }

    fn tmux(&self, args: &[&str]) -> String {
        let done = self.command().args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// In that folder, silently.
    pub(crate) fn cd(&self, folder: &Path) {
        self.tmux(&["send-keys", "-l", &format!("cd {} && clear", folder.display())]);
        // Or the prompt from before is taken for the one behind it.
        self.until("it is typed", |screen| screen.contains("clear"));
        self.key("Enter");
        self.until("it is clear", |screen| screen.trim_end() == "$");
    }

    /// Types a line.
    pub(crate) fn say(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.key("Enter");
    }

    /// Presses keys, by tmux's names for them.
    pub(crate) fn key(&self, keys: &str) {
        let keys: Vec<&str> = keys.split(' ').collect();
        self.tmux(&[&["send-keys"], &keys[..]].concat());
    }

    pub(crate) fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Is the alternate screen shown?
    pub(crate) fn is_alternate(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    pub(crate) fn is_cursor_seen(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{cursor_flag}"]).trim() == "1"
    }

    /// The process that the shell waits for.
    pub(crate) fn child(&self) -> u32 {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]).trim().to_owned();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        children.split_ascii_whitespace().next().unwrap().parse().unwrap()
    }

    /// All lines of the screen, without spaces at their ends.
    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Looks until it is so, and gives what stands there then.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "not seen: {what}\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}

/// What was done, and what the screen showed then.
pub(crate) struct Recording(String);

impl Recording {
    pub(crate) fn new() -> Recording {
        Recording(String::new())
    }

    pub(crate) fn step(&mut self, done: &str, screen: &str) {
        self.0.push_str(&format!("### {done}\n\n```text\n{}\n```\n\n", screen.trim_end()));
    }

    /// Below the heading of the recording in this file.
    pub(crate) fn write(&self, path: &Path) {
        const HEADING: &str = "## A recording\n\n";
        let text = std::fs::read_to_string(path).unwrap();
        let kept = text.find(HEADING).map_or(text.len(), |at| at + HEADING.len());
        std::fs::write(path, format!("{}{}\n", &text[..kept], self.0.trim_end())).unwrap();
    }
}
