//! What was heard of a process before it died, and what its files may hold after.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use steadfast::{AtomicMapping, Resolution, recover};

use super::script::Script;
use super::tally::Tally;
use super::{rig, violation};
use crate::history::History;
use crate::outcome::Failure;

/// What was heard of one file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    pub(super) begun: usize,
    pub(super) durable: usize,
    pub(super) closed: bool,
}

/// What was heard of all files.
#[derive(Debug, Default)]
pub(super) struct Ear {
    pub(super) files: Vec<Heard>,
    /// Lines that are none: the first of them.
    nonsense: Option<String>,
}

impl Ear {
    pub(super) fn new(files: usize) -> Ear {
        Ear { files: vec![Heard::default(); files], nonsense: None }
    }

    /// Takes note of a line. `true` if it is an acknowledgement.
    pub(super) fn hear(&mut self, line: &str) -> bool {
        let mut words = line.split(' ');
        let word = words.next();
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
        let file = number();
        match (word, file.and_then(|file| self.files.get_mut(file)), number()) {
            (Some("b"), Some(file), Some(n)) if n == file.begun + 1 => file.begun = n,
            (Some("a"), Some(file), Some(n)) if n <= file.begun => {
                file.durable = file.durable.max(n);
                return true;
            }
            (Some("c"), Some(file), None) => file.closed = true,
            // Not of a file.
            (Some("f"), _, _) => {}
            _ => drop(self.nonsense.get_or_insert_with(|| line.to_owned())),
        }
        false
    }

    /// Takes note of all the lines that were still in the pipe.
    pub(super) fn hear_rest(&mut self, lines: &[String]) -> Result<(), Failure> {
        for line in lines {
            self.hear(line);
        }
        match &self.nonsense {
            Some(line) => Err(Failure::Rig(format!("a process said {line:?}"))),
            None => Ok(()),
        }
    }
}

/// The states that a file may hold, computed from its script. Those that it may not hold any more are left empty.
pub(super) fn history(script: &Script, heard: Heard) -> History {
    let mut state = script.initial();
    let mut history = History::new(state.clone());
    let from = if heard.closed { heard.begun } else { heard.durable };
    for n in 1..=heard.begun {
        script.advance(&mut state, n);
        let content = if n >= from { state.clone() } else { Vec::new() };
        history.states.push(Arc::new(content));
    }
    history.durable = from;
    history.closed = heard.closed.then_some(heard.begun);
    history
}

/// How a file is recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The next open.
    Opening,
    /// `recover`.
    Recovering,
}

/// The journal beside a file.
pub(crate) fn journal_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".steadfast");
    name.into()
}

/// Copies a file and its journal, with attributes, into a folder beside them: for a second recovery, or for whoever looks
/// into a violation.
pub(crate) fn copy_pair(path: &Path, folder: &str) -> Result<PathBuf, Failure> {
    let to = path.with_file_name(folder);
    fs::create_dir_all(&to).map_err(rig("a folder for copies"))?;
    let pair = [path.to_owned(), journal_of(path)];
    let there = pair.iter().filter(|file| file.exists());
    let copied = Command::new("cp").arg("-a").args(there).arg(&to).output().map_err(rig("cp"))?;
    if !copied.status.success() {
        return Err(Failure::Rig(format!("cp: {}", String::from_utf8_lossy(&copied.stderr))));
    }
    path.file_name().map(|name| to.join(name)).ok_or_else(|| Failure::Rig("a file without a name".into()))
}

/// Recovers a file, and says which state it holds.
pub(super) fn judge(
    path: &Path,
    history: &History,
    by: By,
    spoil: bool,
    tally: &mut Tally,
) -> Result<usize, Failure> {
    copy_pair(path, "crashed")?;
    let not_recovered =
        |error: steadfast::Error| Failure::Violation(format!("{by:?} fails after a kill: {error}"));
    let replayed = match by {
        By::Recovering => recover(path, Resolution::Replay).map_err(not_recovered)?.replayed_commits,
        By::Opening => {
            let map = AtomicMapping::options().load(path).map_err(not_recovered)?;
            let replayed = map.status().recovery.replayed_commits;
            judge_bytes(&map, history, &format!("{}, opened", path.display()))?;
            map.close().map_err(not_recovered)?;
            replayed
        }
    };
    tally.recoveries_that_replayed += u64::from(replayed > 0);
    judge_plain(path, history, spoil, tally)
}

/// Says which state a recovered file holds.
pub(super) fn judge_plain(
    path: &Path,
    history: &History,
    spoil: bool,
    tally: &mut Tally,
) -> Result<usize, Failure> {
    if journal_of(path).exists() {
        return violation(format!("{}: a journal stands beside it after recovery", path.display()));
    }
    if rustix::fs::lgetxattr(path, "user.steadfast", &mut [0; 256][..]).is_ok() {
        return violation(format!("{}: it carries a mark after recovery", path.display()));
    }
    if spoil {
        spoil_a_byte(path).map_err(rig("spoiling a byte"))?;
    }
    let bytes = fs::read(path).map_err(rig("reading a recovered file"))?;
    let state = judge_bytes(&bytes, history, &path.display().to_string())?;
    tally.files_judged += 1;
    tally.in_flight_kept += u64::from(state > history.durable);
    Ok(state)
}

/// Says which state these bytes are.
pub(super) fn judge_bytes(bytes: &[u8], history: &History, whose: &str) -> Result<usize, Failure> {
    history.judge(bytes).or_else(|why| violation(format!("{whose}: {why}")))
}

/// The last byte, which no two states have by accident in what differs.
fn spoil_a_byte(path: &Path) -> std::io::Result<()> {
    let file = fs::File::options().read(true).write(true).open(path)?;
    let at = file.metadata()?.len().saturating_sub(1);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kills::Part;

    #[test]
    fn a_file_that_still_carries_a_mark_is_a_violation() {
        // On the disk that has the build: not every folder for temporary files has room for marks.
        let program = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let path = folder.path().join("state-0");
        fs::write(&path, b"state").unwrap();
        let judged =
            || judge_plain(&path, &History::new(b"state".to_vec()), false, &mut Tally::of(Part::Command));
        assert_eq!(judged(), Ok(0));
        rustix::fs::setxattr(&path, "user.steadfast", b"mark", rustix::fs::XattrFlags::empty()).unwrap();
        assert!(matches!(judged(), Err(Failure::Violation(what)) if what.contains("a mark")));
    }
}
