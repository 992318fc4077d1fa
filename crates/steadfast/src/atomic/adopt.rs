//! Going on after another program changed the data file, and after pages could not be had.

use super::working::Working;
use super::{AtomicMapping, CommitId};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Gone, Resolution, Store};

const OPERATION: &str = "refresh";

impl AtomicMapping {
    /// Takes the data file as it is now.
    ///
    /// **After another program changed it** ([`ForeignChange`](ErrorKind::ForeignChange), and commits are refused): the
    /// file is opened once more, with what the other program left there, its length included, as the last commit. Commits
    /// that had not reached the plain file yet are made again over it, byte for byte and with the length that the last of
    /// them gave it, as `steadfast recover --adopt` does. What was not committed is lost: keep it from memory first, which
    /// no other program has changed. Commit numbers go on, or begin anew. The memory lies elsewhere then, and pointers into
    /// the old one lead nowhere.
    ///
    /// **Where pages could not be had** and read as zeros ([`check`](AtomicMapping::check)): the last commit's bytes are
    /// put back. Everything else stays as it is, also what is not committed yet; plain stores to damaged pages are lost.
    ///
    /// **A map for reading** ([`read_only`](super::AtomicOptions::read_only)) shows the last commit of its file by now.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput): declared edits or a cut that are not committed lie in damaged pages; only a
    /// [`rollback`](AtomicMapping::rollback) helps. [`Io`](ErrorKind::Io): the file still cannot be read.
    /// [`LimitExceeded`](ErrorKind::LimitExceeded): no memory or addresses. [`Latched`](ErrorKind::Latched): an earlier
    /// failure of another kind. [`ForeignChange`](ErrorKind::ForeignChange): the name means another file now. Those of an
    /// open, if the changed file cannot be opened again: the memory then stays readable, and that is all.
    ///
    /// ```
    /// # use steadfast::{AtomicMapping, ErrorKind};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("a");
    /// # std::fs::write(&path, [0; 8])?;
    /// let mut map = AtomicMapping::options().allow_volatile(true).load(&path)?;
    /// std::fs::write(&path, b"another program's")?;
    /// map[0] = 1;
    /// assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::ForeignChange);
    /// map.refresh()?;
    /// assert_eq!(&map[..], b"another program's");
    /// map[0] = b'A';
    /// map.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refresh(&mut self) -> Result<()> {
        self.check_process(OPERATION)?;
        if self.options.is_read_only() {
            return self.show_last_commit();
        }
        match self.store.check_unchanged() {
            Ok(()) => {
                self.check_for(OPERATION)?;
                self.put_damaged_back(OPERATION)
            }
            Err(_) if self.store.status().changed_by_others => self.adopt(),
            Err(error) => Err(error),
        }
    }

    /// What a reader opens again is the last commit by now.
    fn show_last_commit(&mut self) -> Result<()> {
        let path = self.store.path().to_owned();
        let store = self.options.open_snapshot(&self.disk, &path)?;
        let working = Working::view(
            &*store,
            self.options.reserve_again(),
            self.options.region(),
            self.working.wanted_tracker(),
        )?;
        self.take_over(store, working);
        Ok(())
    }

    /// Opens the file once more. The lock is let go of in between: it belongs to the handle that was latched.
    fn adopt(&mut self) -> Result<()> {
        let path = self.store.path().to_owned();
        let failed = |error| Error::from_io(OPERATION, error).path(&path);
        let named = self.disk.stat(&path).map_err(failed)?;
        if let Some(fd) = self.store.page_cache() {
            let ours = rustix::fs::fstat(fd).map_err(|error| failed(error.into()))?;
            if (ours.st_dev, ours.st_ino) != (named.device, named.inode) {
                let reason = "another file has its name now";
                return Err(Error::new(ErrorKind::ForeignChange, OPERATION, reason)
                    .path(&path)
                    .advice("open the file where it went, or drop this map and open the one that is here"));
            }
        }
        let status = self.store.status();
        // A journal without commits says nothing that the file does not say better, and goes; one that is found all the same is
        // another process's, which opened the file in between.
        let waits = status.last > status.checkpointed;
        let resolution = if waits { Resolution::Adopt } else { Resolution::Replay };
        self.store.leave_to_others()?;
        let is_view = self.working.is_view();
        // Its descriptor goes with the store.
        self.working.forget_descriptor();
        self.store = Box::new(Gone::after(&*self.store));
        let mut store = self.options.open_again(&self.disk, &path, resolution)?;
        let options = self.options.region();
        let (reserve, tracker) = (self.options.reserve_again(), self.working.wanted_tracker());
        let working = if is_view {
            // The growth of an adopted commit may still stand in the journal alone.
            store.checkpoint()?;
            Working::view(&*store, reserve, options, tracker)?
        } else {
            Working::load(&*store, reserve, options, tracker, self.working.is_split())?
        };
        self.take_over(store, working);
        Ok(())
    }

    /// Goes on with what was just opened.
    fn take_over(&mut self, store: Box<dyn Store>, working: Working) {
        // In this order: the memory goes before what it shows.
        let before = std::mem::replace(&mut self.working, working);
        if self.options.keeps_addresses() {
            let mut left = before.into_left();
            left.clear();
            self.left.push(left);
        }
        self.store = store;
        self.len = self.store.committed_len() as usize;
        self.len_min = self.len;
        self.declared.clear();
        self.lent_whole = false;
        self.given_back = CommitId::default();
        self.latched = None;
        if self.lent_raw {
            self.expect_stores();
        }
    }
}
