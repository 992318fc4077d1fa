//! msync, part by part.

use std::ffi::c_int;
use std::io;
use std::ops::Range;

use super::atomic::AtomicFile;
use super::held::Ask;
use super::name::committing;
use super::table::{self, Part, Place};
use super::{Rules, os_error};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{address, maps, page_size};

const OPERATION: &str = "msync";

/// What the flags ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    /// `None`: nothing is written (Linux).
    write: Option<Write>,
    invalidate: bool,
    /// Of an image, all is meant whatever part is named.
    whole_images: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    Now,
    Begin,
}

impl Request {
    fn of(flags: c_int, rules: Rules) -> Result<Request> {
        let refuse = |reason: &'static str| {
            Err(Error::new(ErrorKind::InvalidInput, OPERATION, reason)
                .source_io(io::Error::from_raw_os_error(libc::EINVAL))
                .advice("give MS_SYNC or MS_ASYNC, and MS_INVALIDATE with it if cached copies are to go"))
        };
        if flags & !(libc::MS_SYNC | libc::MS_ASYNC | libc::MS_INVALIDATE) != 0 {
            return refuse("there is a flag among them that does not exist");
        }
        let write = match (flags & libc::MS_SYNC != 0, flags & libc::MS_ASYNC != 0) {
            (true, true) => return refuse("MS_SYNC and MS_ASYNC exclude each other"),
            (true, false) => Some(Write::Now),
            (false, true) => Some(Write::Begin),
            (false, false) if rules == Rules::Linux => None,
            (false, false) => return refuse("neither MS_SYNC nor MS_ASYNC is among them"),
        };
        Ok(Request {
            write,
            invalidate: flags & libc::MS_INVALIDATE != 0,
            whole_images: rules == Rules::Linux,
        })
    }
}

/// The pages of a range; `None` where its end overflows.
pub(super) fn pages(start: usize, len: usize) -> Option<Range<usize>> {
    let len = len.checked_next_multiple_of(page_size())?;
    Some(start..start.checked_add(len)?)
}

pub(super) fn msync(start: usize, len: usize, flags: c_int, rules: Rules) -> Result<()> {
    let request = Request::of(flags, rules)?;
    if !start.is_multiple_of(page_size()) {
        let reason = format!("address {start:#x} is not on a page boundary ({} bytes)", page_size());
        return Err(Error::new(ErrorKind::InvalidInput, OPERATION, reason)
            .source_io(io::Error::from_raw_os_error(libc::EINVAL))
            .advice("round the address down to a page, and the length up"));
    }
    let Some(memory) = pages(start, len) else {
        return Err(not_mapped(format!("the end of {len} bytes from {start:#x} on is no address")));
    };
    if memory.is_empty() {
        return Ok(());
    }
    if !table::knows(&memory) {
        not_a_parents(&memory)?;
        return address::msync(&memory, flags).map_err(|error| of_kernel(error, &memory));
    }
    if request.invalidate {
        // Where pages are locked nothing is dropped, and nothing is begun. What is not mapped is told when the rest is done.
        match address::msync(&memory, libc::MS_INVALIDATE) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Err(of_kernel(error, &memory)),
            _ => {}
        }
    }
    let mut first = Ok(());
    let mut hole = Ok(());
    for part in in_whole(table::parts(&memory)) {
        let (kept, at) = sync_part(part, request, flags);
        let place = if at { &mut hole } else { &mut first };
        if place.is_ok() {
            *place = kept;
        }
    }
    // What was lost comes before what was never there.
    first.and(hole)
}

/// Parts of one image that follow each other are one: one commit holds what changed in all of them. Between them lies what
/// the program has not mapped, or others of the image's own pages, which are as they were.
fn in_whole(parts: Vec<Part>) -> Vec<Part> {
    let mut whole: Vec<Part> = Vec::with_capacity(parts.len());
    for (memory, place) in parts {
        let Some(Place::Atomic(window)) = &place else {
            whole.push((memory, place));
            continue;
        };
        let same = whole.iter_mut().find(|(_, known)| {
            matches!(known, Some(Place::Atomic(first)) if first.file.identity == window.file.identity)
        });
        match same {
            // One region holds the image, so its bytes lie at the same distance as in the file.
            Some((first, _)) => first.end = memory.end,
            None => whole.push((memory, place)),
        }
    }
    whole
}

/// The result, and whether an error is about what is not mapped.
fn sync_part((memory, place): Part, request: Request, flags: c_int) -> (Result<()>, bool) {
    let result = match place {
        None => {
            if let Err(error) = not_a_parents(&memory) {
                return (Err(error), false);
            }
            let result = address::msync(&memory, flags);
            let is_hole = result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENOMEM));
            return (result.map_err(|error| of_kernel(error, &memory)), is_hole);
        }
        Some(Place::Kernel(file, offset)) => {
            let bytes = offset..offset + memory.len() as u64;
            let written = match request.write {
                Some(Write::Now) => file.sync(bytes.clone()),
                Some(Write::Begin) => file.start_sync(bytes.clone()),
                None => Ok(()),
            };
            written.and_then(|()| {
                if request.invalidate && request.write.is_some() { file.invalidate(bytes) } else { Ok(()) }
            })
        }
        Some(Place::Atomic(window)) => {
            let bytes = match request.whole_images {
                true => 0..u64::MAX,
                false => window.offset..window.offset + memory.len() as u64,
            };
            let committed = match request.write {
                Some(Write::Now) => committing(&window.file, |image| image.commit(bytes.clone())),
                Some(Write::Begin) => committing(&window.file, |image| image.start_commit(bytes.clone())),
                None => Ok(Some(())),
            };
            match committed {
                Ok(Some(())) => Ok(()),
                Ok(None) => sync_given_back(&memory, &window.file, request, flags),
                Err(error) => Err(error),
            }
        }
        Some(Place::Gap(_)) => {
            let hole = not_mapped(format!(
                "nothing is mapped at {:#x}; every part that is mapped was synced",
                memory.start
            ));
            return (Err(hole), true);
        }
        Some(Place::Held(map)) => match map.upgrade() {
            Some(map) => {
                let written = match request.write {
                    Some(Write::Now) => map.reach(&memory, Ask::Sync),
                    Some(Write::Begin) => map.reach(&memory, Ask::StartSync),
                    None => Ok(()),
                };
                written.and_then(|()| {
                    if request.invalidate && request.write.is_some() {
                        map.reach(&memory, Ask::Invalidate)
                    } else {
                        Ok(())
                    }
                })
            }
            // Closed meanwhile.
            None => Err(not_mapped(format!("{} bytes at {:#x} are not mapped", memory.len(), memory.start))),
        },
    };
    (result, false)
}

/// The file went back to the kernel meanwhile, and what lies there of it is the kernel's now.
fn sync_given_back(memory: &Range<usize>, file: &AtomicFile, request: Request, flags: c_int) -> Result<()> {
    let is_its =
        |place: &Option<Place>| matches!(place, Some(Place::Kernel(kernel, _)) if kernel.is(file.identity));
    let parts: Vec<_> = table::parts(memory).into_iter().filter(|(_, place)| is_its(place)).collect();
    if parts.is_empty() {
        return address::msync(memory, flags).map_err(|error| of_kernel(error, memory));
    }
    let mut first = Ok(());
    for part in parts {
        first = first.and(sync_part(part, request, flags).0);
    }
    first
}

/// A parent's mappings: the kernel's are shared, and the kernel syncs them; the others are copies that nobody commits.
fn not_a_parents(memory: &Range<usize>) -> Result<()> {
    if !table::was_atomic(memory) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Forked,
        OPERATION,
        "the mapping commits for the parent of this process; what is stored here reaches no file",
    )
    .advice("sync in the parent, or map the file in the child"))
}

fn of_kernel(error: io::Error, memory: &Range<usize>) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => {
            let mapped = maps::mappings(memory).unwrap_or_default();
            let mut at = memory.start;
            for span in mapped {
                if span.start > at {
                    break;
                }
                at = at.max(span.end);
            }
            not_mapped(format!("nothing is mapped at {at:#x}; every part that is mapped was synced"))
        }
        Some(libc::EBUSY) => Error::new(ErrorKind::Busy, OPERATION, "pages are locked in memory")
            .source_io(error)
            .advice("unlock them (munlock), or leave MS_INVALIDATE out"),
        _ => os_error(OPERATION, error),
    }
}

fn not_mapped(reason: String) -> Error {
    Error::new(ErrorKind::OutOfRange, OPERATION, reason)
        .source_io(io::Error::from_raw_os_error(libc::ENOMEM))
        .advice("give a range that is mapped")
}
