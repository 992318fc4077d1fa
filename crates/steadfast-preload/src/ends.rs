//! The ways out of a program: what was stored and not committed is committed on each that it takes itself.
//!
//! # Safety
//!
//! This file is trusted with the exported names, whose signatures are those of the C library's headers; with jumps to the functions of
//! `shim.c` that take the same arguments (they are variadic, which Rust cannot be: a jump leaves registers and stack as they are); with
//! `__cxa_atexit` and `__cxa_at_quick_exit`, of the C++ ABI.
//!
//! A child that was forked, by vfork(2) too, commits nothing: the mappings are its parent's.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};

use steadfast::posix;

use crate::memory::failed;
use crate::{atomic, inside, real};

exported! { [_exit, _Exit] (code: c_int) -> c_int = {
    let _ = close_all("_exit");
    // SAFETY: it does not return.
    unsafe { real::_exit(code) }
} }

exported! { [execve] (
    path: *const c_char, argv: *const *const c_char, environment: *const *const c_char
) -> c_int = {
    if commit_all("execve").is_err() {
        return -1;
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::execve(path, argv, environment) }
} }

exported! { [execv] (path: *const c_char, argv: *const *const c_char) -> c_int = {
    if commit_all("execv").is_err() {
        return -1;
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::execv(path, argv) }
} }

exported! { [execvp] (file: *const c_char, argv: *const *const c_char) -> c_int = {
    if commit_all("execvp").is_err() {
        return -1;
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::execvp(file, argv) }
} }

exported! { [execvpe] (
    file: *const c_char, argv: *const *const c_char, environment: *const *const c_char
) -> c_int = {
    if commit_all("execvpe").is_err() {
        return -1;
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::execvpe(file, argv, environment) }
} }

exported! { [fexecve] (fd: c_int, argv: *const *const c_char, environment: *const *const c_char) -> c_int = {
    if commit_all("fexecve").is_err() {
        return -1;
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::fexecve(fd, argv, environment) }
} }

exported! { [execveat] (
    folder: c_int, path: *const c_char, argv: *const *const c_char, environment: *const *const c_char, flags: c_int
) -> c_int = {
    if commit_all("execveat").is_err() {
        return -1;
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::execveat(folder, path, argv, environment, flags) }
} }

unsafe extern "C" {
    fn steadfast_execl(path: *const c_char, first: *const c_char, ...) -> c_int;
    fn steadfast_execlp(file: *const c_char, first: *const c_char, ...) -> c_int;
    fn steadfast_execle(path: *const c_char, first: *const c_char, ...) -> c_int;
    fn __cxa_atexit(
        function: extern "C" fn(*mut c_void),
        argument: *mut c_void,
        library: *mut c_void,
    ) -> c_int;
    fn __cxa_at_quick_exit(function: extern "C" fn(*mut c_void), library: *mut c_void) -> c_int;
}

macro_rules! jumps {
    ($($name:ident => $target:ident)*) => { $(
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name() {
            #[cfg(target_arch = "x86_64")]
            std::arch::naked_asm!("jmp {}", sym $target);
            #[cfg(target_arch = "aarch64")]
            std::arch::naked_asm!("b {}", sym $target);
        }
    )* };
}

jumps! {
    execl => steadfast_execl
    execlp => steadfast_execlp
    execle => steadfast_execle
}

/// For `exit`, and the end of `main`.
extern "C" fn at_exit(_: *mut c_void) {
    let _ = close_all("exit");
}

extern "C" fn at_quick_exit(_: *mut c_void) {
    let _ = close_all("quick_exit");
}

/// From here on `exit` and `quick_exit` commit as well, after what the program registers for them. What is registered first is called last,
/// and that is before `main`, where the C library registers the destructors of all libraries.
pub(crate) fn start() {
    // SAFETY: a function of this library, which is never unloaded; null stands for no argument, and for no library in particular.
    unsafe { __cxa_atexit(at_exit, std::ptr::null_mut(), std::ptr::null_mut()) };
    // SAFETY: as above.
    unsafe { __cxa_at_quick_exit(at_quick_exit, std::ptr::null_mut()) };
}

/// An error is said in a line. Where a call can still fail it does: what was stored is in memory still.
fn commit_all(call: &str) -> Result<(), c_int> {
    finish(call, posix::commit_all)
}

/// Where nothing comes after: a plain file is left.
fn close_all(call: &str) -> Result<(), c_int> {
    finish(call, posix::close_all)
}

fn finish(call: &str, how: fn() -> steadfast::Result<()>) -> Result<(), c_int> {
    if !atomic::concerns_us() {
        return Ok(());
    }
    let done = inside::answer(|| {
        let done = how().map_err(|error| failed(&error));
        if done.is_ok() {
            log::debug!("{call}: committed");
        }
        Some(done)
    });
    done.unwrap_or(Ok(()))
}
