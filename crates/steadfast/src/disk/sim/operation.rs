//! The operations that a power cut may lose, and what each does to a file.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::content::{Allocation, Content};
use super::survivors::Tear;

/// What a disk writes at once, or not at all.
const SECTOR: u64 = 512;

/// One operation that no sync has made durable yet.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) change: Change,
    /// A sync of it failed: memory shows it, but no later sync will write it. It may or may not have reached the disk.
    pub(super) falsely_clean: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    File { inode: u64, edit: Edit },
    Name(NameChange),
}

/// A change of one file.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    Write { offset: u64, bytes: Arc<Vec<u8>> },
    SetLen(u64),
    Zero(Range<u64>),
    SetMark(Option<Arc<[u8]>>),
}

/// A change of the namespace.
#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Create { name: Arc<Path>, inode: u64 },
    Rename { from: Arc<Path>, to: Arc<Path>, inode: u64 },
    Remove { name: Arc<Path> },
}

/// One image of a file: there are two of each, what a reader sees and what a power cut leaves for certain.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    pub(super) content: Content,
    pub(super) allocation: Allocation,
    pub(super) mark: Option<Arc<[u8]>>,
    pub(super) changed_ns: i128,
    pub(super) modified_ns: i128,
}

impl Image {
    pub(super) fn apply(&mut self, edit: &Edit, tear: Option<Tear>) {
        match edit {
            Edit::Write { offset, bytes } => {
                let part = match tear {
                    Some(tear) => Sectors::of(*offset, bytes.len()).torn(tear),
                    None => 0..bytes.len(),
                };
                if part.is_empty() {
                    return;
                }
                let at = *offset + part.start as u64;
                self.allocation.take(at..at + part.len() as u64, &mut { u64::MAX });
                self.content.write(at, &bytes[part]);
            }
            Edit::SetLen(len) => {
                self.allocation.cut(*len);
                self.content.set_len(*len);
            }
            Edit::Zero(range) => self.content.zero(range.clone()),
            Edit::SetMark(mark) => self.mark.clone_from(mark),
        }
    }
}

impl Edit {
    /// The blocks whose bytes it changes.
    pub(super) fn blocks(&self) -> Option<Range<u64>> {
        const BLOCK_BYTES: u64 = 4096;
        let bytes = match self {
            Edit::Write { offset, bytes } => *offset..*offset + bytes.len() as u64,
            Edit::Zero(range) => range.clone(),
            Edit::SetLen(_) | Edit::SetMark(_) => return None,
        };
        Some(bytes.start / BLOCK_BYTES..bytes.end.div_ceil(BLOCK_BYTES))
    }

    /// Whether `fdatasync` covers it.
    pub(super) fn is_data(&self) -> bool {
        !matches!(self, Edit::SetMark(_))
    }

    /// What is left to survive of this one, once `later` is durable over it: up to two pieces.
    pub(super) fn without(&self, later: &Edit) -> Vec<Edit> {
        let (Some(held), Some(gone)) = (self.range(), later.range()) else {
            return vec![self.clone()];
        };
        let both = held.start.max(gone.start)..held.end.min(gone.end);
        if both.is_empty() {
            return vec![self.clone()];
        }
        let piece = |part: Range<u64>| match self {
            Edit::Write { offset, bytes } => {
                let bytes = &bytes[(part.start - offset) as usize..(part.end - offset) as usize];
                Edit::Write { offset: part.start, bytes: Arc::new(bytes.to_vec()) }
            }
            _ => Edit::Zero(part),
        };
        match (self, later) {
            // Zeroing does not grow a file: if this write did, that may survive, but as zeros.
            (Edit::Write { offset, bytes }, Edit::Zero(_)) => {
                let mut bytes = bytes.to_vec();
                bytes[(both.start - offset) as usize..(both.end - offset) as usize].fill(0);
                vec![Edit::Write { offset: *offset, bytes: Arc::new(bytes) }]
            }
            _ => [held.start..both.start, both.end..held.end]
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(piece)
                .collect(),
        }
    }

    /// Where it leaves nothing of the bytes before it.
    pub(super) fn range(&self) -> Option<Range<u64>> {
        match self {
            Edit::Write { offset, bytes } => Some(*offset..*offset + bytes.len() as u64),
            Edit::Zero(range) => Some(range.clone()),
            Edit::SetLen(len) => Some(*len..u64::MAX),
            Edit::SetMark(_) => None,
        }
    }
}

impl NameChange {
    /// The folder whose sync makes it durable. A rename across folders belongs to the one that gains the name.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            NameChange::Create { name, .. } | NameChange::Remove { name } => name.parent(),
            NameChange::Rename { to, .. } => to.parent(),
        }
    }
}

/// The sectors that a write touches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sectors {
    offset: u64,
    len: u64,
}

impl Sectors {
    pub(super) fn of(offset: u64, len: usize) -> Sectors {
        Sectors { offset, len: len as u64 }
    }

    /// How many sectors the operation writes: 0 if it is no write.
    pub(super) fn of_operation(operation: &Operation) -> u64 {
        match &operation.change {
            Change::File { edit: Edit::Write { offset, bytes }, .. } => {
                Sectors::of(*offset, bytes.len()).count()
            }
            _ => 0,
        }
    }

    fn count(self) -> u64 {
        if self.len == 0 { 0 } else { (self.offset + self.len).div_ceil(SECTOR) - self.offset / SECTOR }
    }

    /// The part of the write's bytes that survives.
    pub(super) fn torn(self, tear: Tear) -> Range<usize> {
        let first = self.offset / SECTOR;
        let bytes_before = |sector: u64| (sector * SECTOR).saturating_sub(self.offset).min(self.len) as usize;
        match tear {
            Tear::Head(sectors) => 0..bytes_before(first + sectors.min(self.count())),
            Tear::Tail(sectors) => {
                let lost = self.count().saturating_sub(sectors);
                bytes_before(first + lost)..self.len as usize
            }
        }
    }

    /// How many of the first `bytes` make whole sectors; all, if the write has no more.
    pub(super) fn whole_within(self, bytes: u64) -> usize {
        if bytes >= self.len {
            return self.len as usize;
        }
        ((self.offset + bytes) / SECTOR * SECTOR).saturating_sub(self.offset) as usize
    }
}

impl fmt::Display for NameChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameChange::Create { name, .. } => write!(f, "create {}", short(name)),
            NameChange::Rename { from, to, .. } => write!(f, "rename {} to {}", short(from), short(to)),
            NameChange::Remove { name } => write!(f, "remove {}", short(name)),
        }
    }
}

impl Edit {
    /// What it does to the file called `name`.
    pub(super) fn describe(&self, name: &str) -> String {
        match self {
            Edit::Write { offset, bytes } => format!("write {name} {offset}+{}", bytes.len()),
            Edit::SetLen(len) => format!("set_len {name} {len}"),
            Edit::Zero(range) => format!("zero {name} {}+{}", range.start, range.end - range.start),
            Edit::SetMark(Some(mark)) => format!("set_mark {name} ({} bytes)", mark.len()),
            Edit::SetMark(None) => format!("remove mark of {name}"),
        }
    }
}

/// The last part of a path, for reading.
pub(super) fn short(path: &Path) -> std::path::Display<'_> {
    path.file_name().map_or(path, Path::new).display()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tear_lies_on_sector_boundaries_of_the_file() {
        let write = Sectors::of(500, 1000);
        assert_eq!(write.count(), 3);
        assert_eq!(write.torn(Tear::Head(1)), 0..12);
        assert_eq!(write.torn(Tear::Head(2)), 0..524);
        assert_eq!(write.torn(Tear::Head(9)), 0..1000);
        assert_eq!(write.torn(Tear::Tail(1)), 524..1000);
        assert_eq!(write.torn(Tear::Tail(9)), 0..1000);
        assert_eq!(write.whole_within(11), 0);
        assert_eq!(write.whole_within(12), 12);
        assert_eq!(write.whole_within(999), 524);
        assert_eq!(write.whole_within(1000), 1000);
    }

    #[test]
    fn a_later_edit_leaves_the_bytes_around_it() {
        let write = Edit::Write { offset: 10, bytes: Arc::new((0..10).collect()) };
        let pieces = write.without(&Edit::Write { offset: 12, bytes: Arc::new(vec![9; 3]) });
        assert!(matches!(&pieces[..], [
            Edit::Write { offset: 10, bytes: head },
            Edit::Write { offset: 15, bytes: tail },
        ] if **head == [0, 1] && **tail == [5, 6, 7, 8, 9]));
        let pieces = write.without(&Edit::Zero(12..99));
        assert!(matches!(&pieces[..], [
            Edit::Write { offset: 10, bytes },
        ] if **bytes == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(write.without(&Edit::SetLen(5)).is_empty());
        assert_eq!(write.without(&Edit::SetLen(20)).len(), 1);
    }
}
