//! Failures of any call, by what it asks of the disk.

use std::io;

use super::SimDisk;
use super::faults::errno;

/// What a call asks of the disk, as far as failures are told apart.
///
/// ```
/// use steadfast::disk::{Access, CallKind, Disk, SimDisk};
///
/// # fn main() -> std::io::Result<()> {
/// let disk = SimDisk::new();
/// disk.put_file("/a", b"abc");
/// let file = disk.open("/a".as_ref(), Access::ReadWrite)?;
/// let reads = disk.calls(Some(CallKind::Read));
/// disk.fail_call(Some(CallKind::Read), 2, 5);
/// assert!(file.read_at(&mut [0], 0).is_ok());
/// assert_eq!(file.read_at(&mut [0], 0).unwrap_err().raw_os_error(), Some(5));
/// assert!(file.read_at(&mut [0], 0).is_ok());
/// assert_eq!(disk.calls(Some(CallKind::Read)), reads + 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// `read_at`, `mark`, both `stat`s, and an `open` that creates nothing.
    Read,
    /// `write_at`, `zero`, and the first half of `write_durably`.
    Write,
    /// `sync_data`, `sync`, `sync_dir`, and the second half of `write_durably`.
    Sync,
    /// `reserve` and `set_len`.
    Space,
    /// An `open` that creates, `rename`, `remove` and `set_mark`.
    Name,
    /// `try_lock`.
    Lock,
}

impl CallKind {
    /// Every kind.
    pub const ALL: [CallKind; 6] =
        [CallKind::Read, CallKind::Write, CallKind::Sync, CallKind::Space, CallKind::Name, CallKind::Lock];
}

/// The counters of all kinds, and the failures that wait for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls {
    counts: [u64; CallKind::ALL.len()],
    orders: Vec<Order>,
    /// So many sectors of a write get through before its failure.
    sectors: u64,
}

#[derive(Debug, Clone, Copy)]
struct Order {
    kind: Option<CallKind>,
    first: u64,
    lasting: bool,
    os_error: i32,
}

impl Calls {
    pub(super) fn count(&self, kind: Option<CallKind>) -> u64 {
        match kind {
            Some(kind) => self.counts[kind as usize],
            None => self.counts.iter().sum(),
        }
    }

    /// Counts one call; says with what error it fails, if it does.
    pub(super) fn next(&mut self, kind: CallKind) -> Option<i32> {
        self.counts[kind as usize] += 1;
        let due = |calls: &Calls, order: &Order| {
            let count = calls.count(order.kind);
            order.kind.is_none_or(|wanted| wanted == kind)
                && if order.lasting { count >= order.first } else { count == order.first }
        };
        self.orders.iter().find(|order| due(self, order)).map(|order| order.os_error)
    }

    /// Counts one call that fails wholly or not at all.
    pub(super) fn take(&mut self, kind: CallKind) -> io::Result<()> {
        self.next(kind).map_or(Ok(()), |code| Err(errno(code)))
    }

    /// As `next`, for a write: how many sectors get through as well.
    pub(super) fn next_write(&mut self) -> Option<(i32, u64)> {
        let sectors = self.sectors;
        self.next(CallKind::Write).map(|code| (code, sectors))
    }

    fn order(&mut self, kind: Option<CallKind>, call: u64, lasting: bool, os_error: i32) {
        let first = self.count(kind) + call;
        self.orders.push(Order { kind, first, lasting, os_error });
    }

    pub(super) fn clear(&mut self) {
        self.orders.clear();
        self.sectors = 0;
    }
}

/// Failures of any call. They end with [`clear_failures`](SimDisk::clear_failures), and disks made from this one have none.
impl SimDisk {
    /// How many calls of this kind, or of any, were begun on this disk. Reads count here, although they are no *operations*.
    ///
    /// See [`CallKind`] for an example.
    pub fn calls(&self, kind: Option<CallKind>) -> u64 {
        self.state().faults.calls.count(kind)
    }

    /// The `call`-th call of this kind (or of any) from now fails with this OS error, and does nothing; a sync that fails
    /// leaves what [`fail_sync`](SimDisk::fail_sync) says.
    ///
    /// See [`CallKind`] for an example.
    pub fn fail_call(&self, kind: Option<CallKind>, call: u64, os_error: i32) {
        self.state().faults.calls.order(kind, call, false, os_error);
    }

    /// As [`fail_call`](SimDisk::fail_call), and so do all calls of the kind behind it.
    ///
    /// ```
    /// # use steadfast::disk::{Access, CallKind, Disk, SimDisk, SyncPoint};
    /// let disk = SimDisk::new();
    /// disk.put_file("/a", b"abc");
    /// disk.fail_calls_from(Some(CallKind::Name), 1, 28);
    /// assert!(disk.rename("/a".as_ref(), "/b".as_ref()).is_err());
    /// assert!(disk.remove("/a".as_ref()).is_err());
    /// assert!(disk.exists("/a"));
    /// disk.clear_failures();
    /// assert!(disk.remove("/a".as_ref()).is_ok());
    /// ```
    pub fn fail_calls_from(&self, kind: Option<CallKind>, call: u64, os_error: i32) {
        self.state().faults.calls.order(kind, call, true, os_error);
    }

    /// From now on, a `write_at` that `fail_call` or `fail_calls_from` lets fail has its first so many sectors written all
    /// the same.
    ///
    /// ```
    /// # use steadfast::disk::{Access, CallKind, Disk, SimDisk};
    /// let disk = SimDisk::new();
    /// disk.put_file("/a", &[0; 2048]);
    /// disk.fail_calls_from(Some(CallKind::Write), 1, 5);
    /// disk.let_failed_writes_begin(1);
    /// let file = disk.open("/a".as_ref(), Access::ReadWrite).unwrap();
    /// assert!(file.write_at(&[&[1; 2048]], 0).is_err());
    /// assert_eq!(disk.read_file("/a").unwrap(), [vec![1; 512], vec![0; 1536]].concat());
    /// ```
    pub fn let_failed_writes_begin(&self, sectors: u64) {
        self.state().faults.calls.sectors = sectors;
    }
}
