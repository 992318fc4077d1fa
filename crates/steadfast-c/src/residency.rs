//! Which pages of a mapping are in memory.
//!
//! # Safety
//!
//! This file is trusted with names that C finds functions by; what C gives is read and written by [`given`](crate::given).
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uchar};

use steadfast_rs::{ErrorKind, Mapping, PageState, Residency, Result};
use zerocopy::FromBytes;

use crate::failure::done;
use crate::given::{self, Growing};
use crate::mapping::MappingHandle;

/// What a page is, in memory. The lowest bit says what mincore(2) says: it is there.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Not in memory: the next access reads the file.
    Absent = 0,
    /// In memory; clean, unless the kernel does not tell dirty from clean here.
    Resident = 1,
    /// In memory and not yet written to the file.
    Dirty = 3,
    /// On its way to the device.
    WriteBack = 5,
    /// The kernel does not tell.
    Unknown = 8,
}

fn state_number(state: PageState) -> c_uchar {
    let page = match state {
        PageState::Absent => Page::Absent,
        PageState::Resident => Page::Resident,
        PageState::Dirty => Page::Dirty,
        PageState::WriteBack => Page::WriteBack,
        _ => Page::Unknown,
    };
    page as c_uchar
}

/// How many pages of a range are what. -1 where the kernel does not tell. Set `struct_size` to its `sizeof` first.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes)]
pub struct Counts {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Pages that the range touches.
    pub pages: u64,
    /// Pages in memory.
    pub resident: i64,
    /// Pages that are not yet written to the file.
    pub dirty: i64,
    /// Pages on their way to the device.
    pub write_back: i64,
    /// Pages that were in memory and are not any more, as far as the kernel remembers.
    pub evicted: i64,
    /// Of those, the ones whose return would mean that memory is short.
    pub recently_evicted: i64,
}

impl Growing for Counts {
    const BYTES_MIN: usize = 56;
}

impl Counts {
    fn of(residency: &Residency) -> Counts {
        let number = |pages: Option<usize>| pages.and_then(|pages| i64::try_from(pages).ok()).unwrap_or(-1);
        Counts {
            struct_size: size_of::<Counts>(),
            pages: residency.pages() as u64,
            resident: number(residency.resident()),
            dirty: number(residency.dirty()),
            write_back: number(residency.write_back()),
            evicted: number(residency.evicted()),
            recently_evicted: number(residency.recently_evicted()),
        }
    }
}

/// One number a page, in order.
fn spread(map: &Mapping, residency: &Residency, states: &mut [c_uchar]) {
    let page = rustix::param::page_size();
    // A mapping begins anywhere within its first page.
    let lead = map.as_ptr().addr() % page;
    let mut left = states.iter_mut();
    let first = residency.spans().first().map_or(0, |span| (lead + span.range.start) / page);
    let mut at = first;
    for span in residency.spans() {
        let end = (lead + span.range.end).div_ceil(page);
        for state in left.by_ref().take(end.saturating_sub(at)) {
            *state = state_number(span.state);
        }
        at = at.max(end);
    }
}

/// Which pages of the bytes `offset .. offset + len`, rounded outwards, are in memory, dirty, or being written: a look at
/// something that changes all the time.
///
/// `counts` may be NULL. `states` may be NULL if `states_len` is 0; otherwise it gets one enum sf_page for each page that the
/// range touches, as mincore(2) does, and must have room for as many.
///
/// 0; or -1 with ENOMEM for a range that leaves the mapping, and EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_residency(
    map: *const MappingHandle,
    offset: usize,
    len: usize,
    counts: *mut Counts,
    states: *mut c_uchar,
    states_len: usize,
) -> c_int {
    let operation = "residency";
    done(|| {
        // SAFETY: the header's promise for handles.
        let map = unsafe { given::handle(map, operation) }?;
        let range = given::range(offset, len, operation)?;
        // SAFETY: NULL, or `states_len` bytes of the caller's.
        let states = unsafe { given::bytes_mut(states.cast(), states_len, operation) }?;
        let map = map.held.read();
        let residency = map.residency(range)?;
        if !counts.is_null() {
            // SAFETY: as many bytes as the struct says, of the caller's.
            unsafe { given::fill(counts, Some(&Counts::of(&residency)), operation) }?;
        }
        tell(&map, &residency, states, operation)
    })
}

fn tell(map: &Mapping, residency: &Residency, states: &mut [c_uchar], operation: &'static str) -> Result<()> {
    if states.is_empty() {
        return Ok(());
    }
    if states.len() < residency.pages() {
        let reason = format!("{} states do not fit into {} bytes", residency.pages(), states.len());
        return Err(steadfast_rs::Error::new(ErrorKind::InvalidInput, operation, reason)
            .advice("give one byte for each page that the range touches"));
    }
    spread(map, residency, states);
    Ok(())
}
