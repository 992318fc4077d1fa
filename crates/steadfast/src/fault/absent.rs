//! No guard: the library was built without it.
//!
//! # Safety
//!
//! This file does nothing at all; one of its functions is `unsafe` because its counterpart is.
#![allow(unsafe_code)]

use std::ops::Range;
use std::os::fd::RawFd;

use super::Damaged;

pub(super) fn install() {}

pub(crate) fn writing<T>(work: impl FnOnce() -> T) -> T {
    work()
}

pub(super) fn is_installed() -> bool {
    false
}

pub(super) fn decline() {}

/// # Safety
///
/// None is needed.
pub(super) unsafe fn answer(_: usize, _: i32) -> bool {
    false
}

/// There is none.
#[derive(Debug)]
pub(crate) enum Guard {}

impl Guard {
    pub(crate) fn over(_: usize, _: usize, _: crate::sys::region::Hidden) -> Option<Guard> {
        None
    }

    pub(crate) fn file_placed(&self, _: &Range<usize>, _: RawFd, _: u64, _: i32) {
        match *self {}
    }

    pub(crate) fn memory_placed(&self, _: &Range<usize>, _: i32) {
        match *self {}
    }

    pub(crate) fn hide(&self, _: crate::sys::region::Hidden) {
        match *self {}
    }

    pub(crate) fn forget(&self, _: &Range<usize>) -> Vec<Damaged> {
        match *self {}
    }

    pub(crate) fn note(&self, _: &[Damaged]) {
        match *self {}
    }

    pub(crate) fn protections(&mut self, _: Option<Vec<(Range<usize>, i32)>>) {
        match *self {}
    }

    pub(crate) fn first_damaged(&self, _: &Range<usize>) -> Option<Damaged> {
        match *self {}
    }

    pub(crate) fn damaged(&self) -> Vec<Damaged> {
        match *self {}
    }

    pub(crate) fn descriptor_gone(&self) {
        match *self {}
    }
}
