//! An image is mounted, recovered and judged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::{Rng, RngExt};
use steadfast::{AtomicMapping, AtomicOptions};

use super::file_system::Rig;
use super::images::Image;
use super::log::Log;
use crate::history::{History, Told, difference};
use crate::outcome::Failure;
use crate::real::{self, Folder};

/// What was found on an image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The files beside which a journal stood.
    pub(crate) with_journal: Vec<usize>,
    /// A journal was replayed.
    pub(crate) recovered: bool,
    /// A commit was found that had not been acknowledged.
    pub(crate) in_flight: bool,
    /// The file system had to be repaired by its own tool before it could be mounted.
    pub(crate) repaired: bool,
}

/// Everything that must hold for one image. What the file system and the recovery wrote comes back as a log, to be cut as well.
///
/// # Errors
///
/// [`Failure::Violation`] says what does not hold.
pub(crate) fn check(rig: &mut Rig, image: &Image, random: &mut impl Rng) -> Result<(Found, Log), Failure> {
    rig.device.insert(image.media.clone());
    rig.device.record(image.histories.clone());
    let repaired = rig.mount_or_repair()?;
    let folder = Folder(rig.root());
    let mut found = Found { repaired, ..Found::default() };
    let mut judged = Ok(());
    for (number, history) in image.histories.iter().enumerate() {
        let device = rig.device.clone();
        let mut file = File {
            number,
            path: folder.path(number),
            history: history.clone(),
            hear: &|told| device.tell(number, told),
        };
        judged = file.judge(random, &mut found).map_err(|what| format!("file {number}: {what}"));
        if judged.is_err() {
            break;
        }
    }
    rig.unmount()?;
    judged.map_err(Failure::Violation)?;
    let log = rig.device.take_log().ok_or_else(|| Failure::Rig("nothing was recorded".into()))?;
    Ok((found, log))
}

struct File<'a> {
    number: usize,
    path: PathBuf,
    history: History,
    hear: &'a dyn Fn(Told),
}

impl File<'_> {
    fn tell(&mut self, told: Told) {
        self.history.hear(told.clone());
        (self.hear)(told);
    }

    fn judge(&mut self, random: &mut impl Rng, found: &mut Found) -> Result<(), String> {
        if self.history.mixed {
            return self.judge_plain();
        }
        if let Some(state) = self.history.closed
            && self.path.exists()
        {
            let want = Arc::clone(&self.history.states[state]);
            plain(&self.path, &want).map_err(|what| format!("after a close that returned: {what}"))?;
        }
        let durable = self.history.durable;
        let options = || {
            let options = AtomicMapping::options().create(true);
            // The fresh journal is mostly zeros: a small one is quickly written.
            options.journal_bytes(1)
        };
        self.tell(Told::Opening);
        let mut map = self.open(options(), random.random_ratio(1, 3), "recovery")?;
        let state = self.history.judge(&map)?;
        self.tell(Told::Shown(state));
        let recovery = map.status().recovery;
        found.in_flight |= state > durable;
        found.recovered |= recovery.replayed_commits > 0;
        if recovery.journal_found {
            found.with_journal.push(self.number);
        }
        let shown = Arc::clone(&self.history.states[state]);
        let read = fs::read(&self.path).map_err(|error| error.to_string())?;
        if read != *shown {
            return Err(format!("the plain file is not what recovery showed: {}", difference(&read, &shown)));
        }
        // Work goes on.
        let last = if random.random_ratio(1, 3) && !map.is_empty() {
            let at = random.random_range(0..map.len());
            map.edit(at..at + 1).map_err(|error| error.to_string())?[0] ^= 0xff;
            let state = Arc::new(map.to_vec());
            self.tell(Told::Begun(Arc::clone(&state)));
            map.commit().map_err(|error| format!("a commit after recovery: {error}"))?;
            self.tell(Told::Durable(self.history.last()));
            state
        } else {
            shown
        };
        map.close().map_err(|error| format!("close after recovery: {error}"))?;
        self.tell(Told::Closed);
        plain(&self.path, &last).map_err(|what| format!("after recovery and close: {what}"))?;
        if random.random_ratio(1, 4) {
            self.tell(Told::Opening);
            let map = self.open(options(), false, "second open")?;
            if map[..] != last[..] {
                return Err(format!("a second open shows something else: {}", difference(&map, &last)));
            }
        }
        Ok(())
    }

    /// A file that a kernel's mapping stored into: a file that is not there is an empty one.
    fn judge_plain(&self) -> Result<(), String> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| error.to_string())?,
        };
        self.history.judge(&bytes).map(drop)
    }

    fn open(&self, options: AtomicOptions, view: bool, what: &str) -> Result<AtomicMapping, String> {
        real::open(view, options, &self.path).map_err(|error| format!("{what} refused: {error}"))
    }
}

/// Nothing but the file, with this content.
pub(crate) fn plain(path: &Path, want: &[u8]) -> Result<(), String> {
    let mut journal = path.as_os_str().to_owned();
    journal.push(".steadfast");
    if Path::new(&journal).exists() {
        return Err("a journal stands beside it".into());
    }
    if rustix::fs::lgetxattr(path, "user.steadfast", &mut [0; 256][..]).is_ok() {
        return Err("it carries a mark".into());
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    if bytes != want {
        return Err(difference(&bytes, want));
    }
    Ok(())
}
