//! How maps are opened.
//!
//! # Safety
//!
//! This file is trusted with passing on what `view` asks of its caller: the docs ask it of whoever calls it in Python.
#![allow(unsafe_code)]

use std::sync::Arc;

use pyo3::prelude::*;
use steadfast::{AtomicOptions, ErrorKind, Resolution, Tracker};

use crate::atomic::AtomicMapping;
use crate::errors::{Failure, Result, refused};
use crate::given::{self, File};
use crate::held::Held;
use crate::mapping::Mapping;
use crate::status::Recovery;

/// Addresses that are reserved where nobody says how many: growth within them moves nothing. They cost no memory.
const RESERVED_BYTES: usize = 256 << 30;

/// What both ways to open an atomic map take.
struct Choice {
    options: AtomicOptions,
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
        let (path, fd) = match &file {
            File::Path(path) => (path.clone(), None),
            File::Descriptor(fd) => (Default::default(), Some(*fd)),
        };
        let attempt = |reserve: usize| {
            let options = self.options.clone().reserve(reserve);
            match (way, fd) {
                (Way::Load, None) => options.load(&path),
                (Way::Load, Some(fd)) => options.load_fd(given::borrowed(fd)),
                // SAFETY: the docs ask that nothing else writes the file while the map is open.
                (Way::View, None) => unsafe { options.view(&path) },
                // SAFETY: as above.
                (Way::View, Some(fd)) => unsafe { options.view_fd(given::borrowed(fd)) },
            }
        };
        let opened = py.detach(|| match self.reserve {
            Some(reserve) => attempt(reserve),
            None => match attempt(RESERVED_BYTES) {
                // The process may have so many (`ulimit -v`).
                Err(error) if error.kind() == ErrorKind::LimitExceeded => attempt(0),
                opened => opened,
            },
        });
        crate::log::say(py);
        let map = opened?;
        let path = map.path().to_owned();
        let held = Held::new(map, Some(path));
        if !self.read_only {
            crate::at_exit::note(Arc::downgrade(&held));
        }
        Ok(AtomicMapping::new(held, self.read_only))
    }
}

fn tracker(name: Option<&str>) -> Result<Tracker> {
    Ok(match name {
        None => Tracker::Automatic,
        Some(name) => name.parse()?,
    })
}

/// Opens a file for commits, with the whole of it in private memory: `docs/python.md`, and the stubs.
#[pyfunction]
#[pyo3(signature = (
    file, *, length = None, create = false, read_only = false, publish = false, reserve = None, tracker = None, scrub = false,
    journal_bytes = None, lock_timeout = 0.0, allow_hard_links = false, allow_other_device = false, allow_volatile = false,
    keep_from_dumps = false,
))]
#[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "keywords")]
pub(crate) fn load(
    py: Python<'_>,
    file: &Bound<'_, PyAny>,
    length: Option<usize>,
    create: bool,
    read_only: bool,
    publish: bool,
    reserve: Option<usize>,
    tracker: Option<&str>,
    scrub: bool,
    journal_bytes: Option<u64>,
    lock_timeout: f64,
    allow_hard_links: bool,
    allow_other_device: bool,
    allow_volatile: bool,
    keep_from_dumps: bool,
) -> PyResult<AtomicMapping> {
    let mut options = steadfast::AtomicMapping::options()
        .create(create)
        .read_only(read_only)
        .publish(publish)
        .tracker(self::tracker(tracker)?)
        .scrub(scrub)
        .lock_timeout(given::seconds("open", lock_timeout)?)
        .allow_hard_links(allow_hard_links)
        .allow_other_device(allow_other_device)
        .allow_volatile(allow_volatile)
        .keep_from_dumps(keep_from_dumps)
        .keep_from_children(false)
        .keep_addresses(true);
    if let Some(length) = length {
        options = options.len(length);
    }
    if let Some(bytes) = journal_bytes {
        options = options.journal_bytes(bytes);
    }
    Ok(Choice { options, reserve, read_only }.open(py, file, &Way::Load)?)
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
    length: Option<usize>,
    create: bool,
    publish: bool,
    reserve: Option<usize>,
    tracker: Option<&str>,
    scrub: bool,
    journal_bytes: Option<u64>,
    lock_timeout: f64,
    allow_hard_links: bool,
    allow_other_device: bool,
    allow_volatile: bool,
    keep_from_dumps: bool,
) -> PyResult<AtomicMapping> {
    let mut options = steadfast::AtomicMapping::options()
        .create(create)
        .publish(publish)
        .tracker(self::tracker(tracker)?)
        .scrub(scrub)
        .lock_timeout(given::seconds("open", lock_timeout)?)
        .allow_hard_links(allow_hard_links)
        .allow_other_device(allow_other_device)
        .allow_volatile(allow_volatile)
        .keep_from_dumps(keep_from_dumps)
        .keep_from_children(false)
        .keep_addresses(true);
    if let Some(length) = length {
        options = options.len(length);
    }
    if let Some(bytes) = journal_bytes {
        options = options.journal_bytes(bytes);
    }
    Ok(Choice { options, reserve, read_only: false }.open(py, file, &Way::View)?)
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
    length: Option<usize>,
    offset: u64,
    grow: bool,
    sparse: bool,
    private: bool,
    populate: bool,
    reserve: Option<usize>,
    lock_timeout: f64,
    keep_from_dumps: bool,
) -> PyResult<Mapping> {
    let mut options = steadfast::Mapping::options()
        .write(write)
        .create(create)
        .offset(offset)
        .grow(grow)
        .sparse(sparse)
        .private(private)
        .populate(populate)
        .lock_timeout(given::seconds("open", lock_timeout)?)
        .keep_from_dumps(keep_from_dumps)
        .keep_addresses(true);
    if let Some(length) = length {
        options = options.len(length);
    }
    let file = File::of(file)?;
    let (path, fd) = match &file {
        File::Path(path) => (path.clone(), None),
        File::Descriptor(fd) => (Default::default(), Some(*fd)),
    };
    let attempt = |reserve: usize| {
        let options = options.clone().reserve(reserve);
        match fd {
            None => options.open(&path),
            Some(fd) => options.open_fd(given::borrowed(fd)),
        }
    };
    let opened = py.detach(|| match reserve {
        Some(reserve) => attempt(reserve),
        None => match attempt(RESERVED_BYTES) {
            Err(error) if error.kind() == ErrorKind::LimitExceeded => attempt(0),
            opened => opened,
        },
    });
    crate::log::say(py);
    let map = opened.map_err(Failure::from)?;
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
