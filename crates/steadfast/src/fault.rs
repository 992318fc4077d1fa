//! SIGBUS becomes an error.
//!
//! A page of a mapped file can be gone when it is touched: another program cut the file, the device or the network mount
//! cannot read it, a hole gets no block because the disk is full, the memory itself is damaged. The kernel then sends
//! SIGBUS to the thread that touched it, which ends the process. Every map of this library is *guarded* instead:
//!
//! 1. The handler looks whether the address lies in a guarded map. If not, the fault goes to whoever handled SIGBUS before.
//! 2. It notes which bytes are damaged, and why, and puts anonymous memory in their place: one page, or, past the end of
//!    the file, all that lies there at once (a page a fault would run into the limit `vm.max_map_count`).
//! 3. The access goes on and finds zeros. Whoever it was asks before the bytes are believed: `read_at`, `write_at`,
//!    `typed`, `sync` and `commit` return an error that names the file and the bytes; who holds a slice asks
//!    [`Mapping::check`](crate::Mapping::check) or [`AtomicMapping::check`](crate::AtomicMapping::check).
//! 4. `refresh` puts the file's own pages back.
//!
//! Nothing in the handler takes a lock or allocates; it makes the calls `fstat`, `mmap` and `madvise`. It is put in place
//! with the first map. A program that owns its signals says [`decline`], or builds without the feature `guard`, or opens
//! single maps with `guard(false)`; from a handler of its own it can call [`answer`].
//!
//! The same for SIGXFSZ, which the kernel sends besides the error when a write goes beyond the limit on file sizes (`ulimit
//! -f`): where nobody else handles it, it is ignored in a thread that is in a write of this library.
//!
//! What the guard cannot do:
//!
//! - A thread that blocks SIGBUS is ended by the kernel, whatever is installed (signal(7)).
//! - A handler that a program installs *later*, and that does not call the one that was there before, gets the faults of
//!   maps that are open by then. [`install`] puts the guard in front again, as does every open of a map; the program's
//!   handler is still called for all faults that are not ours.
//! - A process whose own mappings have used up the limit `vm.max_map_count` has no room for the zeros, and ends.
//! - A mount that answers nothing at all, not even errors, lets the access wait, and so the handler, as it would any program.

#[cfg(not(feature = "guard"))]
mod absent;
#[cfg(feature = "guard")]
mod cover;
#[cfg(feature = "guard")]
mod damage;
#[cfg(feature = "guard")]
mod file_size;
#[cfg(feature = "guard")]
mod guard;
#[cfg(feature = "guard")]
mod handler;
pub(crate) mod probe;
#[cfg(feature = "guard")]
mod table;

use std::ops::Range;

#[cfg(not(feature = "guard"))]
use absent as place;
#[cfg(feature = "guard")]
use handler as place;

#[cfg(not(feature = "guard"))]
pub(crate) use absent::{Guard, writing};
#[cfg(feature = "guard")]
pub(crate) use file_size::writing;
#[cfg(feature = "guard")]
pub(crate) use guard::Guard;

/// Why bytes are damaged, as far as the handler could tell.
#[cfg_attr(not(feature = "guard"), expect(dead_code))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// They lay past the end of the file.
    Truncated,
    /// The file is long enough, and the kernel has no page for them all the same.
    Unreadable,
    /// The memory that held them is damaged (`BUS_MCEERR_AR`).
    Poisoned,
}

impl Cause {
    /// In words, for an error.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Cause::Truncated => {
                "these bytes were lost when another program truncated the file; they read as zeros"
            }
            Cause::Unreadable => {
                "the kernel had no page for these bytes, which read as zeros: the device cannot read them, or a hole got no block \
                 because the disk is full"
            }
            Cause::Poisoned => {
                "the memory that held these bytes is damaged (a hardware error); they read as zeros"
            }
        }
    }

    /// What it is to a program.
    pub(crate) fn kind(self) -> crate::ErrorKind {
        match self {
            Cause::Truncated => crate::ErrorKind::Truncated,
            Cause::Unreadable | Cause::Poisoned => crate::ErrorKind::Io,
        }
    }
}

/// Bytes of a region whose pages were replaced by zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damaged {
    pub(crate) bytes: Range<usize>,
    pub(crate) cause: Cause,
}

/// Puts the handler in place, in front of whatever handles SIGBUS now. Every open of a guarded map does so by itself.
///
/// To be called after another library or the program has installed a handler of its own while maps were open. Where the
/// guard is in front already nothing happens. Has no effect after [`decline`] or without the feature `guard`.
///
/// What was there before is called for every fault that is not in a guarded map, under the signal mask that it asked for
/// (sigaction(2)).
///
/// ```
/// steadfast::fault::install();
/// assert!(steadfast::fault::is_installed());
/// ```
pub fn install() {
    place::install();
}

/// Does the guard get SIGBUS first? See [`install`] for an example.
#[must_use]
pub fn is_installed() -> bool {
    place::is_installed()
}

/// No handler is installed from now on: the program owns its signals.
///
/// Maps are watched all the same, so a handler of the program's own can hand faults to [`answer`]. One that is in place
/// stays in place.
///
/// ```standalone_crate
/// steadfast::fault::decline();
/// steadfast::fault::install();
/// assert!(!steadfast::fault::is_installed());
/// ```
pub fn decline() {
    place::decline();
}

/// Answers a fault, for programs with a SIGBUS handler of their own: `true` if `address` (`si_addr`) lay in a guarded map
/// and memory is there now, so that the handler may return. `code` is `si_code`. Async-signal-safe.
///
/// # Safety
///
/// To be called from a SIGBUS handler, with what the kernel told it: the page at `address` is replaced by zeros.
///
/// ```
/// // SAFETY: no map of this library lies at address 0.
/// assert!(!unsafe { steadfast::fault::answer(0, 2) });
/// ```
#[must_use]
#[allow(unsafe_code)]
pub unsafe fn answer(address: usize, code: i32) -> bool {
    // SAFETY: passed on to our caller.
    unsafe { place::answer(address, code) }
}
