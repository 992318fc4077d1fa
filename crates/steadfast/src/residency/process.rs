//! Advice about what another process has mapped.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::descriptors::opened;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::process_advise;

const OPERATION: &str = "advise";

/// What can be said about the memory of a process from outside: nothing here changes what it reads. madvise(2), process_madvise(2).
///
/// See [`advise_process`] for an example.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessAdvice {
    /// The first to go when memory is short.
    Cold,
    /// Goes now: dirty pages are written back first.
    PageOut,
    /// Is read in, in the background.
    WillNeed,
    /// Becomes huge pages, as far as possible.
    Collapse,
}

/// Gives advice about ranges of another process's memory, and says how many bytes it reached.
///
/// # Errors
///
/// - [`NotFound`](ErrorKind::NotFound): there is no such process.
/// - [`PermissionDenied`](ErrorKind::PermissionDenied): it is somebody else's, or CAP_SYS_NICE is lacking.
/// - Those of process_madvise(2).
///
/// ```no_run
/// use steadfast::residency::{ProcessAdvice, advise_process};
///
/// # let (pid, start) = (1, 0x7f00_0000_0000);
/// let reached = advise_process(pid, &[start..start + (1 << 20)], ProcessAdvice::Cold)?;
/// println!("{reached} bytes are the first to go");
/// # Ok::<(), steadfast::Error>(())
/// ```
pub fn advise_process(pid: u32, memory: &[Range<usize>], advice: ProcessAdvice) -> Result<u64> {
    let failed = |error: io::Error| {
        let is_forbidden = error.raw_os_error() == Some(libc::EPERM);
        let error = Error::from_io(OPERATION, error);
        if is_forbidden { error.advice("be its owner, and have CAP_SYS_NICE") } else { error }
    };
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(number) = number else {
        return Err(Error::new(ErrorKind::InvalidInput, OPERATION, format!("{pid} is no process number")));
    };
    let process = pidfd_open(number, PidfdFlags::empty()).map(opened).map_err(|error| match error {
        rustix::io::Errno::SRCH => {
            Error::new(ErrorKind::NotFound, OPERATION, format!("there is no process {pid}"))
                .source_io(error.into())
        }
        error => failed(error.into()),
    })?;
    let advice = match advice {
        ProcessAdvice::Cold => libc::MADV_COLD,
        ProcessAdvice::PageOut => libc::MADV_PAGEOUT,
        ProcessAdvice::WillNeed => libc::MADV_WILLNEED,
        ProcessAdvice::Collapse => libc::MADV_COLLAPSE,
    };
    process_advise::advise(process.as_fd(), memory, advice).map_err(failed)
}
