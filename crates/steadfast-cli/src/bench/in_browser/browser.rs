//! A real browser, without a window: Chromium, asked through its debugging protocol.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Nothing takes so long; a machine with much else to do may need some of it.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// The names under which it is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A browser with one page.
pub(super) struct Browser {
    child: Child,
    input: Option<ChildStdin>,
    said: Receiver<Value>,
    session: String,
    number: u64,
    /// What the page asked for, in order, itself included.
    pub(super) requests: Vec<String>,
}

/// Where a browser is installed, if one is.
pub(super) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

impl Browser {
    /// Starts it; what it keeps goes into `folder`.
    pub(super) fn start(program: &Path, folder: &Path) -> Browser {
        // It talks over the descriptors 3 and 4; a shell puts our pipes there. A process of its own, which `exec` does not outlive.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null"#])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .arg([OsStr::new("--user-data-dir="), folder.as_os_str()].join(OsStr::new("")))
            .arg("about:blank")
            .env("HOME", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, said) = mpsc::channel();
        let output: ChildStdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { break };
                if tell.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
            }
        });
        let input = child.stdin.take();
        let mut browser =
            Browser { child, input, said, session: String::new(), number: 0, requests: Vec::new() };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        browser.call("Network.enable", json!({}));
        browser.call("Page.enable", json!({}));
        browser
    }

    /// One command and its answer.
    pub(super) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.input.as_mut().unwrap().write_all(&bytes).unwrap();
        let begun = Instant::now();
        loop {
            let answer = self.hear(begun, method);
            if answer["id"] == self.number {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].clone();
            }
        }
    }

    fn hear(&mut self, since: Instant, what: &str) -> Value {
        let left = SILENCE_MAX.saturating_sub(since.elapsed());
        let message =
            self.said.recv_timeout(left).unwrap_or_else(|error| panic!("the browser, {what}: {error}"));
        if message["method"] == "Network.requestWillBeSent" {
            self.requests.push(message["params"]["request"]["url"].as_str().unwrap().to_owned());
        }
        message
    }

    /// Opens a file, and waits until it and all that it asks for is there.
    pub(super) fn open(&mut self, page: &Path, width: u32, scheme: &str) {
        self.requests.clear();
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false }),
        );
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
        let (begun, url) = (Instant::now(), format!("file://{}", page.display()));
        let number = self.number + 1;
        let mut loaded = false;
        let mut answered = false;
        self.number = number;
        let message = json!({ "id": number, "sessionId": self.session, "method": "Page.navigate", "params": { "url": url } });
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.input.as_mut().unwrap().write_all(&bytes).unwrap();
        while !(loaded && answered) {
            let message = self.hear(begun, "opening a page");
            loaded |= message["method"] == "Page.loadEventFired";
            answered |= message["id"] == number;
        }
    }

    /// What a piece of script comes to on the page. (It is the tool's, not the page's own: that may have none.)
    pub(super) fn ask(&mut self, script: &str) -> Value {
        let answer = self.call("Runtime.evaluate", json!({ "expression": script, "returnByValue": true }));
        assert_eq!(answer["exceptionDetails"], Value::Null, "{script}");
        answer["result"]["value"].clone()
    }

    /// The whole page as PNG.
    pub(super) fn picture(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        base64(answer["data"].as_str().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends when its pipe does; the kill is for one that hangs. Both fail only if it is gone.
        drop(self.input.take());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if self.said.recv_timeout(Duration::from_millis(100)) == Err(mpsc::RecvTimeoutError::Disconnected)
            {
                break;
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
