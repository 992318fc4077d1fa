//! Memory-mapped files whose promises hold.
//!
//! - [`Mapping`] is one kernel mapping of one file, with every promise of `mmap`, `msync`, `mprotect` and `madvise` kept: `sync` is
//!   durable with size and directory entry, `start_sync` really starts, `invalidate` really drops, errors are remembered until
//!   the data is safe, and checked access turns a foreign truncation into an error.
//! - [`AtomicMapping`] is memory that commits: private until [`commit`](AtomicMapping::commit), durable and all-or-nothing after it,
//!   through any crash. The data file stays a plain file; a journal stands beside it while it is open.
//! - [`store`] and [`disk`] are the two seams: what a commit means, and what can go wrong under it.
//!
//! ```
//! use steadfast::AtomicMapping;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("state.bin");
//! let mut map = AtomicMapping::options().create(true).len(1 << 20).allow_volatile(true).load(&path)?;
//! map[0..8].copy_from_slice(&7u64.to_le_bytes());
//! map.commit()?;
//! map.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! (`allow_volatile` is here because examples may run on tmpfs, where nothing is durable; leave it out for data that matters.)

#![warn(clippy::unwrap_used)]
// `!holds!("…", a == b)`: what must hold is named and written as it must hold, and then denied.
#![allow(clippy::nonminimal_bool)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "steadfast supports 64-bit Linux only (x86-64 and aarch64): its promises rest on what that kernel does"
);

mod atomic;
mod batch;
pub mod descriptors;
pub mod disk;
mod error;
pub mod fault;
mod holder;
mod journal;
mod kept;
#[cfg(feature = "knockout")]
pub mod knockout;
#[cfg(not(feature = "knockout"))]
mod knockout;
mod left;
mod mapping;
mod names;
pub mod posix;
mod range;
pub mod residency;
pub mod store;
mod sync;
mod sys;

pub use atomic::{AtomicMapping, AtomicOptions, Tracker};
pub use error::{Error, ErrorKind, Result};
pub use holder::Holder;
pub use left::LeftMemory;
pub use mapping::{
    Advice, Atomic, FileAdvice, Mapping, MappingOptions, Protection, Residency, ResidencySpan, SyncTicket,
    UncheckedAdvice,
};
pub use residency::PageState;
pub use store::{
    CommitId, CommitTicket, JournalReport, RecordReport, Recovery, Resolution, Status, inspect, recover,
};

/// The README's example is run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
