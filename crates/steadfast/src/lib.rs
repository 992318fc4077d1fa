//! Memory-mapped files whose promises hold.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "steadfast supports 64-bit Linux only (x86-64 and aarch64): its promises rest on what that kernel does"
);

mod atomic;
mod batch;
pub mod disk;
mod error;
mod holder;
mod journal;
mod mapping;
mod range;
pub mod store;
mod sys;

pub use atomic::{AtomicMapping, AtomicOptions};
pub use error::{Error, ErrorKind, Result};
pub use holder::Holder;
pub use mapping::{
    Advice, Atomic, FileAdvice, Mapping, MappingOptions, PageState, Protection, Residency, ResidencySpan,
    SyncTicket, UncheckedAdvice,
};
pub use store::{CommitId, JournalReport, RecordReport, Recovery, Resolution, Status, inspect, recover};
