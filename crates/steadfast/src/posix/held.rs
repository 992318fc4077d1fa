//! Maps that a program has a handle of, and that are reached by address as well.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use super::table::{self, Place};
use crate::atomic::AtomicMapping;
use crate::error::{Error, ErrorKind, Result};
use crate::mapping::Mapping;
use crate::sys::page_size;

mod memory {
    use std::ops::Range;

    use crate::error::Result;

    /// What can be held.
    pub trait Memory: std::fmt::Debug + Send + Sync + Sized + 'static {
        fn close(self) -> Result<()>;
        /// Where its bytes lie.
        fn addresses(&self) -> Range<usize>;
        fn sync(&mut self, bytes: Range<usize>) -> Result<()>;
        fn start_sync(&mut self, bytes: Range<usize>) -> Result<()>;
        fn invalidate(&mut self, bytes: Range<usize>) -> Result<()>;
    }
}
use memory::Memory;

impl Memory for Mapping {
    fn close(self) -> Result<()> {
        Mapping::close(self)
    }

    fn addresses(&self) -> Range<usize> {
        let start = self.as_ptr() as usize;
        start..start + self.len()
    }

    fn sync(&mut self, bytes: Range<usize>) -> Result<()> {
        Mapping::sync(self, bytes)
    }

    fn start_sync(&mut self, bytes: Range<usize>) -> Result<()> {
        // The mapping remembers what goes wrong, and a later sync waits.
        Mapping::start_sync(self, bytes).map(drop)
    }

    fn invalidate(&mut self, bytes: Range<usize>) -> Result<()> {
        Mapping::invalidate(self, bytes)
    }
}

impl Memory for AtomicMapping {
    fn close(self) -> Result<()> {
        AtomicMapping::close(self)
    }

    fn addresses(&self) -> Range<usize> {
        let start = self.as_ptr() as usize;
        start..start + self.len()
    }

    fn sync(&mut self, bytes: Range<usize>) -> Result<()> {
        self.commit_range(bytes).map(drop)
    }

    fn start_sync(&mut self, bytes: Range<usize>) -> Result<()> {
        // A later commit becomes durable after it, and is refused where it failed.
        self.commit_range_async(bytes).map(drop)
    }

    fn invalidate(&mut self, _bytes: Range<usize>) -> Result<()> {
        // Memory and the last commit agree.
        Ok(())
    }
}

/// What a call by address asks of a held map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Sync,
    StartSync,
    Invalidate,
}

/// A held map as the calls by address see it.
pub(super) trait Reached: fmt::Debug + Send + Sync {
    /// Does it to the bytes that lie at these addresses.
    fn reach(&self, memory: &Range<usize>, ask: Ask) -> Result<()>;
}

/// The map, and where the table says that it lies: forgotten before the memory goes, which somebody else may get then.
#[derive(Debug)]
struct Shared<M: Memory> {
    known: Mutex<Known>,
    map: RwLock<M>,
}

/// What the table knows. Forgotten when dropped.
#[derive(Debug, Default)]
struct Known(Range<usize>);

impl Drop for Known {
    fn drop(&mut self) {
        table::forget_held(&self.0);
    }
}

impl<M: Memory> Reached for Shared<M> {
    fn reach(&self, memory: &Range<usize>, ask: Ask) -> Result<()> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let lies = map.addresses();
        let at = |address: usize| address.clamp(lies.start, lies.end) - lies.start;
        let bytes = at(memory.start)..at(memory.end);
        match ask {
            Ask::Sync => map.sync(bytes),
            Ask::StartSync => map.start_sync(bytes),
            Ask::Invalidate => map.invalidate(bytes),
        }
    }
}

impl<M: Memory> Shared<M> {
    /// Tells the table where the map lies by now.
    fn tell(self: &Arc<Self>, map: &M) {
        let page = page_size();
        let lies = map.addresses();
        let pages = lies.start / page * page..lies.end.next_multiple_of(page);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 == pages {
            return;
        }
        *known = Known::default();
        if !pages.is_empty() {
            let weak: Weak<Shared<M>> = Arc::downgrade(self);
            table::insert(pages.clone(), Place::Held(weak));
        }
        known.0 = pages;
    }
}

/// A [`Mapping`] or an [`AtomicMapping`] whose memory [`msync`](super::msync) and the other calls know. A clone is the same map.
///
/// Dropping the last one drops the map. `munmap` and `mremap` of its memory are refused: it is the handle's to close and to resize.
///
/// ```
/// use steadfast::{Mapping, posix};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a");
/// let map = posix::hold(Mapping::options().write(true).create(true).len(100).open(&path)?);
/// map.read().write_at(0, b"hello")?;
/// let address = map.read().as_ptr().cast();
/// posix::msync(address, 100, libc::MS_SYNC, posix::Rules::Posix)?;
/// map.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Held<M: Memory>(Arc<Shared<M>>);

impl<M: Memory> Clone for Held<M> {
    fn clone(&self) -> Self {
        Held(Arc::clone(&self.0))
    }
}

impl<M: Memory> fmt::Debug for Held<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// Puts a map where the calls by address find it.
///
/// See [`Held`] for an example.
pub fn hold<M: Memory>(map: M) -> Held<M> {
    let held = Held(Arc::new(Shared { known: Mutex::default(), map: RwLock::new(map) }));
    held.0.tell(&held.read());
    held
}

impl<M: Memory> Held<M> {
    /// The map, for calls that take `&self`: as many at a time as wanted. A call by address to the same memory waits until it is
    /// dropped.
    ///
    /// See [`Held`] for an example.
    #[must_use]
    pub fn read(&self) -> HeldRef<'_, M> {
        // A panic in a call of the map leaves it as usable as it would be without the lock.
        HeldRef(self.0.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The map, for calls that take `&mut self`: one at a time. If it moves or changes its length, the calls by address know once
    /// this is dropped.
    ///
    /// See [`Held`] for an example.
    #[must_use]
    pub fn write(&self) -> HeldMut<'_, M> {
        HeldMut { map: self.0.map.write().unwrap_or_else(PoisonError::into_inner), shared: &self.0 }
    }

    /// Closes the map, and reports what a drop can only log.
    ///
    /// # Errors
    ///
    /// Those of [`Mapping::close`] or [`AtomicMapping::close`]. [`Busy`](ErrorKind::Busy) where there are other clones, or where a
    /// call by address is at work in another thread: then the map stays, with them.
    ///
    /// See [`Held`] for an example.
    pub fn close(self) -> Result<()> {
        match Arc::into_inner(self.0) {
            Some(Shared { known, map }) => {
                drop(known);
                map.into_inner().unwrap_or_else(PoisonError::into_inner).close()
            }
            None => {
                Err(Error::new(ErrorKind::Busy, "close", "others hold this map too")
                    .advice("drop them first"))
            }
        }
    }
}

/// A map that is [held](Held::read).
#[derive(Debug)]
pub struct HeldRef<'held, M: Memory>(RwLockReadGuard<'held, M>);

/// A map that is [held](Held::write) by nobody else.
#[derive(Debug)]
pub struct HeldMut<'held, M: Memory> {
    map: RwLockWriteGuard<'held, M>,
    shared: &'held Arc<Shared<M>>,
}

impl<M: Memory> Deref for HeldRef<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

impl<M: Memory> Deref for HeldMut<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.map
    }
}

impl<M: Memory> DerefMut for HeldMut<'_, M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.map
    }
}

impl<M: Memory> Drop for HeldMut<'_, M> {
    fn drop(&mut self) {
        self.shared.tell(&self.map);
    }
}
