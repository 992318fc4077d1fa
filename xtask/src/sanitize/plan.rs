//! Which tests run under which sanitizer, and why the others do not.

use std::collections::BTreeSet;
use std::path::Path;

use super::Sanitizer;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything that means something.
    All,
    /// With every test run.
    Short,
}

/// What a file of tests is under a sanitizer.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Short,
    Long,
    Not(&'static str),
}

use Verdict::{Long, Not, Short};

const ONE_THREAD: &str = "one thread, and what it calls runs with the unit tests and the files that run";
const MINUTES: &str =
    "many thousand states of a simulated disk, without a line of unsafe code that others do not run";
const MEMORY: &str = "it measures memory, which the sanitizer multiplies";
const SHUTTLE: &str = "built for the model checker alone: cargo xtask interleavings";
const PLANTED: &str = "nothing but planted defects: they run first, one by one";
const DEATHS: &str =
    "it is about signals that end the process, and the sanitizer has handlers of its own for them";
const CHILDREN: &str = "its children have 1 GiB of addresses, which the sanitizer's shadow does not fit in";
const FORKS: &str = "its children start threads, which this sanitizer does not allow after a fork";

/// Each file of tests: under AddressSanitizer, under ThreadSanitizer.
const FILES: [(&str, Verdict, Verdict); 39] = [
    ("atomic_bad_input", Long, Not(ONE_THREAD)),
    ("atomic_foreign_hands", Long, Not(ONE_THREAD)),
    ("atomic_identity", Long, Not(ONE_THREAD)),
    ("atomic_memory", Short, Long),
    ("atomic_model", Long, Not(ONE_THREAD)),
    ("atomic_processes", Long, Long),
    ("crash", Not(MINUTES), Not(MINUTES)),
    ("fault", Short, Short),
    ("fault_handlers", Not(DEATHS), Not(DEATHS)),
    ("file_size_limit", Long, Not(ONE_THREAD)),
    ("hostile_journals", Not(CHILDREN), Not(CHILDREN)),
    ("interleavings", Not(SHUTTLE), Not(SHUTTLE)),
    ("kept_addresses", Short, Not(ONE_THREAD)),
    ("limits", Long, Not(ONE_THREAD)),
    ("load_memory", Not(MEMORY), Not(MEMORY)),
    ("lost_pages", Short, Not(FORKS)),
    ("mapping_durability", Long, Long),
    ("mapping_failing_disk", Long, Not(ONE_THREAD)),
    ("mapping_fork", Long, Not(FORKS)),
    ("mapping_open", Long, Not(ONE_THREAD)),
    ("mapping_others", Short, Short),
    ("mapping_pages", Short, Long),
    ("mapping_resize", Short, Long),
    ("mounted_files", Long, Not(ONE_THREAD)),
    ("one_call", Long, Not(ONE_THREAD)),
    ("one_writer", Long, Long),
    ("planted", Not(PLANTED), Not(PLANTED)),
    ("posix_calls", Long, Not(ONE_THREAD)),
    ("posix_lost_names", Long, Not(FORKS)),
    ("posix_msync", Long, Long),
    ("posix_threads", Short, Short),
    ("readers", Long, Long),
    ("residency", Long, Not(ONE_THREAD)),
    ("scrub", Long, Not(ONE_THREAD)),
    ("store_background", Short, Short),
    ("tickets", Short, Short),
    ("trackers", Long, Long),
    ("view_memory", Not(MEMORY), Not(MEMORY)),
    ("without_locks", Long, Not(ONE_THREAD)),
];

/// Single tests that cannot work in a file that runs.
const TESTS: [(Sanitizer, &str, &str); 6] = [
    (Sanitizer::Thread, "ms_invalidate_of_locked_pages_is_busy", LOCKS),
    (Sanitizer::Thread, "ms_invalidate_of_locked_pages_is_ebusy", LOCKS),
    (Sanitizer::Thread, "locked_pages_are_in_memory", LOCKS),
    (Sanitizer::Thread, "a_refused_lock_names_the_limit", LOCKS),
    (Sanitizer::Thread, "truncation_by_another_is_an_error_value", LOCKS),
    (Sanitizer::Thread, "no_store_is_lost_while_a_file_is_given_back_to_the_kernel", MAPPED_OVER),
];
const MAPPED_OVER: &str =
    "the sanitizer takes the mapping that replaces another for a store to it, and knows no protection";
const LOCKS: &str = "the sanitizer answers mlock(2) itself and locks nothing";

/// The modules without system calls, for Miri.
const MODULES: [&str; 7] = [
    "range::",
    "batch::",
    "journal::format::",
    "error::",
    "atomic::undo::",
    "atomic::compare::",
    "mapping::protect::",
];

/// What runs.
#[derive(Debug)]
pub(super) struct Plan {
    /// As arguments of `cargo test`.
    pub(super) selection: Vec<String>,
    pub(super) skipped: Vec<&'static str>,
    /// What is not run, and why.
    pub(super) left_out: Vec<(String, &'static str)>,
    pub(super) modules: &'static [&'static str],
}

impl Plan {
    pub(super) fn of(sanitizer: Sanitizer, scope: Scope, tests: &Path) -> Result<Plan, String> {
        every_file_is_planned(tests)?;
        let mut plan = Plan {
            selection: vec!["--lib".into()],
            skipped: Vec::new(),
            left_out: Vec::new(),
            modules: &MODULES,
        };
        if sanitizer == Sanitizer::Miri {
            plan.left_out.push(("everything that makes system calls".into(), "Miri knows few of them"));
            return Ok(plan);
        }
        for (file, address, thread) in FILES {
            match (if sanitizer == Sanitizer::Address { address } else { thread }, scope) {
                (Not(reason), _) => plan.left_out.push((format!("tests/{file}"), reason)),
                (Long, Scope::Short) => plan.left_out.push((format!("tests/{file}"), "not in the short run")),
                (Short, _) | (Long, Scope::All) => plan.selection.extend(["--test".into(), file.into()]),
            }
        }
        for (_, test, reason) in TESTS.into_iter().filter(|(of, ..)| *of == sanitizer) {
            plan.skipped.push(test);
            plan.left_out.push((test.to_owned(), reason));
        }
        Ok(plan)
    }
}

/// A file of tests that nobody thought of would be left out without a word.
fn every_file_is_planned(tests: &Path) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", tests.display());
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(tests).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_test =
            path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists();
        if let Some(name) = path.file_stem().filter(|_| is_test) {
            there.insert(name.to_string_lossy().into_owned());
        }
    }
    let planned: BTreeSet<String> = FILES.iter().map(|(file, ..)| (*file).to_owned()).collect();
    match there.symmetric_difference(&planned).next() {
        None => Ok(()),
        Some(file) if planned.contains(file) => {
            Err(format!("xtask/src/sanitize/plan.rs names tests/{file}, which does not exist"))
        }
        Some(file) => Err(format!(
            "tests/{file}: xtask/src/sanitize/plan.rs does not say whether it is to be sanitized"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, Plan, Sanitizer, Scope, every_file_is_planned};

    /// What stands around every test and every thread: a suppression that names one of these hides all that they call.
    const AROUND: [&str; 12] = [
        "std::sys::backtrace::__rust_begin_short_backtrace::<<steadfast::mapping::background::Background>::submit::{closure#0}, ()>",
        "<std::sys::thread::unix::Thread>::new::thread_start",
        "<std::thread::builder::Builder>::spawn_scoped::<tickets::x::{closure#0}::{closure#0}, ()>",
        "std::thread::scoped::scope::<tickets::x::{closure#0}, ()>",
        "std::thread::lifecycle::spawn_unchecked::<steadfast::x::{closure#0}, ()>::{closure#1}",
        "core::ptr::drop_in_place::<alloc::sync::Arc<std::thread::lifecycle::Packet<steadfast::SyncTicket>>>",
        "test::run_test",
        "test::run_test::{closure#0}",
        "test::run_test_in_process",
        "test::__rust_begin_short_backtrace::<core::result::Result<(), alloc::string::String>, fn()>",
        "<alloc::sync::Arc<steadfast::mapping::ticket::Outcome> as core::ops::drop::Drop>::drop",
        "<alloc::boxed::Box<dyn core::ops::function::FnOnce<()>> as core::ops::function::FnOnce<()>>::call_once",
    ];

    #[test]
    fn no_suppression_hides_our_code_and_each_has_its_reason() {
        let mut reason = false;
        let mut seen = 0;
        for line in include_str!("../../sanitize/tsan.supp").lines() {
            let Some(pattern) = line.strip_prefix("race:") else {
                assert!(line.is_empty() || line.starts_with("# "), "{line}");
                reason = line.starts_with("# ");
                continue;
            };
            seen += 1;
            assert!(reason, "{line}: without a reason");
            assert!(!pattern.contains("steadfast") && !pattern.contains(['*', '^', '$']), "{line}");
            assert!(
                pattern.contains("test::") || pattern.contains("std::thread::"),
                "{line}: of nobody in particular"
            );
            let hidden = AROUND.iter().find(|frame| frame.contains(pattern));
            assert!(hidden.is_none(), "{line} hides what runs under {hidden:?}");
        }
        assert!(seen > 0);
    }

    #[test]
    fn the_short_run_is_a_part_of_the_whole_and_nothing_is_left_out_without_a_word() {
        let tests = crate::root().unwrap().join("crates/steadfast/tests");
        for sanitizer in [Sanitizer::Address, Sanitizer::Thread] {
            let plan = |scope| Plan::of(sanitizer, scope, &tests).unwrap();
            let (short, all) = (plan(Scope::Short), plan(Scope::All));
            assert!(short.selection.iter().all(|argument| all.selection.contains(argument)));
            assert!(short.selection.len() < all.selection.len());
            for plan in [short, all] {
                let files = plan.left_out.iter().filter(|(what, _)| what.starts_with("tests/")).count();
                let run = plan.selection.iter().filter(|argument| *argument == "--test").count();
                assert_eq!(files + run, FILES.len());
                assert!(plan.left_out.iter().all(|(_, reason)| !reason.is_empty()));
            }
        }
    }

    #[test]
    fn a_file_that_nobody_thought_of_is_an_error() {
        let elsewhere = crate::root().unwrap().join("crates/crashlab/tests");
        assert!(every_file_is_planned(&elsewhere).is_err());
    }
}
