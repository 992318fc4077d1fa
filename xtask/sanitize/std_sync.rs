//! What the standard library's locks order, told to ThreadSanitizer.
//!
//! The standard library that comes with a toolchain is not instrumented. What is inlined from it into our code is (the fast way of a lock,
//! the unlock, channels, `Arc`), but not its functions that are called: of a mutex that was contended, a condition that was waited for or a
//! cell that was filled ThreadSanitizer sees nothing, and takes what they order for races. Hiding those would hide ours. So
//! these functions are wrapped by the linker (`--wrap`), and each wrapper says what the function promises, no more.
//!
//! Not part of the workspace: `cargo xtask sanitize` puts the standard library's name in the place of `@STD@` and builds it.
//!
//! # Safety
//!
//! This file is trusted to have the signatures of the functions that it wraps; it is built by the compiler that built them, and only for
//! ThreadSanitizer. Addresses handed to the sanitizer are never dereferenced.
#![no_std]

use core::time::Duration;

unsafe extern "C" {
    fn __tsan_acquire(address: *const u8);
    fn __tsan_release(address: *const u8);
    #[link_name = "__real___tsan_atomic64_fetch_sub"]
    fn real_fetch_sub(address: *mut i64, value: i64, order: i32) -> i64;
}

/// What was released at this address happened before what follows.
fn acquire(address: *const u8) {
    // SAFETY: the sanitizer takes any address.
    unsafe { __tsan_acquire(address) }
}

/// What was done so far happens before whatever acquires this address, be it by an atomic load of what stands there.
fn release(address: *const u8) {
    // SAFETY: the sanitizer takes any address.
    unsafe { __tsan_release(address) }
}

// Of `enum memory_order` (C11).
const RELEASE: i32 = 3;
const ACQUIRE_RELEASE: i32 = 4;

/// An `Arc` counts down with `Release`, and whoever comes to zero acquires by a fence; the sanitizer knows no fences. (Built for the
/// sanitizer the standard library has a load in the place of the fence.) So every counting down acquires as well.
#[unsafe(export_name = "__wrap___tsan_atomic64_fetch_sub")]
extern "C" fn fetch_sub(address: *mut i64, value: i64, order: i32) -> i64 {
    let order = if order == RELEASE { ACQUIRE_RELEASE } else { order };
    // SAFETY: passed on.
    unsafe { real_fetch_sub(address, value, order) }
}

unsafe extern "Rust" {
    #[link_name = "__real__RNvMNtNtNtNt@STD@3sys4sync5mutex5futexNtB2_5Mutex14lock_contended"]
    fn real_lock_contended(mutex: *const u8);
    #[link_name = "__real__RNvMNtNtNtNt@STD@3sys4sync6rwlock5futexNtB2_6RwLock14read_contended"]
    fn real_read_contended(lock: *const u8);
    #[link_name = "__real__RNvMNtNtNtNt@STD@3sys4sync6rwlock5futexNtB2_6RwLock15write_contended"]
    fn real_write_contended(lock: *const u8);
    #[link_name = "__real__RNvMNtNtNtNt@STD@3sys4sync7condvar5futexNtB2_7Condvar4wait"]
    fn real_wait(condition: *const u8, mutex: *const u8);
    #[link_name = "__real__RNvMNtNtNtNt@STD@3sys4sync7condvar5futexNtB2_7Condvar12wait_timeout"]
    fn real_wait_timeout(condition: *const u8, mutex: *const u8, timeout: Duration) -> bool;
    #[link_name = "__real__RNvMs0_NtNtNtNt@STD@3sys4sync4once5futexNtB5_4Once4call"]
    fn real_call(once: *const u8, ignore_poison: bool, work: &mut dyn FnMut(*const u8));
    #[link_name = "__real__RNvMs0_NtNt@STD@4sync4onceNtB5_4Once10wait_force"]
    fn real_wait_force(once: *const u8);
    #[link_name = "__real__RNvMs0_NtNt@STD@4sync7barrierNtB5_7Barrier4wait"]
    fn real_barrier_wait(barrier: *const u8) -> bool;
    #[link_name = "__real__RNvMNtNt@STD@6thread6scopedNtB2_9ScopeData29decrement_num_running_threads"]
    fn real_decrement(scope: *const u8, panicked: bool);
}

#[unsafe(export_name = "__wrap__RNvMNtNtNtNt@STD@3sys4sync5mutex5futexNtB2_5Mutex14lock_contended")]
fn lock_contended(mutex: *const u8) {
    // SAFETY: passed on.
    unsafe { real_lock_contended(mutex) };
    acquire(mutex);
}

#[unsafe(export_name = "__wrap__RNvMNtNtNtNt@STD@3sys4sync6rwlock5futexNtB2_6RwLock14read_contended")]
fn read_contended(lock: *const u8) {
    // SAFETY: passed on.
    unsafe { real_read_contended(lock) };
    acquire(lock);
}

#[unsafe(export_name = "__wrap__RNvMNtNtNtNt@STD@3sys4sync6rwlock5futexNtB2_6RwLock15write_contended")]
fn write_contended(lock: *const u8) {
    // SAFETY: passed on.
    unsafe { real_write_contended(lock) };
    acquire(lock);
}

#[unsafe(export_name = "__wrap__RNvMNtNtNtNt@STD@3sys4sync7condvar5futexNtB2_7Condvar4wait")]
fn wait(condition: *const u8, mutex: *const u8) {
    release(mutex);
    // SAFETY: passed on.
    unsafe { real_wait(condition, mutex) };
    acquire(mutex);
}

#[unsafe(export_name = "__wrap__RNvMNtNtNtNt@STD@3sys4sync7condvar5futexNtB2_7Condvar12wait_timeout")]
fn wait_timeout(condition: *const u8, mutex: *const u8, timeout: Duration) -> bool {
    release(mutex);
    // SAFETY: passed on.
    let in_time = unsafe { real_wait_timeout(condition, mutex, timeout) };
    acquire(mutex);
    in_time
}

#[unsafe(export_name = "__wrap__RNvMs0_NtNtNtNt@STD@3sys4sync4once5futexNtB5_4Once4call")]
fn call(once: *const u8, ignore_poison: bool, work: &mut dyn FnMut(*const u8)) {
    // Before anybody can see that it is done.
    let mut work = |state| {
        work(state);
        release(once);
    };
    // SAFETY: passed on; the closure's argument is a reference there, which is a pointer.
    unsafe { real_call(once, ignore_poison, &mut work) };
    acquire(once);
}

#[unsafe(export_name = "__wrap__RNvMs0_NtNt@STD@4sync4onceNtB5_4Once10wait_force")]
fn wait_force(once: *const u8) {
    // SAFETY: passed on.
    unsafe { real_wait_force(once) };
    acquire(once);
}

#[unsafe(export_name = "__wrap__RNvMs0_NtNt@STD@4sync7barrierNtB5_7Barrier4wait")]
fn barrier_wait(barrier: *const u8) -> bool {
    release(barrier);
    // SAFETY: passed on.
    let leads = unsafe { real_barrier_wait(barrier) };
    acquire(barrier);
    leads
}

#[unsafe(export_name = "__wrap__RNvMNtNt@STD@6thread6scopedNtB2_9ScopeData29decrement_num_running_threads")]
fn decrement_num_running_threads(scope: *const u8, panicked: bool) {
    // The counter is one of its three words; which, the compiler has chosen.
    for word in 0..3 {
        release(scope.wrapping_add(word * 8));
    }
    // SAFETY: passed on.
    unsafe { real_decrement(scope, panicked) };
}
