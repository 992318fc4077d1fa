//! What this process has mapped. A forked child begins with nothing of its own, and remembers what its parent had.
//!
//! # Safety
//!
//! This file is trusted with one pointer to what is never freed. A child cannot take its parent's locks over: a thread that held one may
//! be gone. So it gets a new table, and looks at the old one only where no lock is held.
#![allow(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};

use super::atomic::{AtomicFile, Identity};
use super::kernel::{self, KernelFile};
use super::table::Spans;
use crate::sys::fork::Birth;

/// Everything that the calls by address know.
pub(super) struct Process {
    birth: Birth,
    pub(super) parent: Option<&'static Process>,
    pub(super) spans: RwLock<Spans>,
    pub(super) span_count: AtomicUsize,
    pub(super) images: Mutex<HashMap<Identity, Arc<AtomicFile>>>,
    pub(super) image_count: AtomicUsize,
    /// Files that went back to the kernel, of which it was said.
    pub(super) given_back: Mutex<HashSet<Identity>>,
    pub(super) kernel_files: Mutex<HashMap<kernel::Key, Weak<KernelFile>>>,
    /// Held by whoever changes what lies where.
    pub(super) changes: Mutex<()>,
}

static CURRENT: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());

/// Who set it last: this process, or the one that it was forked from.
fn last() -> Option<&'static Process> {
    // SAFETY: null, or leaked below, and only shared since.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

/// This process, if it has mapped anything yet. Allocates nothing.
pub(super) fn known() -> Option<&'static Process> {
    last().filter(|process| !process.birth.is_elsewhere())
}

/// This process.
pub(super) fn here() -> &'static Process {
    let parent = last();
    if let Some(process) = parent.filter(|process| !process.birth.is_elsewhere()) {
        return process;
    }
    let known = parent.map_or(ptr::null_mut(), |parent| ptr::from_ref(parent).cast_mut());
    let new: &'static Process = Box::leak(Box::new(Process {
        birth: Birth::here(),
        parent,
        spans: RwLock::default(),
        span_count: AtomicUsize::new(0),
        images: Mutex::default(),
        image_count: AtomicUsize::new(0),
        given_back: Mutex::default(),
        kernel_files: Mutex::default(),
        changes: Mutex::default(),
    }));
    match CURRENT.compare_exchange(known, ptr::from_ref(new).cast_mut(), Ordering::AcqRel, Ordering::Acquire)
    {
        Ok(_) => new,
        // Another thread was first.
        Err(_) => here(),
    }
}
