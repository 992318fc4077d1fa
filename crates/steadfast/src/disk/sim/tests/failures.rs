//! Any call may fail, and a durable write is durable by itself.

use super::*;

const EIO: i32 = libc::EIO;
const ENOSPC: i32 = libc::ENOSPC;

/// One call of each sort that a kind stands for.
fn calls(disk: &SimDisk, file: &dyn DiskFile, kind: CallKind) -> Vec<io::Result<()>> {
    let folder = Path::new("/");
    match kind {
        CallKind::Read => vec![
            file.read_at(&mut [0], 0).map(drop),
            file.mark().map(drop),
            file.stat().map(drop),
            disk.stat("/a".as_ref()).map(drop),
            disk.open("/a".as_ref(), Access::Read).map(drop),
            disk.open("/a".as_ref(), Access::Create { mode: 0o644 }).map(drop),
        ],
        CallKind::Write => {
            vec![file.write_at(&[b"x"], 0), file.zero(0..1), file.write_durably(b"x", 0, POINT)]
        }
        CallKind::Sync => vec![file.sync_data(POINT), file.sync(POINT), disk.sync_dir(folder, POINT)],
        CallKind::Space => vec![file.reserve(0..1).map(drop), file.set_len(3)],
        CallKind::Name => vec![
            file.set_mark(Some(b"m")),
            disk.rename("/a".as_ref(), "/b".as_ref()),
            disk.rename("/b".as_ref(), "/a".as_ref()),
            disk.open("/new".as_ref(), Access::Create { mode: 0o644 }).map(drop),
            disk.remove("/new".as_ref()),
        ],
        CallKind::Lock => {
            vec![file.try_lock(Lock::Shared).map(drop), file.try_lock(Lock::Exclusive).map(drop)]
        }
    }
}

#[test]
fn every_call_is_of_one_kind_and_fails_with_it() {
    for kind in CallKind::ALL {
        let disk = disk_with("/a", b"abc");
        let file = open(&disk, "/a");
        let before = (disk.calls(None), disk.calls(Some(kind)));
        let count = calls(&disk, &*file, kind).into_iter().map(Result::unwrap).count() as u64;
        // The second half of a durable write is a sync.
        let others = u64::from(kind == CallKind::Write);
        assert_eq!((disk.calls(None), disk.calls(Some(kind))), (before.0 + count + others, before.1 + count));

        disk.fail_calls_from(Some(kind), 1, ENOSPC);
        let content = (disk.read_file("/a"), disk.mark_of("/a"), disk.unsynced());
        assert!(
            calls(&disk, &*file, kind).into_iter().all(|call| os_error(call) == Some(ENOSPC)),
            "{kind:?}"
        );
        assert_eq!((disk.read_file("/a"), disk.mark_of("/a"), disk.unsynced()), content, "{kind:?}");
        for other in CallKind::ALL.into_iter().filter(|other| *other != kind) {
            let failed = calls(&disk, &*file, other).into_iter().filter(Result::is_err).count();
            let durable_write = kind == CallKind::Sync && other == CallKind::Write;
            assert_eq!(failed, usize::from(durable_write), "{other:?} while {kind:?} fails");
        }
        disk.clear_failures();
        assert!(calls(&disk, &*file, kind).into_iter().all(|call| call.is_ok()));
        disk.fail_calls_from(Some(kind), 1, EIO);
        calls(&disk.killed(), &*open(&disk.killed(), "/a"), kind);
        assert!(
            calls(&disk.killed(), &*open(&disk.killed(), "/a"), kind).into_iter().all(|call| call.is_ok())
        );
    }
}

#[test]
fn the_chosen_call_fails_once_of_its_kind_or_of_any() {
    let disk = disk_with("/a", b"abc");
    let file = open(&disk, "/a");
    disk.fail_call(Some(CallKind::Space), 2, EIO);
    file.set_len(4).unwrap();
    file.write_at(&[b"x"], 0).unwrap();
    assert_eq!(os_error(file.set_len(5)), Some(EIO));
    file.set_len(5).unwrap();
    disk.fail_call(None, 3, ENOSPC);
    file.set_len(6).unwrap();
    file.stat().unwrap();
    assert_eq!(os_error(file.sync(POINT)), Some(ENOSPC));
    file.sync(POINT).unwrap();
}

#[test]
fn a_failing_write_may_begin() {
    let disk = disk_with("/a", &[0; 2048]);
    let file = open(&disk, "/a");
    disk.fail_call(Some(CallKind::Write), 1, ENOSPC);
    disk.let_failed_writes_begin(2);
    assert_eq!(os_error(file.write_durably(&[1; 2048], 0, POINT)), Some(ENOSPC));
    assert_eq!(disk.read_file("/a").unwrap(), [vec![1; 1024], vec![0; 1024]].concat());
    assert_eq!(durable(&disk, "/a"), Some(vec![0; 2048]));
}

#[test]
fn a_sync_that_fails_by_its_kind_leaves_falsely_clean_bytes_too() {
    let disk = disk_with("/a", b"old");
    let file = open(&disk, "/a");
    file.write_at(&[b"new"], 0).unwrap();
    disk.fail_call(Some(CallKind::Sync), 1, ENOSPC);
    assert_eq!(os_error(file.sync_data(POINT)), Some(ENOSPC));
    file.sync_data(POINT).unwrap();
    assert_eq!(disk.unsynced_trace(), ["write a 0+3 (falsely clean)"]);
}

#[test]
fn a_durable_write_takes_nothing_else_with_it() {
    let disk = disk_with("/a", &[0; 9]);
    let file = open(&disk, "/a");
    file.write_at(&[b"aaaaaa"], 0).unwrap();
    let before = disk.operations();
    file.write_durably(b"bbb", 3, POINT).unwrap();
    assert_eq!(disk.operations(), before + 2);
    file.write_at(&[b"c"], 8).unwrap();
    assert_eq!(disk.unsynced_trace(), ["write a 0+3", "write a 8+1"]);
    assert_eq!(durable(&disk, "/a").unwrap(), b"\0\0\0bbb\0\0\0");
    // Older bytes do not come back over it.
    assert_eq!(disk.power_cut(&Survivors::all()).read_file("/a").unwrap(), b"aaabbb\0\0c");
    file.sync_data(POINT).unwrap();
    assert_eq!(disk.unsynced(), 0);
}

#[test]
fn a_durable_write_takes_the_length_with_it() {
    let disk = disk_with("/a", &[7; 9]);
    let file = open(&disk, "/a");
    file.write_at(&[b"xxxx"], 3).unwrap();
    file.set_len(5).unwrap();
    file.write_durably(b"bb", 6, POINT).unwrap();
    assert_eq!(durable(&disk, "/a").unwrap(), b"\x07\x07\x07\x07\x07\0bb");
    assert_eq!(disk.power_cut(&Survivors::all()).read_file("/a").unwrap(), b"\x07\x07\x07xx\0bb");
    assert_eq!(disk.read_file("/a").unwrap(), b"\x07\x07\x07xx\0bb");
}
