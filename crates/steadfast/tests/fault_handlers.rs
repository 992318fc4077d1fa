//! A program's own SIGBUS handler keeps what is not ours, whenever it was installed; what nobody handles still ends the process.
//!
//! # Safety
//!
//! Handlers here keep to what a handler may do: atomics, and `mmap` over a page of this test's own mapping.
#![allow(unsafe_code)]

#[path = "stage/forbid.rs"]
mod forbid;
mod process;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use process::Handler;
use steadfast::{ErrorKind, Mapping, fault};

const PAGES: usize = 8;

fn page() -> usize {
    rustix::param::page_size()
}

/// Runs `work` in a process of its own: this test once more. The signal that ended it, or nothing.
fn in_a_process(test: &str, work: fn()) -> Option<i32> {
    if std::env::var_os("STEADFAST_FAULT_CHILD").is_some() {
        work();
        // Past the harness: its threads are no part of this.
        process::leave(0);
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("STEADFAST_FAULT_CHILD", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.signal().is_some() || child.status.success(), "{}: {said}", child.status);
    child.status.signal()
}

/// A file that is mapped by ours and by plain mmap(2), and then cut.
struct Cut {
    map: Mapping,
    foreign: *const u8,
    _folder: tempfile::TempDir,
}

fn cut() -> Cut {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(folder.path().join("data.bin"))
        .unwrap();
    file.set_len((PAGES * page()) as u64).unwrap();
    let map = Mapping::options().open_fd(&file).unwrap();
    let foreign = process::map(0, PAGES * page(), libc::MAP_SHARED, file.as_raw_fd()).unwrap();
    file.set_len(0).unwrap();
    Cut { map, foreign, _folder: folder }
}

impl Cut {
    /// A fault of ours is answered by the guard.
    fn touch_ours(&self, at: usize) {
        let calls = CALLS.load(Ordering::SeqCst);
        assert_eq!(process::load(self.map.as_ptr().wrapping_add(at * page())), 0);
        assert_eq!(self.map.check().unwrap_err().kind(), ErrorKind::Truncated);
        assert_eq!(CALLS.load(Ordering::SeqCst), calls, "the program's handler is not asked");
    }

    /// One that is not ours is answered by the program's handler.
    fn touch_foreign(&self, at: usize) {
        let calls = CALLS.load(Ordering::SeqCst);
        assert_eq!(process::load(self.foreign.wrapping_add(at * page())), 0);
        assert_eq!(CALLS.load(Ordering::SeqCst), calls + 1, "the program's handler is asked once");
    }
}

static CALLS: AtomicUsize = AtomicUsize::new(0);
/// What the program's handler found when it was installed.
static FOUND: AtomicUsize = AtomicUsize::new(0);

fn put_a_page(info: *mut libc::siginfo_t) {
    CALLS.fetch_add(1, Ordering::SeqCst);
    let page_start = process::fault_of(info).0 & !(page() - 1);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    process::map(page_start, page(), flags, -1);
}

extern "C" fn handles(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    put_a_page(info);
}

/// As programs do that are good neighbours: hands on what is not theirs (everything is theirs but what lies in `map`).
extern "C" fn hands_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let ours = FOREIGN.load(Ordering::SeqCst);
    if (ours..ours + PAGES * page()).contains(&process::fault_of(info).0) {
        return put_a_page(info);
    }
    process::hand_on(FOUND.load(Ordering::SeqCst), signal, info, context);
}

static FOREIGN: AtomicUsize = AtomicUsize::new(0);

/// Hands everything on, and answers what comes back to it: who calls it from behind would never end.
extern "C" fn only_hands_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    CALLS.fetch_add(1, Ordering::SeqCst);
    process::hand_on(FOUND.load(Ordering::SeqCst), signal, info, context);
}

extern "C" fn answers(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let (address, code) = process::fault_of(info);
    // SAFETY: this is a SIGBUS handler, and that is what the kernel told it.
    if !unsafe { fault::answer(address, code) } {
        put_a_page(info);
    }
}

extern "C" fn looks_at_its_mask(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let blocked =
        usize::from(process::blocks(libc::SIGUSR1)) + 2 * usize::from(process::blocks(libc::SIGBUS));
    MASK.store(1 + blocked, Ordering::SeqCst);
    put_a_page(info);
}

static MASK: AtomicUsize = AtomicUsize::new(0);

fn install(handler: Handler, flags: i32, blocks: &[i32]) {
    FOUND.store(process::handle_sigbus(handler, flags, blocks), Ordering::SeqCst);
}

#[test]
fn a_handler_from_before_the_first_map_keeps_the_faults_that_are_not_ours() {
    let ended =
        in_a_process("a_handler_from_before_the_first_map_keeps_the_faults_that_are_not_ours", || {
            install(handles, 0, &[]);
            let cut = cut();
            for at in 0..PAGES / 2 {
                cut.touch_foreign(at);
            }
            cut.touch_ours(3);
            cut.touch_foreign(7);
        });
    assert_eq!(ended, None);
}

#[test]
fn a_handler_from_after_the_first_map_keeps_them_too_and_the_next_map_is_guarded() {
    let test = "a_handler_from_after_the_first_map_keeps_them_too_and_the_next_map_is_guarded";
    let ended = in_a_process(test, || {
        let first = cut();
        install(handles, 0, &[]);
        assert!(!fault::is_installed());
        first.touch_foreign(0);
        // It took everything, ours included, until the guard is in front again.
        let second = cut();
        assert!(fault::is_installed());
        second.touch_ours(1);
        second.touch_foreign(2);
        first.touch_ours(3);
        first.touch_foreign(4);
        install(handles, 0, &[]);
        fault::install();
        first.touch_foreign(5);
        second.touch_foreign(5);
    });
    assert_eq!(ended, None);
}

#[test]
fn a_handler_that_hands_on_what_it_found_leads_to_no_circle() {
    let ended = in_a_process("a_handler_that_hands_on_what_it_found_leads_to_no_circle", || {
        let first = cut();
        FOREIGN.store(first.foreign as usize, Ordering::SeqCst);
        install(hands_on, 0, &[]);
        first.touch_ours(0);
        first.touch_foreign(0);
        let second = cut();
        second.touch_ours(1);
        first.touch_foreign(2);
    });
    assert_eq!(ended, None);
}

#[test]
fn a_fault_that_everybody_hands_on_ends_the_process() {
    let ended = in_a_process("a_fault_that_everybody_hands_on_ends_the_process", || {
        let first = cut();
        install(only_hands_on, 0, &[]);
        let _second = cut();
        process::load(first.foreign);
    });
    assert_eq!(ended, Some(libc::SIGBUS));
}

#[test]
fn a_fault_that_nobody_handles_ends_the_process() {
    let ended = in_a_process("a_fault_that_nobody_handles_ends_the_process", || {
        let cut = cut();
        cut.touch_ours(0);
        process::load(cut.foreign);
    });
    assert_eq!(ended, Some(libc::SIGBUS));
}

#[test]
fn a_sigbus_that_is_sent_ends_the_process() {
    let ended = in_a_process("a_sigbus_that_is_sent_ends_the_process", || {
        let cut = cut();
        cut.touch_ours(0);
        // The first is taken by the handler of Rust's runtime, which then gives up its place; ours stays.
        process::raise(libc::SIGBUS);
        cut.touch_ours(1);
        process::raise(libc::SIGBUS);
    });
    assert_eq!(ended, Some(libc::SIGBUS));
}

#[test]
fn the_guard_outlasts_a_handler_that_gives_up_its_place() {
    let ended = in_a_process("the_guard_outlasts_a_handler_that_gives_up_its_place", || {
        let cut = cut();
        // As the handler of Rust's runtime does.
        process::raise(libc::SIGBUS);
        assert!(fault::is_installed());
        cut.touch_ours(1);
    });
    assert_eq!(ended, None);
}

#[test]
fn a_sigbus_that_is_sent_and_ignored_stays_ignored() {
    let ended = in_a_process("a_sigbus_that_is_sent_and_ignored_stays_ignored", || {
        process::ignore_sigbus();
        let cut = cut();
        cut.touch_ours(0);
        process::raise(libc::SIGBUS);
        cut.touch_ours(1);
    });
    assert_eq!(ended, None);
}

#[test]
fn a_fault_cannot_be_ignored() {
    let ended = in_a_process("a_fault_cannot_be_ignored", || {
        process::ignore_sigbus();
        let cut = cut();
        process::load(cut.foreign);
    });
    assert_eq!(ended, Some(libc::SIGBUS));
}

#[test]
fn a_handler_is_called_under_the_mask_and_the_flags_that_it_asked_for() {
    let ended = in_a_process("a_handler_is_called_under_the_mask_and_the_flags_that_it_asked_for", || {
        install(looks_at_its_mask, 0, &[libc::SIGUSR1]);
        let first = cut();
        first.touch_foreign(0);
        assert_eq!(MASK.load(Ordering::SeqCst), 1 + 1 + 2);
        assert!(!process::blocks(libc::SIGUSR1) && !process::blocks(libc::SIGBUS), "for the handler only");
        install(looks_at_its_mask, libc::SA_NODEFER, &[]);
        fault::install();
        first.touch_foreign(1);
        assert_eq!(MASK.load(Ordering::SeqCst), 1);
    });
    assert_eq!(ended, None);
}

#[test]
fn a_handler_for_one_time_is_called_one_time() {
    let ended = in_a_process("a_handler_for_one_time_is_called_one_time", || {
        install(handles, libc::SA_RESETHAND, &[]);
        let cut = cut();
        cut.touch_foreign(0);
        cut.touch_ours(0);
        process::load(cut.foreign.wrapping_add(page()));
    });
    assert_eq!(ended, Some(libc::SIGBUS));
}

#[test]
fn a_program_that_owns_its_signals_answers_by_itself() {
    let ended = in_a_process("a_program_that_owns_its_signals_answers_by_itself", || {
        fault::decline();
        install(answers, 0, &[]);
        let cut = cut();
        assert!(!fault::is_installed());
        cut.touch_ours(0);
        cut.touch_foreign(0);
    });
    assert_eq!(ended, None);
}

#[test]
fn a_map_without_a_guard_is_like_any_other() {
    let ended = in_a_process("a_map_without_a_guard_is_like_any_other", || {
        let file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        file.set_len(100).unwrap();
        let map = Mapping::options().guard(false).open_fd(&file).unwrap();
        assert!(!fault::is_installed());
        file.set_len(0).unwrap();
        process::load(map.as_ptr());
    });
    assert_eq!(ended, Some(libc::SIGBUS));
}

#[test]
fn many_threads_fault_at_once_in_many_maps() {
    let ended = in_a_process("many_threads_fault_at_once_in_many_maps", || {
        for _ in 0..20 {
            // More than one chunk of the table.
            let maps: Vec<Cut> = (0..70).map(|_| cut()).collect();
            let maps: Vec<&Mapping> = maps.iter().map(|cut| &cut.map).collect();
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let maps = &maps;
                    scope.spawn(move || {
                        for (number, map) in maps.iter().enumerate() {
                            let at = (number + thread) % PAGES * page();
                            assert_eq!(process::load(map.as_ptr().wrapping_add(at)), 0);
                            assert_eq!(map.check().unwrap_err().kind(), ErrorKind::Truncated);
                        }
                    });
                }
            });
        }
    });
    assert_eq!(ended, None);
}

#[test]
fn a_child_may_map_what_it_likes_where_its_parent_has_a_map() {
    let ended = in_a_process("a_child_may_map_what_it_likes_where_its_parent_has_a_map", || {
        let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("state.bin");
        let options = steadfast::AtomicMapping::options().create(true).len(PAGES * page());
        // SAFETY: nobody else writes the file.
        let map = unsafe { options.view(&path).unwrap() };
        let file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let child = process::fork();
        if child == 0 {
            // The parent's memory is not here; a file of the child's own is, and it is too short.
            let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
            let mapped = process::map(map.as_ptr() as usize, page(), flags, file.as_raw_fd());
            if mapped == Some(map.as_ptr()) {
                process::load(map.as_ptr());
            }
            process::leave(1);
        }
        assert_eq!(process::signal_of(process::wait(child)), Some(libc::SIGBUS));
    });
    assert_eq!(ended, None);
}

#[test]
fn where_the_whole_tail_is_too_much_single_pages_are_covered() {
    let ended = in_a_process("where_the_whole_tail_is_too_much_single_pages_are_covered", || {
        let cut = cut();
        // As a system that does not promise so much memory at once.
        forbid::refuse(libc::SYS_mmap, forbid::When::IsAbove(1, 2 * page() as u32), libc::ENOMEM);
        for at in 0..PAGES {
            cut.touch_ours(at);
        }
        assert_eq!(cut.map.check().unwrap_err().bytes(), Some(0..(PAGES * page()) as u64));
    });
    assert_eq!(ended, None);
}
