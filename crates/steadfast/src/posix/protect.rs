//! mprotect and madvise.
//!
//! # Safety
//!
//! This file is trusted to change the access to memory, and to advise the kernel, where the program asks for it.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::ops::Range;

use super::map::changing;
use super::os_error;
use super::sync::pages;
use super::table::{self, Place, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{address, page_size};

/// The access to a window, as far as the image goes: what is behind its end is reserved, and no memory.
pub(super) fn set(memory: &Range<usize>, prot: c_int, end: usize) -> Result<()> {
    let memory = memory.start..memory.end.min(end);
    if memory.is_empty() {
        return Ok(());
    }
    // SAFETY: the program itself asks for this access.
    unsafe { address::mprotect(&memory, prot) }.map_err(|error| os_error("mprotect", error))
}

/// # Safety
///
/// As [`super::mprotect`].
pub(super) unsafe fn mprotect(at: usize, len: usize, prot: c_int) -> Result<()> {
    let known = pages(at, len).filter(|memory| at.is_multiple_of(page_size()) && table::knows(memory));
    let Some(memory) = known else {
        // SAFETY: passed on.
        return unsafe { address::mprotect(&(at..at.saturating_add(len)), prot) }
            .map_err(|error| os_error("mprotect", error));
    };
    let _changing = changing();
    for (memory, place) in table::parts(&memory) {
        match place {
            Some(Place::Atomic(window)) => {
                let file = std::sync::Arc::clone(&window.file);
                let Some(mut image) = file.image() else { continue };
                let end = image.base()? + image.len()?.next_multiple_of(page_size());
                set(&memory, prot, end)?;
                drop(table::insert(memory, Place::Atomic(Window { prot, ..window })));
            }
            Some(Place::Held(map)) if map.strong_count() > 0 => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "mprotect",
                    "the memory belongs to a map that the program has a handle of",
                )
                .source_io(io::Error::from_raw_os_error(libc::EINVAL))
                .advice("protect it through its handle"));
            }
            // SAFETY: passed on.
            _ => unsafe { address::mprotect(&memory, prot) }.map_err(|error| os_error("mprotect", error))?,
        }
    }
    Ok(())
}

/// # Safety
///
/// As [`super::madvise`].
pub(super) unsafe fn madvise(at: usize, len: usize, advice: c_int) -> Result<()> {
    let failed = |error| os_error("madvise", error);
    let known = pages(at, len).filter(|memory| at.is_multiple_of(page_size()) && table::knows(memory));
    let Some(memory) = known else {
        // SAFETY: passed on.
        return unsafe { address::madvise(&(at..at.saturating_add(len)), advice) }.map_err(failed);
    };
    for (memory, place) in table::parts(&memory) {
        let Some(Place::Atomic(window)) = place else {
            // SAFETY: passed on. Of a shared mapping the file keeps what is stored, whatever the advice.
            unsafe { address::madvise(&memory, advice) }.map_err(failed)?;
            continue;
        };
        let Some(mut image) = window.file.image() else { continue };
        match advice {
            // Of a shared mapping they lose nothing; of a private one they would lose what is stored.
            libc::MADV_DONTNEED | libc::MADV_DONTNEED_LOCKED => {}
            libc::MADV_REMOVE => {
                image.zero(window.offset..window.offset + memory.len() as u64)?;
            }
            // Only for memory without a file (madvise(2)).
            libc::MADV_FREE | libc::MADV_WIPEONFORK | libc::MADV_KEEPONFORK => {
                return Err(failed(io::Error::from_raw_os_error(libc::EINVAL)));
            }
            _ => {
                let end = image.base()? + image.len()?.next_multiple_of(page_size());
                let memory = memory.start..memory.end.min(end);
                if !memory.is_empty() {
                    // SAFETY: advice that changes no byte.
                    unsafe { address::madvise(&memory, advice) }.map_err(failed)?;
                }
            }
        }
    }
    Ok(())
}
