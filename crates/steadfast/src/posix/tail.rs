//! What a window has behind the last page of its file: an access there is SIGBUS (mmap(3p)), as in the kernel's own mapping of a file.
//!
//! The image has reserved addresses there, and an access to those is SIGSEGV. So an empty file is mapped over them. Whatever the image
//! places there later takes its place: when it grows, is cut, is given back to the kernel or goes.
//!
//! # Safety
//!
//! This file is trusted to replace what lies behind the pages of an image, where the program has a window and nothing is the image's
//! but the addresses.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use super::atomic::Image;
use crate::sys::{address, memfd};

/// To be called where a window is new or longer, and where pages were cut off. Where it fails an access is SIGSEGV still.
pub(super) fn lay(image: &mut Image<'_>) {
    if let Err(error) = lay_behind(image) {
        log::debug!("an access past the end of the file is SIGSEGV: {error}");
    }
}

fn lay_behind(image: &mut Image<'_>) -> io::Result<()> {
    let tails = image.tails().map_err(io::Error::other)?;
    if tails.is_empty() {
        return Ok(());
    }
    // Each mapping keeps it open.
    let empty = memfd::create("steadfast-end")?;
    for Range { start, end } in tails {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
        // SAFETY: within a window and behind the image's pages, where the image has the addresses reserved and nothing else.
        unsafe { address::mmap(start, end - start, prot, flags, empty.as_raw_fd(), 0)? };
    }
    Ok(())
}
