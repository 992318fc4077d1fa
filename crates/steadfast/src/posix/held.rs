//! Maps that a program has a handle of, and that are reached by address as well.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::atomic::AtomicMapping;
use crate::error::{Error, ErrorKind, Result};
use crate::mapping::Mapping;

mod memory {
    use crate::error::Result;

    /// What can be held.
    pub trait Memory: std::fmt::Debug + Send + Sync + Sized + 'static {
        fn close(self) -> Result<()>;
    }
}
use memory::Memory;

impl Memory for Mapping {
    fn close(self) -> Result<()> {
        Mapping::close(self)
    }
}

impl Memory for AtomicMapping {
    fn close(self) -> Result<()> {
        AtomicMapping::close(self)
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
/// map.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Held<M: Memory>(Arc<RwLock<M>>);

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
    Held(Arc::new(RwLock::new(map)))
}

impl<M: Memory> Held<M> {
    /// The map, for calls that take `&self`: as many at a time as wanted.
    ///
    /// See [`Held`] for an example.
    #[must_use]
    pub fn read(&self) -> HeldRef<'_, M> {
        // A panic in a call of the map leaves it as usable as it would be without the lock.
        HeldRef(self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The map, for calls that take `&mut self`: one at a time. If it moves or changes its length, the calls by address know once
    /// this is dropped.
    ///
    /// See [`Held`] for an example.
    #[must_use]
    pub fn write(&self) -> HeldMut<'_, M> {
        HeldMut(self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the map, and reports what a drop can only log.
    ///
    /// # Errors
    ///
    /// Those of [`Mapping::close`] or [`AtomicMapping::close`]. [`Busy`](ErrorKind::Busy) where there are other clones: then they
    /// keep the map.
    ///
    /// See [`Held`] for an example.
    pub fn close(self) -> Result<()> {
        match Arc::into_inner(self.0) {
            Some(map) => map.into_inner().unwrap_or_else(PoisonError::into_inner).close(),
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
pub struct HeldMut<'held, M: Memory>(RwLockWriteGuard<'held, M>);

impl<M: Memory> Deref for HeldRef<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

impl<M: Memory> Deref for HeldMut<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

impl<M: Memory> DerefMut for HeldMut<'_, M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.0
    }
}
