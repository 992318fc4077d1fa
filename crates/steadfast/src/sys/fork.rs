//! Whether this process is a forked child of the one that opened its maps.
//!
//! # Safety
//!
//! This file is trusted with one page of anonymous memory: it is mapped once, never unmapped, and only ever read
//! and written as an atomic word.
//!
//! The page carries `MADV_WIPEONFORK`: the kernel hands a child a page of zeros in its place (madvise(2)), so a child
//! knows itself without a system call, without a lock, and before it touches any mutex that the fork may have
//! left locked.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

struct Page {
    alive: Option<&'static AtomicU64>,
}

static PAGE: OnceLock<Page> = OnceLock::new();
/// Each time a process finds itself to be a child, it gets a new generation; maps remember theirs.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The process that a handle was opened in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Birth {
    generation: u64,
    // Where the page could not be had (kernels before 4.14), the process id must do.
    pid: Option<i32>,
}

impl Birth {
    /// Remembers this process.
    pub(crate) fn here() -> Birth {
        let page = PAGE.get_or_init(map_page);
        let pid = page.alive.is_none().then(|| rustix::process::getpid().as_raw_nonzero().get());
        Birth { generation: generation(page), pid }
    }

    /// The process as one number.
    pub(crate) fn token(self) -> u64 {
        self.pid.map_or(self.generation, |pid| pid as u64)
    }

    /// Was the token made in another process than this one? Async-signal-safe.
    pub(crate) fn is_another(token: u64) -> bool {
        match PAGE.get() {
            None => false,
            Some(Page { alive: None }) => rustix::process::getpid().as_raw_nonzero().get() as u64 != token,
            Some(page) => generation(page) != token,
        }
    }

    /// `true` in any process that was forked after [`here`](Birth::here).
    pub(crate) fn is_elsewhere(self) -> bool {
        let Some(page) = PAGE.get() else { return false };
        match self.pid {
            Some(pid) => rustix::process::getpid().as_raw_nonzero().get() != pid,
            None => generation(page) != self.generation,
        }
    }
}

/// The number of this process among those that the page has seen. The page itself holds it, so that finding out and
/// remembering are one atomic step.
fn generation(page: &Page) -> u64 {
    let Some(alive) = page.alive else { return 0 };
    let known = alive.load(Ordering::Acquire);
    if known != 0 {
        return known;
    }
    // The first look ever, or the first after a fork: this process is a new one.
    let new = GENERATION.fetch_add(1, Ordering::AcqRel) + 1;
    match alive.compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => new,
        Err(other_thread) => other_thread,
    }
}

fn map_page() -> Page {
    let len = super::page_size();
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
    let mapped = unsafe {
        mm::mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    let Ok(address) = mapped else { return Page { alive: None } };
    // SAFETY: the page was mapped just now, is ours alone and is zero; wiping it in a child keeps it zero.
    if unsafe { mm::madvise(address, len, Advice::LinuxWipeOnFork) }.is_err() {
        return Page { alive: None };
    }
    // SAFETY: the page is mapped readable and writable for ever, aligned, zeroed, and only used through this atomic.
    let alive = unsafe { AtomicU64::from_ptr(address.cast()) };
    Page { alive: Some(alive) }
}
