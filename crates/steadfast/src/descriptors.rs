//! The descriptors that this library opens for itself, told to whoever wants to keep them open and out of the way.
//!
//! A program that closes every descriptor it does not know, as daemons do when they start, closes the library's too; and one that has
//! closed its standard output would print into the file that was opened next. Who stands between a program and its C library can keep
//! both from happening, if it knows which they are; nobody can tell by looking. So each one passes through `opened` here when it is made.
//! All of them are closed by `close` of the C library, when they are dropped.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

static WATCHER: OnceLock<fn(OwnedFd) -> OwnedFd> = OnceLock::new();

/// Has each descriptor that the library opens from now on go through `tell`, by the thread that opened it. What that returns is used
/// instead: the same one, or a duplicate with a number of its choice. `false` if somebody watches already, who goes on.
///
/// `tell` must not call this library.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// static OPENED: AtomicUsize = AtomicUsize::new(0);
/// assert!(steadfast::descriptors::watch(|fd| {
///     OPENED.fetch_add(1, Ordering::Relaxed);
///     fd
/// }));
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a");
/// let map = steadfast::Mapping::options().write(true).create(true).len(100).open(&path)?;
/// assert!(OPENED.load(Ordering::Relaxed) > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn watch(tell: fn(OwnedFd) -> OwnedFd) -> bool {
    WATCHER.set(tell).is_ok()
}

/// To be called with every descriptor that is made, by whatever means, before anything else is done with it.
pub(crate) fn opened<F: From<OwnedFd> + Into<OwnedFd>>(fd: F) -> F {
    match WATCHER.get() {
        Some(tell) => tell(fd.into()).into(),
        None => fd,
    }
}
