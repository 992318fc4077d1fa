//! The namespace: which name leads to which file, and which of that is durable.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::calls::CallKind;
use super::super::faults::{SyncFate, errno};
use super::super::operation::{Change, Edit, Image, NameChange, Operation, short};
use super::{Inode, Names, State};
use crate::disk::SyncPoint;

impl State {
    pub(in crate::disk::sim) fn lookup(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| errno(libc::ENOENT))
    }

    /// Makes a new, empty file.
    pub(in crate::disk::sim) fn create(&mut self, path: &Path, mode: u32) -> io::Result<u64> {
        self.begin(|_| format!("create {}", short(path)))?;
        self.faults.calls.take(CallKind::Name)?;
        let inode = self.add_inode(mode);
        self.change_names(NameChange::Create { name: path.into(), inode });
        Ok(inode)
    }

    pub(in crate::disk::sim) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin(|_| format!("rename {} to {}", short(from), short(to)))?;
        self.faults.calls.take(CallKind::Name)?;
        let inode = self.lookup(from)?;
        if from != to {
            self.change_names(NameChange::Rename { from: from.into(), to: to.into(), inode });
            self.touch(inode);
        }
        Ok(())
    }

    pub(in crate::disk::sim) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.begin(|_| format!("remove {}", short(path)))?;
        self.faults.calls.take(CallKind::Name)?;
        let inode = self.lookup(path)?;
        self.change_names(NameChange::Remove { name: path.into() });
        self.touch(inode);
        Ok(())
    }

    pub(in crate::disk::sim) fn sync_dir(&mut self, folder: &Path, point: SyncPoint) -> io::Result<()> {
        self.begin(|_| format!("sync_dir {point:?} {}", folder.display()))?;
        match self.faults.next_sync(point) {
            SyncFate::Ignored => return Ok(()),
            SyncFate::Fails(code) => return Err(errno(code)),
            SyncFate::Succeeds => {}
        }
        self.unsynced.retain(|operation| match &operation.change {
            Change::Name(change) if change.folder() == Some(folder) => {
                apply_name(&mut self.durable_names, change);
                false
            }
            _ => true,
        });
        self.forget_unreachable();
        Ok(())
    }

    /// A durable file with this content, as if everything before had been synced.
    pub(in crate::disk::sim) fn put_file(&mut self, path: &Path, bytes: &[u8]) {
        for operation in std::mem::take(&mut self.unsynced) {
            match operation.change {
                Change::Name(change) => apply_name(&mut self.durable_names, &change),
                Change::File { inode, edit } => {
                    Arc::make_mut(&mut self.file_mut(inode).durable).apply(&edit, None);
                }
            }
        }
        let inode = self.lookup(path).unwrap_or_else(|_| self.add_inode(0o644));
        self.names.insert(path.into(), inode);
        self.durable_names.insert(path.into(), inode);
        let whole = Edit::Write { offset: 0, bytes: Arc::new(bytes.to_vec()) };
        self.clock_ns += 1;
        let changed_ns = self.clock_ns;
        let file = self.file_mut(inode);
        let image = Arc::make_mut(&mut file.volatile);
        image.apply(&Edit::SetLen(0), None);
        image.apply(&whole, None);
        (image.changed_ns, image.modified_ns) = (changed_ns, changed_ns);
        file.durable = Arc::clone(&file.volatile);
        self.forget_unreachable();
    }

    /// Durable at once.
    pub(in crate::disk::sim) fn put_mark(&mut self, path: &Path, mark: Option<&[u8]>) -> io::Result<()> {
        let edit = Edit::SetMark(mark.map(Arc::from));
        let file = self.lookup(path).map(|inode| self.file_mut(inode))?;
        Arc::make_mut(&mut file.volatile).apply(&edit, None);
        Arc::make_mut(&mut file.durable).apply(&edit, None);
        Ok(())
    }

    fn add_inode(&mut self, mode: u32) -> u64 {
        self.inode_last += 1;
        self.clock_ns += 1;
        let empty = Arc::new(Image { changed_ns: self.clock_ns, ..Image::default() });
        self.inodes.insert(
            self.inode_last,
            Inode { volatile: Arc::clone(&empty), durable: empty, mode, owner: (0, 0), gone: false },
        );
        self.inode_last
    }

    fn change_names(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.unsynced.push(Operation { change: Change::Name(change), falsely_clean: false });
    }

    /// What to call a file in the trace.
    pub(super) fn name_of(&self, inode: u64) -> String {
        match self.names.iter().find(|(_, named)| **named == inode) {
            Some((name, _)) => short(name).to_string(),
            None => format!("(nameless inode {inode})"),
        }
    }
}

pub(super) fn apply_name(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Create { name, inode } => {
            names.insert(Arc::clone(name), *inode);
        }
        NameChange::Rename { from, to, inode } => {
            names.remove(from);
            names.insert(Arc::clone(to), *inode);
        }
        NameChange::Remove { name } => {
            names.remove(name);
        }
    }
}
