//! How an image ends: its file is closed, and its memory goes, stays, or becomes the kernel's own mapping.

use std::ops::Range;

use super::{Image, forget};
use crate::atomic::AtomicMapping;
use crate::error::{Error, ErrorKind, Result};
use crate::posix::map;
use crate::posix::name::Name;

impl Image<'_> {
    /// Closes the file while nobody can store to it, with what was stored before the memory was frozen: a plain file is what the kernel
    /// maps then. `becomes`: what comes of its name next.
    pub(in crate::posix) fn close_frozen(&mut self, name: Name, becomes: Name) -> Result<()> {
        self.follow()?;
        let map = self.map()?;
        let mut closed = if name == Name::Kept { map.commit().map(drop) } else { Ok(()) };
        closed = closed.and_then(|()| match becomes {
            Name::Kept => map.close_file(),
            // Its journal may be removed already, and a failed try is gone on with behind the loss.
            _ => map.close_without_name(),
        });
        if closed.is_err() && becomes == Name::Kept && self.is_lost_meanwhile()? {
            closed = self.map()?.close_without_name();
        }
        closed?;
        self.state.is_closed = true;
        Ok(())
    }

    /// Has the file, which was to be closed by its name, none to go by any more? Where it must not be closed without one that is an error.
    fn is_lost_meanwhile(&mut self) -> Result<bool> {
        match self.name() {
            Name::Kept => Ok(false),
            name => map::refuse_to_leave(name, &self.path()?).map(|()| true),
        }
    }

    /// The same for a file that has lost its name, and whose memory nobody uses any more.
    pub(in crate::posix) fn close_without_name(&mut self) -> Result<()> {
        if !self.state.is_closed {
            self.follow()?;
            self.readable(AtomicMapping::close_without_name)?;
            self.state.is_closed = true;
        }
        Ok(())
    }

    /// Commits everything, and closes the file by its name. `Err`, and whether it was committed.
    fn close_by_name(&mut self) -> std::result::Result<(), (Error, bool)> {
        self.follow().and_then(|()| self.commit_all()).map_err(|error| (error, false))?;
        self.map().and_then(AtomicMapping::close_file).map_err(|error| (error, true))
    }

    /// Lets go of the file: everything is committed, and the plain file holds it.
    pub(in crate::posix) fn close(mut self) -> Result<()> {
        let closed = if self.state.is_closed { Ok(()) } else { self.close_by_name() };
        let closed = match closed {
            Err(_) if self.is_lost_meanwhile()? => {
                self.close_without_name()?;
                Ok(())
            }
            Err((error, false)) if error.kind() != ErrorKind::ForeignChange => return Err(error),
            closed => closed.map_err(|(error, _)| error),
        };
        drop(self.state.map.take());
        // Behind it: whoever writes to the file meanwhile waits for it to be plain.
        self.file.forget_gaps();
        forget(self.file.identity);
        closed
    }

    /// Lets go of the file, and not of the memory.
    pub(in crate::posix) fn leave(self) -> Result<()> {
        let name = self.name();
        self.leave_named(name)
    }

    /// With this name a moment ago.
    pub(in crate::posix) fn leave_named(mut self, name: Name) -> Result<()> {
        let by_name = if name == Name::Kept { Some(self.close_by_name()) } else { None };
        let closed = match by_name {
            Some(Ok(())) => Ok(()),
            Some(Err((error, is_committed))) if !self.is_lost_meanwhile()? => {
                if !is_committed {
                    return Err(error);
                }
                Err(error)
            }
            _ => {
                map::refuse_to_leave(self.name(), &self.path()?)?;
                let closed = self.close_without_name();
                if closed.is_err() {
                    // Nobody tries again. What was committed is kept.
                    self.map()?.close_without_name_or_rest()?;
                }
                closed
            }
        };
        let left = match self.state.map.take() {
            Some(map) => map.close_and_leave_memory(),
            None => Ok(()),
        };
        forget(self.file.identity);
        closed.and(left)
    }

    /// Once the file is closed: leaves its windows to the kernel's own mappings of it, which the caller has put there.
    pub(in crate::posix) fn give_up(mut self, windows: &[Range<usize>]) -> Result<()> {
        let base = self.base()?;
        forget(self.file.identity);
        self.file.forget_gaps();
        if let Some(mut map) = self.state.map.take() {
            for window in windows {
                map.give_up(&(window.start - base..window.end - base));
            }
        }
        Ok(())
    }
}
