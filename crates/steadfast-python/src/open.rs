//! How maps are opened.
//!
//! # Safety
//!
//! This file is trusted with passing on what `view` asks of its caller: the docs ask it of whoever calls it in Python.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use steadfast::{AtomicOptions, ErrorKind, Resolution, Tracker};

use crate::atomic::AtomicMapping;
use crate::errors::{Failure, Result, refused};
use crate::given::{self, File};
use crate::held::Held;
use crate::mapping::Mapping;
use crate::status::Recovery;
use crate::ticket::DEAF;

/// Addresses that are reserved where nobody says how many: growth within them moves nothing. They cost no memory.
const RESERVED_BYTES: usize = 256 << 30;

/// Opens without the interpreter's lock: with addresses in reserve if they are to be had, and waiting for the file's lock in pieces, between
/// which signals are heard. `attempt` takes what to reserve, and how long to wait.
fn opened<M: Send>(
    py: Python<'_>,
    reserve: Option<usize>,
    timeout: Duration,
    attempt: impl Fn(usize, Duration) -> steadfast::Result<M> + Sync,
) -> Result<M> {
    let deadline = Instant::now().checked_add(timeout);
    let mut reserve_bytes = reserve.unwrap_or(RESERVED_BYTES);
    loop {
        let left = deadline.map_or(DEAF, |deadline| deadline.saturating_duration_since(Instant::now()));
        let found = py.detach(|| attempt(reserve_bytes, left.min(DEAF)));
        crate::log::say(py);
        match found {
            // The process may have so many addresses (`ulimit -v`), and no more.
            Err(error)
                if error.kind() == ErrorKind::LimitExceeded && reserve.is_none() && reserve_bytes > 0 =>
            {
                reserve_bytes = 0;
            }
            Err(error) if error.kind() == ErrorKind::Locked && !left.is_zero() => py.check_signals()?,
            found => return Ok(found?),
        }
    }
}

/// What both ways to open an atomic map take.
struct Choice {
    options: AtomicOptions,
    lock_timeout: Duration,
    reserve: Option<usize>,
    read_only: bool,
}

/// By load, which copies, or by view, which shows the file.
enum Way {
    Load,
    View,
}

impl Choice {
    /// Opens, with addresses in reserve if they are to be had.
    fn open(self, py: Python<'_>, file: &Bound<'_, PyAny>, way: &Way) -> Result<AtomicMapping> {
        let file = File::of(file)?;
        let map = opened(py, self.reserve, self.lock_timeout, |reserve, wait| {
            let options = self.options.clone().reserve(reserve).lock_timeout(wait);
            match (way, &file) {
                (Way::Load, File::Path(path)) => options.load(path),
                (Way::Load, File::Descriptor(fd)) => options.load_fd(given::borrowed(*fd)),
                // SAFETY: the docs ask that nothing else writes the file while the map is open.
                (Way::View, File::Path(path)) => unsafe { options.view(path) },
                // SAFETY: as above.
                (Way::View, File::Descriptor(fd)) => unsafe { options.view_fd(given::borrowed(*fd)) },
            }
        })?;
        let path = map.path().to_owned();
        let held = Held::new(map, Some(path));
        if !self.read_only {
            crate::at_exit::note(Arc::downgrade(&held));
        }
        Ok(AtomicMapping::new(held, self.read_only))
    }
}

/// What all atomic maps of Python's have: memory that children may look at, and that is never gone; and what they may be given.
fn committing(
    length: Option<usize>,
    journal_bytes: Option<usize>,
    tracker: Option<&str>,
) -> Result<AtomicOptions> {
    let tracker = tracker.map_or(Ok(Tracker::Automatic), str::parse)?;
    let mut options =
        steadfast::AtomicMapping::options().tracker(tracker).keep_from_children(false).keep_addresses(true);
    if let Some(length) = length {
        options = options.len(length);
    }
    if let Some(bytes) = journal_bytes {
        options = options.journal_bytes(bytes as u64);
    }
    Ok(options)
}

/// Opens a file for commits, with the whole of it in private memory: `docs/python.md`, and the stubs.
#[pyfunction]
#[pyo3(signature = (
    file, *, length = None, create = false, read_only = false, publish = false, reserve = None, tracker = None, scrub = false,
    journal_bytes = None, lock_timeout = 0.0, allow_hard_links = false, allow_other_device = false, allow_volatile = false,
    keep_from_dumps = false, huge_pages = false,
))]
#[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "keywords")]
pub(crate) fn load(
    py: Python<'_>,
    file: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = given::count_if_any)] length: Option<usize>,
    create: bool,
    read_only: bool,
    publish: bool,
    #[pyo3(from_py_with = given::count_if_any)] reserve: Option<usize>,
    tracker: Option<&str>,
    scrub: bool,
    #[pyo3(from_py_with = given::count_if_any)] journal_bytes: Option<usize>,
    lock_timeout: f64,
    allow_hard_links: bool,
    allow_other_device: bool,
    allow_volatile: bool,
    keep_from_dumps: bool,
    huge_pages: bool,
) -> PyResult<AtomicMapping> {
    let lock_timeout = given::seconds("open", lock_timeout)?;
    let options = committing(length, journal_bytes, tracker)?
        .create(create)
        .read_only(read_only)
        .publish(publish)
        .scrub(scrub)
        .allow_hard_links(allow_hard_links)
        .allow_other_device(allow_other_device)
        .allow_volatile(allow_volatile)
        .keep_from_dumps(keep_from_dumps)
        .huge_pages(huge_pages);
    Ok(Choice { options, lock_timeout, reserve, read_only }.open(py, file, &Way::Load)?)
}

/// Opens a file for commits, with its page cache under the memory.
#[pyfunction]
#[pyo3(signature = (
    file, *, length = None, create = false, publish = false, reserve = None, tracker = None, scrub = false, journal_bytes = None,
    lock_timeout = 0.0, allow_hard_links = false, allow_other_device = false, allow_volatile = false, keep_from_dumps = false,
))]
#[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "keywords")]
pub(crate) fn view(
    py: Python<'_>,
    file: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = given::count_if_any)] length: Option<usize>,
    create: bool,
    publish: bool,
    #[pyo3(from_py_with = given::count_if_any)] reserve: Option<usize>,
    tracker: Option<&str>,
    scrub: bool,
    #[pyo3(from_py_with = given::count_if_any)] journal_bytes: Option<usize>,
    lock_timeout: f64,
    allow_hard_links: bool,
    allow_other_device: bool,
    allow_volatile: bool,
    keep_from_dumps: bool,
) -> PyResult<AtomicMapping> {
    let lock_timeout = given::seconds("open", lock_timeout)?;
    let options = committing(length, journal_bytes, tracker)?
        .create(create)
        .publish(publish)
        .scrub(scrub)
        .allow_hard_links(allow_hard_links)
        .allow_other_device(allow_other_device)
        .allow_volatile(allow_volatile)
        .keep_from_dumps(keep_from_dumps);
    Ok(Choice { options, lock_timeout, reserve, read_only: false }.open(py, file, &Way::View)?)
}

/// Maps a file as the kernel does, with every promise kept.
#[pyfunction]
#[pyo3(signature = (
    file, *, write = false, create = false, length = None, offset = 0, grow = false, sparse = false, private = false,
    populate = false, reserve = None, lock_timeout = 0.0, keep_from_dumps = false,
))]
#[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "keywords")]
pub(crate) fn map(
    py: Python<'_>,
    file: &Bound<'_, PyAny>,
    write: bool,
    create: bool,
    #[pyo3(from_py_with = given::count_if_any)] length: Option<usize>,
    #[pyo3(from_py_with = given::count)] offset: usize,
    grow: bool,
    sparse: bool,
    private: bool,
    populate: bool,
    #[pyo3(from_py_with = given::count_if_any)] reserve: Option<usize>,
    lock_timeout: f64,
    keep_from_dumps: bool,
) -> PyResult<Mapping> {
    let mut options = steadfast::Mapping::options()
        .write(write)
        .create(create)
        .offset(offset as u64)
        .grow(grow)
        .sparse(sparse)
        .private(private)
        .populate(populate)
        .keep_from_dumps(keep_from_dumps)
        .keep_addresses(true);
    if let Some(length) = length {
        options = options.len(length);
    }
    let file = File::of(file)?;
    let lock_timeout = given::seconds("open", lock_timeout)?;
    let map = opened(py, reserve, lock_timeout, |reserve, wait| {
        let options = options.clone().reserve(reserve).lock_timeout(wait);
        match &file {
            File::Path(path) => options.open(path),
            File::Descriptor(fd) => options.open_fd(given::borrowed(*fd)),
        }
    })?;
    let path = map.path().map(std::path::Path::to_owned);
    Ok(Mapping::new(Held::new(map, path), !write && !private))
}

/// Brings a file to its last commit and removes the journal.
#[pyfunction]
#[pyo3(signature = (path, *, resolution = "replay"))]
pub(crate) fn recover(py: Python<'_>, path: &Bound<'_, PyAny>, resolution: &str) -> PyResult<Recovery> {
    let File::Path(path) = File::of(path)? else {
        return Err(refused(
            ErrorKind::InvalidInput,
            "recover",
            "a journal is found beside a name",
            "give the path of the data file",
        )
        .into());
    };
    let resolution = match resolution {
        "replay" => Resolution::Replay,
        "adopt" => Resolution::Adopt,
        "discard" => Resolution::Discard,
        _ => {
            return Err(refused(
                ErrorKind::InvalidInput,
                "recover",
                format!("there is no resolution {resolution:?}"),
                "give replay, adopt or discard",
            )
            .into());
        }
    };
    let recovered = py.detach(|| steadfast::recover(path, resolution));
    crate::log::say(py);
    Ok(Recovery::from(recovered.map_err(Failure::from)?))
}
