//! A mapping, its file and a plain `Vec<u8>` agree, whatever is done to them.

use proptest::prelude::*;
use steadfast::{ErrorKind, Mapping, MappingOptions, Protection};

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn page() -> usize {
    rustix::param::page_size()
}

#[test]
fn a_reservation_keeps_addresses() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    let mut map =
        Mapping::options().write(true).create(true).len(10).reserve(100 * page()).open(&path).unwrap();
    let before = map.as_ptr();
    map.write_at(0, b"0123456789").unwrap();
    for len in [page(), 50 * page() + 1, 3, 100 * page()] {
        map.resize(len).unwrap();
        assert_eq!((map.as_ptr(), map.len()), (before, len));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), len as u64);
    }
    map.resize(200 * page()).unwrap();
    let mut bytes = [0; 10];
    map.read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"012\0\0\0\0\0\0\0", "what was cut is zeros");
}

#[test]
fn a_move_keeps_private_stores_and_protections() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    std::fs::write(&path, vec![7; 64 * page()]).unwrap();
    let file = || Mapping::options().write(true).private(true).len(4 * page()).open(&path).unwrap();
    let anonymous = || Mapping::options().len(4 * page()).anonymous().unwrap();
    for (mut map, other, fresh) in [(file(), file(), 7), (anonymous(), anonymous(), 0)] {
        map.write_at(page() + 1, b"mine").unwrap();
        map.write_at(3 * page() + 1, b"hidden").unwrap();
        map.protect(2 * page()..3 * page(), Protection::READ).unwrap();
        map.protect(3 * page()..4 * page(), Protection::NONE).unwrap();
        let before = map.as_ptr();
        map.resize(64 * page()).unwrap();
        assert_ne!(map.as_ptr(), before, "the test moves");
        let mut bytes = [0; 6];
        map.read_at(page(), &mut bytes).unwrap();
        assert_eq!(bytes, [fresh, b'm', b'i', b'n', b'e', fresh]);
        assert_eq!(map.write_at(2 * page(), &[1]).unwrap_err().kind(), ErrorKind::ReadOnly);
        assert_eq!(map.read_at(3 * page(), &mut bytes).unwrap_err().kind(), ErrorKind::PermissionDenied);
        map.protect(3 * page().., Protection::READ_WRITE).unwrap();
        map.read_at(3 * page() + 1, &mut bytes).unwrap();
        assert_eq!(&bytes, b"hidden");
        map.read_at(60 * page(), &mut bytes).unwrap();
        assert_eq!(bytes, [fresh; 6]);
        drop(other);
    }
    // Nobody grows a file that is not its own.
    for mut map in [file(), Mapping::options().open(&path).unwrap()] {
        let before = map.len();
        assert_eq!(map.resize(65 * page()).unwrap_err().kind(), ErrorKind::OutOfRange);
        assert_eq!(map.len(), before);
        map.resize(1).unwrap();
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 64 * page() as u64);
}

#[test]
fn only_a_mapping_that_reaches_to_the_end_cuts_the_file() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    std::fs::write(&path, vec![7; 4 * page()]).unwrap();
    let mut map = Mapping::options().write(true).len(2 * page()).open(&path).unwrap();
    map.resize(page()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 4 * page() as u64);
    assert_eq!(map.read_at(page(), &mut [0]).unwrap_err().kind(), ErrorKind::OutOfRange);
    map.resize(4 * page()).unwrap();
    map.resize(5).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 5);
}

#[derive(Debug, Clone)]
enum Step {
    Read(usize, usize),
    Write(usize, Vec<u8>),
    Resize(usize),
    Sync(usize, usize),
    StartSync(usize, usize),
}

const LEN_MAX: usize = 40_000;

fn step() -> impl Strategy<Value = Step> {
    // Lengths and offsets near pages, and far.
    let at = || prop_oneof![0..LEN_MAX, (0usize..10, 0usize..5).prop_map(|(page, near)| page * 4096 + near)];
    prop_oneof![
        (at(), 0usize..9000).prop_map(|(at, len)| Step::Read(at, len)),
        (at(), prop::collection::vec(any::<u8>(), 0..9000)).prop_map(|(at, bytes)| Step::Write(at, bytes)),
        at().prop_map(Step::Resize),
        (at(), at()).prop_map(|(a, b)| Step::Sync(a.min(b), a.max(b))),
        (at(), at()).prop_map(|(a, b)| Step::StartSync(a.min(b), a.max(b))),
    ]
}

fn agrees(options: MappingOptions, kind: usize, offset: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let folder = folder();
    let path = folder.path().join("data.bin");
    let options = options.len(5000);
    // What the file holds, as far as it is not the mapping's: 0 shared, 1 private (of a file that is long enough), 2 anonymous.
    let file: Vec<u8> = match kind {
        1 => (0..LEN_MAX + 20_000).map(|at| (at % 241) as u8).collect(),
        _ => Vec::new(),
    };
    let mut map = match kind {
        0 => options.write(true).create(true).offset(offset).open(&path).unwrap(),
        1 => {
            std::fs::write(&path, &file).unwrap();
            options.write(true).private(true).offset(offset).open(&path).unwrap()
        }
        _ => options.anonymous().unwrap(),
    };
    let fresh = |at: usize| file.get(offset as usize + at).copied().unwrap_or(0);
    let mut model: Vec<u8> = (0..5000).map(fresh).collect();
    for step in steps {
        let inside = |range: std::ops::Range<usize>| range.end <= model.len();
        match step {
            Step::Read(at, len) => {
                let mut bytes = vec![0; len];
                let read = map.read_at(at, &mut bytes);
                prop_assert_eq!(read.is_ok(), inside(at..at + len));
                if read.is_ok() {
                    prop_assert!(bytes == model[at..at + len]);
                }
            }
            Step::Write(at, bytes) => {
                let written = map.write_at(at, &bytes);
                prop_assert_eq!(written.is_ok(), inside(at..at + bytes.len()));
                if written.is_ok() {
                    model[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
            Step::Resize(len) => {
                map.resize(len).unwrap();
                let old = model.len();
                model.resize(len, 0);
                (old..len).for_each(|at| model[at] = fresh(at));
                prop_assert_eq!(map.len(), len);
            }
            Step::Sync(start, end) => {
                prop_assert_eq!(map.sync(start..end).is_ok(), kind == 0 && inside(start..end));
            }
            Step::StartSync(start, end) => {
                prop_assert_eq!(map.start_sync(start..end).is_ok(), kind == 0 && inside(start..end));
            }
        }
    }
    let mut bytes = vec![0; model.len()];
    map.read_at(0, &mut bytes).unwrap();
    prop_assert!(bytes == model);
    map.close().unwrap();
    if kind == 0 {
        prop_assert!(std::fs::read(&path).unwrap()[offset as usize..] == model);
    }
    if kind == 1 {
        prop_assert!(std::fs::read(&path).unwrap() == file);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_mapping_is_a_vec_of_bytes(
        kind in 0usize..3,
        offset in prop_oneof![Just(0u64), 1u64..9000],
        reserve in prop_oneof![Just(0usize), 0usize..LEN_MAX],
        steps in prop::collection::vec(step(), 0..24),
    ) {
        agrees(Mapping::options().reserve(reserve), kind, if kind == 2 { 0 } else { offset }, steps)?;
    }
}
