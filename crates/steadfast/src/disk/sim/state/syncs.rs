//! What a sync makes durable, and what a failed one leaves.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::super::faults::{SyncFate, errno};
use super::super::operation::{Change, Edit, Image, Operation};
use super::{HELD, State};
use crate::disk::SyncPoint;

/// What of a file is made durable.
#[derive(Debug, Clone)]
pub(in crate::disk::sim) enum Extent {
    /// `fsync`: also the mark and the times.
    All,
    /// `fdatasync`.
    Data,
    /// A write with `RWF_DSYNC`: what was written there, and the lengths that it needs to be found.
    Range(Range<u64>),
}

impl Extent {
    fn covers(&self, edit: &Edit) -> bool {
        match (self, edit) {
            (Extent::All, _) => true,
            (Extent::Data, edit) => edit.is_data(),
            (Extent::Range(_), Edit::SetLen(_)) => true,
            (Extent::Range(range), edit) => {
                edit.range().is_some_and(|bytes| range.start <= bytes.start && bytes.end <= range.end)
            }
        }
    }
}

impl State {
    pub(in crate::disk::sim) fn sync(
        &mut self,
        inode: u64,
        extent: &Extent,
        point: SyncPoint,
    ) -> io::Result<()> {
        let call = if matches!(extent, Extent::All) { "sync" } else { "sync_data" };
        self.begin(|state| format!("{call} {point:?} {}", state.name_of(inode)))?;
        match self.faults.next_sync(point) {
            SyncFate::Ignored => return Ok(()),
            SyncFate::Fails(code) => {
                self.mark_falsely_clean(inode);
                if self.evict_on_failed_sync {
                    self.evict(Some(inode));
                }
                return Err(errno(code));
            }
            SyncFate::Succeeds => {}
        }
        let file = self.inodes.get_mut(&inode).expect(HELD);
        let durable = Arc::make_mut(&mut file.durable);
        let mut left: Vec<Operation> = Vec::new();
        let mut stuck: Vec<Range<u64>> = Vec::new();
        for mut operation in std::mem::take(&mut self.unsynced) {
            match &operation.change {
                Change::File { inode: of, edit }
                    if *of == inode && !operation.falsely_clean && extent.covers(edit) =>
                {
                    let blocks = edit.blocks().unwrap_or_default();
                    if self.failed_blocks_stick
                        && stuck.iter().any(|failed| failed.start < blocks.end && blocks.start < failed.end)
                    {
                        stuck.push(blocks);
                        operation.falsely_clean = true;
                        left.push(operation);
                        continue;
                    }
                    durable.apply(edit, None);
                    supersede(&mut left, inode, edit);
                }
                _ => {
                    if let Change::File { inode: of, edit } = &operation.change
                        && *of == inode
                        && operation.falsely_clean
                    {
                        stuck.extend(edit.blocks());
                    }
                    left.push(operation);
                }
            }
        }
        self.unsynced = left;
        if !matches!(extent, Extent::Range(_)) {
            durable.allocation = file.volatile.allocation.clone();
        }
        if matches!(extent, Extent::All) {
            durable.changed_ns = file.volatile.changed_ns;
            durable.modified_ns = file.volatile.modified_ns;
        }
        Ok(())
    }

    /// Falsely clean pages, of one file or of all, are dropped, and the next reader sees what the disk holds.
    pub(in crate::disk::sim) fn evict(&mut self, only: Option<u64>) {
        let mut reread = BTreeSet::new();
        self.unsynced.retain(|operation| match &operation.change {
            Change::File { inode, .. }
                if operation.falsely_clean && only.is_none_or(|only| only == *inode) =>
            {
                reread.insert(*inode);
                false
            }
            _ => true,
        });
        for inode in reread {
            let old = Arc::clone(&self.file(inode).volatile);
            let mut image = Image {
                // Only bytes are dropped with a page.
                allocation: old.allocation.clone(),
                changed_ns: old.changed_ns,
                modified_ns: old.modified_ns,
                ..Image::clone(&self.file(inode).durable)
            };
            for operation in &self.unsynced {
                if let Change::File { inode: of, edit } = &operation.change
                    && *of == inode
                {
                    image.apply(edit, None);
                }
            }
            let len_lost = image.content.len() != old.content.len();
            self.file_mut(inode).volatile = Arc::new(image);
            if len_lost {
                // The length lives in the inode, which is not evicted.
                self.edit(inode, Edit::SetLen(old.content.len()));
            }
        }
    }

    /// What the kernel does with pages whose write-back failed: it takes them for clean. Length and mark are metadata
    /// and wait for the next sync.
    fn mark_falsely_clean(&mut self, inode: u64) {
        for operation in &mut self.unsynced {
            if let Change::File { inode: of, edit: Edit::Write { .. } | Edit::Zero(_) } = &operation.change {
                operation.falsely_clean |= *of == inode;
            }
        }
    }
}

/// What is durable now takes the place of what was written there before and is not: after a failed sync, or because the
/// range made durable is not all of it.
fn supersede(earlier: &mut Vec<Operation>, inode: u64, durable: &Edit) {
    let is_hit =
        |operation: &Operation| matches!(&operation.change, Change::File { inode: of, .. } if *of == inode);
    if !earlier.iter().any(is_hit) {
        return;
    }
    *earlier = std::mem::take(earlier)
        .into_iter()
        .flat_map(|operation| match &operation.change {
            Change::File { edit, .. } if is_hit(&operation) => edit
                .without(durable)
                .into_iter()
                .map(|edit| Operation {
                    change: Change::File { inode, edit },
                    falsely_clean: operation.falsely_clean,
                })
                .collect(),
            _ => vec![operation],
        })
        .collect();
}
