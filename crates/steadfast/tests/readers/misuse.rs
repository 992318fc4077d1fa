//! What a map that was opened for reading does not do, and how it says so.

use std::fs;

use steadfast::{AtomicMapping, ErrorKind, Mapping};

use crate::read;
use crate::stage::{Model, assert_says, folder, options};

#[test]
fn a_map_opened_for_reading_commits_nothing_and_says_what_to_do() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut map = read(&path).unwrap();
    map[3] = 9;
    map.write_at(5000, b"hello").unwrap();
    let refused = [
        map.commit().map(drop),
        map.commit_relaxed().map(drop),
        map.commit_async().map(drop),
        map.checkpoint(),
        map.transaction(|map| map.write_at(0, b"x")),
    ];
    for error in refused.map(Result::unwrap_err) {
        assert_says(&error, ErrorKind::ReadOnly, &path, &["read_only", "copy_to"]);
    }
    assert!(map[..] == Model::plain().0, "the transaction was rolled back, and all before it");
    map[3] = 9;
    map.rollback().unwrap();
    assert!(map[..] == Model::plain().0);
    map.close().unwrap();
    assert!(fs::read(&path).unwrap() == Model::plain().0);
}

#[test]
#[allow(unsafe_code)]
fn what_contradicts_reading_is_refused() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    let reading = || AtomicMapping::options().read_only(true);
    assert_says(&reading().load(&path).unwrap_err(), ErrorKind::NotFound, &path, &[]);
    let error = reading().create(true).load(&path).unwrap_err();
    assert_says(&error, ErrorKind::InvalidInput, &path, &["create", "contradict"]);
    assert!(!path.exists());
    Model::plain().write(&path);
    let error = reading().len(crate::stage::LEN + 1).load(&path).unwrap_err();
    assert_says(&error, ErrorKind::OutOfRange, &path, &["reading only"]);
    assert_eq!(reading().len(3).load(&path).unwrap().len(), crate::stage::LEN);
    let error = reading().reserve(usize::MAX).load(&path).unwrap_err();
    assert_says(&error, ErrorKind::InvalidInput, &path, &["address space"]);
    // SAFETY: nothing else writes the file.
    let error = unsafe { reading().view(&path) }.unwrap_err();
    assert_says(&error, ErrorKind::InvalidInput, &path, &["load", "Mapping"]);
    let error = reading().load(folder.path()).unwrap_err();
    assert_says(&error, ErrorKind::Unsupported, folder.path(), &["directory"]);
    let empty = folder.path().join("empty");
    fs::write(&empty, b"").unwrap();
    assert!(reading().load(&empty).unwrap().is_empty());
}

#[test]
fn a_mapping_beside_a_writer_shows_the_plain_file_and_readers_do_not_wait_for_it() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    Model::plain().write(&path);
    let mut writer = options().load(&path).unwrap();
    crate::stage::store(&mut writer, 1);
    writer.commit().unwrap();
    let plain = Mapping::options().open(&path).unwrap();
    let mut bytes = vec![0; plain.len()];
    plain.read_at(0, &mut bytes).unwrap();
    assert!(bytes == Model::plain().0, "the commit is in the journal");
    assert!(read(&path).unwrap()[..] == Model::after(&[1]).0);
}
