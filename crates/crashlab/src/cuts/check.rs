//! An image is mounted, recovered and judged.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rand::{Rng, RngExt};
use steadfast::{Resolution, recover};

use super::Subject;
use super::record::{Life, PATIENCE, last_line, wait};
use crate::block::check::plain;
use crate::block::file_system::Rig;
use crate::block::images::Image;
use crate::block::log::Log;
use crate::history::{History, Told};
use crate::kills::judge::journal_of;
use crate::kills::rig;
use crate::outcome::Failure;
use crate::programs::{Found, scatter};

/// By whom a file is recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// `steadfast::recover`.
    Library,
    /// `steadfast recover`.
    Command,
    /// The program's next start, over the library.
    Program,
    /// Nobody: nothing but the kernel was under the program.
    Nobody,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Library => "steadfast::recover",
            By::Command => "steadfast recover",
            By::Program => "the program's next start",
            By::Nobody => "nobody",
        })
    }
}

/// What was found on an image.
pub(super) struct Checked {
    pub(super) found: Found,
    pub(super) by: By,
    /// The program had ended before the cut.
    pub(super) closed: bool,
    /// A journal stood beside the file.
    pub(super) journal: bool,
    /// The version that was found had not been acknowledged.
    pub(super) in_flight: bool,
    /// The file system had to be repaired by its own tool before it could be mounted.
    pub(super) repaired: bool,
}

/// What one image holds. What the file system and the recovery wrote comes back as a log, to be cut as well.
///
/// # Errors
///
/// Of the rig. What does not hold is in what was found.
pub(super) fn check(
    rig_here: &mut Rig,
    subject: &Subject<'_>,
    image: &Image,
    life: &Life,
    random: &mut impl Rng,
) -> Result<(Checked, Log), Failure> {
    let history = image.histories.first().ok_or_else(|| Failure::Rig("no history".into()))?;
    rig_here.device.insert(image.media.clone());
    rig_here.device.record(image.histories.clone());
    let repaired = rig_here.mount_or_repair()?;
    let data_file = subject.program.data_file(&rig_here.root());
    let by = match (subject.preload, random.random_range(0..4)) {
        (None, _) => By::Nobody,
        (Some(_), 0) => By::Program,
        (Some(_), 1) => By::Command,
        (Some(_), _) => By::Library,
    };
    let journal = journal_of(&data_file).exists();
    let found = judge(rig_here, subject, &data_file, history, life, by);
    rig_here.unmount()?;
    let found = found?;
    let log = rig_here.device.take_log().ok_or_else(|| Failure::Rig("nothing was recorded".into()))?;
    let in_flight = matches!(found, Found::Sound(version) if version as usize > history.durable);
    Ok((Checked { found, by, closed: history.closed.is_some(), journal, in_flight, repaired }, log))
}

fn judge(
    rig_here: &Rig,
    subject: &Subject<'_>,
    data_file: &Path,
    history: &History,
    life: &Life,
    by: By,
) -> Result<Found, Failure> {
    if by != By::Nobody {
        if let Some(state) = history.closed
            && let Err(what) = plain(data_file, &history.states[state])
        {
            return Ok(Found::Refused(format!(
                "the program had ended, and its file is not a plain one: {what}"
            )));
        }
        rig_here.device.tell(0, Told::Opening);
        if let Some(what) = recover_by(subject, data_file, life, by)? {
            return Ok(Found::Refused(format!("{by}: {what}")));
        }
    }
    if subject.options.spoil {
        spoil(data_file).map_err(rig("a file to spoil"))?;
    }
    let bytes = match fs::read(data_file) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Found::Torn(format!("it cannot be read: {error}"))),
    };
    let found = scatter::judge_by(history, &bytes);
    if let Found::Sound(version) = found
        && by != By::Nobody
    {
        rig_here.device.tell(0, Told::Shown(version as usize));
        rig_here.device.tell(0, Told::Closed);
        let shown = Arc::clone(&history.states[version as usize]);
        if let Err(what) = plain(data_file, &shown) {
            return Ok(Found::Refused(format!("{by} leaves no plain file: {what}")));
        }
    }
    Ok(found)
}

/// What is wrong with it, if anything is.
fn recover_by(
    subject: &Subject<'_>,
    data_file: &Path,
    life: &Life,
    by: By,
) -> Result<Option<String>, Failure> {
    let mut command = match by {
        By::Nobody => return Ok(None),
        By::Library => {
            return Ok(recover(data_file, Resolution::Replay).err().map(|error| error.to_string()));
        }
        By::Command => {
            let mut command = Command::new(subject.steadfast);
            command.arg("recover").arg(data_file);
            command
        }
        By::Program => {
            let preload = subject.preload.map(|library| life.preload(library));
            let mut command = subject.writer.command(preload.as_ref());
            command.arg(data_file).args([life.seed, 0].map(|number| number.to_string()));
            command
        }
    };
    let mut errors = tempfile::tempfile().map_err(rig("a file"))?;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(errors.try_clone().map_err(rig("a file"))?);
    Ok(match wait(&mut command, || ())? {
        Some(ended) if ended.success() => None,
        Some(ended) => Some(format!("{ended}: {}", last_line(&mut errors))),
        None => Some(format!("it does not end within {PATIENCE:?}: {}", last_line(&mut errors))),
    })
}

/// Another byte in the middle.
fn spoil(data_file: &Path) -> std::io::Result<()> {
    let file = File::options().read(true).write(true).open(data_file)?;
    let (at, mut byte) = (file.metadata()?.len() / 2, [0]);
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0xff], at)
}
