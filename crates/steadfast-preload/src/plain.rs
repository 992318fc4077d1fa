//! Writes that go to a plain file, beside threads that may be mapping it atomically: each is published for as long as it takes
//! ([`posix::file::plain_write`]), and a thread that maps the file waits for it.
//!
//! # Safety
//!
//! This file is trusted with one function of `shim.c`, which calls back what it is given, with the argument that it is given, once each
//! and before it returns.
//!
//! A thread may be cancelled in the C library's call, and is then unwound through these frames. None of them has anything to drop: what is
//! to be done behind the call is a cleanup of the frame in C.
//!
//! Costs nothing where no pattern is set; else two atomic exchanges a write, and an `fstat` where any file is mapped atomically.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;

use steadfast::posix;

use crate::memory::failed;
use crate::{atomic, inside, settings};

/// A write by descriptor. `image` does it where the file is mapped atomically, unless it was given back meanwhile; `kernel` does it to the
/// plain file; `refused` is what the call returns with an errno of ours.
pub(crate) fn write<T: Copy>(
    fd: c_int,
    image: impl Fn() -> Option<T> + Copy,
    refused: impl Fn(c_int) -> T + Copy,
    kernel: impl Fn() -> T + Copy,
) -> T {
    if !settings::has_patterns() || inside::is_here() {
        return kernel();
    }
    loop {
        let published = inside::answer(|| {
            let write = posix::file::plain_write(atomic::descriptor(fd)?);
            Some(write.map(|write| write.map(ManuallyDrop::new)).map_err(|error| failed(&error)))
        });
        match published {
            None => return kernel(),
            Some(Err(errno)) => return refused(errno),
            Some(Ok(Some(write))) => return holding(write, kernel),
            // A child of vfork(2) sees its parent's images, and has no part in them.
            Some(Ok(None)) if !atomic::concerns_us() => return kernel(),
            Some(Ok(None)) => {
                if let Some(done) = image() {
                    return done;
                }
            }
        }
    }
}

/// What a call returns that fails with this errno.
pub(crate) fn refused<T: From<i8>>(errno: c_int) -> T {
    inside::set_errno(errno);
    T::from(-1)
}

/// What [`holding`] keeps where both frames find it.
struct Call<H, K, T> {
    held: ManuallyDrop<H>,
    kernel: K,
    answer: Option<T>,
}

/// Makes a call of the C library, and drops what is held behind it, also where the thread ends in it.
pub(crate) fn holding<H, K: Fn() -> T + Copy, T: Copy>(held: ManuallyDrop<H>, kernel: K) -> T {
    unsafe extern "C-unwind" {
        fn steadfast_while_held(
            call: unsafe extern "C-unwind" fn(*mut c_void),
            end: unsafe extern "C" fn(*mut c_void),
            what: *mut c_void,
        );
    }

    unsafe extern "C-unwind" fn make<H, K: Fn() -> T + Copy, T: Copy>(what: *mut c_void) {
        // SAFETY: the `call` below, which nobody else uses meanwhile.
        let call = unsafe { &mut *what.cast::<Call<H, K, T>>() };
        call.answer = Some((call.kernel)());
    }

    unsafe extern "C" fn end<H, K, T>(what: *mut c_void) {
        let errno = inside::errno();
        // SAFETY: the `call` below, which nobody else uses meanwhile.
        let call = unsafe { &mut *what.cast::<Call<H, K, T>>() };
        // SAFETY: once, and nobody looks at it again.
        unsafe { ManuallyDrop::drop(&mut call.held) };
        inside::set_errno(errno);
    }

    let mut call = Call { held, kernel, answer: None };
    let what = (&raw mut call).cast::<c_void>();
    // SAFETY: both functions take a `Call` of these types, which lives across the call.
    unsafe { steadfast_while_held(make::<H, K, T>, end::<H, K, T>, what) };
    match call.answer {
        Some(answer) => answer,
        // It was made, or this frame is not returned to.
        None => kernel(),
    }
}
