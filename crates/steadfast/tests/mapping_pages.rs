//! Protections, advice, locked pages and residency.

use steadfast::{Advice, ErrorKind, FileAdvice, Mapping, PageState, Protection};

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn page() -> usize {
    rustix::param::page_size()
}

fn map_of(folder: &tempfile::TempDir, pages: usize) -> Mapping {
    let path = folder.path().join("data.bin");
    Mapping::options().write(true).create(true).len(pages * page()).open(path).unwrap()
}

#[test]
fn protected_pages_are_errors_and_no_signals() {
    let folder = folder();
    let mut map = map_of(&folder, 8);
    map.protect(page() + 1..2 * page() + 1, Protection::READ).unwrap();
    map.protect(4 * page()..5 * page(), Protection::NONE).unwrap();
    let error = map.write_at(0, &vec![7; 8 * page()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert_eq!(error.bytes(), Some(page() as u64..3 * page() as u64), "rounded outwards");
    assert_eq!(map.write_at(3 * page() - 1, &[1]).unwrap_err().kind(), ErrorKind::ReadOnly);
    map.write_at(page() - 1, &[1]).unwrap();
    map.write_at(3 * page(), &[1]).unwrap();
    let error = map.read_at(4 * page() - 1, &mut [0; 2]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert_eq!(map.write_at(4 * page(), &[1]).unwrap_err().kind(), ErrorKind::PermissionDenied);
    map.read_at(page(), &mut [0; 1]).unwrap();
    map.read_at(0, &mut vec![0; 4 * page()]).unwrap();
    for at in [page(), 4 * page()] {
        map.atomic::<std::sync::atomic::AtomicU64>(at).unwrap_err();
    }
    map.protect(.., Protection::READ_WRITE).unwrap();
    map.write_at(0, &vec![7; 8 * page()]).unwrap();

    let mut read = Mapping::options().open(map.path().unwrap()).unwrap();
    assert_eq!(read.protect(.., Protection::READ_WRITE).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(read.write_at(0, &[1]).unwrap_err().kind(), ErrorKind::ReadOnly);
    read.protect(.., Protection::NONE).unwrap();
    read.protect(.., Protection::READ).unwrap();
    read.read_at(0, &mut [0]).unwrap();
}

#[test]
fn advice_never_leaves_the_mapping() {
    let folder = folder();
    let map = map_of(&folder, 4);
    let len = map.len();
    for range in [0..len + 1, len..len + page(), len + 1..len + 2, 0..usize::MAX] {
        for error in [
            map.advise(range.clone(), Advice::Random).unwrap_err(),
            map.advise(range.clone(), Advice::DontNeed).unwrap_err(),
            map.advise_file(range.clone(), FileAdvice::WillNeed).unwrap_err(),
            map.readahead(range.clone()).unwrap_err(),
            map.lock(range.clone()).unwrap_err(),
            map.unlock(range.clone()).unwrap_err(),
            map.residency(range.clone()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::OutOfRange, "{range:?}: {error}");
        }
    }
    map.advise(len..len, Advice::Random).unwrap();
}

#[test]
fn safe_advice_changes_no_byte() {
    let folder = folder();
    let map = map_of(&folder, 16);
    let bytes: Vec<u8> = (0..map.len()).map(|at| (at % 251) as u8).collect();
    map.write_at(0, &bytes).unwrap();
    let anonymous = Mapping::options().len(16 * page()).anonymous().unwrap();
    let private = Mapping::options().write(true).private(true).open(map.path().unwrap()).unwrap();
    for map in [&map, &anonymous, &private] {
        map.write_at(0, &bytes).unwrap();
        for advice in [
            Advice::Normal,
            Advice::Random,
            Advice::Sequential,
            Advice::WillNeed,
            Advice::DontNeed,
            Advice::Cold,
            Advice::PageOut,
            Advice::PopulateRead,
            Advice::PopulateWrite,
            Advice::Collapse,
            Advice::HugePage,
            Advice::NoHugePage,
            Advice::Mergeable,
            Advice::Unmergeable,
            Advice::DontDump,
            Advice::DoDump,
            Advice::DontFork,
            Advice::DoFork,
        ] {
            let result = map.advise(page() + 1..9 * page(), advice);
            if advice == Advice::DontNeed && map.path().is_none() {
                assert_eq!(result.as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
            }
            if let Err(error) = result {
                // Not everything is to be had in every kernel and for every mapping.
                assert!(
                    !matches!(error.kind(), ErrorKind::OutOfRange | ErrorKind::Truncated),
                    "{advice:?}: {error}"
                );
            }
            let mut back = vec![0; bytes.len()];
            map.read_at(0, &mut back).unwrap();
            assert!(back == bytes, "{advice:?}");
        }
        for advice in [
            FileAdvice::Normal,
            FileAdvice::Sequential,
            FileAdvice::Random,
            FileAdvice::WillNeed,
            FileAdvice::DontNeed,
            FileAdvice::NoReuse,
        ] {
            map.advise_file(1.., advice).unwrap();
        }
        map.readahead(..).unwrap();
    }
    assert_eq!(private.advise(.., Advice::DontNeed).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn locked_pages_are_in_memory() {
    let folder = folder();
    let mut map = map_of(&folder, 8);
    map.sync(..).unwrap();
    map.invalidate(..).unwrap();
    map.lock(2 * page() + 1..4 * page()).unwrap();
    let residency = map.residency(2 * page()..4 * page()).unwrap();
    assert!(residency.resident().is_none_or(|pages| pages == 2));
    map.unlock(..).unwrap();
}

#[test]
fn a_refused_lock_names_the_limit() {
    let test = "a_refused_lock_names_the_limit";
    if std::env::var("STEADFAST_NO_LOCKS").is_ok() {
        let limit = rustix::process::Rlimit { current: Some(65536), maximum: Some(65536) };
        rustix::process::setrlimit(rustix::process::Resource::Memlock, limit).unwrap();
        let map = Mapping::options().len(1 << 20).anonymous().unwrap();
        let error = map.lock(..).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        assert!(error.to_string().contains("RLIMIT_MEMLOCK is 65536 bytes"), "{error}");
        return;
    }
    use std::os::unix::process::CommandExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = std::process::Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env("STEADFAST_NO_LOCKS", "1").current_dir("/");
    if rustix::process::geteuid().is_root() {
        // Root may lock as much as it likes.
        command.uid(65534).gid(65534);
    }
    assert!(command.status().unwrap().success());
}

#[test]
fn residency_tells_dirty_from_clean_from_absent() {
    let folder = folder();
    let mut map = map_of(&folder, 300);
    map.write_at(0, &vec![1; 300 * page()]).unwrap();
    map.sync(..).unwrap();
    map.invalidate(..).unwrap();
    map.advise(.., Advice::Random).unwrap();
    map.advise_file(.., FileAdvice::Random).unwrap();
    if map.residency(..).unwrap().dirty() != Some(0) {
        return eprintln!("lacks cachestat");
    }
    assert_eq!(map.residency(..).unwrap().spans().len(), 1);
    map.write_at(100 * page(), &vec![2; 3 * page()]).unwrap();
    map.read_at(200 * page() + 1, &mut [0; 1]).unwrap();
    let residency = map.residency(..).unwrap();
    assert_eq!(residency.pages(), 300);
    assert_eq!(residency.dirty(), Some(3));
    let of = |state| -> Vec<_> {
        residency.spans().iter().filter(|span| span.state == state).map(|span| span.range.clone()).collect()
    };
    assert_eq!(of(PageState::Dirty), vec![100 * page()..103 * page(); 1]);
    let clean = of(PageState::Resident);
    assert!(clean.iter().any(|range| range.contains(&(200 * page()))), "{clean:?}");
    // Spans cover everything once, in order, and agree with the totals.
    let mut at = 0;
    for span in residency.spans() {
        assert_eq!(span.range.start, at);
        at = span.range.end;
    }
    assert_eq!(at, map.len());
    let resident: usize = residency
        .spans()
        .iter()
        .filter(|span| span.state != PageState::Absent)
        .map(|span| span.range.len() / page())
        .sum();
    assert_eq!(residency.resident(), Some(resident));
    // Anonymous memory: present or not, dirty means nothing.
    let anonymous = Mapping::options().len(4 * page()).anonymous().unwrap();
    anonymous.write_at(page(), &[1]).unwrap();
    let residency = anonymous.residency(..).unwrap();
    assert_eq!((residency.resident(), residency.dirty()), (Some(1), None));
    assert_eq!(residency.spans()[1].range, page()..2 * page());
}
