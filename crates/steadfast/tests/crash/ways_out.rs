//! The explicit ways out, `--discard` and `--adopt`, under crashes: what they returned from stays done, and what they were
//! stopped in can be done again or was done.

use std::sync::Arc;

use steadfast::disk::{Access, Disk, SimDisk, SyncPoint};
use steadfast::store::{Batch, Extent, Flush, JournaledFile, Resolution, Store, recover_on};

use crate::script::{FILE, JOURNAL, initial};

fn on(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// A file whose writer was killed after a commit, or before one; and the committed state.
fn killed_writer(disk: SimDisk, commit: bool) -> (SimDisk, Vec<u8>) {
    disk.put_file(FILE, &initial());
    let mut store = JournaledFile::options().journal_bytes(1).stepped(1).open_on(on(&disk), FILE).unwrap();
    let mut state = initial();
    if commit {
        let len = store.committed_len();
        let batch = Batch { len_min: len, len, extents: &[Extent { offset: 7, len: 3 }], bytes: b"abc" };
        store.commit(&batch, Flush::Now).unwrap();
        state[7..10].copy_from_slice(b"abc");
    }
    let image = disk.killed();
    (image, state)
}

fn plain(disk: &SimDisk, want: &[u8]) {
    assert!(!disk.exists(JOURNAL) && disk.mark_of(FILE).is_none());
    assert!(disk.read_file(FILE).unwrap() == want, "not the bytes that were promised");
}

#[test]
fn a_discard_that_returned_stays_done() {
    let (disk, _) = killed_writer(SimDisk::new(), true);
    assert!(recover_on(on(&disk), FILE, Resolution::Discard).unwrap().discarded);
    for survivors in disk.power_cuts(1, 12, 40) {
        plain(&disk.power_cut(&survivors), &initial());
    }
}

#[test]
fn an_adoption_is_not_begun_or_any_open_ends_it() {
    for stop in 1.. {
        let (disk, state) = killed_writer(SimDisk::new(), true);
        // The file lost its mark, as a copy without attributes does.
        let file = disk.open(FILE.as_ref(), Access::ReadWrite).unwrap();
        file.set_mark(None).unwrap();
        file.sync(SyncPoint::Copy).unwrap();
        drop(file);
        let (before, journal) = (disk.read_file(FILE).unwrap(), disk.read_file(JOURNAL).unwrap());
        recover_on(on(&disk.killed()), FILE, Resolution::Replay).expect_err("a journal without its mark");

        disk.stop_at(stop);
        let adopted = recover_on(on(&disk), FILE, Resolution::Adopt);
        for survivors in disk.power_cuts(stop, 12, 40) {
            let image = disk.power_cut(&survivors);
            if adopted.is_ok() {
                plain(&image, &state);
                continue;
            }
            match recover_on(on(&image), FILE, Resolution::Replay) {
                // Begun far enough, or all but done.
                Ok(_) => plain(&image, &state),
                Err(error) => {
                    let untouched = image.read_file(FILE).unwrap() == before
                        && image.read_file(JOURNAL).unwrap() == journal;
                    assert!(untouched, "stopped at {stop}, power cut {survivors}: {error}");
                    recover_on(on(&image), FILE, Resolution::Adopt).unwrap();
                    plain(&image, &state);
                }
            }
        }
        if adopted.is_ok() {
            return;
        }
    }
}

#[test]
fn an_adopted_files_length_stays() {
    for disk in [SimDisk::new(), SimDisk::new().without_marks()] {
        let (disk, state) = killed_writer(disk, false);
        let file = disk.open(FILE.as_ref(), Access::ReadWrite).unwrap();
        file.write_at(&[b"appended by somebody"], state.len() as u64).unwrap();
        file.sync(SyncPoint::Copy).unwrap();
        drop(file);
        recover_on(on(&disk.killed()), FILE, Resolution::Replay)
            .expect_err("a length that the journal does not know");
        recover_on(on(&disk), FILE, Resolution::Adopt).unwrap();
        for survivors in disk.power_cuts(1, 12, 40) {
            plain(&disk.power_cut(&survivors), &state);
        }
    }
}
