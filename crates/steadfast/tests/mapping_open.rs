//! What can be mapped, and what each refusal says.

use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::process::Command;

use steadfast::{ErrorKind, Mapping};

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn page() -> usize {
    rustix::param::page_size()
}

#[test]
fn only_regular_files_can_be_mapped() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("directory")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink("nothing", at("dangling")).unwrap();
    std::os::unix::fs::symlink("circle", at("circle")).unwrap();
    for write in [false, true] {
        for create in [false, write] {
            let refused = |path: &std::path::Path, kind, says: &str| {
                let error = Mapping::options().write(write).create(create).open(path).unwrap_err();
                assert_eq!(error.kind(), kind, "{error}");
                assert!(error.to_string().contains(says), "{error}");
                assert_eq!(error.file(), Some(path), "{error}");
                assert_eq!(error.operation(), "open");
            };
            refused(&at("directory"), ErrorKind::Unsupported, "directory");
            refused(&at("fifo"), ErrorKind::Unsupported, "FIFO");
            refused(&at("socket"), ErrorKind::Unsupported, "socket");
            refused("/dev/null".as_ref(), ErrorKind::Unsupported, "character device");
            refused(&at("dangling"), ErrorKind::NotFound, "symbolic link to something");
            refused(&at("circle"), ErrorKind::InvalidInput, "symbolic links");
            refused(&at("missing/file"), ErrorKind::NotFound, "does not exist");
            if !create {
                refused(&at("missing"), ErrorKind::NotFound, "does not exist");
            }
            assert!(!at("nothing").exists());
        }
    }
    let pipe = std::io::pipe().unwrap();
    assert_eq!(Mapping::options().open_fd(&pipe.0).unwrap_err().kind(), ErrorKind::Unsupported);
    let error = Mapping::options().write(true).create(true).open(at("new/")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    for path in ["", "a\0b", "/", ".."] {
        Mapping::options().write(true).create(true).open(path).unwrap_err();
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    std::fs::write(&path, [1]).unwrap();
    let options = Mapping::options;
    for options in [
        options().create(true),
        options().create_new(true),
        options().grow(true),
        options().write(true).private(true).grow(true),
        options().write(true).private(true).create(true),
        options().len(usize::MAX),
        options().write(true).grow(true).len(usize::MAX),
        options().offset(u64::MAX).len(1),
        options().offset(i64::MAX as u64).len(1),
        options().write(true).grow(true).offset(u64::MAX),
    ] {
        let text = format!("{options:?}");
        let error = options.open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}: {error}");
    }
    let file = std::fs::File::open(&path).unwrap();
    let error = options().write(true).create(true).open_fd(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for options in [options().offset(1), options().create(true), options().sparse(true)] {
        assert_eq!(options.len(5).anonymous().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1);
    assert_eq!(options().reserve(usize::MAX).open(&path).unwrap_err().kind(), ErrorKind::LimitExceeded);
    options().len(usize::MAX).anonymous().unwrap_err();
    options().len(usize::MAX / 2).anonymous().unwrap_err();
}

#[test]
fn a_new_file_is_created_once() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    let options = || Mapping::options().write(true).create_new(true).len(10);
    drop(options().open(&path).unwrap());
    let error = options().open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    let map = Mapping::options().write(true).create(true).open(&path).unwrap();
    assert_eq!((map.len(), map.path()), (10, Some(path.canonicalize().unwrap().as_path())));
}

#[test]
fn nothing_is_mapped_past_the_end_unless_the_file_may_grow() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    std::fs::write(&path, vec![7; 100]).unwrap();
    for options in
        [Mapping::options().len(101), Mapping::options().offset(101), Mapping::options().offset(90).len(11)]
    {
        let error = options.clone().open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
        assert!(error.to_string().contains("100 bytes"), "{error}");
        assert_eq!(options.write(true).open(&path).unwrap_err().kind(), ErrorKind::OutOfRange);
    }
    assert_eq!(Mapping::options().offset(100).open(&path).unwrap().len(), 0);
    let len = 1 << 20;
    let map = Mapping::options().write(true).grow(true).offset(50).len(len).open(&path).unwrap();
    let file = std::fs::metadata(&path).unwrap();
    assert_eq!(file.len(), 50 + len as u64);
    assert!(file.blocks() * 512 >= len as u64, "blocks are there before the first store");
    let mut bytes = [1; 60];
    map.read_at(0, &mut bytes).unwrap();
    assert_eq!((&bytes[..50], &bytes[50..]), (&[7; 50][..], &[0; 10][..]));
    let sparse = folder.path().join("sparse.bin");
    drop(Mapping::options().write(true).create(true).sparse(true).len(1 << 30).open(&sparse).unwrap());
    let file = std::fs::metadata(&sparse).unwrap();
    assert_eq!(file.len(), 1 << 30);
    assert!(file.blocks() * 512 < 1 << 20);
}

#[test]
fn a_growth_that_fails_changes_nothing() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    // Longer than any file of ext4, XFS or btrfs may be, or than any disk of this test is.
    let options = || Mapping::options().write(true).create(true).len(i64::MAX as usize);
    let error = options().open(&path).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::LimitExceeded), "{error}");
    assert!(!path.exists(), "a file that this call created is removed");
    std::fs::write(&path, [1; 100]).unwrap();
    options().open(&path).unwrap_err();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 100);
    let mut map = options().len(100).open(&path).unwrap();
    let before = map.as_ptr();
    for len in [usize::MAX, i64::MAX as usize, 1 << 60] {
        map.resize(len).unwrap_err();
        assert_eq!((map.len(), map.as_ptr()), (100, before));
    }
    map.write_at(99, &[2]).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 100);
}

#[test]
fn a_full_disk_is_an_error_of_the_open() {
    let folder = folder();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&small).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return eprintln!("lacks the right to mount");
    }
    struct Unmount(std::path::PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(small.clone());
    let path = small.join("data.bin");
    let options = || Mapping::options().write(true).create(true);
    let error = options().len(2 << 20).open(&path).unwrap_err();
    assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::NoSpace, Some(28)), "{error}");
    assert!(!path.exists());
    let mut map = options().len(1 << 19).open(&path).unwrap();
    assert_eq!(map.resize(2 << 20).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(map.len(), 1 << 19);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 19);
    // Asked for: then the hole that gets no block is an error of the store, and not SIGBUS.
    let sparse = options().sparse(true).len(4 << 20).open(small.join("sparse.bin")).unwrap();
    let error = sparse.write_at(0, &vec![7; 4 << 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}

#[test]
fn empty_files_and_empty_ranges_work_everywhere() {
    let folder = folder();
    let path = folder.path().join("empty");
    let empty = Mapping::options().write(true).create(true).open(&path).unwrap();
    let read = Mapping::options().open(&path).unwrap();
    let private = Mapping::options().write(true).private(true).open(&path).unwrap();
    let anonymous = Mapping::options().anonymous().unwrap();
    for (index, mut map) in [empty, read, private, anonymous].into_iter().enumerate() {
        assert!(map.is_empty());
        map.read_at(0, &mut []).unwrap();
        map.write_at(0, &[]).unwrap();
        assert_eq!(map.read_at(0, &mut [0]).unwrap_err().kind(), ErrorKind::OutOfRange);
        assert_eq!(map.read_at(1, &mut []).unwrap_err().kind(), ErrorKind::OutOfRange);
        if index < 2 {
            map.sync(..).unwrap();
            map.start_sync(..).unwrap().wait().unwrap();
            map.invalidate(..).unwrap();
        }
        map.protect(.., steadfast::Protection::READ).unwrap();
        map.advise(.., steadfast::Advice::Random).unwrap();
        map.advise_file(.., steadfast::FileAdvice::DontNeed).unwrap();
        map.readahead(..).unwrap();
        map.lock(..).unwrap();
        map.unlock(..).unwrap();
        assert_eq!((map.residency(..).unwrap().pages(), map.residency(..).unwrap().spans().len()), (0, 0));
        map.resize(0).unwrap();
        map.close().unwrap();
    }
}

#[test]
fn an_offset_need_not_be_a_page_boundary() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    let bytes: Vec<u8> = (0..4 * page()).map(|at| (at % 253) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    for offset in [0, 1, page() - 1, page(), 3 * page() + 17, 4 * page()] {
        let map = Mapping::options().write(true).offset(offset as u64).open(&path).unwrap();
        assert_eq!(map.len(), bytes.len() - offset);
        let mut back = vec![0; map.len()];
        map.read_at(0, &mut back).unwrap();
        assert!(back == bytes[offset..]);
        assert_eq!(map.read_at(1, &mut back).unwrap_err().kind(), ErrorKind::OutOfRange);
        map.sync(..).unwrap();
    }
    let map = Mapping::options().write(true).offset(page() as u64 - 2).len(4).open(&path).unwrap();
    map.write_at(0, b"abcd").unwrap();
    map.sync(3..4).unwrap();
    assert_eq!(&std::fs::read(&path).unwrap()[page() - 2..page() + 2], b"abcd");
}

#[test]
fn a_descriptor_gives_no_more_than_it_allows() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    std::fs::write(&path, [7; 100]).unwrap();
    let read = std::fs::File::open(&path).unwrap();
    let write = std::fs::File::options().write(true).open(&path).unwrap();
    let name_only = std::fs::File::options().read(true).custom_flags(0o10_000_000).open(&path).unwrap();
    let error = Mapping::options().write(true).open_fd(&read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert_eq!(Mapping::options().open_fd(&write).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(Mapping::options().open_fd(&name_only).unwrap_err().kind(), ErrorKind::PermissionDenied);
    let map = Mapping::options().open_fd(&read).unwrap();
    assert_eq!(map.path(), Some(path.canonicalize().unwrap().as_path()));
    assert_eq!(map.write_at(0, &[1]).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(map.redirty(..).unwrap_err().kind(), ErrorKind::ReadOnly);
    // A file without a name.
    let unnamed = tempfile::tempfile_in(folder.path()).unwrap();
    let map = Mapping::options().write(true).grow(true).len(10).open_fd(&unnamed).unwrap();
    map.write_at(0, b"0123456789").unwrap();
    map.sync(..).unwrap();
    assert_eq!(map.path(), None);
    assert_eq!(unnamed.metadata().unwrap().len(), 10);
}

#[test]
fn a_private_mapping_keeps_its_stores() {
    let folder = folder();
    let path = folder.path().join("data.bin");
    std::fs::write(&path, [7; 100]).unwrap();
    let map = Mapping::options().write(true).private(true).open(&path).unwrap();
    map.write_at(0, b"mine").unwrap();
    let mut bytes = [0; 5];
    map.read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"mine\x07");
    assert_eq!(std::fs::read(&path).unwrap(), [7; 100]);
}

#[test]
fn permissions_are_named() {
    let test = "permissions_are_named";
    if let Ok(path) = std::env::var("STEADFAST_NOBODY") {
        let error = Mapping::options().open(format!("{path}/secret")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(error.to_string().contains("permissions"), "{error}");
        let error = Mapping::options().write(true).open(format!("{path}/public")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        let error =
            Mapping::options().write(true).create(true).len(1).open(format!("{path}/new")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        // Neither ours nor writable: nobody tells what is cached, and nothing is claimed.
        let map = Mapping::options().open(format!("{path}/public")).unwrap();
        let residency = map.residency(..).unwrap();
        if residency.dirty().is_none() {
            assert_eq!(residency.resident(), None);
            assert_eq!(residency.spans()[0].state, steadfast::PageState::Unknown);
        }
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return eprintln!("lacks root, who alone can become nobody");
    }
    use std::os::unix::process::CommandExt;
    // Where nobody may go, and the test itself in a place that nobody may run it from.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for (name, mode) in [("secret", 0o600), ("public", 0o644)] {
        let path = folder.path().join(name);
        std::fs::write(&path, [7; 100]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let status = Command::new(program)
        .args(["--exact", test, "--nocapture"])
        .env("STEADFAST_NOBODY", folder.path())
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .status()
        .unwrap();
    assert!(status.success());
}
