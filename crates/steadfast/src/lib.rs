//! Memory-mapped files whose promises hold.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "steadfast supports 64-bit Linux only (x86-64 and aarch64): its promises rest on what that kernel does"
);

pub mod disk;
mod error;
mod range;
mod sys;

pub use error::{Error, ErrorKind, Result};
