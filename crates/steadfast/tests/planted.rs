//! Defects planted on purpose: a sanitizer that finds none of them would find none of ours either.
//!
//! Run by `cargo xtask sanitize` alone, which asks for each by name and wants to see it reported.
//!
//! # Safety
//!
//! This file breaks the rules that all others keep. Nothing but a sanitizer's build may run it.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;

use steadfast::Mapping;

const WHY: &str = "a defect is planted here: only `cargo xtask sanitize` may run it";

/// Whoever runs ignored tests by the dozen does not mean these.
fn is_meant() {
    assert!(std::env::var_os("STEADFAST_PLANTED").is_some(), "{WHY}");
}

#[test]
#[ignore = "a defect is planted here: only `cargo xtask sanitize` may run it"]
fn a_use_after_free() {
    is_meant();
    let freed: *const u8 = Box::into_raw(vec![7_u8; 100].into_boxed_slice()).cast();
    // SAFETY: none; the defect begins here.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(freed.cast_mut(), 100)) });
    // SAFETY: none; this is the defect.
    black_box(unsafe { black_box(freed).wrapping_add(50).read() });
}

#[test]
#[ignore = "a defect is planted here: only `cargo xtask sanitize` may run it"]
fn a_heap_overflow() {
    is_meant();
    let bytes = black_box(vec![7_u8; 100]);
    // SAFETY: none; this is the defect.
    black_box(unsafe { black_box(bytes.as_ptr()).wrapping_add(bytes.len()).read() });
}

#[test]
#[ignore = "a defect is planted here: only `cargo xtask sanitize` may run it"]
fn a_stack_overflow() {
    is_meant();
    let bytes = black_box([7_u8; 100]);
    // SAFETY: none; this is the defect.
    black_box(unsafe { black_box(bytes.as_ptr()).wrapping_add(bytes.len()).read() });
}

#[test]
#[ignore = "a defect is planted here: only `cargo xtask sanitize` may run it"]
fn a_leak() {
    is_meant();
    let lost = black_box(Box::new([7_u8; 100]));
    std::mem::forget(black_box(lost));
}

/// Two threads at once.
fn together(work: impl Fn() + Clone + Send + 'static) {
    let start = Arc::new(Barrier::new(2));
    let threads = [0, 1].map(|_| {
        let (start, work) = (Arc::clone(&start), work.clone());
        thread::spawn(move || {
            start.wait();
            work();
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
#[ignore = "a defect is planted here: only `cargo xtask sanitize` may run it"]
fn a_race_in_a_mapping() {
    is_meant();
    let map = Arc::new(Mapping::options().len(4096).anonymous().unwrap());
    together(move || {
        // SAFETY: none; this is the defect.
        unsafe { map.as_ptr().wrapping_add(100).write(7) };
    });
}

/// Beside the locks of the standard library, which is not instrumented: what is left out for its sake must not hide this.
#[test]
#[ignore = "a defect is planted here: only `cargo xtask sanitize` may run it"]
fn a_race_beside_locks() {
    static ONCE: OnceLock<usize> = OnceLock::new();
    struct Shared(std::cell::UnsafeCell<Vec<usize>>, Mutex<usize>);
    // SAFETY: none; the defect begins here.
    unsafe impl Sync for Shared {}
    is_meant();
    let shared = Arc::new(Shared(std::cell::UnsafeCell::new(vec![0; 10]), Mutex::new(0)));
    together(move || {
        let at = *ONCE.get_or_init(|| 5);
        for _ in 0..100 {
            *shared.1.lock().unwrap() += 1;
        }
        // SAFETY: none; this is the defect.
        let slot = unsafe { &mut *shared.0.get() };
        slot[at] += 1;
    });
}
