//! `close` and its kin: they leave this library's descriptors alone.
//!
//! # Safety
//!
//! This file is trusted with the exported names, whose signatures are those of the C library's headers, and with numbers of
//! descriptors, which it hands on.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::ops::RangeInclusive;

use steadfast::posix;

use crate::{inside, owned, real, settings};

exported! { [close] (fd: c_int) -> c_int = {
    closing(fd..=fd);
    if !owned::any() || inside::is_here() {
        // SAFETY: a number, as it came.
        return unsafe { real::close(fd) };
    }
    if owned::is_ours(fd) {
        inside::quietly(|| log::debug!("close: descriptor {fd} belongs to this library and stays open"));
        inside::set_errno(libc::EBADF);
        return -1;
    }
    // SAFETY: as above.
    let closed = unsafe { real::close(fd) };
    settle();
    closed
} }

exported! { [close_range] (first: c_uint, last: c_uint, flags: c_int) -> c_int = {
    let number = |number: c_uint| c_int::try_from(number).unwrap_or(c_int::MAX);
    closing(number(first)..=number(last));
    // With CLOSE_RANGE_CLOEXEC nothing is closed now, and ours are to be closed by exec anyway.
    if inside::is_here() || !owned::any() || flags & libc::CLOSE_RANGE_CLOEXEC as c_int != 0 || first > last {
        // SAFETY: numbers, as they came.
        return unsafe { real::close_range(first, last, flags) };
    }
    let closed = around_ours(first, last, flags);
    settle();
    closed
} }

exported! { [closefrom] (first: c_int) -> () = {
    closing(first..=c_int::MAX);
    if inside::is_here() || !owned::any() {
        // SAFETY: a number, as it came.
        return unsafe { real::closefrom(first) };
    }
    let before = inside::errno();
    if around_ours(first.max(0) as c_uint, c_uint::MAX, 0) != 0 {
        // A kernel before 5.9. What is open is listed first: the list itself is a descriptor.
        inside::quietly(|| {
            for fd in open_descriptors().into_iter().filter(|&fd| fd >= first && !owned::is_ours(fd)) {
                // SAFETY: a number.
                unsafe { real::close(fd) };
            }
        });
    }
    settle();
    inside::set_errno(before);
} }

exported! { [dup2] (from: c_int, to: c_int) -> c_int = {
    if from != to && is_refused(to) {
        return -1;
    }
    if from != to {
        closing(to..=to);
    }
    // SAFETY: numbers, as they came.
    let made = unsafe { real::dup2(from, to) };
    settle();
    made
} }

exported! { [dup3] (from: c_int, to: c_int, flags: c_int) -> c_int = {
    if from != to && is_refused(to) {
        return -1;
    }
    if from != to {
        closing(to..=to);
    }
    // SAFETY: numbers, as they came.
    let made = unsafe { real::dup3(from, to, flags) };
    settle();
    made
} }

/// Another thread may be writing through them to files that a third one is about to map atomically (`plain.rs`).
fn closing(descriptors: RangeInclusive<c_int>) {
    if settings::has_patterns() && !inside::is_here() {
        inside::quietly(|| posix::file::closing(descriptors));
    }
}

/// What waits for the program to close its own may go.
fn settle() {
    if owned::has_late() && !inside::is_here() && owned::any() {
        inside::quietly(owned::settle);
    }
}

/// The range in pieces, with ours between them.
fn around_ours(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    let mut start = first;
    for ours in owned::from(first).take_while(|&fd| fd <= last) {
        if start < ours {
            // SAFETY: numbers.
            let closed = unsafe { real::close_range(start, ours - 1, flags) };
            if closed != 0 {
                return closed;
            }
        }
        start = ours + 1;
    }
    if start > last {
        return 0;
    }
    // SAFETY: numbers.
    unsafe { real::close_range(start, last, flags) }
}

/// Something is to be put over one of ours.
fn is_refused(to: c_int) -> bool {
    if inside::is_here() || !owned::any() || !owned::is_ours(to) {
        return false;
    }
    inside::quietly(|| {
        log::warn!(
            "dup2: descriptor {to} belongs to this library and cannot be replaced; use another number"
        );
    });
    inside::set_errno(libc::EBUSY);
    true
}

fn open_descriptors() -> Vec<c_int> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
