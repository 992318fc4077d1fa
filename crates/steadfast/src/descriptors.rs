//! The descriptors that this library opens for itself, told to whoever wants to keep them open.
//!
//! A program that closes every descriptor it does not know, as daemons do when they start, closes the library's too. Who stands
//! between a program and its C library can keep that from happening, if it knows which they are; nobody can tell by looking. So each
//! one passes through `opened` here when it is made. All of them are closed by `close` of the C library, when they are dropped.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

static WATCHER: OnceLock<fn(BorrowedFd<'_>)> = OnceLock::new();

/// Has `tell` called with each descriptor that the library opens from now on, by the thread that opened it. `false` if somebody
/// watches already, who goes on.
///
/// `tell` must not call this library.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// static OPENED: AtomicUsize = AtomicUsize::new(0);
/// assert!(steadfast::descriptors::watch(|_| drop(OPENED.fetch_add(1, Ordering::Relaxed))));
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a");
/// let map = steadfast::Mapping::options().write(true).create(true).len(100).open(&path)?;
/// assert!(OPENED.load(Ordering::Relaxed) > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn watch(tell: fn(BorrowedFd<'_>)) -> bool {
    WATCHER.set(tell).is_ok()
}

/// To be called with every descriptor that is made and kept, by whatever means, before anything else is done with it.
pub(crate) fn opened<F: AsFd>(fd: F) -> F {
    if let Some(tell) = WATCHER.get() {
        tell(fd.as_fd());
    }
    fd
}
