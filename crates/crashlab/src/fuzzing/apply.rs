//! The input of `steadfast apply`: any bytes, applied to a map and to a model of it.

use std::io::Cursor;
use std::sync::Arc;

use steadfast::AtomicMapping;
use steadfast::disk::SimDisk;
use steadfast::store::{Resolution, recover_on};
use steadfast_cli::{Edit, Failure, Lines, parse};

const PATH: &str = "/data";
/// A longer file ends the run: it is the simulated disk that would run out of memory, not the command.
const LEN_MAX: u64 = 4 << 20;
/// The longest complaint.
const WORDS_MAX: usize = 1000;

/// Runs one input.
///
/// # Panics
///
/// If map and model differ, if a refusal is not one line, or if something of a refused batch was applied.
pub fn apply(data: &[u8]) {
    let initial: Vec<u8> = (0..[0, 100, 10_000][data.len() % 3]).map(|at| (at % 251) as u8).collect();
    let (edits, too_far) = bounded(data);
    let model = Model::of(&edits, initial.clone());

    let disk = SimDisk::new();
    disk.put_file(PATH, &initial);
    let options = AtomicMapping::options().journal_bytes(8 * 4096).stepped(2);
    let mut map = options.load_on(Arc::new(disk.clone()), PATH).expect("a plain file is opened");
    let mut lines = Lines::new(Box::new(Cursor::new(edits)), "edits");
    let mut acknowledged = Vec::new();
    let done = steadfast_cli::apply(&mut map, &mut lines, &mut |commit| {
        acknowledged.push(commit);
        Ok(())
    });
    match (&done, model.refused) {
        (Ok(()), false) => {}
        (Err(Failure::Failed(why)), true) => is_one_line(why),
        (Err(failure), false) => panic!("the model takes what was refused: {failure:?}"),
        (done, true) => panic!("the model refuses, and not the command: {done:?}"),
    }
    assert_eq!(acknowledged.len(), model.commits, "commits");
    if done.is_err() {
        map.rollback().expect("rolled back");
    }
    assert!(map[..] == model.committed[..], "the map is not what was committed");

    if let Some(len) = too_far {
        // Whether there is room for so much is the system's to say; it is said, and nothing changes.
        let mut lines = Lines::new(Box::new(Cursor::new(format!("{{\"resize\":{len}}}\n[\n"))), "edits");
        match steadfast_cli::apply(&mut map, &mut lines, &mut |_| Ok(())) {
            Err(Failure::Failed(why)) => is_one_line(&why),
            other => panic!("a bad line was taken: {other:?}"),
        }
        map.rollback().expect("rolled back");
        assert!(map[..] == model.committed[..], "a length that was taken back left something");
    }
    // The same from a crash as from a close.
    if data.len().is_multiple_of(2) {
        map.close().expect("closed");
    } else {
        let crashed = disk.killed();
        recover_on(Arc::new(crashed.clone()), PATH, Resolution::Replay).expect("recovered");
        assert!(crashed.read_file(PATH).is_some_and(|found| found == model.committed), "after a crash");
        map.close().expect("closed");
    }
    assert!(disk.read_file(PATH).is_some_and(|found| found == model.committed), "the file");
}

fn is_one_line(why: &str) {
    assert!(!why.is_empty() && !why.chars().any(char::is_control), "not one line: {why:?}");
    assert!(why.len() <= WORDS_MAX, "{} bytes of complaint", why.len());
}

/// The edits without those that read files, up to the first that makes the file too long: its length then stands beside them.
fn bounded(data: &[u8]) -> (Vec<u8>, Option<u64>) {
    let mut edits = Vec::with_capacity(data.len());
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        match parse(line.strip_suffix(b"\n").unwrap_or(line)) {
            Ok(Some(Edit::File { .. })) => continue,
            Ok(Some(Edit::Resize { len })) if len > LEN_MAX => return (edits, Some(len)),
            _ => edits.extend_from_slice(line),
        }
    }
    (edits, None)
}

/// What the edits do to plain bytes.
struct Model {
    committed: Vec<u8>,
    commits: usize,
    refused: bool,
}

impl Model {
    fn of(edits: &[u8], initial: Vec<u8>) -> Model {
        let mut model = Model { committed: initial.clone(), commits: 0, refused: false };
        let (mut working, mut pending) = (initial, 0u64);
        for line in edits.split(|&byte| byte == b'\n') {
            let edit = match parse(line) {
                Ok(None) => continue,
                Ok(Some(edit)) => edit,
                Err(why) => {
                    assert!(!why.is_empty());
                    model.refused = true;
                    return model;
                }
            };
            assert_eq!(parse(written(&edit).as_bytes()), Ok(Some(edit.clone())), "written and read again");
            if edit == Edit::Commit {
                model.committed.clone_from(&working);
                (model.commits, pending) = (model.commits + 1, 0);
                continue;
            }
            if !change(&mut working, &edit) {
                model.refused = true;
                return model;
            }
            pending += 1;
        }
        if pending > 0 && model.commits == 0 {
            model.committed = working;
            model.commits = 1;
        } else if pending > 0 {
            model.refused = true;
        }
        model
    }
}

fn change(bytes: &mut Vec<u8>, edit: &Edit) -> bool {
    let place = |at: u64, count: usize| {
        let at = usize::try_from(at).ok()?;
        Some(at..at.checked_add(count)?)
    };
    let put = |bytes: &mut Vec<u8>, at: u64, count: usize, fill: &dyn Fn(&mut [u8])| {
        let Some(place) = place(at, count).and_then(|range| bytes.get_mut(range)) else { return false };
        fill(place);
        true
    };
    match edit {
        Edit::Bytes { at, bytes: new } => put(bytes, *at, new.len(), &|place| place.copy_from_slice(new)),
        Edit::Fill { at, len, byte } => match usize::try_from(*len) {
            Ok(count) => put(bytes, *at, count, &|place| place.fill(*byte)),
            Err(_) => false,
        },
        Edit::Resize { len } => {
            bytes.resize(*len as usize, 0);
            true
        }
        Edit::File { .. } | Edit::Commit => true,
    }
}

/// The line that says this.
fn written(edit: &Edit) -> String {
    match edit {
        Edit::Bytes { at, bytes } => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{{\"hex\":\"{hex}\",\"at\":{at}}}")
        }
        Edit::File { at, path } => {
            serde_json::json!({ "at": at, "file": path.to_string_lossy() }).to_string()
        }
        Edit::Fill { at, len, byte } => format!("{{\"at\":{at},\"len\":{len},\"fill\":{byte}}}"),
        Edit::Resize { len } => format!("{{\"resize\":{len}}}"),
        Edit::Commit => "{\"commit\":true}".into(),
    }
}
