//! Both states of the disk, what a reader sees and what a power cut leaves, and the operations between them.

mod names;
mod syncs;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::calls::CallKind;
use super::content::BLOCK;
use super::faults::{Faults, STOPPED, Turn, errno};
use super::operation::{Change, Edit, Image, NameChange, Operation, Sectors};
use super::survivors::{Survivors, Tear};
use crate::disk::{FileKind, FileStat, Lock};
use names::apply_name;
pub(super) use syncs::Extent;

type Names = BTreeMap<Arc<Path>, u64>;

#[derive(Debug, Clone)]
struct Inode {
    volatile: Arc<Image>,
    durable: Arc<Image>,
    mode: u32,
    owner: (u32, u32),
    /// No name leads to it or ever will again: nothing that happens to it matters to a power cut.
    gone: bool,
}

/// An open file.
#[derive(Debug)]
struct Handle {
    inode: u64,
    lock: Option<Lock>,
}

/// What `stat` tells of the only folder.
pub(super) const ROOT: FileStat = FileStat {
    kind: FileKind::Directory,
    len: 0,
    device: 1,
    mount: Some(1),
    inode: 0,
    links: 2,
    mode: 0o755,
    owner: (0, 0),
    changed_ns: 0,
    modified_ns: 0,
};

#[derive(Debug, Default)]
pub(super) struct State {
    inodes: BTreeMap<u64, Inode>,
    names: Names,
    durable_names: Names,
    /// In the order in which they happened.
    unsynced: Vec<Operation>,
    handles: BTreeMap<u64, Handle>,
    inode_last: u64,
    handle_last: u64,
    /// Grows with every change of any file.
    clock_ns: i128,
    pub(super) faults: Faults,
    pub(super) without_marks: bool,
    /// What failed once cannot be written until its page was dropped.
    pub(super) failed_blocks_stick: bool,
    pub(super) evict_on_failed_sync: bool,
    pub(super) space: Option<u64>,
    /// What is durable of a file stays findable when no name leads to it any more.
    pub(super) keeps_freed_blocks: bool,
    /// No file may be written beyond this length.
    pub(super) longest: Option<u64>,
    pub(super) trace: Option<Vec<String>>,
}

/// The images of a disk at other moments.
impl State {
    pub(super) fn killed(&self) -> State {
        let mut image = State {
            inodes: self.inodes.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unsynced: self.unsynced.clone(),
            ..self.next_life()
        };
        image.forget_unreachable();
        image
    }

    pub(super) fn power_cut(&self, survivors: &Survivors) -> State {
        let mut image = State { durable_names: self.durable_names.clone(), ..self.next_life() };
        let surviving = || self.unsynced.iter().enumerate().filter(|(place, _)| survivors.holds(*place));
        for (_, operation) in surviving() {
            if let Change::Name(change) = &operation.change {
                apply_name(&mut image.durable_names, change);
            }
        }
        for inode in image.durable_names.values() {
            image.inodes.insert(*inode, self.inodes[inode].clone());
        }
        if self.keeps_freed_blocks {
            image.inodes.clone_from(&self.inodes);
        }
        let torn = surviving().map(|(place, _)| place).rfind(|place| {
            matches!(&self.unsynced[*place].change, Change::File { edit: Edit::Write { .. }, .. })
        });
        for (place, operation) in surviving() {
            if let Change::File { inode, edit } = &operation.change
                && let Some(file) = image.inodes.get_mut(inode)
            {
                let tear = if torn == Some(place) { survivors.tear() } else { None };
                let durable = Arc::make_mut(&mut file.durable);
                durable.apply(edit, tear);
                durable.changed_ns = file.volatile.changed_ns;
                durable.modified_ns = file.volatile.modified_ns;
            }
        }
        for file in image.inodes.values_mut() {
            file.volatile = Arc::clone(&file.durable);
        }
        image.names = image.durable_names.clone();
        image
    }

    /// An empty disk of the same kind.
    fn next_life(&self) -> State {
        State {
            inode_last: self.inode_last,
            clock_ns: self.clock_ns,
            faults: self.faults.of_next_life(),
            without_marks: self.without_marks,
            failed_blocks_stick: self.failed_blocks_stick,
            evict_on_failed_sync: self.evict_on_failed_sync,
            keeps_freed_blocks: self.keeps_freed_blocks,
            space: self.space,
            trace: self.trace.as_ref().map(|_| Vec::new()),
            ..State::default()
        }
    }

    /// Drops files to which no name leads, and what was never synced of them.
    fn forget_unreachable(&mut self) {
        if self.keeps_freed_blocks {
            return;
        }
        let mut reachable: BTreeSet<u64> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        for operation in &self.unsynced {
            if let Change::Name(NameChange::Create { inode, .. } | NameChange::Rename { inode, .. }) =
                &operation.change
            {
                reachable.insert(*inode);
            }
        }
        self.unsynced.retain(|operation| match &operation.change {
            Change::File { inode, .. } => reachable.contains(inode),
            Change::Name(_) => true,
        });
        let open: BTreeSet<u64> = self.handles.values().map(|handle| handle.inode).collect();
        self.inodes.retain(|inode, file| {
            file.gone = !reachable.contains(inode);
            !file.gone || open.contains(inode)
        });
    }
}

/// Files.
impl State {
    /// What a reader sees of a file.
    pub(super) fn image(&self, inode: u64) -> &Image {
        &self.file(inode).volatile
    }

    /// The files of which something durable holds these bytes.
    pub(super) fn find_on_medium(&self, bytes: &[u8]) -> Vec<String> {
        let holds =
            |file: &Inode| file.durable.content.to_vec().windows(bytes.len()).any(|part| part == bytes);
        let name = |inode: &u64| self.names.iter().find(|(_, named)| *named == inode);
        self.inodes
            .iter()
            .filter(|(_, file)| holds(file))
            .map(|(inode, _)| match name(inode) {
                Some((name, _)) => name.display().to_string(),
                None => format!("(nameless inode {inode})"),
            })
            .collect()
    }

    pub(super) fn stat(&self, inode: u64) -> FileStat {
        let file = self.file(inode);
        FileStat {
            kind: FileKind::Regular,
            len: file.volatile.content.len(),
            device: 1,
            mount: Some(1),
            inode,
            links: u64::from(self.names.values().any(|named| *named == inode)),
            mode: file.mode,
            owner: file.owner,
            changed_ns: file.volatile.changed_ns,
            modified_ns: file.volatile.modified_ns,
        }
    }

    pub(super) fn write(&mut self, inode: u64, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut bytes = parts.concat();
        let turn = self.turn(|state| format!("write {} {offset}+{}", state.name_of(inode), bytes.len()))?;
        let Some(end) = offset.checked_add(bytes.len() as u64).filter(|end| *end <= i64::MAX as u64) else {
            return Err(errno(libc::EFBIG));
        };
        self.end_beyond(end, 0)?;
        let sectors = Sectors::of(offset, bytes.len());
        let (through, error) = if let Turn::Stops { bytes } = turn {
            (sectors.whole_within(bytes), Some(STOPPED))
        } else if let Some((code, count)) = self.faults.next_write() {
            (sectors.torn(Tear::Head(count)).end, Some(code))
        } else {
            let mut free = self.free_blocks();
            let fits =
                Arc::make_mut(&mut self.file_mut(inode).volatile).allocation.take(offset..end, &mut free);
            ((fits - offset) as usize, (fits < end).then_some(libc::ENOSPC))
        };
        bytes.truncate(through);
        if !bytes.is_empty() {
            self.edit(inode, Edit::Write { offset, bytes: Arc::new(bytes) });
        }
        error.map_or(Ok(()), |code| Err(errno(code)))
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) -> io::Result<()> {
        self.begin(|state| format!("set_len {} {len}", state.name_of(inode)))?;
        self.faults.calls.take(CallKind::Space)?;
        self.end_beyond(len, self.image(inode).content.len())?;
        if len > i64::MAX as u64 {
            return Err(errno(libc::EFBIG));
        }
        self.edit(inode, Edit::SetLen(len));
        Ok(())
    }

    pub(super) fn reserve(&mut self, inode: u64, range: Range<u64>) -> io::Result<()> {
        self.begin(|state| format!("reserve {} {range:?}", state.name_of(inode)))?;
        self.faults.calls.take(CallKind::Space)?;
        self.allocate(inode, range)
    }

    pub(super) fn zero(&mut self, inode: u64, range: Range<u64>) -> io::Result<()> {
        self.begin(|state| format!("zero {} {range:?}", state.name_of(inode)))?;
        self.faults.calls.take(CallKind::Write)?;
        if range.is_empty() {
            return Ok(());
        }
        self.edit(inode, Edit::Zero(range));
        Ok(())
    }

    pub(super) fn set_mark(&mut self, inode: u64, mark: Option<&[u8]>) -> io::Result<()> {
        self.begin(|state| {
            let what = if mark.is_some() { "set_mark" } else { "remove_mark" };
            format!("{what} {}", state.name_of(inode))
        })?;
        if self.without_marks {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.faults.calls.take(CallKind::Name)?;
        self.edit(inode, Edit::SetMark(mark.map(Arc::from)));
        Ok(())
    }

    /// Who may do what is no matter of power cuts: it is durable at once.
    pub(super) fn set_owner(&mut self, inode: u64, owner: (u32, u32), mode: u32) {
        let file = self.file_mut(inode);
        (file.owner, file.mode) = (owner, mode);
    }

    fn edit(&mut self, inode: u64, edit: Edit) {
        let file = self.inodes.get_mut(&inode).expect(HELD);
        Arc::make_mut(&mut file.volatile).apply(&edit, None);
        let is_content = !matches!(edit, Edit::SetMark(_));
        if !file.gone {
            self.unsynced.push(Operation { change: Change::File { inode, edit }, falsely_clean: false });
        }
        self.touch(inode);
        if is_content {
            self.modify(inode);
        }
    }

    /// SIGXFSZ, for a change that ends at `end` and is no cut of `len` bytes.
    fn end_beyond(&mut self, end: u64, len: u64) -> io::Result<()> {
        if end > len && self.longest.is_some_and(|longest| end > longest) {
            self.faults.stop_now();
            return Err(errno(STOPPED));
        }
        Ok(())
    }

    fn touch(&mut self, inode: u64) {
        self.clock_ns += 1;
        let now = self.clock_ns;
        Arc::make_mut(&mut self.file_mut(inode).volatile).changed_ns = now;
    }

    fn modify(&mut self, inode: u64) {
        let image = Arc::make_mut(&mut self.file_mut(inode).volatile);
        image.modified_ns = image.changed_ns;
    }

    /// Gives `range` blocks, or nothing.
    fn allocate(&mut self, inode: u64, range: Range<u64>) -> io::Result<()> {
        let mut free = self.free_blocks();
        let mut allocation = self.image(inode).allocation.clone();
        if allocation.take(range.clone(), &mut free) < range.end {
            return Err(errno(libc::ENOSPC));
        }
        Arc::make_mut(&mut self.file_mut(inode).volatile).allocation = allocation;
        self.touch(inode);
        self.modify(inode);
        Ok(())
    }

    fn free_blocks(&self) -> u64 {
        let Some(space) = self.space else {
            return u64::MAX;
        };
        let held: BTreeSet<u64> =
            self.names.values().copied().chain(self.handles.values().map(|handle| handle.inode)).collect();
        let taken: u64 = held.iter().map(|inode| self.image(*inode).allocation.count()).sum();
        (space / BLOCK).saturating_sub(taken)
    }

    fn file(&self, inode: u64) -> &Inode {
        self.inodes.get(&inode).expect(HELD)
    }

    fn file_mut(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).expect(HELD)
    }
}

/// `forget_unreachable` drops no inode that a name, an open file or an unsynced operation leads to.
const HELD: &str = "a file stays as long as anything leads to it";

/// Open files, locks and the order of things.
impl State {
    pub(super) fn open(&mut self, inode: u64) -> u64 {
        self.handle_last += 1;
        self.handles.insert(self.handle_last, Handle { inode, lock: None });
        self.handle_last
    }

    pub(super) fn close(&mut self, handle: u64) {
        self.handles.remove(&handle);
    }

    pub(super) fn unlock(&mut self, handle: u64) {
        if let Some(held) = self.handles.get_mut(&handle) {
            held.lock = None;
        }
    }

    pub(super) fn try_lock(&mut self, handle: u64, lock: Lock) -> bool {
        let Some(inode) = self.handles.get(&handle).map(|held| held.inode) else {
            return false;
        };
        let against = |(other, held): (&u64, &Handle)| {
            *other != handle
                && held.inode == inode
                && match held.lock {
                    None => false,
                    Some(Lock::Shared) => lock == Lock::Exclusive,
                    Some(Lock::Exclusive) => true,
                }
        };
        if self.handles.iter().any(against) {
            return false;
        }
        if let Some(held) = self.handles.get_mut(&handle) {
            held.lock = Some(lock);
        }
        true
    }

    pub(super) fn unsynced(&self) -> &[Operation] {
        &self.unsynced
    }

    pub(super) fn unsynced_trace(&self) -> Vec<String> {
        let describe = |operation: &Operation| {
            let mut line = match &operation.change {
                Change::Name(change) => change.to_string(),
                Change::File { inode, edit } => edit.describe(&self.name_of(*inode)),
            };
            if operation.falsely_clean {
                line.push_str(" (falsely clean)");
            }
            line
        };
        self.unsynced.iter().map(describe).collect()
    }

    /// Counts an operation that happens wholly or not at all.
    fn begin(&mut self, describe: impl FnOnce(&State) -> String) -> io::Result<()> {
        match self.turn(describe)? {
            Turn::Runs => Ok(()),
            Turn::Stops { .. } => Err(errno(STOPPED)),
        }
    }

    fn turn(&mut self, describe: impl FnOnce(&State) -> String) -> io::Result<Turn> {
        let turn = self.faults.next_operation()?;
        if self.trace.is_some() {
            let mut line = describe(self);
            if let Turn::Stops { .. } = turn {
                line.push_str(" (stopped here)");
            }
            self.trace.get_or_insert_default().push(line);
        }
        Ok(turn)
    }
}
