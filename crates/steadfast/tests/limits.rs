//! Lengths that no file can have and memory that cannot be dropped: refused at the call, or no matter.

use std::io::Read;

use steadfast::{AtomicMapping, ErrorKind};

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn a_length_that_could_never_be_checkpointed_is_not_committed() {
    let folder = folder();
    let path = folder.path().join("a");
    for (len, kind) in [(i64::MAX as usize, ErrorKind::LimitExceeded), (usize::MAX, ErrorKind::InvalidInput)]
    {
        let refused = AtomicMapping::options().create(true).len(len).load(&path).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(!path.exists(), "nothing was changed");
    }
    let mut map = AtomicMapping::options().create(true).len(4096).load(&path).unwrap();
    map.edit(0..4).unwrap().fill(1);
    map.commit().unwrap();
    // 32 TiB: more than ext4 can have, no more than there are addresses.
    map.resize(1 << 45).unwrap();
    if let Err(error) = map.commit() {
        assert_eq!(error.kind(), ErrorKind::NotCommitted, "{error}");
        map.rollback().unwrap();
    }
    map.close().unwrap();
    let mut bytes = [0; 4];
    std::fs::File::open(&path).unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [1; 4]);
}

#[test]
#[allow(unsafe_code)]
fn locked_memory_commits_like_any_other() {
    let folder = folder();
    let mut map = AtomicMapping::options().create(true).len(1 << 16).load(folder.path().join("a")).unwrap();
    // SAFETY: changes no byte.
    if unsafe { libc::mlock(map.as_ptr().cast(), map.len()) } != 0 {
        println!("skipped: this process may not lock memory");
        return;
    }
    for round in 1..4 {
        map[0] = round;
        map.commit().unwrap();
    }
    map[0] = 9;
    map.rollback().unwrap();
    assert_eq!(map[0], 3);
}

#[test]
fn holes_that_were_cut_off_and_grown_again_take_no_space() {
    let folder = folder();
    let path = folder.path().join("a");
    let len = 1 << 42;
    std::fs::File::create(&path).unwrap().set_len(len as u64).unwrap();
    let open = || unsafe_view(&path);
    let mut map = open();
    map.edit(0..4).unwrap().fill(1);
    map.edit(len - 4..len).unwrap().fill(2);
    map.commit().unwrap();
    map.checkpoint().unwrap();
    map.resize(2).unwrap();
    map.resize(len).unwrap();
    map.commit().unwrap();
    map.close().unwrap();
    let map = open();
    assert_eq!((&map[..4], map[len - 1]), (&[1, 1, 0, 0][..], 0));
}

#[allow(unsafe_code)]
fn unsafe_view(path: &std::path::Path) -> AtomicMapping {
    // SAFETY: the file lies in a folder that this test made, and nothing else writes it while the map is open.
    unsafe { AtomicMapping::options().view(path) }.unwrap()
}
