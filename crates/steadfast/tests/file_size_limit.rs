//! `ulimit -f`: what would be beyond it is an error value, never SIGXFSZ.
//!
//! # Safety
//!
//! This file is trusted with `setrlimit` and `signal` on its own process. It holds one test, since the limit is the whole process's.
#![allow(unsafe_code)]

use steadfast::{AtomicMapping, ErrorKind, Mapping};

fn limit(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one structure, which lives across the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
}

/// Lifts the limit again: the report of the tests may itself go to a file.
struct Limited;

impl Drop for Limited {
    fn drop(&mut self) {
        limit(libc::RLIM_INFINITY);
    }
}

#[test]
fn a_file_size_limit_is_an_error_value_and_no_signal() {
    // Who started the tests may have it ignored, as Python does.
    // SAFETY: the default, before any other thread or the library has to do with it.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("large");
    std::fs::write(&path, vec![1; 8 << 20]).unwrap();

    let _limited = Limited;
    // No journal.
    limit(64 << 10);
    let created = folder.path().join("created");
    let error = AtomicMapping::options().create(true).len(4096).load(&created).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(!created.exists());

    // A journal, but no memory for the file, and nothing beyond the limit of it.
    limit(4 << 20);
    let error = AtomicMapping::options().load(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    // SAFETY: the file lies in a folder that this test made, and nothing else writes it while the map is open.
    let mut map = unsafe { AtomicMapping::options().view(&path) }.unwrap();
    map.edit((6 << 20)..(6 << 20) + 4).unwrap().fill(2);
    assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::NotCommitted);
    map.rollback().unwrap();
    map.resize(16 << 20).unwrap();
    assert_eq!(map.commit().unwrap_err().kind(), ErrorKind::NotCommitted);
    map.rollback().unwrap();
    map.edit(0..4).unwrap().fill(3);
    map.commit().unwrap();
    map.close().unwrap();
    let mut map = AtomicMapping::options().create(true).len(4096).load(&created).unwrap();
    assert_eq!(map.resize(16 << 20).unwrap_err().kind(), ErrorKind::NoSpace);
    map.close().unwrap();

    // Checked access to pages that are gone, where not even the copy's scratch memory may be written.
    let map = Mapping::options().write(true).open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    for bytes in [0, 5] {
        limit(bytes);
        assert_eq!(map.read_at(1 << 20, &mut [0; 9]).unwrap_err().kind(), ErrorKind::Truncated);
        map.write_at(0, b"steadfast").unwrap();
    }

    // Lowered while a file is open: no commit, no signal, and nothing that was committed is lost.
    limit(libc::RLIM_INFINITY);
    let path = folder.path().join("lowered");
    let mut map = AtomicMapping::options().create(true).len(1 << 20).load(&path).unwrap();
    map.write_at(0, b"committed").unwrap();
    map.commit().unwrap();
    limit(4096);
    map.write_at(0, b"forgotten").unwrap();
    let error = map.commit().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotCommitted | ErrorKind::InDoubt), "{error}");
    assert!(error.to_string().contains("File too large"), "{error}");
    drop(map);
    limit(libc::RLIM_INFINITY);
    let map = AtomicMapping::options().load(&path).unwrap();
    assert!(matches!(&map[..9], b"committed" | b"forgotten"));
    map.close().unwrap();
    // What is not ours is as it was: a write of the program's own ends it, as it would have.
    // SAFETY: the child makes async-signal-safe calls only.
    match unsafe { libc::fork() } {
        0 => {
            let limit = libc::rlimit { rlim_cur: 10, rlim_max: libc::RLIM_INFINITY };
            // SAFETY: reads one structure, which lives across the call.
            unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
            // SAFETY: takes numbers and a string.
            let file = unsafe { libc::memfd_create(c"large".as_ptr(), 0) };
            // SAFETY: reads eleven bytes of a string that has as many.
            unsafe { libc::pwrite(file, c"eleven bytes".as_ptr().cast(), 11, 11) };
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) };
        }
        child => {
            let mut status = 0;
            // SAFETY: writes one number, which lives across the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGXFSZ, "{status}");
        }
    }
}
