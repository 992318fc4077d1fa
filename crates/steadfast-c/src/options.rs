//! How mappings and atomic maps are opened, as structs.
//!
//! # Safety
//!
//! This file is trusted with names that C finds functions by; the structs are read and written by [`given`](crate::given).
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::time::Duration;

use steadfast_rs::{AtomicMapping, AtomicOptions, Mapping, MappingOptions, Result};
use zerocopy::FromBytes;

use crate::failure::done;
use crate::given::{self, Flag, Growing, nonsense};

/// What to map and how, for sf_mapping_open(). Filled in by sf_mapping_options_init(); then set what is to be otherwise.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes)]
pub struct MappingChoice {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Bytes to map. 0: from `offset` to the end of the file.
    pub len: usize,
    /// The mapping's first byte is this byte of the file, which need not lie on a page boundary.
    pub offset: u64,
    /// Bytes of addresses to reserve: resizing up to there keeps every address.
    pub reserve: usize,
    /// How long to wait, in milliseconds, for a process that holds the file for commits.
    pub lock_timeout_ms: u64,
    /// Allow stores.
    pub write: Flag,
    /// Create the file if it does not exist, with 0666 less the umask; and let it grow to `offset + len`. Needs `write`.
    pub create: Flag,
    /// The same, and a file that exists is an error.
    pub create_new: Flag,
    /// Let a file that is too short grow. Its blocks are allocated at once. Needs `write`.
    pub grow: Flag,
    /// Grow without allocating blocks.
    pub sparse: Flag,
    /// Stores stay in this process (MAP_PRIVATE).
    pub private_copy: Flag,
    /// Read everything in before the open returns (MAP_POPULATE).
    pub populate: Flag,
    /// An access to a page that is gone finds zeros, and sf_mapping_check() says so; without it SIGBUS. True unless set
    /// otherwise.
    pub guard: Flag,
    /// Leave the pages out of core dumps.
    pub keep_from_dumps: Flag,
    /// Forked children do not get the pages.
    pub keep_from_children: Flag,
    /// Zeros.
    pub reserved: [u8; 6],
}

impl Growing for MappingChoice {
    const BYTES_MIN: usize = 56;
}

impl MappingChoice {
    pub(crate) const DEFAULT: MappingChoice = MappingChoice {
        struct_size: size_of::<MappingChoice>(),
        len: 0,
        offset: 0,
        reserve: 0,
        lock_timeout_ms: 0,
        write: 0,
        create: 0,
        create_new: 0,
        grow: 0,
        sparse: 0,
        private_copy: 0,
        populate: 0,
        guard: 1,
        keep_from_dumps: 0,
        keep_from_children: 0,
        reserved: [0; 6],
    };

    pub(crate) fn taken(self) -> Result<MappingOptions> {
        refuse_reserved(&self.reserved)?;
        let mut options = Mapping::options()
            .offset(self.offset)
            .reserve(self.reserve)
            .lock_timeout(Duration::from_millis(self.lock_timeout_ms))
            .write(self.write != 0)
            .create(self.create != 0)
            .create_new(self.create_new != 0)
            .grow(self.grow != 0)
            .sparse(self.sparse != 0)
            .private(self.private_copy != 0)
            .populate(self.populate != 0)
            .guard(self.guard != 0)
            .keep_from_dumps(self.keep_from_dumps != 0)
            .keep_from_children(self.keep_from_children != 0);
        if self.len != 0 {
            options = options.len(self.len);
        }
        Ok(options)
    }
}

/// How plain stores into an atomic map are found.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracker {
    /// The best that is to be had, or what STEADFAST_TRACKER says.
    Automatic = 0,
    /// The kernel notes each page that is written (Linux 6.7).
    WriteProtect = 1,
    /// Pages that were written are private copies, which the kernel tells apart.
    PrivateCopies = 2,
    /// No help of the kernel: a commit compares every byte, unless edits were declared.
    Declared = 3,
}

const TRACKERS: [(Tracker, steadfast_rs::Tracker); 4] = [
    (Tracker::Automatic, steadfast_rs::Tracker::Automatic),
    (Tracker::WriteProtect, steadfast_rs::Tracker::WriteProtect),
    (Tracker::PrivateCopies, steadfast_rs::Tracker::PrivateCopies),
    (Tracker::Declared, steadfast_rs::Tracker::Declared),
];

/// As a number of the header.
pub(crate) fn tracker_number(tracker: steadfast_rs::Tracker) -> c_int {
    let found = TRACKERS.iter().find(|(_, of)| *of == tracker);
    found.map_or(Tracker::Automatic as c_int, |(number, _)| *number as c_int)
}

/// How an atomic map is opened, for sf_atomic_open(). Filled in by sf_atomic_options_init(); then set what is to be otherwise.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes)]
pub struct AtomicChoice {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The least length in bytes. A shorter file is grown to it if it may be created; else it is an error. 0: the file's.
    pub len: usize,
    /// Bytes of addresses to reserve: growth within them never moves the memory.
    pub reserve: usize,
    /// Size of the journal in bytes. 0: a quarter of the file, 1 to 16 MiB.
    pub journal_bytes: u64,
    /// How long to wait, in milliseconds, for another writer to let go of the file.
    pub lock_timeout_ms: u64,
    /// How plain stores are found: an enum sf_tracker.
    pub tracker: i32,
    /// Create the file if it does not exist, and let `len` grow it.
    pub create: Flag,
    /// Show the last commit, and change nothing. Takes no lock; not for sf_atomic_view().
    pub read_only: Flag,
    /// After each durable commit, show its bytes to readers of the plain file.
    pub publish: Flag,
    /// Leave no committed-over bytes behind in the journal.
    pub scrub: Flag,
    /// Accept a file with several hard links.
    pub allow_hard_links: Flag,
    /// Accept a journal on another device.
    pub allow_other_device: Flag,
    /// Accept tmpfs and network file systems, where nothing is durable, or not ours to promise.
    pub allow_volatile: Flag,
    /// An access to a page that is gone finds zeros, and sf_atomic_check() says so; without it SIGBUS. True unless set otherwise.
    pub guard: Flag,
    /// Leave the memory out of core dumps.
    pub keep_from_dumps: Flag,
    /// Zeros.
    pub reserved: [u8; 3],
}

impl Growing for AtomicChoice {
    const BYTES_MIN: usize = 56;
}

impl AtomicChoice {
    pub(crate) const DEFAULT: AtomicChoice = AtomicChoice {
        struct_size: size_of::<AtomicChoice>(),
        len: 0,
        reserve: 0,
        journal_bytes: 0,
        lock_timeout_ms: 0,
        tracker: Tracker::Automatic as i32,
        create: 0,
        read_only: 0,
        publish: 0,
        scrub: 0,
        allow_hard_links: 0,
        allow_other_device: 0,
        allow_volatile: 0,
        guard: 1,
        keep_from_dumps: 0,
        reserved: [0; 3],
    };

    pub(crate) fn taken(self) -> Result<AtomicOptions> {
        refuse_reserved(&self.reserved)?;
        let tracker = TRACKERS.iter().find(|(number, _)| *number as i32 == self.tracker);
        let Some((_, tracker)) = tracker else {
            return Err(nonsense("open", "there is no such tracker").advice("give an enum sf_tracker"));
        };
        let mut options = AtomicMapping::options()
            .reserve(self.reserve)
            .lock_timeout(Duration::from_millis(self.lock_timeout_ms))
            .tracker(*tracker)
            .create(self.create != 0)
            .read_only(self.read_only != 0)
            .publish(self.publish != 0)
            .scrub(self.scrub != 0)
            .allow_hard_links(self.allow_hard_links != 0)
            .allow_other_device(self.allow_other_device != 0)
            .allow_volatile(self.allow_volatile != 0)
            .guard(self.guard != 0)
            .keep_from_dumps(self.keep_from_dumps != 0);
        if self.len != 0 {
            options = options.len(self.len);
        }
        if self.journal_bytes != 0 {
            options = options.journal_bytes(self.journal_bytes);
        }
        Ok(options)
    }
}

fn refuse_reserved(reserved: &[u8]) -> Result<()> {
    match reserved.iter().all(|&byte| byte == 0) {
        true => Ok(()),
        false => Err(nonsense("open", "the field `reserved` is not zeros")
            .advice("fill the struct in by the function whose name ends in `_init`")),
    }
}

/// Fills in the defaults: an existing file, all of it, for reading. `struct_size` is `sizeof *options`.
///
/// 0; or -1 with EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_mapping_options_init(options: *mut MappingChoice, struct_size: usize) -> c_int {
    done(|| {
        // SAFETY: NULL, or as many bytes as the caller says.
        unsafe { given::initialise(options, struct_size, &MappingChoice::DEFAULT, "options") }
    })
}

/// Fills in the defaults: an existing file, for commits. `struct_size` is `sizeof *options`.
///
/// 0; or -1 with EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_atomic_options_init(options: *mut AtomicChoice, struct_size: usize) -> c_int {
    done(|| {
        // SAFETY: NULL, or as many bytes as the caller says.
        unsafe { given::initialise(options, struct_size, &AtomicChoice::DEFAULT, "options") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_lies_in_a_gap_where_a_later_one_could_come_to_lie() {
        assert_eq!(size_of::<MappingChoice>(), MappingChoice::BYTES_MIN);
        assert_eq!(std::mem::offset_of!(MappingChoice, reserved) + 6, size_of::<MappingChoice>());
        assert_eq!(size_of::<AtomicChoice>(), AtomicChoice::BYTES_MIN);
        assert_eq!(std::mem::offset_of!(AtomicChoice, reserved) + 3, size_of::<AtomicChoice>());
    }

    #[test]
    fn defaults_are_those_of_the_rust_library() {
        let mapping = MappingChoice::DEFAULT.taken().unwrap();
        assert_eq!(format!("{mapping:?}"), format!("{:?}", Mapping::options()));
        let atomic = AtomicChoice::DEFAULT.taken().unwrap();
        assert_eq!(format!("{atomic:?}"), format!("{:?}", AtomicMapping::options()));
    }

    #[test]
    fn what_no_version_knows_is_refused() {
        assert!(MappingChoice { reserved: [0, 0, 0, 0, 0, 1], ..MappingChoice::DEFAULT }.taken().is_err());
        assert!(AtomicChoice { reserved: [1, 0, 0], ..AtomicChoice::DEFAULT }.taken().is_err());
        assert!(AtomicChoice { tracker: 4, ..AtomicChoice::DEFAULT }.taken().is_err());
        for (number, of) in TRACKERS {
            assert_eq!(tracker_number(of), number as c_int);
        }
    }
}
